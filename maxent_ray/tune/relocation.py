"""Saved state of Ray Tune, brought to where the results folder is now.

Tune saves absolute paths. When it restores, it corrects those of a trial's own checkpoints, but not a clone's first
one, which is its donor's, nor the storage of trials that its search has not created yet. It also continues in the
staging folder of the interrupted session, where a copy of the run would continue, too. So all of these are set anew
whenever a run is resumed: nothing depends on where its folder was.
"""

from __future__ import annotations

import json
from copy import copy
from pathlib import Path
from uuid import uuid4

from ray import tune
from ray.train._internal.storage import StorageContext
from ray.tune.experiment import Experiment, Trial
from ray.tune.search import BasicVariantGenerator

from maxent_ray.storage.atomic import remove, write_atomic
from maxent_ray.tune.saved_state import SEARCH, TRIALS

RELOCATED = "0"
"""Session of a relocated state; before all others in order of names, which are times and tell Tune the newest."""


def stage_apart(experiment: Experiment) -> None:
    """Give a run a staging folder of its own: Tune's is the same for all that start within one second."""
    experiment.storage._timestamp += f"-{uuid4().hex}"


def relocate_state(folder: Path, storage: StorageContext) -> None:
    """Rewrite a whole state, so that it names no folder but today's.

    What Tune has pickled is read and written by Tune's own classes, as it will be when the state is restored.

    Args:
        folder: Tune's, ``results/<name>/tune``.
        storage: Of the experiment that the state will be restored into.
    """
    old = [*folder.glob(TRIALS), *folder.glob(SEARCH)]
    state = json.loads(max(folder.glob(TRIALS)).read_bytes())
    state["trial_data"] = [_relocated(trial, storage) for trial in state["trial_data"]]
    new = folder / TRIALS.replace("*", RELOCATED)
    write_atomic(new, json.dumps(state).encode())
    kept = {new.name, SEARCH.replace("*", RELOCATED)}
    if any(folder.glob(SEARCH)):
        _relocate_search(folder, storage)
    remove(path for path in old if path.name not in kept)


def saved_trials(folder: Path) -> list[Trial]:
    """Trials of a saved state, with what they have done.

    Args:
        folder: Tune's, ``results/<name>/tune``.
    """
    return [_restored(saved) for saved in json.loads(max(folder.glob(TRIALS)).read_bytes())["trial_data"]]


def _relocate_search(folder: Path, storage: StorageContext) -> None:
    search = BasicVariantGenerator()
    search.restore_from_dir(str(folder))
    for iterator in search._iterators:
        iterator.unresolved_spec["storage"] = storage
    search.save_to_dir(str(folder), session_str=RELOCATED)


def _restored(saved: tuple[str, str]) -> Trial:
    """A trial, from what Tune saves of it: settings, progress."""
    trial = Trial.from_json_state(saved[0])
    trial.restore_run_metadata(saved[1])
    return trial


def _relocated(saved: tuple[str, str], storage: StorageContext) -> tuple[str, str]:
    """One trial, as Tune saves it; its checkpoints are at ``tune/<a trial>/<a checkpoint>``."""
    trial = _restored(saved)
    manager = trial.run_metadata.checkpoint_manager
    assert manager is not None and trial.storage is not None  # Tune saves both
    for result in [*manager.best_checkpoint_results, manager.latest_checkpoint_result]:
        if result and result.checkpoint:
            place = Path(storage.experiment_fs_path, *Path(result.checkpoint.path).parts[-2:])
            result.checkpoint = tune.Checkpoint(str(place), filesystem=storage.storage_filesystem)
    own = copy(storage)
    own.trial_dir_name = trial.storage.trial_dir_name
    own.current_checkpoint_index = trial.storage.current_checkpoint_index
    trial.storage = own
    return trial.get_json_state()
