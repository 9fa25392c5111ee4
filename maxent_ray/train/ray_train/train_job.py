"""Arguments of a run on Ray Train.

In a separate module, without models: Ray Train's controller, a process that trains nothing, unpickles it too, and
would otherwise load transformers at every start of a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from maxent_ray.config import ExperimentConfig


@dataclass(frozen=True)
class TrainJob:
    """Arguments that every rank of one run receives."""

    config: ExperimentConfig
    run_id: str
    """Names the run's controller."""
    name: str
    """Names the run in its records."""
    folder: Path
    """``results/<name>``, absolute: ranks have another working directory."""
    use_gpu: bool
    threads: int
    """Of each rank, where it has no GPU."""
