"""The hypergradient against code that is not ours: torchopt's differentiable SGD, on the Countdown policy."""

from __future__ import annotations

import copy

import pytest
import torch
import torchopt
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from maxent_ray.config import GRPOConfig
from maxent_ray.core.hypergradient import CoefficientTensors, Params, unrolled_gradients
from maxent_ray.policy import Policy
from maxent_ray.train.batch import PreparedBatch
from maxent_ray.train.loss import policy_loss

TAU, BETA, ETA = 0.3, 0.4, 0.5
GRPO = GRPOConfig(group_size=4)


class Unroll:
    """The policy loss on two groups; entropy and KL of the policy (nats per token) on two others."""

    def __init__(self, policy: Policy, batch: PreparedBatch) -> None:
        self.model = policy.model
        self.seen, self.unseen = batch.take(slice(0, 2)), batch.take(slice(2, 4))

    def inner(self, params: Params, coefficients: CoefficientTensors, k: int) -> Tensor:
        terms = policy_loss(self.model, self.seen, *coefficients, grpo=GRPO, params=params)
        return terms.loss

    def outer(self, params: Params, coefficients: CoefficientTensors) -> Tensor:
        terms = policy_loss(self.model, self.unseen, *coefficients, grpo=GRPO, params=params)
        tokens = self.unseen.rollout.completion_mask.sum()
        return torch.stack([terms.token_entropy.sum() / tokens, terms.mean_kl(tokens)])


class Parameters(nn.Module):
    """The policy's parameters, the tied ones once, for torchopt to replace by functions of τ and β.

    In the policy itself torchopt would step the embedding and the output layer, which are one tensor, apart.
    """

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.names = tuple(params)
        for index, value in enumerate(params.values()):
            self.register_parameter(str(index), nn.Parameter(value.detach().clone()))

    def by_name(self) -> dict[str, Tensor]:
        return {name: self._parameters[str(index)] for index, name in enumerate(self.names)}  # type: ignore[misc]


def by_torchopt(unroll: Unroll, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """dF/dτ, dF/dβ and F after K steps of `torchopt.MetaSGD`, for F = [entropy, KL]."""
    parameters = Parameters(dict(unroll.model.named_parameters()))
    optimizer = torchopt.MetaSGD(parameters, lr=ETA)
    tau, beta = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (TAU, BETA))
    for k in range(steps):
        optimizer.step(unroll.inner(parameters.by_name(), (tau, beta), k))
    value = unroll.outer(parameters.by_name(), (tau, beta))
    rows = [torch.autograd.grad(output, (tau, beta), retain_graph=True) for output in value]
    return torch.stack([row[0] for row in rows]), torch.stack([row[1] for row in rows]), value.detach()


@pytest.mark.parametrize("mode", ["forward", "reverse"])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_torchopts_unroll_gives_the_same_hypergradient(
    policy: Policy, batch: PreparedBatch, steps: int, mode: str
) -> None:
    unroll = Unroll(policy, batch)
    before = copy.deepcopy(policy.model.state_dict())
    with sdpa_kernel(SDPBackend.MATH):
        ours = unrolled_gradients(
            unroll.inner,
            unroll.outer,
            dict(policy.model.named_parameters()),
            (torch.tensor(TAU, dtype=torch.float64), torch.tensor(BETA, dtype=torch.float64)),
            steps=steps,
            learning_rate=ETA,
            mode=mode,  # type: ignore[arg-type]
        )
        by_tau, by_beta, value = by_torchopt(unroll, steps)
    assert min(by_tau.abs().min(), by_beta.abs().min()) > 1e-5  # something to agree on
    torch.testing.assert_close(ours.tau, by_tau, rtol=1e-6, atol=0)
    torch.testing.assert_close(ours.beta, by_beta, rtol=1e-6, atol=0)
    torch.testing.assert_close(ours.outer_value, value, rtol=1e-6, atol=0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in policy.model.state_dict().items())
