"""Decoding of completions: the text that the sampled tokens add to the prompt, with nothing left out.

Symbols: N sequences, P prompt tokens, C completion tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import NamedTuple

from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from maxent_ray.policy.loading import Policy

WITHOUT_TEXT = "\ufffd"
"""Text of a token without one: the Unicode replacement character, as of bytes that are no UTF-8."""

_BYTES_OF_A_CHARACTER = 4


class _Run(NamedTuple):
    """Tokens that are read together, and the end of the prompt, behind which they are read."""

    context: tuple[int, ...]
    tokens: tuple[int, ...]

    def near(self, place: int) -> _Neighbourhood:
        """A token with all that may be bytes of the same character."""
        start, end = max(0, place + 1 - _BYTES_OF_A_CHARACTER), place + _BYTES_OF_A_CHARACTER
        return _Neighbourhood(self.context + self.tokens[start:place], self.tokens[place], self.tokens[place + 1 : end])

    def split(self, places: Iterable[int]) -> list[_Run]:
        """The runs between the tokens at some places, in order; may be empty."""
        cuts = [-1, *places, len(self.tokens)]
        return [self._replace(tokens=self.tokens[cut + 1 : end]) for cut, end in pairwise(cuts)]


class _Neighbourhood(NamedTuple):
    """A token and those around it."""

    before: tuple[int, ...]
    token: int
    after: tuple[int, ...]


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
    context_of = {tail: _context(tokenizer, tail) for tail in set(tails)}
    drawn = set(chain.from_iterable(answers))
    unknown = drawn - _known(tokenizer, drawn)
    runs = [
        _Run(context_of[tail], tuple(answer)).split(place for place, token in enumerate(answer) if token in unknown)
        for tail, answer in zip(tails, answers, strict=True)
    ]
    silent = _without_text(tokenizer, list(chain.from_iterable(runs)), _maybe_silent(tokenizer, drawn - unknown))
    parts = [[part for run in split for part in run.split(next(silent))] for split in runs]
    texts = _read_after(tokenizer, set(chain.from_iterable(parts)))
    return [WITHOUT_TEXT.join(map(texts.__getitem__, split)) for split in parts]


def read_tokens(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]]) -> list[str]:
    """Decode rows of tokens as they are: special tokens spelled out, spaces not tidied.

    Example:
        >>> from maxent_ray.policy.tokenizer import build_character_tokenizer
        >>> read_tokens(build_character_tokenizer(), [[3, 4, 0], [22]])
        ['12<pad>', ' ']
    """
    if not rows:
        return []  # transformers takes it for one row
    texts: list[str] = tokenizer.batch_decode(
        list(map(list, rows)), skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    return texts


def _known(tokenizer: PreTrainedTokenizerBase, ids: set[int]) -> set[int]:
    """Select the tokens of the vocabulary; other ids are rows of the model only."""
    if tokenizer.is_fast:
        return {token for token in ids if tokenizer.convert_ids_to_tokens(token) is not None}
    return ids & set(tokenizer.get_vocab().values())  # tokenizers in Python invent a text, or raise


def _context(tokenizer: PreTrainedTokenizerBase, tail: tuple[int, ...]) -> tuple[int, ...]:
    """Select the last token of a prompt, or as many as its last character has."""
    ends = [tail[start:] for start in reversed(range(len(tail)))]
    return next(
        (end for end, text in zip(ends, read_tokens(tokenizer, ends), strict=True) if WITHOUT_TEXT not in text), tail
    )


def _maybe_silent(tokenizer: PreTrainedTokenizerBase, ids: set[int]) -> set[int]:
    """Select the tokens that read as nothing alone, or behind themselves; a byte of a character may be one of them."""
    alone, twice = (read_tokens(tokenizer, [[token] * count for token in ids]) for count in (1, 2))
    return {token for token, text, again in zip(ids, alone, twice, strict=True) if not text or text == again}


def _without_text(tokenizer: PreTrainedTokenizerBase, runs: list[_Run], maybe: set[int]) -> Iterator[list[int]]:
    """Find the places of each run whose token, one of some, adds no text there."""
    near = [{place: run.near(place) for place, token in enumerate(run.tokens) if token in maybe} for run in runs]
    same = _same_without(tokenizer, chain.from_iterable(each.values() for each in near))
    return iter([[place for place, each in found.items() if each in same] for found in near])


def _same_without(tokenizer: PreTrainedTokenizerBase, found: Iterable[_Neighbourhood]) -> set[_Neighbourhood]:
    """Select the neighbourhoods that read the same without their token, as those of a character's byte do not."""
    distinct = list(set(found))
    whole = read_tokens(tokenizer, [(*each.before, each.token, *each.after) for each in distinct])
    without = read_tokens(tokenizer, [each.before + each.after for each in distinct])
    return {each for each, text, same in zip(distinct, whole, without, strict=True) if text == same}


def _read_after(tokenizer: PreTrainedTokenizerBase, runs: set[_Run]) -> dict[_Run, str]:
    """Read tokens as they follow others: decoders strip the space at the start of a text read alone."""
    before = read_tokens(tokenizer, [run.context for run in runs])
    texts = read_tokens(tokenizer, [run.context + run.tokens for run in runs])
    return {
        # Not a prefix: both ends were bytes, of which a decoder made one unreadable run.
        run: text.removeprefix(start) if text.startswith(start) else read_tokens(tokenizer, [run.tokens])[0]
        for text, start, run in zip(texts, before, runs, strict=True)
    }
