from __future__ import annotations

import json
from pathlib import Path

import pytest

from maxent_ray.report.plots import SWEEP_PLOTS, draw_plots
from maxent_ray.report.run_records import read_run
from maxent_ray.report.summary import build_summary, summarise
from tests.report.results_folder import write_results
from tests.report.sweep_folder import ENTROPY, GRID, KL, STEPS, STOPPED_AT, drawn, write_sweep
from tests.report.test_plots import pixels


def test_points_know_their_state_and_only_finished_ones_have_values(tmp_path: Path) -> None:
    summary = summarise(write_sweep(tmp_path / "a", stopped=["analytic-2"], unfinished=["analytic-8"]))
    sweep = summary.sweep
    assert sweep is not None
    states = {point.trial: point.state for point in sweep.points}
    assert states == {f"analytic-{i}": {2: "stopped", 8: "unfinished"}.get(i, "finished") for i in range(9)}
    assert summary.stopped == ("analytic-2",) and summary.unfinished == ("analytic-8",)
    assert [point.stopped_at for point in sweep.points if point.state == "stopped"] == [STOPPED_AT]
    for point in sweep.points:
        for measure in ("entropy_error", "kl_error", "pass_rate", "coverage"):
            assert (point.value(measure) is None) == (point.state != "finished")


def test_what_early_stopping_saved_is_counted(tmp_path: Path) -> None:
    saved = summarise(write_sweep(tmp_path / "a", stopped=["analytic-2", "analytic-3"])).early_stopping
    assert saved is not None
    assert (saved.trials, saved.saved_steps, saved.planned_steps) == (2, 2 * (STEPS - STOPPED_AT), 9 * STEPS)
    assert saved.saved_seconds == pytest.approx(0.5 * saved.saved_steps)
    assert summarise(write_sweep(tmp_path / "b")).early_stopping is None


def test_no_point_of_the_front_is_beaten_and_all_others_are(tmp_path: Path) -> None:
    sweep = build_summary(read_run(write_sweep(tmp_path / "a", stopped=["analytic-1"]))).sweep
    assert sweep is not None
    values = {p.trial: (p.value("mean"), p.value("coverage")) for p in sweep.points if p.state == "finished"}

    def beaten(own: tuple[float, float]) -> bool:
        return any(a >= own[0] and b >= own[1] and (a, b) != own for a, b in values.values())  # type: ignore[operator]

    assert {trial for trial, value in values.items() if not beaten(value)} == set(sweep.front)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("points", "layout", "axes"),
    [
        (GRID, "heat_map", (KL, ENTROPY)),
        (drawn(12), "scatter", (KL, ENTROPY)),
        ([{KL: kl} for kl in (0.03, 0.05, 0.1)], "line", (KL, None)),
        ([{"controller.tau_rule": {"type": rule}} for rule in ("pi", "adam")], "line", ("controller.tau_rule", None)),
    ],
    ids=["grid", "drawn", "one target", "rules"],
)
def test_the_layout_follows_from_what_was_searched(
    points: list[dict[str, object]], layout: str, axes: tuple[str, str | None], tmp_path: Path
) -> None:
    folder = write_sweep(tmp_path / "a", points, stopped=["analytic-1"])
    sweep = build_summary(read_run(folder)).sweep
    assert sweep is not None and (sweep.layout, (sweep.x, sweep.y)) == (layout, axes)
    for path in draw_plots(folder, SWEEP_PLOTS):
        picture = pixels(path)
        assert 1200 <= picture.shape[1] <= 2000 and (picture[:, -4:].reshape(-1, 3) == 255).all()


def test_rules_and_objectives_are_panels(tmp_path: Path) -> None:
    points = [{**point, "controller.tau_rule": {"type": rule}} for point in GRID[:4] for rule in ("pi", "adam")]
    sweep = build_summary(read_run(write_sweep(tmp_path / "a", points, objectives=["analytic", "mine"]))).sweep
    assert sweep is not None and sweep.panels == ("controller.tau_rule",)
    headings = [f"{o}, rule of τ {rule}" for rule in ("pi", "adam") for o in ("analytic", "mine")]
    assert sorted(sweep.groups()) == sorted(headings)


def test_a_comparison_has_no_sweep_and_its_plots_say_so(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "a")
    assert build_summary(read_run(folder)).sweep is None
    assert len(draw_plots(folder, SWEEP_PLOTS)) == 2


def test_a_sweep_of_before_trials_were_recorded_is_told_by_its_settings(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "a")
    now = build_summary(read_run(folder)).sweep
    (folder / "trials.jsonl").unlink()
    before = build_summary(read_run(folder)).sweep
    assert now is not None and before is not None and before.front == now.front and before.layout == "heat_map"


def test_a_sweep_that_has_just_begun_is_drawn(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "a", unfinished=[f"analytic-{i}" for i in range(9)], references=False)
    (folder / "rows.jsonl").write_text("")
    (folder / "evaluations.jsonl").write_text("")
    sweep = build_summary(read_run(folder)).sweep
    assert sweep is not None and {point.state for point in sweep.points} == {"unfinished"} and sweep.front == ()
    assert len(draw_plots(folder, SWEEP_PLOTS)) == 2


def test_the_summary_has_all_of_it_as_strict_json(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "a", stopped=["analytic-2"])
    summarise(folder)
    written = json.loads((folder / "summary.json").read_text())
    assert written["sweep"]["x"] == KL and len(written["sweep"]["points"]) == 9
    assert written["sweep"]["points"][2]["stopped_at"] == written["early_stopping"]["trials"] * STOPPED_AT
    stopped = next(trial for trial in written["trials"] if trial["trial"] == "analytic-2")["stopped"]
    assert stopped["message"].startswith(f"stopped early at step {STOPPED_AT}: its score, 0.310, was below 0.350")
