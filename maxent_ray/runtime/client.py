"""A rank's client: it reports measurements and receives coefficients."""

from __future__ import annotations

import json
import logging
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from threading import RLock
from typing import Any
from zlib import crc32

from maxent_ray import errors
from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.diagnostics.observer import Observations, Observer
from maxent_ray.core.field_types import LONGEST_TEXT
from maxent_ray.core.objectives import ControllerGradients
from maxent_ray.core.state import Coefficients, ControllerState, Decision
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.validation import read_dataclass, to_plain
from maxent_ray.errors import ControllerError, InvalidReportError, MaxentRayError
from maxent_ray.runtime.asking import LocalDecider
from maxent_ray.runtime.deciding import Round, config_text, request_text, state_text
from maxent_ray.runtime.options import ClientOptions
from maxent_ray.runtime.ranks import DECISION_BYTES, SingleRank
from maxent_ray.runtime.reduction import Report, find_fault, merge_reports

OUTCOMES, DECISIONS = 2, 1000
"""Rounds whose outcome is kept, which is what lag 1 needs; and decisions that are."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Known:
    """A rank's knowledge of its run; immutable, so that other threads read a consistent snapshot."""

    state: str
    """The controller's state, as JSON."""
    step: int
    """The last step that it has a decision of."""
    outcomes: tuple[Coefficients, ...]
    """Outcomes of the last rounds; ``step`` is the round's."""
    pending: Round | None = None
    """The round of the next step, reduced and not decided yet."""
    observations: Observations = Observations()
    """Of rank 0; other ranks observe nothing."""


@dataclass(frozen=True)
class _Saved:
    """A client's ``state_dict()``."""

    state: ControllerState
    answered: tuple[Coefficients, ...]
    """Outcomes of the last rounds, the newest last."""
    pending: Round | None
    alarms: Observations | None


class ControllerClient:
    """One rank's view of the run's controller. The state lives here, on every rank; the actor only computes.

    All ranks call ``report`` and ``coefficients`` alike: ``report`` is a reduction over the ranks, and each decision
    reaches them by one broadcast, in ``coefficients`` with ``lag=0`` and in the next ``report`` with ``lag=1``.
    ``state_dict`` is called where and when one likes.

    Args:
        run_id: The run.
        rank: This worker's rank.
        config: The controller's settings.
        ranks: The ranks that train together.
        decider: Rank 0's way to decisions; None on the others.
        options: Lag and patience.

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
        ranks: SingleRank,
        decider: LocalDecider | None,
        options: ClientOptions = ClientOptions(),
    ) -> None:
        self.run_id = run_id
        self.rank = rank
        self.options = options
        self._config = config
        self._config_text = config_text(config)
        self._controller = Controller(config)
        self._observer = Observer(config)
        self._ranks = ranks
        self._decider = decider
        self._lock = RLock()
        self._decisions: deque[dict[str, Any]] = deque(maxlen=DECISIONS)
        self._counts = Counter(decided_locally=0)
        self._new_alarms: list[tuple[str, str]] = []
        state = self._controller.init()
        before = tuple(state.coefficients(step) for step in range(state.step + 1 - OUTCOMES, state.step + 1))
        self._known = _Known(state_text(state), state.step, before)

    @property
    def last_decision(self) -> dict[str, Any] | None:
        """The newest decision this client knows of, None before the first."""
        return self._decisions[-1] if self._decisions else None

    def coefficients(self, step: int) -> Coefficients:
        """Coefficients that ``step`` trains with: the outcome of round step − 1 − lag, the same on all ranks.

        Raises:
            InvalidReportError: this client has not reported that round, or no longer remembers it.
            ControllerUnavailableError: the actor did not answer and ``when_unreachable`` is ``raise``.
            RankLostError: a rank died or hangs; names it.
        """
        needed = step - 1 - self.options.lag
        with self._lock:
            if needed > self._known.step:
                self._take_decision()
            outcomes = {known.step: known for known in self._known.outcomes}
        if needed not in outcomes:
            raise InvalidReportError(
                f"rank {self.rank}: step {step} trains with the outcome of round {needed}, which this client has not "
                f"reported or no longer remembers; it knows rounds {sorted(outcomes)}"
            )
        return replace(outcomes[needed], step=step)

    def report(self, step: int, statistics: BatchStatistics, gradients: ControllerGradients | None = None) -> None:
        """Reduce what the ranks measured in ``step``, and ask for a decision; the same step again is ignored.

        A rank whose numbers cannot be used takes part all the same: the round moves neither τ nor β (reason
        ``non_finite``, with the field and its value), that rank is told, and all go on alike. An unroll that diverged
        does the same, and raises nothing.

        Args:
            step: The step after the last one that was reported, on all ranks.
            statistics: Of this rank's share of the batch.
            gradients: Of this rank's unroll, for truncated backprop.

        Raises:
            InvalidReportError: this rank's numbers are not usable (names field and value), or ranks report different
                steps or hold different states (on all of them).
            ControllerUnavailableError: the actor did not answer and ``when_unreachable`` is ``raise``.
            RankLostError: a rank died or hangs; names it.
        """
        with self._lock:
            known = self._known
            last = known.step + (known.pending is not None)
            if step == last:
                return
            fault, is_callers = find_fault(f"rank {self.rank}, step {step}: ", statistics, gradients, self._config)
            place = (step, last + 1, crc32(known.state.encode()))
            own = Report(*place, unusable=fault[:LONGEST_TEXT]) if fault else Report(*place, statistics, gradients)
            merged = merge_reports(self._ranks.gather(own))  # first: ranks that differ find out here, all of them
            self._take_decision()
            self._ask(merged)
        if fault and is_callers:
            raise InvalidReportError(fault)

    def settle(self) -> None:
        """Wait for the decision on the last report; all ranks call it."""
        with self._lock:
            self._take_decision()

    def state_dict(self) -> dict[str, Any]:
        """All that a checkpoint needs, ready for JSON. Any rank's stands for all; nothing is waited for.

        May be called on one rank alone, at any time and from any thread. Loaded on all ranks after step s was reported,
        later coefficients are those of the uninterrupted run, whatever the lag. What alarms were given is in rank 0's.
        """
        known = self._known
        return {
            "state": json.loads(known.state),
            "answered": [asdict(outcome) for outcome in known.outcomes],
            "pending": None if known.pending is None else to_plain(known.pending),
            "alarms": to_plain(known.observations) if self.rank == 0 else None,
        }

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        """Go on from a checkpoint or another run's state; every rank loads the same before its next report.

        State comes from ``values``, settings stay this client's own: τ and β are brought inside its bounds.

        Raises:
            InvalidReportError: the state is malformed; names the first entry that does not fit. Nothing was loaded.
        """
        saved = read_dataclass(_Saved, values, "client state")
        state = self._controller.adopt(saved.state)
        rounds = [outcome.step for outcome in saved.answered]
        if rounds != list(range(state.step + 1 - OUTCOMES, state.step + 1)):
            needed = f"the outcomes of the last {OUTCOMES} rounds before step {state.step + 1}"
            raise InvalidReportError(f"client state.answered is of rounds {rounds}; it must be {needed}")
        outcomes = tuple(self._within_bounds(state, outcome) for outcome in saved.answered)
        with self._lock:
            seen = saved.alarms or Observations()
            self._known = _Known(state_text(state), state.step, outcomes, observations=seen)
            kept = [decision for decision in self._decisions if decision["version"] <= state.version]
            self._decisions = deque(kept, DECISIONS)
            if saved.pending is not None:
                self._ask(saved.pending)

    def decisions(self, since_version: int = 0) -> list[dict[str, Any]]:
        """Decisions this client knows of, oldest first: those above ``since_version``; on rank 0 with their alarms."""
        return [decision for decision in list(self._decisions) if decision["version"] > since_version]

    def counters(self) -> dict[str, int]:
        """Rounds that rank 0 decided itself, as the actor could not be reached."""
        return dict(self._counts)

    def close(self) -> None:
        """Let go of the other ranks and the actor; a report without a decision is dropped."""
        self._ranks.close()
        if self._decider is not None:
            self._decider.close()

    def _ask(self, merged: Round) -> None:
        self._known = replace(self._known, pending=merged)
        if self._decider is not None:
            telemetry = {"run_id": self.run_id, "alarms": self._new_alarms, **self._counts}
            if self._decider.submit(request_text(self._config_text, self._known.state, merged, telemetry)):
                self._new_alarms = []

    def _take_decision(self) -> None:
        """Take the decision on the pending round, if there is one: rank 0 waits for it, and shares it."""
        known = self._known
        if known.pending is None:
            return
        text = self._ranks.broadcast("" if self._decider is None else _outcome(self._decider), known.step + 1)
        failure, locally, answer = text.split("\n", 2)
        if failure:
            raise vars(errors)[failure](answer)
        state, decision = answer.split("\n")
        decided = Decision.from_dict(json.loads(decision))
        self._counts["decided_locally"] += bool(locally)
        observations, alarms = self._observe(known.observations, decided)
        self._decisions.append({**decided.to_dict(), "alarms": alarms})
        outcome = Coefficients(decided.tau, decided.beta, decided.version, decided.step)
        outcomes = (*known.outcomes, outcome)[-OUTCOMES:]
        self._known = _Known(state, decided.step, outcomes, observations=observations)

    def _observe(self, observations: Observations, decision: Decision) -> tuple[Observations, list[dict[str, Any]]]:
        """On rank 0, look for coefficients that do nothing, and warn of them."""
        if self.rank != 0:
            return observations, []
        observations, alarms = self._observer.observe(observations, decision)
        for alarm in alarms:
            logger.warning("step %d: %s [%s]", decision.step, alarm.message, alarm.kind)
            self._new_alarms.append((alarm.kind.value, alarm.coefficient))
        return observations, [asdict(alarm) for alarm in alarms]

    def _within_bounds(self, state: ControllerState, known: Coefficients) -> Coefficients:
        allowed = self._controller.adopt(replace(state, tau=known.tau, beta=known.beta))
        return replace(known, tau=allowed.tau, beta=allowed.beta)


def _outcome(decider: LocalDecider) -> str:
    """Rank 0's lines for all: an error's name or nothing, "locally" or nothing, the answer or the error's message."""
    try:
        reply = decider.reply()
        if len(reply.answer) < DECISION_BYTES // 2:
            return f"\n{'locally' if reply.decided_locally else ''}\n{reply.answer}"
        raise ControllerError(f"a decision has {len(reply.answer)} characters; it may have {DECISION_BYTES // 2}")
    except Exception as error:  # whatever it is, the other ranks wait in the broadcast
        name, message = type(error).__name__, str(error)[:1000]
        return f"{name}\n\n{message}" if isinstance(error, MaxentRayError) else f"ControllerError\n\n{name}: {message}"
