"""Encoding of prompts: left-padded token batches, and the positions of their tokens.

Symbols: B prompts, P prompt tokens, N sequences, T tokens of a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from maxent_ray.errors import TaskError
from maxent_ray.policy.loading import Policy


def encode_prompts(policy: Policy, prompts: Sequence[str]) -> tuple[Int[Tensor, "B P"], Int[Tensor, "B P"]]:
    """Tokenize prompts into one left-padded batch.

    Args:
        policy: Its tokenizer and device are used.
        prompts: B texts.

    Returns:
        Tokens, and 1 where they are real.

    Raises:
        TaskError: There is no prompt, or one has no token or a character that the tokenizer does not know.

    Example:
        >>> from maxent_ray.policy import load_policy
        >>> ids, mask = encode_prompts(load_policy("embedded", device=torch.device("cpu")), ["2,3=5:", "3=3:"])
        >>> mask.tolist()
        [[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]]
    """
    if not prompts:
        raise TaskError("prompts is empty; it must hold at least one prompt")
    tokenizer = policy.tokenizer
    batch = tokenizer(list(prompts), padding=True, padding_side="left", return_tensors="pt")
    ids, mask = batch["input_ids"], batch["attention_mask"]
    foreign = _unknown_tokens(policy, ids).any(dim=1).tolist()
    for prompt, bad, length in zip(prompts, foreign, mask.sum(dim=1).tolist(), strict=True):
        if bad or length == 0:
            reason = "holds characters that the tokenizer does not know" if bad else "has no token"
            raise TaskError(f"prompt {prompt!r} {reason}; it cannot be given to policy {policy.name!r}")
    return ids.to(policy.device), mask.to(policy.device)


def positions(attention_mask: Int[Tensor, "N T"]) -> Int[Tensor, "N T"]:
    """Number the real tokens of each row from 0, so that left padding shifts nothing.

    Example:
        >>> positions(torch.tensor([[0, 0, 1, 1, 1]]))
        tensor([[0, 0, 0, 1, 2]])
    """
    return (attention_mask.cumsum(dim=-1) - 1).clamp(min=0)


def _unknown_tokens(policy: Policy, ids: Int[Tensor, "B P"]) -> Bool[Tensor, "B P"]:
    """Mark unknown tokens, unless the tokenizer uses that id for another special token too."""
    tokenizer = policy.tokenizer
    proper = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    if tokenizer.unk_token_id is None or tokenizer.unk_token_id in proper:
        return torch.zeros_like(ids, dtype=torch.bool)
    return torch.eq(ids, int(tokenizer.unk_token_id))
