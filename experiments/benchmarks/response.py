"""Tracking error with gains for a fast signal, for a slow one, and with gains found out, on plants of both kinds.

    python experiments/benchmarks/response.py --output experiments/results/response

β moves a simulated KL: at once with an elasticity of .3, .6 or 1, over 10, 30 or 60 steps, one step late, through two
lags in a row as an optimiser with momentum has them, or with an elasticity that changes halfway. What KL would be
without β wanders, and each measurement has noise. `auto` runs twice, declared to be fast and to be slow. No Ray. Prints
a table of the mean |KL − KL*|/KL* over the last half and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.statistics import BatchStatistics

TARGET, BETA, STEPS, SEEDS = 0.01, 0.2, 300, range(4)
ARMS: dict[str, dict[str, Any]] = {
    "fast": {"kl_response": "fast"},
    "slow": {"kl_response": "slow"},
    "auto, declared fast": {"kl_response": "auto", "kl_reference": "behaviour_policy"},
    "auto, declared slow": {"kl_response": "auto", "kl_reference": "frozen_policy"},
}


@dataclass(frozen=True)
class Plant:
    """ln(KL/KL*) settles at d − γ·ln(β/.2); d wanders."""

    elasticity: float
    lags: tuple[float, ...] = ()
    """Steps of first-order lags in a row; none: KL answers in the next batch."""
    late: int = 0
    """Steps before it begins to answer."""
    noise: float = 0.2
    """Standard deviation of ln KL from batch to batch."""
    drift: float = 0.03
    """Standard deviation of a step of d, which returns to its mean over 100 steps."""
    start: float = 0.0
    """ln(KL/KL*) before the first step, of a signal that lags."""
    elasticity_later: float | None = None
    """From half of the steps on."""

    def signals(self, draw: random.Random) -> Iterator[float]:
        """Generator: receives β, yields the measured KL/KL*."""
        levels, waiting = [self.start for _ in self.lags], [0.0] * self.late
        offset, wander, measured = draw.uniform(-1, 1), 0.0, 1.0
        for step in range(STEPS + 1):
            waiting.append(math.log((yield measured) / BETA))
            changed = self.elasticity_later is not None and step >= STEPS / 2
            elasticity = self.elasticity_later if changed and self.elasticity_later is not None else self.elasticity
            wander += draw.gauss(0, self.drift) - wander / 100
            inflow = offset + wander - elasticity * waiting.pop(0)
            for index, lag in enumerate(self.lags):
                levels[index] += (inflow - levels[index]) / lag
                inflow = levels[index]
            measured = math.exp(min(inflow + draw.gauss(0, self.noise), 20.0))


FAST_PLANTS = {
    f"at once, γ = {elasticity:g}, noise {noise:.0%}": Plant(elasticity, noise=noise)
    for elasticity in (0.3, 0.6, 1.0)
    for noise in (0.1, 0.3, 0.5)
} | {
    "at once, γ = 0.6, noise 10%, drift 10%": Plant(0.6, noise=0.1, drift=0.1),
    "one step late, γ = 0.6": Plant(0.6, late=1),
    "at once, γ from 0.3 to 1": Plant(0.3, elasticity_later=1.0),
    "at once, γ from 1 to 0.3": Plant(1.0, elasticity_later=0.3),
}
SLOW_PLANTS = {
    f"over {lag} steps, γ = 0.5, noise {noise:.0%}": Plant(0.5, (lag,), noise=noise, drift=0.05, start=-2.0)
    for lag in (10, 30, 60)
    for noise in (0.05, 0.2)
} | {
    "over 3 steps, one late, γ = 0.6": Plant(0.6, (3,), late=1),
    "over 10 and 15 steps, γ = 0.67, noise 18%": Plant(0.67, (10, 15), noise=0.18, start=-3.0),
    "over 10 and 10 steps, γ = 0.6, noise 10%": Plant(0.6, (10, 10), noise=0.1, start=-2.0),
}


def errors(plant: Plant, settings: dict[str, Any], seed: int) -> list[float]:
    """|KL − KL*|/KL* of every step of one closed loop, each cut to 5."""
    controller = Controller(ControllerConfig(target_kl=TARGET, beta=BETA, **settings))
    state, signals, found = controller.init(), plant.signals(random.Random(seed)), []
    next(signals)
    for _ in range(STEPS):
        ratio = signals.send(state.beta)
        state, _ = controller.step(state, BatchStatistics(tokens=1, policy_kl_sum=ratio * TARGET))
        found.append(min(abs(ratio - 1), 5.0))
    return found


def measure(plant: Plant) -> dict[str, dict[str, float]]:
    """Mean error of each arm over the first and over the last half, over all seeds."""
    results = {}
    for arm, settings in ARMS.items():
        runs = [errors(plant, settings, seed) for seed in SEEDS]
        first, last = (fmean(fmean(run[half]) for run in runs) for half in (slice(STEPS // 2), slice(STEPS // 2, None)))
        results[arm] = {"first_half": round(first, 4), "last_half": round(last, 4)}
    return results


def main() -> None:
    """Measure all plants."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="folder for summary.json")
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    print(f"| plant | {' | '.join(ARMS)} | auto / better fixed |\n|---|{'---|' * (len(ARMS) + 1)}")
    for name, plant in {**FAST_PLANTS, **SLOW_PLANTS}.items():
        errors_of = measure(plant)
        last = [each["last_half"] for each in errors_of.values()]
        ratios = [auto / min(last[:2]) for auto in last[2:]]
        results[name] = {"plant": asdict(plant), "errors": errors_of, "auto_to_better_fixed": max(ratios)}
        cells = [*(f"{each:.3f}" for each in last), f"{ratios[0]:.2f}, {ratios[1]:.2f}"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / "summary.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
