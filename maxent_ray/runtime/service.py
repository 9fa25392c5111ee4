"""The controller service: gathers the reports of a step from all ranks, decides once, answers all alike.

A plain class. :mod:`maxent_ray.runtime.actor` puts it into a Ray actor; without Ray it runs in process.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from maxent_ray.core.controller import Controller
from maxent_ray.core.controller_config import ControllerConfig
from maxent_ray.core.controller_state import Coefficients, ControllerState, Decision, Reason
from maxent_ray.core.field_kinds import shown
from maxent_ray.errors import ConfigError, InvalidReportError, RoundTimeoutError
from maxent_ray.runtime.decision_log import DecisionLog
from maxent_ray.runtime.merging import merge_reports
from maxent_ray.runtime.outage import pass_over
from maxent_ray.runtime.protocol import Answer, Report, StateLoad
from maxent_ray.runtime.report_check import check_load, check_report, check_sensitivity, state_of
from maxent_ray.runtime.rounds import WITHOUT_RANK, OpenRounds, RoundPolicy

HISTORY_ROUNDS = 16
"""Closed rounds whose whole answers are kept; of older ones the decision log knows the coefficients."""
ROUNDS_AHEAD = 2
"""How far a rank may run ahead of the oldest open round."""


class ControllerService:
    """One run's controller, shared by its ranks.

    Args:
        run_id: The run whose reports are accepted.
        config: The controller's settings.
        world_size: Ranks whose reports make a round.
        policy: What happens to rounds that ranks are missing from.
        state: A state to go on from; without one, the newest state that a report carries is adopted.
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
        self._closed: OrderedDict[int, Answer] = OrderedDict()
        self._closed_without: dict[int, list[int]] = {}
        self._decisions = DecisionLog()
        self._counts: Counter[str] = Counter()
        self._unreachable: dict[int, int] = {}
        self._generation = generation
        self._began_with = self._state
        self._loaded: dict[int, str] = {}  # rank → token, of the ranks that have loaded this generation

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
        return self._generation

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
            newer = self._newer_state(report)
            self._check(report, newer or self._state)
        except InvalidReportError:
            self._counts["rejected"] += 1
            raise
        if report.generation > self._generation:  # this service is a restarted one
            self._begin(report.generation, report.world_size)
        self._unreachable[report.rank] = report.unreachable_steps
        if newer is not None:
            self._adopt(newer, report.answered)
        if report.step < self.next_step:
            return self._answer_closed(report)
        if not self._open.add(report):
            self._counts["duplicates"] += 1
        self._close_complete()
        return self.answer(report.step)

    def time_out(self, step: int) -> Answer:
        """A rank has waited long enough for the round of ``step``: go on without the missing ranks, if the policy does.

        Raises:
            RoundTimeoutError: the policy is to wait, or too few ranks are left; names the missing ones. The round stays
                open, and is decided as ever when they report.
        """
        while self.next_step <= step and self._open.do_without_missing(self.next_step):
            self._close_complete()
        answer = self.answer(step)
        if answer is None:
            self._counts["round_timeouts"] += 1
            raise RoundTimeoutError(self._describe_missing(step))
        return answer

    def answer(self, step: int) -> Answer | None:
        """The answer of a round: None while it is open, the newest state once nothing remembers it."""
        if step in self._closed:
            return self._closed[step]
        if step >= self.next_step:
            return None
        logged = self._decisions.of_step(step)
        if logged is None:
            coefficients = self._state.coefficients(step)
        else:
            coefficients = Coefficients(logged["tau"], logged["beta"], logged["version"], step)
        return Answer(coefficients, self._told, None)

    def load_state(self, load: StateLoad) -> int:
        """Go on from a state: a resumed run, or a clone of another one. What came after it is dropped.

        Every rank calls it, in any order; the first call of a load takes effect and the others find it done.
        A rank's second call starts a new load, unless it carries the same token: then it is the first, sent again.

        Returns:
            The generation that the rank's reports carry from now on.

        Raises:
            InvalidReportError: the state is malformed. The state of the service is unchanged.
        """
        state = self._controller.adopt(check_load(load))
        if load.token and self._loaded.get(load.rank) == load.token:
            return self._generation
        joins = load.rank not in self._loaded and load.world_size in (None, self.world_size)
        if joins and self._loaded and state == self._began_with:
            self._loaded[load.rank] = load.token
            return self._generation
        world_size = self.world_size if load.world_size is None else load.world_size
        _check_rank(load.rank, world_size)
        self._begin(max(load.generation, self._generation) + 1, world_size)
        self._loaded = {load.rank: load.token}
        self._began_with = state
        self._go_to(state)
        self._decisions = DecisionLog(self._decisions.until(state.version))
        self._remember(load.answered)
        return self._generation

    def decisions(self, since_version: int = 0) -> list[dict[str, Any]]:
        """The last decisions, oldest first: those that led to a version above ``since_version``."""
        return self._decisions.since(since_version)

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
            "round_timeouts",
        )
        return {
            **{name: self._counts[name] for name in names},
            "unreachable_steps": max(self._unreachable.values(), default=0),
            "reasons": dict(self._state.reasons),
        }

    def _begin(self, generation: int, world_size: int | None) -> None:
        """Start a generation, with as many ranks as the first of them says; all open rounds are dropped."""
        self._generation = generation
        self._open = OpenRounds(world_size or self.world_size, self.policy)
        self._closed.clear()
        self._closed_without.clear()

    def _go_to(self, state: ControllerState) -> None:
        self._state = state
        self._told = state.to_dict()

    def _check(self, report: Report, newest: ControllerState) -> None:
        if report.run_id != self.run_id:
            raise InvalidReportError(f"run_id is {shown(report.run_id)}; this controller serves {self.run_id!r}")
        is_newer = report.generation > self._generation
        world_size = report.world_size if is_newer and report.world_size is not None else self.world_size
        if report.world_size not in (None, world_size):
            raise InvalidReportError(
                f"rank {report.rank}, step {report.step}: world_size is {report.world_size}; this controller gathers "
                f"{world_size} reports a round. After a change of the world size every rank must load a state"
            )
        _check_rank(report.rank, world_size)
        if report.generation < self._generation:
            raise InvalidReportError(
                f"rank {report.rank}, step {report.step}: another state was loaded since (generation is "
                f"{report.generation}, {self._generation} is valid); every rank must load it"
            )
        check_sensitivity(report, self.config)
        expected = newest.step + 1
        if report.step > expected + ROUNDS_AHEAD:
            raise InvalidReportError(
                f"rank {report.rank}: step is {report.step}, but step {expected} was expected; "
                "load the controller's state to go on from a later step"
            )

    def _newer_state(self, report: Report) -> ControllerState | None:
        """A state that knows of more rounds than ours, which was lost or out of reach."""
        if _is_same(report.state, self._told):  # as in most reports: no need to read it again
            return None
        state = state_of(report)
        return state if state is not None and state.version > self._state.version else None

    def _adopt(self, state: ControllerState, answered: Sequence[Coefficients]) -> None:
        """Go on from a rank's state; open rounds that it has behind it are answered from it."""
        self._counts["adopted"] += 1
        self._go_to(self._controller.adopt(state))
        self._remember(answered)
        self._open.drop_until(self._state.step)

    def _answer_closed(self, report: Report) -> Answer | None:
        self._open.heard_from(report.rank)
        known = self._closed.get(report.step)
        decided_here = known is not None and known.decision is not None
        decided_here = decided_here and report.rank not in self._closed_without.get(report.step, ())
        self._counts["duplicates" if decided_here else "late"] += 1
        return self.answer(report.step)

    def _close_complete(self) -> None:
        """Close rounds in order of step; a later one that is complete waits for the earlier one."""
        while self._open.is_complete(self.next_step):
            step = self.next_step
            missing = self._open.missing(step)
            state, decision = self._decide(self._open.reports(step))  # if it raises, the round stays open
            self._go_to(state)
            if missing:
                self._closed_without[step] = missing
                self._counts["quorum_rounds"] += 1
                decision = replace(decision, events=(*decision.events, *(f"{WITHOUT_RANK}{rank}" for rank in missing)))
            logged = decision.to_dict()
            self._decisions.append(logged)
            self._open.drop_until(step)
            self._close(Answer(state.coefficients(step), self._told, logged))

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

    def _remember(self, answered: Sequence[Coefficients]) -> None:
        """Keep what rounds before a state decided, for ranks that missed their answers."""
        for coefficients in sorted(answered, key=lambda known: known.step):
            if coefficients.step not in self._closed and coefficients.step < self.next_step:
                self._close(Answer(coefficients, self._told, None))

    def _close(self, answer: Answer) -> None:
        self._closed[answer.coefficients.step] = answer
        while len(self._closed) > HISTORY_ROUNDS:
            forgotten, _ = self._closed.popitem(last=False)
            self._closed_without.pop(forgotten, None)


def _check_rank(rank: int, world_size: int) -> None:
    if not 0 <= rank < world_size:
        raise InvalidReportError(f"rank is {rank}; it must be in [0, {world_size}), the world size")


def _is_same(found: object, told: Mapping[str, Any]) -> bool:
    try:
        return bool(found == told)
    except (RuntimeError, TypeError, ValueError):  # arrays have no single truth value; reading it names what is wrong
        return False
