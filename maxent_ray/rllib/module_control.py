"""Controller of one RL module: its client, and the sums of the update that is running."""

from __future__ import annotations

import logging
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.decision import tracking_values
from maxent_ray.core.objectives import ControllerGradients
from maxent_ray.core.state import Coefficients
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.rllib.inner_loop import InnerLoop
from maxent_ray.rllib.minibatch import Minibatch
from maxent_ray.runtime.client import ControllerClient
from maxent_ray.runtime.held_report import report_or_hold

logger = logging.getLogger(__name__)


class ModuleControl:
    """Controller of one RL module on one learner.

    Args:
        client: Connected to the module's controller.
        config: Its settings.
        inner_loop: Moves β within an update; None: nothing does.

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

    def __init__(
        self, client: ControllerClient, config: ControllerConfig, inner_loop: InnerLoop | None = None
    ) -> None:
        self.client = client
        self.config = config
        self._inner_loop = inner_loop
        self.skipped_reports = 0
        self._step = 0
        self._lock = Lock()  # IMPALA and APPO save from another thread than they train in
        self._minibatches: list[Minibatch] = []
        self._reason_to_skip = ""

    def coefficients(self) -> Coefficients:
        """Coefficients of the update that is running, or is next."""
        return self.client.coefficients(self._step)

    def add(self, minibatch: Minibatch) -> Tensor | None:
        """Add one minibatch to the running update; nothing leaves the device.

        Returns:
            Factor on the decided β for the next minibatch; None where β stays as it was decided.
        """
        self._minibatches.append(minibatch)
        return None if self._inner_loop is None or self._reason_to_skip else self._inner_loop.add(minibatch)

    def report(self, gradients: ControllerGradients | None) -> dict[str, float | None]:
        """Report the whole update, and end it; on all learners alike.

        Args:
            gradients: Of this learner's unroll, for truncated backprop.

        Returns:
            Metric → its value over all learners; None where there is none.
        """
        with self._lock:
            coefficients, statistics = self.coefficients(), self._reported_statistics()
            merged = report_or_hold(self.client, self._step, statistics, None if statistics.is_empty else gradients)
            is_usable = merged is not None and not merged.is_empty
            self._step += 1
            self.skipped_reports += not is_usable
            inner: dict[str, float | None] = {}
            if self._inner_loop is not None:
                inner["maxent_beta_factor"] = self._inner_loop.end_update(is_usable=is_usable)
        return {**self._metrics(coefficients, merged or BatchStatistics()), **inner}

    def to_dict(self) -> dict[str, Any]:
        """The controller's state, ready for JSON."""
        with self._lock:
            course = None if self._inner_loop is None else self._inner_loop.to_list()
            return {"step": self._step, "client": self.client.state_dict(), "course": course}

    def load(self, values: dict[str, Any], reason_to_skip: str = "") -> None:
        """Continue from a saved state, between two updates.

        Args:
            values: Of :meth:`to_dict`.
            reason_to_skip: Reason to leave the next update's measurements out; empty: none.

        Raises:
            InvalidReportError: it is malformed; nothing was loaded.
        """
        with self._lock:
            self.client.load_state_dict(values["client"])
            self._step = values["step"]
            if self._inner_loop is not None:
                self._inner_loop.load(values.get("course"))
            self._minibatches.clear()
            self._reason_to_skip = reason_to_skip

    def _reported_statistics(self) -> BatchStatistics:
        """Statistics of the running update as they are; empty and logged after a restore that they do not fit."""
        statistics, reason = self.statistics(), self._reason_to_skip
        self._minibatches.clear()
        self._reason_to_skip = ""
        if not reason:
            return statistics
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
        count, entropy, *kl = sums.tolist()  # one transfer from the device
        return BatchStatistics(tokens=int(count), policy_entropy_sum=entropy, policy_kl_sum=kl[0] if kl else None)

    def _metrics(self, coefficients: Coefficients, statistics: BatchStatistics) -> dict[str, float | None]:
        config, step = self.config, coefficients.step
        values = tracking_values(
            coefficients,
            entropy=config.measure("tau", statistics),
            target_entropy=config.target_entropy_at(step),
            entropy_scale=config.entropy_scale_at(step),
            kl=config.measure("beta", statistics),
            target_kl=config.target_kl or None,
        )
        counts = {"version": coefficients.version, "skipped_reports": self.skipped_reports}
        return {f"maxent_{name}": value for name, value in {**values, **counts}.items()}
