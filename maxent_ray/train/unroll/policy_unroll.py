"""Inner and outer function of an unroll over one batch: the policy loss, and H and KL after K policy steps."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from maxent_ray.config import GRPOConfig
from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.hypergradient import CoefficientTensors, Params
from maxent_ray.core.measurement import rewards_differ
from maxent_ray.core.weighting import group_weights, weight_coefficients, weight_entropy, weight_kl
from maxent_ray.core.weightings import MaxEntWeighting, Weighting
from maxent_ray.train.batch import PreparedBatch
from maxent_ray.train.loss import LossTerms, policy_loss
from maxent_ray.train.policy_and_task import Precision
from maxent_ray.train.unroll.rank_sync import UnrollRanks


class _WeightSignals(NamedTuple):
    """Means over groups of H(w) and KL(w‖p) (nats)."""

    entropy: Tensor
    kl: Tensor


@dataclass(frozen=True)
class PolicyUnroll:
    """Inner and outer function of an unroll over the groups of one batch."""

    model: nn.Module
    batch: PreparedBatch
    inner_batch: PreparedBatch
    """Groups that the inner steps run over."""
    outer_batch: PreparedBatch
    """Groups that H and KL are measured on."""
    inner_tokens: Tensor
    """Completion tokens of ``inner_batch``; with ``ranks``, the mean over ranks, so that the mean of their losses is
    the loss of all of them together."""
    outer_tokens: Tensor
    """Completion tokens of ``outer_batch``, likewise."""
    informative_groups: Tensor
    """Groups of ``batch`` whose rewards differ, likewise."""
    grpo: GRPOConfig
    weighting: Weighting
    controller: ControllerConfig
    precision: Precision
    ranks: UnrollRanks | None
    """Ranks that unroll together; None: this one alone."""

    @classmethod
    def over(
        cls,
        model: nn.Module,
        batch: PreparedBatch,
        *,
        grpo: GRPOConfig,
        controller: ControllerConfig,
        groups: int,
        weighting: Weighting = MaxEntWeighting(),
        precision: Precision = nullcontext,
        ranks: UnrollRanks | None = None,
    ) -> PolicyUnroll:
        """Split a batch. The inner KL is over the full vocabulary, for low variance, in every run."""
        inner, outer = (batch.take(groups) for groups in split_groups(batch, groups))
        tokens = [part.rollout.completion_mask.sum().double() for part in (inner, outer)]
        counts = [*tokens, rewards_differ(batch.rewards).sum().double()]
        inner_tokens, outer_tokens, informative = counts if ranks is None else ranks.mean(counts)
        full_kl = grpo.model_copy(update={"kl_estimator": "full"})
        of_batch = (batch, inner, outer, inner_tokens, outer_tokens, informative)
        return cls(model, *of_batch, full_kl, weighting, controller, precision, ranks)

    @property
    def params(self) -> dict[str, Tensor]:
        """The trained parameters by name; frozen ones stay the model's own."""
        return {name: value for name, value in self.model.named_parameters() if value.requires_grad}

    def inner(self, params: Params, coefficients: CoefficientTensors, k: int) -> Tensor:
        """Policy loss (scalar); the same sequences at every inner step."""
        del k
        loss = self._evaluate(self.inner_batch, params, coefficients, self.inner_tokens).loss
        # an unroll refuses a coefficient that nothing depends on; here that is known, and its derivatives are 0
        return loss + 0.0 * coefficients[0] if self.weighting.tau is None else loss

    def outer(self, params: Params, coefficients: CoefficientTensors) -> Tensor:
        """H and KL, ``[2]`` (nats). Those of the weights do not depend on θ, so they are means over the whole batch.

        0 stands for a signal of weights where the weighting has none: then no coefficient is moved by it.
        """
        entropy, kl = self._of_weights(coefficients)
        if {"policy_entropy", "policy_kl"} & {self.controller.entropy_signal, self.controller.kl_signal}:
            terms = self._evaluate(self.outer_batch, params, coefficients, self.outer_tokens)
            if self.controller.entropy_signal == "policy_entropy":
                entropy = terms.token_entropy.sum().double() / self.outer_tokens
            if self.controller.kl_signal == "policy_kl":
                kl = terms.mean_kl(self.outer_tokens).double()
        return torch.stack([entropy, kl])

    def _of_weights(self, coefficients: CoefficientTensors) -> _WeightSignals:
        """H and KL of the weights. H over informative groups is 0 where there are none: then no rank counts it."""
        rho = self.batch.ref_logprobs.double()  # in float32, dH/dτ loses its sign where weights are nearly flat or 0
        if self.batch.log_q is None:
            return _WeightSignals(rho.new_zeros(()), rho.new_zeros(()))
        chosen = weight_coefficients(*coefficients, self.weighting.reference_in_weights)
        weights = group_weights(self.batch.log_q.double(), rho, *chosen)
        entropies, kl = weight_entropy(weights), weight_kl(weights, rho).mean()
        if self.controller.entropy_signal != "informative_weight_entropy":
            return _WeightSignals(entropies.mean(), kl)
        informative = torch.where(rewards_differ(self.batch.rewards), entropies, 0.0).sum()
        return _WeightSignals(informative / torch.where(self.informative_groups > 0, self.informative_groups, 1.0), kl)

    def policy_kl(self, coefficients: CoefficientTensors) -> Tensor:
        """KL of the model's present parameters on ``outer_batch`` (nats per token)."""
        with torch.no_grad():
            terms = self._evaluate(self.outer_batch, self.params, coefficients, self.outer_tokens)
            return terms.mean_kl(self.outer_tokens).double()

    def _evaluate(
        self, groups: PreparedBatch, params: Params, coefficients: CoefficientTensors, tokens: Tensor
    ) -> LossTerms:
        # a context for each pass: autocast would otherwise keep a copy of every step's parameters until the end
        with self.precision():
            return policy_loss(
                self.model,
                groups,
                *coefficients,
                grpo=self.grpo,
                weighting=self.weighting,
                params=params,
                kl_tokens=tokens.to(groups.rewards.dtype),
            )


def split_groups(batch: PreparedBatch, groups: int) -> tuple[slice, slice]:
    """Groups that the inner steps run over, and groups that H and KL are measured on afterwards.

    Disjoint, so at most half of the batch each: inner steps lower KL on their own sequences more than anywhere else,
    and a measurement on these would be biased. A batch of a single group serves for both.
    """
    count_all = batch.rollout.group_count
    count = max(1, min(groups, count_all // 2))
    start = min(count, count_all - count)
    return slice(0, count), slice(start, start + count)
