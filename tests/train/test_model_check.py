"""A model that cannot be trained on is refused before the run has a folder or an actor, in one sentence."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.util import list_named_actors

from maxent_ray.config import ExperimentConfig
from maxent_ray.config.loading import apply_overrides
from maxent_ray.errors import ConfigError, MaxentRayError, PolicyLoadError, TaskError
from maxent_ray.policy import encode_prompts, load_policy
from maxent_ray.policy.position_limit import position_limit
from maxent_ray.policy.tokenizer import build_character_tokenizer
from maxent_ray.tasks import CountdownSmall, Prompt
from maxent_ray.tasks.registry import BUILT_IN
from maxent_ray.train.model_check import EMBEDDED_CHARACTERS, EMBEDDED_POSITIONS, _fits_embedded, check_model
from maxent_ray.train.policy_and_task import load_policy_and_task
from maxent_ray.train.policy_evaluation import evaluate_policy
from maxent_ray.train.ray_train.loop import run_training
from maxent_ray.tune.comparison import run_comparison
from maxent_ray.tune.sweep import run_sweep
from tests.policy.families import write_model
from tests.train.tiny import start, tiny_config

LENGTH = "grpo.max_new_tokens"


@pytest.fixture
def marian(tmp_path: Path) -> ExperimentConfig:
    """A model that takes padding for tokens."""
    write_model("marian", tmp_path / "marian")
    return tiny_config({"policy.model": str(tmp_path / "marian")})


class Spelled(CountdownSmall):
    """A task whose prompts, or the last that is held out, hold letters."""

    def __init__(self, *, held_out_count: int, seed: int, letters: str) -> None:
        super().__init__(held_out_count=held_out_count, seed=seed)
        if letters == "train":
            self.train = [Prompt("add 256:")]
        else:
            self.held_out = [*self.held_out[:-1], Prompt("add 256:")]


SPELLED = {"task.name": f"{__name__}:Spelled", "policy.model": "embedded:countdown_small", "evaluation.prompts": 8}


@pytest.mark.parametrize("letters", ["train", "held_out"])
def test_prompts_that_the_embedded_policy_lacks_characters_of(letters: str) -> None:
    config = tiny_config({**SPELLED, "task.kwargs": {"letters": letters}})
    assert _fits_embedded(tiny_config())
    assert not _fits_embedded(config)
    with pytest.raises(TaskError, match="prompt 'add 256:' holds 'a' and 'd', which it loses"):
        load_policy_and_task(config, torch.device("cpu"))


def test_prompts_far_from_the_limit_are_encoded_too(tmp_path: Path) -> None:
    write_model("llama", tmp_path, max_position_embeddings=2048)
    build_character_tokenizer("0123456789+-*/()=. $").save_pretrained(tmp_path)
    with pytest.raises(TaskError, match="holds ',' and ':', which it loses"):
        load_policy_and_task(tiny_config({"policy.model": str(tmp_path)}), torch.device("cpu"))


@pytest.mark.parametrize("task", BUILT_IN)
def test_the_embedded_positions_and_characters(task: str) -> None:
    policy = load_policy(f"embedded:{task}", device=torch.device("cpu"))
    assert position_limit(policy.model.config) == EMBEDDED_POSITIONS
    assert {token for token in policy.tokenizer.get_vocab() if len(token) == 1} == EMBEDDED_CHARACTERS
    for character in EMBEDDED_CHARACTERS:
        assert encode_prompts(policy, [character])[0].shape == (1, 1)


def test_a_task_without_a_shipped_policy_needs_the_name_of_a_model() -> None:
    config = tiny_config({"task.name": "maxent_ray.tasks.countdown:CountdownSmall"})
    message = r"no policy is shipped for task 'maxent_ray.*'; set policy.model to .* \(embedded:countdown, "
    with pytest.raises(PolicyLoadError, match=message):
        check_model(config)
    with pytest.raises(PolicyLoadError, match=message):
        load_policy_and_task(config, torch.device("cpu"))


@pytest.mark.parametrize("task", BUILT_IN)
def test_the_embedded_policy_is_that_of_the_task(task: str) -> None:
    policy, built = load_policy_and_task(tiny_config({"task.name": task}), torch.device("cpu"))
    assert (policy.name, built.name) == (f"embedded:{task}", task)


def test_a_task_may_have_the_policy_of_another() -> None:
    config = tiny_config({"task.name": "countdown", "policy.model": "embedded:countdown_small"})
    assert load_policy_and_task(config, torch.device("cpu"))[0].name == "embedded:countdown_small"


def test_a_rank_refuses_what_does_not_fit() -> None:
    with pytest.raises(ConfigError, match=r"max_new_tokens is 60; model='embedded:countdown_small' has 64 positions"):
        start(tiny_config({LENGTH: 60}))


def test_an_evaluation_refuses_it_too(marian: ExperimentConfig) -> None:
    with pytest.raises(PolicyLoadError, match="rightly: padding in a batch"):
        evaluate_policy(marian)


@pytest.mark.ray
@pytest.mark.parametrize("run", [run_training, run_comparison, run_sweep])
def test_nothing_is_left_of_a_run_that_is_refused(
    run: Callable[..., Any], marian: ExperimentConfig, tmp_path: Path, ray_cluster: None
) -> None:
    before = list_named_actors(all_namespaces=True)
    with pytest.raises(PolicyLoadError) as caught:
        run(marian, name="refused", results=tmp_path / "results")
    assert type(caught.value) is PolicyLoadError  # not one of Ray's, which prints a traceback
    assert "(model_type 'marian') cannot be sampled and scored rightly: padding in a batch" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "results").exists()
    assert [actor for actor in list_named_actors(all_namespaces=True) if actor not in before] == []  # no controller


@pytest.mark.ray
def test_completions_that_do_not_fit_into_the_embedded_policy(tmp_path: Path, ray_cluster: None) -> None:
    with pytest.raises(ConfigError, match=r"max_new_tokens is 60; .* set grpo.max_new_tokens=53"):
        run_training(tiny_config({LENGTH: 60}), name="long", results=tmp_path / "results")
    assert not (tmp_path / "results").exists()


@pytest.mark.ray
def test_the_longest_completions_that_a_search_may_reach_count(tmp_path: Path, ray_cluster: None) -> None:
    space = {LENGTH: {"type": "uniform", "low": 4, "high": 60}}
    config = apply_overrides(tiny_config(), {"tune.search_space": space})
    with pytest.raises(ConfigError, match="max_new_tokens is 60"):
        run_comparison(config, name="long", results=tmp_path / "results")
    assert not (tmp_path / "results").exists()


@pytest.mark.ray
def test_a_process_that_dies_is_said_in_one_line(tmp_path: Path, ray_cluster: None) -> None:
    class Deadly(ExperimentConfig):
        """Ends the process that reads it, as the system does where memory runs out."""

        def __reduce__(self) -> tuple[Any, ...]:
            return os._exit, (1,)

    config = Deadly.model_construct(**dict(tiny_config({"policy.model": "owner/model"})))
    with pytest.raises(MaxentRayError, match="'owner/model' could not be loaded with the resources of one") as caught:
        check_model(config)
    assert len(str(caught.value).splitlines()) == 1
