"""Every error the package raises on purpose, in one tree. All of them survive a pickle, so they cross Ray.

::

    MaxentRayError
    ├── ConfigError (ValueError)           a setting is unknown, missing or out of range
    │   └── UnknownObjectiveError          no controller objective has that name
    ├── PolicyLoadError                    a model or tokenizer cannot be loaded
    ├── TaskError                          a task is empty or asked for more prompts than it has
    ├── ResourceError                      the cluster has fewer CPUs or GPUs than were asked for
    ├── ResumeError                        a run cannot be continued from where it was asked to
    ├── HypergradientError (ValueError)    an unroll cannot be differentiated as it was asked for
    ├── RankLeftError                  another rank left an unroll that all ranks share
    ├── RecordingError                     results cannot be written, as when the disk is full
    └── ControllerError                    the controller's side of the runtime
        ├── InvalidReportError (ValueError)    a report carries a value the controller must not use
        ├── RankLostError                      another rank died, hangs or never came; it is named
        └── ControllerUnavailableError         the controller's actor did not answer in time

Messages are one argument each, naming the field, its value and what would be valid.
"""

from __future__ import annotations


class MaxentRayError(Exception):
    """Root of all errors that maxent_ray raises on purpose."""


class ConfigError(MaxentRayError, ValueError):
    """A setting is unknown, missing or out of range."""


class UnknownObjectiveError(ConfigError):
    """No controller objective has the name that was asked for."""


class PolicyLoadError(MaxentRayError):
    """A policy's model or tokenizer cannot be loaded."""


class TaskError(MaxentRayError):
    """A task is empty, or was asked for more prompts than it has."""


class ResourceError(MaxentRayError):
    """The cluster has fewer CPUs or GPUs than the run asks for."""


class ResumeError(MaxentRayError):
    """A run cannot be continued from the place it was asked to."""


class HypergradientError(MaxentRayError, ValueError):
    """An unroll cannot be differentiated as it was asked for: a loss, a parameter or a setting does not fit."""


class RankLeftError(MaxentRayError):
    """Another rank could not finish an unroll that all ranks share; this one has no gradients either."""


class RecordingError(MaxentRayError):
    """Results cannot be written, as when the disk is full."""


class ControllerError(MaxentRayError):
    """Something on the controller's side of the runtime went wrong."""


class InvalidReportError(ControllerError, ValueError):
    """A report carries a value that the controller must not use; its state is unchanged."""


class RankLostError(ControllerError):
    """Another rank died, hangs or never came."""


class ControllerUnavailableError(ControllerError):
    """The controller's actor did not answer in time, and the config says to raise."""
