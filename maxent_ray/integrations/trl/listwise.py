"""GRPOTrainer whose advantages are maximum-entropy weights over each group of completions."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from trl import GRPOTrainer

from maxent_ray.core.measurement import batch_statistics, measure_groups
from maxent_ray.core.statistics import BatchStatistics, CoefficientBounds, merge_all
from maxent_ray.core.weighting import group_weights, listwise_log_q
from maxent_ray.core.weightings import MaxEntWeighting
from maxent_ray.errors import ConfigError

_DEFAULTS = MaxEntWeighting()


class GeneratedGroups(NamedTuple):
    """All processes' groups of one generation whose completions were all rewarded."""

    rewards: Float[Tensor, "B G"]
    log_q: Float[Tensor, "B G"]
    ref_logprobs: Float[Tensor, "B G"]
    """ρ: reference log-probability of each completion, length-normalised by default (nats)."""
    is_rewarded: Float[Tensor, "B 1"]
    """1 for groups whose completions all have a reward, else 0."""

    def advantages(self, tau: float, beta: float) -> Float[Tensor, "N"]:
        """G·(w − 1/G) of each completion, N = B·G; 0 in groups that lack a reward."""
        weights = group_weights(self.log_q, self.ref_logprobs, tau, beta)
        return ((weights * weights.shape[-1] - 1) * self.is_rewarded).flatten()

    def statistics(self, tau: float, beta: float, bounds: CoefficientBounds, share: slice) -> BatchStatistics:
        """Statistics of the weights of a share of the rewarded groups."""
        rows = self.is_rewarded.squeeze(-1).nonzero().squeeze(-1)[share]
        chosen = (self.rewards[rows], self.log_q[rows], self.ref_logprobs[rows])
        no_tokens = torch.zeros(1, 1, device=rows.device)
        return batch_statistics(measure_groups(*chosen, tau, beta), no_tokens, no_tokens, no_tokens > 0, bounds)


class MaxEntGRPOTrainer(GRPOTrainer):  # type: ignore[misc]
    """GRPOTrainer with maximum-entropy GRPO's listwise weights: w ∝ exp((log q + β ρ)/(τ + β)) over each group.

    The advantage of completion i is G·(w_i − 1/G), which with ``loss_type="grpo"`` gives the gradient of
    :func:`~maxent_ray.core.policy_loss.maxent_loss`. Weights are formed again at every optimisation step, with its τ
    and β, also where a generation is used for several. τ and β come from a :class:`MaxEntCallback` among the callbacks.

    Args:
        *args: GRPOTrainer's.
        q_temperature: T_q > 0 of q = softmax(r/T_q), in units of reward.
        q_epsilon: Smoothing mass of q, in [0, 1).
        length_normalize_ref: ρ is a mean over tokens; False: a sum.
        **kwargs: GRPOTrainer's.

    Raises:
        ConfigError: TRL's arguments do not fit group weights; says what to change.
        ValueError: a setting of q is out of range.

    Source: maximum-entropy GRPO, as :mod:`maxent_ray.core.weighting`.
    """

    tau: Any = None
    """Temperature of the weights; set by the callback."""

    def __init__(
        self,
        *args: Any,
        q_temperature: float = _DEFAULTS.q_temperature,
        q_epsilon: float = _DEFAULTS.q_epsilon,
        length_normalize_ref: bool = _DEFAULTS.length_normalize_ref,
        **kwargs: Any,
    ) -> None:
        listwise_log_q(torch.zeros(1, 2), q_temperature, q_epsilon)  # raises now what it would after a generation
        self._q = {"temperature": q_temperature, "epsilon": q_epsilon}
        self._length_normalize_ref = length_normalize_ref
        self._groups: GeneratedGroups
        self._touched: list[GeneratedGroups] = []
        super().__init__(*args, **kwargs)
        _check_arguments(self.args)

    def take_weight_statistics(self, bounds: CoefficientBounds) -> BatchStatistics:
        """This rank's share of the weights' statistics, over the generations used since the last call.

        Sums are 0, over no groups, where this rank has none that was rewarded.
        """
        touched, self._touched = self._touched, []
        share = slice(self.accelerator.process_index, None, self.accelerator.num_processes)
        return merge_all(groups.statistics(self.tau, self.beta, bounds, share) for groups in touched)

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Any:
        """Rewards of all processes' completions, one column a reward function; kept for the weights."""
        self._rewards_per_func = super()._calculate_rewards(*args, **kwargs)
        return self._rewards_per_func

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Add each completion's position among all processes' completions, which survives TRL's shuffle."""
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if not self.model.training:
            return output
        if self.tau is None:
            raise ConfigError("MaxEntGRPOTrainer has no τ; give it callbacks=[MaxEntCallback(target_entropy=…)]")
        self._groups = self._generated_groups(output)
        count = output["advantages"].shape[0]
        first = self.accelerator.process_index * count
        output["group_position"] = torch.arange(first, first + count, device=output["advantages"].device)
        self._logs["advantages"].extend(self._groups.advantages(self.tau, self.beta).tolist())
        return output

    def _generated_groups(self, output: dict[str, Any]) -> GeneratedGroups:
        per_func = self._rewards_per_func
        rewards = (per_func * self.reward_weights.to(per_func.device)).nansum(dim=1).view(-1, self.num_generations)
        is_rewarded = ~per_func.isnan().all(dim=1).view_as(rewards).any(dim=1, keepdim=True)
        mask = output["completion_mask"] * output.get("tool_mask", 1)
        total = (output["ref_per_token_logps"] * mask).sum(dim=1)
        own = total / mask.sum(dim=1).clamp(min=1) if self._length_normalize_ref else total
        return GeneratedGroups(
            rewards=rewards,
            log_q=listwise_log_q(rewards, **self._q),
            ref_logprobs=self.accelerator.gather(own).view_as(rewards),
            is_rewarded=is_rewarded.float(),
        )

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        """TRL's loss, with the weights of this step's τ and β as advantages."""
        if self.model.training:
            if not any(groups is self._groups for groups in self._touched):
                self._touched.append(self._groups)
            position: Int[Tensor, "n"] = inputs["group_position"]
            inputs = {**inputs, "advantages": self._groups.advantages(self.tau, self.beta)[position]}
        return super()._compute_loss(model, inputs)


def _check_arguments(args: Any) -> None:
    if args.loss_type != "grpo":
        raise ConfigError(
            f"loss_type is {args.loss_type!r} in GRPOConfig; it must be 'grpo': the weights are of whole completions, "
            "and other losses count long ones more"
        )
    if args.mask_truncated_completions:
        raise ConfigError(
            "mask_truncated_completions is True in GRPOConfig; it must be False: a masked completion has no reference "
            "log-probability, and its group no weights"
        )
