"""Records of one algorithm in training: what its results and controllers tell, as rows and decisions."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from ray.rllib.algorithms.algorithm import Algorithm

from maxent_ray.rllib.algorithm_record import config_of, module_objectives, own_kl_target
from maxent_ray.rllib.decision_records import Decided, NewDecisions, decision_records
from maxent_ray.rllib.result_rows import record_names, result_rows
from maxent_ray.rllib.settings import KEY, Settings
from maxent_ray.runtime.kept_gauges import KeptGauges
from maxent_ray.runtime.metrics import ControllerMetrics, RankMetrics, decision_gauges
from maxent_ray.runtime.run_tags import RunTags
from maxent_ray.telemetry import Telemetry

logger = logging.getLogger(__name__)


class IterationRecords(NamedTuple):
    """Records of one training iteration."""

    rows: list[dict[str, Any]]
    decisions: list[dict[str, Any]]


class TrialRecords:
    """Records of one algorithm, which are exported as metrics too.

    Decisions of a controller in a Ray actor are exported by that actor; those of one in a learner's process here.

    Args:
        algorithm: In training.
        run: Name of the results folder.
        trial: Name of the trial in the records.
        segment: Clones that it has received.
    """

    def __init__(self, algorithm: Algorithm, *, run: str, trial: str, segment: int = 0) -> None:
        self._trial, self._segment = trial, segment
        self.objectives = module_objectives(config_of(algorithm))
        self.names = dict(zip(self.objectives, record_names(trial, list(self.objectives)), strict=True))
        self._left_out: set[str] = set()
        self._kl_target = own_kl_target(config_of(algorithm))
        self._decisions = NewDecisions(algorithm)
        tags = {module: RunTags(run, self.names[module], objective) for module, objective in self.objectives.items()}
        self._rows_out = {self.names[module]: RankMetrics(each, rank=0) for module, each in tags.items()}
        self._decisions_out = _LocalDecisions(tags) if _decides_locally(algorithm) else None

    def read(self, result: Mapping[str, Any], step: int) -> IterationRecords:
        """Make and export the records of one training iteration.

        Args:
            result: RLlib's.
            step: Iterations before this one.
        """
        found = self._recorded(self._decisions.read(step))
        common = {"step": step, "segment": self._segment}
        rows = result_rows(result, trial=self._trial, objectives=self.objectives, kl_target=self._kl_target, **common)
        reasons = {self.names[module]: own[-1].decision["reason"] for module, own in found.items() if own}
        for row in rows:
            out = self._rows_out[row["trial"]]
            row["reason"] = reasons.get(row["trial"])
            out.publish(row)
            row["failed_exports"] = out.failures
        if self._decisions_out is not None:
            self._decisions_out.publish(found)
        return IterationRecords(rows, decision_records(found, names=self.names, segment=self._segment))

    def _recorded(self, found: Mapping[str, list[Decided]]) -> dict[str, list[Decided]]:
        """Decisions of the modules that were there at the start; of others it is said once that they are left out."""
        others = found.keys() - self.names.keys() - self._left_out
        if others:
            logger.warning("%s: module(s) %s were added later, and are not recorded", self._trial, sorted(others))
            self._left_out |= others
        return {module: own for module, own in found.items() if module in self.names}

    def start_at(self, step: int) -> None:
        """Continue from a state that the algorithm has loaded, after so many iterations."""
        self._decisions.start_at(step)

    def close(self) -> None:
        """End the metrics."""
        for out in self._rows_out.values():
            out.close()
        if self._decisions_out is not None:
            self._decisions_out.close()


class _LocalDecisions:
    """Metrics of decisions that no actor exports."""

    def __init__(self, tags: Mapping[str, RunTags]) -> None:
        self._tags = tags
        self._gauges: KeptGauges | None = None
        self._out: dict[str, ControllerMetrics] = {}
        self._telemetry = Telemetry("decisions cannot be exported as metrics; training continues")

    def publish(self, decisions: Mapping[str, Any]) -> None:
        with self._telemetry.attempt():
            if self._gauges is None:
                self._gauges = decision_gauges()
                self._out = {module: ControllerMetrics(tags, self._gauges) for module, tags in self._tags.items()}
            for module, own in decisions.items():
                for _, decision in own:
                    alarms = [(alarm["kind"], alarm["coefficient"]) for alarm in decision["alarms"]]
                    self._out[module].publish(decision, {"alarms": alarms})

    def close(self) -> None:
        if self._gauges is not None:
            self._gauges.close()


def _decides_locally(algorithm: Algorithm) -> bool:
    config = config_of(algorithm)
    if KEY not in config.learner_config_dict:
        return False
    local = Settings.of_config(config).local
    return config.num_learners == 0 if local is None else local
