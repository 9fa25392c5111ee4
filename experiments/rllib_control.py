"""Accuracy of control in RLlib's PPO: five environments, three KL targets and an entropy target, arms side by side.

    python experiments/rllib_control.py --seeds 0-1 --arms "fast once"
    python experiments/rllib_control.py --seeds 2-6
    python experiments/rllib_control_report.py --output experiments/results/rllib_control

Each run is a Ray task of one thread and becomes one line of a file. A run whose line is there is not repeated, so an
interrupted experiment is resumed by the same command. All runs start at RLlib's own β (.2), and all are measured
alike: means of entropy and KL over the whole update. Seeds 0 and 1 chose what is in :mod:`rllib_tasks` and, by
:func:`constants`, the coefficients that stay constant; seeds 2 to 6 are reported.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import ray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from rllib_tasks import TASKS, ppo

from maxent_ray.errors import ConfigError
from maxent_ray.rllib import control

MODULE = "default_policy"
TARGETS = {"kl .003": 0.003, "kl .01": 0.01, "kl .03": 0.03, "kl .01, entropy": 0.01}
"""Name of a pair of targets → KL* (nats per timestep); the last has the task's H* too."""
ARMS = ("fixed", "rllib", "fast once", "auto once", "fast", "auto", "truncated_backprop")
"""Constants; RLlib's own rule; the controller, with gains for a fast signal or found ones, or by truncated backprop.
``once``: β stays as decided for a whole update; otherwise it also follows KL within it."""
CHOOSING_SEEDS, CHOOSING_ARM = (0, 1), "fast once"
ENTROPY_COEFF = 0.01
"""τ₀ of controlled runs with an entropy target."""
BURN_IN = 10
"""Iterations at a run's start that are not judged: RLlib's rule can move β by 1.5¹⁰ = 58 meanwhile."""


class Run(NamedTuple):
    """One run; its fields name it."""

    task: str
    targets: str
    arm: str
    seed: int


class Constants(NamedTuple):
    """Coefficients for what an arm cannot move."""

    tau: float
    beta: float


def constants(lines: Sequence[Mapping[str, Any]], run: Run) -> Constants | None:
    """The coefficients that `CHOOSING_ARM` held in mid-run on the `CHOOSING_SEEDS`, medians; None: it did not run."""
    chosen = [
        line
        for line in lines
        if (line["task"], line["targets"], line["arm"]) == (run.task, run.targets, CHOOSING_ARM)
        and line["seed"] in CHOOSING_SEEDS
    ]
    if not chosen:
        return None
    tau, beta = (median(value for line in chosen for value in judged(line, line[name])) for name in Constants._fields)
    return Constants(tau, beta)


def judged(line: Mapping[str, Any], values: Sequence[float]) -> Sequence[float]:
    """Values of the iterations with something to learn: after `BURN_IN`, before the return is the task's `solved`."""
    solved = TASKS[line["task"]].solved
    end = next((i for i, value in enumerate(line["return"]) if value is not None and value >= solved), len(values))
    return values[BURN_IN:end]


class Recording(PPOTorchLearner):
    """RLlib's learner with its own rule, which also records entropy and KL over the whole update."""

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Begin an update."""
        super().before_gradient_based_update(timesteps=timesteps)
        self._minibatches: list[tuple[Any, Any, Any]] = []

    def compute_losses(self, *, fwd_out: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
        """Compute the losses, and keep what they were computed from."""
        losses: dict[str, Any] = super().compute_losses(fwd_out=fwd_out, batch=batch)
        means = (self.metrics.peek((MODULE, name)).detach() for name in ("entropy", "mean_kl_loss"))
        self._minibatches.append((batch[MODULE]["loss_mask"].sum(), *means))
        return losses

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Record the whole update, and the coefficients that it was made with."""
        recorded = {
            "entropy": self._mean(1),
            "kl": self._mean(2),
            "tau": self.entropy_coeff_schedulers_per_module[MODULE].get_current_value(),
            "beta": self.curr_kl_coeffs_per_module[MODULE].item(),
        }
        for name, value in recorded.items():
            self.metrics.log_value((MODULE, f"maxent_{name}"), value, window=1)
        super().after_gradient_based_update(timesteps=timesteps)

    def _mean(self, column: int) -> float:
        timesteps = sum(each[0].item() for each in self._minibatches)
        return float(sum(each[0].item() * each[column].item() for each in self._minibatches) / timesteps)


def config_of(run: Run, constant: Constants | None) -> PPOConfig:
    """PPO's configuration, with the arm's learner.

    Raises:
        ConfigError: the arm keeps a coefficient constant, and none is chosen.
    """
    task, target_kl = TASKS[run.task], TARGETS[run.targets]
    config, has_entropy = ppo(task, run.seed), "entropy" in run.targets
    target_entropy = task.target_entropy if has_entropy else None
    if constant is None and (run.arm == "fixed" or (run.arm == "rllib" and has_entropy)):
        seeds = "-".join(map(str, CHOOSING_SEEDS))
        raise ConfigError(f"{run} needs constants; run with --seeds {seeds} --arms '{CHOOSING_ARM}' first")
    if has_entropy:
        moves = run.arm not in ("fixed", "rllib")
        config.training(entropy_coeff=ENTROPY_COEFF if moves or constant is None else constant.tau)
    if run.arm == "rllib":
        return config.training(learner_class=Recording, kl_target=target_kl)
    if run.arm == "fixed":
        return control(config, objective=None, target_kl=target_kl, beta=None if constant is None else constant.beta)
    name, _, once = run.arm.partition(" ")
    settings: dict[str, Any] = {"objective": name} if name == "truncated_backprop" else {"response": name}
    return control(config, target_kl=target_kl, target_entropy=target_entropy, inner_loop=not once, **settings)


def train(run: Run, constant: Constants | None = None, iterations: int | None = None) -> dict[str, Any]:
    """Train, and return the run's line: its name, and a value of every quantity for each iteration."""
    algorithm = config_of(run, constant).build_algo()
    rows = [_row(algorithm.train) for _ in range(iterations or TASKS[run.task].iterations)]
    algorithm.stop()
    returns = itertools.accumulate((row.pop("return") for row in rows), lambda last, new: last if new is None else new)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return {"schema": 1, **run._asdict(), **columns, "return": list(returns)}


def _row(iterate: Any) -> dict[str, Any]:
    started = time.perf_counter()
    result = iterate()
    seconds = time.perf_counter() - started
    learner, episodes = result["learners"][MODULE], float(result["env_runners"].get("episode_return_mean", math.nan))
    return {
        **{name: float(learner[f"maxent_{name}"]) for name in ("kl", "entropy", "tau", "beta")},
        "kl_last_minibatch": float(learner["mean_kl_loss"]),
        "return": None if math.isnan(episodes) else episodes,
        "seconds": seconds,
    }


def all_runs(only: str, seeds: Sequence[int], arms: Sequence[str]) -> Iterator[Run]:
    """Runs of the grid whose name holds `only`, seed by seed, so that a part of it is a grid too."""
    for seed, targets, task, arm in itertools.product(seeds, TARGETS, TASKS, arms):
        if only in f"{task}/{targets}/{arm}":
            yield Run(task, targets, arm, seed)


def run_all(runs: Sequence[Run], output: Path, processes: int, budget: float, iterations: int | None) -> int:
    """Run what has no line yet, `processes` at a time; none starts after `budget` seconds. Returns how many failed."""
    output.parent.mkdir(parents=True, exist_ok=True)
    done = {Run(*(line[name] for name in Run._fields)) for line in read_lines(output)}
    waiting, started, failed = [run for run in runs if run not in done], time.monotonic(), 0
    remote = ray.remote(num_cpus=1, max_retries=0)(train)
    running: dict[Any, Run] = {}
    while running or waiting:
        while waiting and len(running) < processes:
            if time.monotonic() - started > budget:
                print(f"{len(waiting)} runs are left for the next time", flush=True)
                waiting.clear()
                break
            run = waiting.pop(0)
            running[remote.remote(run, constants(read_lines(output), run), iterations)] = run
        for ref in ray.wait(list(running))[0] if running else ():
            failed += not _finish(ref, running.pop(ref), output)
    return failed


def _finish(ref: Any, run: Run, output: Path) -> bool:
    try:
        line = ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        print(f"{run}: {error}", flush=True)
        return False
    with output.open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(f"{run}: KL {line['kl'][-1]:.4f}, return {line['return'][-1]}, {sum(line['seconds']):.0f} s", flush=True)
    return True


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Lines of finished runs; none if the file does not exist."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main() -> int:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/rllib_control/runs.jsonl"))
    parser.add_argument("--seeds", default="2-6", help="one, or first-last")
    parser.add_argument("--only", default="", help="part of task/targets/arm, as in 'CartPole/kl .01/auto'")
    parser.add_argument("--arms", default=",".join(ARMS), help="comma-separated")
    parser.add_argument("--iterations", type=int, help="of every run; each task has its own")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--budget", type=float, default=math.inf, help="seconds after which no run starts")
    arguments = parser.parse_args()
    first, _, last = arguments.seeds.partition("-")
    runs = list(all_runs(arguments.only, range(int(first), int(last or first) + 1), arguments.arms.split(",")))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    ray.init(address="local", num_cpus=arguments.processes, include_dashboard=False, log_to_driver=False)
    return run_all(runs, arguments.output, arguments.processes, arguments.budget, arguments.iterations) > 0


if __name__ == "__main__":
    raise SystemExit(main())
