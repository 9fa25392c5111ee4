"""Tokenizers that cannot be a policy's are refused when they are loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models

from maxent_ray.errors import PolicyLoadError
from maxent_ray.policy import Policy, load_policy, save_policy
from maxent_ray.policy.vocabulary import fit_tokenizer
from tests.policy import tokenizer_zoo as zoo


def load(folder: Path) -> Policy:
    return load_policy(str(folder), device=torch.device("cpu"))


def change(file: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_policy(zoo.random_policy(zoo.llama(), 300), tmp_path)
    return tmp_path


def test_the_highest_token_needs_a_row_however_few_there_are(tmp_path: Path) -> None:
    tokenizer = zoo.holes()
    assert len(tokenizer) == 22
    assert max(tokenizer.get_vocab().values()) == 64
    save_policy(zoo.random_policy(tokenizer, 64), tmp_path / "small")
    with pytest.raises(PolicyLoadError, match="tokenizer needs 65 tokens and its model embeds only 64"):
        load(tmp_path / "small")
    save_policy(zoo.random_policy(tokenizer, 65), tmp_path / "large")
    assert load(tmp_path / "large").end_ids == (64,)


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content["model"].update(type="Another"),
        lambda content: content.update(decoder={"type": "Another"}),
        lambda content: content.clear(),
    ],
)
def test_a_tokenizer_file_that_cannot_be_read(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    change(folder / "tokenizer.json", edit)
    with pytest.raises(PolicyLoadError, match="its tokenizer cannot be loaded"):
        load(folder)


def test_an_empty_end_token_is_none(folder: Path) -> None:
    change(folder / "tokenizer_config.json", lambda content: content.update(eos_token=""))
    with pytest.raises(PolicyLoadError, match="no end-of-sequence token"):
        load(folder)


def test_an_empty_padding_token_becomes_the_end_token(folder: Path) -> None:
    change(folder / "tokenizer_config.json", lambda content: content.update(pad_token=""))
    assert load(folder).tokenizer.pad_token == "</s>"


def test_an_end_token_may_be_ordinary_text(folder: Path) -> None:
    change(folder / "tokenizer_config.json", lambda content: content.update(eos_token="7"))
    assert load(folder).end_ids == tuple(zoo.ids_of(zoo.llama(), "7"))


def test_special_tokens_alone_write_no_prompt(tmp_path: Path) -> None:
    backend = Tokenizer(models.WordLevel({"</s>": 0, "<unk>": 1}, unk_token="<unk>"))
    tokenizer = zoo.wrap(backend, eos_token="</s>", unk_token="<unk>")
    save_policy(zoo.random_policy(tokenizer), tmp_path)
    with pytest.raises(PolicyLoadError, match="its tokenizer has special tokens alone, so that no prompt can be"):
        load(tmp_path)


def test_an_embedding_without_a_plain_weight_is_refused() -> None:
    policy = zoo.random_policy(zoo.llama())
    policy.model.set_input_embeddings(torch.nn.Sequential(policy.model.get_input_embeddings()))
    with pytest.raises(PolicyLoadError, match=r"its input embedding \(Sequential\) has no plain weight"):
        fit_tokenizer(policy.tokenizer, policy.model, "wrapped")
