"""The tournament: its files of arms, its verdicts on records with known answers, and a small one from end to end."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments"))

import tournament
import tournament_figures
from tournament_arms import Arm, digest, read_arms
from tournament_report import FAMILIES, Result, difference, dominating, main_table, page, pooled_table, verdicts

from maxent_ray.config.loading import load_config
from maxent_ray.core.answer_metrics import METRICS
from maxent_ray.core.controller import Controller
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.errors import ConfigError


def result(name: str, *, mean: float, pass_rate: float, coverage: float, family: str = "other") -> Result:
    """Two seeds of 40 prompts, .02 apart, every prompt alike."""
    values = {"mean": mean, "pass_rate": pass_rate, "distinct": 1.0, "coverage": coverage}
    last = dict.fromkeys(("entropy", "kl", "tau", "beta", "tied_share", "policy_entropy"), 0.5)
    runs = {
        seed: {
            "held_out": {metric: [values[metric] + 0.02 * seed] * 40 for metric in METRICS},
            "last": last,
        }
        for seed in (0, 1)
    }
    return Result(Arm(family, name, "An arm.", ()), runs)


def results(*extra: Result) -> dict[str, Result]:
    grpo = result("grpo", mean=0.48, pass_rate=0.64, coverage=0.22, family="grpo")
    ours = result("analytic", mean=0.48, pass_rate=0.72, coverage=0.34, family="ours")
    return {each.arm.name: each for each in (ours, grpo, *extra)}


WARM_START = result("warm start", mean=0.4, pass_rate=0.7, coverage=0.4)


def test_every_arm_is_a_valid_configuration_of_a_known_family() -> None:
    arms = read_arms()
    assert {arm.family for arm in arms} <= set(FAMILIES)
    assert {"analytic", "truncated_backprop", "decoupled", "grpo", "grpo_kl_loop", "kl_loop_tau_0.1"} <= {
        arm.name for arm in arms
    }


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("controller: {beta: 0.1}\n", "first line must be a comment"),
        ("# An arm.\ntrain: {steps: 5}\n", "sets train, which must be equal for all arms"),
        ("# An arm.\ncontroller: {betta: 0.1}\n", "betta"),
    ],
    ids=["no comment", "its own steps", "unknown key"],
)
def test_an_arm_is_refused_by_its_file(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "arm.yaml").write_text(text)
    with pytest.raises(ConfigError, match=named) as error:
        read_arms(tmp_path)
    assert "arm.yaml" in str(error.value)


def test_two_arms_of_one_name_are_refused(tmp_path: Path) -> None:
    for family in ("one", "two"):
        (tmp_path / family).mkdir()
        (tmp_path / family / "same.yaml").write_text("# An arm.\ncontroller: {beta: 0.1}\n")
    with pytest.raises(ConfigError, match="two arms are called 'same'"):
        read_arms(tmp_path)
    with pytest.raises(ConfigError, match="which has no"):
        read_arms(tmp_path / "one")


def test_settings_of_an_arm_reach_the_run(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "arm.yaml").write_text(
        "# An arm.\ncontroller:\n  beta_rule: {type: adaptive_kl, horizon: 52}\n"
    )
    (arm,) = read_arms(tmp_path)
    assert arm.settings == ('controller.beta_rule.type="adaptive_kl"', "controller.beta_rule.horizon=52")
    assert tournament.overrides(arm, 3, 200, "countdown")[1:3] == ["train.steps=200", "train.seed=3"]


def test_a_difference_is_paired_by_seed_and_prompt() -> None:
    found = difference(results()["analytic"], results()["grpo"], "pass_rate")
    assert found.value == pytest.approx(0.08)
    assert found.interval.low == pytest.approx(0.08)  # seeds differ by .02, the pairs do not
    assert str(found) == "+0.080 [+0.080, +0.080]"


def test_all_of_ours_are_one_arm_on_the_seeds_that_all_have() -> None:
    second = result("decoupled", mean=0.5, pass_rate=0.70, coverage=0.34, family="ours")
    second = replace(second, runs={1: second.runs[1]})
    kl_loop = result("grpo_kl_loop", mean=0.49, pass_rate=0.7, coverage=0.3, family="ablations")
    *_, base, loop = pooled_table(results(second, kl_loop)).splitlines()
    assert base.startswith("| less `grpo` | 2 × 1 | +0.010 [+0.010, +0.010] | +0.070 [+0.070, +0.070] |")
    assert loop.startswith("| less `grpo_kl_loop` | 2 × 1 | +0.000 [")
    assert pooled_table(results()) == ""


def test_claims_are_reached_or_not() -> None:
    assert all("**reached**" in line for line in verdicts(results(), WARM_START))
    weak = {**results(), "grpo": result("grpo", mean=0.52, pass_rate=0.67, coverage=0.3, family="grpo")}
    assert ["**not reached**" in line for line in verdicts(weak, WARM_START)] == [True] * 3 + [False] * 2
    strong = result("warm start", mean=0.4, pass_rate=0.72, coverage=0.4)
    assert verdicts(results(), strong)[3] == (
        "pass@8: +0.000 [+0.000, +0.000] against the warm start (interval above 0): **not reached**"
    )


def test_an_arm_that_is_better_in_all_three_is_named() -> None:
    better = result("better", mean=0.5, pass_rate=0.73, coverage=0.35)
    mixed = result("mixed", mean=0.6, pass_rate=0.9, coverage=0.33)
    elsewhere = result("elsewhere", mean=0.9, pass_rate=0.9, coverage=0.9)
    elsewhere = replace(elsewhere, runs={7: elsewhere.runs[0]})  # no seed in common: nothing to pair
    (line,) = dominating(results(better, mixed, elsewhere))
    assert line.startswith("`better` by 0.020, 0.0") and ", for certain in " in line and line.endswith("coverage@8")
    (alone,) = dominating(results(replace(better, runs={0: better.runs[0]})))
    assert alone.endswith(", of one seed")  # an interval over its prompts alone
    last = verdicts(results(better, mixed, elsewhere), WARM_START)[-1]
    assert last.startswith("1 of 3 other arms above analytic in all three means: **not reached** (`better` by 0.020")


def test_a_row_leaves_out_what_an_arm_does_not_have() -> None:
    mine = result("mine", mean=0.5, pass_rate=0.7, coverage=0.3)
    row = main_table([mine], WARM_START).splitlines()[-1]
    assert row.endswith("| 0.5 | 0.5 | 0.5 | 0.5 | 0.5 | 0.5 |")
    grpo = {arm.name: arm for arm in read_arms()}["grpo"]
    assert Result(grpo, result("grpo", mean=0.5, pass_rate=0.7, coverage=0.3).runs).last("tau") is None


def test_entropic_acts_on_errors_as_they_are() -> None:
    """α = K_p·e + K_i·Σe of EntroPIC, with τ = 1 − α; no error is cut, smoothed or limited on its way."""
    settings = {arm.name: arm for arm in read_arms()}["entropic"].settings
    controller = Controller(load_config(overrides=settings).controller_config())
    state, errors = controller.init(), [0.0]
    for entropy in (0.31, 0.25, 0.2, 0.05, 0.4, 0.1):
        state, _ = controller.step(state, BatchStatistics(tokens=1, policy_entropy_sum=entropy, policy_kl_sum=0.1))
        errors.append(entropy - 0.1)
        alpha = (errors[-1] - errors[1]) + 0.01 * sum(errors)
        assert state.tau == pytest.approx(0.8 - alpha)


def test_the_page_has_every_arm_and_what_is_missing(tmp_path: Path) -> None:
    found = results(result("third", mean=0.4, pass_rate=0.7, coverage=0.4))
    text = page(found, WARM_START, "the command", ["third-2"], "What was learned.", "Countdown, 200 steps")
    assert "**1 runs are missing**" in text
    assert "What was learned." in text
    assert "| **warm start** | 2 | 0.410 [0.400, 0.420] |" in text
    assert all(f"| `{name}` | 2 |" in text for name in found)
    tournament_figures.draw_pareto(found, WARM_START, tmp_path / "pareto.png")
    assert (tmp_path / "pareto.png").stat().st_size > 20_000


def test_a_digest_keeps_what_the_report_reads() -> None:
    row = dict.fromkeys(("tau", "beta", "entropy", "kl", "reward", "pass_rate", "coverage", "policy_entropy"), 1.0)
    rows = [
        {**row, "tied_share": float(step >= 50), "seconds": 0.5, "target_entropy": None, "target_kl": 0.2}
        for step in range(100)
    ]
    held_out = {"per_prompt": {metric: [1 / 3] * 4 for metric in METRICS}}
    record: dict[str, Any] = {"overrides": [], "then": [], "rows": rows}
    found = digest({**record, "held_out": held_out})
    assert found["last"]["tied_share"] == 1.0
    assert [point["tied_share"] for point in found["curve"]] == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert found["held_out"]["coverage"] == [0.333333] * 4
    assert found["seconds"] == 50.0


@pytest.mark.slow
def test_a_small_tournament_is_made_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    given = ["--task", "countdown_small", "--seeds", "1", "--steps", "2", "--processes", "2", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["tournament.py", *given, "--named", "analytic", "grpo"])
    tournament.main()
    first = capsys.readouterr().out
    assert "2 runs" in first
    assert "| `analytic` | 1 |" in (output / "README.md").read_text()
    made = {path.name: path.stat().st_mtime_ns for path in (output / "runs").iterdir()}
    assert sorted(made) == ["analytic-0.json", "grpo-0.json"]
    assert set(json.loads((output / "summary.json").read_text())["arms"]) == {"analytic", "grpo", "warm start"}
    before = json.loads((output / "warm_start.json").read_text())
    assert before["0"]["overrides"][-1] == "evaluation.seed=0"
    assert len(before["0"]["held_out"]["coverage"]) == tournament.PROMPTS
    measured = (output / "warm_start.json").stat().st_mtime_ns
    for options in ([], ["--report-only"]):
        monkeypatch.setattr(sys, "argv", ["tournament.py", *given, "--named", "analytic", "grpo", *options])
        tournament.main()
        assert {path.name: path.stat().st_mtime_ns for path in (output / "runs").iterdir()} == made
        assert (output / "warm_start.json").stat().st_mtime_ns == measured


def test_a_report_without_runs_says_so_and_samples_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tournament.py", "--output", str(tmp_path / "new"), "--report-only"])
    tournament.main()
    assert "no run is finished yet" in capsys.readouterr().out
    assert not (tmp_path / "new").exists()
