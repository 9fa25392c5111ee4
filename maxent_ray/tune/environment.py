"""Environment and log filters that Ray Tune runs under."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def tune_environment() -> Iterator[None]:
    """Keep relative paths of the configuration valid in trials, and Tune's messages for developers out of the log."""
    loggers = [logging.getLogger(f"ray.tune.{name}") for name in _CHATTY]
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    for logger in loggers:
        logger.addFilter(_is_for_users)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_is_for_users)
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


_ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "2",  # of training that is done again after a kill; by default 10 or more
}
_CHATTY = (
    "analysis.experiment_analysis",
    "execution.experiment_state",
    "execution.tune_controller",
    "schedulers.pbt",
    "tune",
    "utils.util",
)
_NOT_FOR_USERS = (
    "Trials did not complete",  # after an interruption that we report ourselves
    "Experiment has been interrupted",  # advises a way to resume that would leave out our scheduler
    "Experiment state snapshotting has been triggered multiple times",
    "Failed to fetch metrics",  # of trials that had not begun
    "The `callbacks.",  # of ours, on a busy machine: they write the records
)


_WITH_TRACE = "Trial task failed for trial"


def _is_for_users(record: logging.LogRecord) -> bool:
    if record.getMessage().startswith(_WITH_TRACE):
        record.exc_info = None  # the trial's folder has it, and the last lines of the command say why and where
    return record.levelno > logging.INFO and not record.getMessage().startswith(_NOT_FOR_USERS)
