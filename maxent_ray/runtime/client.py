"""What a training worker holds: reports go out, coefficients come in, and an outage has a defined outcome."""

from __future__ import annotations

import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import uuid4

from maxent_ray.core.controller import Controller
from maxent_ray.core.controller_config import ControllerConfig
from maxent_ray.core.controller_state import Coefficients, ControllerState
from maxent_ray.core.objectives import ControllerGradients
from maxent_ray.core.reading import read_dataclass
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.errors import ControllerUnavailableError, InvalidReportError, RoundTimeoutError
from maxent_ray.runtime.agreement import Proposal, RankAgreement
from maxent_ray.runtime.alarms import announce
from maxent_ray.runtime.closed_rounds import HISTORY_ROUNDS
from maxent_ray.runtime.decision_log import DecisionLog
from maxent_ray.runtime.measurement import usable
from maxent_ray.runtime.options import ClientOptions
from maxent_ray.runtime.outage import decide_alone, furthest
from maxent_ray.runtime.protocol import Answer, Report, StateLoad
from maxent_ray.runtime.report_check import MOST_ANSWERED
from maxent_ray.runtime.transport import Transport

ANSWERED_ROUNDS = 2
"""Rounds whose outcome is kept: what lag 1 needs. In an outage more are, for ranks that come after."""

_INSTEAD = {"hold": "coefficients are held", "local": "this rank steps a copy on its own statistics"}

logger = logging.getLogger(__name__)


@dataclass
class _Pending:
    """A report whose answer has not been taken yet."""

    report: Report
    handle: Any
    """None when it could not be sent."""


class ControllerClient:
    """One rank's view of the run's controller.

    ``report`` never waits for the controller. ``coefficients(step)`` waits for round step − 1 − lag, so with
    ``lag=0`` for the one just reported. A report that the controller refuses may raise only there.

    Args:
        run_id: The run.
        rank: This worker's rank.
        config: The controller's settings.
        transport: The way to the controller.
        options: Lag, patience, and what to do without the controller.
        agreement: Makes ranks that differ after an outage train with the same; None: nothing is compared.

    Example:
        >>> config = ControllerConfig(group_size=8, target_entropy=1.9, target_kl=0.05)
        >>> from maxent_ray.runtime.connecting import connect
        >>> client = connect("run", 0, 1, config, options=ClientOptions(lag=0), local=True)
        >>> client.coefficients(0).tau
        0.3
        >>> client.report(0, BatchStatistics(groups=1, weight_entropy_sum=2.0, tokens=1, policy_kl_sum=0.05))
        >>> client.coefficients(1).tau < 0.3
        True
    """

    def __init__(
        self,
        run_id: str,
        rank: int,
        config: ControllerConfig,
        transport: Transport,
        options: ClientOptions = ClientOptions(),
        agreement: RankAgreement | None = None,
    ) -> None:
        self.run_id = run_id
        self.rank = rank
        self.options = options
        self._controller = Controller(config)
        self._transport = transport
        self._agreement = agreement
        self._decided_alone: dict[int, Report] = {}
        self._pending: OrderedDict[int, _Pending] = OrderedDict()
        self._decisions = DecisionLog()
        self._counts: Counter[str] = Counter()
        self._in_outage = False
        self._last_error = ""
        self._warned_of_past = False
        self._generation = transport.generation()
        self._state = self._controller.init()
        self._answered = _before_first_round(self._state)

    @property
    def last_decision(self) -> dict[str, Any] | None:
        """The newest decision this client knows of, None before the first."""
        return self._decisions.last

    def coefficients(self, step: int) -> Coefficients:
        """What ``step`` trains with: the outcome of round step − 1 − lag, the same on all ranks.

        Raises:
            InvalidReportError: the controller refused a report, or this client never reported that round.
            ControllerUnavailableError: the controller did not answer and ``when_unreachable`` is ``raise``.
            RoundTimeoutError: ranks are missing from the round; names them. The same call may be made again.
        """
        needed = step - 1 - self.options.lag
        self._settle(needed)
        if needed not in self._answered:
            raise InvalidReportError(
                f"rank {self.rank}: step {step} trains with the outcome of round {needed}, which this client "
                f"has not reported or no longer remembers; it knows rounds {sorted(self._answered)}"
            )
        return replace(self._answered[needed], step=step)

    def report(self, step: int, statistics: BatchStatistics, gradients: ControllerGradients | None = None) -> None:
        """Send what this rank measured in ``step``; the same step a second time is ignored.

        What cannot be used is not sent. The controller is told that there is nothing, so that other ranks need not wait
        for it: the round moves neither τ nor β (under a quorum it is decided without this rank), and this rank goes on
        like the others if the caller does. An unroll that diverged is no fault of the caller's and raises nothing.

        Raises:
            InvalidReportError: the statistics are not usable; names the field and its value.
        """
        if step in self._pending or step in self._answered:
            return
        measured = usable(self.rank, step, statistics, gradients)
        report = Report(
            self.run_id,
            self.rank,
            step,
            measured.statistics,
            measured.gradients,
            unreachable_steps=self._unreachable,
            void=measured.void,
        )
        prepared = self._transport.prepare(report)
        self._pending[step] = _Pending(prepared, self._submit(prepared))
        if measured.refusal is not None:
            raise measured.refusal

    def state_dict(self) -> dict[str, Any]:
        """Everything a checkpoint needs, ready for JSON; waits for the answers of all reports sent.

        Loaded after step s, later coefficients are those of the uninterrupted run, whatever the lag.
        """
        self._settle_all()
        return {
            "state": self._state.to_dict(),
            "answered": [asdict(known) for known in self._answered.values()],
        }

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        """Go on from a checkpoint or a clone's state; every rank loads the same before its next report.

        All ranks are connected before the first of them loads: one that comes later would begin a load of its own.
        State comes from ``values``, settings stay this client's own: τ and β are brought inside its bounds.

        Raises:
            InvalidReportError: the state is malformed.
            ControllerUnavailableError: the controller could not be told.
        """
        if values.keys() != {"state", "answered"}:
            raise InvalidReportError(f"client state has keys {sorted(values)}; it needs ['answered', 'state']")
        state = self._controller.adopt(ControllerState.from_dict(values["state"]))
        entries = [read_dataclass(Coefficients, entry, "client state's answered") for entry in values["answered"]]
        known = [self._within_bounds(state, entry) for entry in entries]
        self._pending.clear()
        self._decided_alone.clear()
        self._in_outage = False
        load = StateLoad(self.rank, state.to_dict(), tuple(known), self._generation, token=uuid4().hex)
        self._generation = self._load(load, state.step)
        self._state = state
        self._decisions = DecisionLog(self._decisions.until(state.version))
        self._answered = OrderedDict((entry.step, entry) for entry in known)

    def decisions(self, since_version: int = 0) -> list[dict[str, Any]]:
        """Decisions this client has received or made, oldest first: those above ``since_version``."""
        return self._decisions.since(since_version)

    def counters(self) -> dict[str, int]:
        """Retries, failed calls, steps decided without the controller, and those that another rank knew better."""
        names = ("retries", "failed_calls", "held_steps", "local_steps", "corrected_steps")
        return {name: self._counts[name] for name in names}

    def controller_counters(self) -> dict[str, Any]:
        """What the controller itself has counted.

        Raises:
            ControllerUnavailableError: it could not be asked.
        """
        return self._transport.counters(self.options.timeout_s)

    def close(self) -> None:
        """Let go of the controller; reports without an answer are dropped."""
        self._pending.clear()
        self._transport.close()

    @property
    def _unreachable(self) -> int:
        return self._counts["held_steps"] + self._counts["local_steps"]

    def _submit(self, report: Report) -> Any:
        """Send with the newest state."""
        return self._send(replace(report, state=self._state.to_dict(), answered=tuple(self._answered.values())))

    def _send(self, report: Report) -> Any:
        """The handle, or None: a failure to send is handled when the answer is needed."""
        try:
            return self._transport.submit(replace(report, generation=self._generation))
        except ControllerUnavailableError as error:
            self._note_failure(error)
            return None

    def _note_failure(self, error: ControllerUnavailableError) -> None:
        self._counts["failed_calls"] += 1
        self._last_error = str(error)

    def _settle(self, through: int) -> None:
        """Take the answers of all reports up to a step, in order."""
        for step in sorted(step for step in self._pending if step <= through):
            answer = self._await(self._pending[step])
            if answer is None:
                answer = self._decide_alone(self._pending[step].report)
            del self._pending[step]
            self._take(step, answer)
            self._agree(step)

    def _settle_all(self) -> None:
        """Take the answers of all reports.

        No later report will tell a controller that restarts now what the last one did not know yet when it was sent:
        the answers of those before it. So it is sent again with them.
        """
        last, before = max(self._pending, default=-1), self._state
        self._settle(last - 1)
        if self._state is not before and last in self._pending:
            self._pending[last].handle = self._submit(self._pending[last].report)
        self._settle(last)

    def _take(self, step: int, answer: Answer) -> None:
        state = ControllerState.from_dict(answer.state)
        self._state = furthest(state, self._state)
        self._warn_of_past(step, state.step)
        if answer.decision is not None:
            self._decisions.append(dict(answer.decision))
            if self.rank == 0:
                announce(answer.decision, logger)
        self._answered[step] = replace(answer.coefficients, step=step)
        while len(self._answered) > (MOST_ANSWERED if self._in_outage else ANSWERED_ROUNDS):
            forgotten, _ = self._answered.popitem(last=False)
            self._decided_alone.pop(forgotten, None)

    def _agree(self, step: int) -> None:
        """Take another rank's outcome of a round where it knows better."""
        if self._agreement is None:
            return
        known = self._answered[step]
        decision = next((d for d in self._decisions.since(known.version - 1) if d["version"] == known.version), None)
        own = Answer(known, self._state.to_dict(), decision)
        answer = self._agreement.settle(Proposal(own, step in self._decided_alone), self._report_what_was_lost)
        if answer is own:
            return
        self._counts["corrected_steps"] += 1
        self._decided_alone.pop(step, None)
        self._state = ControllerState.from_dict(answer.state)
        self._answered[step] = answer.coefficients
        self._decisions = DecisionLog(self._decisions.until(answer.coefficients.version - 1))
        if answer.decision is not None:
            self._decisions.append(answer.decision)

    def _report_what_was_lost(self) -> None:
        """Other ranks wait in the controller for the rounds that this rank had to decide alone.

        Without this rank's state: it holds what was decided alone, which nobody else has agreed to yet.
        """
        for report in self._decided_alone.values():
            self._send(report)

    def _warn_of_past(self, reported: int, decided: int) -> None:
        """Once: no rank of a run falls this far behind."""
        if decided <= reported + HISTORY_ROUNDS or self._warned_of_past:
            return
        self._warned_of_past = True
        logger.warning(
            "run %r: rank %d reports step %d, but the controller has decided through step %d: it serves another run of "
            "this name, or an earlier attempt. Load a state, or choose another run_id",
            self.run_id,
            self.rank,
            reported,
            decided,
        )

    def _await(self, pending: _Pending) -> Answer | None:
        """The answer, or None when the retries are used up. During an outage each round gets a single try."""
        retries = 0 if self._in_outage else self.options.retries
        for attempt in range(retries + 1):
            if attempt:
                self._wait_before(attempt)
                self._submit_again()
            try:
                if pending.handle is not None:
                    answer = self._transport.result(pending.handle, self.options.timeout_s)
                    self._in_outage = False
                    return answer
            except RoundTimeoutError:
                self._submit_again()  # for a caller that asks again
                raise
            except ControllerUnavailableError as error:
                self._note_failure(error)
        return None

    def _wait_before(self, attempt: int) -> None:
        self._counts["retries"] += 1
        time.sleep(self.options.backoff_s * 2 ** (attempt - 1))

    def _submit_again(self) -> None:
        """A restarted controller has lost every open report; one that has not ignores the second copy."""
        for pending in self._pending.values():
            pending.handle = self._submit(pending.report)

    def _decide_alone(self, report: Report) -> Answer:
        kind = self.options.when_unreachable
        if kind == "raise":
            raise ControllerUnavailableError(
                f"rank {self.rank}: no answer for step {report.step} after {self.options.retries} retries "
                f"({self._last_error})"
            )
        if not self._in_outage:
            logger.warning(
                "run %r, rank %d, step %d: the controller cannot be reached (%s); until it is back: %s",
                self.run_id,
                self.rank,
                report.step,
                self._last_error,
                _INSTEAD[kind],
            )
        self._in_outage = True
        self._decided_alone[report.step] = report
        self._counts["held_steps" if kind == "hold" else "local_steps"] += 1
        return decide_alone(self._controller, self._state, report, use_statistics=kind == "local")

    def _load(self, load: StateLoad, step: int) -> int:
        for attempt in range(self.options.retries + 1):
            if attempt:
                self._wait_before(attempt)
            try:
                return self._transport.load_state(load, self.options.timeout_s)
            except ControllerUnavailableError as error:
                self._note_failure(error)
        raise ControllerUnavailableError(
            f"rank {self.rank}: the controller did not take the state of step {step} "
            f"after {self.options.retries} retries ({self._last_error})"
        )

    def _within_bounds(self, state: ControllerState, known: Coefficients) -> Coefficients:
        allowed = self._controller.adopt(replace(state, tau=known.tau, beta=known.beta))
        return replace(known, tau=allowed.tau, beta=allowed.beta)


def _before_first_round(state: ControllerState) -> OrderedDict[int, Coefficients]:
    """What the first steps train with: the initial values stand in for the rounds before the first."""
    steps = range(state.step + 1 - ANSWERED_ROUNDS, state.step + 1)
    return OrderedDict((step, state.coefficients(step)) for step in steps)
