"""Hypergradients of a worker: mode selection, the unroll, and steps without one where memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from maxent_ray.config import GRPOConfig
from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.hypergradient import ModeChoice, choose_mode, smaller_mode
from maxent_ray.core.objectives import ControllerGradients, Sensitivity, Unroll
from maxent_ray.core.state import Coefficients
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.weightings import MaxEntWeighting, Weighting
from maxent_ray.errors import RankLeftError
from maxent_ray.train.batch import PreparedBatch
from maxent_ray.train.memory import activation_bytes, free_bytes, is_out_of_memory
from maxent_ray.train.policy_and_task import Precision
from maxent_ray.train.unroll.policy_unroll import PolicyUnroll
from maxent_ray.train.unroll.rank_sync import UnrollRanks
from maxent_ray.train.unroll.sensitivity import attention_for, differentiate

logger = logging.getLogger(__name__)


class _StepInputs(NamedTuple):
    """Inputs of one step's unroll."""

    batch: PreparedBatch
    statistics: BatchStatistics
    coefficients: Coefficients
    rates: Mapping[str, Tensor]
    share: float


class WorkerHypergradients:
    """Computes a worker's controller gradients, one unroll an update step.

    Out of memory, a step has no gradients and the run continues: it is logged once for each mode, with the mode to
    choose instead, and counted. ``auto`` then takes that mode itself.

    Args:
        model: The policy.
        grpo: Policy settings.
        controller: The controller's settings, which name the signals.
        unroll: How to differentiate.
        world_size: Ranks of the run.
        precision: The worker's own precision, which ``first_order`` runs in; exact modes run in full precision.
        weighting: From rewards to coefficients.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        grpo: GRPOConfig,
        controller: ControllerConfig,
        unroll: Unroll,
        world_size: int,
        precision: Precision,
        weighting: Weighting = MaxEntWeighting(),
    ) -> None:
        self._model = model
        self._grpo = grpo
        self._weighting = weighting
        self._controller = controller
        self._settings = unroll
        self._steps = unroll.steps
        self._precision = precision
        self._world_size = world_size
        self._shared = world_size > 1 and self._settings.all_reduce
        self._together = world_size > 1 and (self._shared or self._settings.mode == "auto")
        self._activation_bytes: int | None = None
        self._choice: ModeChoice | None = None
        self._lowered = False
        self._warned: set[str] = set()
        self.failures = 0
        """Unrolls so far that ran out of memory, here or on a rank that this one unrolls together with."""

    def compute(
        self,
        batch: PreparedBatch,
        statistics: BatchStatistics,
        coefficients: Coefficients,
        rates: Mapping[str, Tensor],
        share: float,
    ) -> ControllerGradients | None:
        """Unroll K steps and differentiate.

        Args:
            batch: This rank's whole batch.
            statistics: Measured on it.
            coefficients: τ and β that the step trained with.
            rates: Step size of every parameter.
            share: Share of a gradient in the live step.

        Returns:
            The sensitivities; None when memory ran out. Where they are not finite the controller skips the update
            (reason ``non_finite``).
        """
        failure = ""
        try:
            sensitivity = self._unroll(_StepInputs(batch, statistics, coefficients, rates, share))
        except RankLeftError as error:
            failure = str(error)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failure = f"out of memory: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        if failure:  # outside the handlers, where nothing references the unroll's tensors any more
            self._record_failure(coefficients.step, failure)
            return None
        if not sensitivity.is_finite():
            self._warn_once("non-finite", f"step {coefficients.step}: the unroll is not finite; the update is skipped")
        return ControllerGradients(source="truncated_backprop", sensitivity=sensitivity)

    def _unroll(self, inputs: _StepInputs) -> Sensitivity:
        device = inputs.batch.rewards.device
        with UnrollRanks(device) if self._together else nullcontext() as ranks:
            choice = self._select_mode(inputs, ranks)
            precision = self._precision if choice.mode == "first_order" else nullcontext
            unroll = self._over(inputs, precision=precision, ranks=ranks if self._shared else None)
            return differentiate(
                unroll,
                inputs.statistics,
                inputs.coefficients,
                steps=self._steps,
                rates=inputs.rates,
                share=inputs.share,
                mode=choice.mode,
                checkpoint=choice.checkpoint,
            )

    def _select_mode(self, inputs: _StepInputs, ranks: UnrollRanks | None) -> ModeChoice:
        """The configured mode, or the one that fits into memory; the same on all ranks, logged when it changes."""
        if self._settings.mode != "auto":
            chosen = ModeChoice(self._settings.mode, self._settings.checkpoint, "configured")
            self._choice = chosen
            return chosen
        if self._lowered and self._choice is not None:
            return self._choice
        chosen = self._fitting_mode(inputs, ranks)
        if self._choice is None or chosen[:2] != self._choice[:2]:
            step = inputs.coefficients.step
            logger.info("step %d: hypergradient mode %s: %s", step, _describe(chosen), chosen.reason)
        self._choice = chosen
        return chosen

    def _over(
        self, inputs: _StepInputs, *, precision: Precision = nullcontext, ranks: UnrollRanks | None = None
    ) -> PolicyUnroll:
        return PolicyUnroll.over(
            self._model,
            inputs.batch,
            grpo=self._grpo,
            weighting=self._weighting,
            controller=self._controller,
            groups=self._settings.groups,
            precision=precision,
            ranks=ranks,
        )

    def _fitting_mode(self, inputs: _StepInputs, ranks: UnrollRanks | None) -> ModeChoice:
        trained = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        if self._activation_bytes is None:
            unroll = self._over(inputs)
            at = torch.tensor([inputs.coefficients.tau, inputs.coefficients.beta], dtype=torch.float64)
            tau, beta = at.to(inputs.batch.rewards.device)
            with attention_for("reverse"):
                self._activation_bytes = activation_bytes(lambda: unroll.inner(unroll.params, (tau, beta), 0), trained)
        parameter_bytes = sum(parameter.numel() * parameter.element_size() for parameter in trained)
        device = inputs.batch.rewards.device
        activations, free = float(self._activation_bytes), float(free_bytes(device))
        if device.type == "cpu":
            free /= self._world_size  # all ranks may share this machine's memory
        if ranks is not None:  # the rank with the least memory decides for all
            activations, free = -ranks.least(-activations), ranks.least(free)
        return choose_mode(self._steps, parameter_bytes, int(activations), int(free))

    def _record_failure(self, step: int, failure: str) -> None:
        """Count a failure and warn with the mode to choose instead; ``auto`` switches to it."""
        self.failures += 1
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # return the unroll's fragments to the next rollout
        ran = self._choice
        if ran is None:  # memory ran out before there was a choice
            self._warn_once("before", f"step {step}: {failure}; no controller gradients from this step")
            return
        smaller = smaller_mode(self._steps, ran.mode, ran.checkpoint)
        self._warn_once(
            _describe(ran),
            f"step {step}: {failure} (hypergradient mode {_describe(ran)}, K={self._steps}); no controller gradients "
            f"from this step. {self._advice(smaller)}",
        )
        if smaller is not None and self._settings.mode == "auto":
            self._choice, self._lowered = smaller, True

    def _advice(self, smaller: ModeChoice | None) -> str:
        section = "controller.objective.unroll"
        if smaller is None:
            groups = self._settings.groups
            fewer = f"{section}.groups={groups // 2}" if groups > 1 else "a smaller grpo.max_new_tokens"
            return f"No mode needs less memory, whatever K is; set {fewer}"
        if self._settings.mode == "auto":
            return f"From here on: {_describe(smaller)}, K={self._steps} ({smaller.reason})"
        setting = f"mode={smaller.mode}"
        if smaller.checkpoint:
            setting += f" {section}.checkpoint=true"
        return f"Set {section}.{setting} with K={self._steps} ({smaller.reason}), or a smaller K"

    def _warn_once(self, kind: str, message: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            logger.warning("%s", message)


def _describe(choice: ModeChoice) -> str:
    return f"{choice.mode} with checkpoints" if choice.checkpoint else choice.mode
