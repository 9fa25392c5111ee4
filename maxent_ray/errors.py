"""Every error the package raises on purpose, in one tree. All of them survive a pickle, so they cross Ray.

::

    MaxentRayError
    ├── ConfigError (ValueError)           a setting is unknown, missing or out of range
    │   └── UnknownObjectiveError          no controller objective has that name
    ├── PolicyLoadError                    a model or tokenizer cannot be loaded, or not be sampled rightly
    ├── TaskError                          a task is empty or asked for more prompts than it has
    ├── ResourceError                      the cluster has fewer CPUs or GPUs than were asked for
    ├── ResumeError                        a run cannot be continued from where it was asked to
    ├── HypergradientError (ValueError)    an unroll cannot be differentiated as it was asked for
    ├── RankLeftError                  another rank left an unroll that all ranks share
    ├── RecordingError                     results cannot be written, as when the disk is full
    │   └── FolderMovedError               the run's folder is no longer where it was
    └── ControllerError                    the controller's side of the runtime
        ├── InvalidReportError (ValueError)    a report carries a value the controller must not use
        ├── RankLostError                      another rank died, hangs or never came; it is named
        └── ControllerUnavailableError         the controller's actor did not answer in time

Messages are one argument each, naming the field, its value and what would be valid.
"""

from __future__ import annotations

from typing import ClassVar


class MaxentRayError(Exception):
    """Root of all errors that maxent_ray raises on purpose.

    ``resumable`` tells whether resuming the run may get past an error, because its cause is a machine, a disk or
    another process. Any other error is met again by every resume, until what its message names has changed.

    Example:
        >>> from maxent_ray import load_config
        >>> try:
        ...     load_config(overrides=["train.steps=0"])
        ... except MaxentRayError as error:
        ...     print(type(error).__name__)
        ConfigError
    """

    resumable: ClassVar[bool] = False


class ConfigError(MaxentRayError, ValueError):
    """A setting is unknown, missing or out of range.

    Example:
        >>> from maxent_ray import ControllerConfig
        >>> ControllerConfig(group_size=1)
        Traceback (most recent call last):
        maxent_ray.errors.ConfigError: group_size is 1; it must be >= 2
    """


class UnknownObjectiveError(ConfigError):
    """No controller objective has the name that was asked for.

    Example:
        >>> from types import SimpleNamespace
        >>> from maxent_ray import build_controller_objective
        >>> meta = SimpleNamespace(enabled=True, method="guess")
        >>> build_controller_objective(None, SimpleNamespace(controller_meta=meta))
        Traceback (most recent call last):
        maxent_ray.errors.UnknownObjectiveError: controller_meta.method is 'guess'; valid methods: analytic, ...
    """


class PolicyLoadError(MaxentRayError):
    """A policy's model or tokenizer cannot be loaded, or the model cannot be sampled and scored rightly.

    Example:
        >>> from maxent_ray.policy.source import find_source
        >>> find_source("./no-model-here")
        Traceback (most recent call last):
        maxent_ray.errors.PolicyLoadError: model='./no-model-here': there is no folder 'no-model-here'; ...
    """


class TaskError(MaxentRayError):
    """A task is empty, or was asked for more prompts than it has.

    Example:
        >>> from maxent_ray.tasks import draw
        >>> draw([], 8, seed=0, step=0)
        Traceback (most recent call last):
        maxent_ray.errors.TaskError: count is 8; the task has no prompts to draw from
    """


class ResourceError(MaxentRayError):
    """The cluster has fewer CPUs or GPUs than the run asks for.

    Example:
        >>> from maxent_ray.cli.cluster import join
        >>> join("127.0.0.1:1")
        Traceback (most recent call last):
        maxent_ray.errors.ResourceError: no Ray cluster at '127.0.0.1:1' ...
    """


class ResumeError(MaxentRayError):
    """A run cannot be continued from the place it was asked to.

    Example:
        >>> from pathlib import Path
        >>> from maxent_ray.train.run_folder import check_has_run
        >>> check_has_run(Path("results/never-started"))
        Traceback (most recent call last):
        maxent_ray.errors.ResumeError: cannot resume results/never-started: it does not exist; ...
    """


class HypergradientError(MaxentRayError, ValueError):
    """An unroll cannot be differentiated as it was asked for: a loss, a parameter or a setting does not fit.

    Example:
        >>> from maxent_ray.core.hypergradient import choose_mode
        >>> choose_mode(0, parameter_bytes=1, activation_bytes=1, free_bytes=1)
        Traceback (most recent call last):
        maxent_ray.errors.HypergradientError: steps is 0; it must be >= 1
    """


class RankLeftError(MaxentRayError):
    """Another rank could not finish an unroll that all ranks share; this one has no gradients either.

    Example:
        >>> import torch
        >>> from maxent_ray.train.unroll.rank_sync import UnrollRanks
        >>> class OtherRankLeft(UnrollRanks):  # stands for the vote of a rank that ran out of memory
        ...     def _minimum(self, value):
        ...         return 0.0
        >>> with OtherRankLeft(torch.device("cpu")) as ranks:
        ...     ranks.least(1.0)
        Traceback (most recent call last):
        maxent_ray.errors.RankLeftError: another rank could not finish the unroll; no rank uses it
    """

    resumable = True


class RecordingError(MaxentRayError):
    """Results cannot be written, as when the disk is full.

    Example:
        >>> from pathlib import Path
        >>> from maxent_ray.storage.write_errors import writing
        >>> with writing(Path("/nowhere/rows.jsonl"), "Training so far is kept"):
        ...     _ = Path("/nowhere/rows.jsonl").write_text("{}")
        Traceback (most recent call last):
        maxent_ray.errors.RecordingError: cannot write /nowhere/rows.jsonl: No such file or directory. ...
    """

    resumable = True


class FolderMovedError(RecordingError):
    """A run's folder was moved, renamed or removed during the run; it is continued from where the folder is now.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from maxent_ray.storage.driver_lock import driver_lock
        >>> from maxent_ray.storage.records import Records
        >>> with tempfile.TemporaryDirectory() as folder, driver_lock(Path(folder)):
        ...     records = Records(Path(folder))
        >>> records.check_in_place()
        Traceback (most recent call last):
        maxent_ray.errors.FolderMovedError: ... is no longer this run's folder: ...
    """

    resumable = False


class ControllerError(MaxentRayError):
    """Something on the controller's side of the runtime went wrong.

    Example:
        >>> from maxent_ray import BatchStatistics, ControllerConfig, connect
        >>> client = connect("my-run", 0, 1, ControllerConfig(group_size=8, target_entropy=1.9), local=True)
        >>> try:
        ...     client.report(0, BatchStatistics(groups=1, weight_entropy_sum=float("nan")))
        ... except ControllerError as error:
        ...     print(type(error).__name__)
        InvalidReportError
    """

    resumable = True


class InvalidReportError(ControllerError, ValueError):
    """A report carries a value that the controller must not use; its state is unchanged.

    Example:
        >>> from maxent_ray import BatchStatistics
        >>> BatchStatistics.from_dict({**BatchStatistics().to_dict(), "tokens": -1})
        Traceback (most recent call last):
        maxent_ray.errors.InvalidReportError: statistics.tokens ...
    """

    resumable = False


class RankLostError(ControllerError):
    """Another rank died, hangs or never came.

    Example:
        >>> from torch.distributed import HashStore
        >>> from maxent_ray.runtime.collective import GlooCollective
        >>> from maxent_ray.runtime.rank_store import RankStore
        >>> store = RankStore(HashStore(), HashStore(), rank=0, world_size=1)
        >>> ranks = GlooCollective(store, rank=0, world_size=1, timeout_s=1.0)
        >>> ranks.close()
        >>> ranks.broadcast("a decision", step=0)
        Traceback (most recent call last):
        maxent_ray.errors.RankLostError: the connection to the other ranks was closed
    """


class ControllerUnavailableError(ControllerError):
    """The controller's actor did not answer in time, and the config says to raise.

    Example:
        >>> from maxent_ray import ClientOptions
        >>> from maxent_ray.runtime.deciders import ActorDecider
        >>> options = ClientOptions(when_unreachable="raise")
        >>> decider = ActorDecider("my-run", None, options, recreate=lambda: None)  # None: no actor
        >>> decider.submit("a request")
        False
        >>> decider.reply()
        Traceback (most recent call last):
        maxent_ray.errors.ControllerUnavailableError: run 'my-run': the controller cannot be reached (...)
    """
