"""The package without TRL installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import maxent_ray.integrations
print("loaded")
maxent_ray.integrations.MaxEntCallback
"""


def test_integrations_load_and_say_what_to_install() -> None:
    """``-S``: Python without its site-packages, so without any library."""
    done = subprocess.run([sys.executable, "-S", "-c", PROGRAM], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "loaded\n"
    assert "trl is not installed: pip install 'maxent-ray[trl]'" in done.stderr
