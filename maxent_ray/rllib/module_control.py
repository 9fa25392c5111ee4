"""Controller of one RL module: its client, and the sums of the update that is running."""

from __future__ import annotations

import logging
from threading import Lock
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.objectives import ControllerGradients
from maxent_ray.core.relative_errors import relative_error
from maxent_ray.core.state import Coefficients
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.runtime.client import ControllerClient

logger = logging.getLogger(__name__)


class Minibatch(NamedTuple):
    """Means over one minibatch, on the learner's device.

    Example:
        >>> Minibatch(torch.tensor(128), torch.tensor(0.69), torch.tensor(0.01)).timesteps
        tensor(128)
    """

    timesteps: Tensor
    """Those that the loss is over."""
    entropy: Float[Tensor, ""]
    """Of the policy (nats per timestep)."""
    kl: Float[Tensor, ""] | None = None
    """Of the policy from the one before the update (nats per timestep); None: the loss has no KL term."""


class ModuleControl:
    """Controller of one RL module on one learner.

    Args:
        client: Connected to the module's controller.
        config: Its settings.

    Example:
        >>> from maxent_ray import ClientOptions, connect
        >>> config = ControllerConfig(entropy_signal="policy_entropy", target_entropy=0.5)
        >>> control = ModuleControl(connect("run/p", 0, 1, config, options=ClientOptions(lag=0), local=True), config)
        >>> control.coefficients().tau
        0.01
        >>> control.add(Minibatch(torch.tensor(128), torch.tensor(0.69)))
        >>> _ = control.report(gradients=None)
        >>> control.coefficients().tau < 0.01
        True
    """

    def __init__(self, client: ControllerClient, config: ControllerConfig) -> None:
        self.client = client
        self.config = config
        self.skipped_reports = 0
        self._step = 0
        self._lock = Lock()  # IMPALA and APPO save from another thread than they train in
        self._minibatches: list[Minibatch] = []
        self._reason_to_skip = ""

    def coefficients(self) -> Coefficients:
        """Coefficients of the update that is running, or is next."""
        return self.client.coefficients(self._step)

    def add(self, minibatch: Minibatch) -> None:
        """Add one minibatch to the running update; nothing leaves the device."""
        self._minibatches.append(minibatch)

    def skip_next_report(self, reason: str) -> None:
        """Leave the next update's measurements out."""
        self._reason_to_skip = reason

    def report(self, gradients: ControllerGradients | None) -> dict[str, float | None]:
        """Report the whole update, and end it; on all learners alike.

        Args:
            gradients: Of this learner's unroll, for truncated backprop.

        Returns:
            Metric → its value over all learners; None where there is none.
        """
        coefficients, statistics = self.coefficients(), self._usable_statistics()
        with self._lock:
            merged = self.client.report(self._step, statistics, None if statistics.is_empty else gradients)
            self._step += 1
        return self._metrics(coefficients, merged or BatchStatistics())

    def to_dict(self) -> dict[str, Any]:
        """The controller's state, ready for JSON."""
        with self._lock:
            return {"step": self._step, "client": self.client.state_dict()}

    def load(self, values: dict[str, Any]) -> None:
        """Continue from a saved state.

        Raises:
            InvalidReportError: it is malformed; nothing was loaded.
        """
        with self._lock:
            self.client.load_state_dict(values["client"])
            self._step = values["step"]
        self._minibatches.clear()

    def _usable_statistics(self) -> BatchStatistics:
        """Statistics of the running update; empty, counted and logged where they must not be acted on."""
        statistics, reason = self.statistics(), self._reason_to_skip
        self._minibatches.clear()
        self._reason_to_skip = ""
        invalid = statistics.invalid_field()
        if invalid is not None:
            reason = f"{invalid[0]} of the update is {invalid[1]}"
        if not reason:
            return statistics
        self.skipped_reports += 1
        logger.warning("run %r, update %d: report skipped: %s", self.client.run_id, self._step, reason)
        return BatchStatistics()

    def statistics(self) -> BatchStatistics:
        """Statistics of the running update so far."""
        if not self._minibatches:
            return BatchStatistics()
        timesteps = torch.stack([each.timesteps for each in self._minibatches]).double()
        means = [torch.stack([each.entropy for each in self._minibatches])]
        kls = [each.kl for each in self._minibatches if each.kl is not None]
        if kls:
            means.append(torch.stack(kls))
        sums = torch.stack([timesteps.sum(), *((timesteps * mean).sum() for mean in means)])
        count, entropy, *kl = sums.tolist()  # the update's one transfer from the device
        return BatchStatistics(tokens=int(count), policy_entropy_sum=entropy, policy_kl_sum=kl[0] if kl else None)

    def _metrics(self, coefficients: Coefficients, statistics: BatchStatistics) -> dict[str, float | None]:
        config, step = self.config, coefficients.step
        entropy, kl = (config.measure(name, statistics) for name in ("tau", "beta"))
        target_entropy, target_kl = config.target_entropy_at(step), config.target_kl or None
        scale = None if target_entropy is None else config.entropy_scale_at(step)
        return {
            "maxent_tau": coefficients.tau,
            "maxent_beta": coefficients.beta,
            "maxent_entropy": entropy,
            "maxent_kl": kl,
            "maxent_target_entropy": target_entropy,
            "maxent_target_kl": target_kl,
            "maxent_entropy_scale": scale,
            "maxent_entropy_error": relative_error(entropy, target_entropy, scale),
            "maxent_kl_error": relative_error(kl, target_kl, target_kl),
            "maxent_version": coefficients.version,
            "maxent_skipped_reports": self.skipped_reports,
        }
