"""Prints what the learners of an algorithm train with next, once it is restored; run in a process of its own."""

from __future__ import annotations

import json
import sys
from typing import Any

import ray
from ray.rllib.algorithms.algorithm import Algorithm

from tests.rllib.tiny import of_learners


def next_coefficients(algorithm: Any) -> list[dict[str, list[float]]]:
    """One mapping a learner: module → τ, β, version and step of its next update."""

    def look(learner: Any) -> dict[str, list[float]]:
        found = {name: control.coefficients() for name, control in learner._controls.items()}
        return {name: [each.tau, each.beta, each.version, each.step] for name, each in found.items()}

    return of_learners(algorithm, look)


if __name__ == "__main__":
    ray.init(address=sys.argv[1], log_to_driver=False)
    restored = Algorithm.from_checkpoint(sys.argv[2])
    print(json.dumps(next_coefficients(restored)))
    restored.stop()
