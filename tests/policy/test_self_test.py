from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import CONFIG_MAPPING, PreTrainedModel

from maxent_ray.errors import PolicyLoadError
from maxent_ray.policy import load_policy
from maxent_ray.policy.self_test import _lengths, self_test
from tests.policy.families import write_model

CPU = torch.device("cpu")
TOKENS = torch.arange(2, 23)


@pytest.fixture
def model() -> PreTrainedModel:
    return load_policy("embedded", device=CPU).model


def bfloat16() -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def change_logits(model: PreTrainedModel, change: Callable[[Tensor, Any], Tensor]) -> None:
    """Pass what the model returns through `change`, with its arguments."""

    def hook(module: object, args: object, kwargs: dict[str, Any], output: Any) -> Any:
        output.logits = change(output.logits, kwargs)
        return output

    model.register_forward_hook(hook, with_kwargs=True)


def test_nothing_is_left_behind(model: PreTrainedModel) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state(), {name: value.clone() for name, value in model.state_dict().items()}
    self_test(model, TOKENS, 0, bfloat16)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert not model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[1][name])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_that_is_random_in_evaluation_mode(model: PreTrainedModel) -> None:
    change_logits(model, lambda logits, _: logits + torch.randn(logits.shape))
    with pytest.raises(PolicyLoadError, match="reading the same tokens again changes its log-probabilities by"):
        self_test(model, TOKENS, 0, nullcontext)


def test_a_model_that_looks_ahead(model: PreTrainedModel) -> None:
    change_logits(model, lambda logits, _: logits + logits[:, -1:])
    with pytest.raises(PolicyLoadError, match="a later token changes its log-probabilities by"):
        self_test(model, TOKENS, 0, nullcontext)


def test_a_model_that_forgets_its_cache(model: PreTrainedModel) -> None:
    change_logits(model, lambda logits, kwargs: logits * (0.5 if "past_key_values" in kwargs else 1.0))
    with pytest.raises(PolicyLoadError, match="token by token with a cache changes its log-probabilities by"):
        self_test(model, TOKENS, 0, nullcontext)


def test_a_mistake_that_begins_after_tens_of_tokens(model: PreTrainedModel) -> None:
    """As of a cache that keeps too little."""

    def change(logits: Tensor, kwargs: dict[str, Any]) -> Tensor:
        cached = logits.shape[1] == 1 and kwargs["attention_mask"].shape[1] > 45
        return logits * (0.5 if cached else 1.0)

    change_logits(model, change)
    with pytest.raises(PolicyLoadError, match="token by token with a cache changes its log-probabilities by"):
        self_test(model, TOKENS, 0, nullcontext)


@pytest.mark.parametrize(
    ("family", "settings", "longest"),
    [
        ("llama", {}, 48),
        ("llama", {"max_position_embeddings": 32}, 28),
        ("mistral", {"sliding_window": 100}, 108),
        ("mistral", {"sliding_window": 4096}, 48),
        ("llama4_text", {"attention_chunk_size": 64}, 72),
        ("recurrent_gemma", {"attention_window_size": 64}, 72),
    ],
)
def test_the_longest_prompt_passes_a_small_window(family: str, settings: dict[str, Any], longest: int) -> None:
    assert max(_lengths(CONFIG_MAPPING[family](**settings))) == longest


def test_logits_that_are_not_numbers(model: PreTrainedModel) -> None:
    change_logits(model, lambda logits, _: logits * float("nan"))
    with pytest.raises(PolicyLoadError, match="log-probabilities that are not numbers"):
        self_test(model, TOKENS, 0, nullcontext)


def test_masked_rows_of_the_vocabulary_are_right(model: PreTrainedModel) -> None:
    masked = torch.arange(24) >= 20
    change_logits(model, lambda logits, _: logits.masked_fill(masked, float("-inf")))
    self_test(model, TOKENS, 0, nullcontext)


def test_a_mistake_in_the_precision_in_use_alone(model: PreTrainedModel) -> None:
    """As of a kernel that ignores the mask, and is chosen for bfloat16 only."""

    def change(logits: Tensor, kwargs: dict[str, Any]) -> Tensor:
        padded = "attention_mask" in kwargs and not bool(kwargs["attention_mask"].all())
        return logits * (3.0 if padded and torch.is_autocast_enabled("cpu") else 1.0)

    change_logits(model, change)
    self_test(model, TOKENS, 0, nullcontext)
    with pytest.raises(PolicyLoadError, match="padding in a batch changes its log-probabilities by"):
        self_test(model, TOKENS, 0, bfloat16)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_of_parameters(dtype: torch.dtype) -> None:
    load_policy("embedded", device=CPU, dtype=dtype)


def test_a_refusal_is_one_sentence_with_the_reason(tmp_path: Path) -> None:
    write_model("marian", tmp_path)
    with pytest.raises(PolicyLoadError) as caught:
        load_policy(str(tmp_path), device=CPU)
    message = str(caught.value)
    assert message.startswith(f"model={str(tmp_path)!r} (model_type 'marian') cannot be sampled and scored rightly: ")
    assert "padding in a batch changes its log-probabilities by" in message
    assert message.endswith("; take a model of another family")
    assert len(message.splitlines()) == 1


def test_a_model_with_few_positions_is_tested_within_them(tmp_path: Path) -> None:
    write_model("gpt2", tmp_path, max_position_embeddings=9)
    load_policy(str(tmp_path), device=CPU)
