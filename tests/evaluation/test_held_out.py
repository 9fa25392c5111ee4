from __future__ import annotations

import json
import math

import numpy as np
import pytest

from maxent_ray.errors import ConfigError, TaskError
from maxent_ray.evaluation.bootstrap import Interval, bootstrap_interval, paired_interval, seed_paired_interval
from maxent_ray.evaluation.held_out import HeldOutMetrics, grade_completions, grade_groups, metrics_of_grades
from maxent_ray.tasks import Countdown, Grade, Prompt

NINE = Prompt("2,3,4=9:", frozenset({"2+3+4", "2+4+3", "3+4+2"}))
TEN = Prompt("2,3,4=10:", frozenset({"2*3+4", "(2+3)*2"}))  # the second mode is never met


class Letters:
    """A task without a list of modes: half the reward for an "a", all of it for a "b"."""

    name = "letters"
    train = (Prompt("x"),)
    held_out = (Prompt("y"),)

    def grade(self, prompt: Prompt, completion: str) -> Grade:
        return {"a": Grade(0.5, "a"), "b": Grade(1.0, "b")}.get(completion, Grade(0.0))


def test_metrics_by_hand() -> None:
    completions = [
        ["2+3+4$", "4+(3+2)", "2+4+3", "2*3*4"],  # 3 of 4 right, 2 modes of 3
        ["2*3+4", "4+2*3$", "", "2+3+4"],  # 2 of 4 right, 1 mode of 2
        ["", "9", "-", "2+3"],  # nothing right
    ]
    metrics = grade_completions(Countdown(), [NINE, TEN, NINE], completions)
    assert metrics.per_prompt.mean == (0.75, 0.5, 0.0)
    assert metrics.per_prompt.pass_rate == (1.0, 1.0, 0.0)
    assert metrics.per_prompt.distinct == (2.0, 1.0, 0.0)
    assert metrics.per_prompt.coverage == (2 / 3, 1 / 2, 0.0)
    assert metrics.mean == pytest.approx(1.25 / 3)
    assert metrics.pass_rate == pytest.approx(2 / 3)
    assert metrics.distinct == pytest.approx(1.0)
    assert metrics.coverage == pytest.approx(7 / 18)
    assert (metrics.prompts, metrics.samples) == (3, 4)


def test_all_modes_sampled_is_full_coverage_and_collapse_is_not() -> None:
    task = Countdown()
    spread = [[sorted(prompt.modes)[i % len(prompt.modes)] for i in range(8)] for prompt in task.held_out]
    collapsed = [[min(prompt.modes)] * 8 for prompt in task.held_out]
    wide, narrow = (grade_completions(task, task.held_out, texts) for texts in (spread, collapsed))
    assert (wide.mean, wide.pass_rate, wide.coverage) == (1.0, 1.0, 1.0)
    assert (narrow.mean, narrow.pass_rate, narrow.distinct) == (1.0, 1.0, 1.0)
    expected = [1 / len(prompt.modes) for prompt in task.held_out]
    assert narrow.coverage == pytest.approx(sum(expected) / len(expected))


def test_a_task_that_lists_no_modes_has_no_coverage() -> None:
    metrics = grade_completions(Letters(), Letters.held_out, [["a", "b", "b", "c"]])
    assert (metrics.mean, metrics.pass_rate, metrics.distinct) == (0.625, 1.0, 2.0)
    assert math.isnan(metrics.coverage)
    written = metrics.to_dict()
    assert written["coverage"] is None
    assert math.isnan(HeldOutMetrics.from_dict(written).per_prompt.coverage[0])


def test_grades_once_taken_give_the_same_metrics() -> None:
    prompts, texts = [NINE, TEN], [["2+3+4", "1"], ["4+2*3", "2*3+4"]]
    grades = grade_groups(Countdown(), prompts, texts)
    assert grades == [[Grade(1.0, "2+3+4"), Grade(0.0)], [Grade(1.0, "2*3+4"), Grade(1.0, "2*3+4")]]
    metrics = metrics_of_grades(prompts, grades)
    assert metrics == grade_completions(Countdown(), prompts, texts)
    assert (metrics.per_prompt.distinct, metrics.samples) == ((1.0, 1.0), 2)


def test_metrics_survive_strict_json() -> None:
    metrics = grade_completions(Countdown(), [NINE, TEN], [["2+3+4", ""], ["2*3+4", "1"]])
    assert HeldOutMetrics.from_dict(json.loads(json.dumps(metrics.to_dict(), allow_nan=False))) == metrics


@pytest.mark.parametrize(
    ("prompts", "completions", "message"),
    [
        ([], [], "prompts is empty"),
        ([NINE], [], "completions has 0 lists for 1 prompts"),
        ([NINE, TEN], [["a"], ["a", "b"]], r"completions has \[1, 2\] texts a prompt"),
        ([NINE], [[]], r"completions has \[0\] texts a prompt"),
        (
            [Prompt("2,3,4=9:", frozenset({"2+3+4"}))],
            [["2+4+3"]],
            r"modes \['2\+4\+3'\] that prompt '2,3,4=9:'",
        ),
    ],
)
def test_bad_input(prompts: list[Prompt], completions: list[list[str]], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        grade_completions(Countdown(), prompts, completions)


def test_bootstrap_is_near_the_normal_interval() -> None:
    """n = 400 coin flips: mean ± 1.96·sqrt(p(1-p)/n) = 0.5 ± 0.049, to within the bootstrap's own noise."""
    low, high = bootstrap_interval([0.0, 1.0] * 200)
    half = 1.959964 * 0.5 / math.sqrt(400)
    assert low == pytest.approx(0.5 - half, abs=0.006)
    assert high == pytest.approx(0.5 + half, abs=0.006)


def test_bootstrap_covers_the_true_mean() -> None:
    """Of 200 intervals at 90 %, about 180 hold the true mean (standard deviation 4.2)."""
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        sample = rng.normal(1.0, 2.0, size=60)
        hits += not bootstrap_interval(sample.tolist(), confidence=0.9, seed=trial, resamples=500).excludes(
            1.0
        )
    assert 162 <= hits <= 196


def test_confidence_widens_and_the_seed_repeats() -> None:
    values = [index / 40 for index in range(40)]
    narrow, wide = (bootstrap_interval(values, confidence=confidence) for confidence in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


@pytest.mark.parametrize("values", [[0.0], [0.3], [0.0] * 50, [1.0] * 50, [0.1 + 0.2, 0.3] * 20])
def test_constant_values_have_no_width(values: list[float]) -> None:
    low, high = bootstrap_interval(values)
    assert low == high == pytest.approx(values[0])


def test_almost_constant_values_have_an_interval() -> None:
    low, high = bootstrap_interval([0.0] * 127 + [1.0])
    assert 0.0 <= low < 1 / 128 < high < 0.1


@pytest.mark.parametrize(
    ("values", "settings", "message"),
    [
        ([], {}, "values has shape"),
        ([0.0, math.nan], {}, "values holds nan"),
        ([0.0, math.inf], {}, "values holds inf"),
        ([0.0, 1.0], {"confidence": 0.0}, "confidence is 0.0"),
        ([0.0, 1.0], {"confidence": 95.0}, "confidence is 95.0"),
        ([0.0, 1.0], {"resamples": 0}, "resamples is 0"),
    ],
)
def test_bad_interval_input(values: list[float], settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        bootstrap_interval(values, **settings)  # type: ignore[arg-type]


def test_pairing_removes_what_the_prompts_share() -> None:
    """Prompts differ by 0 … 1, the runs by 0.1 ± 0.01: only the paired interval sees it."""
    rng = np.random.default_rng(1)
    hard = rng.random(100)
    a, b = hard + 0.1 + rng.normal(0, 0.01, 100), hard
    paired = paired_interval(a.tolist(), b.tolist())
    assert paired.excludes(0.0)
    assert 0.09 < paired.low < 0.1 < paired.high < 0.11
    assert bootstrap_interval(a.tolist()).low < bootstrap_interval(b.tolist()).high


def test_paired_interval_is_that_of_the_differences() -> None:
    a, b = [1.0, 0.5, 0.25, 0.75], [0.5, 0.5, 0.5, 0.0]
    assert paired_interval(a, b) == bootstrap_interval([0.5, 0.0, -0.25, 0.75])
    assert paired_interval(a, a) == Interval(0.0, 0.0)


def test_seed_paired_interval_resamples_prompts_as_clusters() -> None:
    """Oracle: draw prompts with all of their seeds, pool the seeds × prompts table, take its mean.

    Three seeds that agree on every prompt say no more than one of them, though the table is thrice as long.
    """
    rng = np.random.default_rng(2)
    prompt_effect = rng.normal(0.2, 1.0, 80)
    a = np.stack([prompt_effect + rng.normal(0, 0.1, 80) for _ in range(3)])
    b = np.zeros((3, 80))
    interval = seed_paired_interval(a.tolist(), b.tolist(), resamples=4000)
    means = [a[:, rng.integers(0, 80, 80)].mean() for _ in range(4000)]
    low, high = np.quantile(means, [0.025, 0.975])
    assert interval.low == pytest.approx(low, abs=0.03)
    assert interval.high == pytest.approx(high, abs=0.03)
    pooled = bootstrap_interval(a.ravel().tolist())
    assert interval.high - interval.low > 1.5 * (pooled.high - pooled.low)


def test_seed_paired_interval_with_one_seed_is_the_paired_one() -> None:
    a, b = [0.1, 0.9, 0.4, 0.6, 0.2], [0.3, 0.1, 0.2, 0.2, 0.1]
    assert seed_paired_interval([a], [b], seed=9) == paired_interval(a, b, seed=9)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([], []),
        ([[1.0]], [[1.0], [1.0]]),
        ([[1.0, 2.0]], [[1.0]]),
        ([[1.0, 2.0], [1.0]], [[1.0, 2.0], [1.0]]),
    ],
)
def test_tables_that_do_not_pair(a: list[list[float]], b: list[list[float]]) -> None:
    with pytest.raises(ConfigError, match="both need the same seeds"):
        seed_paired_interval(a, b)
