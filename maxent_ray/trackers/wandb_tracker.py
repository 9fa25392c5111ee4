"""Weights & Biases: a run for each trial in one group; offline where there is no key."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maxent_ray.trackers.interface import Series, TrialStart

PROJECT = "maxent-ray"
_STEP = "step"


class WandbTracker:
    """Runs of the project that ``WANDB_PROJECT`` names, else ``maxent-ray``."""

    name = "wandb"

    def __init__(self, folder: Path) -> None:
        import wandb

        self._wandb = wandb
        self._folder = folder
        self._project = os.environ.get("WANDB_PROJECT") or PROJECT
        self._mode = os.environ.get("WANDB_MODE") or self._usual_mode()

    def describe(self) -> str:
        """Say where it writes, and how to look at it."""
        where = f"project {self._project}, group {self._folder.name}"
        if self._mode == "online":
            return where
        why = "" if os.environ.get("WANDB_MODE") else "offline, as there is no key; "
        return f"{where} ({why}send it with: wandb sync, in {self._folder})"

    def open(self, trial: TrialStart) -> WandbRun:
        """Begin the run of a trial, or continue it; several are open at a time."""
        run = self._wandb.init(
            project=self._project,
            group=self._folder.name,
            name=trial.name,
            job_type=trial.objective,
            id=trial.run_id or uuid.uuid4().hex[:12],
            resume="allow",
            config=dict(trial.settings) if trial.run_id is None else None,
            dir=self._folder,
            mode=self._mode,
            reinit="create_new",
            # This process only follows the run: its output and load are not the trial's.
            settings=self._wandb.Settings(silent=True, console="off", x_disable_stats=True, x_disable_meta=True),
        )
        run.define_metric(_STEP)
        run.define_metric("*", step_metric=_STEP)  # W&B's own step cannot go back, as it does after a resume
        return WandbRun(run)

    def _usual_mode(self) -> str:
        return "online" if self._wandb.login(prompt=False, verify=False) else "offline"


class WandbRun:
    """One run; W&B's own process stores and sends what it is given."""

    def __init__(self, run: Any) -> None:
        self._run = run

    @property
    def run_id(self) -> str:
        """W&B's id."""
        return str(self._run.id)

    def log(self, series: Series) -> None:
        """Add a line to the history for each step."""
        for step, values in series:
            self._run.log({_STEP: step, **values})

    def rewind(self, step: int) -> None:
        """Do nothing: of two lines for one step the later one is in the summary, and the history keeps both."""

    def clone(self, step: int, text: str, settings: Mapping[str, Any]) -> None:
        """Note the clone in the history, and set the settings from now on."""
        self._run.log({_STEP: step, "trial/clone": text})
        self._run.config.update(dict(settings), allow_val_change=True)

    def finish(self, *, complete: bool) -> None:
        """End the run; one that is not complete is shown as failed until it is continued."""
        self._run.finish(exit_code=0 if complete else 1)
