"""What a training worker holds: reports go out, coefficients come in, and an outage has a defined outcome."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from maxent_ray.core.controller import Controller
from maxent_ray.core.controller_config import ControllerConfig
from maxent_ray.core.controller_state import Coefficients, ControllerState
from maxent_ray.core.objectives import ControllerGradients
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.errors import ConfigError, ControllerUnavailableError, InvalidReportError
from maxent_ray.runtime.decision_log import DecisionLog
from maxent_ray.runtime.outage import decide_alone
from maxent_ray.runtime.protocol import Answer, Report, StateLoad, check_statistics
from maxent_ray.runtime.service import ControllerService
from maxent_ray.runtime.transport import LocalTransport, Transport

Reduction = Literal["actor", "collective"]
WhenUnreachable = Literal["hold", "local", "raise"]
NAMESPACE = "maxent_ray"
ANSWERED_ROUNDS = 2
"""Rounds whose outcome is kept: what lag 1 needs."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClientOptions:
    """How a client talks to its controller.

    Raises:
        ConfigError: a value is out of range; the message names it.
    """

    lag: int = 1
    """Coefficients of step s come from round s − 1 − lag: 0 waits for the round just reported, 1 overlaps
    the call with the next step."""
    reduction: Reduction = "actor"
    """``actor``: every rank reports. ``collective``: ranks merge by torch.distributed, rank 0 reports."""
    timeout_s: float = 30.0
    """Seconds to wait for one answer, the slowest rank included."""
    retries: int = 3
    backoff_s: float = 0.5
    """Seconds before the first retry; doubles with each further one."""
    when_unreachable: WhenUnreachable = "hold"
    """After the retries: ``hold`` the coefficients, step a ``local`` controller on this rank's statistics,
    or ``raise``."""

    def __post_init__(self) -> None:
        """Check every field."""
        for name, valid in (
            ("lag", (0, 1)),
            ("reduction", get_args(Reduction)),
            ("when_unreachable", get_args(WhenUnreachable)),
        ):
            value = getattr(self, name)
            if value not in valid:
                raise ConfigError(f"{name} is {value!r}; valid: {', '.join(map(str, valid))}")
        if not (math.isfinite(self.timeout_s) and self.timeout_s > 0):
            raise ConfigError(f"timeout_s is {self.timeout_s}; it must be finite and > 0 seconds")
        if self.retries < 0:
            raise ConfigError(f"retries is {self.retries}; it must be >= 0")
        if not (math.isfinite(self.backoff_s) and self.backoff_s >= 0):
            raise ConfigError(f"backoff_s is {self.backoff_s}; it must be finite and >= 0 seconds")


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

    Example:
        >>> config = ControllerConfig(group_size=8, target_entropy=1.9, target_kl=0.05)
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
    ) -> None:
        self.run_id = run_id
        self.rank = rank
        self.options = options
        self._controller = Controller(config)
        self._transport = transport
        self._pending: OrderedDict[int, _Pending] = OrderedDict()
        self._decisions = DecisionLog()
        self._counts: Counter[str] = Counter()
        self._in_outage = False
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

        Raises:
            InvalidReportError: the statistics are not usable.
        """
        if step in self._pending or step in self._answered:
            return
        report = self._transport.prepare(
            Report(self.run_id, self.rank, step, statistics, gradients, unreachable_steps=self._unreachable)
        )
        check_statistics(self.rank, step, report.statistics)
        self._pending[step] = _Pending(report, self._submit(report))

    def state_dict(self) -> dict[str, Any]:
        """Everything a checkpoint needs, ready for JSON; waits for the answers of all reports sent.

        Loaded after step s, later coefficients are those of the uninterrupted run, whatever the lag.
        """
        self._settle(max(self._pending, default=-1))
        return {
            "state": self._state.to_dict(),
            "answered": [asdict(known) for known in self._answered.values()],
        }

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        """Go on from a checkpoint or a clone's state; every rank loads the same before its next report.

        State comes from ``values``, settings stay this client's own: τ and β are brought inside its bounds.

        Raises:
            InvalidReportError: the state is malformed.
            ControllerUnavailableError: the controller could not be told.
        """
        if values.keys() != {"state", "answered"}:
            raise InvalidReportError(f"client state has keys {sorted(values)}; it needs ['answered', 'state']")
        state = self._controller.adopt(ControllerState.from_dict(values["state"]))
        known = [self._within_bounds(state, Coefficients(**entry)) for entry in values["answered"]]
        self._pending.clear()
        load = StateLoad(self.rank, state.to_dict(), tuple(known), self._generation)
        self._generation = self._load(load, state.step)
        self._state = state
        self._decisions = DecisionLog(self._decisions.until(state.version))
        self._answered = OrderedDict((entry.step, entry) for entry in known)

    def decisions(self, since_version: int = 0) -> list[dict[str, Any]]:
        """Decisions this client has received or made, oldest first: those above ``since_version``."""
        return self._decisions.since(since_version)

    def counters(self) -> dict[str, int]:
        """Retries, failed calls, and the steps decided without the controller, by kind."""
        return {name: self._counts[name] for name in ("retries", "failed_calls", "held_steps", "local_steps")}

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
        """Send with the newest state; a failure to send is handled when the answer is needed."""
        stamped = replace(
            report,
            state=self._state.to_dict(),
            answered=tuple(self._answered.values()),
            generation=self._generation,
        )
        try:
            return self._transport.submit(stamped)
        except ControllerUnavailableError:
            self._counts["failed_calls"] += 1
            return None

    def _settle(self, through: int) -> None:
        """Take the answers of all reports up to a step, in order."""
        for step in sorted(step for step in self._pending if step <= through):
            answer = self._await(self._pending[step])
            if answer is None:
                answer = self._decide_alone(self._pending[step].report)
            del self._pending[step]
            self._take(step, answer)

    def _take(self, step: int, answer: Answer) -> None:
        state = ControllerState.from_dict(answer.state)
        if state.version >= self._state.version:
            self._state = state
        if answer.decision is not None:
            self._decisions.append(dict(answer.decision))
        self._answered[step] = replace(answer.coefficients, step=step)
        while len(self._answered) > ANSWERED_ROUNDS:
            self._answered.popitem(last=False)

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
            except ControllerUnavailableError as error:
                self._counts["failed_calls"] += 1
                logger.debug("rank %d, step %d: %s", self.rank, pending.report.step, error)
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
                f"rank {self.rank}: no answer for step {report.step} after {self.options.retries} retries"
            )
        if not self._in_outage:
            logger.warning("rank %d, step %d: the controller cannot be reached; %s", self.rank, report.step, kind)
        self._in_outage = True
        self._counts["held_steps" if kind == "hold" else "local_steps"] += 1
        return decide_alone(self._controller, self._state, report, use_statistics=kind == "local")

    def _load(self, load: StateLoad, step: int) -> int:
        for attempt in range(self.options.retries + 1):
            if attempt:
                self._wait_before(attempt)
            try:
                return self._transport.load_state(load, self.options.timeout_s)
            except ControllerUnavailableError:
                self._counts["failed_calls"] += 1
        raise ControllerUnavailableError(
            f"rank {self.rank}: the controller did not take the state of step {step} "
            f"after {self.options.retries} retries"
        )

    def _within_bounds(self, state: ControllerState, known: Coefficients) -> Coefficients:
        allowed = self._controller.adopt(replace(state, tau=known.tau, beta=known.beta))
        return replace(known, tau=allowed.tau, beta=allowed.beta)


def connect(
    run_id: str,
    rank: int,
    world_size: int,
    config: ControllerConfig,
    *,
    options: ClientOptions = ClientOptions(),
    namespace: str = NAMESPACE,
    local: bool = False,
    actor_name: str | None = None,
) -> ControllerClient:
    """Connect one rank to the run's controller, which the first rank to come creates.

    Args:
        run_id: Names the run, and its actor.
        rank: This worker's rank, 0 … world_size − 1.
        world_size: Ranks of the run (with ``reduction="collective"``, of torch.distributed's default group).
        config: The controller's settings, the same on all ranks.
        options: Lag, reduction, patience, and what to do without the controller.
        namespace: Ray namespace of the actor.
        local: Keep the controller in this process, without Ray (one rank, or rank 0 of a collective).
        actor_name: Name of an actor that serves one run after the other and was told to serve this one.

    Raises:
        ConfigError: an argument is out of range, Ray is not running, or the run's actor has other settings.
        ControllerUnavailableError: the actor did not answer.
    """
    _check_arguments(run_id, rank, world_size, options, local)

    def open_transport(reporters: int) -> Transport:
        if local:
            return LocalTransport(ControllerService(run_id, config, reporters))
        from maxent_ray.runtime.ray_transport import RayTransport

        return RayTransport(run_id, config, reporters, namespace, options.timeout_s, actor_name)

    if options.reduction == "collective":
        from maxent_ray.runtime.reduction import CollectiveTransport

        transport: Transport = CollectiveTransport(rank, world_size, lambda: open_transport(1))
    else:
        transport = open_transport(world_size)
    return ControllerClient(run_id, rank, config, transport, options)


def _check_arguments(run_id: str, rank: int, world_size: int, options: ClientOptions, local: bool) -> None:
    if not run_id:
        raise ConfigError("run_id is empty; it must name the run")
    if world_size < 1:
        raise ConfigError(f"world_size is {world_size}; it must be >= 1")
    if not 0 <= rank < world_size:
        raise ConfigError(f"rank is {rank}; it must be in [0, {world_size}), the world size")
    if local and world_size > 1 and options.reduction == "actor":
        raise ConfigError(f"world_size is {world_size} with local=True; without Ray only one rank can report")


def _before_first_round(state: ControllerState) -> OrderedDict[int, Coefficients]:
    """What the first steps train with: the initial values stand in for the rounds before the first."""
    steps = range(state.step + 1 - ANSWERED_ROUNDS, state.step + 1)
    return OrderedDict((step, state.coefficients(step)) for step in steps)
