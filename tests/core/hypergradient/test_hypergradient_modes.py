"""Every mode against closed forms, central differences and each other, in float64 where nothing else is said."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from maxent_ray.core.hypergradient import CoefficientTensors, Hypergradient, Params, unrolled_gradients
from maxent_ray.core.weighting import group_weights, weight_entropy
from tests.core.hypergradient.linear_quadratic import B_TAU, BETA, C_BETA, ETA, TAU, THETA, A, quadratic, scalar

EXACT: list[dict[str, Any]] = [{"mode": "reverse"}, {"mode": "reverse", "checkpoint": True}, {"mode": "forward"}]
ALL: list[dict[str, Any]] = [*EXACT, {"mode": "first_order"}]


def label(options: Mapping[str, Any]) -> str:
    return "checkpointed" if options.get("checkpoint") else str(options["mode"])


every_mode = pytest.mark.parametrize("options", ALL, ids=label)
exact_modes = pytest.mark.parametrize("options", EXACT, ids=label)


# --- the linear-quadratic loop: L = ½ aθ² − (bτ + cβ)θ ---


def lone_theta(steps: int, **options: Any) -> Hypergradient:
    return unrolled_gradients(
        quadratic,
        lambda params, _: params["theta"],
        {"theta": scalar(THETA)},
        (scalar(TAU), scalar(BETA)),
        steps=steps,
        learning_rate=ETA,
        **options,
    )


@exact_modes
@pytest.mark.parametrize("steps", [1, 2, 16])
def test_exact_modes_have_the_geometric_sum(options: dict[str, Any], steps: int) -> None:
    """dθ_K/dτ = ηb Σ_{j<K} (1 − ηa)^j."""
    total = sum((1 - ETA * A) ** j for j in range(steps))
    result = lone_theta(steps, **options)
    assert result.tau == pytest.approx(ETA * B_TAU * total, abs=1e-12)
    assert result.beta == pytest.approx(ETA * C_BETA * total, abs=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 16])
def test_first_order_has_k_direct_terms(steps: int) -> None:
    """With I − ηa replaced by 1 the sum is K: dθ_K/dτ ≈ Kηb. Exact for K = 1 alone."""
    result = lone_theta(steps, mode="first_order")
    assert result.tau == pytest.approx(steps * ETA * B_TAU, abs=1e-12)
    assert result.beta == pytest.approx(steps * ETA * C_BETA, abs=1e-12)


@pytest.mark.parametrize("steps", [1, 3])
@every_mode
def test_all_modes_end_at_the_same_place(options: dict[str, Any], steps: int) -> None:
    drive = ETA * (B_TAU * TAU + C_BETA * BETA) * sum((1 - ETA * A) ** j for j in range(steps))
    assert lone_theta(steps, **options).outer_value == pytest.approx((1 - ETA * A) ** steps * THETA + drive, abs=1e-12)


# --- a two-layer network whose steps differ ---


class Network:
    """Scores of four completions of eight prompts by tanh(xW₁ + b)W₂, with weights, a KL term and a turning batch."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

        self.params = {"w1": 0.7 * draw(5, 8), "b": 0.1 * draw(8), "w2": 0.7 * draw(8, 1)}
        self.inputs, self.rewards, self.rho = draw(8, 4, 5), draw(8, 4), draw(8, 4)
        self.rates = {name: 0.3 + 0.1 * draw(*value.shape).tanh() for name, value in self.params.items()}
        self.dtype = dtype

    def part(self, shard: int, of: int) -> Network:
        """The same parameters on every ``of``-th prompt."""
        share = Network(self.dtype)
        share.rates = self.rates
        for name in ("inputs", "rewards", "rho"):
            setattr(share, name, getattr(self, name)[shard::of])
        return share

    def log_policy(self, params: Params) -> Tensor:
        hidden = torch.tanh(self.inputs @ params["w1"] + params["b"])
        return (hidden @ params["w2"]).squeeze(-1).log_softmax(-1)

    def inner(self, params: Params, coefficients: CoefficientTensors, k: int) -> Tensor:
        tau, beta = coefficients
        weights = group_weights(self.rewards.roll(k, -1), self.rho, tau, beta)
        log_policy = self.log_policy(params)
        kl = (log_policy.exp() * (log_policy - self.rho.log_softmax(-1))).sum(-1).mean()
        return -(weights * log_policy).sum(-1).mean() + beta * kl

    def outer(self, params: Params, coefficients: CoefficientTensors) -> Tensor:
        """Entropy and KL of the policy, and the entropy of the weights, which does not depend on θ."""
        log_policy = self.log_policy(params)
        entropy = weight_entropy(log_policy.exp()).mean()
        kl = (log_policy.exp() * (log_policy - self.rho.log_softmax(-1))).sum(-1).mean()
        weights = group_weights(self.rewards, self.rho, *coefficients)
        return torch.stack([entropy, kl, weight_entropy(weights).mean()])

    def gradients(self, steps: int, **options: Any) -> Hypergradient:
        return unrolled_gradients(
            self.inner,
            self.outer,
            self.params,
            (scalar(TAU, self.dtype), scalar(BETA, self.dtype)),
            steps=steps,
            **{"learning_rate": self.rates, **options},
        )

    def after(self, steps: int, tau: float, beta: float, limit: float | None) -> Tensor:
        """The outer value after steps that torch takes and clips itself."""
        coefficients = (scalar(tau), scalar(beta))
        leaves = {name: nn.Parameter(value.clone()) for name, value in self.params.items()}
        for k in range(steps):
            for leaf in leaves.values():
                leaf.grad = None
            self.inner(leaves, coefficients, k).backward()  # type: ignore[no-untyped-call]
            if limit is not None:
                nn.utils.clip_grad_norm_(leaves.values(), limit)
            with torch.no_grad():
                for name, leaf in leaves.items():
                    assert leaf.grad is not None
                    leaf -= self.rates[name] * leaf.grad
        return self.outer(leaves, coefficients).detach()

    def differences(self, steps: int, limit: float | None) -> Tensor:
        """``[M, 2]`` sixth-order central differences in τ and β."""
        h = 2e-3

        def slope(d_tau: float, d_beta: float) -> Tensor:
            def odd(n: int) -> Tensor:
                ahead, behind = (
                    self.after(steps, TAU + s * n * h * d_tau, BETA + s * n * h * d_beta, limit) for s in (1, -1)
                )
                return ahead - behind

            return (45 * odd(1) - 9 * odd(2) + odd(3)) / (60 * h)

        return torch.stack([slope(1, 0), slope(0, 1)], dim=1)


def matrix(result: Hypergradient) -> Tensor:
    assert isinstance(result.tau, Tensor)
    assert isinstance(result.beta, Tensor)
    return torch.stack([result.tau, result.beta], dim=1)


@exact_modes
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("limit", [None, 0.2, 50.0], ids=["unclipped", "clipped", "under the limit"])
def test_exact_modes_are_central_differences_of_real_steps(
    options: dict[str, Any], steps: int, limit: float | None
) -> None:
    """Preconditioned steps, clipped by ``clip_grad_norm_`` itself: at 0.2 every step is clipped, at 50 none."""
    network = Network()
    result = network.gradients(steps, gradient_clip=limit, **options)
    torch.testing.assert_close(matrix(result), network.differences(steps, limit), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(result.outer_value, network.after(steps, TAU, BETA, limit), rtol=1e-13, atol=0)


def test_the_limits_above_are_what_they_say() -> None:
    network = Network()
    free, clipped, loose = (network.after(5, TAU, BETA, limit) for limit in (None, 0.2, 50.0))
    assert bool((free - clipped).abs()[:2].min() > 1e-3)
    assert torch.equal(free, loose)


@pytest.mark.parametrize("limit", [None, 0.2])
def test_first_order_is_exact_for_one_step(limit: float | None) -> None:
    """θ_0 does not depend on τ or β, so the only step's Hessian meets a tangent of 0."""
    network = Network()
    exact = matrix(network.gradients(1, gradient_clip=limit))
    torch.testing.assert_close(
        matrix(network.gradients(1, mode="first_order", gradient_clip=limit)), exact, rtol=1e-12, atol=1e-14
    )


def test_first_order_is_k_times_the_last_steps_direct_term() -> None:
    """By hand: θ_4 from real steps, then ∂F/∂c − 5⟨∇F, η ⊙ ∂_c∇L_4⟩ with a Jacobian by central differences."""
    network, steps = Network(), 5
    moved = {name: value.clone() for name, value in network.params.items()}

    def gradient(at: Params, tau: float, beta: float, k: int) -> list[Tensor]:
        leaves = {name: value.clone().requires_grad_() for name, value in at.items()}
        return list(torch.autograd.grad(network.inner(leaves, (scalar(tau), scalar(beta)), k), list(leaves.values())))

    def step(k: int) -> dict[str, Tensor]:
        changes = gradient(moved, TAU, BETA, k)
        return {n: v - network.rates[n] * g for (n, v), g in zip(moved.items(), changes, strict=True)}

    for k in range(steps - 1):
        moved = step(k)
    end = [value.requires_grad_() for value in step(steps - 1).values()]
    expected = []
    for d_tau, d_beta in ((1.0, 0.0), (0.0, 1.0)):
        h = 1e-5
        ahead = gradient(moved, TAU + h * d_tau, BETA + h * d_beta, steps - 1)
        behind = gradient(moved, TAU - h * d_tau, BETA - h * d_beta, steps - 1)
        tangent = [
            -steps * rate * (a - b) / (2 * h) for rate, a, b in zip(network.rates.values(), ahead, behind, strict=True)
        ]
        column = []
        for output in network.outer(dict(zip(network.params, end, strict=True)), (scalar(TAU), scalar(BETA)))[:2]:
            slopes = torch.autograd.grad(output, end, retain_graph=True)
            column.append(sum((s * t).sum() for s, t in zip(slopes, tangent, strict=True)))
        expected.append(torch.stack([torch.as_tensor(value) for value in column]))
    result = matrix(network.gradients(steps, mode="first_order"))[:2]
    torch.testing.assert_close(result, torch.stack(expected, dim=1), rtol=1e-7, atol=1e-10)
    assert bool(((result / matrix(network.gradients(steps))[:2] - 1).abs() > 0.02).any())  # and it is a truncation


@pytest.mark.parametrize("limit", [None, 0.2])
def test_checkpoints_change_nothing(limit: float | None) -> None:
    network = Network()
    plain, checkpointed = (network.gradients(6, gradient_clip=limit, checkpoint=flag) for flag in (False, True))
    torch.testing.assert_close(matrix(checkpointed), matrix(plain), rtol=1e-12, atol=0)


@pytest.mark.parametrize("steps", [1, 4, 16])
def test_forward_and_reverse_agree_in_float32(steps: int) -> None:
    network = Network(torch.float32)
    forward, reverse = (matrix(network.gradients(steps, mode=mode)) for mode in ("forward", "reverse"))
    torch.testing.assert_close(forward, reverse, rtol=1e-5, atol=1e-7)


@every_mode
def test_what_does_not_reach_the_parameters_has_its_direct_derivative(options: dict[str, Any]) -> None:
    network = Network()
    tau, beta = scalar(TAU).requires_grad_(), scalar(BETA).requires_grad_()
    entropy = weight_entropy(group_weights(network.rewards, network.rho, tau, beta)).mean()
    direct = torch.stack(torch.autograd.grad(entropy, (tau, beta)))
    torch.testing.assert_close(matrix(network.gradients(3, **options))[2], direct, rtol=1e-12, atol=0)


# --- data parallel: threads stand in for ranks, a barrier for the all-reduce ---


class ThreadRanks:
    """The mean over ranks that are threads of one process; all of them must call it, in the same order."""

    def __init__(self, world_size: int) -> None:
        self._barrier = threading.Barrier(world_size, timeout=60)
        self._sent: list[Sequence[Tensor]] = [()] * world_size

    def member(self, rank: int) -> Callable[[Sequence[Tensor]], list[Tensor]]:
        def mean(tensors: Sequence[Tensor]) -> list[Tensor]:
            self._sent[rank] = [tensor.detach() for tensor in tensors]
            self._barrier.wait()
            means = [torch.stack(parts).mean(0) for parts in zip(*self._sent, strict=True)]
            self._barrier.wait()
            return means

        return mean


@every_mode
@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.parametrize("limit", [None, 0.2])
def test_ranks_that_share_gradients_are_one_rank_on_the_whole_batch(
    options: dict[str, Any], world_size: int, limit: float | None
) -> None:
    network, ranks = Network(), ThreadRanks(world_size)
    whole = matrix(network.gradients(3, gradient_clip=limit, **options))

    def on(rank: int) -> Tensor:
        part = network.part(rank, world_size)
        return matrix(part.gradients(3, gradient_clip=limit, mean_over_ranks=ranks.member(rank), **options))

    with ThreadPoolExecutor(world_size) as pool:
        results = list(pool.map(on, range(world_size)))
    for result in results:
        torch.testing.assert_close(result, whole, rtol=1e-12, atol=1e-14)
    assert not torch.allclose(matrix(network.part(0, world_size).gradients(3, **options)), whole, rtol=1e-3)


# --- what each mode keeps ---


def kept_bytes(network: Network, steps: int, **options: Any) -> int:
    """Most bytes that graphs held at one time: tensors are counted from when autograd packs them until it lets go."""
    held = peak = 0

    class Packed:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal held, peak
            # detached: an output that holds itself would be a cycle; autograd puts its history back
            self.tensor, self.size = tensor.detach(), tensor.numel() * tensor.element_size()
            held += self.size
            peak = max(peak, held)

        def __del__(self) -> None:
            nonlocal held
            held -= self.size

    with torch.autograd.graph.saved_tensors_hooks(Packed, lambda packed: packed.tensor):
        network.gradients(steps, **options)
    assert held == 0
    return peak


def test_graphs_of_forward_mode_do_not_grow_with_the_steps() -> None:
    network = Network()
    assert kept_bytes(network, 16, mode="forward") == kept_bytes(network, 2, mode="forward")


def test_graphs_of_reverse_mode_do_and_checkpoints_stop_it() -> None:
    network = Network()
    assert kept_bytes(network, 16) > 6 * kept_bytes(network, 2)
    assert kept_bytes(network, 16, checkpoint=True) == kept_bytes(network, 2, checkpoint=True)


def test_graphs_of_first_order_are_those_of_one_loss() -> None:
    network = Network()
    leaves = {name: value.clone().requires_grad_() for name, value in network.params.items()}
    plain: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        plain.append(tensor.numel() * tensor.element_size())
        return tensor

    tau, beta = scalar(TAU).requires_grad_(), scalar(BETA).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network.inner(leaves, (tau, beta), 0)
    # the branch of the coefficients is differentiated twice, and this toy's is as large as its model
    assert kept_bytes(network, 16, mode="first_order") < 2 * sum(plain)
    assert kept_bytes(network, 16, mode="first_order") == kept_bytes(network, 2, mode="first_order")


# --- first order needs no second derivative of the model ---


class FusedBackward(torch.autograd.Function):
    """Backward of :class:`FusedKernel`, which has no derivative of its own."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, x: Tensor, weight: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
        inside = grad * (1 - out**2)
        return inside @ weight.T, (x.transpose(-1, -2) @ inside).sum(0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise RuntimeError("no second derivative")


class FusedKernel(torch.autograd.Function):
    """tanh(xW) as a fused kernel computes it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        out = torch.tanh(x @ weight)
        ctx.save_for_backward(x, weight, out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return FusedBackward.apply(grad, *ctx.saved_tensors)  # type: ignore[no-untyped-call]


class Fused(Network):
    def log_policy(self, params: Params) -> Tensor:
        hidden = FusedKernel.apply(self.inputs, params["w1"])  # type: ignore[no-untyped-call]
        return ((hidden + params["b"]) @ params["w2"]).squeeze(-1).log_softmax(-1)


class Unfused(Network):
    def log_policy(self, params: Params) -> Tensor:
        return ((torch.tanh(self.inputs @ params["w1"]) + params["b"]) @ params["w2"]).squeeze(-1).log_softmax(-1)


def test_first_order_runs_where_a_second_backward_would_raise() -> None:
    for steps in (1, 3):
        fused, unfused = (matrix(cls().gradients(steps, mode="first_order")) for cls in (Fused, Unfused))
        torch.testing.assert_close(fused, unfused, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(
        matrix(Fused().gradients(1, mode="first_order")), matrix(Unfused().gradients(1)), rtol=1e-12, atol=1e-14
    )
    with pytest.raises(RuntimeError, match="no second derivative"):
        Fused().gradients(1, mode="reverse")


class Attention(Network):
    """Completions of a prompt attend to each other through torch's scaled dot product."""

    def log_policy(self, params: Params) -> Tensor:
        query = torch.tanh(self.inputs @ params["w1"] + params["b"]).unsqueeze(1)
        mixed = nn.functional.scaled_dot_product_attention(query, 2 * query, query)
        return (mixed.squeeze(1) @ params["w2"]).squeeze(-1).log_softmax(-1)


def test_first_order_runs_with_flash_attention() -> None:
    """The same numbers as with the attention that is written out, which exact modes need."""
    network = Attention(torch.float32)
    with sdpa_kernel(SDPBackend.MATH):
        written_out, exact = (matrix(network.gradients(1, mode=mode)) for mode in ("first_order", "reverse"))
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        fused = matrix(network.gradients(1, mode="first_order"))
        with pytest.raises(RuntimeError, match=r"derivative for .*flash.* is not implemented"):
            network.gradients(1, mode="reverse")
    torch.testing.assert_close(fused, written_out, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(fused, exact, rtol=1e-4, atol=1e-6)


class BFloat16(Network):
    def log_policy(self, params: Params) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = torch.tanh(self.inputs @ params["w1"] + params["b"])
            scores = hidden @ params["w2"]
        assert scores.dtype == torch.bfloat16
        return scores.float().squeeze(-1).log_softmax(-1)


def test_first_order_runs_in_bfloat16() -> None:
    exact = matrix(Network(torch.float32).gradients(1))
    result = matrix(BFloat16(torch.float32).gradients(1, mode="first_order"))
    torch.testing.assert_close(result, exact, rtol=0.05, atol=2e-3)
    assert not torch.equal(result, exact)
