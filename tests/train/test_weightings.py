"""Each weighting in training: the gradient that it gives, the unroll through it, and a short run."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from maxent_ray.config.loading import build_config, load_config, with_overrides
from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.measurement import RewardedGroups, batch_statistics
from maxent_ray.core.objectives import Unroll
from maxent_ray.core.state import Coefficients
from maxent_ray.core.weightings import (
    EntropicWeighting,
    GRPOWeighting,
    ListwiseWeighting,
    MaxEntWeighting,
    PassAtKWeighting,
    RepoRWeighting,
    UCPOWeighting,
    UnlikelinessWeighting,
    Weighting,
)
from maxent_ray.core.weightings.coefficients import GroupValues, coefficients, log_q_of
from maxent_ray.policy import Policy, score, sequence_mean
from maxent_ray.train.batch import PreparedBatch
from maxent_ray.train.loss import policy_loss, weights_of
from maxent_ray.train.run_local import run_local
from maxent_ray.train.unroll.sensitivity import unroll_sensitivity
from tests.train.tiny import SETTINGS
from tests.train.unroll.unroll_problem import GRPO

BETA = 0.4
WEIGHTINGS: dict[str, Weighting] = {
    "maxent": MaxEntWeighting(),
    "maxent-loss": MaxEntWeighting(reference="loss"),
    "grpo": GRPOWeighting(),
    "dr_grpo": GRPOWeighting(normalization="none"),
    "listwise": ListwiseWeighting(),
    "pass_at_k": PassAtKWeighting(k=2),
    "ucpo": UCPOWeighting(),
    "unlikeliness": UnlikelinessWeighting(),
    "entropic": EntropicWeighting(),
    "repo_r": RepoRWeighting(),
}


def initial(weighting: Weighting) -> float:
    return 0.3 if weighting.tau is None else weighting.tau.initial


def prepared(batch: PreparedBatch, weighting: Weighting) -> PreparedBatch:
    """The batch with the q of a weighting, in float64."""
    return replace(batch, log_q=log_q_of(weighting, batch.rewards, lengths_of(batch)))


def lengths_of(batch: PreparedBatch) -> Tensor:
    return batch.rollout.completion_mask.sum(-1).view_as(batch.rewards).double() / GRPO.max_new_tokens


def gradient(loss: Tensor, policy: Policy) -> Tensor:
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(policy.model.parameters()))])


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_the_gradient_is_reinforce_with_the_weightings_coefficients(
    policy: Policy, batch: PreparedBatch, name: str
) -> None:
    """−mean over groups of Σ cᵢ ∇ log π̄(yᵢ), with coefficients that are constants, plus β ∇KL."""
    weighting = WEIGHTINGS[name]
    tau, made = initial(weighting), prepared(batch, weighting)
    terms = policy_loss(policy.model, made, tau, BETA, grpo=GRPO, weighting=weighting)
    mask = made.rollout.completion_mask
    logprobs = sequence_mean(score(policy.model, made.rollout).logprobs, mask).view_as(made.rewards)
    weights = weights_of(made, weighting, tau, BETA)
    fixed = coefficients(weighting, GroupValues(made.rewards, logprobs.detach(), lengths_of(made), weights), tau)
    kl = policy_loss(policy.model, made, tau, BETA, grpo=GRPO, weighting=weighting).mean_kl(mask.sum())
    expected = -(fixed * logprobs).sum() / len(fixed) + BETA * kl
    torch.testing.assert_close(gradient(terms.loss, policy), gradient(expected, policy), rtol=1e-9, atol=1e-12)
    assert fixed.abs().max() > 0.01
    known = policy_loss(policy.model, made, tau, BETA, grpo=GRPO, weighting=weighting, weights=weights)
    assert known.loss.item() == terms.loss.item()  # weights that were computed before are taken as they are


# --- the unroll ---


def entropy_after_a_step(
    policy: Policy, batch: PreparedBatch, rates: dict[str, Tensor], weighting: Weighting, tau: float, beta: float
) -> tuple[float, float]:
    """Policy entropy and KL on the last two groups after one real step on the first two, on a copy of the model."""
    model = copy.deepcopy(policy.model)
    inner, outer = batch.take(slice(0, 2)), batch.take(slice(2, 4))
    policy_loss(model, inner, tau, beta, grpo=GRPO, weighting=weighting).loss.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            assert parameter.grad is not None
            parameter -= rates[parameter_name] * parameter.grad
        terms = policy_loss(model, outer, tau, beta, grpo=GRPO, weighting=weighting)
    tokens = outer.rollout.completion_mask.sum()
    return (terms.token_entropy.sum() / tokens).item(), terms.mean_kl(tokens).item()


@pytest.mark.parametrize("mode", ["reverse", "forward", "first_order"])
@pytest.mark.parametrize("name", WEIGHTINGS)
def test_the_unroll_differentiates_a_real_step(policy: Policy, batch: PreparedBatch, name: str, mode: str) -> None:
    """dH/dτ, dH/dβ, dKL/dτ and dKL/dβ against central differences; 0 in τ where there is no coefficient."""
    weighting = WEIGHTINGS[name]
    tau, made = initial(weighting), prepared(batch, weighting)
    rates = {key: torch.full_like(value, 0.02) for key, value in policy.model.named_parameters()}
    tokens = made.rollout.completion_mask
    nothing = torch.zeros(tokens.shape, dtype=torch.float64)
    result = unroll_sensitivity(
        policy.model,
        made,
        batch_statistics(RewardedGroups(made.rewards), nothing, nothing, tokens),
        Coefficients(tau, BETA, version=0, step=0),
        rates=rates,
        share=0.1,
        grpo=GRPO,
        weighting=weighting,
        controller=ControllerConfig(group_size=4, entropy_signal="policy_entropy", weighting=weighting),
        settings=Unroll(steps=1, groups=2, mode=mode),  # type: ignore[arg-type]
    )
    h = 1e-4 * tau
    (up, kl_up), (down, kl_down) = (
        entropy_after_a_step(policy, made, rates, weighting, tau + change, BETA) for change in (h, -h)
    )
    assert result.entropy_tau == pytest.approx((up - down) / (2 * h), rel=1e-4, abs=1e-7)
    assert result.kl_tau == pytest.approx((kl_up - kl_down) / (2 * h), rel=1e-4, abs=1e-7)
    (up, kl_up), (down, kl_down) = (
        entropy_after_a_step(policy, made, rates, weighting, tau, BETA + change) for change in (1e-4, -1e-4)
    )
    assert result.entropy_beta == pytest.approx((up - down) / 2e-4, rel=1e-4, abs=1e-7)
    assert result.kl_beta == pytest.approx((kl_up - kl_down) / 2e-4, rel=1e-4, abs=1e-7)
    assert (result.entropy_tau == 0) == (weighting.tau is None)


@pytest.mark.parametrize("steps", [1, 2])
def test_without_a_reference_in_the_weights_beta_has_no_part_in_their_entropy(
    policy: Policy, batch: PreparedBatch, steps: int
) -> None:
    tokens = batch.rollout.completion_mask
    nothing = torch.zeros(tokens.shape, dtype=torch.float64)
    found = {}
    for reference in ("loss", "weights_and_loss"):
        weighting = MaxEntWeighting(reference=reference)  # type: ignore[arg-type]
        found[reference] = unroll_sensitivity(
            policy.model,
            batch,
            batch_statistics(RewardedGroups(batch.rewards), nothing, nothing, tokens),
            Coefficients(0.3, BETA, version=0, step=0),
            rates={key: torch.full_like(value, 0.02) for key, value in policy.model.named_parameters()},
            share=0.1,
            grpo=GRPO,
            weighting=weighting,
            controller=ControllerConfig(group_size=4, weighting=weighting),
            settings=Unroll(steps=steps, groups=2),
        )
    assert found["loss"].entropy_beta == 0.0
    assert found["loss"].entropy_tau > 0
    assert found["weights_and_loss"].entropy_beta != 0.0


# --- short runs ---

POLICY_ENTROPY = ["controller.entropy_signal=policy_entropy", "controller.target_entropy=0.8"]
RUNS = {
    "maxent": ["weighting.type=maxent"],
    "maxent-loss": ["weighting.reference=loss"],
    "maxent-loss-decoupled": [
        "weighting.reference=loss",
        "controller.objective={type: truncated_backprop, form: {type: decoupled}, unroll: {groups: 2}}",
    ],
    "grpo": ["weighting.type=grpo"],
    "dr_grpo": ["weighting={type: grpo, normalization: none}"],
    "listwise": ["weighting.type=listwise"],
    "pass_at_k": ["weighting={type: pass_at_k, k: 2}"],
    "pass_at_k-truncated_backprop": [
        "weighting={type: pass_at_k, k: 2}",
        "controller.objective={type: truncated_backprop, unroll: {groups: 2}}",
    ],
    "ucpo": ["weighting.type=ucpo", *POLICY_ENTROPY],
    "ucpo-truncated_backprop": [
        "weighting.type=ucpo",
        *POLICY_ENTROPY,
        "controller.objective={type: truncated_backprop, unroll: {groups: 2}}",
    ],
    "unlikeliness": ["weighting.type=unlikeliness", *POLICY_ENTROPY],
    "entropic": ["weighting.type=entropic", *POLICY_ENTROPY],
    "entropic-linear": [
        "weighting.type=entropic",
        *POLICY_ENTROPY,
        "controller.tau_min=0",
        "controller.tau_rule={type: pi, space: linear}",
    ],
    "repo_r": ["weighting.type=repo_r", *POLICY_ENTROPY],
}


@pytest.mark.parametrize("name", RUNS)
def test_a_short_run_trains_and_moves_what_there_is_to_move(name: str) -> None:
    """The decoupled form lets β wait for the first three measurements."""
    small = build_config(SETTINGS).model_dump()
    overrides = {"train.steps": 6 if "decoupled" in name else 4, "runtime.lag": 0}
    config = load_config(overrides=RUNS[name])
    values = with_overrides(config.model_dump(), {**overrides, "grpo": small["grpo"], "task": small["task"]})
    result = run_local(build_config({**values, "evaluation": small["evaluation"]}))
    weighting = config.weighting
    assert all(math.isfinite(row.loss) and row.gradient_norm > 0 for row in result.rows)
    assert len({row.beta for row in result.rows}) > 1
    taus = [row.tau for row in result.rows]
    assert taus[0] == initial(weighting)
    assert (len({*taus}) > 1) == (weighting.tau is not None)
    has_entropy = weighting.has_weights or weighting.tau is not None
    assert all(math.isfinite(row.entropy) == has_entropy for row in result.rows)


def test_plain_grpo_is_named_so_where_nothing_controls_it() -> None:
    labels = {}
    for name, overrides in {
        "alone": ["weighting.type=grpo", "controller.objective=null"],
        "kl_loop": ["weighting.type=grpo"],
        "fixed": ["weighting.type=ucpo", "controller.objective=null"],
    }.items():
        tiny = ["train.steps=1", "grpo.prompts_per_step=2", "grpo.group_size=4", "evaluation.prompts=2"]
        labels[name] = run_local(load_config(overrides=[*tiny, *overrides])).rows[0].objective
    assert labels == {"alone": "grpo", "kl_loop": "analytic", "fixed": "fixed"}
