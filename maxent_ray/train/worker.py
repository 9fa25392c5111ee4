"""The training worker: one class for one step, used by Ray Train's loop and by Tune's trials.

:meth:`TrainingWorker.step` follows the eight-step flow of the design from top to bottom.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from maxent_ray.config import ExperimentConfig
from maxent_ray.core.answer_metrics import TRAINING_SIGNALS
from maxent_ray.core.hypergradient.preconditioner import gradient_share, preconditioner
from maxent_ray.core.measurement import GroupMeasures, RewardedGroups, batch_statistics, measure_groups
from maxent_ray.core.objectives import ControllerGradients
from maxent_ray.core.signals import Value
from maxent_ray.core.state import Coefficients
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.weightings import GRPOWeighting
from maxent_ray.evaluation.answers import HeldOutEvaluation
from maxent_ray.policy import frozen_copy, load_trained_state, trained_state
from maxent_ray.policy.recomputing import recomputing
from maxent_ray.policy.sharding import is_sharded
from maxent_ray.report.labels import GRPO
from maxent_ray.runtime.client import ControllerClient
from maxent_ray.tasks import Prompt, draw, rank_share
from maxent_ray.train.batch import PreparedBatch, prepare_batch, stream_seed
from maxent_ray.train.held_out_sampling import evaluate_held_out
from maxent_ray.train.loss import LossTerms
from maxent_ray.train.optimizer_state import load_moments, whole_moments
from maxent_ray.train.policy_and_task import forward_precision, load_policy_and_task
from maxent_ray.train.policy_gradient import PolicyGradient
from maxent_ray.train.policy_update import PolicyUpdate, step_optimizer
from maxent_ray.train.sharded_policy import shard_policy
from maxent_ray.train.step_record import StepRecord, signal_values
from maxent_ray.train.trained_prompts import check_trained_prompts, fingerprint
from maxent_ray.train.unroll.hypergradients import WorkerHypergradients

_ROLLOUT_STREAM = 0


@dataclass(frozen=True)
class Placement:
    """Rank, world size and device of one worker."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = torch.device("cpu")


class TrainingWorker:
    """One rank of one run.

    Args:
        config: The experiment; ``config.train.seed`` seeds sampling and prompt order.
        client: Connection to the run's controller.
        placement: Rank, world size and device. With a world size above one, ``torch.distributed`` must be
            initialised; gradients are averaged by ``DistributedDataParallel``, or parameters, gradients and moments
            are divided among the ranks (``train.fully_shard``).

    Raises:
        PolicyLoadError: the model or its tokenizer cannot be loaded, or it cannot be sampled and scored rightly.
        TaskError: the task is empty, or has fewer prompts than a step takes.
        ConfigError: ``grpo.max_new_tokens`` is more than the model's positions leave; the model has no layers that
            can be divided.
    """

    def __init__(self, config: ExperimentConfig, client: ControllerClient, placement: Placement = Placement()) -> None:
        self.config = config
        self.client = client
        self.placement = placement
        shards = config.train.fully_shard and placement.world_size > 1
        self.policy, self.task = load_policy_and_task(config, placement.device, on_cpu=shards)
        self.reference = frozen_copy(self.policy)
        if shards:
            self.policy = shard_policy(self.policy, self.reference, config.policy, placement.device)
        trained = [parameter for parameter in self.policy.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(
            trained, lr=config.grpo.learning_rate, weight_decay=config.grpo.weight_decay
        )
        self.network: nn.Module = self.policy.model
        if placement.world_size > 1 and not shards:
            # Buffers are constants; to send them in every forward pass, ranks would have to make equally many.
            self.network = DistributedDataParallel(self.policy.model, broadcast_buffers=False)
        self.next_step = 0
        self._controller = config.controller_config()
        self._hypergradients: WorkerHypergradients | None = None
        if self._controller.unroll is not None:
            self._hypergradients = WorkerHypergradients(
                self.policy.model,
                grpo=config.grpo,
                weighting=config.weighting,
                controller=self._controller,
                unroll=self._controller.unroll,
                world_size=placement.world_size,
                precision=self._precision,
            )

    @property
    def joins(self) -> bool:
        """True where this rank takes part in what is done once for all ranks: evaluating the policy and saving it.

        That is rank 0, and where parameters are divided among the ranks all of them.
        """
        return self.placement.rank == 0 or is_sharded(self.policy.model)

    def step(self) -> StepRecord:
        """Make one policy step and report it to the controller.

        Returns:
            This rank's record.

        Raises:
            MaxentRayError: the policy gradient is not finite; the parameters are unchanged.
            ControllerError: a report was rejected, or the actor is unreachable and ``when_unreachable`` is ``raise``.
        """
        step, started = self.next_step, time.perf_counter()
        batch = self._roll_out(step)
        rolled_out = time.perf_counter()
        coefficients = self.client.coefficients(step)
        received = time.perf_counter()
        groups = self._weigh(batch, coefficients)
        update = self._update_policy(batch, groups, coefficients)
        statistics = self._measure(batch, update.terms, groups)
        updated = time.perf_counter()
        gradients = self._hypergradient(batch, update, statistics, coefficients)
        differentiated = time.perf_counter()
        merged = self.client.report(step, statistics, gradients)
        self.next_step += 1
        ended = time.perf_counter()
        seconds = {
            "seconds": ended - started,
            "seconds_rollout": rolled_out - started,
            "seconds_hypergradient": differentiated - updated if self._unrolls(step) else 0.0,
            "seconds_controller": (received - rolled_out) + (ended - differentiated),
        }
        measured = {**self._measured(step, batch, update, merged or BatchStatistics(), coefficients), **seconds}
        values = signal_values(measured, self.client.last_decision)
        return StepRecord(step, self.placement.rank, objective_name(self.config), values)

    def evaluate(self) -> HeldOutEvaluation:
        """Held-out metrics and answers; the same prompts and seed in every run that is compared.

        Called on all ranks that join, which sample the same answers.
        """
        with self._precision():
            return evaluate_held_out(self.policy, self.task, self.config.evaluation, self.config.grpo)

    def state_dict(self) -> dict[str, Any]:
        """State to resume from: parameters, moments, the step, the controller, which prompts it is of. No settings.

        Called on all ranks that join; rank 0's is complete. It says nothing of how a run is divided.
        """
        return {
            "step": self.next_step,
            "prompts": fingerprint(self.task),
            "model": trained_state(self.policy.model),
            "optimizer": whole_moments(self.optimizer),
            "controller": self.client.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from :meth:`state_dict`. Learning rates and all other settings stay those of this config.

        Raises:
            ResumeError: the state was trained on other prompts, or is of other parameters; nothing was loaded.
        """
        check_trained_prompts(state["prompts"], self.task)
        load_trained_state(self.policy.model, state["model"])
        load_moments(self.optimizer, state["optimizer"])
        self.client.load_state_dict(state["controller"])
        self.next_step = state["step"]

    def _roll_out(self, step: int) -> PreparedBatch:
        """1: prompts → groups of completions → rewards."""
        seed, (rank, world_size) = self.config.train.seed, (self.placement.rank, self.placement.world_size)
        with self._precision():
            return prepare_batch(
                self.policy,
                self.reference,
                self.task,
                self._prompts(step, rank, world_size),
                self.config.grpo,
                self.config.weighting,
                seed=stream_seed(_ROLLOUT_STREAM, seed, rank, step),
            )

    def _precision(self) -> torch.autocast:
        """Autocast of forward passes, if configured."""
        return forward_precision(self.config.policy, self.placement.device)

    @contextmanager
    def _gradient_precision(self) -> Iterator[None]:
        """The same, for a forward pass whose gradient is formed; layers are computed again there, if configured."""
        with self._precision():
            if self.config.policy.gradient_checkpointing:
                with recomputing(self.policy.model):
                    yield
            else:
                yield

    def _prompts(self, step: int, rank: int, world_size: int) -> list[Prompt]:
        batch = draw(self.task.train, self.config.grpo.prompts_per_step, seed=self.config.train.seed, step=step)
        return rank_share(batch, rank, world_size)

    def _weigh(self, batch: PreparedBatch, coefficients: Coefficients) -> GroupMeasures | RewardedGroups:
        """2: weights, where the weighting has some, and what is measured on them."""
        if batch.log_q is None:
            return RewardedGroups(batch.rewards)
        return measure_groups(
            batch.rewards,
            batch.log_q,
            batch.ref_logprobs,
            coefficients.tau,
            coefficients.beta,
            self.config.weighting.reference_in_weights,
        )

    def _update_policy(
        self, batch: PreparedBatch, groups: GroupMeasures | RewardedGroups, coefficients: Coefficients
    ) -> PolicyUpdate:
        """2: coefficients of log-probabilities → policy loss → optimiser step."""
        gradient = PolicyGradient(
            self.network,
            batch,
            coefficients,
            grpo=self.config.grpo,
            weighting=self.config.weighting,
            kl_tokens=self._mean_tokens(batch),
            weights=groups.weights if isinstance(groups, GroupMeasures) else None,
            precision=self._gradient_precision,
        )
        where = f"step {self.next_step} (tau {coefficients.tau}, beta {coefficients.beta})"
        return step_optimizer(self.optimizer, gradient.backward, self.config.grpo.gradient_clip, where)

    def _mean_tokens(self, batch: PreparedBatch) -> Tensor:
        """Mean of the ranks' completion tokens: with it the mean of their losses is the loss of the whole batch."""
        tokens = batch.rollout.completion_mask.sum().to(batch.rewards.dtype)
        if self.placement.world_size > 1:
            dist.all_reduce(tokens)
        return tokens / self.placement.world_size

    def _measure(
        self, batch: PreparedBatch, terms: LossTerms, groups: GroupMeasures | RewardedGroups
    ) -> BatchStatistics:
        """3: sums and counts of this batch."""
        return batch_statistics(
            groups,
            token_entropy=terms.token_entropy,
            token_kl=terms.token_kl,
            token_mask=batch.rollout.completion_mask,
            bounds=self._controller.coefficient_bounds,
            modes=batch.modes,
        )

    def _hypergradient(
        self, batch: PreparedBatch, update: PolicyUpdate, statistics: BatchStatistics, coefficients: Coefficients
    ) -> ControllerGradients | None:
        """3b: truncated backprop only, and only on the controller's update steps."""
        if self._hypergradients is None or not self._unrolls(self.next_step):
            return None
        rates = preconditioner(self.policy.model, self.optimizer, update.clip_scale)
        share = gradient_share(self.optimizer)
        return self._hypergradients.compute(batch, statistics, coefficients, rates, share)

    def _unrolls(self, step: int) -> bool:
        return self._hypergradients is not None and self._controller.is_update_step(step)

    def _measured(
        self,
        step: int,
        batch: PreparedBatch,
        update: PolicyUpdate,
        statistics: BatchStatistics,
        coefficients: Coefficients,
    ) -> dict[str, Value]:
        """Values of the logged signals, but for times, and for those that are fields of the controller's decision.

        Entropies, KL and the share of tied groups are those of all ranks' ``statistics`` together: ranks differ in
        their tokens, so that a mean of their means would be another number than the controller's.
        """
        controller, decision = self._controller, self.client.last_decision
        controls = controller.objective is not None
        target_entropy = controller.target_entropy_at(step) if controls else None
        set_points = self.client.set_points()
        return {
            "tau": coefficients.tau,
            "beta": coefficients.beta,
            "version": coefficients.version,
            **{signal: batch.graded[metric] for metric, signal in TRAINING_SIGNALS.items()},
            "entropy": _number(controller.measure("tau", statistics)),
            "target_entropy": target_entropy,
            "entropy_scale": None if target_entropy is None else controller.entropy_scale_at(step),
            "entropy_set_point": set_points.entropy,
            "kl_set_point": set_points.kl,
            "kl": _number(controller.measure("beta", statistics)),
            "target_kl": controller.target_kl or None if controls else None,
            "policy_entropy": _number(statistics.mean("policy_entropy")),
            "tied_share": statistics.tied_share,
            "loss": float(update.terms.loss),
            "gradient_norm": update.gradient_norm,
            "reason": decision["reason"] if decision is not None else "",
            "failed_unrolls": 0 if self._hypergradients is None else self._hypergradients.failures,
            "decided_locally": self.client.counters()["decided_locally"],
            "failed_exports": 0,  # the process that exports them counts
        }


def objective_name(config: ExperimentConfig) -> str:
    """Name of a run in records and tables: that of its objective; without one fixed, or grpo with GRPO's weighting."""
    is_plain = config.controller.objective is None and isinstance(config.weighting, GRPOWeighting)
    return GRPO if is_plain else config.controller.label


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
