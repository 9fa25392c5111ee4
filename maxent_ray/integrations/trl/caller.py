"""Trainer that calls a callback: transformers passes callbacks its arguments and state, and not the trainer itself."""

from __future__ import annotations

import sys

from transformers import Trainer, TrainerCallback
from trl import GRPOTrainer

from maxent_ray.errors import ConfigError


def calling_trainer(callback: TrainerCallback) -> GRPOTrainer:
    """The GRPOTrainer that has ``callback`` among its callbacks and is calling it now.

    Only the trainer has the coefficients and the metrics. It is found on the call stack, where it is ``self`` of the
    method that called; that it holds this very callback is checked, so it can be no other one.

    Raises:
        ConfigError: the caller is a trainer of another kind, or none.
    """
    frame = sys._getframe(1)
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, Trainer) and callback in caller.callback_handler.callbacks:
            return _checked(caller, callback)
        frame = frame.f_back  # type: ignore[assignment]
    raise ConfigError(f"{type(callback).__name__} was called by no trainer; pass it as GRPOTrainer(callbacks=[…])")


def _checked(trainer: Trainer, callback: TrainerCallback) -> GRPOTrainer:
    name = type(callback).__name__
    if not isinstance(trainer, GRPOTrainer):
        raise ConfigError(f"{name} is a callback of {type(trainer).__name__}; add it to a trl.GRPOTrainer")
    count = sum(isinstance(other, type(callback)) for other in trainer.callback_handler.callbacks)
    if count > 1:
        raise ConfigError(f"the trainer has {count} callbacks {name}; give it one, with both targets")
    return trainer
