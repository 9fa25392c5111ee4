"""From sensitivities to controller gradients: the joint form against autograd, the paired form by hand."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.objectives import (
    ControllerGradients,
    ControllerMetaContext,
    Joint,
    Paired,
    Sensitivity,
    TruncatedBackprop,
)
from maxent_ray.core.objectives.joint import joint
from maxent_ray.core.objectives.merging import RankWeights, merge_sensitivities
from maxent_ray.core.objectives.paired import RunningSensitivity, SensitivityTrack, paired
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.update_rules import PI
from maxent_ray.core.validation import to_plain
from maxent_ray.errors import InvalidReportError

USUAL = Sensitivity(
    entropy=1.8,
    kl=0.06,
    entropy_tau=0.5,
    entropy_beta=0.2,
    kl_tau=-0.3,
    kl_beta=-0.1,
    steps=2,
    tokens=100,
    tau=0.3,
    beta=0.1,
    version=4,
    share=0.1,
)
TARGET_ENTROPY, TARGET_KL = 1.6, 0.05
VALUES = ("entropy", "kl", "entropy_tau", "entropy_beta", "kl_tau", "kl_beta")


def tracked(*batches: Sensitivity, decay: float = 0.9) -> SensitivityTrack:
    track = SensitivityTrack()
    for batch in batches:
        track = track.track(batch, decay)
    return track


# --- merging ---


def test_ranks_are_averaged_by_what_their_signals_are_means_over() -> None:
    """H(w) is a mean over groups, KL one over tokens: a rank with long answers has no more say in H."""
    a = replace(USUAL, entropy=1.0, kl_beta=-1.0, tokens=30)
    b = replace(USUAL, entropy=2.0, kl_beta=0.0, tokens=10)
    merged = merge_sensitivities([a, b], [RankWeights(entropy=4, kl=30), RankWeights(entropy=4, kl=10)])
    assert merged.entropy == pytest.approx(1.5)
    assert merged.kl_beta == pytest.approx(-0.75)
    assert merged.kl_tau == pytest.approx(USUAL.kl_tau)
    assert (merged.steps, merged.tokens) == (2, 40)


def test_merging_is_associative_and_knows_no_order() -> None:
    rng = random.Random(0)

    def draw() -> tuple[Sensitivity, RankWeights]:
        tokens = rng.randrange(1, 500)
        values = {name: rng.gauss(0, 1) for name in VALUES}
        return replace(USUAL, **values, tokens=tokens), RankWeights(rng.randrange(1, 9), tokens)

    def merged(*ranks: tuple[Sensitivity, RankWeights]) -> tuple[Sensitivity, RankWeights]:
        reports, weights = zip(*ranks, strict=True)
        return merge_sensitivities(reports, weights), RankWeights(*map(sum, zip(*weights, strict=True)))

    for _ in range(20):
        a, b, c = draw(), draw(), draw()
        together, _ = merged(a, b, c)
        for other, _ in (merged(merged(a, b), c), merged(c, a, b)):
            assert other.tokens == together.tokens
            for name in VALUES:
                assert getattr(other, name) == pytest.approx(getattr(together, name), abs=1e-12)


def test_one_rank_is_itself_and_a_rank_without_weight_has_no_say() -> None:
    own = RankWeights(4, 30)
    assert merge_sensitivities([USUAL], [own]) == USUAL
    silent = replace(USUAL, entropy=99.0, tokens=0)
    assert merge_sensitivities([USUAL, silent], [own, RankWeights(0, 0)]).entropy == pytest.approx(USUAL.entropy)


def test_what_cannot_be_merged_is_an_error() -> None:
    own = RankWeights(4, 30)
    with pytest.raises(ValueError, match="no sensitivities to merge"):
        merge_sensitivities([], [])
    with pytest.raises(ValueError, match=r"ranks differ in the steps of their unrolls: \[1, 2\]"):
        merge_sensitivities([USUAL, replace(USUAL, steps=1)], [own, own])
    with pytest.raises(ValueError, match=r"ranks differ in the tau of their unrolls: \[0.3, 0.4\]"):
        merge_sensitivities([USUAL, replace(USUAL, tau=0.4)], [own, own])


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_bad_number_is_not_finite(name: str, value: float) -> None:
    assert USUAL.is_finite()
    assert not replace(USUAL, **{name: value}).is_finite()


# --- joint ---


@pytest.mark.parametrize("point", [(0.3, 0.1), (1.2, 0.7), (0.05, 2.0)])
def test_joint_is_the_gradient_of_the_meta_loss(point: tuple[float, float]) -> None:
    """M = ½ e_H² + ½ e_KL² over smooth H(τ, β) and KL(τ, β), by autograd; β's sign is turned."""
    at = torch.tensor(point, dtype=torch.float64, requires_grad=True)

    def measured(x: Tensor) -> tuple[Tensor, Tensor]:
        return 2 * torch.tanh(x[0] + 0.3 * x[1]), 0.1 * torch.exp(-x[1]) + 0.05 / (1 + x[0])

    entropy, kl = measured(at)
    (by_entropy,) = torch.autograd.grad(entropy, at)
    (by_kl,) = torch.autograd.grad(kl, at)
    sensitivity = Sensitivity(
        entropy.item(),
        kl.item(),
        *by_entropy.tolist(),
        *by_kl.tolist(),
        steps=1,
        tokens=1,
        tau=point[0],
        beta=point[1],
        version=0,
        share=1.0,
    )

    def meta_loss(target_entropy: float | None, target_kl: float) -> Tensor:
        entropy, kl = measured(at)
        loss = torch.zeros((), dtype=torch.float64)
        if target_entropy is not None:
            loss = loss + 0.5 * ((entropy - target_entropy) / target_entropy) ** 2
        return loss if target_kl == 0 else loss + 0.5 * ((kl - target_kl) / target_kl) ** 2

    for target_entropy, target_kl in ((1.6, 0.05), (None, 0.05), (1.6, 0.0)):
        (expected,) = torch.autograd.grad(meta_loss(target_entropy, target_kl), at)
        result = joint(sensitivity, target_entropy, target_kl)
        assert result.tau_grad == pytest.approx(expected[0].item(), rel=1e-12)
        assert result.beta_grad == pytest.approx(-expected[1].item(), rel=1e-12)


@pytest.mark.parametrize("target", [-1.5, 0.0, 0.4])
def test_joint_divides_the_entropys_error_by_its_scale(target: float) -> None:
    """d/dτ of ½((H − H*)/h)² is (H − H*)/h² · dH/dτ, for targets of either sign."""
    result = joint(USUAL, target, 0.0, entropy_scale=0.5)
    assert result.tau_grad == pytest.approx((1.8 - target) / 0.25 * 0.5)
    assert result.beta_grad == pytest.approx(-(1.8 - target) / 0.25 * 0.2)


# --- paired ---


@pytest.mark.parametrize("target", [-1.5, 0.0, 0.4])
def test_paired_divides_the_entropys_error_by_its_scale(target: float) -> None:
    result = paired(USUAL, tracked(USUAL), target, 0.0, entropy_scale=0.5)
    assert result.tau_grad == pytest.approx((1.8 - target) / 0.5)


@pytest.mark.parametrize("form", [Paired(), Joint()])
@pytest.mark.parametrize(("entropy", "sign"), [(-1.2, -1), (-0.8, 1)])
def test_tau_falls_where_a_negative_entropy_is_above_its_target(
    form: Paired | Joint, entropy: float, sign: int
) -> None:
    """Divided by a target of −1 the error would have the other sign, and τ would run away."""
    objective = TruncatedBackprop(form=form).build(ControllerConfig(group_size=8).loops)
    found = replace(USUAL, entropy=entropy, steps=1)
    context = ControllerMetaContext(
        weighting=SimpleNamespace(tau_target_entropy=-1.0, kl_target=0.0, entropy_scale=1.0),
        weight_stats=None,
        loss_outputs=None,
        global_step=0,
        backprop_fn=lambda steps: ControllerGradients(sensitivity=found),
    )
    result = objective.compute(context)
    assert result is not None
    assert result.tau_grad is not None
    assert math.copysign(1, result.tau_grad) == sign


def test_the_first_batch_gives_the_relative_errors_with_its_signs() -> None:
    """A sensitivity over its own magnitude is ±1: e_H = .2/1.6, e_KL = .01/.05."""
    result = paired(USUAL, tracked(USUAL), TARGET_ENTROPY, TARGET_KL)
    assert result.tau_grad == pytest.approx(0.125)
    assert result.beta_grad == pytest.approx(0.2)
    turned = replace(USUAL, entropy_tau=-0.5, kl_beta=0.1)
    result = paired(turned, tracked(turned), TARGET_ENTROPY, TARGET_KL, least_confidence=-1.0)
    assert result.tau_grad == pytest.approx(-0.125)
    assert result.beta_grad == pytest.approx(-0.2)


@pytest.mark.parametrize("form", [Paired(), Paired(least_confidence=0.6)])
def test_an_unroll_that_sees_the_other_direction_shortens_the_step_and_does_not_turn_it(form: Paired) -> None:
    """Where β is far too high, KL after K steps does not fall with it; the loop must leave such a place."""
    turned = replace(USUAL, entropy_tau=-0.5, kl_beta=0.1)
    result = paired(turned, tracked(turned), TARGET_ENTROPY, TARGET_KL, least_confidence=form.least_confidence)
    assert form.least_confidence > 0
    assert result.tau_grad == pytest.approx(0.125 * form.least_confidence)
    assert result.beta_grad == pytest.approx(0.2 * form.least_confidence)
    assert (result.tau_confidence, result.beta_confidence) == (form.least_confidence, form.least_confidence)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_scale_of_the_sensitivities_plays_no_part(scale: float) -> None:
    batches = [replace(USUAL, entropy_tau=s * scale, kl_beta=-s * scale) for s in (0.5, 0.7, 0.2)]
    plain = [replace(USUAL, entropy_tau=s, kl_beta=-s) for s in (0.5, 0.7, 0.2)]
    result = paired(batches[-1], tracked(*batches), TARGET_ENTROPY, TARGET_KL)
    expected = paired(plain[-1], tracked(*plain), TARGET_ENTROPY, TARGET_KL)
    assert result.tau_grad == pytest.approx(expected.tau_grad, rel=1e-9)
    assert result.beta_grad == pytest.approx(expected.beta_grad, rel=1e-9)


def test_a_step_is_proportional_to_the_error() -> None:
    track = tracked(USUAL)
    half = replace(USUAL, entropy=(USUAL.entropy + TARGET_ENTROPY) / 2, kl=(USUAL.kl + TARGET_KL) / 2)
    full_step, half_step = (paired(s, track, TARGET_ENTROPY, TARGET_KL) for s in (USUAL, half))
    assert full_step.tau_grad is not None
    assert full_step.beta_grad is not None
    assert half_step.tau_grad == pytest.approx(full_step.tau_grad / 2)
    assert half_step.beta_grad == pytest.approx(full_step.beta_grad / 2)


def test_batches_that_agree_less_change_the_confidence_and_not_the_error() -> None:
    """A proportional part that saw the error times the confidence would move β on this constant error."""
    rule = PI(learning_rate=1e-9, proportional_gain=8.0, clip=None, ema_decay=0.0)
    targets = {"group_size": 8, "target_entropy": TARGET_ENTROPY, "target_kl": TARGET_KL}
    loop = Controller(ControllerConfig(**targets, objective=TruncatedBackprop(), beta_rule=rule))  # type: ignore[arg-type]
    batch = BatchStatistics(groups=8, weight_entropy_sum=8 * USUAL.entropy, tokens=1, policy_kl_sum=USUAL.kl)
    state, signals = loop.init(), set()
    for kl_beta in (-0.1, -0.9, -0.01, -0.4):
        measured = ControllerGradients(sensitivity=replace(USUAL, steps=1, kl_beta=kl_beta))
        state, decision = loop.step(state, batch, measured)
        signals.add(round(decision.beta_grad or 0.0, 9))
    assert len(signals) == 3  # the second batch agrees with the first in full
    assert state.beta == pytest.approx(0.1, abs=1e-8)


@pytest.mark.parametrize("least", [-1.0, 0.25])
@pytest.mark.parametrize("first", [0.0, 0.02], ids=["none", "reversed"])
def test_a_direction_that_is_found_or_turns_is_no_change_of_the_error(first: float, least: float) -> None:
    """A proportional part would answer a KL that stays at twice its target by 8 per unit of it."""
    rule = PI(learning_rate=0.01, proportional_gain=8.0, clip=None, ema_decay=0.0)
    objective = TruncatedBackprop(form=Paired(least_confidence=least))
    targets = {"group_size": 8, "target_entropy": TARGET_ENTROPY, "target_kl": TARGET_KL}
    loop = Controller(ControllerConfig(**targets, objective=objective, beta_rule=rule))  # type: ignore[arg-type]
    batch = BatchStatistics(groups=8, weight_entropy_sum=8 * USUAL.entropy, tokens=1, policy_kl_sum=2 * TARGET_KL)
    state, betas = loop.init(), [0.1]
    for kl_beta in (first, *[-0.02] * 20):
        measured = ControllerGradients(sensitivity=replace(USUAL, steps=1, kl=2 * TARGET_KL, kl_beta=kl_beta))
        state, _ = loop.step(state, batch, measured)
        betas.append(state.beta)
    confidence = max(least, 0.0 if first == 0 else -1.0)
    assert betas[1] == pytest.approx(0.1 * math.exp(0.01 * confidence))  # the wrong way, if the unroll alone decides
    steps = [math.log(b / a) for a, b in itertools.pairwise(betas)]
    assert max(map(abs, steps)) <= 0.01 * (1 + 1e-9)
    assert steps[-1] > 0.005


def test_the_errors_are_of_what_was_measured_and_not_of_what_steps_would_make_of_it() -> None:
    """In AdamW's first step an unroll took KL to fifty times its target, where the real step had none."""
    targets = {"group_size": 8, "target_entropy": TARGET_ENTROPY, "target_kl": TARGET_KL}
    loop = Controller(ControllerConfig(**targets, objective=TruncatedBackprop(form=Paired())))  # type: ignore[arg-type]
    batch = BatchStatistics(groups=8, weight_entropy_sum=8 * TARGET_ENTROPY, tokens=1, policy_kl_sum=1.1 * TARGET_KL)
    unrolled = replace(USUAL, steps=1, entropy=2 * TARGET_ENTROPY, kl=50 * TARGET_KL)
    _, decision = loop.step(loop.init(), batch, ControllerGradients(sensitivity=unrolled))
    assert decision.tau_grad == pytest.approx(0.0, abs=1e-12)
    assert decision.beta_grad == pytest.approx(0.1)


def test_a_missing_target_gives_no_signal() -> None:
    assert paired(USUAL, tracked(USUAL), None, TARGET_KL).tau_grad is None
    assert paired(USUAL, tracked(USUAL), TARGET_ENTROPY, 0.0).beta_grad is None


def test_the_two_signals_use_their_own_sensitivity_only() -> None:
    track = tracked(USUAL)
    crossed = replace(USUAL, entropy_beta=9.0, kl_tau=9.0)
    assert paired(crossed, track, TARGET_ENTROPY, TARGET_KL).tau_grad == pytest.approx(0.125)
    assert paired(crossed, track, TARGET_ENTROPY, TARGET_KL).beta_grad == pytest.approx(0.2)


# --- the running sensitivities ---


@pytest.mark.parametrize(("direction", "updates", "batches"), [(0.25, 40, 19), (-0.6, 4, 4), (0.02, 1000, 19)])
def test_the_certainty_of_a_sign_is_that_of_a_normal_distribution(
    direction: float, updates: int, batches: int
) -> None:
    """P(mean > 0) − P(mean < 0), with the largest variance that values in −1 … 1 can have around that mean."""
    spread = math.sqrt((1 - direction**2) / batches)
    expected = norm.sf(0, direction, spread) - norm.cdf(0, direction, spread)
    assert RunningSensitivity(direction=direction, updates=updates).certainty(0.9) == pytest.approx(expected)


def test_batches_that_agree_in_full_leave_no_doubt() -> None:
    signs = [RunningSensitivity(direction=sign, updates=1).certainty(0.9) for sign in (1.0, -1.0)]
    assert signs == [1.0, -1.0]
    assert RunningSensitivity().certainty(0.9) == 0.0


def test_constant_sensitivities_have_their_magnitude_and_full_direction_from_the_start() -> None:
    running = RunningSensitivity()
    for count in range(1, 30):
        running = running.track(-0.02, 0.9)
        assert running.log_magnitude == pytest.approx(math.log(0.02))
        assert running.direction == pytest.approx(-1.0)
        assert running.updates == count


def test_the_first_updates_are_plain_means_and_later_ones_decay() -> None:
    """decay .5: two updates average evenly, from then on the old part is halved."""
    running = RunningSensitivity().track(1.0, 0.5).track(math.e, 0.5)
    assert running.log_magnitude == pytest.approx(0.5)
    running = running.track(math.e**2, 0.5)
    assert running.log_magnitude == pytest.approx(0.5 * 0.5 + 0.5 * 2)


def test_direction_by_hand() -> None:
    """After (1, −1) the magnitude is 1 and the direction 0; a third of ½ counts by its share of the magnitude."""
    running = RunningSensitivity().track(1.0, 0.9).track(-1.0, 0.9)
    assert running.direction == pytest.approx(0.0)
    running = running.track(0.5, 0.9)
    magnitude = 0.5 ** (1 / 3)  # geometric mean of 1, 1, ½
    assert running.direction == pytest.approx(0.5 / magnitude / 3)


def test_batches_that_disagree_shrink_the_step() -> None:
    rng = random.Random(0)
    running = RunningSensitivity()
    for _ in range(200):
        running = running.track(rng.choice((-1.0, 1.0)) * math.exp(rng.gauss(0, 1)), 0.98)
    assert abs(running.direction) < 0.3


def test_one_wild_batch_neither_sets_the_scale_nor_the_direction() -> None:
    running = RunningSensitivity()
    for _ in range(10):
        running = running.track(0.01, 0.9)
    wild = running.track(-1e4, 0.9)
    assert wild.direction == pytest.approx(0.9 * 1.0 - 0.1)
    assert math.exp(wild.log_magnitude) < 0.05


def test_a_sensitivity_of_zero_shrinks_the_direction_and_says_nothing_of_the_size() -> None:
    running = RunningSensitivity().track(0.02, 0.5).track(0.02, 0.5)
    after = running.track(0.0, 0.5)
    assert after.log_magnitude == running.log_magnitude
    assert after.direction == pytest.approx(running.direction / 2)


def test_zeros_at_the_start_do_not_spoil_the_scale() -> None:
    """As when all groups tie at first: the first true sensitivity is its own magnitude."""
    running = RunningSensitivity().track(0.0, 0.9).track(0.0, 0.9)
    assert running.direction == 0.0
    running = running.track(-1e-5, 0.9)
    assert math.exp(running.log_magnitude) == pytest.approx(1e-5)
    assert running.direction == pytest.approx(-1.0)


def test_both_sensitivities_are_tracked_on_their_own() -> None:
    track = tracked(USUAL, replace(USUAL, kl_beta=0.1))
    assert track.entropy_tau.direction == pytest.approx(1.0)
    assert track.kl_beta.direction == pytest.approx(0.0)
    assert math.exp(track.entropy_tau.log_magnitude) == pytest.approx(0.5)
    assert math.exp(track.kl_beta.log_magnitude) == pytest.approx(0.1)


# --- in the controller ---


@pytest.mark.parametrize("form", [Paired(), Joint()])
def test_a_form_labels_its_gradients_and_keeps_what_they_come_from(form: Paired | Joint) -> None:
    objective = TruncatedBackprop(form=form).build(ControllerConfig(group_size=8).loops)
    context = ControllerMetaContext(
        weighting=SimpleNamespace(tau_target_entropy=TARGET_ENTROPY, kl_target=TARGET_KL),
        weight_stats=None,
        loss_outputs=None,
        global_step=0,
        backprop_fn=lambda steps: ControllerGradients(sensitivity=replace(USUAL, steps=steps)),
    )
    result = objective.compute(context)
    assert result is not None
    assert (result.source, result.sensitivity) == ("truncated_backprop", replace(USUAL, steps=1))


def paired_controller() -> Controller:
    return Controller(ControllerConfig(group_size=8, target_kl=TARGET_KL, objective=TruncatedBackprop(form=Paired())))


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("log_magnitude", 1e3, r"kl_beta\.log_magnitude is 1000.0; it must be a finite number >= -746 and <= 231"),
        ("direction", math.nan, r"kl_beta\.direction is nan; it must be a finite"),
        ("epoch", 1, r"kl_beta is a dict; .* keys .*\(unknown: 'epoch'\)"),
    ],
)
def test_a_memory_out_of_range_is_named_when_it_is_adopted(entry: str, value: object, message: str) -> None:
    rules = paired_controller()
    state = rules.init()
    memory = to_plain(SensitivityTrack())
    memory["kl_beta"][entry] = value
    with pytest.raises(InvalidReportError, match=rf"^state\.objective\.paired\.{message}"):
        rules.adopt(replace(state, objective={"paired": memory}))


def test_running_sensitivities_are_part_of_the_state() -> None:
    rules = paired_controller()
    at = replace(USUAL, steps=1)
    measured = BatchStatistics(groups=1, tokens=1, policy_kl_sum=0.06)
    state, decision = rules.step(rules.init(), measured, ControllerGradients(sensitivity=at))
    assert decision.source == "truncated_backprop"
    assert state.objective == {"paired": to_plain(tracked(at))}
    assert rules.adopt(state) == state
