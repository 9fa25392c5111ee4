"""MLflow: the server that ``MLFLOW_TRACKING_URI`` names, or a database beside the results folders."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maxent_ray.trackers.interface import Series, TrialStart

DATABASE, ARTIFACTS = "mlflow.db", "mlflow-artifacts"
_MOST_METRICS, _MOST_PARAMS = 1000, 100
"""Limits of MLflow on one request."""
_LONGEST_TAG = 5000


class MlflowTracker:
    """An experiment for a results folder, and in it a run for each trial."""

    name = "mlflow"

    def __init__(self, folder: Path) -> None:
        import mlflow

        self._mlflow = mlflow
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # a line for each table of a database
        self._root = folder.resolve().parent
        self._experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or folder.resolve().name
        self._remote = os.environ.get("MLFLOW_TRACKING_URI")
        self._uri = self._remote or f"sqlite:///{self._root / DATABASE}"
        self._client: Any = None

    def describe(self) -> str:
        """Say where it writes, and how to look at it."""
        how = "" if self._remote else f" (see it with: mlflow ui --backend-store-uri {self._uri})"
        return f"experiment {self._experiment} in {self._uri}{how}"

    def open(self, trial: TrialStart) -> MlflowRun:
        """Create the run of a trial with its settings as parameters, or take it up again."""
        self._client = client = self._client or self._mlflow.MlflowClient(tracking_uri=self._uri)
        if trial.run_id is not None:
            client.update_run(trial.run_id, status="RUNNING")
            return MlflowRun(client, trial.run_id)
        tags = {"maxent_ray.trial": trial.name, "maxent_ray.objective": trial.objective}
        run_id = client.create_run(self._experiment_id(client), run_name=trial.name, tags=tags).info.run_id
        params = [self._mlflow.entities.Param(key, str(value)) for key, value in trial.settings.items()]
        for start in range(0, len(params), _MOST_PARAMS):
            client.log_batch(run_id, params=params[start : start + _MOST_PARAMS])
        return MlflowRun(client, run_id)

    def _experiment_id(self, client: Any) -> str:
        found = client.get_experiment_by_name(self._experiment)
        if found is not None:
            return str(found.experiment_id)
        place = None if self._remote else (self._root / ARTIFACTS).as_uri()  # else it would be the working directory
        return str(client.create_experiment(self._experiment, artifact_location=place))


class MlflowRun:
    """One run."""

    def __init__(self, client: Any, run_id: str) -> None:
        self._client = client
        self.run_id = run_id

    def log(self, series: Series) -> None:
        """Add values; ``@`` in a name is written as ``_at_``, since MLflow takes no such letter."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [
            Metric(name.replace("@", "_at_"), value, now, step)
            for step, values in series
            for name, value in values.items()
        ]
        for start in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(self.run_id, metrics=metrics[start : start + _MOST_METRICS])

    def rewind(self, step: int) -> None:
        """Do nothing: of two values for one step MLflow's latest is the later one, and its history keeps both."""

    def clone(self, step: int, text: str, settings: Mapping[str, Any]) -> None:
        """Set a tag for each clone; parameters cannot change, and remain those of the beginning."""
        self._client.set_tag(self.run_id, f"maxent_ray.clone.{step:06d}", text[:_LONGEST_TAG])

    def finish(self, *, complete: bool) -> None:
        """Set the status; a run that is continued later is RUNNING again."""
        self._client.set_terminated(self.run_id, "FINISHED" if complete else "KILLED")
