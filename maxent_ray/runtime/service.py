"""The controller service: gathers the reports of a step from all ranks, decides once, answers all alike.

A plain class. :mod:`maxent_ray.runtime.actor` puts it into a Ray actor; without Ray it runs in process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from maxent_ray.core.controller import Controller
from maxent_ray.core.controller_config import ControllerConfig
from maxent_ray.core.controller_state import Coefficients, ControllerState, Decision, Reason
from maxent_ray.errors import ConfigError, InvalidReportError, RoundTimeoutError
from maxent_ray.runtime.admission import MOST_ALONE, Place, check_place, check_rank
from maxent_ray.runtime.closed_rounds import HISTORY_ROUNDS, ClosedRounds
from maxent_ray.runtime.loads import Loads
from maxent_ray.runtime.merging import merge_reports
from maxent_ray.runtime.outage import held, pass_over
from maxent_ray.runtime.protocol import Answer, Report, StateLoad
from maxent_ray.runtime.report_check import check_load, check_report, check_sensitivity, state_of
from maxent_ray.runtime.rounds import WENT_ON, WITHOUT_RANK, OpenRounds, RoundPolicy


class ControllerService:
    """One run's controller, shared by its ranks.

    Args:
        run_id: The run whose reports are accepted.
        config: The controller's settings.
        world_size: Ranks whose reports make a round.
        policy: What happens to rounds that ranks are missing from.
        state: A state to go on from; without one, that with the most decided rounds that a report carries is adopted.
        generation: Where generations begin; above an earlier service's, its late reports are refused.

    Raises:
        ConfigError: ``world_size`` < 1.

    Example:
        >>> from maxent_ray.core.statistics import BatchStatistics
        >>> config = ControllerConfig(group_size=8, target_entropy=1.9, target_kl=0.05)
        >>> service = ControllerService("run", config, world_size=2)
        >>> measured = BatchStatistics(groups=1, weight_entropy_sum=2.0, tokens=1, policy_kl_sum=0.05)
        >>> service.report(Report("run", rank=1, step=0, statistics=measured)) is None
        True
        >>> service.report(Report("run", rank=0, step=0, statistics=measured)).coefficients.version
        1
    """

    def __init__(
        self,
        run_id: str,
        config: ControllerConfig,
        world_size: int,
        *,
        policy: RoundPolicy = RoundPolicy(),
        state: ControllerState | None = None,
        generation: int = 0,
    ) -> None:
        if world_size < 1:
            raise ConfigError(f"world_size is {world_size}; it must be >= 1")
        self.run_id = run_id
        self.config = config
        self.policy = policy
        self._controller = Controller(config)
        self._state = self._controller.init() if state is None else self._controller.adopt(state)
        self._told = self._state.to_dict()
        self._open = OpenRounds(world_size, policy)
        self._closed = ClosedRounds()
        self._counts: Counter[str] = Counter()
        self._unreachable: dict[int, int] = {}
        self._loads = Loads(self._state, generation)

    @property
    def state(self) -> ControllerState:
        """The state after the last closed round."""
        return self._state

    @property
    def world_size(self) -> int:
        """Ranks whose reports make a round."""
        return self._open.world_size

    @property
    def generation(self) -> int:
        """How often a state was loaded. Reports of an earlier generation are refused."""
        return self._loads.generation

    @property
    def next_step(self) -> int:
        """The step whose round closes next."""
        return self._state.step + 1

    def report(self, report: Report) -> Answer | None:
        """Take one rank's report of one step.

        Idempotent: a second report of (rank, step) changes nothing and gets the same answer. A report of a
        round that is closed already is counted and otherwise ignored.

        Returns:
            The round's answer, or None while other ranks' reports are missing.

        Raises:
            InvalidReportError: the report names another run, a rank or a step that cannot be, or carries
                values that are not usable. The state is unchanged.
        """
        try:
            check_report(report)
            carried = self._carried_state(report)
            self._admit(report, carried)
        except InvalidReportError:
            self._counts["rejected"] += 1
            raise
        if report.generation > self.generation:
            self._take_over(report, carried)
        self._unreachable[report.rank] = report.unreachable_steps
        self._catch_up(report, carried)
        if report.step < self.next_step:
            return self._answer_closed(report)
        if not self._open.add(report):
            self._counts["duplicates"] += 1
        self._close_finished()
        return self.answer(report.step)

    def time_out(self, step: int) -> Answer:
        """A rank has waited long enough for the round of ``step``: go on without the missing ranks, if the policy does.

        Raises:
            RoundTimeoutError: the policy is to wait, or too few ranks are left; names the missing ones. The round stays
                open, and is decided as ever when they report.
        """
        while self.next_step <= step and self._open.do_without_missing(self.next_step):
            self._close_finished()
        answer = self.answer(step)
        if answer is None:
            self._counts["round_timeouts"] += 1
            raise RoundTimeoutError(self._describe_missing(step))
        return answer

    def answer(self, step: int) -> Answer | None:
        """The answer of a round, None while it is open.

        Raises:
            InvalidReportError: the round is closed, and nothing remembers what it decided.
        """
        if step >= self.next_step:
            return None
        answer = self._closed.answer(step, self._told)
        if answer is None:
            raise InvalidReportError(
                f"run {self.run_id!r}: nobody remembers what the round of step {step} came to; the controller was "
                f"restarted since, or another rank went on alone, and it is at step {self._state.step}. Every rank "
                f"must load one rank's state_dict() to go on from step {self.next_step}"
            )
        return answer

    def load_state(self, load: StateLoad) -> int:
        """Go on from a state: a resumed run, or a clone of another one. What came after it is dropped.

        Every rank calls it, in any order; the first call of a load takes effect and the others find it done.
        A rank's second call starts a new load, unless it carries the same token: then it is the first, sent again.
        So does one by a rank that came after the first call: ranks connect before any of them loads.

        Returns:
            The generation that the rank's reports carry from now on.

        Raises:
            InvalidReportError: the state is malformed. The state of the service is unchanged.
        """
        state = self._controller.adopt(check_load(load))
        world_size = self.world_size if load.world_size is None else load.world_size
        if self._loads.is_repeated(load):
            return self.generation
        if world_size == self.world_size and self._loads.joins(load, state):
            self._loads.join(load)
            return self.generation
        check_rank(load.rank, world_size)
        self._loads.begin(load, state)
        self._drop_rounds(world_size)
        self._go_to(state)
        self._closed.back_to(state.version)
        self._closed.remember(load.answered, self.next_step)
        return self.generation

    def decisions(self, since_version: int = 0) -> list[dict[str, Any]]:
        """The last decisions, oldest first: those that led to a version above ``since_version``."""
        return self._closed.decisions.since(since_version)

    def counters(self) -> dict[str, Any]:
        """What happened besides deciding, and how often each reason was given."""
        names = (
            "duplicates",
            "late",
            "rejected",
            "adopted",
            "partial_gradients",
            "void_rounds",
            "quorum_rounds",
            "lost_rounds",
            "round_timeouts",
        )
        return {
            **{name: self._counts[name] for name in names},
            "unreachable_steps": max(self._unreachable.values(), default=0),
            "reasons": dict(self._state.reasons),
        }

    def _drop_rounds(self, world_size: int) -> None:
        """All open rounds are void, and closed ones may be decided anew: a load has begun, for so many ranks."""
        self._open = OpenRounds(world_size, self.policy)
        self._closed.forget_answers()
        self._unreachable = {rank: steps for rank, steps in self._unreachable.items() if rank < world_size}

    def _take_over(self, report: Report, carried: ControllerState) -> None:
        """This service has restarted, and what it may know is of before a load that the report's rank knows of."""
        self._drop_rounds(report.world_size or self.world_size)
        self._closed = ClosedRounds()
        self._go_to(self._controller.init())
        if report.state is not None:
            self._adopt(carried, report.answered)
        self._loads.take_over(report.generation, report.rank, self._state)

    def _go_to(self, state: ControllerState) -> None:
        self._state = state
        self._told = state.to_dict()

    def _admit(self, report: Report, carried: ControllerState) -> None:
        check_place(report, carried, Place(self.run_id, self.world_size, self.generation, self._state))
        check_sensitivity(report, self.config)

    def _carried_state(self, report: Report) -> ControllerState:
        """The newest state that the report's rank has seen; ours where it does not say."""
        if _is_same(report.state, self._told):  # as in most reports: no need to read it again
            return self._state
        return state_of(report) or self._state

    def _catch_up(self, report: Report, carried: ControllerState) -> None:
        """Learn what a rank's state shows: rounds that this service has lost, and rounds that the rank held.

        What a rank held does not outrank what was decided, however many rounds it held.
        """
        if report.state is None:
            return
        self._open.went_on(report.rank, carried.step)
        if carried is self._state:
            return
        if carried.decided > self._state.decided or carried.step > self._state.step + MOST_ALONE:
            self._adopt(carried, report.answered)
        self._close_finished()

    def _adopt(self, carried: ControllerState, answered: Sequence[Coefficients]) -> None:
        """Go on from a rank's state. Rounds that are closed here stay closed, and what ranks were told of them stands.

        Where the state is of an earlier step, others held the rounds since: so it is held for them, too.
        """
        self._counts["adopted"] += 1
        state = self._controller.adopt(carried)
        behind = max(self._state.step - state.step, 0)
        since = [held(state, rounds) for rounds in range(max(behind - HISTORY_ROUNDS + 1, 0), behind + 1)]
        self._go_to(since[-1])
        self._closed.remember([*answered, *(passed.coefficients(passed.step) for passed in since)], self.next_step)
        self._open.drop_until(self._state.step)

    def _answer_closed(self, report: Report) -> Answer | None:
        self._open.heard_from(report.rank)
        self._counts["duplicates" if self._closed.was_decided_with(report.rank, report.step) else "late"] += 1
        return self.answer(report.step)

    def _close_finished(self) -> None:
        """Close rounds in order of step; a later one that is complete waits for the earlier one."""
        while True:
            step = self.next_step
            if self._open.is_lost(step):
                self._counts["lost_rounds"] += 1
                without = self._open.gone_on(step)
                outcome = pass_over(self._state, Reason.STALE, *(f"{WENT_ON}{rank}" for rank in without))
            elif self._open.is_complete(step):
                without = self._open.missing(step)
                outcome = self._decide_without(without, step)
            else:
                return
            state, decision = outcome
            self._go_to(state)
            self._open.drop_until(step)
            self._closed.close(Answer(state.coefficients(step), self._told, decision.to_dict()), without)

    def _decide_without(self, missing: Sequence[int], step: int) -> tuple[ControllerState, Decision]:
        """Decide a round; the decision says which ranks it lacked. If this raises, the round stays open."""
        state, decision = self._decide(self._open.reports(step))
        if missing:
            self._counts["quorum_rounds"] += 1
            decision = replace(decision, events=(*decision.events, *(f"{WITHOUT_RANK}{rank}" for rank in missing)))
        return state, decision

    def _decide(self, reports: Sequence[Report]) -> tuple[ControllerState, Decision]:
        merged = merge_reports(reports, self.policy.needed(self.world_size))
        if merged.void:
            self._counts["void_rounds"] += 1
            return pass_over(self._state, Reason.NON_FINITE, merged.void)
        self._counts["partial_gradients"] += merged.partial
        return self._controller.step(self._state, merged.statistics, merged.gradients)

    def _describe_missing(self, step: int) -> str:
        waiting = f"round {step} is not decided"
        if step > self.next_step:
            waiting = f"round {step} waits for round {self.next_step}"
        missing = self._open.missing(self.next_step)
        total = self.world_size
        rule = "all of them" if self.policy.kind == "wait" else f"{self.policy.needed(total)} of {total}"
        return (
            f"run {self.run_id!r}: {waiting}: no report from rank{'s' * (len(missing) > 1)} "
            f"{', '.join(map(str, missing))} of {total} in {self.policy.timeout_s:g} s, and the policy needs {rule}. "
            "They died or hang, or a step takes longer than runtime.round_timeout_s"
        )


def _is_same(found: object, told: Mapping[str, Any]) -> bool:
    try:
        return bool(found == told)
    except (RuntimeError, TypeError, ValueError):  # arrays have no single truth value; reading it names what is wrong
        return False
