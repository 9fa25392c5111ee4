"""Encoding of prompts: left-padded token batches.

Symbols: B prompts, P prompt tokens.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from maxent_ray.errors import TaskError
from maxent_ray.policy.decoding import read_tokens
from maxent_ray.policy.loading import Policy
from maxent_ray.policy.position_limit import check_length, position_limit
from maxent_ray.policy.vocabulary import embedded_tokens

_BESIDE_PUNCTUATION = re.compile(r"(?<=[^\w\s]) +| +(?=[^\w\s])")


def encode_prompts(policy: Policy, prompts: Sequence[str]) -> tuple[Int[Tensor, "B P"], Int[Tensor, "B P"]]:
    """Tokenize prompts into one left-padded batch.

    What the tokenizer's template adds in front of a text (a beginning-of-sequence token) is asked too; what it
    adds behind (an end or a separator) is left out, since the answer continues the prompt. A chat template writes its
    special tokens itself, and nothing is added.

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
    rows = _encode(policy, prompts)
    padding = [max(map(len, rows)) - len(row) for row in rows]
    pad = int(policy.tokenizer.pad_token_id)
    ids = torch.tensor([[pad] * gap + row for gap, row in zip(padding, rows, strict=True)])
    mask = torch.tensor([[0] * gap + [1] * len(row) for gap, row in zip(padding, rows, strict=True)])
    return ids.to(policy.device), mask.to(policy.device)


def check_prompts(policy: Policy, prompts: Sequence[str], *, max_new_tokens: int) -> None:
    """Check that prompts can be asked, and that the longest leaves room for a completion.

    Args:
        policy: Its tokenizer encodes, and its model has the limit.
        prompts: All that it will be asked.
        max_new_tokens: Largest number of tokens in a completion, the end included.

    Raises:
        ConfigError: The longest does not.
        TaskError: The tokenizer changes a prompt; see `encode_prompts`.

    Example:
        >>> from maxent_ray.policy import load_policy
        >>> policy = load_policy("embedded", device=torch.device("cpu"))
        >>> check_prompts(policy, ["2,3=5:", "3=3:"], max_new_tokens=60)
        Traceback (most recent call last):
        maxent_ray.errors.ConfigError: max_new_tokens is 60; model='embedded' has 64 positions, ...
    """
    texts = list(dict.fromkeys(prompts))
    tokens, longest = max(zip(map(len, _encode(policy, texts)), texts, strict=True), key=lambda pair: pair[0])
    check_length(position_limit(policy.model.config), tokens, max_new_tokens, policy.name, longest)


def _encode(policy: Policy, prompts: Sequence[str]) -> list[list[int]]:
    """Encode prompts in one call, and check each."""
    try:
        encoded = _tokens(policy, list(prompts))
    except Exception:  # of some prompt among them
        encoded = _encode_each(policy, prompts)
    rows, own = [], []
    for prompt, ids, added in zip(prompts, encoded["input_ids"], encoded["special_tokens_mask"], strict=True):
        places = [place for place, is_added in enumerate(added) if not is_added]
        if not places:
            raise TaskError(f"prompt {prompt!r} has no token; it cannot be given to policy {policy.name!r}")
        rows.append(ids[: places[-1] + 1])
        own.append(ids[places[0] : places[-1] + 1])
    known = embedded_tokens(policy.model)
    for prompt, ids in zip(prompts, rows, strict=True):
        beyond = list(dict.fromkeys(token for token in ids if token >= known))
        if beyond:
            raise TaskError(
                f"prompt {prompt!r} holds {read_tokens(policy.tokenizer, [beyond])[0]!r}, which the tokenizer of "
                f"policy {policy.name!r} has and its model has not; write the prompt without it, or choose another "
                "model"
            )
    special = _special_tokens(policy.tokenizer)
    for prompt, read in zip(prompts, read_tokens(policy.tokenizer, own), strict=True):
        if not _is_same_text(special, prompt, read):
            raise _changed(policy, prompt, read)
    return rows


def _encode_each(policy: Policy, prompts: Sequence[str]) -> dict[str, list[list[int]]]:
    """Encode prompts one by one, to name the one that cannot be."""
    rows: dict[str, list[list[int]]] = {"input_ids": [], "special_tokens_mask": []}
    for prompt in prompts:
        try:
            encoded = _tokens(policy, prompt)
        except Exception as error:  # tokenizers raises it bare, for a character and no unknown token
            raise TaskError(
                f"prompt {prompt!r} cannot be encoded by the tokenizer of policy {policy.name!r} ({error}); "
                "write it in characters that the tokenizer has, or choose another model"
            ) from error
        for name, found in rows.items():
            found.append(encoded[name])
    return rows


def _tokens(policy: Policy, text: str | list[str]) -> Any:
    return policy.tokenizer(text, add_special_tokens=policy.adds_special_tokens, return_special_tokens_mask=True)


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Match any special token, the longest first; nothing where there is none."""
    special = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    spelled = "|".join(re.escape(token) for token in sorted(special, key=len, reverse=True) if token.strip())
    return re.compile(f"({spelled or '(?!)'})")


def _is_same_text(special: re.Pattern[str], prompt: str, read: str) -> bool:
    """Compare between special tokens, beside which tokenizers may drop white space as they may at the ends."""
    if prompt == read:
        return True
    wanted, found = (special.split(text) for text in (prompt, read))
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
