"""Set points: a smooth way from what was measured to the target, begun anew under another target only."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.objectives import Sensitivity
from maxent_ray.core.objectives.joint import joint
from maxent_ray.core.objectives.paired import SensitivityTrack, paired
from maxent_ray.core.set_points import SetPoint, checksum_of, kl_scale
from maxent_ray.core.state import ControllerState, Reason
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.update_rules.loop import Response
from maxent_ray.errors import ConfigError

T = 12


def config(**changes: Any) -> ControllerConfig:
    settings: dict[str, Any] = {
        "group_size": 8,
        "target_entropy": 1.5,
        "target_kl": 0.05,
        "set_point_horizon": T,
        **changes,
    }
    return ControllerConfig(**settings)


def measured(step: int) -> BatchStatistics:
    """A made-up run: KL rises from 0 and both signals swing."""
    kl, entropy = 0.05 * (1 - math.exp(-step / 5)), 1.8 + 0.1 * math.cos(step)
    return BatchStatistics(groups=1, weight_entropy_sum=entropy, tokens=1, policy_kl_sum=kl)


def way(start: float, target: float, horizon: int = T, steps: int = 30) -> list[float | None]:
    """Set points of the steps of a way, all with one measurement."""
    point, found = SetPoint(), []
    for _ in range(steps):
        point = point.advance(start, target, target, horizon)
        found.append(point.value(target, horizon))
    return found


# --- the way ---


@pytest.mark.parametrize(("start", "target"), [(0.0, 0.05), (0.2, 0.05), (2.07, -1.0)], ids=["up", "down", "below_0"])
def test_it_is_monotone_and_is_at_the_target_from_the_horizon_on(start: float, target: float) -> None:
    values = [start, *way(start, target)]
    moves = [b - a for a, b in pairwise(values)]  # type: ignore[operator]
    assert all(move * (target - start) > 0 for move in moves[:T])
    assert values[T:] == [target] * (31 - T) and values[T - 1] != target


def test_it_is_the_raised_cosine_which_has_no_jump_in_its_slope() -> None:
    """½(1 − cos πx) has slope 0 at both ends: with ten times the steps, end steps are a hundred times smaller."""
    coarse, fine = way(0.0, 1.0, 10, steps=10), way(0.0, 1.0, 100, steps=100)
    assert coarse == pytest.approx([math.sin(math.pi * k / 20) ** 2 for k in range(1, 11)], abs=1e-12)
    for values, step in ((coarse, 0.1), (fine, 0.01)):
        assert values[0] == pytest.approx((math.pi * step / 2) ** 2, rel=0.03)
        assert 1 - (values[-2] or 0.0) == pytest.approx((math.pi * step / 2) ** 2, rel=0.03)
    assert max(b - a for a, b in pairwise(fine)) == pytest.approx(math.pi / 200, rel=1e-3)  # type: ignore[operator]


def test_without_a_horizon_it_is_the_target_also_where_nothing_is_measured() -> None:
    assert way(0.0, 0.05, horizon=0, steps=3) == [0.05] * 3
    assert SetPoint().value(0.05, horizon=0) == 0.05


def test_it_waits_for_the_first_measurement() -> None:
    point = SetPoint().advance(None, 0.05, 0.05, T)
    assert point == SetPoint() and point.value(0.05, T) is None
    point = point.advance(0.01, 0.05, 0.05, T)
    assert (point.start, point.progress) == (0.01, 1)
    assert point.advance(None, 0.05, 0.05, T) == point  # a batch without tokens is no step of the way


def test_another_target_begins_a_new_way_from_what_is_measured_then() -> None:
    point = SetPoint()
    for _ in range(20):
        point = point.advance(0.0, 0.05, 0.05, T)
    changed = point.advance(0.04, 0.1, 0.1, T)
    assert changed == SetPoint(start=0.04, progress=1, target_checksum=checksum_of(0.1))
    assert point.advance(None, 0.1, 0.1, T).value(0.1, T) is None  # waits for a measurement
    on_its_way = changed.advance(0.07, 0.1, 0.1, T)
    assert on_its_way == SetPoint(start=0.04, progress=2, target_checksum=checksum_of(0.1))


@pytest.mark.parametrize("horizon", [0, 1, 5])
def test_one_that_has_arrived_stays_under_a_longer_horizon(horizon: int) -> None:
    point = SetPoint()
    for _ in range(6):
        point = point.advance(0.0, 0.05, 0.05, horizon)
    for _ in range(3):
        point = point.advance(0.05, 0.05, 0.05, 50)
        assert point.value(0.05, 50) == 0.05


def test_one_of_an_older_checkpoint_has_arrived_whatever_the_target() -> None:
    point = SetPoint(start=None, progress=1, target_checksum=None).advance(0.02, 0.07, 0.07, T)
    assert point.value(0.07, T) == 0.07
    assert point.advance(0.02, 0.1, 0.1, T).start == 0.02  # and leaves for another one later


# --- in the controller ---


def run(
    controller: Controller, state: ControllerState, steps: range
) -> tuple[ControllerState, list[tuple[float | None, float | None]]]:
    found = []
    for step in steps:
        state, decision = controller.step(state, measured(step))
        found.append((decision.entropy_set_point, decision.kl_set_point))
    return state, found


def test_decisions_say_set_point_and_target() -> None:
    controller = Controller(config())
    state, decision = controller.step(controller.init(), measured(0))
    assert (decision.target_entropy, decision.target_kl) == (1.5, 0.05)
    assert decision.kl_set_point == pytest.approx(0.05 * math.sin(math.pi / 2 / T) ** 2)
    assert decision.entropy_set_point == pytest.approx(1.9 - 0.4 * math.sin(math.pi / 2 / T) ** 2)
    assert run(controller, state, range(1, T + 2))[1][-1] == (1.5, 0.05)


def test_the_start_is_hardly_an_error() -> None:
    """KL of 0 is 100 % below its target and 1 % of it below its set point, so β stays nearly where it is."""
    moved = {}
    for horizon in (0, T):
        controller = Controller(config(set_point_horizon=horizon))
        state, _ = controller.step(controller.init(), measured(0))
        moved[horizon] = math.log(state.beta / 0.1)
    assert moved[0] == pytest.approx(-0.2 * 0.5)  # k_i, and an error cut to .5
    sine = math.sin(math.pi / 2 / T)
    assert moved[T] == pytest.approx(-0.2 * sine**2 / kl_scale(sine**2, 1.0))


@pytest.mark.parametrize("interval", [1, 3])
@pytest.mark.parametrize("response", ["slow", "auto"])
def test_a_changed_target_is_no_change_of_the_error(interval: int, response: Response) -> None:
    """A proportional part that took it for one would kick β; the integral part answers it from the same step on."""
    settings: dict[str, Any] = {"update_interval": interval, "kl_response": response, "set_point_horizon": 0}
    batch = BatchStatistics(groups=1, weight_entropy_sum=1.5, tokens=1, policy_kl_sum=0.05)
    first, changed = Controller(config(**settings)), Controller(config(target_kl=0.045, **settings))
    state = first.init()
    for _ in range(10 * interval):
        state, _ = first.step(state, batch)
    after = changed.adopt(state)
    for _ in range(interval):
        after, decision = changed.step(after, batch)
    move = math.log(after.beta / state.beta)
    gain = decision.beta_tuning.integral if decision.beta_tuning else 0.2
    assert move == pytest.approx(gain / 9, rel=1e-9)  # the error is .005/.045


def test_an_annealed_target_is_followed_and_begins_no_new_way() -> None:
    annealed = config(target_entropy_final=1.0, target_entropy_horizon=100)
    state, found = run(Controller(annealed), Controller(annealed).init(), range(40))
    assert state.entropy_set_point.progress == 40
    assert [entropy for entropy, _ in found[T:]] == [annealed.target_entropy_at(step) for step in range(T, 40)]


@pytest.mark.parametrize("changes", [{"target_kl": 0.1}, {"target_entropy": 1.6}], ids=["kl", "entropy"])
def test_a_clone_under_another_target_leaves_for_it_and_the_other_loop_stays(changes: dict[str, float]) -> None:
    state, _ = run(Controller(config()), Controller(config()).init(), range(20))
    other = Controller(config(**changes))
    cloned, _ = other.step(other.adopt(state), measured(20))
    progress = (cloned.entropy_set_point.progress, cloned.kl_set_point.progress)
    assert progress == ((21, 1) if "target_kl" in changes else (1, 21))
    same = Controller(config(beta_min=1e-3))
    assert same.step(same.adopt(state), measured(20))[0].kl_set_point.progress == 21


def test_a_target_that_was_not_there_before_begins_a_way() -> None:
    only_entropy = Controller(config(target_kl=0.0))
    state, found = run(only_entropy, only_entropy.init(), range(5))
    assert state.kl_set_point == SetPoint() and found[-1][1] is None
    both = Controller(config())
    assert both.step(both.adopt(state), measured(5))[0].kl_set_point.progress == 1


def test_it_leaves_when_the_warm_up_is_over() -> None:
    late = Controller(config(warmup_steps=5))
    state, found = run(late, late.init(), range(5))
    assert state.kl_set_point == SetPoint() and found == [(None, None)] * 5
    state, _ = late.step(state, measured(5))
    assert (state.kl_set_point.start, state.kl_set_point.progress) == (measured(5).policy_kl_sum, 1)


def test_numbers_that_cannot_be_used_begin_no_way() -> None:
    controller = Controller(config())
    broken = replace(measured(0), policy_kl_sum=math.nan)
    state, decision = controller.step(controller.init(), broken)
    assert decision.reason is Reason.NON_FINITE and state.kl_set_point == SetPoint()
    assert controller.step(state, measured(1))[0].kl_set_point.progress == 1


@pytest.mark.parametrize("stop", range(1, 2 * T, 3))
def test_a_resumed_run_is_the_uninterrupted_one(stop: int) -> None:
    controller = Controller(config())
    whole, found = run(controller, controller.init(), range(2 * T))
    half, before = run(controller, controller.init(), range(stop))
    read = ControllerState.from_dict(json.loads(json.dumps(half.to_dict())))
    assert read == half
    resumed, after = run(controller, controller.adopt(read), range(stop, 2 * T))
    assert resumed == whole and before + after == found


# --- scales ---


def test_the_scale_of_kl_is_the_target_exactly_wherever_the_set_point_is_it() -> None:
    for target in (0.05, 0.1, 0.3, 1e-9):
        assert kl_scale(target, target) == target and kl_scale(None, target) == target
    assert kl_scale(0.0, 0.05) == 0.05  # nothing to take a mean of
    assert kl_scale(0.2, 0.05) == pytest.approx(0.1)


def test_the_forms_of_truncated_backprop_divide_by_the_scale_of_kl() -> None:
    sensitivity = Sensitivity(
        entropy=1.5, kl=0.02, entropy_tau=0.3, entropy_beta=0.0, kl_tau=0.0, kl_beta=-0.1, steps=1, tokens=1,
        tau=0.3, beta=0.1, version=0, share=0.1,
    )  # fmt: skip
    track = SensitivityTrack().track(sensitivity, 0.9)
    assert paired(sensitivity, track, None, 0.0125, kl_scale=0.025).beta_grad == pytest.approx(0.3)
    assert joint(sensitivity, None, 0.0125, kl_scale=0.025).beta_grad == pytest.approx(0.3 / 0.025 * 0.1)


# --- bad input ---


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"set_point_horizon": -1}, "set_point_horizon is -1; it must be >= 0 steps: 0 for set points that jump"),
        ({"set_point_horizon": 2.5}, "set_point_horizon is 2.5; it must be a whole number"),
        ({"max_step_factor": 1.0}, "max_step_factor is 1.0; it must be > 1: 3 lets τ and β at most triple"),
        ({"max_step_factor": 0.5}, "max_step_factor is 0.5; it must be > 1"),
        ({"max_step_factor": math.inf}, "max_step_factor is inf; it must be finite"),
        ({"max_step_factor": "3"}, "max_step_factor is '3'; it must be a number"),
    ],
    ids=["negative", "fraction", "one", "below_one", "infinite", "text"],
)
def test_settings_out_of_range_say_what_to_choose(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(**changes)
    assert message in str(caught.value)
