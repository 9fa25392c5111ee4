"""Settings of one controller: what it tracks, how it moves, and between which bounds. Checked once, then frozen."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple, get_args

from maxent_ray.core.diagnostics.alarms import TARGET_ENTROPY, TARGET_KL, Actuator
from maxent_ray.core.objectives import ANALYTIC_METHODS, TRUNCATED_METHODS, Sensitivity
from maxent_ray.core.objectives.meta_gradient import FORMS, Form
from maxent_ray.core.statistics import CoefficientBounds, EntropySignal, KlSignal
from maxent_ray.errors import ConfigError, UnknownObjectiveError

Optimizer = Literal["sgd", "adam", "newton", "pi"]
Space = Literal["log", "linear"]


NOT_FOR_DECOUPLED = (
    "optimizer",
    "tau_learning_rate",
    "beta_learning_rate",
    "tau_proportional_gain",
    "beta_proportional_gain",
    "tau_grad_clip",
    "beta_grad_clip",
    "ema_decay",
    "dead_band",
    "fallback",
    "sensitivity_decay",
)
"""Settings of rules that the ``decoupled`` form does without: set to anything, they would be a label only."""


class Gains(NamedTuple):
    """How far one coefficient moves per unit of relative error."""

    integral: float
    """Per unit of error; the learning rate of the other optimizers."""
    proportional: float
    """Per unit of change of the error; ``pi`` only."""


SLOW_SIGNAL = Gains(integral=0.2, proportional=2.0)
"""For signals that answer over many policy steps."""
NORMALISED_STEPS = {"adam": Gains(0.05, 0.0), "newton": Gains(0.5, 0.0)}
"""For rules that bring the error to a scale of their own."""


@dataclass(frozen=True)
class ControllerConfig:
    """Settings of a :class:`~maxent_ray.core.controller.Controller`.

    Errors reach the update rules as relative errors, (H − H*)/H* and (KL − KL*)/KL*, so a learning rate, a clip and
    a dead band mean the same for τ and β and for both objectives (``form="joint"`` excepted: its gradients are per unit
    of coefficient and want rates of their own).

    Raises:
        ConfigError: a value is out of range; the message names the field, the value and the range.

    Example:
        >>> ControllerConfig(group_size=8, target_entropy=1.9, target_kl=0.05).objective
        'analytic'
    """

    group_size: int
    """G ≥ 2: completions per prompt; weight entropies lie between 0 and log G."""
    objective: str | None = "analytic"
    """A method name of :func:`~maxent_ray.core.objectives.build_controller_objective`; None keeps τ and β fixed."""
    tau: float = 0.3
    """Initial τ."""
    beta: float = 0.1
    """Initial β."""

    entropy_signal: EntropySignal = "weight_entropy"
    kl_signal: KlSignal = "policy_kl"
    target_entropy: float | None = None
    """H* in nats; None leaves τ alone."""
    target_entropy_final: float | None = None
    """H* at the end of the annealing; None: no annealing."""
    target_entropy_horizon: int = 0
    """Steps over which H* goes linearly from ``target_entropy`` to ``target_entropy_final``."""
    target_kl: float = 0.0
    """KL* in nats; 0 leaves β alone."""

    optimizer: Optimizer = "pi"
    """``newton`` divides by the curvature of the weights' dual: meant for the analytic objective on weight signals."""
    space: Space = "log"
    tau_learning_rate: float | None = None
    beta_learning_rate: float | None = None
    """Step per unit of relative error; the integral gain of ``pi``. None: by the signal, see :meth:`gains`."""
    tau_proportional_gain: float | None = None
    beta_proportional_gain: float | None = None
    """Proportional gain of ``pi``. None: by the signal, see :meth:`gains`."""
    tau_grad_clip: float | None = 0.25
    beta_grad_clip: float | None = 1.0
    ema_decay: float = 0.0
    """Smoothing of the error signals, 0 for none."""
    dead_band: float = 0.0
    """Relative errors up to this are ignored."""
    tau_min: float = 1e-3
    tau_max: float = 100.0
    beta_min: float = 1e-4
    beta_max: float = 100.0

    warmup_steps: int = 0
    update_interval: int = 1
    """Steps between two updates; the statistics of the steps between are merged, not dropped."""
    truncation_steps: int = 1
    """K of truncated backprop."""
    form: Form = "paired"
    fallback: Literal["analytic"] | None = None
    """What truncated backprop does without usable gradients: None skips the update."""
    sensitivity_decay: float = 0.9
    """Decay of the running sensitivities that ``paired`` uses."""
    kl_bandwidth: float = 0.16
    """ω of ``decoupled``: KL's error decays as e^(−ω) a step (0.1 careful, 0.2 quick and more restless)."""
    saturation_patience: int = 20
    """Updates at a bound, still pushed outwards, after which the target is reported as infeasible at the earliest;
    noise and slow signals take more. Signals that take up to 25 times as long to answer are waited for. The detectors
    (:mod:`~maxent_ray.core.diagnostics.detectors`) judge every so many updates, and every 8 at the least."""

    def __post_init__(self) -> None:
        """Check every field."""
        _require(self.group_size >= 2, "group_size", self.group_size, ">= 2")
        self._check_choices()
        self._check_targets()
        self._check_ranges()

    @property
    def max_entropy(self) -> float:
        """log G, the largest weight entropy (nats)."""
        return math.log(self.group_size)

    @property
    def uses_hypergradients(self) -> bool:
        """Whether workers must unroll policy steps on update steps."""
        return self.objective is not None and self.objective.lower() in TRUNCATED_METHODS

    def target_entropy_at(self, step: int) -> float | None:
        """H* at a step, annealed linearly (nats).

        Example:
            >>> config = ControllerConfig(group_size=8, target_entropy=2.0, target_entropy_final=1.0,
            ...                           target_entropy_horizon=10)
            >>> config.target_entropy_at(5), config.target_entropy_at(50)
            (1.5, 1.0)
        """
        if self.target_entropy is None or self.target_entropy_final is None:
            return self.target_entropy
        progress = min(max(step / self.target_entropy_horizon, 0.0), 1.0)
        return self.target_entropy + progress * (self.target_entropy_final - self.target_entropy)

    def bounds(self, name: str) -> tuple[float, float]:
        """Lower and upper bound of ``"tau"`` or ``"beta"``."""
        return (self.tau_min, self.tau_max) if name == "tau" else (self.beta_min, self.beta_max)

    @property
    def coefficient_bounds(self) -> CoefficientBounds:
        """Bounds of both, as :func:`~maxent_ray.core.statistics.batch_statistics` takes them."""
        return CoefficientBounds(self.bounds("tau"), self.bounds("beta"))

    def actuator(self, name: str) -> Actuator:
        """``"tau"`` or ``"beta"`` and what it is for, as alarms speak of it."""
        is_tau = name == "tau"
        low, high = self.bounds(name)
        return Actuator(
            name=name,
            signal=self.entropy_signal if is_tau else self.kl_signal,
            low=low,
            high=high,
            target_name=TARGET_ENTROPY if is_tau else TARGET_KL,
            targets=(self.target_entropy, self.target_entropy_final) if is_tau else (self.target_kl,),
            patience=self.saturation_patience,
            dead_band=self.dead_band,
            learning_rate=None if self.is_decoupled else self.gains(name).integral,
            kl_bandwidth=self.kl_bandwidth,
            clip=self.tau_grad_clip if is_tau else self.beta_grad_clip,
        )

    @property
    def is_decoupled(self) -> bool:
        """Whether truncated backprop places both coefficients itself."""
        return self.uses_hypergradients and self.form == "decoupled"

    def gains(self, name: str) -> Gains:
        """Gains of ``"tau"`` or ``"beta"``: as set, else by the signal that it answers for.

        A weight entropy or weight KL answers in the very next batch and takes an integrator alone; a policy entropy or
        policy KL answers over many policy steps, and without a proportional part the loop swings around its target.
        """
        if name == "tau":
            rate, proportional = self.tau_learning_rate, self.tau_proportional_gain
            default = Gains(2.0, 0.0) if self.entropy_signal == "weight_entropy" else SLOW_SIGNAL
        else:
            rate, proportional = self.beta_learning_rate, self.beta_proportional_gain
            default = Gains(0.2, 0.0) if self.kl_signal == "weight_kl" else SLOW_SIGNAL
        default = NORMALISED_STEPS.get(self.optimizer, default)
        return Gains(
            integral=default.integral if rate is None else rate,
            proportional=default.proportional if proportional is None else proportional,
        )

    def misfit(self, sensitivity: Sensitivity | None) -> str:
        """Field, value and valid range of an unroll that this controller cannot have asked for; empty when it fits."""
        if sensitivity is None:
            return ""
        fits = {
            "steps": (sensitivity.steps == self.truncation_steps, f"truncation_steps = {self.truncation_steps}"),
            "tokens": (sensitivity.tokens >= 1, ">= 1"),
            "tau": (sensitivity.tau > 0, "> 0"),
            "beta": (sensitivity.beta > 0 or (sensitivity.beta == 0 and not self.moves("beta")), "> 0"),
        }
        wrong = ((name, valid) for name, (holds, valid) in fits.items() if not holds)
        return next((f"{name} is {getattr(sensitivity, name)}; it must be {valid}" for name, valid in wrong), "")

    def is_update_step(self, step: int) -> bool:
        """Whether the controller moves after ``step`` (past the warm-up, and a multiple of the interval)."""
        return step >= self.warmup_steps and (step + 1) % self.update_interval == 0

    def _check_choices(self) -> None:
        methods = ANALYTIC_METHODS + TRUNCATED_METHODS
        if self.objective is not None and self.objective.lower() not in methods:
            raise UnknownObjectiveError(f"objective is {self.objective!r}; valid: {', '.join(methods)}, or null")
        for name, valid in (
            ("entropy_signal", get_args(EntropySignal)),
            ("kl_signal", get_args(KlSignal)),
            ("optimizer", get_args(Optimizer)),
            ("space", get_args(Space)),
            ("form", FORMS),
            ("fallback", ("analytic", None)),
        ):
            if getattr(self, name) not in valid:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; valid: {', '.join(map(str, valid))}")
        if self.is_decoupled:
            required = (("entropy_signal", "weight_entropy"), ("kl_signal", "policy_kl"), ("space", "log"))
            for name, needed in required:
                value = getattr(self, name)
                _require(value == needed, name, value, f"{needed!r} when form is 'decoupled'")
            for field in fields(self):
                if field.name in NOT_FOR_DECOUPLED:
                    found = getattr(self, field.name)
                    unused = f"left at {field.default}: form 'decoupled' does not use it"
                    _require(found == field.default, field.name, found, unused)

    def _check_targets(self) -> None:
        for name in ("target_entropy", "target_entropy_final"):
            value = getattr(self, name)
            if value is None:
                continue
            _require(value > 0, name, value, "> 0 nats")
            if self.entropy_signal == "weight_entropy":
                bound = f"< log G = {self.max_entropy:.4f} nats, the entropy of uniform weights (G = {self.group_size})"
                # log G written with four decimals is log G, and no finite τ reaches it
                _require(value < self.max_entropy * (1 - 1e-4), name, value, bound)
        if self.target_entropy_final is not None:
            _require(self.target_entropy is not None, "target_entropy", None, "set when target_entropy_final is")
            _require(self.target_entropy_horizon >= 1, "target_entropy_horizon", self.target_entropy_horizon, ">= 1")
        _require(self.target_kl >= 0, "target_kl", self.target_kl, ">= 0 nats (0: β is not controlled)")

    def _check_ranges(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f"{field.name} is {value}; it must be finite")
        for name in ("tau_learning_rate", "beta_learning_rate"):
            value = getattr(self, name)
            _require(value is None or value > 0, name, value, "> 0, or null for the signal's default")
        for name in ("tau_grad_clip", "beta_grad_clip"):
            value = getattr(self, name)
            _require(value is None or value > 0, name, value, "> 0, or null for none")
        for name in ("update_interval", "truncation_steps", "saturation_patience"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")
        for name in ("warmup_steps", "dead_band"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), ">= 0")
        for name in ("tau_proportional_gain", "beta_proportional_gain"):
            value = getattr(self, name)
            _require(value is None or value >= 0, name, value, ">= 0, or null for the signal's default")
        for name in ("ema_decay", "sensitivity_decay"):
            _require(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        _require(0 < self.kl_bandwidth < 1, "kl_bandwidth", self.kl_bandwidth, "in (0, 1)")
        self._check_bounds("tau")
        self._check_bounds("beta")

    def _check_bounds(self, name: str) -> None:
        value, (low, high) = getattr(self, name), self.bounds(name)
        lowest_ok = low >= 0 if name == "beta" else low > 0
        if self.space == "log" and self.moves(name):
            lowest_ok = low > 0
        _require(lowest_ok, f"{name}_min", low, "> 0 (≥ 0 only for a β that is fixed or moves in linear space)")
        if low > high:
            raise ConfigError(f"{name}_min is {low} and {name}_max is {high}: the bounds cross")
        fixed = not self.moves(name)
        allowed = (value >= 0 if name == "beta" else value > 0) if fixed else low <= value <= high
        _require(allowed, name, value, f"in [{low}, {high}]")

    def moves(self, name: str) -> bool:
        """Whether the controller has a signal to move ``"tau"`` or ``"beta"`` with."""
        if self.objective is None:
            return False
        return self.target_entropy is not None if name == "tau" else self.target_kl > 0


def _require(holds: bool, name: str, value: object, valid: str) -> None:
    if not holds:
        raise ConfigError(f"{name} is {value}; it must be {valid}")
