"""Ray Tune's own state of a comparison, kept whole: Tune copies it into the results in place, and a kill may cut it.

``tune/`` has two files a session: what the trials have done (JSON), and how far the search is (Ray's own pickle, which
is never opened here). A second copy of each is kept whenever both are whole.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ray import tune

from maxent_ray.runtime.atomic import remove, write_atomic

TRIALS, SEARCH = "experiment_state-*.json", "basic-variant-state-*.json"
KEPT = "kept"
_END_OF_PICKLE = b"."


class KeepState(tune.Callback):
    """Copies Tune's state into ``tune/kept`` each time that Tune has written it.

    Args:
        folder: Tune's, ``results/<name>/tune``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: list[tuple[str, int]] = []

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look whether there is something new."""
        newest = _newest(self._folder)
        stamps = [(path.name, path.stat().st_mtime_ns) for path in newest]
        if stamps == self._seen or not _are_whole(newest):
            return
        self._seen = stamps
        (self._folder / KEPT).mkdir(exist_ok=True)
        for path in newest:
            write_atomic(self._folder / KEPT / path.name, path.read_bytes())
        kept = {path.name for path in newest}
        remove(path for path in (self._folder / KEPT).iterdir() if path.name not in kept)


def mend_state(folder: Path) -> bool:
    """Put the copy in the place of a state that was cut off.

    Args:
        folder: Tune's.

    Returns:
        Whether there is a state to go on from.
    """
    if _are_whole(_newest(folder)):
        return True
    kept = _newest(folder / KEPT)
    remove([*folder.glob(TRIALS), *folder.glob(SEARCH)])
    if not _are_whole(kept):
        return False
    for path in kept:
        write_atomic(folder / path.name, path.read_bytes())
    return True


def _newest(folder: Path) -> list[Path]:
    """The newest file of each kind, as Tune would take them; their names have the time of their session."""
    return [max(found) for pattern in (TRIALS, SEARCH) if (found := list(folder.glob(pattern)))]


def _are_whole(paths: list[Path]) -> bool:
    return len(paths) == 2 and _parses(paths[0]) and paths[1].read_bytes().endswith(_END_OF_PICKLE)


def _parses(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True
