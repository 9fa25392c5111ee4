"""Rate of false alarms and delay of true ones, in closed loops on plants with a known answer.

    python experiments/benchmarks/alarm_rates.py --output experiments/results/alarm_rates

β moves a KL that goes to KL*·(β/.1)^(−γ) over a hundred or three hundred steps: as a first- or second-order lag, after
a dead time, or while what it goes to drifts. The healthy loops are to hear nothing; in the others nothing answers, the
coefficient is frozen, or the target lies beyond a bound, and an alarm is due. Default gains, no Ray. Prints a table
and writes JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import statistics
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.diagnostics.observer import Observer, ObserverState
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.update_rules import PI

TARGET = 0.05
LOOP = ControllerConfig(group_size=8, target_kl=TARGET)


@dataclass
class Plant:
    """A signal that responds over some steps; ``steady`` gives its final value relative to the target."""

    steady: Callable[[float], float]
    steps_to_answer: float = 1.0
    orders: int = 1
    dead_time: int = 0
    drift: float = 0.0
    """Standard deviation of a step of ln(steady): Ornstein–Uhlenbeck over 500 steps."""
    start: float = 0.4

    def signals(self, noise: float, draw: random.Random) -> Iterator[float]:
        """Generator: receives β, yields the measured signal."""
        lags = [self.start] * self.orders
        waiting: deque[float] = deque()
        wander, measured = 0.0, 0.0
        while True:
            beta = yield measured
            wander += draw.gauss(0, self.drift) - wander / 500
            waiting.append(beta)
            inflow = lags[0] if len(waiting) <= self.dead_time else self.steady(waiting.popleft()) * math.exp(wander)
            for index in range(self.orders):
                lags[index] += (inflow - lags[index]) * min(1.0, self.orders / self.steps_to_answer)
                inflow = lags[index]
            measured = lags[-1] * math.exp(draw.gauss(0, noise))


@dataclass(frozen=True)
class Case:
    """One closed loop."""

    plant: Plant
    config: ControllerConfig
    noise: float
    seed: int
    steps: int

    def run(self) -> dict[str, int]:
        """Run the loop; returns each alarm with its first step."""
        controller, observer = Controller(self.config), Observer(self.config)
        state, memory, found = controller.init(), ObserverState(), {}
        signals = self.plant.signals(self.noise, random.Random(self.seed))
        next(signals)
        for step in range(self.steps):
            measured = TARGET * signals.send(state.beta)
            state, decision = controller.step(state, BatchStatistics(groups=1, tokens=1, policy_kl_sum=measured))
            memory, alarms = observer.observe(memory, decision)
            for alarm in alarms:
                found.setdefault(str(alarm.kind), step)
        return found


def power(exponent: float) -> Callable[[float], float]:
    """Final value ∝ β^−exponent, on target at β = .1."""
    return lambda beta: (beta / 0.1) ** -exponent


def healthy(steps_to_answer: int, steps: int, exponents: tuple[float, ...] = (0.5,)) -> list[Case]:
    """Four plants, four noises, four starts."""
    cases = []
    kinds: tuple[dict[str, Any], ...] = ({}, {"orders": 2}, {"dead_time": 15}, {"drift": 0.02})
    noises, starts = (0.02, 0.1, 0.18, 0.2), (0.01, 0.1, 1.0, 10.0)
    for kind, noise, beta, exponent in itertools.product(kinds, noises, starts, exponents):
        plant = Plant(power(exponent), steps_to_answer, **kind)
        cases.append(Case(plant, replace(LOOP, beta=beta), noise, len(cases), steps))
    return cases


def near_the_bound() -> list[Case]:
    """Loops whose target is met just inside the upper or the lower bound."""
    cases = []
    for steps_to_answer, inside, upper in itertools.product((1, 20, 100), (0.02, 0.1, 0.3), (True, False)):
        for noise in (0.05, 0.18):
            bounds = {"beta_max": 0.1 * math.exp(inside)} if upper else {"beta_min": 0.1 * math.exp(-inside)}
            plant = Plant(power(0.5), steps_to_answer, start=1.0)
            cases.append(Case(plant, replace(LOOP, beta=0.1, **bounds), noise, len(cases), 2000))
    return cases


def beyond_the_bound(steps_to_answer: int, exponent: float) -> list[Case]:
    """Loops whose signal settles off target at the bound."""
    cases = []
    for off in (0.3, 0.5, 1.0, -0.3, -0.5):
        for _ in range(10):
            at_bound = 0.1 * (1 + off) ** (-1 / exponent)
            bounds = {"beta_max": at_bound} if off > 0 else {"beta_min": at_bound}
            plant = Plant(power(exponent), steps_to_answer, start=1 + off)
            start = at_bound / 3 if off > 0 else at_bound * 3
            cases.append(Case(plant, replace(LOOP, beta=start, **bounds), 0.18, len(cases), 1000))
    return cases


def unanswered(noise: float) -> list[Case]:
    """Loops whose signal does not depend on β."""
    levels = (0.4, 0.7, 1.5, 2.0, 4.0)
    return [
        Case(Plant(lambda beta, level=level: level, start=level), replace(LOOP, beta=0.1), noise, seed, 1500)
        for level in levels
        for seed in range(10)
    ]


def frozen() -> list[Case]:
    """Loops whose learning rate is far too small."""
    config = replace(LOOP, beta=0.1, beta_rule=PI(learning_rate=1e-6, proportional_gain=0.0))
    levels = (0.4, 0.7, 1.5, 2.0, 4.0)
    return [
        Case(Plant(lambda beta, level=level: level, start=level), config, 0.18, seed, 1000)
        for level in levels
        for seed in range(10)
    ]


SCENARIOS: dict[str, tuple[Callable[[], list[Case]], bool]] = {
    "healthy, 20 steps to answer": (lambda: healthy(20, 800), True),
    "healthy, 100 steps to answer": (lambda: healthy(100, 1500), True),
    "healthy, 300 steps to answer": (lambda: healthy(300, 3000), True),
    "healthy, 100 steps, weak answer (.22)": (lambda: healthy(100, 1500, (0.22,)), True),
    "healthy, 300 steps, weak answer (.22)": (lambda: healthy(300, 3000, (0.22,)), True),
    "target a little inside a bound": (near_the_bound, True),
    "target beyond a bound": (lambda: beyond_the_bound(1, 0.5), False),
    "target beyond a bound, 20 steps to answer": (lambda: beyond_the_bound(20, 0.22), False),
    "target beyond a bound, 100 steps to answer": (lambda: beyond_the_bound(100, 0.5), False),
    "nothing answers, noise 2 %": (lambda: unanswered(0.02), False),
    "nothing answers, noise 18 %": (lambda: unanswered(0.18), False),
    "coefficient frozen, noise 18 %": (frozen, False),
}


def measure(cases: list[Case]) -> dict[str, Any]:
    """Number of runs with an alarm, the kinds of alarms, and the steps of the first ones."""
    found = [case.run() for case in cases]
    alarms = [min(step for name, step in each.items()) for each in found if each]
    return {
        "runs": len(cases),
        "with_alarm": len(alarms),
        "within_600": sum(step < 600 for step in alarms),
        "kinds": dict(Counter(name for each in found for name in each)),
        "first_median": statistics.median(alarms) if alarms else None,
        "first_last": max(alarms, default=None),
        "which": {index: each for index, each in enumerate(found) if each},
    }


def main() -> None:
    """Measure all scenarios, or those whose names begin with an argument."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="folder for summary.json")
    parser.add_argument("--only", default="", help="beginning of the scenarios' names")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    results = {}
    for name, (cases, is_healthy) in SCENARIOS.items():
        if not name.startswith(arguments.only):
            continue
        results[name] = {"wanted": 0 if is_healthy else len(cases()), **measure(cases())}
        each = results[name]
        print(
            f"{name:45} {each['with_alarm']:3} of {each['runs']:3} (wanted {each['wanted']:2}), {each['within_600']:2} "
            f"within 600 steps; first: median {each['first_median']}, last {each['first_last']}  {each['kinds']}",
            flush=True,
        )
        which = each.pop("which")
        if arguments.verbose:
            print(which)
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / "summary.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
