from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, LlamaForCausalLM

from maxent_ray.errors import PolicyLoadError, TaskError
from maxent_ray.policy import (
    Policy,
    frozen_copy,
    load_policy,
    parameter_count,
    sample_groups,
    save_policy,
    source,
)
from maxent_ray.policy.tokenizer import COUNTDOWN_CHARACTERS, build_character_tokenizer
from maxent_ray.shipped import ASSETS, DEFAULT_TASK
from maxent_ray.tasks import build_task
from maxent_ray.tasks.registry import BUILT_IN

CPU = torch.device("cpu")


def test_the_embedded_policy_is_a_plain_folder(policy: Policy) -> None:
    folder = ASSETS / DEFAULT_TASK
    same = load_policy(str(folder), device=CPU)
    assert isinstance(policy.model, LlamaForCausalLM)
    assert parameter_count(policy.model) == 495_488
    for mine, theirs in zip(policy.model.parameters(), same.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 2_100_000


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_policy_of_a_task_leaves_room_for_training(name: str) -> None:
    """On 64 held-out prompts, one sample each: right in a fifth to three fifths."""
    task, policy = build_task(name), load_policy(f"embedded:{name}", device=CPU)
    prompts = task.held_out[:64]
    texts = [prompt.text for prompt in prompts]
    rollout = sample_groups(policy, texts, group_size=1, max_new_tokens=14, temperature=1.0, seed=0)
    grades = map(task.grade, prompts, rollout.completions)
    assert 0.2 < sum(grade.reward for grade in grades) / 64 < 0.6


def test_a_model_of_another_family_loads(gpt2_folder: Path) -> None:
    policy = load_policy(str(gpt2_folder), device=CPU)
    assert isinstance(policy.model.config, GPT2Config)
    assert not policy.model.training
    assert policy.name == str(gpt2_folder)


def test_saving_and_loading_changes_nothing(policy: Policy, tmp_path: Path) -> None:
    save_policy(policy, tmp_path / "copy")
    again = load_policy(str(tmp_path / "copy"), device=CPU)
    settings = {"group_size": 2, "max_new_tokens": 8, "temperature": 1.0, "seed": 3}
    assert (
        sample_groups(policy, ["2,3,4=9:"], **settings).completions
        == sample_groups(again, ["2,3,4=9:"], **settings).completions
    )


def test_dtype_is_that_asked_for() -> None:
    policy = load_policy("embedded", device=CPU, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in policy.model.parameters()} == {torch.bfloat16}


def test_a_frozen_copy_has_its_own_tied_parameters(policy: Policy) -> None:
    reference = frozen_copy(policy)
    assert not any(parameter.requires_grad for parameter in reference.parameters())
    assert all(parameter.requires_grad for parameter in policy.model.parameters())
    mine = {parameter.data_ptr() for parameter in policy.model.parameters()}
    assert mine.isdisjoint(parameter.data_ptr() for parameter in reference.parameters())
    assert parameter_count(reference) == parameter_count(policy.model)


def test_a_missing_pad_token_becomes_the_end_token(gpt2_folder: Path) -> None:
    _edit(gpt2_folder / "tokenizer_config.json", pad_token=None)
    tokenizer = load_policy(str(gpt2_folder), device=CPU).tokenizer
    assert tokenizer.pad_token == tokenizer.eos_token == "$"


def test_end_tokens_of_the_generation_settings_count(gpt2_folder: Path) -> None:
    _edit(gpt2_folder / "generation_config.json", eos_token_id=[5, 23])
    assert load_policy(str(gpt2_folder), device=CPU).end_ids == (5, 23)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("./nowhere", ["./nowhere", "no folder", "embedded"]),
        ("~/no/such/model", ["~/no/such/model", "no folder"]),
        ("a/b/c", ["a/b/c", "no folder"]),
        ("", ["no folder"]),
    ],
)
def test_a_path_that_does_not_exist(model: str, words: list[str]) -> None:
    with pytest.raises(PolicyLoadError) as caught:
        load_policy(model, device=CPU)
    assert all(word in str(caught.value) for word in words)


def test_a_file_is_not_a_folder(gpt2_folder: Path) -> None:
    with pytest.raises(PolicyLoadError, match="is a file"):
        load_policy(str(gpt2_folder / "config.json"), device=CPU)


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        (["tokenizer.json", "tokenizer_config.json"], "no tokenizer"),
        (["config.json"], "no model configuration"),
        (["model.safetensors"], "no model weights"),
    ],
)
def test_a_folder_that_lacks_a_part(gpt2_folder: Path, gone: list[str], words: str) -> None:
    for name in gone:
        (gpt2_folder / name).unlink()
    with pytest.raises(PolicyLoadError, match=words) as caught:
        load_policy(str(gpt2_folder), device=CPU)
    assert str(gpt2_folder) in str(caught.value)
    assert "save_pretrained" in str(caught.value)


def test_damaged_weights(gpt2_folder: Path) -> None:
    (gpt2_folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(PolicyLoadError, match="its model cannot be loaded"):
        load_policy(str(gpt2_folder), device=CPU)


def test_weights_that_lack_a_layer_are_not_invented(gpt2_folder: Path) -> None:
    file = gpt2_folder / "model.safetensors"
    kept = {name: value for name, value in load_file(file).items() if ".h.1." not in name}
    save_file(kept, file, metadata={"format": "pt"})
    with pytest.raises(PolicyLoadError, match=r"not a complete causal language model.*h\.1\."):
        load_policy(str(gpt2_folder), device=CPU)


def test_a_tokenizer_without_an_end(gpt2_folder: Path) -> None:
    _edit(gpt2_folder / "tokenizer_config.json", eos_token=None)
    with pytest.raises(PolicyLoadError, match="no end-of-sequence token"):
        load_policy(str(gpt2_folder), device=CPU)


def test_a_tokenizer_of_another_model(gpt2_folder: Path) -> None:
    build_character_tokenizer(COUNTDOWN_CHARACTERS + "x").save_pretrained(gpt2_folder)
    with pytest.raises(PolicyLoadError, match="25 tokens and its model embeds only 24"):
        load_policy(str(gpt2_folder), device=CPU)


def test_added_tokens_beyond_the_model_are_refused_in_prompts_alone(gpt2_folder: Path) -> None:
    """As published: a model of text whose tokenizer also serves one of images, and pads with such a token."""
    tokenizer = build_character_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "<beyond>", "extra_special_tokens": ["<image>"]})
    tokenizer.save_pretrained(gpt2_folder)
    loaded = load_policy(str(gpt2_folder), device=CPU)
    assert loaded.tokenizer.pad_token == "$"
    rollout = sample_groups(loaded, ["2,3=5:", "3:"], group_size=2, max_new_tokens=3, temperature=1.0, seed=0)
    assert int(rollout.input_ids.max()) < 24
    with pytest.raises(TaskError, match=r"prompt '2<image>:' holds '<image>', which the tokenizer of policy"):
        sample_groups(loaded, ["2<image>:"], group_size=2, max_new_tokens=3, temperature=1.0, seed=0)


def test_a_hub_name_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    # A closed local port stands for the hub: refused at once, whether or not the machine is online.
    monkeypatch.setattr(source.hub_constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(PolicyLoadError, match="does not answer") as caught:
        load_policy("nobody/no-such-model", device=CPU)
    assert "nobody/no-such-model" in str(caught.value)
    assert "give its folder" in str(caught.value)


def _edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
