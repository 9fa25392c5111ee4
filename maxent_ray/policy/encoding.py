"""Encoding of prompts: left-padded token batches, and the positions of their tokens.

Symbols: B prompts, P prompt tokens, N sequences, T tokens of a sequence.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from maxent_ray.errors import TaskError
from maxent_ray.policy.decoding import read_tokens
from maxent_ray.policy.loading import Policy
from maxent_ray.policy.vocabulary import embedded_tokens

_BESIDE_PUNCTUATION = re.compile(r"(?<=[^\w\s]) +| +(?=[^\w\s])")


def encode_prompts(policy: Policy, prompts: Sequence[str]) -> tuple[Int[Tensor, "B P"], Int[Tensor, "B P"]]:
    """Tokenize prompts into one left-padded batch.

    What the tokenizer's template adds in front of a text (a beginning-of-sequence token) is asked too; what it
    adds behind (an end or a separator) is left out, since the answer continues the prompt.

    Args:
        policy: Its tokenizer and device are used.
        prompts: B texts.

    Returns:
        Tokens, and 1 where they are real.

    Raises:
        TaskError: There is no prompt, or one has no token, or does not come back from its tokens as it was,
            apart from spaces that a decoder adds, or cleans up beside punctuation, white space at its ends and
            beside special tokens, and canonically equivalent Unicode.

    Example:
        >>> from maxent_ray.policy import load_policy
        >>> ids, mask = encode_prompts(load_policy("embedded", device=torch.device("cpu")), ["2,3=5:", "3=3:"])
        >>> mask.tolist()
        [[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]]
    """
    if not prompts:
        raise TaskError("prompts is empty; it must hold at least one prompt")
    rows = [_encode(policy, prompt) for prompt in prompts]
    padding = [max(map(len, rows)) - len(row) for row in rows]
    pad = int(policy.tokenizer.pad_token_id)
    ids = torch.tensor([[pad] * gap + row for gap, row in zip(padding, rows, strict=True)])
    mask = torch.tensor([[0] * gap + [1] * len(row) for gap, row in zip(padding, rows, strict=True)])
    return ids.to(policy.device), mask.to(policy.device)


def positions(attention_mask: Int[Tensor, "N T"]) -> Int[Tensor, "N T"]:
    """Number the real tokens of each row from 0, so that left padding shifts nothing.

    Example:
        >>> positions(torch.tensor([[0, 0, 1, 1, 1]]))
        tensor([[0, 0, 0, 1, 2]])
    """
    return (attention_mask.cumsum(dim=-1) - 1).clamp(min=0)


def _encode(policy: Policy, prompt: str) -> list[int]:
    try:
        encoded = policy.tokenizer(prompt, return_special_tokens_mask=True)
    except Exception as error:  # tokenizers raises it bare, for a character and no unknown token
        raise TaskError(
            f"prompt {prompt!r} cannot be encoded by the tokenizer of policy {policy.name!r} ({error}); "
            "write it in characters that the tokenizer has, or choose another model"
        ) from error
    ids: list[int] = encoded["input_ids"]
    own = [place for place, added in enumerate(encoded["special_tokens_mask"]) if not added]
    if not own:
        raise TaskError(f"prompt {prompt!r} has no token; it cannot be given to policy {policy.name!r}")
    beyond = [token for token in ids if token >= embedded_tokens(policy.model)]
    if beyond:
        raise TaskError(
            f"prompt {prompt!r} holds {read_tokens(policy.tokenizer, [beyond])[0]!r}, which the tokenizer of policy "
            f"{policy.name!r} has and its model has not; write the prompt without it, or choose another model"
        )
    [read] = read_tokens(policy.tokenizer, [ids[own[0] : own[-1] + 1]])
    if not _is_same_text(policy.tokenizer, prompt, read):
        raise _changed(policy, prompt, read)
    return ids[: own[-1] + 1]


def _is_same_text(tokenizer: PreTrainedTokenizerBase, prompt: str, read: str) -> bool:
    """Compare between special tokens, beside which tokenizers may drop white space as they may at the ends."""
    if prompt == read:
        return True
    special = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    spelled = "|".join(re.escape(token) for token in sorted(special, key=len, reverse=True) if token.strip())
    wanted, found = (re.split(f"({spelled or '(?!)'})", text) for text in (prompt, read))
    needed = (_BESIDE_PUNCTUATION.sub("", _bare(part)) for part in wanted)
    return len(wanted) == len(found) and all(map(_has_only_more_spaces, needed, map(_bare, found)))


def _bare(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())


def _has_only_more_spaces(text: str, read: str) -> bool:
    """Tell whether `read` is `text` with spaces put in, as decoders do between tokens."""
    place = 0
    for character in read:
        if text[place : place + 1] == character:
            place += 1
        elif character != " ":
            return False
    return place == len(text)


def _changed(policy: Policy, prompt: str, read: str) -> TaskError:
    lost = [repr(each) for each in dict.fromkeys(prompt) if prompt.count(each) > read.count(each)]
    what = f"holds {' and '.join(lost)}, which it loses" if lost else "does not stay as it is"
    return TaskError(
        f"prompt {prompt!r} {what} in the tokenizer of policy {policy.name!r}: the policy would be asked {read!r}; "
        "write the prompt in text that the tokenizer keeps, or choose another model"
    )
