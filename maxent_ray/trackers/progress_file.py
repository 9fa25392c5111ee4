"""Progress of a tracker, kept in the results folder: a resumed job continues its runs where it left them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from maxent_ray.storage.checkpoint import load_json, save_json_atomic

FOLDER = "trackers"
_ADVICE = "remove the file, and the tracker gets new runs with all records"


@dataclass(frozen=True)
class TrialProgress:
    """One trial in a tracker."""

    run_id: str
    steps: int


@dataclass(frozen=True)
class TrackerProgress:
    """Records that a tracker has got so far."""

    offsets: Mapping[str, int] = field(default_factory=dict)
    """File of the results folder → bytes of it."""
    trials: Mapping[str, TrialProgress] = field(default_factory=dict)

    def with_trial(self, trial: str, progress: TrialProgress) -> TrackerProgress:
        """Replace the progress of one trial."""
        return replace(self, trials={**self.trials, trial: progress})


def progress_path(folder: Path, tracker: str) -> Path:
    """File of a tracker's progress in a results folder."""
    return folder / FOLDER / f"{tracker}.json"


def read_progress(folder: Path, tracker: str) -> TrackerProgress:
    """Read the progress of a tracker; none where the folder was never logged to it.

    Raises:
        ResumeError: the file cannot be read.
    """
    path = progress_path(folder, tracker)
    if not path.is_file():
        return TrackerProgress()
    values = load_json(path, _ADVICE)
    return TrackerProgress(values["offsets"], {name: TrialProgress(**each) for name, each in values["trials"].items()})


def write_progress(folder: Path, tracker: str, progress: TrackerProgress) -> None:
    """Write the progress of a tracker, atomically, into a results folder that exists."""
    path = progress_path(folder, tracker)
    path.parent.mkdir(exist_ok=True)
    save_json_atomic(path, asdict(progress))


def recorded_trackers(folder: Path) -> list[str]:
    """Trackers that a results folder was logged to."""
    return sorted(path.stem for path in (folder / FOLDER).glob("*.json"))
