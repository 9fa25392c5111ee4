"""Identification of a loop's response from its own measurements: elasticity, delay and share of signal in the noise.

The model of one loop is y_t = d_t + γ·v_t + noise: y is the error, u = ln of the coefficient, γ its elasticity (y per
unit of u), v its lagged value v_t = v_{t−1} + (u_t − v_{t−1})/T, and d a disturbance that wanders. Of a surprise in y
the share K is a change of d, and stays; the rest is noise, and gone at the next update. With T and K from a small grid,
the prediction errors (1 − q⁻¹)/(1 − (1 − K)q⁻¹)·(y_t − γ·v_t) are linear in γ. So each pair (T, K) has a recursive
least-squares estimate of γ, and the same sums say how probable the pair is.

Old sums fade (`FORGETTING`) and the prior does not. Without excitation γ goes back to its prior, and no variance grows.

Example:
    A signal that answers at once with an elasticity of .8, and hardly any noise:

    >>> import random
    >>> draw, memory = random.Random(0), start()
    >>> for _ in range(200):
    ...     moved = draw.gauss(0, 0.3)
    ...     memory = observe(memory, moved, 0.8 * moved + draw.gauss(0, 0.05))
    >>> found = max(responses(memory, PRIORS["slow"]), key=lambda response: response.weight)
    >>> found.lag.delay, found.share, round(found.elasticity, 1)
    (0.0, 0.05, 0.8)

Source: Ljung 1999, "System identification" (prediction errors of ARIMA models, recursive least squares with
forgetting); Magill 1965, "Optimal adaptive estimation of sampled stochastic processes" (a grid of models);
Huber 1964, "Robust estimation of a location parameter" (outliers).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

FORGETTING = 0.98
"""Weight of the sums after one more update: a memory of 50 updates."""
ELASTICITY = 0.5
"""Prior mean of γ: a policy's KL has .2 to .8, SAC's entropy about 1."""
ELASTICITY_VARIANCE = 0.0625
"""Prior variance of γ."""
NOISE = 0.04
"""Prior mean of the squared prediction error."""
NOISE_UPDATES = 4.0
"""Weight of that prior, in updates."""
OUTLIER = 2.5
"""Standard deviations above which a prediction error counts less."""


class Lag(NamedTuple):
    """A hypothesis on when a signal answers."""

    steps: float
    """T, in updates: after them it has answered by 1 − 1/e; 1: all of it in the next batch."""
    late: bool = False
    """One update more passes before it begins to (a client with ``lag=1``)."""

    @property
    def delay(self) -> float:
        """Mean updates between a move and its effect, beyond the next batch."""
        return self.steps - 1 + self.late


class Hypothesis(NamedTuple):
    """A pair (T, K), and what the measurements say of it."""

    lag: Lag
    share: float
    """K."""
    elasticity: float
    """Posterior mean of γ."""
    variance: float
    """Posterior variance of γ."""
    noise: float
    """Standard deviation of the prediction errors."""
    weight: float
    """Posterior probability of the pair."""


LAGS = {"at_once": Lag(1.0), "one_late": Lag(1.0, late=True), "over_6": Lag(6.0), "over_30": Lag(30.0)}
PRIORS = {
    "fast": {"at_once": 0.7, "one_late": 0.1, "over_6": 0.1, "over_30": 0.1},
    "slow": {"at_once": 0.1, "one_late": 0.1, "over_6": 0.2, "over_30": 0.6},
}
"""Prior probabilities of the lags, by the response that the signal is declared to have."""
SHARES = {"noise": 0.05, "mixed": 0.2, "signal": 0.6}
PAIRS = {f"{lag}_{share}": (lag, share) for lag in LAGS for share in SHARES}

Memory: TypeAlias = Mapping[str, Any]
"""Filters and sums by name; finite floats."""


def start() -> dict[str, Any]:
    """Memory before the first update."""
    of_shares = {name: dict.fromkeys(SHARES, 0.0) for name in ("level", "squares")}
    of_pairs = {name: dict.fromkeys(PAIRS, 0.0) for name in ("lagged_level", "products", "moves")}
    return {"updates": 0.0, "count": 0.0, "logarithm": 0.0, "lagged": dict.fromkeys(LAGS, 0.0), **of_shares, **of_pairs}


def observe(memory: Memory, logarithm: float, error: float) -> dict[str, Any]:
    """Take one update into the filters and sums.

    Args:
        memory: After the update before.
        logarithm: u, of the coefficient in force before this update.
        error: y, measured since.
    """
    if not memory["updates"]:  # nothing was predicted: the filters start at what is measured
        settled = {"lagged": dict.fromkeys(LAGS, logarithm), "lagged_level": dict.fromkeys(PAIRS, logarithm)}
        level = dict.fromkeys(SHARES, error)
        return {**memory, "updates": 1.0, "logarithm": logarithm, **settled, "level": level}
    updates = memory["updates"] + 1
    lagged = {name: _lagged(memory, name, logarithm) for name in LAGS}
    surprises = {share: error - level for share, level in memory["level"].items()}
    moves = {pair: lagged[lag] - memory["lagged_level"][pair] for pair, (lag, _) in PAIRS.items()}
    trust = {share: _trust(memory, share, surprise) for share, surprise in surprises.items()}
    gains = {share: max(SHARES[share], 1 / updates) * trust[share] for share in SHARES}
    return {
        "updates": updates,
        "count": FORGETTING * memory["count"] + 1,
        "logarithm": logarithm,
        "lagged": lagged,
        "level": {share: memory["level"][share] + gains[share] * surprises[share] for share in SHARES},
        "lagged_level": {p: memory["lagged_level"][p] + gains[share] * moves[p] for p, (_, share) in PAIRS.items()},
        "squares": {
            share: FORGETTING * memory["squares"][share] + trust[share] * surprises[share] ** 2 for share in SHARES
        },
        "products": {
            pair: FORGETTING * memory["products"][pair] + trust[share] * moves[pair] * surprises[share]
            for pair, (_, share) in PAIRS.items()
        },
        "moves": {
            pair: FORGETTING * memory["moves"][pair] + trust[share] * moves[pair] ** 2
            for pair, (_, share) in PAIRS.items()
        },
    }


def responses(memory: Memory, priors: Mapping[str, float]) -> list[Hypothesis]:
    """All hypotheses, with posteriors under a normal–inverse-gamma prior, which is conjugate to the sums."""
    found, evidence = [], []
    shape = (NOISE_UPDATES + memory["count"]) / 2
    for pair, (lag, share) in PAIRS.items():
        squares, products, moves = memory["squares"][share], memory["products"][pair], memory["moves"][pair]
        unexplained = max(squares - products**2 / moves, 0.0) if moves > 0 else squares
        excitation = _mean(memory, unexplained) / ELASTICITY_VARIANCE  # squared moves that weigh as much as the prior
        precision = excitation + moves
        elasticity = (excitation * ELASTICITY + products) / precision
        squares += excitation * ELASTICITY**2 - precision * elasticity**2
        scale = (NOISE_UPDATES * NOISE + max(squares, 0.0)) / 2
        noise = scale / shape
        found.append(Hypothesis(LAGS[lag], SHARES[share], elasticity, noise / precision, math.sqrt(noise), 0.0))
        evidence.append(math.log(priors[lag]) - shape * math.log(scale) - math.log(precision / excitation) / 2)
    weights = [math.exp(each - max(evidence)) for each in evidence]
    return [each._replace(weight=weight / sum(weights)) for each, weight in zip(found, weights, strict=True)]


def _lagged(memory: Memory, name: str, logarithm: float) -> float:
    """v after one more update."""
    lag, before = LAGS[name], memory["lagged"][name]
    reached = memory["logarithm"] if lag.late else logarithm
    return float(before + (reached - before) / lag.steps)


def _trust(memory: Memory, share: str, surprise: float) -> float:
    """Huber's weight of a prediction error: below 1 for an outlier."""
    return min(1.0, OUTLIER * math.sqrt(_mean(memory, memory["squares"][share])) / max(abs(surprise), 1e-12))


def _mean(memory: Memory, squares: float) -> float:
    """Mean of squared errors, with the prior's."""
    return float((squares + NOISE_UPDATES * NOISE) / (memory["count"] + NOISE_UPDATES))
