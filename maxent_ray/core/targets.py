"""Targets of a step, and the set points that move to them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.set_points import SetPoints, kl_scale
from maxent_ray.core.state import ControllerState


@dataclass(frozen=True)
class Targets:
    """Set points and targets in force at one step, in the form that objectives read."""

    tau_target_entropy: float | None
    """Set point of H (nats); None: τ stays as it is."""
    kl_target: float
    """Set point of KL (nats); 0: β stays as it is."""
    entropy_scale: float
    """Error of H that counts as 100 % (nats)."""
    kl_scale: float
    """Error of KL that counts as 100 % (nats)."""
    target_entropy: float | None
    """H* (nats)."""
    target_kl: float
    """KL* (nats); 0: none."""


def advance_set_points(
    config: ControllerConfig, state: ControllerState, entropy: float | None, kl: float | None
) -> ControllerState:
    """One training step of both set points; they leave when the warm-up is over.

    Args:
        config: Settings.
        state: State with the number of this step.
        entropy: H as it was measured (nats); None: not in this step.
        kl: KL as it was measured (nats), or None. No KL is below 0 but by noise.
    """
    if state.step < config.warmup_steps:
        entropy = kl = None
    at_zero_or_above = None if kl is None else max(kl, 0.0)
    advanced = {
        name: set_point.advance(
            measured,
            target=config.target_at(name, state.step),
            expected=config.target_at(name, state.step - 1),
            horizon=config.set_point_horizon,
        )
        for name, set_point, measured in (
            ("tau", state.entropy_set_point, entropy),
            ("beta", state.kl_set_point, at_zero_or_above),
        )
    }
    return replace(state, entropy_set_point=advanced["tau"], kl_set_point=advanced["beta"])


def set_points_of(config: ControllerConfig, state: ControllerState) -> SetPoints:
    """Set points after the state's round (nats)."""
    targets = [config.target_at(name, state.step) for name in ("tau", "beta")]
    memories = (state.entropy_set_point, state.kl_set_point)
    values = (each.value(target, config.set_point_horizon) for each, target in zip(memories, targets, strict=True))
    return SetPoints(*values)


def targets_of(config: ControllerConfig, state: ControllerState) -> Targets:
    """Set points and targets of the newest step, with the errors that count as 100 %."""
    points = set_points_of(config, state)
    return Targets(
        tau_target_entropy=points.entropy,
        kl_target=points.kl or 0.0,
        entropy_scale=config.entropy_scale_at(state.step),
        kl_scale=kl_scale(points.kl, config.target_kl),
        target_entropy=config.target_entropy_at(state.step),
        target_kl=config.target_kl,
    )
