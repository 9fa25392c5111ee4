"""Gradient of the policy loss, a micro-batch at a time: memory grows with a pass, not with the batch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from maxent_ray.config import GRPOConfig
from maxent_ray.core.state import Coefficients
from maxent_ray.core.weightings import Weighting
from maxent_ray.errors import ResourceError
from maxent_ray.policy import sampled_logprobs, sequence_mean
from maxent_ray.policy.output_head import unwrapped
from maxent_ray.policy.sharding import is_sharded
from maxent_ray.train.batch import PreparedBatch
from maxent_ray.train.loss import LossTerms, policy_loss, row_coefficients, terms_of, values_of
from maxent_ray.train.memory import is_out_of_memory
from maxent_ray.train.micro_batches import parts_of_ranks, predict_in_parts, split_rows
from maxent_ray.train.policy_and_task import Precision


@dataclass(frozen=True)
class PolicyGradient:
    """Gradient of one batch's loss at τ and β, in passes of some sequences.

    Args:
        network: The policy's network; may be in ``DistributedDataParallel``, or divided among ranks.
        batch: What was sampled.
        coefficients: τ and β.
        grpo: Size of a pass, temperature, KL estimator and chunks.
        weighting: From rewards to coefficients of log-probabilities.
        kl_tokens: Mean over ranks of the completion tokens.
        weights: ``[B, G]`` the groups' weights, of a weighting that has some.
        precision: Creates the context of a forward pass, such as autocast to bfloat16.
    """

    network: nn.Module
    batch: PreparedBatch
    coefficients: Coefficients
    grpo: GRPOConfig
    weighting: Weighting
    kl_tokens: Tensor
    weights: Float[Tensor, "B G"] | None
    precision: Precision

    def backward(self) -> LossTerms:
        """Add the gradient of the whole batch's loss to the parameters' ``grad``.

        It is that gradient whatever the split. Data parallelism averages it once, in the last pass; where parameters
        are divided among ranks, so are gradients, which every pass averages.

        Returns:
            The loss of the whole batch and its token values, detached.

        Raises:
            ResourceError: memory ran out; the message has the size of a pass that fits. The gradients are void.
        """
        parts = parts_of_ranks(self.network, self.batch.rollout, self.grpo.micro_batch_tokens)
        failure = ""
        try:
            return self._in_one_pass() if len(parts) == 1 else self._in_passes(parts)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failure = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ResourceError(f"{failure}. {self._advice(parts)}")  # outside the handler, where no graph is alive

    def _in_one_pass(self) -> LossTerms:
        with self.precision():
            terms = policy_loss(
                self.network,
                self.batch,
                self.coefficients.tau,
                self.coefficients.beta,
                grpo=self.grpo,
                weighting=self.weighting,
                kl_tokens=self.kl_tokens,
                weights=self.weights,
                entropy_gradient=False,
            )
        return _backward(terms)

    def _in_passes(self, parts: Sequence[Tensor]) -> LossTerms:
        shares, passes = self._shares(), []
        for place, rows in enumerate(parts, start=1):
            with _without_averaging(self.network) if place < len(parts) else nullcontext():
                passes.append(self._pass(self.network, rows, shares))
        shape = self.batch.rollout.completion_mask.shape
        token_kl, token_entropy = (passes[0].token_kl.new_zeros(shape) for _ in range(2))
        for rows, terms in zip(parts, passes, strict=True):
            width = terms.token_kl.shape[1]
            token_kl[rows, :width], token_entropy[rows, :width] = terms.token_kl, terms.token_entropy
        return LossTerms(torch.stack([terms.loss for terms in passes]).sum(), token_kl, token_entropy)

    def _pass(self, network: nn.Module, rows: Int[Tensor, "n"], shares: Float[Tensor, "N"]) -> LossTerms:
        rollout = self.batch.rollout.select(rows)
        reference = self.batch.ref.take(rows, rollout.completion_mask.shape[1])
        with self.precision():
            values = values_of(network, rollout, reference, self.grpo, entropy_gradient=False)
            beta, tokens = self.coefficients.beta, self.kl_tokens
            terms = terms_of(values, rollout, shares[rows], beta, grpo=self.grpo, kl_tokens=tokens)
        return _backward(terms)

    def _shares(self) -> Float[Tensor, "N"]:
        """Coefficients of all sequences, which those of their group decide on: so they are known before any pass."""
        logprobs = torch.zeros_like(self.batch.rewards)
        if self.weighting.uses_logprobs:
            rollout, grpo = self.batch.rollout, self.grpo
            with self.precision():
                read = predict_in_parts(self.network, rollout, grpo.micro_batch_tokens, grpo.temperature)
                found = sampled_logprobs(read, rollout, chunk_tokens=grpo.chunk_tokens)
            logprobs = sequence_mean(found, rollout.completion_mask).view_as(logprobs)
        return row_coefficients(
            self.batch,
            logprobs,
            self.coefficients.tau,
            self.coefficients.beta,
            grpo=self.grpo,
            weighting=self.weighting,
            weights=self.weights,
        )

    def _advice(self, parts: Sequence[Tensor]) -> str:
        """Find the largest half, quarter, … of the passes that fits, by trying: other ranks need not.

        Where ranks share parameters no pass can be tried alone.
        """
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        tokens = max(self.batch.rollout.select(rows).input_ids.numel() for rows in parts)
        said = f"A forward and backward pass of {tokens} tokens does not fit into memory"
        if is_sharded(self.network):
            return f"{said} of this rank: set grpo.micro_batch_tokens to {max(1, tokens // 2)} or less"
        size = tokens // 2
        while size >= 1:
            longest = split_rows(self.batch.rollout, size)[0]
            if self._fits(longest):
                return f"{said}; {size} tokens do: set grpo.micro_batch_tokens={size}"
            size = size // 2 if len(longest) > 1 else 0
        return (
            f"{said}, and neither does one sequence alone: set a smaller grpo.max_new_tokens or grpo.chunk_tokens, or "
            "take a smaller model"
        )

    def _fits(self, rows: Int[Tensor, "n"]) -> bool:
        network = unwrapped(self.network)
        try:
            self._pass(network, rows, torch.zeros_like(self.batch.rewards).flatten())
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return False
        finally:
            network.zero_grad(set_to_none=True)
        return True


def _backward(terms: LossTerms) -> LossTerms:
    terms.loss.backward()
    return LossTerms(*(term.detach() for term in terms))


def _without_averaging(network: nn.Module) -> AbstractContextManager[object]:
    return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()
