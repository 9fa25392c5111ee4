"""Settings of an experiment: frozen, closed pydantic models, one section for each part of a run.

A configuration file is YAML with these sections; any key may be overridden as ``section.key=value``. An unknown key
is an error that names the valid ones. Settings are never part of a checkpoint: those hold state.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from maxent_ray.core.config import ControllerConfig, Optimizer, Space
from maxent_ray.core.hypergradient import Mode
from maxent_ray.core.objectives.meta_gradient import Form
from maxent_ray.core.statistics import EntropySignal, KlSignal
from maxent_ray.runtime.options import ClientOptions

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """Base of all sections: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class PolicySettings(Section):
    """Which policy is trained."""

    model: str = "embedded"
    """``embedded``, or the name or path of a Hugging Face causal language model with its tokenizer."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of forward passes; parameters and moments are float32. ``auto``: bfloat16 on GPU, float32 on CPU."""


class TaskSettings(Section):
    """What it is trained on."""

    name: str = "countdown"
    held_out_prompts: Count = 256
    """Prompts kept apart from training."""
    seed: int = 0
    """Seed of the split into training and held-out prompts; equal across the runs that are compared."""


class GRPOConfig(Section):
    """One policy step."""

    group_size: Annotated[int, Field(ge=2)] = 8
    """G: completions per prompt."""
    prompts_per_step: Count = 24
    """B: prompts of one step, over all ranks."""
    learning_rate: Positive = 3e-4
    """AdamW's learning rate."""
    weight_decay: NonNegative = 0.0
    gradient_clip: Positive = 1.0
    """Largest norm of the policy gradient."""
    max_new_tokens: Count = 14
    temperature: Positive = 1.0
    """Sampling temperature; the policy is scored at the same one."""
    kl_estimator: Literal["full", "k3"] = "full"
    """``full``: over the whole vocabulary at each sampled prefix; ``k3``: Schulman's estimator from samples."""


class ControllerMetaSettings(Section):
    """How the controller moves τ and β."""

    enabled: bool = True
    method: str = "analytic"
    """analytic | truncated_backprop (and the aliases that ``build_controller_objective`` names)."""
    optimizer: Optimizer = "pi"
    space: Space = "log"
    tau_learning_rate: float | None = None
    beta_learning_rate: float | None = None
    tau_proportional_gain: float | None = None
    beta_proportional_gain: float | None = None
    """Null: by the signal; see ``ControllerConfig.gains``."""
    tau_grad_clip: float | None = 0.25
    """Clip of τ's relative error."""
    beta_grad_clip: float | None = 1.0
    """Clip of β's relative error."""
    ema_decay: float = 0.0
    dead_band: float = 0.0
    warmup_steps: int = 0
    update_interval: int = 1
    truncation_steps: int | None = None
    """K of truncated backprop; unset: ``analytic_steps``."""
    analytic_steps: int = 1
    form: Form = "paired"
    fallback: Literal["analytic"] | None = None
    sensitivity_decay: float = 0.9
    saturation_patience: int = 20
    """Updates after which a coefficient that does nothing is reported."""
    kl_bandwidth: float = 0.16
    """ω of the ``decoupled`` form: KL's error decays as e^(−ω) a step."""
    hypergradient_mode: Mode | Literal["auto"] = "reverse"
    """``reverse`` and ``forward`` are exact; ``first_order`` is exact for K = 1, and the one for large models: fused
    attention, bfloat16, no second-order graph. ``auto`` chooses by K, model size and free memory."""
    hypergradient_checkpoint: bool = False
    """``reverse`` only: keep each inner step's parameters, not its activations."""
    hypergradient_all_reduce: bool = False
    """Average the inner gradients over ranks, so that all of them unroll the whole batch; else their results are
    averaged over tokens."""
    hypergradient_groups: Count = 8
    """Groups of a rank's batch that the unroll runs over, and as many others to measure on: at most half each."""

    @model_validator(mode="before")
    @classmethod
    def _a_first_order_method_is_one(cls, values: Any) -> Any:
        """``method: first_order``, an older name for truncated backprop, chooses the mode that it names."""
        if isinstance(values, dict) and str(values.get("method")).lower() == "first_order":
            mode = values.get("hypergradient_mode", "first_order")
            if mode != "first_order":
                raise ValueError(f"method is 'first_order' and hypergradient_mode is {mode!r}; leave one of them out")
            return {**values, "hypergradient_mode": mode}
        return values

    @model_validator(mode="after")
    def _checkpoints_belong_to_reverse(self) -> ControllerMetaSettings:
        if self.hypergradient_checkpoint and self.hypergradient_mode != "reverse":
            raise ValueError(
                f"hypergradient_checkpoint is true and hypergradient_mode is {self.hypergradient_mode!r}; "
                "only 'reverse' keeps steps to checkpoint"
            )
        return self


class WeightingSettings(Section):
    """The weights, their two coefficients and the targets that the controller holds."""

    tau: float = 0.3
    beta: float = 0.1
    q_temperature: Positive = 1.0
    q_epsilon: Annotated[float, Field(ge=0, lt=1)] = 1e-6
    length_normalize_ref: bool = True
    """ρ as mean-token instead of summed reference log-probability."""
    train_grpo_objective: bool = False
    """Plain GRPO with standardised advantages: the baseline."""
    entropy_signal: EntropySignal = "weight_entropy"
    kl_signal: KlSignal = "policy_kl"
    tau_target_entropy: float | None = None
    """H* in nats."""
    tau_target_entropy_fraction: Annotated[float, Field(gt=0, lt=1)] | None = 0.95
    """H* as a fraction of log G; give this or ``tau_target_entropy``. With both null τ is left alone."""
    tau_target_entropy_final_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    """H* at the end of the annealing, as a fraction of log G."""
    tau_target_entropy_horizon: int = 0
    """Steps of the annealing."""
    kl_target: float = 0.05
    """KL* in nats; 0 leaves β alone."""
    tau_min: float = 1e-3
    tau_max: float = 100.0
    beta_min: float = 1e-4
    beta_max: float = 100.0
    controller_meta: ControllerMetaSettings = ControllerMetaSettings()

    @model_validator(mode="before")
    @classmethod
    def _nats_replace_the_default(cls, values: Any) -> Any:
        """A target in nats replaces the default fraction; a fraction that is given as well is an error."""
        if isinstance(values, dict) and values.get("tau_target_entropy") is not None:
            return {"tau_target_entropy_fraction": None, **values}
        return values

    @model_validator(mode="after")
    def _one_target(self) -> WeightingSettings:
        if self.tau_target_entropy is not None and self.tau_target_entropy_fraction is not None:
            raise ValueError(
                f"tau_target_entropy is {self.tau_target_entropy} and tau_target_entropy_fraction is "
                f"{self.tau_target_entropy_fraction}; give one of the two"
            )
        return self

    def resolved(self, group_size: int) -> WeightingSettings:
        """The same settings with H* in nats, as objectives read it."""
        if self.tau_target_entropy_fraction is None:
            return self
        nats = self.tau_target_entropy_fraction * math.log(group_size)
        return self.model_copy(update={"tau_target_entropy": nats, "tau_target_entropy_fraction": None})

    def controller_config(self, group_size: int) -> ControllerConfig:
        """The controller's settings for groups of ``group_size``, fractions of log G resolved to nats.

        Raises:
            ConfigError: a value is out of range; the message names it.
        """
        meta, log_g = self.controller_meta, math.log(group_size)
        fraction, final = self.tau_target_entropy_fraction, self.tau_target_entropy_final_fraction
        return ControllerConfig(
            group_size=group_size,
            objective=meta.method if meta.enabled else None,
            tau=self.tau,
            beta=self.beta,
            entropy_signal=self.entropy_signal,
            kl_signal=self.kl_signal,
            target_entropy=self.tau_target_entropy if fraction is None else fraction * log_g,
            target_entropy_final=None if final is None else final * log_g,
            target_entropy_horizon=self.tau_target_entropy_horizon,
            target_kl=self.kl_target,
            optimizer=meta.optimizer,
            space=meta.space,
            tau_learning_rate=meta.tau_learning_rate,
            beta_learning_rate=meta.beta_learning_rate,
            tau_proportional_gain=meta.tau_proportional_gain,
            beta_proportional_gain=meta.beta_proportional_gain,
            tau_grad_clip=meta.tau_grad_clip,
            beta_grad_clip=meta.beta_grad_clip,
            ema_decay=meta.ema_decay,
            dead_band=meta.dead_band,
            tau_min=self.tau_min,
            tau_max=self.tau_max,
            beta_min=self.beta_min,
            beta_max=self.beta_max,
            warmup_steps=meta.warmup_steps,
            update_interval=meta.update_interval,
            truncation_steps=meta.analytic_steps if meta.truncation_steps is None else meta.truncation_steps,
            form=meta.form,
            fallback=meta.fallback,
            sensitivity_decay=meta.sensitivity_decay,
            saturation_patience=meta.saturation_patience,
            kl_bandwidth=meta.kl_bandwidth,
        )


_FORMER_RUNTIME = {
    "reduction": ("actor", "ranks always reduce among themselves"),
    "retries": (6, "the actor is tried again beside the steps, which do not wait for it"),
    "backoff_s": (0.5, "the actor is tried again beside the steps, which do not wait for it"),
    "round_policy": ("wait", "a rank that dies or hangs is an error on the others within round_timeout_s"),
    "quorum_fraction": (0.5, "a rank that dies or hangs is an error on the others within round_timeout_s"),
    "when_unreachable": ("hold", "no step is held any more: choose decide_locally or raise"),
}
"""Settings that there were: what they were by default, as older results have it, and what is so now."""


class RuntimeSettings(Section):
    """Settings of the runtime: ranks, and the controller's actor."""

    lag: Literal[0, 1] = 1
    """0 waits for the controller at a step's end; 1 overlaps the call with the next rollout."""
    timeout_s: Positive = 5.0
    """Seconds that rank 0 waits for the actor's decision, at most once an outage."""
    when_unreachable: Literal["decide_locally", "raise"] = "decide_locally"
    """Decide by the same function in rank 0's process, with the same outcome, or stop."""
    round_timeout_s: Positive = 600.0
    """Seconds within which a rank that dies or hangs is an error on the others."""

    @model_validator(mode="before")
    @classmethod
    def _former_settings(cls, values: Any) -> Any:
        """Drop former settings that are what they were by default; name what became of the others."""
        if not isinstance(values, dict):
            return values
        for name, (default, now) in _FORMER_RUNTIME.items():
            if name in values and values[name] == default:
                values = {key: value for key, value in values.items() if key != name}
            elif (name in values and name not in cls.model_fields) or values.get(name) == "local":
                raise ValueError(f"runtime.{name} = {values[name]!r} is gone; {now}")
        return values

    @model_validator(mode="after")
    def _as_options(self) -> RuntimeSettings:
        ClientOptions(**self.model_dump())
        return self


class TrainSettings(Section):
    """How long one run takes, and on what."""

    steps: Count = 120
    seed: Seed = 0
    num_workers: Count = 1
    """Data-parallel ranks of one run."""
    use_gpu: bool | None = None
    """None: GPUs when the cluster has enough of them."""
    gpus_per_worker: Positive = 1.0
    cpus_per_worker: Positive = 1.0
    checkpoint_every: Count = 20
    max_failures: Annotated[int, Field(ge=0)] = 1
    """Restarts from the last checkpoint after a worker died."""


class EvaluationSettings(Section):
    """The held-out evaluation."""

    prompts: Count = 128
    samples: Annotated[int, Field(ge=1)] = 8
    """Samples per prompt: the k of mean@k, pass@k, distinct@k and coverage@k."""
    seed: Seed = 1234


class Uniform(Section):
    """Uniform on [low, high]; perturbations are clamped to it."""

    type: Literal["uniform"] = "uniform"
    low: Finite
    high: Finite

    @model_validator(mode="after")
    def _ordered(self) -> Uniform:
        if self.low > self.high:
            raise ValueError(f"low is {self.low} and high is {self.high}: the bounds cross")
        return self


class LogUniform(Section):
    """Log-uniform on [low, high], low > 0; perturbations are clamped to it."""

    type: Literal["loguniform"] = "loguniform"
    low: Positive
    high: Positive

    @model_validator(mode="after")
    def _ordered(self) -> LogUniform:
        if self.low > self.high:
            raise ValueError(f"low is {self.low} and high is {self.high}: the bounds cross")
        return self


class Choice(Section):
    """One of a list; in a grid sweep every one."""

    type: Literal["choice"] = "choice"
    values: Annotated[tuple[float | int | str | bool, ...], Field(min_length=1)]


Domain = Annotated[Uniform | LogUniform | Choice, Field(discriminator="type")]

DEFAULT_SEARCH_SPACE: dict[str, dict[str, Any]] = {
    "weighting.tau_target_entropy_fraction": {"type": "uniform", "low": 0.85, "high": 0.97},
    "weighting.kl_target": {"type": "loguniform", "low": 0.03, "high": 0.15},
    "weighting.controller_meta.tau_learning_rate": {"type": "loguniform", "low": 1.0, "high": 4.0},
    "weighting.controller_meta.beta_learning_rate": {"type": "loguniform", "low": 0.1, "high": 0.4},
    "weighting.controller_meta.update_interval": {"type": "choice", "values": [1, 2, 3]},
}


class TuneSettings(Section):
    """Population-based training, and sweeps."""

    objectives: Annotated[tuple[str, ...], Field(min_length=1)] = ("analytic", "truncated_backprop")
    """One stratum of the population for each."""
    trials_per_objective: Count = 4
    mode: Literal["stratified", "tournament"] = "stratified"
    """``stratified``: clones stay inside their objective; ``tournament``: a clone takes over its donor's objective."""
    search_space: dict[str, Domain] = Field(default_factory=lambda: dict(DEFAULT_SEARCH_SPACE), validate_default=True)
    """Dotted key → domain."""
    steps_per_report: Count = 5
    perturbation_interval: Count = 20
    """Policy steps between two perturbations."""
    quantile_fraction: Annotated[float, Field(gt=0, le=0.5)] = 0.25
    resample_probability: Annotated[float, Field(ge=0, le=1)] = 0.25
    synchronous: bool = True
    """Perturb when all trials have come as far; repeatable for a seed."""
    metric: Literal["coverage", "pass_rate", "mean", "distinct"] = "coverage"
    """What clones are chosen by, over the training groups since the last perturbation."""
    references: bool = True
    """Add the warm start, plain GRPO (β = 0) and fixed τ/β as reference rows."""
    samples: Count = 8
    """Trials of a random sweep."""
    search: Literal["grid", "random"] = "grid"


class ExperimentConfig(Section):
    """A whole experiment."""

    policy: PolicySettings = PolicySettings()
    task: TaskSettings = TaskSettings()
    grpo: GRPOConfig = GRPOConfig()
    weighting: WeightingSettings = WeightingSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    train: TrainSettings = TrainSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    tune: TuneSettings = TuneSettings()

    @model_validator(mode="after")
    def _consistent(self) -> ExperimentConfig:
        self.controller_config()
        batch, ranks = self.grpo.prompts_per_step, self.train.num_workers
        if batch % ranks:
            raise ValueError(f"grpo.prompts_per_step is {batch}; it must be a multiple of train.num_workers = {ranks}")
        if self.evaluation.prompts > self.task.held_out_prompts:
            raise ValueError(
                f"evaluation.prompts is {self.evaluation.prompts}; it must be at most task.held_out_prompts = "
                f"{self.task.held_out_prompts}"
            )
        return self

    def controller_config(self) -> ControllerConfig:
        """Settings of this experiment's controller."""
        return self.weighting.controller_config(self.grpo.group_size)
