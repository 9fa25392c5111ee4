"""Errors that crossed Ray: the cause's class and its whole sentence, however often they were wrapped."""

from __future__ import annotations

import os
from typing import Any

import pytest
import ray
from ray.exceptions import RayError

from maxent_ray.errors import ConfigError, MaxentRayError, PolicyLoadError, RecordingError
from maxent_ray.runtime.remote_errors import Cause, cause_in, cause_of

MESSAGE = "model='x': there is no folder 'x';\n  give one that exists\nor a name"


class Failing:
    """Fails as its caller says, or passes the call on to another actor first."""

    def __init__(self, next_one: Any = None) -> None:
        self._next = next_one

    def fail(self, kind: str) -> None:
        if self._next is not None:
            ray.get(self._next.fail.remote(kind))
        if kind == "ours":
            raise PolicyLoadError(MESSAGE)
        if kind == "foreign":
            raise KeyError("reward")
        if kind == "chained":
            try:
                raise KeyError("reward")
            except KeyError as error:
                raise ConfigError("reward is missing;\nname one") from error
        os._exit(3)


CAUSES = {
    "ours": Cause(PolicyLoadError, MESSAGE),
    "foreign": Cause(None, "KeyError: 'reward'"),
    "chained": Cause(ConfigError, "reward is missing;\nname one"),
}


@pytest.mark.ray
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("kind", CAUSES)
def test_the_cause_is_found_in_the_error_and_in_its_text(ray_cluster: None, kind: str, depth: int) -> None:
    actor: Any = None
    handles = []
    for _ in range(depth):
        actor = ray.remote(Failing).options(num_cpus=0).remote(actor)
        handles.append(actor)
    with pytest.raises(Exception) as raised:  # Ray's own class, made for each
        ray.get(actor.fail.remote(kind))
    assert cause_of(raised.value) == CAUSES[kind]
    assert cause_in(str(raised.value)) == CAUSES[kind]


@pytest.mark.ray
def test_a_process_that_died_is_told_in_rays_words(ray_cluster: None) -> None:
    with pytest.raises(RayError) as raised:
        ray.get(ray.remote(Failing).options(num_cpus=0).remote().fail.remote("die"))
    kind, message = cause_of(raised.value)
    assert kind is None
    assert message.startswith("The actor died") and "\n" not in message and len(message) < 500


def test_our_own_errors_are_their_own_cause() -> None:
    assert cause_of(RecordingError("the disk is full")) == Cause(RecordingError, "the disk is full")
    assert cause_of(ValueError()) == Cause(None, "ValueError")


@pytest.mark.parametrize("name", ["ClassVar", "annotations", "NoSuchError"])
def test_only_errors_of_ours_are_classes_of_ours(name: str) -> None:
    trace = f'ray::x()\n  File "x.py", line 1, in x\n    x()\nmaxent_ray.errors.{name}: said'
    assert cause_in(trace) == Cause(None, f"maxent_ray.errors.{name}: said")


def test_what_a_resume_may_get_past_is_a_property_of_the_class() -> None:
    assert Cause(None, "killed").resumable and Cause(RecordingError, "full").resumable
    assert not Cause(ConfigError, "wrong").resumable and not Cause(MaxentRayError, "nan").resumable
