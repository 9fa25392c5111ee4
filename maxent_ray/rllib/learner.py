"""Base of the learners of all algorithms: measure an update, report it, train the next one with the decision."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar
from uuid import uuid4

import gymnasium as gym
import torch.distributed as dist
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.rl_module.apis import SelfSupervisedLossAPI
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO
from torch import Tensor

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.objectives import ControllerGradients
from maxent_ray.core.state import Coefficients
from maxent_ray.errors import ConfigError
from maxent_ray.rllib.controllable import Controllable
from maxent_ray.rllib.inner_loop import InnerLoop
from maxent_ray.rllib.minibatch import Minibatch
from maxent_ray.rllib.module_control import ModuleControl
from maxent_ray.rllib.settings import KEY, Settings
from maxent_ray.rllib.update_turns import UpdateTurns
from maxent_ray.runtime.connect import connect
from maxent_ray.runtime.options import ClientOptions
from maxent_ray.runtime.run_tags import RunTags

NEWER_WEIGHTS = "the state was restored into a live algorithm, whose env runners sampled with the weights before that"


class ControlledLearner(Controllable, TorchLearner):
    """Mixin of a torch learner: a controller for each of its modules moves the coefficients, once an update.

    Entropy and KL are means over all minibatches and epochs of an update, over all learners, without masked timesteps.
    A subclass says where an algorithm's coefficients are and what it measures. The controllers' state is in the
    learner's, so it is saved and restored with the algorithm.
    """

    lag: ClassVar[int] = 0
    """Updates that a decision may take, beyond the one it follows."""
    measures_sampler: ClassVar[bool] = False
    """True where KL is to the policy that sampled the batch."""
    updates_in_thread: ClassVar[bool] = False
    """True where updates run in a thread of their own, while the learner is restored in another one."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)  # type: ignore[no-untyped-call]
        self._controls: dict[str, ModuleControl] = {}
        self._unclaimed: dict[str, Any] = {}  # saved state of modules that are not there yet
        self._turns = UpdateTurns()

    def apply_coefficients(self, module_id: str, coefficients: Coefficients) -> None:
        """Train the next update of a module with τ and β."""
        raise NotImplementedError(f"{type(self).__name__} must define apply_coefficients()")

    def measure(self, module_id: str, batch: Mapping[str, Any], fwd_out: Mapping[str, Any]) -> Minibatch:
        """Measure one minibatch of a module, whose loss was computed just now."""
        raise NotImplementedError(f"{type(self).__name__} must define measure()")

    def inner_loop(self, config: ControllerConfig) -> InnerLoop | None:
        """Inner loop of a module's β; None: the coefficient stays as decided for the whole update."""
        return None

    def apply_beta_factor(self, module_id: str, factor: Tensor) -> None:
        """Train the next minibatch of the running update with β times a factor."""
        raise NotImplementedError(f"{type(self).__name__} must define apply_beta_factor()")

    def controller_gradients(self, module_id: str) -> ControllerGradients | None:
        """Gradients or sensitivities of the update that ends, for truncated backprop."""
        return None

    def maxent_decisions(self, since: Mapping[str, int]) -> dict[str, list[dict[str, Any]]]:
        """Module id → its controller's decisions with a version above ``since[module_id]`` (0 if absent)."""
        return {name: each.client.decisions(since.get(name, 0)) for name, each in list(self._controls.items())}

    def build(self) -> None:
        """Build the learner, and connect to the controllers; all learners do so together."""
        if self._is_built:
            return
        self._settings = Settings.of_config(self.config)
        super().build()
        self.check_config(self.config, self._settings, {name: module.action_space for name, module in self._modules()})
        self._name = self._unique_name()
        self._connect_modules()

    def remove_module(self, module_id: str, **kwargs: Any) -> Any:
        """Remove a module and its controller."""
        with self._turns.between_updates():
            if module_id in self._controls:
                self._controls.pop(module_id).client.close()
            return super().remove_module(module_id, **kwargs)

    def shutdown(self) -> None:
        """Disconnect from the controllers."""
        super().shutdown()  # first: IMPALA and APPO end their thread
        for control in self._controls.values():
            control.client.close()

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Set the coefficients of this update."""
        self._turns.begin_update()
        self._connect_modules()
        for module_id, control in self._controls.items():
            self.apply_coefficients(module_id, control.coefficients())
        super().before_gradient_based_update(timesteps=timesteps)  # IMPALA logs the entropy coefficient here

    def compute_losses(self, *, fwd_out: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
        """Compute the losses, and measure what they were computed from."""
        losses: dict[str, Any] = super().compute_losses(fwd_out=fwd_out, batch=batch)
        for module_id in losses:
            if module_id in self._controls:
                minibatch = self.measure(module_id, batch[module_id], fwd_out[module_id])
                factor = self._controls[module_id].add(minibatch)
                if factor is not None:
                    self.apply_beta_factor(module_id, factor)
        return losses

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Report the whole update."""
        super().after_gradient_based_update(timesteps=timesteps)
        for module_id, control in self._controls.items():
            for name, value in control.report(self.controller_gradients(module_id)).items():
                if value is not None:
                    self.metrics.log_value((module_id, name), value, window=1)
        self._turns.end_update()

    def get_state(
        self, components: Any = None, *, not_components: str | Collection[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """State of the learner with that of the controllers; one learner may be asked alone."""
        state: dict[str, Any] = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(KEY, components, not_components):
            state[KEY] = {name: control.to_dict() for name, control in list(self._controls.items())}
        return state

    def restore_from_path(self, path: Any, *, component: str | None = None, **kwargs: Any) -> None:
        """Restore weights, then the rest, from a checkpoint, while no update runs; or one component alone.

        Raises:
            ConfigError: as for :meth:`set_state`.
        """
        with self._turns.between_updates():
            if component is None:
                self._check_restorable()
            super().restore_from_path(path, component=component, **kwargs)

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore the learner and the controllers, while no update runs; without controllers' states the learner alone.

        Raises:
            ConfigError: this is one of several learners of IMPALA or APPO, and has trained already.
        """
        with self._turns.between_updates():
            if KEY in state:
                self._check_restorable()
            live, saved = self._weights_seq_no, state.get(WEIGHTS_SEQ_NO, 0)
            super().set_state(state)
            self._unclaimed.update(state.get(KEY, {}))
            # env runners take newer weights only
            self._claim_states(NEWER_WEIGHTS if self.measures_sampler and 0 < saved <= live else "")

    def _check_restorable(self) -> None:
        """Refuse where learners may be between different updates, and would never agree again."""
        if self.updates_in_thread and self.distributed and self._weights_seq_no > 0:
            raise ConfigError(
                f"num_learners is {self.config.num_learners}, and {type(self).__name__} has trained already: its "
                "learners update in threads and cannot be restored at the same update; build a new algorithm, as "
                "Algorithm.from_checkpoint() does"
            )

    def _connect_modules(self) -> None:
        """Connect to the controllers of modules that are trained and have none yet, on all learners alike."""
        for module_id, module in self._modules():
            is_trained = self.should_module_be_updated(module_id)  # type: ignore[no-untyped-call]
            has_other_loss = isinstance(module, SelfSupervisedLossAPI)  # as models for curiosity have
            if module_id not in self._controls and is_trained and not has_other_loss:
                self._controls[module_id] = self._connect(module_id, module.action_space)
        self._claim_states()

    def _connect(self, module_id: str, space: gym.Space[Any] | None) -> ModuleControl:
        settings, world_size = self._settings, max(1, self.config.num_learners)
        own = self.config.get_config_for_module(module_id)
        config = self.controller_config(own, settings, module_id, space)
        name = f"{self._name}/{module_id}"
        local = self.config.num_learners == 0 if settings.local is None else settings.local
        client = connect(
            name,
            rank=self._learner_index,
            world_size=world_size,
            config=config,
            options=ClientOptions(lag=self.lag),
            local=local,
            tags=RunTags(settings.run_id, name, config.label),
        )
        return ModuleControl(client, config, self.inner_loop(config))

    def _claim_states(self, reason_to_skip: str = "") -> None:
        for module_id in self._unclaimed.keys() & self._controls.keys():
            self._controls[module_id].load(self._unclaimed.pop(module_id), reason_to_skip)

    def _unique_name(self) -> str:
        """Name of this algorithm, the same on its learners: copies of a checkpoint share a ``run_id``."""
        names = [f"{self._settings.run_id}-{uuid4().hex[:8]}"]
        if self.distributed:
            dist.broadcast_object_list(names, src=0, device=self._device)
        return names[0]

    def _modules(self) -> list[tuple[str, RLModule]]:
        return [(module_id, module.unwrapped()) for module_id, module in self.module.items()]
