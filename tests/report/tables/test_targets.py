from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console

from maxent_ray.report.run_records import read_run
from maxent_ray.report.summary import build_summary
from maxent_ray.report.tables import print_sweep
from tests.report.sweep_folder import drawn, write_sweep


def printed(folder: Path, width: int = 110) -> str:
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as capture:
        print_sweep(build_summary(read_run(folder)), console)
    return capture.get()


def test_values_stand_in_the_cells_and_the_best_is_marked(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "a", stopped=["analytic-2"], unfinished=["analytic-8"])
    text = printed(folder)
    summary = build_summary(read_run(folder))
    for point in summary.sweep.points if summary.sweep else ():
        if (value := point.value("coverage")) is not None:
            assert f"{value:.3f}" in text
    heat_maps = text.split("Every point")[0]
    assert heat_maps.count("at 10 ") + heat_maps.count("at 10\n") >= 4, "in each of the four"
    assert len(re.findall(r"[\d%]\*", heat_maps)) == 4
    assert "H*/log G" in heat_maps and "KL*" in heat_maps


def test_the_front_is_named_with_its_targets(tmp_path: Path) -> None:
    text = printed(write_sweep(tmp_path / "a"))
    sentence = text.split("Pareto front of mean@8 and coverage@8")[1].split("Held-out")[0]
    sweep = build_summary(read_run(tmp_path / "a")).sweep
    assert sweep is not None
    for trial in sweep.front:
        assert trial in sentence and re.search(rf"{trial}\s.*•", text)


def test_what_was_stopped_and_saved_is_said(tmp_path: Path) -> None:
    text = " ".join(printed(write_sweep(tmp_path / "a", stopped=["analytic-2"])).split())
    assert "Stopped early by ASHA, without a held-out evaluation: analytic-2." in text
    assert "Early stopping saved 20 of 270 policy steps: 0:10 of training, summed over 1 stopped trial(s)." in text


def test_points_that_were_drawn_have_lines_and_no_heat_map(tmp_path: Path) -> None:
    text = printed(write_sweep(tmp_path / "a", drawn(12)), width=80)
    assert "What do the targets buy?" not in text and "Every point" in text
