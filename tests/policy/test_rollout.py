from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maxent_ray.errors import ConfigError, TaskError
from maxent_ray.policy import Policy, Rollout, completion_logits, load_policy, sample_groups
from maxent_ray.policy.forward import positions

PROMPTS = ["2,3,4=9:", "10,11,12=10:", "3,5,12=27:"]
SETTINGS: dict[str, Any] = {"group_size": 4, "max_new_tokens": 12, "temperature": 1.0}


def test_layout(policy: Policy, rollout: Rollout) -> None:
    width = len("10,11,12=10:")
    count, length = rollout.completion_mask.shape
    assert (count, rollout.prompt_length, rollout.group_count) == (12, width, 3)
    assert rollout.input_ids.shape == rollout.attention_mask.shape == (12, width + length)
    assert rollout.completion_mask.dtype == torch.bool
    assert bool(rollout.completion_mask.any(dim=0).all())  # no column of padding only
    assert torch.equal(rollout.attention_mask[:, width:].bool(), rollout.completion_mask)
    for row in range(count):
        real = rollout.input_ids[row][rollout.attention_mask[row].bool()]
        prompt, answer = PROMPTS[row // 4], rollout.completions[row]
        assert policy.tokenizer.decode(real).removesuffix("$") == prompt + answer


def test_the_mask_ends_with_the_end_token(policy: Policy, rollout: Rollout) -> None:
    end = policy.tokenizer.eos_token_id
    assert bool((rollout.completion_ids[~rollout.completion_mask] == policy.tokenizer.pad_token_id).all())
    ended = 0
    for ids, mask in zip(rollout.completion_ids, rollout.completion_mask, strict=True):
        real = ids[mask]
        assert not bool((real[:-1] == end).any())
        ended += int(real[-1] == end)
        assert int(real[-1]) == end or len(real) == 12
        assert torch.equal(mask, torch.arange(len(mask)) < len(real))
    assert ended > 0


def test_the_seed_alone_decides(policy: Policy, rollout: Rollout) -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state()
    again = sample_groups(policy, PROMPTS, **SETTINGS, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(again.input_ids, rollout.input_ids)
    other = sample_groups(policy, PROMPTS, **SETTINGS, seed=1)
    assert other.completions != rollout.completions


def test_completions_of_a_group_differ(rollout: Rollout) -> None:
    assert len(set(rollout.completions)) > rollout.group_count


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_cached_sampling_draws_from_the_full_forward_distribution(
    family: str, policy: Policy, gpt2_folder: Path
) -> None:
    """Replay: the same numbers, fed with full-forward probabilities, must draw the same tokens."""
    if family == "gpt2":
        policy = load_policy(str(gpt2_folder), device=torch.device("cpu"))
    rollout = sample_groups(policy, PROMPTS, group_size=4, max_new_tokens=9, temperature=0.7, seed=5)
    with torch.no_grad():
        probabilities = torch.softmax(completion_logits(policy.model, rollout) / 0.7, dim=-1)
    uniform = torch.rand(12, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    for column in range(rollout.completion_mask.shape[1]):
        passed = probabilities[:, column].double().cumsum(dim=-1) > uniform[:, column, None]
        alive = rollout.completion_mask[:, column]
        assert torch.equal(passed.int().argmax(dim=-1)[alive], rollout.completion_ids[alive, column])


def test_sequences_leave_the_batch_and_change_nothing(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against sampling where none leaves; the model must read fewer rows."""
    widths: list[int] = []
    handle = policy.model.register_forward_hook(
        lambda model, args, kwargs, output: widths.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    found = {}
    for share in (0.0, 0.8, 1.0):
        monkeypatch.setattr("maxent_ray.policy.rollout._RUNNING_SHARE", share)
        widths.clear()
        sampled = sample_groups(policy, PROMPTS * 4, **SETTINGS, seed=3)
        found[share] = sampled.completions, sampled.completion_mask.tolist(), sum(widths), widths[-1]
    handle.remove()
    assert found[0.0][:2] == found[0.8][:2] == found[1.0][:2]
    assert found[0.0][2] > found[0.8][2] > found[1.0][2]
    assert found[0.0][3] == 48 > found[0.8][3]


def test_with_a_seed_for_each_prompt_the_batch_plays_no_part(policy: Policy) -> None:
    settings: dict[str, Any] = {"group_size": 4, "max_new_tokens": 12, "temperature": 1.0}
    together = sample_groups(policy, PROMPTS, **settings, seed=[7, 8, 9]).completions
    turned = sample_groups(policy, PROMPTS[::-1], **settings, seed=[9, 8, 7]).completions
    assert turned == together[8:] + together[4:8] + together[:4]
    assert sample_groups(policy, PROMPTS[1:2], **settings, seed=[8]).completions == together[4:8]
    with pytest.raises(ConfigError, match="seed has 2 numbers for 3 prompts; give one, or as many as prompts"):
        sample_groups(policy, PROMPTS, **settings, seed=[7, 8])
    with pytest.raises(ConfigError, match=r"seed is 1\.5; it must be a whole number"):
        sample_groups(policy, PROMPTS[:1], **settings, seed=[1.5])  # type: ignore[list-item]


def test_the_limit_of_low_temperature_is_argmax(policy: Policy) -> None:
    greedy = sample_groups(policy, PROMPTS, group_size=2, max_new_tokens=12, temperature=1e-6, seed=0)
    best = completion_logits(policy.model, greedy).argmax(dim=-1)
    mask = greedy.completion_mask
    assert torch.equal(best[mask], greedy.completion_ids[mask])
    assert greedy.completions[::2] == greedy.completions[1::2]


def test_left_padding_leaves_greedy_answers_alone(policy: Policy) -> None:
    settings: dict[str, Any] = {"group_size": 1, "max_new_tokens": 12, "temperature": 1e-6, "seed": 0}
    together = sample_groups(policy, PROMPTS, **settings).completions
    alone = [sample_groups(policy, [prompt], **settings).completions[0] for prompt in PROMPTS]
    assert together == alone


def test_generation_settings_of_the_model_play_no_part(policy: Policy, rollout: Rollout, tmp_path: Path) -> None:
    restricted = load_policy("embedded", device=torch.device("cpu"))
    assert restricted.model.generation_config is not None
    restricted.model.generation_config.top_k = 1
    restricted.model.generation_config.do_sample = True
    assert sample_groups(restricted, PROMPTS, **SETTINGS, seed=0).completions == rollout.completions


@pytest.mark.parametrize("training", [True, False])
def test_sampling_is_without_dropout_and_restores_the_mode(gpt2_folder: Path, training: bool) -> None:
    policy = load_policy(str(gpt2_folder), device=torch.device("cpu"))
    expected = sample_groups(policy, PROMPTS, **SETTINGS, seed=0).completions
    policy.model.train(training)
    assert sample_groups(policy, PROMPTS, **SETTINGS, seed=0).completions == expected
    assert policy.model.training is training


def test_take_selects_groups(rollout: Rollout) -> None:
    part = rollout.take([2, 0])
    assert part.completions == rollout.completions[8:12] + rollout.completions[0:4]
    assert torch.equal(part.input_ids, torch.cat([rollout.input_ids[8:12], rollout.input_ids[0:4]]))
    assert rollout.rows(slice(1, None)).tolist() == list(range(4, 12))
    assert rollout.take(slice(1, 2)).completions == rollout.completions[4:8]
    assert part.completion_mask.shape == (8, rollout.completion_mask.shape[1])


def test_positions_count_real_tokens() -> None:
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]])
    assert positions(mask).tolist() == [[0, 0, 0, 1], [0, 1, 2, 2]]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("group_size", 0),
        ("max_new_tokens", 0),
        ("temperature", 0.0),
        ("temperature", -1.0),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
    ],
)
def test_settings_out_of_range(policy: Policy, field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=field):
        sample_groups(policy, PROMPTS, **(SETTINGS | {"seed": 0, field: value}))


@pytest.mark.parametrize(
    ("prompts", "words"), [([], "at least one"), (["1=2:", "x=2:"], "'x=2:' holds"), (["1:", ""], "no token")]
)
def test_prompts_that_cannot_be_asked(policy: Policy, prompts: list[str], words: str) -> None:
    with pytest.raises(TaskError, match=words):
        sample_groups(policy, prompts, **SETTINGS, seed=0)


def test_numbers_of_other_libraries_are_taken(policy: Policy) -> None:
    usual = sample_groups(policy, PROMPTS, **SETTINGS, seed=1)
    others: dict[str, Any] = {"group_size": torch.tensor(4), "max_new_tokens": np.float64(12), "seed": np.int64(1)}
    same = sample_groups(policy, PROMPTS, **{**SETTINGS, **others})
    assert type(same.group_size) is int
    assert same.completions == usual.completions


@pytest.mark.parametrize("wrong", [{"group_size": 2.5}, {"max_new_tokens": "8"}, {"seed": True}, {"seed": 2**64}])
def test_what_is_no_whole_number_is_refused(policy: Policy, wrong: dict[str, Any]) -> None:
    [(field, value)] = wrong.items()
    with pytest.raises(ConfigError, match=f"{field} is {value}; it must be a whole number >= "):
        sample_groups(policy, PROMPTS, **{**SETTINGS, "seed": 0, **wrong})
