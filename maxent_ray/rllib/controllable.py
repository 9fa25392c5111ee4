"""From an algorithm's settings to those of its modules' controllers, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import gymnasium as gym

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.update_rules.settings import RuleSettings
from maxent_ray.errors import ConfigError
from maxent_ray.rllib.action_spaces import check_target_entropy
from maxent_ray.rllib.settings import Settings


class Controllable:
    """Properties of an algorithm that its controllers' settings follow from; a learner class has them.

    Example:
        >>> from ray.rllib.algorithms.ppo import PPOConfig
        >>> settings = Settings("run", controller={"target_entropy": 0.5})
        >>> Controllable.controller_config(PPOConfig(), settings, "default_policy", None).initial("tau")
        0.01
    """

    tau_setting: ClassVar[str] = "entropy_coeff"
    """Setting of the algorithm that τ starts at."""
    beta_setting: ClassVar[str | None] = None
    """Setting of the algorithm that β starts at; None: its loss has no KL term."""
    usual_tau_rule: ClassVar[RuleSettings | None] = None
    """Rule of τ where neither the response of the entropy nor a rule is set; None: ``pi``, which finds its gains."""

    @classmethod
    def default_target_entropy(cls, config: Any, space: gym.Space[Any] | None, where: str) -> float | None:
        """H* of the algorithm's own settings, for a controller that was given none (nats)."""
        return None

    @classmethod
    def check_own_settings(cls, config: Any, target_entropy: float | None, target_kl: float, where: str) -> None:
        """Raise ConfigError for a setting of the algorithm that contradicts the targets of its module's controller."""

    @classmethod
    def check_unroll(cls, config: Any, controller: ControllerConfig, where: str) -> None:
        """Raise ConfigError for an objective that needs an unroll, which this learner has not."""
        raise ConfigError(
            f"{where}: objective is {controller.label}, which needs unrolls, and {cls.__name__} has none; "
            "use 'analytic', or PPO"
        )

    @classmethod
    def check_config(cls, config: Any, settings: Settings, spaces: Mapping[str, gym.Space[Any] | None]) -> None:
        """Check an algorithm's settings and its controllers'.

        Args:
            config: The algorithm's.
            settings: The controllers'.
            spaces: Module id → its action space, None where it is not known yet.

        Raises:
            ConfigError: something does not fit; says what to change.
        """
        unknown = settings.modules.keys() - spaces.keys()
        if unknown:
            known = ", ".join(map(repr, spaces))
            first = sorted(unknown)[0]
            raise ConfigError(f"modules has {first!r}, which is no module of the algorithm; it has {known}")
        controllers = [
            cls.controller_config(config.get_config_for_module(module_id), settings, module_id, space)
            for module_id, space in spaces.items()
        ]
        moved = any(controller.moves(name) for controller in controllers for name in ("tau", "beta"))
        if not moved and controllers[0].objective is not None and None not in spaces.values():
            raise ConfigError(
                "no module has a target_entropy or a target_kl: give control() one, or objective=None to keep both "
                "coefficients where they start"
            )

    @classmethod
    def controller_config(
        cls, config: Any, settings: Settings, module_id: str, space: gym.Space[Any] | None
    ) -> ControllerConfig:
        """Settings of one module's controller.

        Args:
            config: The algorithm's settings for this module.
            settings: The controllers'.
            module_id: The module.
            space: Its action space, None if it is not known yet.

        Raises:
            ConfigError: something does not fit; says what to change.
        """
        where = f"module {module_id!r}"
        values = settings.of_module(module_id)
        if values.get("target_entropy") is None:
            is_asked_for = values.get("objective", {}) is not None
            values["target_entropy"] = cls.default_target_entropy(config, space, where) if is_asked_for else None
        if values.get("target_kl") is None:
            values["target_kl"] = 0.0
        if values.get("entropy_response") is None and values.get("tau_rule") is None:
            values["tau_rule"] = cls.usual_tau_rule
        for name in ("entropy_response", "kl_response"):
            if values.get(name) is None:
                values[name] = "auto"
        cls._check_kl(config, values["target_kl"], where)
        cls.check_own_settings(config, values["target_entropy"], values["target_kl"], where)
        measures_kl = cls.beta_setting is not None and config.use_kl_loss
        start = cls._start(config, values)
        controller = ControllerConfig.from_dict(
            {
                "entropy_signal": "policy_entropy",
                "kl_signal": "policy_kl" if measures_kl else None,
                "kl_reference": "behaviour_policy",
                **{name: value for name, value in values.items() if name not in start},
                **{name: value for name, value in start.items() if value is not None},
            }
        )
        fixed = [name for name, value in start.items() if value is None and not controller.moves(name)]
        at_zero: dict[str, Any] = dict.fromkeys(fixed, 0.0)
        controller = replace(controller, **at_zero)
        if controller.unroll is not None:
            cls.check_unroll(config, controller, where)
        if space is not None:
            for target in controller.entropy_targets:
                if target is not None:
                    check_target_entropy(target, space, where)
        return controller

    @classmethod
    def _start(cls, config: Any, values: Mapping[str, Any]) -> dict[str, Any]:
        """τ and β at the start: as given, else the algorithm's own; None where that is 0, which none can move from."""
        own = {
            "tau": getattr(config, cls.tau_setting),
            "beta": 0.0 if cls.beta_setting is None else getattr(config, cls.beta_setting),
        }
        return {name: (value or None) if values.get(name) is None else values[name] for name, value in own.items()}

    @classmethod
    def _check_kl(cls, config: Any, target_kl: float, where: str) -> None:
        if target_kl and cls.beta_setting is None:
            algorithm = config.algo_class.__name__
            raise ConfigError(f"{where}: target_kl is {target_kl}, but the loss of {algorithm} has no KL; leave it out")
        if target_kl and not config.use_kl_loss:
            raise ConfigError(
                f"{where}: target_kl is {target_kl} and use_kl_loss is False: no coefficient acts on KL; "
                "set .training(use_kl_loss=True), or leave target_kl out"
            )
