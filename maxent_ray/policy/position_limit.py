"""Longest sequence that a model was made for, and the check that prompts and completions fit into it."""

from __future__ import annotations

from transformers import PretrainedConfig

from maxent_ray.core.field_types import shown
from maxent_ray.errors import ConfigError

_NAMES = ("max_position_embeddings", "max_seq_len", "max_target_positions")
"""Its names in configurations; families that call it n_positions answer to the first name too."""


def position_limit(config: PretrainedConfig) -> int | None:
    """Number of positions that a model knows, or None if it has no limit, as one with states instead of positions.

    A table of learned positions ends there. Rotary positions go on, into what the model never saw; those of type
    `longrope` change at every position once a sequence is longer than `original_max_position_embeddings`, which a
    cache and a batch of several lengths do not follow, so that is their limit.

    Args:
        config: The model's configuration.

    Example:
        >>> from transformers import GPT2Config, MambaConfig
        >>> position_limit(GPT2Config(n_positions=16)), position_limit(MambaConfig())
        (16, None)
    """
    text = config.get_text_config(decoder=True)
    declared = (getattr(text, name, None) for name in _NAMES)  # a family's configuration has one name, or none
    limits = [limit for limit in declared if limit is not None and limit > 0]
    rotary = getattr(text, "rope_parameters", None) or {}  # one set, or one for each kind of layer
    for rope in (rotary, *rotary.values()):
        if isinstance(rope, dict) and rope.get("rope_type") == "longrope":
            limits.append(rope["original_max_position_embeddings"])
    return min(limits, default=None)


def check_length(limit: int | None, prompt_tokens: int, max_new_tokens: int, name: str, prompt: str = "") -> None:
    """Check that the longest sequence fits; its last token is sampled, never read.

    Args:
        limit: From `position_limit`.
        prompt_tokens: Tokens of the longest prompt.
        max_new_tokens: Largest number of tokens in a completion.
        name: Names the model in the error.
        prompt: The longest prompt, to be shown in the error.

    Raises:
        ConfigError: It does not.

    Example:
        >>> check_length(16, prompt_tokens=13, max_new_tokens=14, name="gpt2")
        Traceback (most recent call last):
        maxent_ray.errors.ConfigError: max_new_tokens is 14; model='gpt2' has 16 positions, which leave at most 4 ...
    """
    if limit is None or prompt_tokens + max_new_tokens - 1 <= limit:
        return
    left = limit - prompt_tokens + 1
    room = f"leave at most {left} after" if left > 0 else "are fewer than the tokens of"
    advice = f"set grpo.max_new_tokens={left}, or take" if left > 0 else "take"
    text = f" ({shown(prompt)})" if prompt else ""
    raise ConfigError(
        f"max_new_tokens is {max_new_tokens}; model={name!r} has {limit} positions, which {room} the longest prompt, "
        f"of {prompt_tokens} tokens{text}; {advice} shorter prompts, or a model with more positions"
    )
