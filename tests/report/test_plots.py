from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from maxent_ray.report.plots import PLOTS, draw_plots
from maxent_ray.report.plots.lineage import ancestry
from maxent_ray.report.plots.lines import smooth
from maxent_ray.report.plots.style import FAINT, spread
from maxent_ray.report.run_records import read_run
from maxent_ray.storage.json_lines import read_lines
from tests.report.results_folder import row, write_lines, write_results

ANALYTIC, PLAIN_GRPO = (0x00, 0x72, 0xB2), (0xAA, 0x33, 0x77)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("results") / "whole")


@pytest.fixture(scope="module")
def drawn(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in draw_plots(folder)}


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        image.load()
        return np.asarray(image.convert("RGB"))


def count(picture: np.ndarray, colour: tuple[int, ...]) -> int:
    return int((picture == np.asarray(colour)).all(axis=-1).sum())


NAMES = ("tracking", "coefficients", "held_out", "lineage", "diversity", "signals")


def test_every_plot_is_drawn_under_its_name(drawn: dict[str, Path]) -> None:
    assert tuple(drawn) == tuple(PLOTS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_plot_is_a_png_of_readable_size_in_the_objective_s_colour(
    drawn: dict[str, Path], folder: Path, name: str
) -> None:
    assert drawn[name] == folder / f"{name}.png"
    picture = pixels(drawn[name])
    assert 1200 <= picture.shape[1] <= 2000 and 400 <= picture.shape[0] <= 1400
    assert count(picture, ANALYTIC) > 500
    margin = picture[:, -4:].reshape(-1, 3)
    assert (margin == 255).all(), "something is cut off at the right edge"


def test_references_are_drawn_when_there_are_any(drawn: dict[str, Path], tmp_path: Path) -> None:
    alone = write_results(tmp_path / "alone", references=False)
    names = ("held_out", "diversity")
    for name, without in zip(names, draw_plots(alone, names), strict=True):
        assert count(pixels(drawn[name]), PLAIN_GRPO) > 100
        assert count(pixels(without), PLAIN_GRPO) == 0


def test_missing_parts_leave_a_plot_that_can_be_read(tmp_path: Path) -> None:
    early = write_results(tmp_path / "early", lineage=False, references=False, evaluations=False)
    rows = [row("analytic-0", "analytic", 0, entropy=None, kl=None, coverage=None, tau=None, beta=0.0)]
    write_lines(early / "rows.jsonl", rows)
    empty = write_results(tmp_path / "empty", lineage=False, references=False, evaluations=False)
    (empty / "rows.jsonl").unlink()
    for folder in (early, empty):
        paths = draw_plots(folder)
        assert tuple(path.stem for path in paths) == NAMES
        for path in paths:
            assert pixels(path).shape[1] >= 1200


def test_a_signal_without_a_target_is_said_to_have_none(drawn: dict[str, Path], tmp_path: Path) -> None:
    free = write_results(tmp_path / "free")
    rows, _ = read_lines(free / "rows.jsonl")
    write_lines(free / "rows.jsonl", [{**row, "target_entropy": None} for row in rows])
    (without,) = draw_plots(free, ["tracking"])
    said = tuple(round(255 * channel) for channel in to_rgb(FAINT))
    assert count(pixels(without), said) > count(pixels(drawn["tracking"]), said)


def test_ancestry_goes_back_through_donors(folder: Path) -> None:
    # analytic-0 took over from analytic-3 at 40, which had taken over from analytic-1 at 20.
    assert ancestry(read_run(folder), "analytic-0") == [
        ("analytic-1", 0, 20),
        ("analytic-3", 20, 40),
        ("analytic-0", 40, 60),
    ]


def test_ancestry_of_two_that_swapped_at_one_step_ends(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "swap", lineage=False, references=False, evaluations=False)
    clones = [("analytic-0", "analytic-1"), ("analytic-1", "analytic-0")]
    write_lines(
        folder / "lineage.jsonl", ({"step": 20, "recipient": r, "donor": d, "new": {}} for r, d in clones)
    )
    stretches = ancestry(read_run(folder), "analytic-0")
    assert stretches[0][1] == 0 and stretches[-1] == ("analytic-0", 20, 60)


def test_smoothing_looks_back_only() -> None:
    assert smooth([0.0, 0.0, 6.0, 0.0], window=3) == [0.0, 0.0, 2.0, 2.0]
    assert np.isnan(smooth([None, 1.0], window=1)[0])


def test_labels_are_spread_in_order() -> None:
    places = spread([0.2, 0.2, 0.2, 0.9], gap=0.1)
    assert places == sorted(places)
    assert min(np.diff(places)) >= 0.1 - 1e-6
    assert sum(places[:3]) / 3 == pytest.approx(0.2)
