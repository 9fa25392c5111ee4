"""The command line: help that a newcomer can work from, and bad input that ends in one line."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from maxent_ray.cli import commands
from maxent_ray.cli.app import app
from maxent_ray.cli.cluster_options import ClusterOptions
from maxent_ray.cli.commands import OBJECTIVES, settings
from maxent_ray.cli.run_location import RunLocation
from maxent_ray.config.loading import dump_config, load_config
from maxent_ray.errors import MaxentRayError
from maxent_ray.report.output import LOG_WIDTH, make_console
from maxent_ray.shipped import ASSETS
from maxent_ray.train.worker import objective_name

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "experiments" / "configs").glob("*.yaml"))
SMOKE = ROOT / "experiments" / "configs" / "smoke.yaml"
RUNNING = ("train", "compare", "sweep")
COMMANDS = (*RUNNING, "eval")
NEW = RunLocation("new", Path("results"), False)
GROUP = typer.main.get_command(app)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments), env={"RAY_ADDRESS": "", "COLUMNS": "100"})


def examples(command: str) -> list[list[str]]:
    """The example lines of a command's help: command, then arguments."""
    epilog = GROUP.commands[command].epilog  # type: ignore[attr-defined]
    return [shlex.split(line)[1:] for line in epilog.splitlines() if line.startswith("maxent-ray ")]


def test_help_loads_neither_torch_nor_ray() -> None:
    code = "import sys, maxent_ray.cli; print({'torch', 'ray', 'transformers', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_groups_and_options(command: str) -> None:
    help_text = run(command, "--help").output
    for expected in ("--config", "SECTION.KEY=VALUE", "Settings", "Machine", "Output", "Examples:"):
        assert expected in help_text
    if command in RUNNING:
        for option in ("--name", "--results", "--resume", "--steps", "--seed", "--num-workers", "--gpus-per-worker"):
            assert option in help_text
        assert "--dashboard-host" in help_text


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_in_the_help_parse_and_name_files_that_exist(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert examples(command)
    for name, *arguments in examples(command):
        parsed = GROUP.commands[name].make_context(name, arguments)  # type: ignore[attr-defined]
        file, overrides = parsed.params["config"], parsed.params["overrides"]
        load_config(file, overrides or ())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configurations_are_valid(path: Path) -> None:
    load_config(path)


def test_the_main_job_is_what_the_readme_says() -> None:
    config = load_config(ROOT / "experiments" / "configs" / "compare.yaml")
    assert config.tune.objectives == ("analytic", "truncated_backprop")
    assert config.tune.trials_per_objective == 4
    assert config.train.steps >= 60


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_objective_means_what_the_rows_are_labelled_with(objective: str) -> None:
    assert objective_name(settings(NEW, None, OBJECTIVES[objective], None)) == objective


def test_overrides_win_over_options_and_options_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("train: {steps: 10, seed: 1, num_workers: 2}")
    config = settings(NEW, file, {"train.steps": 20, "train.seed": 2, "train.num_workers": None}, ["train.seed=3"])
    assert (config.train.steps, config.train.seed, config.train.num_workers) == (20, 3, 2)


def test_options_are_values_and_not_text_to_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders with names that YAML would take for a comment, a number, a date, false or a mapping."""
    monkeypatch.chdir(tmp_path)
    for name in ("run #2", "2024", "2024-05-01", "no", "a: b", "[v2]"):
        (tmp_path / name).symlink_to(ASSETS / "countdown")
        for config in (
            settings(NEW, None, {"policy.model": name}, None),
            settings(NEW, None, {}, [f"policy.model={name}"]),
            settings(NEW, None, {}, [f"policy.model=./{name}"]),
        ):
            assert config.policy.model == str(tmp_path / name)


def test_the_settings_of_a_result_reproduce_it_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run #2").symlink_to(ASSETS / "countdown")
    flags = {**OBJECTIVES["grpo"], "train.use_gpu": False, "train.gpus_per_worker": 0.1}
    config = settings(NEW, SMOKE, flags, ["policy.model=run #2", "grpo.learning_rate=1e-4", "task.kwargs={}"])
    dump_config(config, tmp_path / "config.yaml")
    monkeypatch.chdir("/")
    assert settings(NEW, tmp_path / "config.yaml", {}, None) == config


BAD_INPUT = {
    "unknown key": (["train.step=3"], "unknown key 'train.step'. Did you mean 'steps'?"),
    "unknown section": (["trian.steps=3"], "'trian'"),
    "no override": (["results/first"], "section.key=value"),
    "not YAML": (["train.steps=[3"], "train.steps"),
    "a number as text": (["train.steps='60'"], "without quotes"),
    "a comment": (["train.steps=60 # short"], "'60 # short'"),
    "a value that is read in two ways": (["task.kwargs.since=2024-05-01"], "'2024-05-01' with its quotes"),
    "unknown objective": (["controller.objective.type=newton"], "truncated_backprop"),
    "H* = log G": (["controller.target_entropy=2.0794416"], "target_entropy"),
    "H* above log G": (["controller.target_entropy=3.0"], "target_entropy"),
    "H* = 0": (["controller.target_entropy=0"], "target_entropy"),
    "H* as a share above 1": (["controller.target_entropy_fraction=1.2"], "target_entropy_fraction"),
    "negative KL target": (["controller.target_kl=-0.1"], "target_kl"),
    "crossing bounds of tau": (["controller.tau_min=2", "controller.tau_max=1"], "tau_min"),
    "crossing bounds of beta": (["controller.beta_min=2", "controller.beta_max=1"], "beta_min"),
    "zero tau rate": (["controller.tau_rule.learning_rate=0"], "tau_rule.learning_rate"),
    "negative beta rate": (["controller.beta_rule.learning_rate=-1"], "beta_rule.learning_rate"),
    "zero policy rate": (["grpo.learning_rate=0"], "grpo.learning_rate"),
    "interval 0": (["controller.update_interval=0"], "update_interval"),
    "G = 1": (["grpo.group_size=1"], "grpo.group_size is 1"),
    "unknown task": (["task.name=chess"], "countdown"),
    "too many prompts": (["task.held_out_prompts=1000000"], "1000000"),
    "missing model": (["policy.model=./nowhere"], "./nowhere"),
}


@pytest.mark.parametrize(("arguments", "named"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_ends_in_one_line_that_names_it(
    arguments: list[str], named: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def started(options: ClusterOptions) -> None:
        raise AssertionError("a cluster was started")

    monkeypatch.setattr(commands, "ray_cluster", started)
    result = run("compare", "--results", str(tmp_path), *arguments)
    assert result.exit_code == 2
    assert result.output.startswith("error: ")
    assert named in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("address", [(), ("--ray-address", "local")], ids=["no address", "local"])
@pytest.mark.parametrize("command", RUNNING)
def test_an_open_dashboard_without_a_token_is_refused(
    command: str, address: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    result = run(command, *address, "--dashboard-host", "0.0.0.0", "--results", str(tmp_path))
    assert result.exit_code == 2
    assert result.output.startswith("error: --dashboard-host is '0.0.0.0'")
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_tokenizer_is_refused_before_anything_starts(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).touch()
    result = run("train", f"policy.model={tmp_path}")
    assert result.exit_code == 2
    assert "has no tokenizer" in result.output


def test_a_missing_file_of_settings_is_named() -> None:
    result = run("train", "--config", "nowhere.yaml")
    assert result.exit_code == 2
    assert "nowhere.yaml" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--objective", "newton"),
        ("compare", "--mode", "wild"),
        ("sweep", "--search", "all"),
        ("train", "--nope"),
    ],
)
def test_usage_errors_exit_with_2(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize("command", RUNNING)
def test_a_folder_that_exists_is_not_overwritten(command: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    result = run(command, "--results", str(tmp_path), "--name", "mine")
    assert result.exit_code == 2
    assert f"{mine} exists and holds no run" in result.output
    (mine / "config.yaml").touch()
    result = run(command, "--results", str(tmp_path), "--name", "mine")
    assert result.exit_code == 2
    assert f"--resume {mine}" in result.output


@pytest.mark.parametrize("command", RUNNING)
def test_nothing_to_resume_is_said(command: str, tmp_path: Path) -> None:
    result = run(command, "--resume", str(tmp_path / "nothing"))
    assert result.exit_code == 2
    assert "it does not exist" in result.output
    result = run(command, "--resume", str(tmp_path))
    assert result.exit_code == 2
    assert "config.yaml" in result.output


def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt("interrupted. Go on with --resume results/new")

    monkeypatch.setattr(commands, "compare", interrupted)
    result = run("compare", "--results", str(tmp_path))
    assert result.exit_code == 130
    assert "--resume results/new" in result.output


def test_any_error_of_ours_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def failing(*arguments: Any) -> None:
        raise MaxentRayError("it is [bold]broken[/bold]")

    monkeypatch.setattr(commands, "train", failing)
    result = run("train", "--results", str(tmp_path))
    assert result.exit_code == 4
    assert result.output == "error: it is [bold]broken[/bold]\n"


def test_eval_prints_and_writes_intervals(tmp_path: Path) -> None:
    output = tmp_path / "new" / "eval.json"
    result = run("eval", "--config", str(SMOKE), "--prompts", "8", "--samples", "2", "--output", str(output))
    assert result.exit_code == 0
    for metric in ("mean@2", "pass@2", "distinct@2", "coverage@2"):
        assert metric in result.output
    written = json.loads(output.read_text())
    low, high = written["intervals"]["mean"]
    assert low <= written["metrics"]["mean"] <= high
    assert len(written["metrics"]["per_prompt"]["coverage"]) == 8
    assert [len(sample["answers"]) for sample in written["samples"]] == [2] * 8


def test_version_names_what_it_runs_on() -> None:
    output = run("version").output
    assert all(name in output for name in ("maxent-ray", "ray 2.", "torch 2.", "python 3."))


@pytest.mark.ray
@pytest.mark.parametrize("command", RUNNING)
def test_too_many_cpus_are_refused_with_what_there_is(ray_cluster: None, command: str, tmp_path: Path) -> None:
    result = run(command, "--results", str(tmp_path), "train.cpus_per_worker=64", "train.use_gpu=false")
    assert result.exit_code == 2
    assert "64 CPUs" in result.output
    assert "cluster has 4" in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ray
@pytest.mark.slow
def test_train_from_the_command_line(ray_cluster: None, tmp_path: Path) -> None:
    """Two ranks that merge their statistics themselves: both talk to the controller at the same moment, or neither."""
    arguments = ["-c", str(SMOKE), "--results", str(tmp_path), "--name", "mine", "--steps", "2", "--no-gpu"]
    result = run("train", *arguments, "--num-workers", "2", "--log-to", "tensorboard")
    assert result.exit_code == 0, result.output
    assert f"Logging to tensorboard: {tmp_path / 'mine' / 'tensorboard'}" in result.output.replace("\n", "")
    assert "2 of 2 policy steps" in result.output
    assert "warm start" in result.output
    written = {path.name for path in (tmp_path / "mine").iterdir()}
    assert {"policy", "rows.jsonl", "decisions.jsonl", "evaluations.jsonl", "summary.json", "tracking.png"} <= written
    for trial, steps in (("mine", [2]), ("warm_start", [0])):
        events = EventAccumulator(str(tmp_path / "mine" / "tensorboard" / trial))
        events.Reload()
        assert [event.step for event in events.Scalars("held_out/pass@4")] == steps


@pytest.mark.parametrize("command", RUNNING)
def test_an_unknown_tracker_is_refused_before_anything_starts(command: str, tmp_path: Path) -> None:
    result = run(command, "--results", str(tmp_path), "--log-to", "tensorboard,mlfow")
    assert result.exit_code == 2
    assert "error: --log-to has 'mlfow'; valid: tensorboard, mlflow, wandb, trackio or none" in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("columns", "width"), [("0", LOG_WIDTH), ("wide", LOG_WIDTH), ("-5", LOG_WIDTH), ("72", 72)])
def test_a_table_has_room_whatever_columns_says(monkeypatch: pytest.MonkeyPatch, columns: str, width: int) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert make_console().width == width


def test_figures_that_cannot_be_written_are_printed_and_the_reason_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    output = tmp_path / "file" / "eval.json"
    result = run("eval", "--config", str(SMOKE), "--prompts", "8", "--samples", "2", "--output", str(output))
    assert result.exit_code == 4
    assert "mean@2" in result.output and "--resume" not in result.output
    assert f"error: cannot write {output.parent}: File exists" in result.output
