"""Population-based training over RLlib's PPO: targets and learning rate are perturbed, objectives are strata.

    python experiments/rllib_pbt.py --environment CartPole-v1 --name cartpole
    python experiments/rllib_pbt.py --environment Pendulum-v1 --target-entropy 0.5 --objectives analytic --name pendulum

RLlib's own rule and fixed coefficients train beside the population. Results are in `results/<name>`, as a comparison's:
`maxent-ray dashboard`, `maxent-ray report results/<name>` and `maxent-ray watch results/<name>` show them.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import ray
from ray.rllib.algorithms.ppo import PPOConfig

from maxent_ray.cli.commands import show_results
from maxent_ray.report.output import make_console
from maxent_ray.report.plots import RLLIB_PLOTS
from maxent_ray.report.progress import Progress
from maxent_ray.tune.rllib_population import compare_rllib

REFERENCES = 2


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", default="CartPole-v1", help="Gymnasium environment. Default: %(default)s.")
    parser.add_argument("--name", default="rllib_pbt", help="Folder under --results. Default: %(default)s.")
    parser.add_argument("--results", type=Path, default=Path("results"), help="Default: %(default)s.")
    parser.add_argument("--resume", action="store_true", help="Continue the interrupted run in the folder.")
    parser.add_argument("--objectives", nargs="+", default=["analytic"], help="analytic, truncated_backprop.")
    parser.add_argument("--trials", type=int, default=4, help="Trials of each objective. Default: %(default)s.")
    parser.add_argument("--steps", type=int, default=40, help="Training iterations of a trial. Default: %(default)s.")
    parser.add_argument("--interval", type=int, default=10, help="Iterations between clones. Default: %(default)s.")
    parser.add_argument("--batch", type=int, default=2000, help="Timesteps of an iteration. Default: %(default)s.")
    parser.add_argument("--target-kl", type=float, default=0.01, help="KL* in nats a timestep. Default: %(default)s.")
    parser.add_argument("--target-entropy", type=float, help="H* in nats a timestep. Default: entropy stays free.")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def algorithm(options: argparse.Namespace) -> PPOConfig:
    """PPO in one process, without a controller."""
    config = PPOConfig().environment(options.environment).env_runners(num_env_runners=0)
    minibatch = min(128, options.batch)
    return config.training(train_batch_size_per_learner=options.batch, minibatch_size=minibatch, num_epochs=8)


def main() -> None:
    """Train, and show what came out."""
    options, console, started = parse(), make_console(), time.monotonic()
    folder = options.results / options.name
    ray.init(ignore_reinit_error=True, logging_level=logging.ERROR, log_to_driver=False)
    trials = options.trials * len(options.objectives) + REFERENCES
    with Progress(options.steps * trials, options.steps, console=console) as progress:
        progress.phase(f"training {trials} trials")
        compare_rllib(
            algorithm(options),
            name=options.name,
            results=options.results,
            search_space={
                "controller.target_kl": {
                    "type": "loguniform",
                    "low": 0.3 * options.target_kl,
                    "high": 3 * options.target_kl,
                },
                "controller.beta_rule.learning_rate": {"type": "loguniform", "low": 0.03, "high": 0.3},
                "rllib.lr": {"type": "loguniform", "low": 1e-4, "high": 3e-3},
            },
            control={"target_kl": options.target_kl, "target_entropy": options.target_entropy},
            steps=options.steps,
            objectives=options.objectives,
            trials_per_objective=options.trials,
            perturbation_interval=options.interval,
            quantile_fraction=0.25 if options.trials > 2 else 0.5,
            seed=options.seed,
            resume=options.resume,
            listeners=[progress],
        )
    show_results(folder, console, time.monotonic() - started, plots=RLLIB_PLOTS)


if __name__ == "__main__":
    main()
