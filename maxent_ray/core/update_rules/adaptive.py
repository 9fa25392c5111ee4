"""PI control whose gains follow from the identified response: `adaptive_pi`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from maxent_ray.core.update_rules.base import RuleState, Signal, Tuning, UpdateRule, require, require_signal
from maxent_ray.core.update_rules.identification import (
    ELASTICITY,
    PRIORS,
    Hypothesis,
    observe,
    responses,
    start,
)
from maxent_ray.core.update_rules.loop import Gains
from maxent_ray.core.update_rules.steps import change_of, moved

ERROR_LIMIT = 3.0
"""Largest error that the identification sees: a KL of 5 % or 20 times its target."""
ELASTICITY_RANGE = (0.2, 2.0)
"""Estimates are cut to it."""
SLOW_RATE = 0.2
"""Fastest closed loop, per update, on a signal that lags: a second lag (an optimiser's momentum) is not modelled."""
CAUTION = 0.1
"""Largest product of a gain and the variance of the noise: noise of 50 % and more has outliers, and large moves that
answer them disturb training for many updates, which no hypothesis has."""
PROPORTIONAL_LIMIT = 8.0


def adaptive_pi(expected: Literal["fast", "slow"] = "slow") -> UpdateRule:
    """PI control in velocity form and log space, Δ = −(k_i·g + k_p·(g − g_prev)), which finds its gains while it runs.

    The response of the signal is identified from `Signal.error` and the coefficient
    (module ``identification``), gains are computed for every hypothesis on it (`synthesize`)
    and averaged by their probabilities (`blend`). `Signal.tuning` says which gains and estimates were in force.

    Args:
        expected: the response that is more probable before anything was measured: "fast" or "slow".

    Returns:
        A rule with the state `previous_gradient`, `started` (0 or 1) and `model`, the identification's memory. Its
        `update` raises InvalidReportError (a ValueError) for a value that is not positive.

    Raises:
        ConfigError: expected is neither.

    Example:
        >>> rule = adaptive_pi("fast")
        >>> signal, state = rule.update(Signal(gradient=-0.5, value=0.1), rule.init(0.1))
        >>> round(signal.value, 3), round(signal.tuning.integral, 2)
        (0.109, 0.17)

    Source: Åström and Wittenmark 1995, "Adaptive control" (self-tuning regulators, certainty equivalence, caution).
    """
    require(expected in PRIORS, "expected", expected, f"one of {', '.join(PRIORS)}")
    priors = PRIORS[expected]

    def update(signal: Signal, state: RuleState) -> tuple[Signal, RuleState]:
        require_signal(signal.value > 0, "value", signal.value, "positive for a step in log space")
        error = signal.gradient if signal.error is None else signal.error
        error = min(max(error, -ERROR_LIMIT), ERROR_LIMIT)
        model = observe(state["model"], math.log(signal.value), error)
        found = responses(model, priors)
        gains = blend(found)
        step = -(gains.integral * signal.gradient + gains.proportional * change_of(signal, state))
        tuned = replace(signal, tuning=describe(gains, found))
        return moved(tuned, step, "log"), {"previous_gradient": signal.gradient, "started": 1.0, "model": model}

    return UpdateRule(lambda value: {"previous_gradient": 0.0, "started": 0.0, "model": start()}, update)


def synthesize(hypothesis: Hypothesis) -> Gains:
    """Gains for one hypothesis: minimum variance for its disturbance, made cautious.

    With k_i = K/γ and k_p = (T − 1)·K/γ the closed loop answers a change of the disturbance with the pole 1 − K, and
    what is left of the error is white. An uncertain γ counts as γ + var(γ)/γ; for one of the wrong sign the prior
    stands in.

    Example:
        >>> from maxent_ray.core.update_rules.identification import Lag
        >>> synthesize(Hypothesis(Lag(1.0), share=0.2, elasticity=0.5, variance=0.0, noise=0.1, weight=1.0))
        Gains(integral=0.4, proportional=0.0)
        >>> synthesize(Hypothesis(Lag(6.0), share=0.2, elasticity=0.5, variance=0.0, noise=0.1, weight=1.0))
        Gains(integral=0.4, proportional=2.0)

    Source: Seborg, Edgar and Mellichamp 2011, "Process dynamics and control" (direct synthesis); Åström and
    Wittenmark 1995, "Adaptive control" (minimum variance, cautious control).
    """
    lag, (low, high) = hypothesis.lag, ELASTICITY_RANGE
    rate = hypothesis.share if lag.steps == 1 else min(hypothesis.share, SLOW_RATE)
    mean = hypothesis.elasticity if hypothesis.elasticity > 0 else ELASTICITY
    elasticity = min(max(mean + hypothesis.variance / mean, low), high)
    limit = CAUTION / hypothesis.noise**2
    integral = min(rate / (elasticity * (1 + rate * lag.late)), limit)
    return Gains(integral, min(integral * (lag.steps - 1), limit, PROPORTIONAL_LIMIT))


def blend(hypotheses: Sequence[Hypothesis]) -> Gains:
    """Average the gains, weighted, in their inverses: small gains count most, since too large ones make the loop ring.

    Example:
        >>> from maxent_ray.core.update_rules.identification import Lag
        >>> quick, slow = (Hypothesis(Lag(T), 0.2, 0.5, 0.0, 0.1, weight=0.5) for T in (1.0, 6.0))
        >>> [round(gain, 2) for gain in blend([quick, slow])]  # (.4, 0) and (.4, 2)
        [0.4, 0.29]
    """
    weighted = [(each.weight, synthesize(each)) for each in hypotheses]
    integral = 1 / sum(weight / gains.integral for weight, gains in weighted)
    both = 1 / sum(weight / sum(gains) for weight, gains in weighted)
    return Gains(integral, max(both - integral, 0.0))


def describe(gains: Gains, hypotheses: Sequence[Hypothesis]) -> Tuning:
    """Gains in force, with the posterior means that they follow from."""
    elasticity = sum(each.weight * each.elasticity for each in hypotheses)
    spread = sum(each.weight * (each.variance + (each.elasticity - elasticity) ** 2) for each in hypotheses)
    return Tuning(
        *gains,
        elasticity=elasticity,
        elasticity_error=math.sqrt(spread),
        delay=sum(each.weight * each.lag.delay for each in hypotheses),
        share=sum(each.weight * each.share for each in hypotheses),
    )
