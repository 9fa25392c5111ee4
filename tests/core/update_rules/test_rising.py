"""The proportional gain of a KL that starts at 0: less where it rose fast, whole where that is not known."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.update_rules import PI, RuleState, Signal, proportional_integral, rising_pi
from maxent_ray.core.update_rules.loop import Gains

GAINS = Gains(integral=0.2, proportional=8.0)


def after(errors: Sequence[float], target: float | None = 0.2, count: int = 1) -> RuleState:
    rule = rising_pi(GAINS, "linear")
    state = rule.init(0.1)
    for error in errors:
        _, state = rule.update(Signal(gradient=error, value=0.1, target=target, count=count), state)
    return state


def share_of(state: RuleState, target: float = 0.2) -> float:
    """Share of k_p, by the answer to a change of the error of .1."""
    rule, before = rising_pi(GAINS, "linear"), state["previous_gradient"]
    signal, _ = rule.update(Signal(gradient=before - 0.1, value=0.1, target=target), state)
    return (signal.value - 0.1 + 0.2 * (before - 0.1)) / 0.8


@pytest.mark.parametrize(
    ("steps", "share"), [(1, 0.5), (8, 0.5), (12, 0.75), (16, 1.0), (60, 1.0)], ids=lambda value: f"{value:g}"
)
def test_the_gain_is_in_proportion_to_the_rise_from_half_to_all_of_it(steps: int, share: float) -> None:
    state = after([0.5] * steps + [0.37, 0.2, -0.1])
    assert state["rising"] == 0
    assert state["push"] == pytest.approx(0.2 / steps)
    assert share_of(state) == pytest.approx(share)


def test_the_steps_so_far_count_while_it_rises() -> None:
    shares = [share_of(after([0.5] * steps)) for steps in (1, 5, 11, 15, 30)]
    assert shares == pytest.approx([0.5, 0.5, 12 / 16, 1.0, 1.0])  # the step that is asked for counts


def test_another_target_takes_its_own_time() -> None:
    """The push of training stays: at half the target KL is there in half the time."""
    state = after([0.5] * 16 + [0.3])
    assert share_of(state, target=0.2) == pytest.approx(1.0)
    assert share_of(state, target=0.1) == pytest.approx(0.5)
    assert share_of(after([0.5] * 10 + [0.3]), target=0.4) == pytest.approx(1.0)


@pytest.mark.parametrize("first", [0.3, -0.4, 0.45])
def test_a_run_that_does_not_begin_far_below_has_the_whole_gain(first: float) -> None:
    state = after([first, 0.5, 0.5, 0.1])
    assert (state["rising"], state["push"]) == (0.0, 0.0)
    assert share_of(state) == pytest.approx(1.0)


def test_updates_count_by_their_training_steps() -> None:
    assert after([0.5] * 4 + [0.3], count=4)["push"] == pytest.approx(0.2 / 16)


def test_a_slow_rise_is_plain_pi_to_the_bit() -> None:
    errors = [0.5] * 20 + [0.3, 0.1, -0.2, 0.05] * 5
    rising, plain = rising_pi(GAINS), proportional_integral(8.0, 0.2)
    left, right, value = rising.init(0.1), plain.init(0.1), 0.1
    for step, error in enumerate(errors):
        signal = Signal(gradient=error, value=value, target=0.2)
        (one, left), (other, right) = rising.update(signal, left), plain.update(signal, right)
        assert one.value == other.value or step < 16
        value = other.value


def test_only_a_kl_against_a_frozen_policy_without_a_gain_of_its_own_has_it() -> None:
    def memory(**settings: object) -> dict[str, object]:
        config = ControllerConfig(group_size=8, target_entropy=1.5, target_kl=0.05, **settings)  # type: ignore[arg-type]
        state = Controller(config).init()
        return {name: "push" in state_of.get("step", {}) for name, state_of in
                (("tau", state.tau_rule), ("beta", state.beta_rule))}  # fmt: skip

    assert memory() == {"tau": False, "beta": True}
    assert memory(beta_rule=PI(proportional_gain=4.0))["beta"] is False
    assert memory(kl_response="auto")["beta"] is False
    assert memory(kl_reference="behaviour_policy", kl_response="slow")["beta"] is False
    assert memory(entropy_signal="mode_entropy")["tau"] is False


def test_the_controller_measures_the_rise() -> None:
    """KL that comes to its target along 1 − e^(−k/5): at 63 % after 5 steps, seen by a mean over 5 more."""
    controller = Controller(ControllerConfig(target_kl=0.1))
    state = controller.init()
    for step in range(40):
        kl = 0.1 * (1 - 2.718281828 ** (-step / 5))
        state, _ = controller.step(state, BatchStatistics(tokens=1, policy_kl_sum=kl))
    assert 5 <= 0.1 / state.beta_rule["step"]["push"] <= 12
