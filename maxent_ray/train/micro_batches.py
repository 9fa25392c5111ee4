"""Micro-batches: the sequences of a batch in parts that fit into memory, each as wide as its longest sequence."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from maxent_ray.policy import Predictions, Rollout, predict
from maxent_ray.policy.sharding import most_of_ranks


def split_rows(rollout: Rollout, most_tokens: int | None) -> list[Tensor]:
    """Divide the sequences of a rollout, so that those of similar length are together.

    Args:
        rollout: The sampled sequences.
        most_tokens: Most tokens of a part, padding counted; a longer sequence is a part of its own. None: one part.

    Returns:
        Row numbers of each part, the longest completions first; on the rollout's device.

    Example:
        >>> ids, ones = torch.zeros(3, 5, dtype=torch.long), torch.ones(3, 5, dtype=torch.long)
        >>> done = torch.tensor([[True, False, False], [True, True, True], [True, False, False]])
        >>> ones[:, 2:] = done.long()
        >>> rollout = Rollout(ids, ones, done, ["a", "b", "c"], prompt_length=2, group_size=1)
        >>> [part.tolist() for part in split_rows(rollout, most_tokens=6)]
        [[1], [0, 2]]
    """
    prompts = rollout.attention_mask[:, : rollout.prompt_length].sum(dim=1).tolist()
    completions = rollout.completion_mask.sum(dim=1).tolist()
    rows = range(len(completions))
    if most_tokens is None:
        return [torch.arange(len(completions), device=rollout.input_ids.device)]
    parts: list[list[int]] = []
    longest = (0, 0)
    for row in sorted(rows, key=lambda row: (-completions[row], -prompts[row])):
        longest = max(longest[0], prompts[row]), max(longest[1], completions[row])
        if not parts or sum(longest) * (len(parts[-1]) + 1) > most_tokens:
            parts.append([])
            longest = prompts[row], completions[row]
        parts[-1].append(row)
    return [torch.tensor(part, device=rollout.input_ids.device) for part in parts]


def parts_of_ranks(network: nn.Module, rollout: Rollout, most_tokens: int | None) -> list[Tensor]:
    """Divide the sequences of a rollout for the passes of a network.

    Where ranks share its parameters they make equally many passes: those with fewer parts halve their largest ones.

    Args:
        network: The policy or the reference.
        rollout: The sampled sequences, as many on every rank.
        most_tokens: As in :func:`split_rows`.

    Returns:
        As :func:`split_rows`.
    """
    parts = split_rows(rollout, most_tokens)
    return halved(parts, most_of_ranks(network, len(parts)))


def halved(parts: list[Tensor], least: int) -> list[Tensor]:
    """Halve the largest parts until there are enough.

    Example:
        >>> [part.tolist() for part in halved([torch.tensor([4, 0, 2]), torch.tensor([3, 1])], least=3)]
        [[4, 0], [2], [3, 1]]
    """
    while len(parts) < least:
        place = max(range(len(parts)), key=lambda place: len(parts[place]))
        parts = [*parts[:place], *parts[place].tensor_split(2), *parts[place + 1 :]]
    return parts


def predict_in_parts(
    network: nn.Module, rollout: Rollout, most_tokens: int | None, temperature: float
) -> Predictions:
    """Read the sequences of a rollout part by part, without gradients.

    Args:
        network: The policy or the reference.
        rollout: The sampled sequences.
        most_tokens: As in :func:`split_rows`.
        temperature: The temperature of the sampling.

    Example:
        >>> from maxent_ray.policy import load_policy, sample_groups
        >>> policy = load_policy("embedded", device=torch.device("cpu"))
        >>> rollout = sample_groups(
        ...     policy, ["2,3,4=9:"], group_size=2, max_new_tokens=8, temperature=1.0, seed=0
        ... )
        >>> predict_in_parts(policy.model, rollout, 16, 1.0).states.shape[0]
        2
    """
    parts = parts_of_ranks(network, rollout, most_tokens)
    with torch.no_grad():
        if len(parts) == 1:
            return predict(network, rollout, temperature=temperature)
        found = [predict(network, rollout.select(rows), temperature=temperature) for rows in parts]
    states = found[0].states.new_zeros(*rollout.completion_mask.shape, found[0].states.shape[-1])
    for rows, part in zip(parts, found, strict=True):
        states[rows, : part.states.shape[1]] = part.states
    return replace(found[0], states=states)
