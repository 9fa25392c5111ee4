"""Plots need no backend of the user's, and leave it and his style alone. Each case is a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.report.results_folder import write_results

DRAW = """
import os, sys
from pathlib import Path
from maxent_ray.report.plots import draw_plots
draw_plots(Path(sys.argv[1]), ["tracking"])
print(os.environ.get("MPLBACKEND"))
"""
STYLE = """
import matplotlib, sys
from pathlib import Path
matplotlib.use("svg")
matplotlib.rcParams.update({"text.usetex": True, "axes.facecolor": "black", "savefig.dpi": 7})
before = dict(matplotlib.rcParams)
from maxent_ray.report.plots import draw_plots
draw_plots(Path(sys.argv[1]), ["tracking"])
print(dict(matplotlib.rcParams) == before)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("results") / "run")


def run(code: str, *arguments: str, **environment: str) -> str:
    own = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**own, **environment}, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_plots_are_drawn_whatever_backend_is_chosen(folder: Path, backend: str) -> None:
    assert run(DRAW, str(folder), MPLBACKEND=backend) == backend
    with Image.open(folder / "tracking.png") as image:
        assert image.width > 1000


def test_a_backend_that_works_stays_the_users() -> None:
    """The first to import matplotlib decides; a notebook's own plots come after ours."""
    code = "from maxent_ray.report.plots.canvas import agg_figure; import matplotlib; print(matplotlib.get_backend())"
    assert run(code, MPLBACKEND="svg") == "svg"


def test_the_users_style_is_neither_used_nor_changed(folder: Path) -> None:
    assert run(STYLE, str(folder)) == "True"
    with Image.open(folder / "tracking.png") as image:
        assert image.convert("RGB").getpixel((image.width - 2, image.height - 2)) == (255, 255, 255)
        assert image.width > 1000


@pytest.mark.parametrize("command", ["version", "--help"])
def test_commands_start_under_a_notebooks_backend(command: str) -> None:
    code = f"import sys; sys.argv = ['maxent-ray', '{command}']; from maxent_ray.cli.app import main; main()"
    assert "maxent" in run(code, MPLBACKEND="module://matplotlib_inline.backend_inline")


def test_nothing_but_a_plot_loads_matplotlib() -> None:
    """Also the workers, which import the report's labels."""
    code = "import sys, maxent_ray.cli.commands, maxent_ray.train.worker; print('matplotlib' in sys.modules)"
    assert run(code) == "False"
