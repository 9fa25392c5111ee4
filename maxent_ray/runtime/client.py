"""A rank's client: it reports measurements and receives coefficients."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from threading import RLock
from typing import Any
from zlib import crc32

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.diagnostics.alarms import Alarm
from maxent_ray.core.diagnostics.observer import Observer, ObserverState
from maxent_ray.core.field_types import LONGEST_TEXT
from maxent_ray.core.objectives import ControllerGradients
from maxent_ray.core.set_points import SetPoints
from maxent_ray.core.state import Coefficients, ControllerState, Decision
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.validation import check_whole
from maxent_ray.errors import InvalidReportError
from maxent_ray.runtime.client_state import Snapshot, read_snapshot
from maxent_ray.runtime.collective import LocalCollective
from maxent_ray.runtime.deciders import LocalDecider
from maxent_ray.runtime.decision_log import DecisionLog
from maxent_ray.runtime.decision_round import Round, config_text, request_text
from maxent_ray.runtime.options import ClientOptions
from maxent_ray.runtime.reduction import Report, check_report, merge_reports
from maxent_ray.runtime.reply import decode_reply, encode_reply
from maxent_ray.runtime.run_tags import RunTags


class ControllerClient:
    """One rank's view of the run's controller. The state lives here, on every rank; the actor only computes.

    All ranks call ``report`` and ``coefficients`` alike: ``report`` is a reduction over the ranks, and each decision
    reaches them by one broadcast, in ``coefficients`` with ``lag=0`` and in the next ``report`` with ``lag=1``.
    ``state_dict`` may be called on any rank at any time.

    Args:
        run_id: The run.
        rank: This worker's rank.
        config: The controller's settings.
        collective: Gather and broadcast over the ranks that train together.
        decider: Rank 0's source of decisions; None on the others.
        options: Lag and time limits.
        tags: Of its metrics; None for ``run_id`` as run and trial.

    Example:
        >>> config = ControllerConfig(group_size=8, target_entropy=1.9, target_kl=0.05)
        >>> from maxent_ray.runtime.connect import connect
        >>> client = connect("run", 0, 1, config, options=ClientOptions(lag=0), local=True)
        >>> client.coefficients(0).tau
        0.3
        >>> _ = client.report(0, BatchStatistics(groups=1, weight_entropy_sum=2.0, tokens=1, policy_kl_sum=0.05))
        >>> client.coefficients(1).tau < 0.3
        True
    """

    def __init__(
        self,
        run_id: str,
        rank: int,
        config: ControllerConfig,
        collective: LocalCollective,
        decider: LocalDecider | None,
        options: ClientOptions = ClientOptions(),
        tags: RunTags | None = None,
    ) -> None:
        self.run_id = run_id
        self.rank = rank
        self.tags = tags or RunTags(run_id, run_id, config.label)
        self.options = options
        self._config = config
        self._config_text = config_text(config)
        self._controller = Controller(config)
        self._observer = Observer(config)
        self._collective = collective
        self._decider = decider
        self._lock = RLock()
        self._decisions = DecisionLog()
        self._counts = Counter(decided_locally=0)
        self._new_alarms: list[tuple[str, str]] = []
        self._snapshot = Snapshot.of(self._controller.init())
        self._has_steps = False

    @property
    def last_decision(self) -> dict[str, Any] | None:
        """The newest decision of this client, None before the first."""
        return self._decisions.last

    def coefficients(self, step: int) -> Coefficients:
        """Coefficients that ``step`` trains with: those that round step − 1 − lag decided, the same on all ranks.

        A client that has neither reported nor loaded anything counts from the first step that it is asked for or given:
        that of a trainer which was resumed without the controller's state.

        Raises:
            InvalidReportError: this client has not reported that round, or no longer keeps it; ``step`` is no whole
                number.
            ControllerUnavailableError: the actor did not answer and ``when_unreachable`` is ``raise``.
            RankLostError: a rank died or hangs; names it.
        """
        step = check_whole(step, f"rank {self.rank}: step", InvalidReportError)
        needed = step - 1 - self.options.lag
        with self._lock:
            if needed > self._snapshot.step:
                self._start_at(step)
                self._receive_decision()
            recent = {coefficients.step: coefficients for coefficients in self._snapshot.recent}
        if needed not in recent:
            raise InvalidReportError(
                f"rank {self.rank}: step is {step}; its coefficients come from round {needed}, which was not reported "
                f"or is no longer kept; available: rounds {sorted(recent)}"
            )
        return replace(recent[needed], step=step)

    def report(
        self, step: int, statistics: BatchStatistics, gradients: ControllerGradients | None = None
    ) -> BatchStatistics | None:
        """Reduce the measurements of ``step`` over the ranks and request a decision; a repeated step is ignored.

        A rank with unusable numbers takes part all the same: the round moves neither τ nor β (reason ``non_finite``,
        with the field and its value), that rank gets an error, and all ranks continue alike. An unroll that diverged
        has the same effect, and raises nothing.

        Args:
            step: The step after the last reported one, on all ranks.
            statistics: Of this rank's share of the batch.
            gradients: Of this rank's unroll, for truncated backprop.

        Returns:
            The statistics of all ranks together, which the controller acts on; None where some rank's are not usable,
            and for a repeated step.

        Raises:
            InvalidReportError: this rank's numbers are not usable (names field and value), or ranks report different
                steps or hold different states (on all of them).
            ControllerUnavailableError: the actor did not answer and ``when_unreachable`` is ``raise``.
            RankLostError: a rank died or hangs; names it.
        """
        step = check_whole(step, f"rank {self.rank}: step", InvalidReportError)
        with self._lock:
            self._start_at(step)
            snapshot = self._snapshot
            last = snapshot.step + (snapshot.pending is not None)
            if step == last:
                return None
            where = f"rank {self.rank}, step {step}: "
            violation = check_report(where, statistics, gradients, self._config)
            position = (step, last + 1, crc32(snapshot.state.encode()))
            if violation is None:
                own = Report(*position, statistics, gradients)
            else:
                own = Report(*position, invalid_reason=violation.message[:LONGEST_TEXT])
            reports = self._collective.gather(own)
            merged = merge_reports(reports, self._config)  # first: shows on all ranks if they differ
            self._receive_decision()
            self._submit(merged)
        if violation is not None and violation.is_callers_fault:
            raise InvalidReportError(violation.message)
        return merged.statistics

    def wait_for_decision(self) -> None:
        """Wait for the decision on the last report; all ranks call it."""
        with self._lock:
            self._receive_decision()

    def set_points(self) -> SetPoints:
        """Set points of H and KL after the last decided round (nats), from the state: the same after a resume."""
        return self._controller.set_points(ControllerState.from_dict(json.loads(self._snapshot.state)))

    def state_dict(self) -> dict[str, Any]:
        """Everything a checkpoint needs, ready for JSON; any rank's is enough. Returns at once.

        May be called on one rank alone, at any time and from any thread. Loaded on all ranks after step s was reported,
        later coefficients are those of the uninterrupted run, whatever the lag. The memory of alarms is in rank 0's.
        """
        return self._snapshot.to_dict(with_alarms=self.rank == 0)

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        """Resume from a checkpoint or another run's state; every rank loads the same before its next report.

        State comes from ``values``, settings stay this client's own: τ and β are brought inside its bounds.

        Raises:
            InvalidReportError: the state is malformed; names the first invalid entry. Nothing was loaded.
        """
        loaded = read_snapshot(values, self._controller)
        version = json.loads(loaded.state)["version"]
        with self._lock:
            self._snapshot, self._has_steps = loaded, True
            self._decisions.forget_after(version)
            if loaded.pending is not None:
                self._submit(loaded.pending)

    def decisions(self, since_version: int = 0) -> list[dict[str, Any]]:
        """Decisions with a version above ``since_version``, oldest first; on rank 0 with their alarms."""
        return self._decisions.since(since_version)

    def counters(self) -> dict[str, int]:
        """``decided_locally``: rounds that rank 0 decided itself, as the actor could not be reached."""
        return dict(self._counts)

    def close(self) -> None:
        """Disconnect from the other ranks and the actor; a report without a decision is dropped.

        A thread that reports or waits for a decision is waited for. State and decisions stay readable.
        """
        with self._lock:
            self._collective.close()
            if self._decider is not None:
                self._decider.close()

    def _start_at(self, step: int) -> None:
        """Take ``step`` as the first one, unless this client counts steps already."""
        if not self._has_steps and step > self._snapshot.step + 1:
            self._snapshot = Snapshot.of(replace(self._controller.init(), step=step - 1))
        self._has_steps = True

    def _submit(self, merged: Round) -> None:
        """Make a round the pending one; rank 0 requests its decision."""
        self._snapshot = replace(self._snapshot, pending=merged)
        if self._decider is not None:
            named = {"run_id": self.run_id, "tags": asdict(self.tags)}
            telemetry = {**named, "alarms": self._new_alarms, **self._counts}
            if self._decider.submit(request_text(self._config_text, self._snapshot.state, merged, telemetry)):
                self._new_alarms = []

    def _receive_decision(self) -> None:
        """Receive the decision on the pending round, if there is one: rank 0 waits for it and broadcasts it."""
        snapshot = self._snapshot
        if snapshot.pending is None:
            return
        text = "" if self._decider is None else encode_reply(self._decider.reply)
        reply = decode_reply(self._collective.broadcast(text, snapshot.step + 1))
        state, decision_text = reply.answer.split("\n")
        decision = Decision.from_dict(json.loads(decision_text))
        self._counts["decided_locally"] += reply.decided_locally
        observer, alarms = self._observe(snapshot.observer, decision)
        self._decisions.add(decision, alarms)
        self._new_alarms += [(alarm.kind.value, alarm.coefficient) for alarm in alarms]
        coefficients = Coefficients(decision.tau, decision.beta, decision.version, decision.step)
        self._snapshot = snapshot.decided(state, coefficients, observer)

    def _observe(self, observer: ObserverState, decision: Decision) -> tuple[ObserverState, tuple[Alarm, ...]]:
        """On rank 0, find the coefficients that have no effect."""
        return self._observer.observe(observer, decision) if self.rank == 0 else (observer, ())
