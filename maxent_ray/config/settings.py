"""Settings of an experiment: frozen, closed pydantic models, one section for each part of a run.

A configuration file is YAML with these sections; any key may be overridden as ``section.key=value``. An unknown key
is an error that names the valid ones. Settings are never part of a checkpoint: those hold state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    WrapSerializer,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticSerializationError

from maxent_ray.config.controller_section import read_controller
from maxent_ray.config.dataclass_section import read_section
from maxent_ray.config.domains import DEFAULT_SEARCH_SPACE, Domain
from maxent_ray.config.folders import absolute_data, absolute_folder
from maxent_ray.config.published import WeightingSettings
from maxent_ray.config.section import Count, FromList, NonNegative, Number, Positive, Section, Seed, Whole
from maxent_ray.config.weighting_section import read_weighting
from maxent_ray.core.answer_metrics import TRAINING_SIGNALS
from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.weightings import MaxEntWeighting, Weighting
from maxent_ray.plugins import check_kwargs
from maxent_ray.runtime.options import ClientOptions
from maxent_ray.shipped import DEFAULT_TASK, EMBEDDED, embedded_in
from maxent_ray.tasks.registry import OPTIONS

CHECKED = "checked"
"""Context of a validation of settings that were checked before."""


class LoRASettings(Section):
    """Low-rank adapters: what is trained in place of all parameters; the reference is the model without them.

    Example:
        >>> LoRASettings(rank=8).target_modules
        'all-linear'
    """

    rank: Count = 16
    """Rank of an adapter."""
    alpha: Count = 32
    """LoRA's α: an adapter's output is multiplied by α / rank."""
    target_modules: Annotated[tuple[str, ...], Field(min_length=1), FromList] | str = "all-linear"
    """Names of the layers that have one, such as ``[q_proj, v_proj]``; ``all-linear``: all but the output head."""
    seed: Seed = 0
    """Of the adapters' first values."""


class PolicySettings(Section):
    """Policy that is trained."""

    model: str = EMBEDDED
    """``embedded`` (the shipped policy of the run's task) or ``embedded:NAME`` (that of task NAME), or a Hugging Face
    causal language model with its tokenizer: a folder, or a name on the hub where there is no such folder. A relative
    path means the working directory of the command."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of forward passes; trained parameters and moments are float32. ``auto``: bfloat16 on GPU, float32 on CPU."""
    lora: LoRASettings | None = None
    """Adapters that are trained in place of the model; its own weights are then frozen, in the type of forward passes.
    Needs the extra ``lora``."""
    gradient_checkpointing: bool = False
    """Compute what is inside a layer again in the backward pass, instead of keeping it: less memory, more time."""

    @field_validator("model")
    @classmethod
    def _where_it_was_typed(cls, model: str, info: ValidationInfo) -> str:
        """Settings that were checked before are those of another process, perhaps in another folder."""
        return model if info.context == CHECKED else absolute_folder(model)


class TaskSettings(Section):
    """Task that it is trained on."""

    name: str = DEFAULT_TASK
    """Of a built-in task, of an entry point of ``maxent_ray.tasks``, or an import path ``package.module:Class``; or
    ``jsonl:PATH``, ``hf:PATH-or-name`` or ``reasoning_gym:NAME``. A relative path means the working directory of the
    command."""
    kwargs: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the task."""
    held_out_prompts: Count = 256
    """Prompts kept apart from training."""
    seed: Whole = 0
    """Seed of the split into training and held-out prompts; equal across the runs that are compared."""

    @field_validator("name")
    @classmethod
    def _where_it_was_typed(cls, name: str, info: ValidationInfo) -> str:
        """As of ``policy.model``."""
        return name if info.context == CHECKED else absolute_data(name)

    @model_validator(mode="after")
    def _valid_kwargs(self) -> TaskSettings:
        check_kwargs(self.kwargs, "task.kwargs")
        options = OPTIONS.get(self.name.partition(":")[0])
        if options is not None and ":" in self.name:
            read_section(options, "task.kwargs", self.kwargs)
        return self


class GRPOConfig(Section):
    """One policy step.

    Example:
        >>> GRPOConfig(group_size=16).prompts_per_step
        24
    """

    group_size: Annotated[Whole, Field(ge=2)] = 8
    """G: completions per prompt."""
    prompts_per_step: Count = 24
    """B: prompts of one step, over all ranks."""
    learning_rate: Positive = 3e-4
    """AdamW's learning rate."""
    weight_decay: NonNegative = 0.0
    """AdamW's decoupled weight decay."""
    gradient_clip: Positive = 1.0
    """Largest norm of the policy gradient."""
    max_new_tokens: Count = 14
    """Longest completion (tokens)."""
    temperature: Positive = 1.0
    """Sampling temperature; the policy is scored at the same one."""
    kl_estimator: Literal["full", "k3"] = "full"
    """``full``: over the whole vocabulary at each sampled prefix; ``k3``: Schulman's estimator from samples."""
    micro_batch_tokens: Count | None = None
    """Most tokens, padding counted, of one forward and backward pass; a step adds up the gradients of its passes, which
    is the gradient of the whole batch. A longer sequence has a pass of its own. None: one pass."""
    chunk_tokens: Count | None = None
    """Tokens whose logits are in memory at a time; None: as many as have 2²⁶ logits (268 MB in float32)."""


class TrainSettings(Section):
    """Length of one run, and its resources."""

    steps: Count = 120
    seed: Seed = 0
    num_workers: Count = 1
    """Data-parallel ranks of one run."""
    fully_shard: bool = False
    """Divide parameters, gradients and moments among the ranks (FSDP2) where a model does not fit one device; else
    every rank has all of them (DDP). With one rank there is nothing to divide."""
    use_gpu: bool | None = None
    """None: GPUs when the cluster has enough of them."""
    gpus_per_worker: Positive = 1.0
    cpus_per_worker: Positive = 1.0
    """CPUs that Ray keeps for each rank; decides how many trials train at once."""
    threads_per_worker: Count | None = None
    """Threads of each rank that has no GPU. None: on Ray, the cluster's CPUs divided among the ranks that train at
    once, ``cpus_per_worker`` at least, no more than a machine has or than ``OMP_NUM_THREADS`` of the command; in one
    process, without Ray, as many as that process has."""
    checkpoint_every: Count = 20
    max_failures: Annotated[Whole, Field(ge=0)] = 1
    """Restarts from the last checkpoint after a worker died."""


class EvaluationSettings(Section):
    """The held-out evaluation."""

    prompts: Count = 128
    samples: Count = 8
    """Samples per prompt: the k of mean@k, pass@k, distinct@k and coverage@k."""
    seed: Seed = 1234


class PopulationSettings(Section):
    """Population-based training, of any trainer."""

    objectives: Annotated[tuple[str, ...], Field(min_length=1), FromList] = ("analytic", "truncated_backprop")
    """One stratum of the population for each."""
    trials_per_objective: Count = 4
    mode: Literal["stratified", "tournament"] = "stratified"
    """``stratified``: clones stay inside their objective; ``tournament``: a clone takes over its donor's objective."""
    search_space: dict[str, Domain] = Field(default_factory=lambda: dict(DEFAULT_SEARCH_SPACE), validate_default=True)
    """Dotted key → domain."""
    steps_per_report: Count = 5
    perturbation_interval: Count = 20
    """Policy steps between two perturbations."""
    quantile_fraction: Annotated[Number, Field(gt=0, le=0.5)] = 0.25
    resample_probability: Annotated[Number, Field(ge=0, le=1)] = 0.25
    synchronous: bool = True
    """Perturb when all trials have come as far; repeatable for a seed."""
    references: bool = True
    """Add reference rows, which objectives are compared with."""


class TuneSettings(PopulationSettings):
    """Population-based training, and sweeps."""

    metric: Literal["coverage", "pass_rate", "mean", "distinct"] = "coverage"
    """Score that clones are chosen by, over the training groups since the last perturbation."""
    references: bool = True
    """Add the warm start, plain GRPO (β = 0) and fixed τ/β as reference rows."""
    samples: Count = 8
    """Points of a sweep whose search is ``random`` or ``optuna``."""
    search: Literal["grid", "random", "optuna"] = "grid"
    """Search for the points of a sweep: every combination of values, draws from the domains, or proposals of Optuna,
    which learns from the ``metric`` of earlier points."""
    scheduler: Literal["fifo", "asha"] = "fifo"
    """``fifo``: every trial of a sweep trains to its end; ``asha``: those with the lowest ``metric`` are stopped early.
    References are never stopped."""
    grace_period: Count = 20
    """ASHA: policy steps before which no trial is stopped."""
    reduction_factor: Annotated[Number, Field(gt=1, allow_inf_nan=False)] = 2.0
    """ASHA: at ``grace_period`` steps, and each time that they have grown by this factor, one in so many trials of an
    objective continues."""


def _read_controller(values: object, info: ValidationInfo) -> ControllerConfig:
    """The controller of an experiment with the weighting that was read before it; none where that was refused."""
    return read_controller(values, info.data.get("weighting"))


def _without_weighting(config: ControllerConfig, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
    """The keys of a configuration: ``weighting`` is a section of its own."""
    return {name: value for name, value in handler(config).items() if name != "weighting"}


WeightingSection = Annotated[Weighting, BeforeValidator(read_weighting)]
ControllerSection = Annotated[ControllerConfig, BeforeValidator(_read_controller), WrapSerializer(_without_weighting)]
RuntimeSection = Annotated[ClientOptions, BeforeValidator(partial(read_section, ClientOptions, "runtime"))]


class ExperimentConfig(Section):
    """A whole experiment.

    Example:
        >>> ExperimentConfig().controller_config().group_size
        8
    """

    policy: PolicySettings = PolicySettings()
    task: TaskSettings = TaskSettings()
    grpo: GRPOConfig = GRPOConfig()
    weighting: WeightingSection = MaxEntWeighting()
    controller: ControllerSection = read_controller({})
    runtime: RuntimeSection = ClientOptions()
    train: TrainSettings = TrainSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    tune: TuneSettings = TuneSettings()

    @model_validator(mode="before")
    @classmethod
    def _with_controller(cls, values: Any) -> Any:
        """An absent controller section is read as an empty one: its default targets depend on the weighting."""
        return {"controller": {}, **values} if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _consistent(self) -> ExperimentConfig:
        self.controller_config()
        try:
            self.model_dump_json()
        except PydanticSerializationError as error:
            raise ValueError(f"a setting cannot be written to a file: {error}") from None
        batch, ranks = self.grpo.prompts_per_step, self.train.num_workers
        if batch % ranks:
            raise ValueError(f"grpo.prompts_per_step is {batch}; it must be a multiple of train.num_workers = {ranks}")
        if self.train.fully_shard and self.controller_config().unroll is not None:
            raise ValueError(
                "train.fully_shard is true with an objective that unrolls steps, which need whole parameters on every "
                "rank: set controller.objective.type=analytic, or train.fully_shard=false with adapters (policy.lora)"
            )
        if self.evaluation.prompts > self.task.held_out_prompts:
            raise ValueError(
                f"evaluation.prompts is {self.evaluation.prompts}; it must be at most task.held_out_prompts = "
                f"{self.task.held_out_prompts}"
            )
        least_beta = self.controller.bounds("beta")[0] if self.controller.moves("beta") else self.controller.beta
        if self.weighting.reference_in_weights and self.controller.initial("tau") == 0 and least_beta == 0:
            raise ValueError("controller.tau is 0; it must be > 0 where β may be 0: weights need τ + β > 0")
        return self

    def controller_config(self) -> ControllerConfig:
        """Settings of this experiment's controller, for its groups."""
        return replace(self.controller, group_size=self.grpo.group_size, weighting=self.weighting)

    @property
    def policy_model(self) -> str:
        """Model of the policy, as ``load_policy`` takes it: ``embedded`` with the name of this experiment's task."""
        return embedded_in(self.policy.model, self.task.name)

    @property
    def training(self) -> Literal["groups"]:
        """Kind of training, which decides on the signals that there are."""
        return "groups"

    @property
    def score_signal(self) -> str:
        """Logged signal that trials are compared by."""
        return TRAINING_SIGNALS[self.tune.metric]

    @property
    def group_size(self) -> int:
        """G: completions per training prompt."""
        return self.grpo.group_size

    @property
    def held_out_samples(self) -> int:
        """k of the held-out metrics."""
        return self.evaluation.samples

    @property
    def published_weighting(self) -> WeightingSettings:
        """Coefficients, targets and objective under the names of the published API."""
        return WeightingSettings.of(self.controller_config())
