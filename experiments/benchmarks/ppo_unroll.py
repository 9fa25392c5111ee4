"""Time of PPO's unroll in RLlib, beside the minibatch steps of the same updates, and the signs of what it finds.

    python experiments/benchmarks/ppo_unroll.py --iterations 50

Trains Pendulum-v1 at KL* = .01 with truncated backprop, in one process of one thread: 24 minibatch steps of 256
timesteps an update, two networks of 64 × 64 units. Times are medians over updates.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from typing import Any, ClassVar

import ray
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

from maxent_ray.core.objectives import Sensitivity, TruncatedBackprop, Unroll
from maxent_ray.rllib import control
from maxent_ray.rllib.ppo import MaxEntPPOTorchLearner


class TimedLearner(MaxEntPPOTorchLearner):
    """Keeps times (seconds) and sensitivities; one learner at a time."""

    steps: ClassVar[list[float]] = []
    unrolls: ClassVar[list[float]] = []
    updates: ClassVar[list[float]] = []
    found: ClassVar[list[Sensitivity]] = []

    def update(self, *args: Any, **kwargs: Any) -> Any:
        """Time a whole update."""
        started = time.perf_counter()
        result = super().update(*args, **kwargs)
        self.updates.append(time.perf_counter() - started)
        return result

    def _uncompiled_update(self, *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        result = super()._uncompiled_update(*args, **kwargs)
        self.steps.append(time.perf_counter() - started)
        return result

    def controller_gradients(self, module_id: str) -> Any:
        """Time the unroll."""
        started = time.perf_counter()
        gradients = super().controller_gradients(module_id)
        self.unrolls.append(time.perf_counter() - started)
        if gradients is not None and gradients.sensitivity is not None:
            self.found.append(gradients.sensitivity)
        return gradients


def main() -> None:
    """Print one line for each K and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=50)
    iterations = parser.parse_args().iterations
    torch.set_num_threads(1)
    ray.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=100 * 2**20)
    print("K  seed  unroll/step  unroll/update  unroll/iteration  dKL/dβ < 0  dH/dτ > 0")
    for steps in (1, 3):
        for seed in (0, 1):
            print(f"{steps}  {seed:4}  " + _measure(steps, seed, iterations))


def _measure(steps: int, seed: int, iterations: int) -> str:
    for kept in (TimedLearner.steps, TimedLearner.unrolls, TimedLearner.updates, TimedLearner.found):
        kept.clear()
    objective = TruncatedBackprop(unroll=Unroll(steps=steps))
    algorithm = control(_ppo(seed), target_kl=0.01, objective=objective, response="fast").build_algo()
    times = []
    for _ in range(iterations):
        started = time.perf_counter()
        algorithm.train()
        times.append(time.perf_counter() - started)
    algorithm.stop()
    unroll = statistics.median(TimedLearner.unrolls)
    step, update, iteration = map(statistics.median, (TimedLearner.steps, TimedLearner.updates, times))
    negative = statistics.mean(each.kl_beta < 0 for each in TimedLearner.found)
    positive = statistics.mean(each.entropy_tau > 0 for each in TimedLearner.found)
    return (
        f"{unroll / step:11.1f}  {unroll / update:13.1%}  {unroll / iteration:16.1%}  {negative:10.0%}  {positive:9.0%}"
    )


def _ppo(seed: int) -> PPOConfig:
    return (
        PPOConfig()
        .environment("Pendulum-v1")
        .env_runners(num_env_runners=0, num_envs_per_env_runner=16, env_to_module_connector=_filter)
        .learners(num_learners=0, learner_class=TimedLearner)
        .training(
            train_batch_size_per_learner=1024,
            minibatch_size=256,
            num_epochs=6,
            lr=3e-3,
            gamma=0.9,
            lambda_=0.95,
            clip_param=10.0,
            vf_clip_param=math.inf,
        )
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[64, 64], head_fcnet_hiddens=[]))
        .debugging(seed=seed, log_level="ERROR")
    )


def _filter(env: Any, spaces: Any, device: Any) -> MeanStdFilter:
    return MeanStdFilter()


if __name__ == "__main__":
    main()
