"""A relative path means the place where it was typed."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray

from maxent_ray.cli import commands
from maxent_ray.cli.run_location import RunLocation
from maxent_ray.config import ExperimentConfig, PolicySettings
from maxent_ray.config.loading import apply_overrides, build_config, dump_config, load_config
from maxent_ray.errors import ConfigError, PolicyLoadError, ResumeError
from maxent_ray.policy.source import find_source
from maxent_ray.report.run_records import read_run
from maxent_ray.shipped import ASSETS
from maxent_ray.storage.run_files import CONFIG
from maxent_ray.train.run_folder import open_run_folder
from maxent_ray.tune.execution import open_folder
from maxent_ray.tune.trial_spec import TrialSpec, settings_json


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with models ``mymodel``, ``owner/model``, ``2024`` and a link."""
    home = tmp_path / "home"
    for name in ("mymodel", "owner/model", "2024", "embedded", "embedded:countdown"):
        (home / name).mkdir(parents=True)
    (home / "link").symlink_to(home / "mymodel")
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("./mymodel", "mymodel"),
        ("mymodel", "mymodel"),
        ("mymodel/", "mymodel"),
        ("owner/model", "owner/model"),
        ("2024", "2024"),
        ("link", "link"),  # as it was typed: what it points to may change
        ("~/mymodel", "mymodel"),
        ("./embedded", "embedded"),
        ("../home/mymodel", "../home/mymodel"),
        ("~/missing", "missing"),  # a worker's home may be another one
    ],
)
def test_a_folder_is_where_it_was_typed(typed: str, meant: str, home: Path, tmp_path: Path) -> None:
    expected = str(home / meant)
    file = tmp_path / "run.yaml"
    file.write_text(f"policy:\n  model: {typed}\n")
    found = [
        load_config(overrides=[f"policy.model={typed}"]),
        load_config(options={"policy.model": typed}),
        load_config(file),
        apply_overrides(ExperimentConfig(), {"policy.model": typed}),
        ExperimentConfig(policy=PolicySettings(model=typed)),
    ]
    assert {config.policy.model for config in found} == {expected}


@pytest.mark.parametrize(
    "name", ["embedded", "embedded:countdown", "owner/other", "./missing", "~nobody-here/x", "", "x" * 5000]
)
def test_what_is_no_folder_stays_as_it_was_typed(name: str, home: Path) -> None:
    assert load_config(overrides=[f"policy.model={name}"]).policy.model == name


def test_a_file_of_settings_means_the_same_folder_from_anywhere(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(overrides=["policy.model=mymodel"])
    dump_config(config, home / "config.yaml")
    (home / "elsewhere" / "mymodel").mkdir(parents=True)
    monkeypatch.chdir(home / "elsewhere")
    assert load_config(home / "config.yaml") == config


def test_a_name_on_the_hub_stays_one_in_another_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials build their settings again on workers, which may run where a folder has that name."""
    monkeypatch.chdir("/")
    config = load_config(overrides=["policy.model=owner/model"])
    spec = TrialSpec("analytic-0", "analytic", settings_json(config), {"controller.target_kl": 0.1})
    monkeypatch.chdir(home)
    assert spec.experiment().policy.model == "owner/model"
    assert build_config(config.model_dump(), checked=True) == config
    assert apply_overrides(config, {"train.steps": 3}).policy.model == "owner/model"
    assert find_source("owner/model") == "owner/model"


@pytest.fixture
def recorded(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The results folder of a run on ``owner/model``, which was no folder where it was started."""
    run = tmp_path / "results" / "run"
    run.mkdir(parents=True)
    monkeypatch.chdir(run)
    dump_config(load_config(overrides=["policy.model=owner/model"]), run / CONFIG)
    monkeypatch.chdir(home)
    return run


def test_the_settings_of_a_result_name_the_same_model_when_a_folder_of_that_name_exists(
    recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "check_inputs", lambda config: None)  # which would ask the hub
    location = RunLocation.of("", Path(), recorded)
    config = commands.settings(location, None, {}, ["train.steps=200", "policy={dtype: float32}"])
    assert (config.policy.model, config.policy.dtype) == ("owner/model", "float32")
    assert read_run(recorded).config.policy.model == "owner/model"


def test_a_run_is_not_resumed_on_a_folder_with_the_name_of_its_model(recorded: Path, home: Path) -> None:
    open_run_folder(recorded, load_config(recorded / CONFIG, checked=True), resume=True)
    other = load_config(recorded / CONFIG, ["policy.model=owner/model"], checked=True)
    assert other.policy.model == load_config(recorded / CONFIG).policy.model == str(home / "owner/model")
    with pytest.raises(ResumeError, match=r"policy\.model was owner/model, now /"):
        open_run_folder(recorded, other, resume=True)
    with pytest.raises(ResumeError, match="another configuration"):
        open_folder(recorded, other, resume=True)


@pytest.mark.parametrize("name", ["x" * 5000, "~nobody-here/x", "./" + "x" * 5000, "a\0b", "./a\0b"])
def test_a_name_that_is_no_path_is_no_crash(name: str) -> None:
    try:
        assert find_source(name) == name
    except PolicyLoadError as error:
        assert "there is no folder" in str(error)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("jsonl:sums.jsonl", "jsonl:{home}/sums.jsonl"),
        ("jsonl:~/sums.jsonl", "jsonl:{home}/sums.jsonl"),
        ("jsonl:/data/sums.jsonl", "jsonl:/data/sums.jsonl"),
        ("jsonl:~nobody-here/x\0", "jsonl:{home}/~nobody-here/x\0"),
        ("hf:mymodel", "hf:{home}/mymodel"),
        ("hf:owner/sums", "hf:owner/sums"),
        ("my_tasks:Sums", "my_tasks:Sums"),
    ],
)
def test_data_is_where_it_was_typed(
    typed: str, meant: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(overrides=[f"task.name={typed}", "task.kwargs={rewards: [math_verify]}"])
    assert config.task.name == meant.format(home=home)
    dump_config(config, tmp_path / CONFIG)
    monkeypatch.chdir(tmp_path)
    assert load_config(tmp_path / CONFIG, checked=True).task == config.task


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ("{}", "task.kwargs.rewards is missing; it must be set"),
        ("{rewards: []}", r"task.kwargs.rewards is \[\]; it must name at least one function"),
        ("{rewards: [a:b], promt: text}", "unknown key 'task.kwargs.promt'. Did you mean 'prompt'"),
        ("{rewards: [a:b], reward_weights: [1, 2]}", "it must have one for each of 1 rewards"),
        ("{rewards: [a:b], time_limit_s: 0}", "task.kwargs.time_limit_s is 0.0; it must be > 0"),
        ("{rewards: [a:b], split: test}", "unknown key 'task.kwargs.split'"),
    ],
)
def test_settings_of_data_are_closed(kwargs: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_config(overrides=["task.name=jsonl:sums.jsonl", f"task.kwargs={kwargs}"])


@pytest.mark.ray
def test_a_worker_in_another_folder_finds_the_model(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mymodel").symlink_to(ASSETS / "countdown")
    monkeypatch.chdir(tmp_path)  # the cluster's workers stay where it was started
    config = load_config(overrides=["policy.model=./mymodel"])

    def look(experiment: ExperimentConfig) -> tuple[str, str]:
        return str(Path.cwd()), str(find_source(experiment.policy.model))

    folder, found = ray.get(ray.remote(look).remote(config))
    assert folder != str(tmp_path)
    assert found == str(tmp_path / "mymodel")
