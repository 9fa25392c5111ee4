"""Objectives, rules and tasks of a user's own: by import path and by entry point, and what is wrong with them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from maxent_ray import plugins
from maxent_ray.config import ExperimentConfig, load_config
from maxent_ray.core.controller import Controller
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.errors import ConfigError, UnknownObjectiveError
from maxent_ray.tasks import build_task

MODULE = '''
from maxent_ray import ControllerGradients, ControllerObjective
from maxent_ray.core.update_rules import UpdateRule, sgd
from maxent_ray.tasks import Grade, Prompt


class Gentle(ControllerObjective):
    """A tenth of the analytic signals."""

    name = "gentle"

    def __init__(self, share=0.1):
        self.share = share

    def compute(self, meta_ctx):
        error = meta_ctx.entropy_value() / meta_ctx.weighting.tau_target_entropy - 1
        return ControllerGradients(tau_grad=self.share * error, source=self.name)


def slow(rate=0.01):
    return sgd(rate, space="log")


def endless():
    return UpdateRule(lambda value: {"sum": float("inf")}, lambda signal, state: (signal, state))


class Echo:
    """Right is what repeats the prompt."""

    name = "echo"

    def __init__(self, held_out_count, seed, letters="abcdefgh"):
        prompts = [Prompt(letter, frozenset([letter])) for letter in letters]
        self.held_out, self.train = prompts[:held_out_count], prompts[held_out_count:]

    def grade(self, prompt, completion):
        right = completion.startswith(prompt.text)
        return Grade(float(right), prompt.text if right else None)


def nothing(**kwargs):
    return None
'''
ENTRY_POINTS = """
[maxent_ray.objectives]
gentle = own_plugins:Gentle
[maxent_ray.rules]
slow = own_plugins:slow
[maxent_ray.tasks]
echo = own_plugins:Echo
twice = own_plugins:Echo
"""


def install(folder: Path, name: str, entry_points: str) -> None:
    """What pip leaves of a package that has entry points."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module and an installed package of the user's own, on the path."""
    (tmp_path / "own_plugins.py").write_text(MODULE)
    (tmp_path / "broken_plugins.py").write_text("1 / 0\n")
    (tmp_path / "needy_plugins.py").write_text("import no_such_library\n")
    (tmp_path / "quitting_plugins.py").write_text("import sys\nsys.exit('no thanks')\n")
    install(tmp_path, "own", ENTRY_POINTS)
    install(tmp_path, "other", "[maxent_ray.tasks]\ntwice = other_plugins:Echo\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.plug_ins.cache_clear()
    yield tmp_path
    plugins.plug_ins.cache_clear()
    sys.modules.pop("own_plugins", None)


TOO_DIVERSE = BatchStatistics(groups=1, weight_entropy_sum=2.0, tokens=1, policy_kl_sum=0.05)


def controller(*overrides: str) -> Controller:
    return Controller(load_config(overrides=overrides).controller_config())


# --- found ---


@pytest.mark.parametrize("kind", ["gentle", "own_plugins:Gentle"])
def test_an_objective_by_entry_point_and_by_import_path(own: Path, kind: str) -> None:
    config = load_config(overrides=[f"controller.objective={{type: '{kind}', kwargs: {{share: 0.5}}}}"])
    assert config.controller.objective is not None
    assert (config.controller.objective.type, config.controller.objective.label) == ("custom", kind)
    rules = Controller(config.controller_config())
    state, decision = rules.step(rules.init(), TOO_DIVERSE)
    assert decision.source == "gentle"
    assert decision.tau_grad == pytest.approx(0.5 * (2.0 / rules.config.target_entropy_at(0) - 1))
    assert state.tau < 0.3
    assert list(state.objective) == ["gentle"]


@pytest.mark.parametrize("kind", ["slow", "own_plugins:slow"])
def test_a_rule_by_entry_point_and_by_import_path(own: Path, kind: str) -> None:
    rules = controller(f"controller.tau_rule={{type: '{kind}', kwargs: {{rate: 0.5}}}}")
    usual = controller("controller.tau_rule={type: sgd, learning_rate: 0.5, clip: null}")
    assert rules.step(rules.init(), TOO_DIVERSE)[0].tau == usual.step(usual.init(), TOO_DIVERSE)[0].tau


@pytest.mark.parametrize("name", ["echo", "own_plugins:Echo"])
def test_a_task_by_entry_point_and_by_import_path(own: Path, name: str) -> None:
    task = build_task(name, held_out_count=2, seed=0, kwargs={"letters": "xyz"})
    assert [prompt.text for prompt in (*task.held_out, *task.train)] == ["x", "y", "z"]
    assert task.grade(task.train[0], "zebra").reward == 1.0


def test_settings_survive_their_way_into_a_file_and_do_not_need_the_code_there(own: Path) -> None:
    """A results folder can be read where the plug-in is not installed: only running it imports it."""
    config = load_config(overrides=["controller.objective.type=gentle"])
    again = ExperimentConfig.model_validate(config.model_dump())
    assert again == config
    assert "own_plugins" not in sys.modules


# --- what is wrong ---


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_module:Mine", "there is no module 'no_such_module'; is it installed"),
        ("own_plugins.deeper:Mine", "there is no module 'own_plugins.deeper'"),
        ("own_plugins:Mine", "own_plugins has no 'Mine'"),
        ("broken_plugins:Mine", "importing broken_plugins fails with ZeroDivisionError: division by zero"),
        ("needy_plugins:Mine", "there is no module 'no_such_library', which needy_plugins imports"),
        ("quitting_plugins:Mine", "importing quitting_plugins fails with SystemExit: no thanks"),
        (":Mine", "it must be an import path, as package.module:name"),
        ("own_plugins:", "it must be an import path, as package.module:name"),
    ],
)
@pytest.mark.parametrize("section", ["objective", "tau_rule", "beta_rule", "task"])
def test_a_path_that_leads_nowhere_is_named_with_the_reason(own: Path, path: str, message: str, section: str) -> None:
    with pytest.raises(ConfigError) as caught:
        if section == "task":
            build_task(path)
        else:
            controller(f"controller.{section}={{type: custom, import_path: '{path}'}}")
    assert repr(path) in str(caught.value)
    assert message in str(caught.value)
    assert str(caught.value).startswith("task.name" if section == "task" else f"controller.{section}.import_path")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("objective: {type: 'own_plugins:slow'}", "which gives UpdateRule, no ControllerObjective"),
        ("objective: {type: 'own_plugins:nothing'}", "which gives NoneType, no ControllerObjective"),
        ("tau_rule: {type: 'own_plugins:Gentle'}", "which is no update rule: it returns Gentle, not UpdateRule"),
        ("tau_rule: {type: 'own_plugins:endless'}", "state.sum is inf, must be a mapping of finite numbers"),
        ("tau_rule: {type: slow, kwargs: {rat: 1}}", r"calling it with (rat=1) fails with TypeError"),
        ("objective: {type: gentle, kwargs: {share: 1, x: 2}}", r"calling it with (share=1, x=2) fails with TypeError"),
    ],
)
def test_what_is_found_and_is_something_else_is_named(own: Path, setting: str, message: str) -> None:
    name, _, value = setting.partition(": ")
    with pytest.raises(ConfigError) as caught:
        controller(f"controller.{name}={value}")
    assert message in str(caught.value)


def test_a_task_that_is_none_says_what_it_lacks(own: Path) -> None:
    with pytest.raises(ConfigError, match=r"gives NoneType, no task: it must have name, train, held_out and grade"):
        build_task("own_plugins:nothing")
    with pytest.raises(ConfigError, match=r"calling it with .*colour='red'.* fails with TypeError"):
        build_task("echo", kwargs={"colour": "red"})
    with pytest.raises(ConfigError, match=r"task.kwargs has 'seed'; set task.held_out_prompts or task.seed"):
        build_task("echo", kwargs={"seed": 1})


def test_two_plug_ins_of_one_name_are_both_named(own: Path) -> None:
    with pytest.raises(ConfigError, match=r"'twice', which .* both provide; give the import path of one") as caught:
        build_task("twice")
    assert "own_plugins:Echo" in str(caught.value) and "other_plugins:Echo" in str(caught.value)


def test_a_built_in_name_is_never_a_plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "thief", "[maxent_ray.tasks]\ncountdown = thief:Task\n[maxent_ray.rules]\nadam = thief:rule\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.plug_ins.cache_clear()
    try:
        assert build_task("countdown", held_out_count=8).name == "countdown"
        assert load_config(overrides=["controller.tau_rule.type=adam"]).controller.rule("tau").type == "adam"
    finally:
        plugins.plug_ins.cache_clear()


def test_a_name_that_there_is_not_gets_the_valid_ones_plug_ins_too(own: Path) -> None:
    with pytest.raises(UnknownObjectiveError, match="'gentel'; valid: analytic, custom, gentle, truncated_ba"):
        load_config(overrides=["controller.objective.type=gentel"])
    with pytest.raises(ConfigError, match=r"'slo'; valid: adam, .* slow, threshold_kl, or an import path"):
        load_config(overrides=["controller.beta_rule.type=slo"])
    with pytest.raises(ConfigError, match=r"task.name is 'eco'; valid: countdown, .*echo, .*twice, or an import path"):
        build_task("eco")
