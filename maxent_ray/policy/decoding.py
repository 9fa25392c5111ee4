"""Decoding of completions: the text that the sampled tokens add to the prompt, with nothing left out.

Symbols: N sequences, P prompt tokens, C completion tokens.
"""

from __future__ import annotations

from itertools import chain, islice

from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from maxent_ray.policy.loading import Policy

WITHOUT_TEXT = "\ufffd"
"""What a token without a text reads as: the Unicode replacement character, as bytes that are no UTF-8 do."""

_BYTES_OF_A_CHARACTER = 4


def decode_completions(
    policy: Policy,
    prompt_ids: Int[Tensor, "N P"],
    completion_ids: Int[Tensor, "N C"],
    completion_mask: Bool[Tensor, "N C"],
) -> list[str]:
    """Read completions as they continue their prompts, for a grader.

    Every sampled token leaves a trace: special tokens are spelled out, and a token without a text (a row of the
    model that the tokenizer knows nothing of, an empty entry of its vocabulary) reads as `WITHOUT_TEXT`. Only
    the end-of-sequence token and padding are left out.

    Args:
        policy: Its tokenizer reads, and its end tokens are left out.
        prompt_ids: The prompts, padded on the left.
        completion_ids: The sampled tokens.
        completion_mask: True at every sampled token, the end included.

    Returns:
        The N texts. A leading space is kept where the tokens have one, as in "A: 7", whose answer is " 7".

    Example:
        >>> import torch
        >>> from maxent_ray.policy import encode_prompts, load_policy
        >>> policy = load_policy("embedded", device=torch.device("cpu"))
        >>> prompt, _ = encode_prompts(policy, ["3,5,7=22:"])
        >>> answer, mask = encode_prompts(policy, ["7+5*3$"])
        >>> decode_completions(policy, prompt, answer, mask.bool())
        ['7+5*3']
    """
    tokenizer, ends = policy.tokenizer, policy.end_ids
    rows = zip(completion_ids.tolist(), completion_mask.sum(dim=1).tolist(), strict=True)
    answers = [[token for token in ids[:length] if token not in ends] for ids, length in rows]
    tails = [tuple(tail) for tail in prompt_ids[:, -_BYTES_OF_A_CHARACTER:].tolist()]
    context_of = {tail: _context(tokenizer, list(tail)) for tail in set(tails)}
    contexts = [context_of[tail] for tail in tails]
    drawn = set(chain.from_iterable(answers))
    unknown = drawn - _known(tokenizer, drawn)
    silent = _silent(tokenizer, contexts[0], drawn - unknown)
    parts = [
        _readable_parts(tokenizer, context, answer, unknown, silent)
        for context, answer in zip(contexts, answers, strict=True)
    ]
    places = [(context, part) for context, split in zip(contexts, parts, strict=True) for part in split]
    texts = iter(_read_after(tokenizer, places))
    return [WITHOUT_TEXT.join(islice(texts, len(split))) for split in parts]


def read_tokens(tokenizer: PreTrainedTokenizerBase, rows: list[list[int]]) -> list[str]:
    """Decode rows of tokens as they are: special tokens spelled out, spaces not tidied.

    Example:
        >>> from maxent_ray.policy.tokenizer import build_character_tokenizer
        >>> read_tokens(build_character_tokenizer(), [[3, 4, 0], [22]])
        ['12<pad>', ' ']
    """
    texts: list[str] = tokenizer.batch_decode(rows, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return texts


def _known(tokenizer: PreTrainedTokenizerBase, ids: set[int]) -> set[int]:
    """Select the tokens of the vocabulary; other ids are rows of the model only."""
    if tokenizer.is_fast:
        return {token for token in ids if tokenizer.convert_ids_to_tokens(token) is not None}
    return ids & set(tokenizer.get_vocab().values())  # tokenizers in Python invent a text, or raise


def _context(tokenizer: PreTrainedTokenizerBase, tail: list[int]) -> list[int]:
    """Select the last token of a prompt, or as many as its last character has."""
    ends = [tail[start:] for start in reversed(range(len(tail)))]
    return next(
        (end for end, text in zip(ends, read_tokens(tokenizer, ends), strict=True) if WITHOUT_TEXT not in text), tail
    )


def _silent(tokenizer: PreTrainedTokenizerBase, context: list[int], ids: set[int]) -> set[int]:
    """Select the tokens that add no text to the context; a byte of a longer character may be one of them."""
    before, *after = read_tokens(tokenizer, [context, *([*context, token] for token in ids)])
    return {token for token, text in zip(ids, after, strict=True) if text == before}


def _readable_parts(
    tokenizer: PreTrainedTokenizerBase, context: list[int], answer: list[int], unknown: set[int], silent: set[int]
) -> list[list[int]]:
    """Split an answer at its tokens without a text."""
    parts: list[list[int]] = [[]]
    for place, token in enumerate(answer):
        if token in unknown or (token in silent and _adds_nothing(tokenizer, context, answer, place, unknown)):
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _adds_nothing(
    tokenizer: PreTrainedTokenizerBase, context: list[int], answer: list[int], place: int, unknown: set[int]
) -> bool:
    """Tell whether a token's neighbourhood reads the same without it, as it does not for a byte of a character."""
    reach = _BYTES_OF_A_CHARACTER - 1
    before = [token for token in answer[max(0, place - reach) : place] if token not in unknown]
    after = [token for token in answer[place + 1 : place + 1 + reach] if token not in unknown]
    with_it, without_it = read_tokens(
        tokenizer, [[*context, *before, answer[place], *after], [*context, *before, *after]]
    )
    return with_it == without_it


def _read_after(tokenizer: PreTrainedTokenizerBase, places: list[tuple[list[int], list[int]]]) -> list[str]:
    """Read tokens as they follow others: decoders strip the space at the start of a text read alone."""
    before = read_tokens(tokenizer, [context for context, _ in places])
    texts = read_tokens(tokenizer, [[*context, *part] for context, part in places])
    return [
        # Not a prefix: both ends were bytes, of which a decoder made one unreadable run.
        text.removeprefix(start) if text.startswith(start) else read_tokens(tokenizer, [part])[0]
        for text, start, (_, part) in zip(texts, before, places, strict=True)
    ]
