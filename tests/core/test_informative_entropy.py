"""H(w) over the groups whose rewards differ: closed forms, shards, derivatives, batches without such a group."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.measurement import batch_statistics, measure_groups, rewards_differ
from maxent_ray.core.objectives import (
    ControllerGradients,
    Decoupled,
    Joint,
    Paired,
    Sensitivity,
    TruncatedBackprop,
)
from maxent_ray.core.state import Decision, Reason
from maxent_ray.core.statistics import BatchStatistics, CoefficientBounds, Reach, merge_all
from maxent_ray.core.update_rules import Newton
from maxent_ray.core.weighting import group_weights, listwise_q, weight_entropy

TAU, BETA = 0.3, 0.1
BOUNDS = CoefficientBounds(tau=(0.01, 3.0), beta=(1e-4, 2.0))
TIED = (0, 3, 4, 11)
SIGNAL = "informative_weight_entropy"


class Batch(NamedTuple):
    """B groups of G answers."""

    rewards: Tensor
    log_q: Tensor
    rho: Tensor

    def take(self, groups: Tensor | slice) -> Batch:
        return Batch(*(part[groups] for part in self))

    def statistics(self, tau: float = TAU, beta: float = BETA) -> BatchStatistics:
        tokens = torch.zeros(1, 1)
        return batch_statistics(measure_groups(*self, tau, beta), tokens, tokens, tokens > 0, BOUNDS)


def batch(groups: int = 12, size: int = 6, tied: tuple[int, ...] = TIED, seed: int = 0) -> Batch:
    """Random rewards; some groups all wrong, some all right, some of one fraction."""
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.rand(groups, size, generator=generator, dtype=torch.float64).round(decimals=1)
    rewards[:, 0], rewards[:, 1] = 0.0, 1.0
    for place, group in enumerate(tied):
        rewards[group] = (0.0, 1.0, 0.3)[place % 3]
    rho = torch.randn(groups, size, generator=generator, dtype=torch.float64) - 3
    return Batch(rewards, listwise_q(rewards, 0.4, 1e-6).log(), rho)


def informative(measured: Batch) -> Batch:
    return measured.take(torch.tensor([len(set(row)) > 1 for row in measured.rewards.tolist()]))


# --- what is measured ---


@pytest.mark.parametrize("beta", [0.0, BETA])
def test_it_is_the_weight_entropy_of_a_batch_of_those_groups_alone(beta: float) -> None:
    found, alone = batch().statistics(beta=beta), informative(batch()).statistics(beta=beta)
    assert (found.informative_groups, found.tied_groups, found.groups) == (8, 4, 12)
    for own, plain in (
        ("informative_weight_entropy", "weight_entropy"),
        ("informative_entropy_tau", "entropy_tau"),
        ("informative_entropy_beta", "entropy_beta"),
        ("informative_entropy_at_tau_min", "entropy_at_tau_min"),
        ("informative_entropy_at_tau_max", "entropy_at_tau_max"),
    ):
        assert found.mean(own) == pytest.approx(alone.mean(plain), rel=1e-13), own
    assert found.reach(SIGNAL) == pytest.approx(alone.reach("weight_entropy"), rel=1e-13)
    assert found.entropy_slope(SIGNAL) == pytest.approx(alone.entropy_slope("weight_entropy"), rel=1e-13)
    assert found.mean(SIGNAL) != pytest.approx(found.mean("weight_entropy"), rel=1e-3)


def test_the_closed_form_of_two_answers() -> None:
    """G = 2, β = 0: the log-odds are (r₁ − r₂)/(T_q·τ), and H that of a coin."""
    rewards = torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    found = Batch(rewards, listwise_q(rewards, 0.5, 0.0).log(), torch.zeros_like(rewards)).statistics(0.8, 0.0)
    share = 1 / (1 + math.exp(-1 / (0.5 * 0.8)))
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert found.mean(SIGNAL) == pytest.approx(entropy, rel=1e-13)
    assert found.mean("weight_entropy") == pytest.approx((entropy + math.log(2)) / 2, rel=1e-13)


def test_the_derivatives_are_central_differences() -> None:
    measured, step = batch(), 1e-5

    def entropy(tau: float, beta: float) -> float:
        value = measured.statistics(tau, beta).mean(SIGNAL)
        assert value is not None
        return value

    found = measured.statistics()
    by_tau = (entropy(TAU + step, BETA) - entropy(TAU - step, BETA)) / (2 * step)
    by_beta = (entropy(TAU, BETA + step) - entropy(TAU, BETA - step)) / (2 * step)
    assert found.mean("informative_entropy_tau") == pytest.approx(by_tau, rel=1e-7)
    assert found.mean("informative_entropy_beta") == pytest.approx(by_beta, rel=1e-7)


def test_the_reach_is_what_the_bounds_give() -> None:
    measured = batch()
    low, high = (measured.statistics(tau, BETA).mean(SIGNAL) for tau in BOUNDS.tau)
    assert measured.statistics().reach(SIGNAL) == pytest.approx(Reach(low, high), rel=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize("shards", [2, 5, 12])
def test_shards_merge_to_the_whole(shards: int) -> None:
    """Of twelve shards four have a tied group only."""
    parts = [batch().take(part).statistics() for part in torch.arange(12).tensor_split(shards)]
    assert shards < 12 or [part.informative_groups for part in parts].count(0) == 4
    merged, whole = merge_all(parts), batch().statistics()
    for name in ("informative_weight_entropy", "informative_entropy_tau", "informative_entropy_beta"):
        assert merged.mean(name) == pytest.approx(whole.mean(name), rel=1e-12)
    assert merged.reach(SIGNAL) == pytest.approx(whole.reach(SIGNAL), rel=1e-12)
    assert (merged.informative_groups, merged.ranged_informative_groups) == (8, 8)


def test_all_groups_tied_is_measured_and_has_no_mean() -> None:
    found = batch(tied=tuple(range(12))).statistics()
    assert (found.informative_weight_entropy_sum, found.informative_groups) == (0.0, 0)
    assert found.mean(SIGNAL) is found.reach(SIGNAL) is found.entropy_slope(SIGNAL) is None
    assert found.mean("weight_entropy") is not None
    assert found.invalid_field() is None


def test_rewards_that_differ_by_the_last_bit_differ() -> None:
    rewards = torch.tensor([[0.1, 0.1], [0.1, 0.1 + 1e-16], [0.0, -0.0], [0.1, math.nextafter(0.1, 1)]]).double()
    rewards[3] = torch.tensor([0.1, math.nextafter(0.1, 1)], dtype=torch.float64)
    assert rewards_differ(rewards).tolist() == [False, False, False, True]


# --- control ---

USUAL = Sensitivity(
    entropy=1.6, kl=0.08, entropy_tau=0.5, entropy_beta=0.2, kl_tau=-0.01, kl_beta=-0.02, steps=1, tokens=100,
    tau=TAU, beta=BETA, version=0, share=1.0,
)  # fmt: skip
NO_GROUP = replace(USUAL, entropy=0.0, entropy_tau=0.0, entropy_beta=0.0)
"""What the unroll sends for a batch without an informative group: means over none."""


def controlled(**settings: object) -> ControllerConfig:
    given = {"group_size": 6, "entropy_signal": SIGNAL, "target_entropy": 1.2, "target_kl": 0.05, **settings}
    return ControllerConfig(**given)  # type: ignore[arg-type]


def with_tokens(statistics: BatchStatistics) -> BatchStatistics:
    return replace(statistics, tokens=100, policy_kl_sum=8.0)


ALL_TIED = with_tokens(batch(tied=tuple(range(12))).statistics())
SOME_TIED = with_tokens(batch().statistics())


def test_the_controller_holds_that_mean() -> None:
    _, decision = Controller(controlled()).step(Controller(controlled()).init(), SOME_TIED)
    assert decision.entropy == pytest.approx(informative(batch()).statistics().mean("weight_entropy"), rel=1e-13)
    assert decision.entropy_reach == SOME_TIED.reach(SIGNAL)
    assert decision.tied_share == pytest.approx(4 / 12)


def test_a_loop_reaches_the_target_on_the_informative_groups() -> None:
    """With all groups counted, τ would end lower: tied ones stay near log G."""
    measured, controller = batch(), Controller(controlled(target_kl=0.0))
    state = controller.init()
    for _ in range(300):
        state, _ = controller.step(state, measured.statistics(state.tau, BETA))
    own = informative(measured)
    entropy = weight_entropy(group_weights(own.log_q, own.rho, state.tau, BETA)).mean().item()
    assert entropy == pytest.approx(1.2, rel=1e-6)
    over_all = Controller(controlled(target_kl=0.0, entropy_signal="weight_entropy"))
    lower = over_all.init()
    for _ in range(300):
        lower, _ = over_all.step(lower, measured.statistics(lower.tau, BETA))
    assert lower.tau < 0.9 * state.tau


def test_newton_steps_by_the_slope_of_the_same_groups() -> None:
    """A full step, undamped but for 10⁻²: τ − gradient/(slope + .01), in units of the target."""
    config = controlled(tau_rule=Newton(space="linear", learning_rate=1.0, clip=None), target_kl=0.0)
    state, decision = Controller(config).step(Controller(config).init(), SOME_TIED)
    mean, slope = SOME_TIED.mean(SIGNAL), SOME_TIED.mean("informative_entropy_tau")
    assert mean is not None and slope is not None
    assert state.tau == pytest.approx(TAU - (mean / 1.2 - 1) / (slope / 1.2 + 0.01), rel=1e-12)
    assert decision.entropy == mean


def test_a_batch_without_an_informative_group_moves_beta_alone() -> None:
    controller = Controller(controlled())
    state, decision = controller.step(controller.init(), ALL_TIED)
    assert (state.tau, decision.entropy, decision.tau_grad) == (TAU, None, None)
    assert state.beta > BETA
    assert decision.events == ("tau.not_measured", "beta.clipped")
    assert decision.reason is Reason.CLIPPED


def test_without_a_kl_target_such_a_batch_has_no_gradient() -> None:
    controller = Controller(controlled(target_kl=0.0))
    state, decision = controller.step(controller.init(), ALL_TIED)
    assert (state.tau, state.beta, decision.reason) == (TAU, BETA, Reason.NO_GRADIENT)
    after, _ = controller.step(state, SOME_TIED)
    assert after.tau != TAU


def test_batches_between_two_updates_are_merged() -> None:
    controller = Controller(controlled(update_interval=3))
    parts = [SOME_TIED, ALL_TIED, with_tokens(batch(seed=1).statistics())]
    state = controller.init()
    for part in parts:
        state, decision = controller.step(state, part)
    total = sum(part.informative_weight_entropy_sum or 0.0 for part in parts)
    assert decision.entropy == pytest.approx(total / 16, rel=1e-13)


@pytest.mark.parametrize("interval", [1, 2])
@pytest.mark.parametrize("form", [Paired(), Joint(), Decoupled()], ids=lambda form: form.type)
def test_an_unroll_over_no_informative_group_leaves_tau(form: Paired | Joint | Decoupled, interval: int) -> None:
    """Its H is 0 over no group: no error of −100 %. Also where an earlier batch of the window had such groups."""
    controller = Controller(controlled(objective=TruncatedBackprop(form=form), update_interval=interval))
    state, decision = controller.init(), None
    for part in [SOME_TIED, ALL_TIED][-interval:]:
        state, decision = controller.step(state, part, ControllerGradients(sensitivity=NO_GROUP))
    assert isinstance(decision, Decision)
    assert (state.tau, decision.tau_grad, decision.entropy) == (TAU, None, None)
    assert state.beta != BETA or form.type == "decoupled"
    assert "tau.not_measured" in decision.events


def test_it_leaves_the_running_sensitivity_of_tau_as_it_was() -> None:
    controller = Controller(controlled(objective=TruncatedBackprop(form=Paired())))
    state, _ = controller.step(controller.init(), SOME_TIED, ControllerGradients(sensitivity=USUAL))
    after, _ = controller.step(state, ALL_TIED, ControllerGradients(sensitivity=NO_GROUP))
    memories = [each.objective["paired"] for each in (state, after)]
    assert memories[0]["entropy_tau"] == memories[1]["entropy_tau"]
    assert memories[0]["kl_beta"] != memories[1]["kl_beta"]
