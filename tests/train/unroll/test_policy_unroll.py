"""The unroll against doing it: K real steps on a copy of the model, then measuring, at τ ± h and β ± h."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from maxent_ray.config import GRPOConfig
from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.hypergradient.preconditioner import preconditioner
from maxent_ray.core.measurement import batch_statistics, measure_groups
from maxent_ray.core.objectives import Sensitivity, Unroll
from maxent_ray.core.state import Coefficients
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.weighting import group_weights, weight_entropy, weight_kl
from maxent_ray.policy import Policy
from maxent_ray.train.batch import PreparedBatch
from maxent_ray.train.loss import policy_loss
from maxent_ray.train.unroll.policy_unroll import split_groups
from maxent_ray.train.unroll.sensitivity import unroll_sensitivity

TAU, BETA = 0.3, 0.4
GRPO = GRPOConfig(group_size=4)


def tracking(**signals: Any) -> ControllerConfig:
    return ControllerConfig(group_size=4, **signals)


class Live(NamedTuple):
    """A policy after one real AdamW step on the batch, and what the unroll needs of it."""

    model: torch.nn.Module
    statistics: BatchStatistics
    rates: dict[str, Tensor]


@pytest.fixture(scope="module")
def live(policy: Policy, batch: PreparedBatch) -> Live:
    model = copy.deepcopy(policy.model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.0)
    terms = policy_loss(model, batch, TAU, BETA, grpo=GRPO)
    terms.loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    mask = batch.rollout.completion_mask
    statistics = batch_statistics(
        measure_groups(batch.rewards, batch.log_q, batch.ref_logprobs, TAU, BETA),
        terms.token_entropy.detach(),
        terms.token_kl.detach(),
        mask,
    )
    # AdamW's first step divides by |g|, so that rates are huge where g is tiny; a ceiling keeps K steps in the
    # region where central differences are meaningful. The unroll takes whatever rates it is given.
    rates = {name: rate.clamp(max=0.05) for name, rate in preconditioner(model, optimizer, 1.0).items()}
    return Live(model, statistics, rates)


def sensitivity(live: Live, batch: PreparedBatch, steps: int, **signals: Any) -> Sensitivity:
    return unroll_sensitivity(
        live.model,
        batch,
        live.statistics,
        Coefficients(TAU, BETA, version=3, step=4),
        rates=live.rates,
        share=0.1,
        grpo=GRPO,
        controller=tracking(**signals),
        settings=Unroll(steps=steps, groups=2),
    )


class Measured(NamedTuple):
    weight_entropy: float
    weight_kl: float
    policy_entropy: float
    policy_kl: float


def after(live: Live, batch: PreparedBatch, steps: int, tau: float, beta: float) -> Measured:
    """Take K steps in place on a copy, from the first two groups; measure the policy on the other two."""
    model = copy.deepcopy(live.model)
    inner, outer = batch.take(slice(0, 2)), batch.take(slice(2, 4))
    for _ in range(steps):
        model.zero_grad()
        policy_loss(model, inner, tau, beta, grpo=GRPO).loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                assert parameter.grad is not None
                parameter -= live.rates[name] * parameter.grad
    with torch.no_grad():
        terms = policy_loss(model, outer, tau, beta, grpo=GRPO)
    tokens = outer.rollout.completion_mask.sum()
    weights = group_weights(batch.log_q, batch.ref_logprobs, tau, beta)
    return Measured(
        weight_entropy(weights).mean().item(),
        weight_kl(weights, batch.ref_logprobs).mean().item(),
        (terms.token_entropy.sum() / tokens).item(),
        terms.mean_kl(tokens).item(),
    )


def slopes(live: Live, batch: PreparedBatch, steps: int, d_tau: float, d_beta: float) -> Measured:
    """Fourth-order central differences of all four measurements."""
    h = 1e-3

    def at(n: int) -> Measured:
        return after(live, batch, steps, TAU + n * h * d_tau, BETA + n * h * d_beta)

    points = [at(n) for n in (-2, -1, 1, 2)]
    return Measured(*((8 * (c - b) - (d - a)) / (12 * h) for a, b, c, d in zip(*points, strict=True)))


@pytest.mark.parametrize("steps", [1, 2])
def test_sensitivities_are_central_differences_of_real_steps(live: Live, batch: PreparedBatch, steps: int) -> None:
    by_tau, by_beta = slopes(live, batch, steps, 1, 0), slopes(live, batch, steps, 0, 1)
    base = after(live, batch, steps, TAU, BETA)
    policy_signals = {"entropy_signal": "policy_entropy", "kl_signal": "policy_kl"}
    result = sensitivity(live, batch, steps, **policy_signals)
    assert result.entropy == pytest.approx(base.policy_entropy, rel=1e-9)
    assert result.entropy_tau == pytest.approx(by_tau.policy_entropy, rel=1e-5)
    assert result.entropy_beta == pytest.approx(by_beta.policy_entropy, rel=1e-5)
    assert result.kl_tau == pytest.approx(by_tau.policy_kl, rel=1e-5)
    assert result.kl_beta == pytest.approx(by_beta.policy_kl, rel=1e-5)
    assert min(abs(result.kl_tau), abs(result.kl_beta), abs(result.entropy_tau)) > 1e-6

    result = sensitivity(live, batch, steps, kl_signal="weight_kl")
    assert result.entropy == pytest.approx(base.weight_entropy, rel=1e-9)
    assert result.kl == pytest.approx(base.weight_kl, rel=1e-9)
    assert result.entropy_tau == pytest.approx(by_tau.weight_entropy, rel=1e-5)
    assert result.entropy_beta == pytest.approx(by_beta.weight_entropy, rel=1e-5)
    assert result.kl_tau == pytest.approx(by_tau.weight_kl, rel=1e-5)
    assert result.kl_beta == pytest.approx(by_beta.weight_kl, rel=1e-5)


def test_the_number_of_steps_matters(live: Live, batch: PreparedBatch) -> None:
    by_beta = [sensitivity(live, batch, steps).kl_beta for steps in (1, 2, 4)]
    assert abs(by_beta[1] / by_beta[0] - 1) > 0.1
    assert abs(by_beta[2] / by_beta[1] - 1) > 0.1


def test_the_kl_level_is_the_batchs_plus_what_the_steps_change(live: Live, batch: PreparedBatch) -> None:
    change = after(live, batch, 2, TAU, BETA).policy_kl - after(live, batch, 0, TAU, BETA).policy_kl
    level = live.statistics.mean("policy_kl")
    assert level is not None
    assert sensitivity(live, batch, 2).kl == pytest.approx(level + change, rel=1e-9)


def test_a_sensitivity_says_what_it_was_measured_on(live: Live, batch: PreparedBatch) -> None:
    result = sensitivity(live, batch, 2)
    assert result.steps == 2
    assert result.tokens == int(batch.take(slice(2, 4)).rollout.completion_mask.sum())
    assert (result.tau, result.beta, result.version, result.share) == (TAU, BETA, 3, 0.1)


def test_the_unroll_leaves_the_model_and_its_gradients_alone(live: Live, batch: PreparedBatch) -> None:
    model = copy.deepcopy(live.model)
    model.zero_grad(set_to_none=True)
    before = copy.deepcopy(model.state_dict())
    sensitivity(live._replace(model=model), batch, 2)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_inner_kl_is_the_full_one_whatever_the_run_trains_with(live: Live, batch: PreparedBatch) -> None:
    k3 = GRPO.model_copy(update={"kl_estimator": "k3"})
    result = unroll_sensitivity(
        live.model,
        batch,
        live.statistics,
        Coefficients(TAU, BETA, version=3, step=4),
        rates=live.rates,
        share=0.1,
        grpo=k3,
        controller=tracking(),
        settings=Unroll(groups=2),
    )
    assert result == sensitivity(live, batch, 1)


def test_float32_agrees_with_float64(live: Live, batch: PreparedBatch) -> None:
    """Runs on a CPU have single precision."""
    single = live._replace(
        model=copy.deepcopy(live.model).float(),
        rates={name: rate.float() for name, rate in live.rates.items()},
    )
    exact, result = (sensitivity(model, batch, 2) for model in (live, single))
    for name in ("entropy", "kl", "entropy_tau", "entropy_beta", "kl_tau", "kl_beta"):
        assert getattr(result, name) == pytest.approx(getattr(exact, name), rel=2e-3)


@pytest.mark.parametrize("tau", [1e-3, 1e-2])
def test_sensitivities_stay_finite_where_weights_underflow(live: Live, batch: PreparedBatch, tau: float) -> None:
    """At τ_min losers have weight 0; a NaN here would freeze the controller where it started."""
    result = unroll_sensitivity(
        live.model,
        batch,
        live.statistics,
        Coefficients(tau, 1e-4, version=3, step=4),
        rates=live.rates,
        share=0.1,
        grpo=GRPO,
        controller=tracking(kl_signal="weight_kl"),
        settings=Unroll(groups=2),
    )
    values = torch.tensor([result.entropy_tau, result.entropy_beta, result.kl_tau, result.kl_beta], dtype=torch.float64)
    assert bool(values.isfinite().all())
    assert result.entropy_tau >= 0
    assert result.kl_beta <= 0


# --- which groups, and how long the steps are ---


@pytest.mark.parametrize(
    ("groups", "inner", "outer"),
    [(1, (0, 1), (1, 2)), (2, (0, 2), (2, 4)), (3, (0, 2), (2, 4)), (4, (0, 2), (2, 4)), (9, (0, 2), (2, 4))],
)
def test_steps_and_measurement_share_no_group_however_many_are_asked_for(
    batch: PreparedBatch, groups: int, inner: tuple[int, int], outer: tuple[int, int]
) -> None:
    assert split_groups(batch, groups) == (slice(*inner), slice(*outer))
