"""Callback that drives ``beta`` and ``entropy_coef`` of TRL's GRPOTrainer, every optimisation step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_callback import ExportableState

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.statistics import BatchStatistics, merge
from maxent_ray.errors import ConfigError
from maxent_ray.integrations.trl.caller import calling_trainer
from maxent_ray.integrations.trl.listwise import MaxEntGRPOTrainer
from maxent_ray.integrations.trl.metrics import log_decision
from maxent_ray.integrations.trl.micro_batch import micro_batch_statistics
from maxent_ray.integrations.trl.settings import controller_config
from maxent_ray.runtime.client import ControllerClient
from maxent_ray.runtime.connect import connect
from maxent_ray.runtime.held_report import report_or_hold
from maxent_ray.runtime.options import ClientOptions


class MaxEntCallback(TrainerCallback, ExportableState):
    """Drives β, and with an entropy target ``entropy_coef`` or the τ of a :class:`MaxEntGRPOTrainer`.

    Add it to a GRPOTrainer that starts with ``beta`` > 0 (and ``entropy_coef`` > 0). Each optimisation step trains with
    the coefficients decided on the step before it, the same on all processes. KL is TRL's estimate, k3, against the
    reference model; KL and entropy are means over all tokens of the step: of all processes and micro-batches.

    State is in every checkpoint, in ``trainer_state.json``: and ``resume_from_checkpoint`` goes on with it.

    Args:
        config: All settings of the controller, instead of the keywords below; as a mapping in checkpoints.
        target_kl: KL* in nats per token; None leaves β alone.
        target_entropy: H* in nats: per token of the policy's entropy, or of the group weights in MaxEntGRPOTrainer;
            None leaves the entropy coefficient alone.
        response: Of the signals to their coefficients, ``fast``, ``slow`` or ``auto``; None: as declared.
        run_id: Names the run in metrics and the actor's name.
        local: Decide in process 0; False: in a Ray actor, for which Ray must be running.
        options: Time limits of the actor; ``lag`` must be 0.
        **controller: Further fields of :class:`~maxent_ray.core.config.ControllerConfig`.

    Raises:
        ConfigError: a setting is out of range, here or, as soon as the trainer is known, in its arguments.

    Example:
        >>> callback = MaxEntCallback(target_kl=0.05)  # GRPOTrainer(…, callbacks=[callback])
    """

    def __init__(
        self,
        config: ControllerConfig | Mapping[str, Any] | None = None,
        *,
        target_kl: float | None = None,
        target_entropy: float | None = None,
        response: str | None = None,
        run_id: str = "trl",
        local: bool = True,
        options: ClientOptions | Mapping[str, Any] = ClientOptions(lag=0),
        **controller: Any,
    ) -> None:
        named = {"target_kl": target_kl, "target_entropy": target_entropy, "entropy_response": response}
        fields = {name: value for name, value in {**named, "kl_response": response}.items() if value is not None}
        fields.update(controller)
        if config is not None and fields:
            raise ConfigError(f"config is given, and so is {next(iter(fields))}; set it in config")
        self._options = options if isinstance(options, ClientOptions) else ClientOptions(**options)
        if self._options.lag != 0:
            raise ConfigError(f"options.lag is {self._options.lag}; it must be 0: a step waits for the decision before")
        self._given = fields if config is None else config
        self._run_id, self._local = run_id, local
        self._reasons: Counter[str] = Counter()
        self.client: ControllerClient | None = None
        """The controller's client, from the beginning of training; it has the decisions."""

    def on_init_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Check the settings while the trainer is built."""
        self._bind(args)

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Connect to the controller; a resumed training goes on with the checkpoint's state."""
        self._bind(args)  # a callback that was added later has not seen the trainer yet
        self.client, self._reasons = None, Counter()
        saved = _saved_state(state, type(self).__name__, self.state())
        processes = self._trainer.accelerator
        self.client = connect(
            self._run_id,
            processes.process_index,
            processes.num_processes,
            self._config,
            options=self._options,
            local=self._local,
        )
        if saved is not None:
            self.client.load_state_dict(saved["client"])
            self._reasons.update(saved["reasons"])

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Set the coefficients that the step trains with."""
        self._used = self._open_client().coefficients(state.global_step)
        self._trainer.beta = self._used.beta
        setattr(self._trainer, "tau" if self._weighs_groups else "entropy_coef", self._used.tau)
        self._measured = BatchStatistics()

    def on_substep_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Measure a micro-batch that gradients are accumulated over."""
        self._measured = merge(self._measured, micro_batch_statistics(self._trainer))

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Measure the last micro-batch, report the step, and log the decision on it."""
        self.on_substep_end(args, state, control)
        if self._weighs_groups:
            groups = self._trainer.take_weight_statistics(self._config.coefficient_bounds)
            self._measured = merge(self._measured, groups)
        client = self._open_client()
        report_or_hold(client, state.global_step - 1, self._measured)
        client.wait_for_decision()
        decision = client.decisions()[-1]
        self._reasons[decision["reason"]] += 1
        counts = {f"reason/{reason}": count for reason, count in self._reasons.items()}
        log_decision(self._trainer, self._used, decision, {**counts, **client.counters()})

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Disconnect; decisions stay readable."""
        self._open_client().close()

    def state(self) -> dict[str, Any]:
        """Settings and the controller's state, which TRL writes into each checkpoint."""
        if self.client is None:
            return {"args": {}, "attributes": {"saved": None}}
        trl_owns = {"beta"} if self._weighs_groups else {"beta", "tau"}  # a resumed training may start elsewhere
        settings = {
            "config": {name: value for name, value in self._config.to_dict().items() if name not in trl_owns},
            "run_id": self._run_id,
            "local": self._local,
            "options": asdict(self._options),
        }
        saved = {"client": self.client.state_dict(), "reasons": dict(self._reasons)}
        return {"args": settings, "attributes": {"saved": saved}}

    def _bind(self, args: Any) -> None:
        self._trainer = calling_trainer(self)
        self._weighs_groups = isinstance(self._trainer, MaxEntGRPOTrainer)
        self._config = controller_config(self._given, args, weighs_groups=self._weighs_groups)

    def _open_client(self) -> ControllerClient:
        if self.client is None:
            raise ConfigError("MaxEntCallback has not seen training begin; add it before trainer.train()")
        return self.client


def _saved_state(state: TrainerState, name: str, empty: dict[str, Any]) -> Any:
    """The callback's entry in a resumed training's state; None where there is none, and an empty one is made.

    In a training from the start the state may have an entry of the training before, which does not count.

    Transformers itself restores callbacks only with ``restore_callback_states_from_checkpoint``, and cannot save one
    that the checkpoint it resumed from did not have.
    """
    entries: Any = state.stateful_callbacks
    entry = entries.setdefault(name, empty)
    return entry["attributes"]["saved"] if state.global_step > 0 else None
