"""Sample groups of completions from a policy: left-padded batches, each prompt read once, a cache.

Sequences that have ended leave the batch, so that later tokens cost what the longer ones need.

Symbols: B prompts (groups), G completions each, N = B·G sequences, P prompt tokens, C completion tokens,
T = P + C, V vocabulary. Sequences are ordered group by group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float64, Int
from torch import Tensor

from maxent_ray.core.numbers import LARGEST_COUNT, exact_whole
from maxent_ray.errors import ConfigError
from maxent_ray.policy.decoding import decode_completions
from maxent_ray.policy.drawing import draw_tokens, uniform_numbers
from maxent_ray.policy.encoding import encode_prompts
from maxent_ray.policy.forward import extend, prefill, take_rows
from maxent_ray.policy.loading import Policy
from maxent_ray.policy.position_limit import check_length, position_limit
from maxent_ray.policy.sharding import most_of_ranks

_COUNTS = range(1, LARGEST_COUNT + 1)
_SEEDS = range(-(2**63), 2**64)
"""Those that torch takes."""
_RUNNING_SHARE = 0.8
"""Ended sequences leave when no more than this share of the batch is left: leaving copies the cache of the others."""


@dataclass(frozen=True, eq=False)
class Rollout:
    """N = B·G sampled sequences.

    Attributes:
        input_ids: Prompt, padded on the left, then completion, padded on the right.
        attention_mask: 1 at every real token.
        completion_mask: True from the first new token up to and with the end-of-sequence token.
        completions: The N texts, without end and padding; see `decode_completions`.
        prompt_length: P, the width of the prompt part.
        group_size: G.
    """

    input_ids: Int[Tensor, "N T"]
    attention_mask: Int[Tensor, "N T"]
    completion_mask: Bool[Tensor, "N C"]
    completions: list[str]
    prompt_length: int
    group_size: int

    @property
    def completion_ids(self) -> Int[Tensor, "N C"]:
        """The sampled tokens; padding where `completion_mask` is False."""
        return self.input_ids[:, self.prompt_length :]

    @property
    def group_count(self) -> int:
        """B."""
        return len(self.completions) // self.group_size

    def rows(self, groups: slice | Sequence[int]) -> Int[Tensor, "n"]:
        """Row numbers of the sequences of some groups, to index other [N, …] tensors with.

        Args:
            groups: The groups, as a slice or as indices.

        Returns:
            Their sequences, group by group, on the rollout's device.
        """
        chosen = range(self.group_count)[groups] if isinstance(groups, slice) else groups
        grid = torch.arange(len(self.completions), device=self.input_ids.device).view(-1, self.group_size)
        return grid[list(chosen)].flatten()

    def take(self, groups: slice | Sequence[int]) -> Rollout:
        """Select some groups; P and C stay, so rows keep their width.

        Args:
            groups: The groups, as a slice or as indices.

        Returns:
            A rollout of those groups, in the order given.
        """
        rows = self.rows(groups)
        return replace(
            self,
            input_ids=self.input_ids[rows],
            attention_mask=self.attention_mask[rows],
            completion_mask=self.completion_mask[rows],
            completions=[self.completions[row] for row in rows.tolist()],
        )

    def select(self, rows: Int[Tensor, "n"]) -> Rollout:
        """Select some sequences of any groups, each as a group of its own, without the columns that they pad.

        Args:
            rows: Their numbers.

        Returns:
            A rollout that is as wide as its longest prompt and completion.
        """
        mask, done = self.attention_mask[rows], self.completion_mask[rows]
        start = self.prompt_length - int(mask[:, : self.prompt_length].sum(dim=1).max())
        end = self.prompt_length + int(done.sum(dim=1).max())
        return Rollout(
            input_ids=self.input_ids[rows, start:end],
            attention_mask=mask[:, start:end],
            completion_mask=done[:, : end - self.prompt_length],
            completions=[self.completions[row] for row in rows.tolist()],
            prompt_length=self.prompt_length - start,
            group_size=1,
        )


def sample_groups(
    policy: Policy,
    prompts: Sequence[str],
    *,
    group_size: int,
    max_new_tokens: int,
    temperature: float,
    seed: int | Sequence[int],
) -> Rollout:
    """Sample G completions of every prompt from softmax(logits / temperature), without top-k or top-p.

    A function of (weights, prompts, seed) alone on one kind of device: it draws from its own generators and
    does not use the global one. With a seed for each prompt the completions of a prompt do not depend, up to rounding
    of the logits, on the prompts that it is sampled with. Generation settings shipped with the model (top-k, top-p, …)
    are ignored, since scoring must be of the sampled distribution.

    Args:
        policy: The policy; its train or evaluation mode is restored.
        prompts: B texts.
        group_size: G.
        max_new_tokens: Largest number of tokens in a completion, the end included.
        temperature: Divides the logits; > 0.
        seed: Seeds the draws; or B seeds, one for each prompt.

    Returns:
        The sampled sequences; C is the longest completion drawn.

    Raises:
        ConfigError: `group_size` or `max_new_tokens` is no whole number >= 1, or a seed none that torch takes, or
            there are more or fewer seeds than prompts, or `temperature` is not positive, or the model has fewer
            positions than the longest prompt and a completion need.
        TaskError: There is no prompt, or the tokenizer changes one; see `encode_prompts`.
        MaxentRayError: A probability is not finite.

    Example:
        >>> from maxent_ray.policy import load_policy
        >>> policy = load_policy("embedded", device=torch.device("cpu"))
        >>> rollout = sample_groups(
        ...     policy, ["2,3,4=9:"], group_size=2, max_new_tokens=8, temperature=1.0, seed=0
        ... )
        >>> rollout.prompt_length, len(rollout.completions)
        (8, 2)
    """
    group_size = _whole("group_size", group_size, _COUNTS)
    max_new_tokens = _whole("max_new_tokens", max_new_tokens, _COUNTS)
    if not 0.0 < temperature < float("inf"):
        raise ConfigError(f"temperature is {temperature}; it must be finite and > 0")
    prompt_ids, prompt_mask = encode_prompts(policy, prompts)
    seeds = _seeds(seed, len(prompts))
    uniform = uniform_numbers(seeds, len(prompts) * group_size // len(seeds), max_new_tokens).to(policy.device)
    longest = int(prompt_mask.sum(dim=1).max())
    check_length(position_limit(policy.model.config), longest, max_new_tokens, policy.name)
    was_training = policy.model.training
    policy.model.eval()
    try:
        completion_ids, completion_mask = _sample(policy, prompt_ids, prompt_mask, group_size, temperature, uniform)
    finally:
        policy.model.train(was_training)
    prompt_ids = prompt_ids.repeat_interleave(group_size, dim=0)
    prompt_mask = prompt_mask.repeat_interleave(group_size, dim=0)
    return Rollout(
        input_ids=torch.cat([prompt_ids, completion_ids], dim=1),
        attention_mask=torch.cat([prompt_mask, completion_mask.to(prompt_mask.dtype)], dim=1),
        completion_mask=completion_mask,
        completions=decode_completions(policy, prompt_ids, completion_ids, completion_mask),
        prompt_length=prompt_ids.shape[1],
        group_size=group_size,
    )


def _whole(field: str, value: object, allowed: range) -> int:
    """Take a whole number of any library."""
    whole = exact_whole(value)
    if whole is None or whole not in allowed:
        raise ConfigError(f"{field} is {value}; it must be a whole number >= {allowed[0]}, and at most {allowed[-1]}")
    return whole


def _seeds(seed: object, prompts: int) -> list[int]:
    """Take one seed, or one for each prompt."""
    if not isinstance(seed, Sequence):
        return [_whole("seed", seed, _SEEDS)]
    if len(seed) != prompts:
        raise ConfigError(f"seed has {len(seed)} numbers for {prompts} prompts; give one, or as many as prompts")
    return [_whole("seed", each, _SEEDS) for each in seed]


@torch.no_grad()
def _sample(
    policy: Policy,
    prompt_ids: Int[Tensor, "B P"],
    prompt_mask: Int[Tensor, "B P"],
    group_size: int,
    temperature: float,
    uniform: Float64[Tensor, "N M"],
) -> tuple[Int[Tensor, "N C"], Bool[Tensor, "N C"]]:
    """Sample at most M tokens of each sequence, and tell which are real.

    Ranks that share a model go on until the last of them is done: a pass needs all of them.
    """
    ends = torch.tensor(policy.end_ids, device=uniform.device)
    tokens = torch.full_like(uniform, int(policy.tokenizer.pad_token_id), dtype=torch.int64)
    real = torch.zeros_like(uniform, dtype=torch.bool)
    rows = torch.arange(len(uniform), device=uniform.device)  # of the sequences that are still in the batch
    running = torch.ones_like(rows, dtype=torch.bool)
    growing = prefill(policy.model, prompt_ids, prompt_mask, group_size)
    for column in range(uniform.shape[1]):
        probabilities = torch.softmax(growing.logits.float() / temperature, dim=-1)
        drawn = draw_tokens(probabilities, uniform[rows, column])
        tokens[rows[running], column] = drawn[running]
        real[rows, column] = running
        running = running & ~torch.isin(drawn, ends)
        left = int(running.sum())
        if column + 1 == uniform.shape[1] or most_of_ranks(policy.model, left) == 0:
            break
        if growing.can_leave and max(left, 1) <= _RUNNING_SHARE * len(rows):
            stay = running if left > 0 else rows == rows[0]
            growing, rows, running = take_rows(growing, stay.nonzero()[:, 0]), rows[stay], running[stay]
        growing = extend(policy.model, growing, tokens[rows, column, None])  # an ended row gets padding, never read
    longest = int(real.any(dim=0).sum())
    return tokens[:, :longest], real[:, :longest]
