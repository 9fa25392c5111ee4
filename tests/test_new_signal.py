"""A signal that is added to the table, and computed, is logged everywhere; nothing else has to know it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from maxent_ray.core import signals
from maxent_ray.core.signals import LoggedSignal
from maxent_ray.report.plots import draw_plots
from maxent_ray.report.summary import Summary, summarise
from maxent_ray.report.tables import comparison_markdown, print_comparison
from maxent_ray.runtime import kept_gauges
from maxent_ray.runtime.metrics import ControllerMetrics, RankMetrics, decision_gauges
from maxent_ray.runtime.run_tags import RunTags
from maxent_ray.storage.run_files import DECISIONS, ROWS, read_rows
from maxent_ray.train.step_record import StepRecord
from maxent_ray.train.worker import TrainingWorker
from maxent_ray.tune.recording import Recorder
from maxent_ray.tune.trial_spec import TrialSpec
from tests.report.results_folder import write_results
from tests.train.tiny import start, tiny_config

STEPS = 4
LENGTH = LoggedSignal(
    "answer_length",
    "tokens",
    "Mean length of an answer",
    exporter="rank",
    metric="answer_length_tokens",
    plotted=True,
    summary="mean",
)  # computed by the worker, below
TAU_GRAD = LoggedSignal(
    "tau_grad", "", "Gradient of tau", exporter="decision", metric="own", summary="last"
)  # a field of Decision
CUT_SHORT = LoggedSignal(
    "cut_short", "", "Answers that were cut short", over_ranks="max", summary="total", note="answer(s) were cut short."
)


class FakeGauge:
    """Keeps what was set."""

    values: dict[str, float]

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        self._name = name
        assert description and tag_keys

    def set(self, value: float, tags: dict[str, str]) -> None:
        self.values[self._name] = value


@pytest.fixture(scope="module")
def table() -> Iterator[None]:
    """The table with three more entries, and the worker with two more values."""
    measured = TrainingWorker._measured

    def more(self: TrainingWorker, step: int, batch: Any, *rest: Any) -> dict[str, Any]:
        length = float(batch.rollout.completion_mask.sum(dim=-1).double().mean())
        return {**measured(self, step, batch, *rest), "answer_length": length, "cut_short": step}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signals, "SIGNALS", (*signals.SIGNALS, LENGTH, TAU_GRAD, CUT_SHORT))
        patch.setattr(TrainingWorker, "_measured", more)
        yield


@pytest.fixture(scope="module")
def trained(table: None) -> tuple[list[StepRecord], list[dict[str, Any]]]:
    process = start(tiny_config({"runtime.lag": 0}))
    records = process.run(STEPS)
    return records, process.decisions()


@pytest.fixture(scope="module")
def folder(trained: tuple[list[StepRecord], list[dict[str, Any]]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    records, decisions = trained
    made = tmp_path_factory.mktemp("results") / "run"
    write_results(made, lineage=False, references=False, evaluations=False)
    (made / ROWS).unlink()
    (made / DECISIONS).unlink()
    label = {"trial": "analytic-0", "segment": 0}
    result = {
        "rows": [{**record.to_dict(), **label} for record in records],
        "decisions": [{**decision, **label} for decision in decisions],
        "config": TrialSpec("analytic-0", "analytic", "{}", {}).to_config(),
    }
    Recorder(made).on_trial_result(1, [], None, result)
    return made


@pytest.fixture(scope="module")
def summary(folder: Path) -> Summary:
    return summarise(folder)


def test_it_is_a_field_of_a_row(folder: Path, trained: tuple[list[StepRecord], list[dict[str, Any]]]) -> None:
    records, decisions = trained
    rows = read_rows(folder / ROWS)
    assert [row["answer_length"] for row in rows] == [record.answer_length for record in records]
    assert all(1 <= row["answer_length"] <= 8 for row in rows)
    known = [None, *(decision["tau_grad"] for decision in decisions)]  # a row is made before its own decision
    assert [row["tau_grad"] for row in rows] == known[:STEPS]
    assert known[-1] is not None


def test_it_is_a_metric(
    trained: tuple[list[StepRecord], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    records, decisions = trained
    values: dict[str, float] = {}
    monkeypatch.setattr(FakeGauge, "values", values, raising=False)
    monkeypatch.setattr(kept_gauges, "Gauge", FakeGauge)
    tags = RunTags("run", "run", "analytic")
    RankMetrics(tags, 0).publish(records[-1].signals)
    assert values["maxent_answer_length_tokens"] == records[-1].answer_length
    assert "maxent_own" not in values
    ControllerMetrics(tags, decision_gauges()).publish(decisions[-1], {})
    assert values["maxent_own"] == decisions[-1]["tau_grad"]


def test_it_is_a_panel_of_the_plot(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signals, "SIGNALS", tuple(each for each in signals.SIGNALS if each != LENGTH))
        without = height_of(folder)
    assert height_of(folder) > without  # a seventh panel, on a row of its own
    with Image.open(folder / "signals.png") as image:
        picture = np.asarray(image.convert("RGB"))[without:]
    assert (picture == (0x00, 0x72, 0xB2)).all(axis=-1).sum() > 100  # with a line in it


def test_it_is_a_figure_of_the_summary_and_a_line_of_the_tables(
    folder: Path, summary: Summary, trained: tuple[list[StepRecord], list[dict[str, Any]]]
) -> None:
    records, decisions = trained
    written = json.loads((folder / "summary.json").read_text())
    length = fmean(record.answer_length for record in records)
    assert written["trials"][0]["answer_length"] == written["objectives"][0]["best_answer_length"] == length
    assert written["trials"][0]["tau_grad"] == decisions[-2]["tau_grad"]
    assert written["trials"][0]["cut_short"] == STEPS - 1
    name = "answer length (tokens), mean of the last 20 steps"
    assert f"| {name} | {length:.3f} |" in comparison_markdown(summary)
    console = Console(file=io.StringIO(), width=140, record=True)
    print_comparison(summary, console)
    text = console.export_text()
    assert name in text and "tau grad at the end" in text and f"{STEPS - 1} answer(s) were cut short." in text


def height_of(folder: Path) -> int:
    (path,) = draw_plots(folder, ["signals"])
    with Image.open(path) as image:
        return image.height
