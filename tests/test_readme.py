"""The README's Python runs as it stands, and its links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "experiments").rglob("*.md"))]


RLLIB, LOOP = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def output(program: str, folder: Path) -> str:
    """What a program prints, in a process of its own."""
    paths = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, env=paths, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_line_puts_an_algorithm_of_rllib_under_control(tmp_path: Path) -> None:
    assert output(f"{RLLIB}\nprint(config.learner_class.__name__)", tmp_path) == "MaxEntPPOTorchLearner\n"


def test_the_training_loop_brings_both_signals_to_their_targets(tmp_path: Path) -> None:
    printed = output(LOOP, tmp_path)
    figures = re.fullmatch(r"H ([\d.]+) \(target 1.97\), KL ([\d.]+) \(target 0.2\): updated\n", printed)
    assert figures, printed
    assert float(figures[1]) == pytest.approx(1.97, rel=0.03)
    assert float(figures[2]) == pytest.approx(0.2, rel=0.1)
    assert (tmp_path / "checkpoint.pt").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which does not exist"
