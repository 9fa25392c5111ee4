"""Choice of trackers by name; what is wrong with a name or an installation is said before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from maxent_ray.errors import ConfigError
from maxent_ray.trackers.interface import Tracker
from maxent_ray.trackers.progress_file import recorded_trackers

TRACKERS: Mapping[str, str] = {
    "tensorboard": "TensorBoardTracker",
    "mlflow": "MlflowTracker",
    "wandb": "WandbTracker",
    "trackio": "TrackioTracker",
}
"""Name → class, in a module of its own; an object of it imports the library."""
NONE = "none"


def choose_trackers(folder: Path, names: str | None) -> list[Tracker]:
    """Open the trackers that ``--log-to`` names, for one results folder.

    Args:
        folder: ``results/<name>``; for a new run it need not exist yet.
        names: Separated by commas; ``none`` for none. None for those that the folder was logged to before, so that a
            resumed run goes on in them.

    Raises:
        ConfigError: there is no such tracker, or its library is missing or broken.

    Example:
        >>> choose_trackers(Path("results/demo"), "none")
        []
        >>> choose_trackers(Path("results/demo"), "tensorbord")
        Traceback (most recent call last):
        ...
        maxent_ray.errors.ConfigError: --log-to has 'tensorbord'; valid: tensorboard, mlflow, wandb, trackio or none
    """
    if names is None:
        return [_open(folder, name) for name in recorded_trackers(folder) if name in TRACKERS]
    if names.strip() == NONE:
        return []
    chosen = list(dict.fromkeys(name.strip() for name in names.split(",")))
    for name in chosen:
        if name not in TRACKERS:
            raise ConfigError(f"--log-to has {name!r}; valid: {', '.join(TRACKERS)} or {NONE}")
    return [_open(folder, name) for name in chosen]


def _open(folder: Path, name: str) -> Tracker:
    try:
        tracker: Tracker = getattr(import_module(f"maxent_ray.trackers.{name}_tracker"), TRACKERS[name])(folder)
    except ImportError as error:
        missing = f"there is no module {error.name!r}" if isinstance(error, ModuleNotFoundError) else str(error)
        raise ConfigError(
            f"--log-to {name} needs a library ({missing}): pip install 'maxent-ray[{name}]', or leave {name} out, as "
            f"with --log-to {NONE}"
        ) from error
    return tracker
