"""Report of a trainer that goes on when its numbers are not finite."""

from __future__ import annotations

import logging

from maxent_ray.core.objectives import ControllerGradients
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.errors import InvalidReportError
from maxent_ray.runtime.client import ControllerClient

logger = logging.getLogger(__name__)


def report_or_hold(
    client: ControllerClient, step: int, statistics: BatchStatistics, gradients: ControllerGradients | None = None
) -> BatchStatistics | None:
    """Report as it was measured; with one rank's unusable numbers the round moves nothing, and training goes on.

    Args:
        client: Of this rank.
        step: The step after the last reported one, on all ranks.
        statistics: Of this rank's share of the batch.
        gradients: Of this rank's unroll, for truncated backprop.

    Returns:
        The statistics of all ranks together; None where some rank's are not usable (reason ``non_finite``).

    Raises:
        InvalidReportError: for any other cause than numbers in ``statistics``, as :meth:`ControllerClient.report` does.

    Example:
        >>> from maxent_ray import ClientOptions, ControllerConfig, connect
        >>> config = ControllerConfig(entropy_signal="policy_entropy", target_entropy=0.5)
        >>> client = connect("run", 0, 1, config, options=ClientOptions(lag=0), local=True)
        >>> report_or_hold(client, 0, BatchStatistics(tokens=8, policy_entropy_sum=float("nan")))
        >>> client.wait_for_decision()
        >>> client.decisions()[-1]["reason"].value
        'non_finite'
    """
    try:
        return client.report(step, statistics, gradients)
    except InvalidReportError as error:
        if statistics.invalid_field() is None:
            raise
        logger.warning("run %r: τ and β stay as they are: %s", client.run_id, error)
        return None
