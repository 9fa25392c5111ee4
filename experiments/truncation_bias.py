"""Truncation bias of a K-step hypergradient on the linear-quadratic toy: the share (1 − ηa)^K, and no more.

    python experiments/truncation_bias.py --output docs/explanation/truncation_bias.png

Inner loss ½aθ² − (τ + β)θ, whose minimum is θ* = (τ + β)/a, and outer function θ_K. The derivative of the minimum is
dθ*/dτ = 1/a; K steps of size η give (1 − (1 − ηa)^K)/a. The points are `unrolled_gradients`, the lines the closed form.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from maxent_ray.core.hypergradient import CoefficientTensors, Mode, Params, unrolled_gradients
from maxent_ray.report.plots.canvas import agg_figure

CURVATURE = 1.0
CONTRACTIONS = (0.05, 0.2, 0.5)
"""ηa of each curve."""
STEPS = tuple(range(1, 33))
COLOURS = ("#0072B2", "#D55E00", "#009E73")


def bias(steps: int, contraction: float, mode: Mode = "reverse") -> float:
    """Share of dθ*/dτ that is missing from the K-step derivative of our unroll.

    Args:
        steps: K.
        contraction: ηa.
        mode: How to differentiate.
    """

    def inner(params: Params, coefficients: CoefficientTensors, k: int) -> Tensor:
        theta, (tau, beta) = params["theta"], coefficients
        return 0.5 * CURVATURE * theta**2 - (tau + beta) * theta

    found = unrolled_gradients(
        inner,
        lambda params, _: params["theta"],
        {"theta": torch.tensor(2.0, dtype=torch.float64)},
        (torch.tensor(0.3, dtype=torch.float64), torch.tensor(0.1, dtype=torch.float64)),
        steps=steps,
        learning_rate=contraction / CURVATURE,
        mode=mode,
    )
    return 1 - CURVATURE * float(found.tau)


def closed_form(steps: float, contraction: float) -> float:
    """(1 − ηa)^K."""
    return (1 - contraction) ** steps


def draw(path: Path) -> None:
    """Bias against K, log scale: points measured, lines by formula."""
    figure = agg_figure(figsize=(6.4, 3.8), layout="constrained")
    axis = figure.subplots()
    for contraction, colour in zip(CONTRACTIONS, COLOURS, strict=True):
        axis.plot(STEPS, [closed_form(k, contraction) for k in STEPS], color=colour, linewidth=1.2)
        axis.plot(STEPS, [bias(k, contraction) for k in STEPS], "o", color=colour, markersize=3.5)
        axis.annotate(
            f"ηa = {contraction:g}",
            (STEPS[-1], closed_form(STEPS[-1], contraction)),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            annotation_clip=False,
        )
    axis.set_yscale("log")
    axis.set_xticks([1, *range(4, STEPS[-1] + 1, 4)])
    axis.set_xlabel("K (inner steps)")
    axis.set_ylabel("share of dθ*/dτ that K steps miss")
    axis.set_title("points: unrolled_gradients; lines: (1 − ηa)$^K$", fontsize=10)
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print the shares at a few K, and draw all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/truncation_bias.png"))
    arguments = parser.parse_args()
    print("K".rjust(4), *(f"ηa = {contraction:g}".rjust(12) for contraction in CONTRACTIONS))
    for steps in (1, 2, 4, 8, 16, 32):
        print(f"{steps:4d}", *(f"{bias(steps, contraction):12.2e}" for contraction in CONTRACTIONS))
    draw(arguments.output)


if __name__ == "__main__":
    main()
