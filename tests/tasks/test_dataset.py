"""Files and data sets as tasks."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from maxent_ray.errors import ConfigError, TaskError
from maxent_ray.evaluation.answers import evaluate_completions
from maxent_ray.tasks import Grade, Prompt, build_task, tells_modes
from maxent_ray.tasks.dataset import DatasetTask

REWARDS = "tests.tasks.rewards.functions_for_tests"
SUMS = [{"prompt": f"{i}+{i}=", "answer": 2 * i, "level": i % 3} for i in range(20)]
CHATS = [
    {"prompt": [{"role": "system", "content": "Add."}, {"role": "user", "content": f"{i}+{i}="}], "answer": 2 * i}
    for i in range(6)
]


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return f"jsonl:{path}"


def build(name: str, *rewards: str, held_out_count: int = 4, seed: int = 0, **kwargs: Any) -> DatasetTask:
    paths = [reward if reward == "math_verify" else f"{REWARDS}:{reward}" for reward in rewards or ("right",)]
    task = build_task(name, held_out_count=held_out_count, seed=seed, kwargs={"rewards": paths, **kwargs})
    assert isinstance(task, DatasetTask)
    return task


@pytest.fixture
def sums(tmp_path: Path) -> str:
    return write(tmp_path / "sums.jsonl", SUMS)


@pytest.fixture
def task(sums: str) -> Iterator[DatasetTask]:
    built = build(sums, "right", "length", reward_weights=[1.0, -0.1])
    yield built
    built._rewards.close()


def test_split_is_by_hash_and_the_same_wherever_the_file_lies(tmp_path: Path, sums: str) -> None:
    moved = write(tmp_path / "moved.jsonl", SUMS[::-1])
    one, two, larger = build(sums), build(moved), build(sums, held_out_count=8)
    assert [prompt.text for prompt in one.train] == [prompt.text for prompt in two.train]
    assert {prompt.text for prompt in one.held_out} < {prompt.text for prompt in larger.held_out}
    assert not {prompt.text for prompt in one.held_out} & {prompt.text for prompt in one.train}
    assert [prompt.text for prompt in build(sums, seed=1).held_out] != [prompt.text for prompt in one.held_out]


def test_batches_are_graded_with_all_columns(task: DatasetTask) -> None:
    prompts = [next(prompt for prompt in (*task.train, *task.held_out) if prompt.text == "4+4=")] * 3
    assert task.grade_batch(prompts, [" 8 ", "8", "9"]) == [
        Grade(1.0 - 0.1 * 3, "8"), Grade(0.9, "8"), Grade(-0.1)
    ]  # fmt: skip
    evaluation = evaluate_completions(task, prompts[:1], [[" 8 ", "8", "9"]])
    metrics = evaluation.metrics
    assert (metrics.pass_rate, metrics.distinct, math.isnan(metrics.coverage)) == (1.0, 1.0, True)
    assert not tells_modes(task)


def test_correct_is_what_is_above_a_threshold(sums: str) -> None:
    task = build(sums, "length", correct_above=1.5)
    grades = task.grade_batch(task.train[:1] * 2, ["9", "10"])
    task._rewards.close()
    assert grades == [Grade(1.0, None), Grade(2.0, "10")]


def test_rewards_below_zero_are_rewards(sums: str) -> None:
    task = build(sums, "below_zero")
    assert task.grade(task.train[0], "x") == Grade(-2.0, None)
    task._rewards.close()


def test_chats_become_text_once_and_rewards_get_messages(tmp_path: Path) -> None:
    task = build(write(tmp_path / "chats.jsonl", CHATS), "content")
    assert task.has_chats
    written = task.written(lambda messages: "|".join(message["content"] for message in messages))
    assert {prompt.text for prompt in (*written.train, *written.held_out)} == {f"Add.|{i}+{i}=" for i in range(6)}
    prompt = next(prompt for prompt in (*written.train, *written.held_out) if prompt.text == "Add.|2+2=")
    assert written.grade_batch([prompt] * 2, ["2+2=4", "4"]) == [Grade(1.0, "2+2=4"), Grade(0.0)]
    with pytest.raises(TaskError, match="different chats that the chat template writes alike"):
        task.written(lambda messages: messages[0]["content"])
    task._rewards.close()


def test_repeated_prompts_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    task = build(write(tmp_path / "twice.jsonl", [*SUMS, *SUMS[:5]]))
    assert len(task.train) + len(task.held_out) == 20
    assert "5 of 25 rows repeat a prompt and are left out" in caplog.text


def test_a_saved_data_set_is_the_same_task(tmp_path: Path, sums: str) -> None:
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_list(SUMS)
    table.save_to_disk(tmp_path / "table")
    datasets.DatasetDict({"dev": table}).save_to_disk(tmp_path / "splits")
    expected = [prompt.text for prompt in build(sums).train]
    assert [prompt.text for prompt in build(f"hf:{tmp_path / 'table'}").train] == expected
    assert [prompt.text for prompt in build(f"hf:{tmp_path / 'splits'}", split="dev").train] == expected
    with pytest.raises(TaskError, match=r"datasets cannot load split 'train' \('train'\)"):
        build(f"hf:{tmp_path / 'splits'}")


def test_a_folder_of_files_is_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "train.jsonl", CHATS)
    assert build(f"hf:{tmp_path / 'data'}", "content").has_chats


@pytest.mark.parametrize(
    ("rows", "kwargs", "sentence"),
    [
        ([], {}, "has no rows"),
        ([{"question": "1+1="}], {}, r"line 1 has no column 'prompt'; set task.kwargs.prompt to one of: question"),
        ([{"prompt": 3}], {}, "line 1: column 'prompt' holds 3; it must hold a text, or a list of messages"),
        ([{"prompt": [{"role": "user"}]}], {}, "column 'prompt' holds a list; it must hold a text, or a"),
        ([{"prompt": "a", "prompts": 1}], {}, "has a column 'prompts', a name that rewards get all answers by"),
        ([SUMS[0], {"prompt": "b", "answer": 1}], {}, "line 2 has no column 'level', which .*line 1 has; write null"),
        ([{"prompt": "b", "answer": 1}, SUMS[0]], {}, "line 1 has no column 'level', which .*line 2 has; write null"),
        ([3], {}, "line 1 is a JSON int; each line must hold one object"),
        ([SUMS[0], {**SUMS[1], "prompt": CHATS[0]["prompt"]}], {}, "has texts and chats in column 'prompt'"),
        ([{"prompt": "a"}], {}, "needs the column 'answer'; the data has: none besides the prompt"),
        (SUMS[:4], {}, "held_out_count is 4; .* can hold out at most 3 of its 4 prompts"),
    ],
)
def test_data_that_is_no_task(tmp_path: Path, rows: list[Any], kwargs: dict[str, Any], sentence: str) -> None:
    name = write(tmp_path / "bad.jsonl", rows)
    with pytest.raises((TaskError, ConfigError), match=sentence):
        build(name, **kwargs)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"task.name is 'jsonl:.*none.jsonl': the file cannot be read"):
        build(f"jsonl:{tmp_path / 'none.jsonl'}")
    (tmp_path / "half.jsonl").write_text('{"prompt": "a"}\n{"prompt"', encoding="utf-8")
    with pytest.raises(TaskError, match="line 2 is not JSON"):
        build(f"jsonl:{tmp_path / 'half.jsonl'}")


def test_a_prompt_of_another_task(task: DatasetTask) -> None:
    with pytest.raises(TaskError, match=r"prompt is '3,5,7=22:', which comes from no row of the task"):
        task.grade(Prompt("3,5,7=22:"), "x")
