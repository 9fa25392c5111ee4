"""The alarm on batches in which rewards hardly differ: once, not early, and not where a tenth of the groups do."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.diagnostics.alarms import Alarm, AlarmKind
from maxent_ray.core.diagnostics.observer import Observer, ObserverState
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.validation import read_dataclass, to_plain

CONFIG = ControllerConfig(group_size=8, target_entropy=1.9)
GROUPS = 24


def batch(informative: int, groups: int = GROUPS) -> BatchStatistics:
    """H on target over all groups, and over the informative ones."""
    return BatchStatistics(
        groups=groups,
        tied_groups=groups - informative,
        informative_groups=informative,
        weight_entropy_sum=1.9 * groups,
        informative_weight_entropy_sum=1.9 * informative,
    )


def observe(
    config: ControllerConfig,
    batches: Callable[[int], BatchStatistics],
    steps: int,
    memory: ObserverState = ObserverState(),
) -> tuple[dict[int, Alarm], ObserverState]:
    controller, observer = Controller(config), Observer(config)
    state, raised = controller.init(), dict[int, Alarm]()
    for step in range(steps):
        state, decision = controller.step(state, batches(step))
        memory, found = observer.observe(memory, decision)
        for alarm in found:
            if alarm.kind is AlarmKind.UNINFORMATIVE:
                assert step not in raised
                raised[step] = alarm
    return raised, memory


@pytest.mark.parametrize("signal", ["weight_entropy", "informative_weight_entropy"])
@pytest.mark.parametrize("informative", [0, 1, 2])
def test_it_is_raised_once_after_its_patience(signal: str, informative: int) -> None:
    config = replace(CONFIG, entropy_signal=signal)  # type: ignore[arg-type]
    raised, _ = observe(config, lambda step: batch(informative), 300)
    assert list(raised) == [19]
    alarm = raised[19]
    assert alarm.coefficient == "tau"
    assert alarm.figures == {"informative_share": pytest.approx(informative / GROUPS), "updates": 20.0}
    assert "raise group_size, or stop" in alarm.message
    assert f"{informative / GROUPS:.1%} of the groups" in alarm.message


@pytest.mark.parametrize("patience", [8, 30])
def test_the_patience_is_that_of_the_settings(patience: int) -> None:
    config = replace(CONFIG, saturation_patience=patience)
    assert observe(config, lambda step: batch(0), patience - 1)[0] == {}
    assert list(observe(config, lambda step: batch(0), patience)[0]) == [patience - 1]


@pytest.mark.parametrize("informative", [10, 11, 50, 100])
def test_a_tenth_is_enough(informative: int) -> None:
    assert observe(CONFIG, lambda step: batch(informative, 100), 1000)[0] == {}


def test_noise_around_more_than_a_tenth_raises_nothing() -> None:
    rng = random.Random(0)
    for _ in range(20):
        noisy = [batch(sum(rng.random() < 0.13 for _ in range(GROUPS))) for _ in range(500)]
        assert observe(CONFIG, noisy.__getitem__, 500)[0] == {}


def test_noise_around_a_twentieth_is_found() -> None:
    rng = random.Random(1)
    for _ in range(20):
        noisy = [batch(sum(rng.random() < 0.05 for _ in range(GROUPS))) for _ in range(500)]
        assert len(observe(CONFIG, noisy.__getitem__, 500)[0]) == 1


def test_a_short_lack_is_no_alarm() -> None:
    assert observe(CONFIG, lambda step: batch(0 if step % 20 < 15 else 12), 600)[0] == {}


def test_training_that_runs_dry_is_found_after_it_did() -> None:
    raised, _ = observe(CONFIG, lambda step: batch(12 if step < 100 else 1), 300)
    assert list(raised) == [119]


def test_other_settings_may_raise_it_again_and_a_resume_may_not() -> None:
    _, memory = observe(CONFIG, lambda step: batch(0), 40)
    memory = read_dataclass(ObserverState, to_plain(memory), "alarms")
    assert observe(CONFIG, lambda step: batch(0), 100, memory)[0] == {}
    assert list(observe(replace(CONFIG, target_entropy=1.8), lambda step: batch(0), 100, memory)[0]) == [19]


def test_only_updates_count() -> None:
    """Twenty updates of five steps each, after ten steps of warm-up."""
    config = replace(CONFIG, update_interval=5, warmup_steps=10)
    assert list(observe(config, lambda step: batch(0), 200)[0]) == [109]


def test_empty_batches_do_not_count() -> None:
    """Every second batch is empty, as where a filter leaves no prompt: the others alone decide."""
    raised, _ = observe(CONFIG, lambda step: BatchStatistics() if step % 2 else batch(0), 100)
    assert list(raised) == [38]
    assert raised[38].figures["informative_share"] == 0.0


def test_without_groups_or_without_a_target_there_is_none() -> None:
    episodes = ControllerConfig(entropy_signal="policy_entropy", target_entropy=0.5)
    assert observe(episodes, lambda step: BatchStatistics(tokens=8, policy_entropy_sum=4.0), 200)[0] == {}
    beta_alone = ControllerConfig(group_size=8, target_kl=0.05)
    tied = replace(batch(0), tokens=1, policy_kl_sum=0.05)
    assert observe(beta_alone, lambda step: tied, 200)[0] == {}
