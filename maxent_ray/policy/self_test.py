"""Self-test of a model: log-probabilities in a padded batch and with a cache, against each sequence alone.

Sampling pads prompts on the left, keeps a cache, copies it for the completions of a group, and selects from it the
sequences that have not ended; scoring pads on both sides. A family may ignore the mask, count positions in another way
or keep its state elsewhere, and still answer: from another distribution. So a model is measured before it is used, by
the same code that samples and scores.

Symbols: B prompts, G completions each, N = B·G sequences, C completion tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PretrainedConfig, PreTrainedModel

from maxent_ray.errors import PolicyLoadError
from maxent_ray.policy.forward import extend, last_logits, prefill, take_rows
from maxent_ray.policy.position_limit import position_limit

_LENGTHS = (3, 20, 48)
"""Tokens of the prompts: all but the longest are padded. Some mistakes begin only after tens of tokens."""
_WINDOWS = ("sliding_window", "attention_chunk_size", "attention_window_size", "window_size", "local_attention")
"""Names in configurations of the number of tokens that local attention reaches; each family has one, or none."""
_LONGEST_WINDOW = 256
"""A longer one is not passed: the test would take many times as long."""
_BEYOND_WINDOW = 8
_GROUP_SIZE = 2
_NEW_TOKENS = 4
_ROUNDING = {torch.float64: 1e-3, torch.float32: 1e-3, torch.bfloat16: 0.2, torch.float16: 0.2}
"""Largest difference of log-probabilities that is put down to rounding (nats a token)."""
_TEMPERATURE = 4.0
"""Of the weights of the differences."""


class _Sequences(NamedTuple):
    """Random tokens: prompts of different lengths, and the completions of each."""

    prompts: list[Int[Tensor, "P"]]
    completions: Int[Tensor, "N C"]
    other_last: Int[Tensor, "N"]
    """A token for each that differs from its last."""
    padding: int

    def alone(self, row: int) -> Int[Tensor, "T"]:
        """One sequence, without padding."""
        return torch.cat([self.prompts[row // _GROUP_SIZE], self.completions[row]])

    def padded(self) -> tuple[Int[Tensor, "B P"], Int[Tensor, "B P"]]:
        """The prompts padded on the left, and 1 where they are real."""
        ids = pad_sequence(self.prompts, batch_first=True, padding_value=self.padding, padding_side="left")
        mask = pad_sequence([torch.ones_like(ids) for ids in self.prompts], batch_first=True, padding_side="left")
        return ids, mask


def self_test(
    model: PreTrainedModel,
    tokens: Int[Tensor, "n"],
    padding: int,
    precision: Callable[[], AbstractContextManager[object]],
) -> None:
    """Check that padding, cache and later tokens leave a model's log-probabilities as they are.

    In full precision, and again in `precision` where that is lower. Deterministic, without the global generator.

    Args:
        model: In evaluation mode.
        tokens: Ordinary tokens of its vocabulary; the test draws from them.
        padding: The token that pads.
        precision: Creates the context of a forward pass, such as autocast to bfloat16.

    Raises:
        PolicyLoadError: They do not; the message is the reason.

    Example:
        >>> from contextlib import nullcontext
        >>> from maxent_ray.policy import load_policy
        >>> model = load_policy("embedded", device=torch.device("cpu")).model
        >>> self_test(model, torch.arange(2, 23), 0, nullcontext)
    """
    device = model.device
    sequences = _draw(tokens.to(device), padding, _lengths(model.config))
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        _compare(model, sequences, _ROUNDING[model.dtype])
    with torch.no_grad(), precision():
        if torch.is_autocast_enabled(device.type):
            _compare(model, sequences, _ROUNDING[torch.get_autocast_dtype(device.type)])


def _lengths(config: PretrainedConfig) -> list[int]:
    """Tokens of the prompts: the longest is past a window, and all leave positions for the completions."""
    text, limit = config.get_text_config(decoder=True), position_limit(config)
    windows = [size for name in _WINDOWS if isinstance(size := getattr(text, name, None), int)]
    past = [size + _BEYOND_WINDOW for size in windows if size <= _LONGEST_WINDOW]
    wanted = [*_LENGTHS[:-1], max([_LENGTHS[-1], *past])]
    return wanted if limit is None else [max(1, min(length, limit - _NEW_TOKENS)) for length in wanted]


def _draw(tokens: Int[Tensor, "n"], padding: int, lengths: list[int]) -> _Sequences:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randint(len(tokens), shape, generator=generator).to(tokens.device)

    prompts = [tokens[random(length)] for length in lengths]
    drawn = random(len(lengths) * _GROUP_SIZE, _NEW_TOKENS)
    return _Sequences(prompts, tokens[drawn], tokens[(drawn[:, -1] + 1) % len(tokens)], padding)


def _compare(model: PreTrainedModel, sequences: _Sequences, rounding: float) -> None:
    """Raise the first comparison that fails, or that cannot be made, as the reason."""
    rows = range(len(sequences.completions))
    last = rows[-1:]
    changed = torch.cat([sequences.completions[:, :-1], sequences.other_last[:, None]], dim=1)
    other = sequences._replace(completions=changed)
    alone = _tried("a plain forward pass", lambda: _alone(model, sequences, rows))
    if alone.isnan().any():
        raise PolicyLoadError("a plain forward pass gives log-probabilities that are not numbers")
    for what, compared, compute in (
        ("reading the same tokens again", last, lambda: _alone(model, sequences, last)),
        ("a later token", last, lambda: _alone(model, other, last)),
        ("padding in a batch", rows, lambda: _scored(model, sequences, alone)),
        ("sampling token by token with a cache", rows, lambda: _decoded(model, sequences, alone)),
    ):
        difference = _difference(alone[list(compared)], _tried(what, compute))
        if not difference <= rounding:  # nan is no agreement
            raise PolicyLoadError(f"{what} changes its log-probabilities by {difference:.2g} nats a token")


def _tried(what: str, compute: Callable[[], Tensor]) -> Tensor:
    """Whatever a family's own code raises is the reason why it cannot be used."""
    try:
        return compute()
    except (MemoryError, torch.OutOfMemoryError):  # no fault of the family
        raise
    except Exception as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise PolicyLoadError(f"{what} fails ({line})") from error


def _alone(model: PreTrainedModel, sequences: _Sequences, rows: range) -> Float[Tensor, "n C V"]:
    """Log-probabilities of the completions, each sequence alone in a plain forward pass."""
    logits = [model(sequences.alone(row)[None]).logits[0, -_NEW_TOKENS - 1 : -1] for row in rows]
    return _logprobs(torch.stack(logits))


def _scored(model: PreTrainedModel, sequences: _Sequences, alone: Float[Tensor, "N C V"]) -> Float[Tensor, "N C V"]:
    """The same as scoring computes them, where the first completion ends early; there as `alone` has them."""
    prompt_ids, prompt_mask = (part.repeat_interleave(_GROUP_SIZE, dim=0) for part in sequences.padded())
    real = torch.ones_like(sequences.completions)
    real[0, _NEW_TOKENS // 2 :] = 0
    completions = sequences.completions.where(real.bool(), sequences.padding)
    ids = torch.cat([prompt_ids, completions], dim=1)[:, :-1]
    mask = torch.cat([prompt_mask, real], dim=1)[:, :-1]
    return _logprobs(last_logits(model, ids, mask, _NEW_TOKENS)).where(real.bool()[..., None], alone)


def _decoded(model: PreTrainedModel, sequences: _Sequences, alone: Float[Tensor, "N C V"]) -> Float[Tensor, "N C V"]:
    """The same as sampling computes them, where the first sequence leaves after half its tokens; then as in `alone`."""
    growing = prefill(model, *sequences.padded(), _GROUP_SIZE)
    rows = torch.arange(len(alone), device=alone.device)
    found = alone.clone()
    found[:, 0] = _logprobs(growing.logits)
    for column in range(1, _NEW_TOKENS):
        if column == _NEW_TOKENS // 2 and growing.can_leave:
            growing, rows = take_rows(growing, rows[1:]), rows[1:]
        growing = extend(model, growing, sequences.completions[rows, column - 1, None])
        found[rows, column] = _logprobs(growing.logits)
    return found


def _logprobs(logits: Float[Tensor, "*n V"]) -> Float[Tensor, "*n V"]:
    return torch.log_softmax(logits.double(), dim=-1)


def _difference(alone: Float[Tensor, "n C V"], other: Float[Tensor, "n C V"]) -> float:
    """Mean of |Δ log π| over all tokens (nats), under π at a high temperature, so that a peaked one hides nothing.

    Outcomes without probability, as masked ones, count nothing.
    """
    weights = torch.softmax(alone / _TEMPERATURE, dim=-1)
    return float((weights * (alone - other).abs()).where(weights > 0, 0.0).sum(-1).mean())
