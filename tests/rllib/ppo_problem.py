"""A small PPO module in a learner of RLlib's, in float64, and minibatches of one update."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import gymnasium
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.utils.schedules.scheduler import Scheduler
from torch import Tensor

from maxent_ray.core.state import Coefficients

MODULE = "default_policy"
RATE, TAU, BETA = 0.05, 0.03, 0.4
COEFFICIENTS = Coefficients(TAU, BETA, version=3, step=4)
ROWS, MASKED = 24, 3

Batch = dict[str, Tensor]


class SGDLearner(PPOTorchLearner):
    """RLlib's PPO with plain gradient descent, whose steps an unroll follows exactly."""

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        parameters = self.get_parameters(self._module[module_id])
        self.register_optimizer(
            module_id=module_id,
            optimizer=torch.optim.SGD(parameters),
            params=parameters,
            lr_or_lr_schedule=RATE,
        )


class Problem(NamedTuple):
    learner: PPOTorchLearner
    minibatches: list[Batch]

    @property
    def module(self) -> TorchRLModule:
        return self.learner.module[MODULE]

    @property
    def config(self) -> PPOConfig:
        return self.learner.config.get_config_for_module(MODULE)


def ppo_config(env: str = "Pendulum-v1", *, shared: bool = False) -> PPOConfig:
    """Settings of a module with 8 tanh units."""
    return (
        PPOConfig()
        .environment(env)
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[8], vf_share_layers=shared))
        .training(lr=RATE, train_batch_size_per_learner=6 * ROWS, minibatch_size=ROWS)
    )


@cache
def ppo_problem(env: str = "Pendulum-v1", *, shared: bool = False) -> Problem:
    """A learner at the end of an update: its policy has left the one that took the actions.

    Args:
        env: Name of the environment.
        shared: Policy and values share an encoder.
    """
    torch.manual_seed(0)
    config = ppo_config(env, shared=shared).learners(learner_class=SGDLearner)
    learner = config.build_learner(env=gymnasium.make(env))
    module = learner.module[MODULE].double()
    behaviour = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return Problem(learner, [_minibatch(behaviour) for _ in range(4)])


@contextmanager
def restored(module: TorchRLModule) -> Iterator[None]:
    """Put a module's parameters back at the end."""
    before = [parameter.detach().clone() for parameter in module.parameters()]
    yield
    with torch.no_grad():
        for parameter, value in zip(module.parameters(), before, strict=True):
            parameter.copy_(value)


def _minibatch(behaviour: TorchRLModule) -> Batch:
    observations = torch.randn(ROWS, *behaviour.observation_space.shape, dtype=torch.float64)
    with torch.no_grad():
        inputs = behaviour.forward_train({Columns.OBS: observations})[Columns.ACTION_DIST_INPUTS]
        policy = behaviour.get_exploration_action_dist_cls().from_logits(inputs)
        actions = policy.sample()
    return {
        Columns.OBS: observations,
        Columns.ACTIONS: actions,
        Columns.ACTION_DIST_INPUTS: inputs,
        Columns.ACTION_LOGP: policy.logp(actions),
        Postprocessing.ADVANTAGES: torch.randn(ROWS, dtype=torch.float64),
        Postprocessing.VALUE_TARGETS: torch.randn(ROWS, dtype=torch.float64),
        Columns.LOSS_MASK: torch.arange(ROWS) < ROWS - MASKED,
    }


def set_coefficients(learner: PPOTorchLearner, tau: float, beta: float) -> None:
    """Make RLlib's loss use τ and β; its own tensor of β is float32, too coarse for differences."""
    learner.entropy_coeff_schedulers_per_module[MODULE] = Scheduler(fixed_value_or_schedule=tau, framework="torch")
    learner.curr_kl_coeffs_per_module[MODULE] = torch.tensor(beta, dtype=torch.float64)


def rllib_loss(problem: Problem, batch: Batch, config: PPOConfig | None = None) -> Tensor:
    """RLlib's own loss on a minibatch."""
    outputs = problem.module.forward_train(batch)
    settings = problem.config if config is None else config
    return problem.learner.compute_loss_for_module(module_id=MODULE, config=settings, batch=batch, fwd_out=outputs)
