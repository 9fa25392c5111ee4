"""Fit of the model of KL's response to β, behind the ``decoupled`` form, to recorded runs.

    python experiments/fit_kl_model.py experiments/results/control/runs

The model of ``maxent_ray/core/objectives/kl_filter.py``, with a push that may depend on κ and wanders back:
d = a·κ^α − c·β^γ·KL + x, v ← (1 − s)v + s·d, KL ← KL + v, with x a slow random walk and a measurement off by a relative
error σ. The six constants maximise the likelihood of the measured KL, by an extended Kalman filter over all runs at
once. Prints them, and the loss of log-likelihood at fixed values of γ.
The runs are those of ``control.py``.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.progress import track
from scipy.optimize import minimize

Array = np.ndarray
MOMENTUM = 0.1
"""s = 1 − β₁ of the runs' AdamW, once its bias correction is over."""
NAMES = ("a", "alpha", "c", "gamma", "sigma", "walk")
START = (math.log(0.2), -0.1, math.log(0.25), math.log(0.3), math.log(0.2), math.log(0.0115))


class Runs(NamedTuple):
    """KL (nats), τ and β of every run and step, ``[R, T]``; short runs are padded, and masked out."""

    kl: Array
    tau: Array
    beta: Array
    there: Array


def load(folders: list[Path]) -> Runs:
    """Read all runs of ``control.py``."""
    records = [json.loads(path.read_text())["columns"] for folder in folders for path in sorted(folder.glob("*.json"))]
    if not records:
        raise SystemExit(f"no runs in {', '.join(map(str, folders))}: run control.py first")
    length = max(len(columns["kl"]) for columns in records)
    padded = {
        name: np.array([columns[name] + [np.nan] * (length - len(columns[name])) for columns in records])
        for name in ("kl", "tau", "beta")
    }
    there = ~np.isnan(padded["kl"])
    kl, tau, beta = (np.where(there, padded[k], fill) for k, fill in (("kl", 0.0), ("tau", 0.5), ("beta", 0.1)))
    return Runs(kl, tau, beta, there)


def negative_log_likelihood(constants: Array, runs: Runs, scale: float = 0.05) -> float:
    """Negative log-likelihood of the measured KL under the model; KL in units of ``scale`` nats."""
    a, c, gamma, sigma, walk = (math.exp(constants[i]) for i in (0, 2, 3, 4, 5))
    count, length = runs.kl.shape
    mean, cov, total = np.zeros((count, 3)), np.zeros((count, 3, 3)), 0.0
    cov[:, 2, 2] = 0.01
    for step in range(length):
        measured, there = runs.kl[:, step] / scale, runs.there[:, step]
        level = np.maximum(np.maximum(mean[:, 0], 0.5 * measured), 0.1)
        variance, missed = cov[:, 0, 0] + (sigma * level) ** 2, measured - mean[:, 0]
        if step > 3:  # Adam's first steps have one length for any gradient
            total += 0.5 * float(((missed**2 / variance + np.log(variance)) * there).sum())
        gain = cov[:, :, 0] / variance[:, None] * there[:, None]
        mean, cov = mean + gain * missed[:, None], cov - gain[:, :, None] * cov[:, :1, :]
        share = MOMENTUM / (1 - (1 - MOMENTUM) ** (step + 1))
        beta, kappa = runs.beta[:, step], runs.beta[:, step] + runs.tau[:, step]
        pull = c * beta**gamma
        drive = a * kappa ** constants[1] - pull * mean[:, 0] + mean[:, 2]
        velocity = (1 - share) * mean[:, 1] + share * drive
        mean = np.stack([np.maximum(mean[:, 0] + velocity, 0), velocity, 0.97 * mean[:, 2]], axis=1)
        step_matrix = np.zeros((count, 3, 3))
        step_matrix[:, 1] = np.stack([-share * pull, np.full(count, 1 - share), np.full(count, share)], axis=1)
        step_matrix[:, 0] = step_matrix[:, 1] + np.array([1.0, 0.0, 0.0])
        step_matrix[:, 2, 2] = 0.97
        cov = step_matrix @ cov @ step_matrix.transpose(0, 2, 1) + np.diag([1e-6, 0.0, walk**2])
    return total


def fit(runs: Runs, gamma: float | None = None) -> tuple[float, dict[str, float]]:
    """Maximum-likelihood constants, with γ free or given."""
    start = np.array(START)
    free = [i for i in range(len(START)) if gamma is None or NAMES[i] != "gamma"]
    if gamma is not None:
        start[NAMES.index("gamma")] = math.log(gamma)

    def cost(values: Array) -> float:
        constants = start.copy()
        constants[free] = values
        return negative_log_likelihood(constants, runs)

    found = minimize(cost, start[free], method="Nelder-Mead", options={"maxfev": 800, "adaptive": True})
    start[free] = found.x
    values = {name: float(v if name == "alpha" else math.exp(v)) for name, v in zip(NAMES, start, strict=True)}
    return float(found.fun), values


def main() -> None:
    """Fit with γ free, then with γ fixed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs")
    parser.add_argument("--gammas", type=float, nargs="*", default=[0.1, 0.2, 0.5, 1.0], help="γ to compare")
    arguments = parser.parse_args()
    runs = load(arguments.runs)
    fits = {gamma: fit(runs, gamma) for gamma in track([None, *arguments.gammas], description="fits")}
    best, constants = fits[None]
    low, high = runs.beta.min(), runs.beta.max()
    print(f"{runs.kl.shape[0]} runs, {int(runs.there.sum())} steps; β from {low:.2g} to {high:.2g}")
    print("  ".join(f"{name} {value:.3g}" for name, value in constants.items()))
    pull = constants["c"] * 0.1 ** constants["gamma"]
    print(f"at β = 0.1: pull {pull:.3f} a step, authority (per unit of ln β) {constants['gamma'] * pull:.3f}")
    for gamma in arguments.gammas:
        print(f"gamma fixed at {gamma}: {best - fits[gamma][0]:+.1f} nats of log-likelihood")


if __name__ == "__main__":
    main()
