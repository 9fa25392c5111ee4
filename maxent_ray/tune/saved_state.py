"""Backup of Ray Tune's own state of a comparison: Tune writes it in place, and a kill may cut it off.

``tune/`` has two files a session: what the trials have done (JSON), and how far the search is (Ray's own pickle, which
is never opened here; where points are proposed there is none, as our records tell). A second copy of each is kept
whenever all are whole: the trials' file an object with what Tune restores from (``trial_data``, a pair of texts for
each trial, and ``runner_data``, an object), the search's beginning and ending as a pickle does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune

from maxent_ray.errors import ResumeError
from maxent_ray.storage.atomic import remove, write_atomic

TRIALS, SEARCH = "experiment_state-*.json", "basic-variant-state-*.json"
Kinds = Sequence[str]
"""Patterns of the files that make a whole state."""
KEPT = "kept"
_PICKLE_BEGINS, _PICKLE_ENDS = b"\x80", b"."


class KeepState(tune.Callback):
    """Callback that copies Tune's state into ``tune/kept`` each time that Tune has written it.

    Args:
        folder: Tune's, ``results/<name>/tune``.
        kinds: Files of its state.
    """

    def __init__(self, folder: Path, kinds: Kinds = (TRIALS, SEARCH)) -> None:
        self._folder = folder
        self._kinds = kinds
        self._seen: list[tuple[str, int]] = []

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Copy the state if it has changed."""
        newest = _newest(self._folder, self._kinds)
        stamps = [(path.name, path.stat().st_mtime_ns) for path in newest]
        state = None if stamps == self._seen else _read_whole(newest, self._kinds)
        if state is None:
            return
        self._seen = stamps
        kept = self._folder / KEPT
        kept.mkdir(exist_ok=True)
        _put(state, kept, list(kept.iterdir()))


def restore_state(folder: Path, *, recorded: bool, kinds: Kinds = (TRIALS, SEARCH)) -> bool:
    """Replace a state that was cut off by its copy.

    Args:
        folder: Tune's.
        recorded: True when the run has recorded rows, which a new run would overwrite.
        kinds: Files of its state.

    Returns:
        Whether there is a state to resume from.

    Raises:
        ResumeError: neither state nor copy is whole, and rows are recorded; nothing was changed.
    """
    if _read_whole(_newest(folder, kinds), kinds) is not None:
        return True
    state = _read_whole(_newest(folder / KEPT, kinds), kinds)
    if state is None and recorded:
        raise ResumeError(
            f"cannot resume {folder.parent}: it has recorded rows, but the state of its trials in {folder} is gone or "
            f"damaged, and so is the copy in {folder / KEPT}. Copy {' and '.join(kinds)} back into either, or start "
            "anew with another --name"
        )
    _put(state or {}, folder, [path for kind in kinds for path in folder.glob(kind)])
    return state is not None


def _put(state: Mapping[str, bytes], folder: Path, old: Iterable[Path]) -> None:
    """Write a state, then remove what was there before it."""
    for name, content in state.items():
        write_atomic(folder / name, content)
    remove(path for path in old if path.name not in state)


def _newest(folder: Path, kinds: Kinds) -> list[Path]:
    """The newest file of each kind, as Tune would take them; their names have the time of their session."""
    return [max(found) for pattern in kinds if (found := list(folder.glob(pattern)))]


def _read_whole(paths: Sequence[Path], kinds: Kinds) -> dict[str, bytes] | None:
    """The files of a state, trials first, each read once; None where one is missing or was cut off."""
    if len(paths) < len(kinds):
        return None
    contents = {path.name: path.read_bytes() for path in paths}
    trials, *search = contents.values()
    whole = all(each.startswith(_PICKLE_BEGINS) and each.endswith(_PICKLE_ENDS) for each in search)
    return contents if whole and _is_state(trials) else None


def _is_state(content: bytes) -> bool:
    try:
        state = json.loads(content)
    except ValueError:
        return False
    match state:
        case {"trial_data": [_, *_] as trials, "runner_data": dict()}:
            return all(isinstance(trial, list) and list(map(type, trial)) == [str, str] for trial in trials)
    return False
