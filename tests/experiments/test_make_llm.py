"""Models that are written where none can be downloaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from maxent_ray.policy import parameter_count
from tests.experiments.tiny_llm import SUMS, make_llm

TINY = ("--shape", "tiny")
QUESTION = "Calculate 14 using all of these numbers: 8, 5, 1."


def test_the_shape_is_that_of_the_published_model() -> None:
    model = make_llm.build_model("qwen2.5-0.5b", make_llm.build_tokenizer([QUESTION]), torch.device("meta"))
    assert parameter_count(model) == 494_032_768  # Qwen/Qwen2.5-0.5B, its tied embedding counted once
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_the_tokenizer_writes_chats_and_reads_each_digit() -> None:
    tokenizer = make_llm.build_tokenizer([QUESTION] * 4)
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], tokenize=False, add_generation_prompt=True
    )
    assert chat == f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    ids = tokenizer(chat).input_ids
    assert tokenizer.decode(ids) == chat
    pieces = tokenizer.convert_ids_to_tokens(ids)
    assert pieces.count("<|im_start|>") == 2 and pieces.count("1") == 2  # 14 has two tokens
    assert "Calculate" in pieces and len(pieces) < len(chat) / 2
    assert tokenizer.decode(tokenizer("Ω 7 ≠ 8").input_ids) == "Ω 7 ≠ 8"  # by bytes


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("task.name=countdown", "task.kwargs={}"), "error: task.name is 'countdown'; tokenizer and practice are made"),
        (("task.kwargs.sizes=3",), "error: unknown key 'task.kwargs.sizes'"),
        (("--practice", "-1"), "error: --practice is -1; it must be >= 0"),
        (("--config", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
def test_nothing_is_written_where_something_is_wrong(
    arguments: tuple[str, ...], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make_llm.main([*TINY, str(tmp_path / "models" / "tiny"), *SUMS, *arguments]) == 2
    said = capsys.readouterr().err
    assert sentence in said and len(said.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    assert make_llm.main([*TINY, str(tmp_path / "mine"), *SUMS]) == 2
    assert "mine', which exists; remove it, or name another folder\n" in capsys.readouterr().err
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_place_that_cannot_be_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert make_llm.main([*TINY, str(tmp_path / "file" / "tiny"), *SUMS]) == 4
    said = capsys.readouterr().err
    assert said.startswith("error: cannot write ") and len(said.splitlines()) == 1
