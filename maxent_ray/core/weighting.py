"""Maximum-entropy weights over a group of completions, and the convex dual that τ and β minimise.

Symbols (``docs/notation.md``): B groups of G completions; q the smoothed reward distribution, ρ the reference
log-probability of a completion (length-normalised by default), p ∝ exp(ρ) the reference over the group,
κ = τ + β.

Everything is differentiable in τ and β and exact in float64. Normalisation subtracts the largest tilted
log-probability first: log-probabilities of ±1e4 stay finite, and weights that underflow to 0 have derivative 0.

Source: maximum-entropy GRPO's listwise weighting; the dual has the form of MPO's temperature dual
(Abdolmaleki et al. 2018, arXiv:1806.06920, eq. 9) with a second multiplier for the KL term.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

Coefficient = Tensor | float
_COLDEST = 1e-12


def listwise_q(rewards: Float[Tensor, "B G"], temperature: float, epsilon: float) -> Float[Tensor, "B G"]:
    """Reward distribution over each group, q = (1 − ε)·softmax(r/T_q) + ε/G.

    Args:
        rewards: ``[B, G]`` rewards of the completions, any unit.
        temperature: T_q > 0, in units of reward.
        epsilon: Smoothing mass ε in [0, 1) spread evenly over the group, so that log q stays finite.

    Returns:
        ``[B, G]``, rows sum to one.

    Raises:
        ValueError: ``temperature`` is not positive, or ``epsilon`` is outside [0, 1).

    Example:
        >>> listwise_q(torch.tensor([[0.0, 0.0]]), temperature=1.0, epsilon=0.0)
        tensor([[0.5000, 0.5000]])
    """
    if not temperature > 0:
        raise ValueError(f"q temperature is {temperature}; it must be > 0")
    if not 0 <= epsilon < 1:
        raise ValueError(f"q epsilon is {epsilon}; it must be in [0, 1)")
    q = torch.softmax(rewards / temperature, dim=-1)
    return (1 - epsilon) * q + epsilon / rewards.shape[-1]


def listwise_log_q(rewards: Float[Tensor, "B G"], temperature: float, epsilon: float) -> Float[Tensor, "B G"]:
    """Logarithm of :func:`listwise_q`, with its arguments and errors; finite even where q itself underflows.

    Example:
        >>> listwise_log_q(torch.tensor([[0.0, 1.0]]), temperature=2**-10, epsilon=0.0)
        tensor([[-1024.,     0.]])
    """
    smoothed = listwise_q(rewards, temperature, epsilon)
    return smoothed.log() if epsilon > 0 else torch.log_softmax(rewards / temperature, dim=-1)


def expectation(weights: Float[Tensor, "*N K"], values: Float[Tensor, "*N K"]) -> Float[Tensor, "*N"]:
    """Σ_k w_k·x_k over the outcomes that have weight: 0·(±∞) counts as 0, with derivative 0.

    Args:
        weights: ``[…, K]`` weights or probabilities w, not negative.
        values: ``[…, K]`` x, such as log-probabilities; −∞ at impossible outcomes.

    Returns:
        ``[…]``, in the unit of ``values``.

    Example:
        >>> expectation(torch.tensor([1.0, 0.0]), torch.tensor([2.0, -torch.inf]))
        tensor(2.)
    """
    # Masked before the product: 0·∞ would reach the gradient as NaN, whatever is done with the product.
    return (weights * values.masked_fill(weights == 0, 0.0)).sum(dim=-1)


def _tilted(
    log_q: Float[Tensor, "B G"], log_p: Float[Tensor, "B G"], tau: Coefficient, beta: Coefficient
) -> Float[Tensor, "B G"]:
    """ℓ = (log q + β log p)/κ; −∞ where the reference rules a completion out, unless β = 0 leaves the reference out."""
    impossible = torch.isneginf(log_p)
    tilted = (log_q + beta * log_p.masked_fill(impossible, 0.0)) / (tau + beta)
    return tilted.masked_fill(impossible & (torch.as_tensor(beta) != 0), -torch.inf)


def log_group_weights(
    log_q: Float[Tensor, "B G"], ref_logprobs: Float[Tensor, "B G"], tau: Coefficient, beta: Coefficient
) -> Float[Tensor, "B G"]:
    """Logarithm of :func:`group_weights`, for callers that need log w where w underflows.

    Example:
        >>> log_group_weights(torch.tensor([[0.0, -1e4]]), torch.zeros(1, 2), tau=0.5, beta=0.5)
        tensor([[     0., -10000.]])
    """
    return torch.log_softmax(_tilted(log_q, ref_logprobs, tau, beta), dim=-1)


def group_weights(
    log_q: Float[Tensor, "B G"], ref_logprobs: Float[Tensor, "B G"], tau: Coefficient, beta: Coefficient
) -> Float[Tensor, "B G"]:
    """Maximum-entropy weights, w ∝ exp((log q + β ρ)/κ).

    They maximise ⟨w, log q⟩ + τ H(w) − β KL(w‖p) over the simplex. A shift of log q or of ρ cancels.

    Args:
        log_q: ``[B, G]`` log q, up to a constant per row.
        ref_logprobs: ``[B, G]`` reference log-probabilities ρ, up to a constant per row (nats); −∞ for a completion
            that the reference rules out, whose weight is then 0, unless β is.
        tau: Entropy temperature τ ≥ 0; a float or a 0-dim tensor to differentiate in.
        beta: KL coefficient β ≥ 0, with τ + β > 0; a float or a 0-dim tensor.

    Returns:
        ``[B, G]``, rows sum to one.

    Example:
        >>> group_weights(torch.tensor([[0.0, 0.0]]), torch.tensor([[-1.0, -1.0]]), tau=0.3, beta=0.1)
        tensor([[0.5000, 0.5000]])
    """
    return log_group_weights(log_q, ref_logprobs, tau, beta).exp()


def weight_coefficients(
    tau: Coefficient, beta: Coefficient, reference_in_weights: bool
) -> tuple[Coefficient, Coefficient]:
    """τ and β as :func:`group_weights` takes them; without a reference in the weights, β is 0 there: w ∝ q^(1/τ).

    Then τ may be 0, for weights that are uniform on the best answers: it is taken as 1e-12, where every other weight
    underflows.

    Example:
        >>> weight_coefficients(0.3, 0.1, reference_in_weights=False)
        (0.3, 0.0)
    """
    if reference_in_weights:
        return tau, beta
    return tau.clamp(min=_COLDEST) if isinstance(tau, Tensor) else max(tau, _COLDEST), 0.0


def weight_entropy(weights: Float[Tensor, "B G"]) -> Float[Tensor, "B"]:
    """Shannon entropy of each group's weights, in nats: 0 … log G.

    Example:
        >>> weight_entropy(torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
        tensor([0.0000, 0.6931])
    """
    # entr has an infinite slope at 0, where autograd would form 0·∞; entr(1) is 0 too, with a finite slope.
    terms: Tensor = torch.special.entr(weights.masked_fill(weights == 0, 1.0))
    return terms.sum(dim=-1)


def weight_kl(weights: Float[Tensor, "B G"], ref_logprobs: Float[Tensor, "B G"]) -> Float[Tensor, "B"]:
    """KL(w‖p) of each group, with p ∝ exp(ρ) the reference over the group.

    Args:
        weights: ``[B, G]`` weights w.
        ref_logprobs: ``[B, G]`` reference log-probabilities ρ, up to a constant per row (nats).

    Returns:
        ``[B]``, nats.

    Example:
        >>> weight_kl(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2))
        tensor([0.6931])
    """
    log_p = torch.log_softmax(ref_logprobs, dim=-1)
    return -weight_entropy(weights) - expectation(weights, log_p)


def dual_value(
    log_q: Float[Tensor, "B G"],
    log_p: Float[Tensor, "B G"],
    tau: Coefficient,
    beta: Coefficient,
    target_entropy: float,
    target_kl: float,
) -> Float[Tensor, ""]:
    """Dual of the weighting problem, mean over groups: κ log Σ exp ℓ − τ H* + β KL*.

    Jointly convex in (τ, β); at its minimum the weights meet both targets.

    Args:
        log_q: ``[B, G]`` log q.
        log_p: ``[B, G]`` log p, normalised over the group (``log_softmax`` of ρ).
        tau: Entropy temperature τ.
        beta: KL coefficient β; τ + β > 0.
        target_entropy: H*, nats per group.
        target_kl: KL*, nats per group.

    Returns:
        A 0-dim tensor, nats.

    Example:
        >>> log_q, log_p = torch.zeros(1, 2), torch.full((1, 2), 0.5).log()
        >>> dual_value(log_q, log_p, tau=0.5, beta=0.5, target_entropy=0.5, target_kl=0.0)  # log 2 - .5 log 2 - .25
        tensor(0.0966)
    """
    log_partition = torch.logsumexp(_tilted(log_q, log_p, tau, beta), dim=-1)
    partition = (tau + beta) * log_partition.mean()
    return partition - tau * target_entropy + beta * target_kl


def dual_gradient(
    log_q: Float[Tensor, "B G"],
    log_p: Float[Tensor, "B G"],
    tau: Coefficient,
    beta: Coefficient,
    target_entropy: float,
    target_kl: float,
) -> Float[Tensor, "2"]:
    """Gradient of :func:`dual_value` in (τ, β), closed form: (H(w) − H*, −(KL(w‖p) − KL*)).

    Takes the arguments of :func:`dual_value`.

    Returns:
        ``[2]``: d/dτ and d/dβ, nats per group.

    Example:
        >>> log_p = torch.full((1, 2), 0.5).log()
        >>> dual_gradient(torch.zeros(1, 2), log_p, tau=0.5, beta=0.5, target_entropy=0.5, target_kl=0.1)
        tensor([0.1931, 0.1000])
    """
    weights = group_weights(log_q, log_p, tau, beta)
    entropy, kl = weight_entropy(weights).mean(), weight_kl(weights, log_p).mean()
    return torch.stack([entropy - target_entropy, -(kl - target_kl)])


class DualCurvature(NamedTuple):
    """Second derivatives of the dual, one value per group. They are also dH/dτ, dH/dβ and −dKL(w‖p)/dβ.

    Example:
        >>> log_half = torch.tensor([[0.5, 0.5]]).log()
        >>> dual_curvature(log_half, log_half, tau=1.0, beta=0.1).tau_tau  # tied rewards: no τ changes the weights
        tensor([0.])
    """

    tau_tau: Float[Tensor, "B"]
    tau_beta: Float[Tensor, "B"]
    beta_beta: Float[Tensor, "B"]


def dual_curvature(
    log_q: Float[Tensor, "B G"],
    log_p: Float[Tensor, "B G"],
    tau: Coefficient,
    beta: Coefficient,
    weights: Float[Tensor, "B G"] | None = None,
) -> DualCurvature:
    """Second derivatives of each group's dual: Var_w ℓ, Cov_w(ℓ, ℓ − r) and Var_w(ℓ − r), over κ, with r = log p.

    Args:
        log_q: ``[B, G]`` log q.
        log_p: ``[B, G]`` log p, normalised over the group.
        tau: Entropy temperature τ.
        beta: KL coefficient β; τ + β > 0.
        weights: ``[B, G]`` :func:`group_weights` of the same arguments, where they are known already.

    Example:
        >>> skewed = torch.tensor([[0.0, -1.0]])
        >>> dual_curvature(skewed, torch.zeros(1, 2), tau=1.0, beta=0.0).tau_tau
        tensor([0.1966])
    """
    tilted = _tilted(log_q, log_p, tau, beta)
    weights = torch.softmax(tilted, dim=-1) if weights is None else weights
    # At a small κ log-probabilities are huge and means over them inexact; relative to the largest they are not.
    tilted = tilted - tilted.amax(-1, keepdim=True)
    tilted, log_p = (values.masked_fill(weights == 0, 0.0) for values in (tilted, log_p))  # −∞ would make NaN of 0·∞
    centred = tilted - (weights * tilted).sum(-1, keepdim=True)
    residual = tilted - log_p
    residual = residual - (weights * residual).sum(-1, keepdim=True)
    kappa = tau + beta
    return DualCurvature(
        tau_tau=(weights * centred.square()).sum(-1) / kappa,
        tau_beta=(weights * centred * residual).sum(-1) / kappa,
        beta_beta=(weights * residual.square()).sum(-1) / kappa,
    )


def dual_hessian(
    log_q: Float[Tensor, "B G"],
    log_p: Float[Tensor, "B G"],
    tau: Coefficient,
    beta: Coefficient,
    target_entropy: float = 0.0,
    target_kl: float = 0.0,
) -> Float[Tensor, "2 2"]:
    """Hessian of :func:`dual_value` in (τ, β), closed form; the targets enter linearly and do not appear in it.

    Takes the arguments of :func:`dual_value`.

    Returns:
        ``[2, 2]``, symmetric and positive semi-definite; nats per group and unit of coefficient, squared.

    Example:
        >>> dual_hessian(torch.tensor([[0.0, -1.0]]), torch.zeros(1, 2), tau=1.0, beta=0.0)[0, 0]
        tensor(0.1966)
    """
    del target_entropy, target_kl
    curvature = dual_curvature(log_q, log_p, tau, beta)
    tau_tau, tau_beta, beta_beta = (component.mean() for component in curvature)
    return torch.stack([torch.stack([tau_tau, tau_beta]), torch.stack([tau_beta, beta_beta])])
