"""Ranks, a line and a service that restarts, all in one thread: a seed is one order in which everything happens.

The clients and the service are the real ones. A client that would wait gives way instead, and asks again later.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from maxent_ray.core.controller_state import Coefficients
from maxent_ray.errors import ControllerUnavailableError, InvalidReportError, MaxentRayError, RoundTimeoutError
from maxent_ray.runtime.client import ControllerClient
from maxent_ray.runtime.options import ClientOptions
from maxent_ray.runtime.protocol import Answer, Report
from maxent_ray.runtime.rounds import RoundPolicy
from maxent_ray.runtime.service import ControllerService
from tests.runtime.support import ANALYTIC, measured

FAULTY_STEPS, STEPS = 8, 12
"""Ranks get so far while things go wrong, and to the end once they do not any longer."""
MOST_EVENTS = 600


class NotYetError(BaseException):
    """A client would wait here. No error of the package's, so that nothing on its way catches it."""


@dataclass(eq=False)
class Call:
    """A report on its way, and what came of it."""

    report: Report
    answer: Answer | None = None
    error: MaxentRayError | None = None


@dataclass(frozen=True)
class Weather:
    """Chances of what may happen next."""

    restart: float = 0.03
    toggle_line: float = 0.06
    repeat: float = 0.05
    resent: float = 0.7
    """That Ray sends a report again which a dead service had."""


class Line:
    """A rank's transport: reports wait in the world's queue."""

    def __init__(self, world: World, rank: int) -> None:
        self._world, self._rank = world, rank

    def generation(self) -> int:
        return 0

    def prepare(self, report: Report) -> Report:
        return report

    def submit(self, report: Report) -> Call:
        return self._world.send(report)

    def result(self, call: Call, timeout_s: float) -> Answer:
        if call.answer is not None:
            return call.answer
        if call.error is not None:
            raise call.error
        if self._rank in self._world.cut:
            raise ControllerUnavailableError("the line is cut")
        raise NotYetError

    def close(self) -> None: ...


@dataclass(eq=False)
class Rank:
    """One rank: what it does next, and what it trained with."""

    client: ControllerClient
    step: int = 0
    asked: bool = False
    saved: bool = False
    refusal: str = ""
    seen: list[Coefficients] = field(default_factory=list)


class World:
    """One run of everything.

    ``told`` has what each service answered of each round, ``decided`` how many decided rounds each one knew over time.
    """

    def __init__(self, seed: int, weather: Weather, save_every: int) -> None:
        self._random = random.Random(seed)
        self._weather = weather
        self._save_every = save_every
        self.policy = RoundPolicy(self._random.choice(["wait", "quorum"]))
        self.lag = self._random.choice([0, 1])
        self.size = self._random.randint(2, 4)
        self.cut: set[int] = set()
        self.told: dict[tuple[int, int], set[tuple[float, float]]] = {}
        self.decided: list[list[int]] = []
        self._queue: list[Call] = []
        self._waiting: list[Call] = []
        self._old: list[Report] = []
        self._start_service()
        options = ClientOptions(lag=self.lag, retries=0, rounds=self.policy)
        clients = [ControllerClient("run", k, ANALYTIC, Line(self, k), options) for k in range(self.size)]
        self.ranks = [Rank(client) for client in clients]

    def run(self) -> None:
        """Everything that may go wrong, then nothing any more."""
        for _ in range(MOST_EVENTS):
            self._happen()
        self.cut.clear()
        while self._advance():
            pass

    @property
    def unfinished(self) -> list[Rank]:
        """Ranks that are not through, and were not refused."""
        return [rank for rank in self.ranks if not rank.refusal and not (rank.step >= STEPS and rank.saved)]

    def send(self, report: Report) -> Call:
        """Put a report on its way; on a cut line it is lost."""
        call = Call(report)
        if report.rank in self.cut:
            call.error = ControllerUnavailableError("lost")
        else:
            self._queue.append(call)
            self._old.append(report)
        return call

    def _happen(self) -> None:
        """One thing, drawn."""
        draw, weather = self._random.random(), self._weather
        if draw < weather.restart:
            self._restart()
        elif draw < weather.restart + weather.toggle_line:
            self.cut ^= {self._random.randrange(self.size)}
        elif draw < weather.restart + weather.toggle_line + weather.repeat and self._old:
            self._queue.append(Call(self._random.choice(self._old)))
        elif self._queue and self._random.random() < 0.6:
            self._deliver(self._queue.pop(self._random.randrange(len(self._queue))))
        else:
            rank = self._random.choice(self.ranks)
            if not rank.refusal and rank.step < FAULTY_STEPS:
                self._act(rank)

    def _advance(self) -> bool:
        """All that can be done now that nothing goes wrong; whether anything was."""
        moved = bool(self._queue)
        while self._queue:
            self._deliver(self._queue.pop(0))
        for rank in self.unfinished:
            moved |= self._act(rank)
        return moved or bool(self._queue) or self._time_out()

    def _act(self, rank: Rank) -> bool:
        """Let a rank do its next thing; whether it could."""
        try:
            self._next_of(rank)()
        except NotYetError:
            return False
        except InvalidReportError as error:
            rank.refusal = str(error)
        return True

    def _next_of(self, rank: Rank) -> Callable[[], None]:
        if not rank.saved and rank.step and (rank.step % self._save_every == 0 or rank.step >= STEPS):
            return lambda: self._save(rank)
        return (lambda: self._report(rank)) if rank.asked else (lambda: self._ask(rank))

    def _ask(self, rank: Rank) -> None:
        rank.seen.append(rank.client.coefficients(rank.step))
        rank.asked = True

    def _report(self, rank: Rank) -> None:
        rank.asked, rank.saved, rank.step = False, False, rank.step + 1
        rank.client.report(rank.step - 1, measured(rank.client.rank, rank.step - 1))

    def _save(self, rank: Rank) -> None:
        rank.client.state_dict()
        rank.saved = True

    def _start_service(self) -> None:
        self._service = ControllerService("run", ANALYTIC, self.size, policy=self.policy)
        self.decided.append([0])

    def _restart(self) -> None:
        lost, self._waiting = self._waiting, []
        self._start_service()
        for call in lost:
            if self._random.random() < self._weather.resent:
                self._queue.append(call)
            else:
                call.error = ControllerUnavailableError("it died")

    def _deliver(self, call: Call) -> None:
        self._waiting.append(call)
        self._take(call, lambda: self._service.report(call.report))
        self._wake()

    def _wake(self) -> None:
        for call in list(self._waiting):
            self._take(call, lambda call=call: self._service.answer(call.report.step))
        self.decided[-1].append(self._service.state.decided)

    def _time_out(self) -> bool:
        """Under a quorum, what the actor does for ranks that have waited long enough; whether it helped any."""
        for call in list(self._waiting):
            self._take(call, lambda call=call: self._service.time_out(call.report.step))
        before = len(self._waiting)
        self._wake()
        return len(self._waiting) < before or any(self._act(rank) for rank in self.unfinished)

    def _take(self, call: Call, ask: Callable[[], Any]) -> None:
        try:
            call.answer = ask()
        except RoundTimeoutError:
            return
        except MaxentRayError as error:
            call.error = error
        if call.answer is not None:
            known = call.answer.coefficients
            told = self.told.setdefault((len(self.decided), call.report.step), set())
            told.add((known.tau, known.beta))
        if (call.answer is not None or call.error is not None) and call in self._waiting:
            self._waiting.remove(call)
