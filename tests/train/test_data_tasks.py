"""Training on a user's own file with a reward of its own, and what must stop it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from maxent_ray.cli.commands import check_inputs
from maxent_ray.config import ExperimentConfig
from maxent_ray.errors import ConfigError, MaxentRayError, ResumeError, TaskError
from maxent_ray.policy import save_policy
from maxent_ray.train.policy_and_task import load_policy_and_task
from maxent_ray.train.rank import RankProcess
from maxent_ray.train.ray_train.loop import run_training
from tests.policy import tokenizer_zoo as zoo
from tests.policy.families import write_model
from tests.policy.test_chat import CHATML
from tests.train.tiny import start, tiny_config

REWARDS = "tests.tasks.rewards.functions_for_tests"


def write(path: Path, prompts: list[Any]) -> str:
    rows = [{"prompt": prompt, "answer": index} for index, prompt in enumerate(prompts)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return str(path)


def data_config(file: str, model: Path, reward: str = "length", **overrides: Any) -> ExperimentConfig:
    names = {"task.name": f"jsonl:{file}", "task.kwargs": {"rewards": [f"{REWARDS}:{reward}"]}}
    return tiny_config({**names, "policy.model": str(model), **overrides})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_model("llama", tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def sums(tmp_path: Path) -> str:
    return write(tmp_path / "sums.jsonl", [f"{number}+{number}=" for number in range(30)])


@pytest.fixture
def chat_model(tmp_path: Path) -> Path:
    policy = zoo.random_policy(zoo.qwen())
    policy.tokenizer.chat_template = CHATML
    save_policy(policy, tmp_path / "chat_model")
    return tmp_path / "chat_model"


@pytest.fixture
def chats(tmp_path: Path) -> str:
    return write(tmp_path / "chats.jsonl", [[{"role": "user", "content": f"{n}+{n}="}] for n in range(30)])


@pytest.fixture
def started() -> Iterator[Callable[[ExperimentConfig], RankProcess]]:
    processes: list[RankProcess] = []

    def run(config: ExperimentConfig) -> RankProcess:
        processes.append(start(config))
        return processes[-1]

    yield run
    for process in processes:
        process.close()


def test_a_file_is_trained_on(sums: str, model: Path, started: Callable[..., RankProcess]) -> None:
    process = started(data_config(sums, model))
    before = [parameter.clone() for parameter in process.worker.policy.model.parameters()]
    (record,) = process.run(1)
    assert record.signals["reward"] > 1  # mean length: rewards have no upper limit
    assert record.signals["coverage"] is None or math.isnan(record.signals["coverage"])
    after = process.worker.policy.model.parameters()
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    evaluation = process.evaluate()
    for sample in evaluation.samples:
        assert [answer.reward for answer in sample.answers] == [len(answer.text) for answer in sample.answers]
        assert all((answer.mode is not None) == (answer.reward > 0) for answer in sample.answers)


def test_chats_are_asked_by_the_template(chats: str, chat_model: Path, started: Callable[..., RankProcess]) -> None:
    process = started(data_config(chats, chat_model, "content"))
    process.run(1)
    asked = process.evaluate().samples[0].prompt
    assert asked.startswith("<|im_start|>user\n") and asked.endswith("<|im_start|>assistant\n")


def test_a_run_resumes_on_its_file_and_on_no_other(
    sums: str, model: Path, tmp_path: Path, started: Callable[..., RankProcess]
) -> None:
    process = started(data_config(sums, model))
    process.run(1)
    state = process.state_bytes()
    again = started(data_config(sums, model))
    again.load_state_bytes(state)
    assert again.worker.next_step == 1
    other = started(data_config(write(tmp_path / "other.jsonl", [f"{n}*{n}=" for n in range(30)]), model))
    with pytest.raises(ResumeError, match="trained on other prompts than the task 'jsonl:"):
        other.load_state_bytes(state)


@pytest.mark.parametrize(("reward", "sentence"), [("not_finite", "returns nan"), ("raises", "raises KeyError")])
def test_a_bad_reward_changes_nothing(
    reward: str, sentence: str, sums: str, model: Path, started: Callable[..., RankProcess]
) -> None:
    process = started(data_config(sums, model, reward))
    before = process.worker.policy.model.state_dict()
    kept = {name: value.clone() for name, value in before.items()}
    with pytest.raises(TaskError, match=sentence):
        process.run(1)
    assert process.worker.next_step == 0
    assert all(torch.equal(kept[name], value) for name, value in process.worker.policy.model.state_dict().items())


def test_a_reward_below_zero_that_the_weighting_would_turn_round(
    sums: str, model: Path, started: Callable[..., RankProcess]
) -> None:
    started(data_config(sums, model, "below_zero")).run(1)
    unlikeliness = {"weighting.type": "unlikeliness", "controller.objective": None, "controller.tau": 0.5}
    with pytest.raises(TaskError, match=r"a reward is -2; weighting\.type unlikeliness discounts rewards"):
        started(data_config(sums, model, "below_zero", **unlikeliness)).run(1)


def test_a_model_without_a_chat_template(chats: str, model: Path) -> None:
    with pytest.raises(TaskError, match=rf"the tokenizer of policy '{model}' has no chat template; set tokenizer.chat"):
        load_policy_and_task(data_config(chats, model, "content"), torch.device("cpu"))


def test_a_prompt_longer_than_the_model(tmp_path: Path, model: Path) -> None:
    file = write(tmp_path / "long.jsonl", [*(f"{number}+1=" for number in range(20)), "1+" * 40 + "1="])
    with pytest.raises(ConfigError, match=r"64 positions, which are fewer than the tokens of the longest prompt, of 8"):
        load_policy_and_task(data_config(file, model), torch.device("cpu"))


@pytest.mark.ray
@pytest.mark.parametrize(
    ("reward", "sentence"),
    [("needs_solution", "the column 'solution'"), ("nothing", "has no 'nothing'"), ("length", "no chat template")],
)
def test_nothing_is_left_of_a_run_that_is_refused(
    reward: str, sentence: str, chats: str, model: Path, tmp_path: Path, ray_cluster: None
) -> None:
    with pytest.raises(MaxentRayError, match=sentence) as caught:
        run_training(data_config(chats, model, reward), name="refused", results=tmp_path / "results")
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "results").exists()


def test_the_command_line_refuses_it_before_there_is_a_cluster(chats: str, model: Path) -> None:
    with pytest.raises(ConfigError, match="needs the column 'solution'; the data has: answer"):
        check_inputs(data_config(chats, model, "needs_solution"))


@pytest.mark.ray
def test_a_run_records_answers(
    sums: str, model: Path, tmp_path: Path, ray_cluster: None
) -> None:
    config = data_config(sums, model, **{"train.steps": 1})
    run_training(config, name="own", results=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "own" / "samples.jsonl").read_text().splitlines()]
    assert {line["step"] for line in lines} == {0, 1}
    assert all(answer.keys() == {"text", "reward", "mode"} for line in lines for answer in line["answers"])


@pytest.mark.ray
def test_a_run_ends_where_a_reward_hangs(sums: str, model: Path, tmp_path: Path, ray_cluster: None) -> None:
    kwargs = {"rewards": [f"{REWARDS}:computes"], "time_limit_s": 1.0}
    config = data_config(sums, model, **{"task.kwargs": kwargs, "train.max_failures": 0})
    with pytest.raises(TaskError, match=f"reward '{REWARDS}:computes' hangs: 1 s, task.kwargs.time_limit_s, are over"):
        run_training(config, name="hangs", results=tmp_path)
    assert not (tmp_path / "hangs" / "policy").exists()
