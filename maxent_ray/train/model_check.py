"""Check of a run's model: before there is a folder or an actor, the policy is loaded where a rank would load it."""

from __future__ import annotations

import ray
from ray.exceptions import RayError

from maxent_ray.config import ExperimentConfig
from maxent_ray.errors import MaxentRayError
from maxent_ray.runtime.remote_errors import cause_of
from maxent_ray.shipped import embedded_folder, is_embedded
from maxent_ray.train.resources import uses_gpus
from maxent_ray.train.run_task import asked_texts, build_run_task

EMBEDDED_POSITIONS = 64
"""Of the embedded policies, which have one token for each character."""
EMBEDDED_CHARACTERS = frozenset("0123456789+-*/()=,:. $")
"""Those that their tokenizer has."""


def check_model(config: ExperimentConfig) -> None:
    """Load a run's policy once, with the resources of one rank, and let go of it.

    Not on the driver, which may be a smaller machine. The embedded policies are known to pass, and are loaded only
    where they lack a character of a prompt, or prompts and completions do not fit: starting a process that has
    transformers takes seconds.

    Args:
        config: The experiment.

    Raises:
        PolicyLoadError: the model or its tokenizer cannot be loaded, or it cannot be sampled and scored rightly.
        TaskError: the task is empty or too small, or the tokenizer changes a prompt.
        ConfigError: ``grpo.max_new_tokens`` is more than the model's positions leave; the task does not tell the modes
            that are to be tracked.
        MaxentRayError: memory ran out, or the process that loads it died.
    """
    if is_embedded(config.policy_model) and _fits_embedded(config):
        embedded_folder(config.policy_model)
        return
    train, use_gpu = config.train, uses_gpus(config.train)
    task = ray.remote(_load).options(
        num_cpus=train.cpus_per_worker, num_gpus=train.gpus_per_worker if use_gpu else 0, max_retries=0
    )
    try:
        ray.get(task.remote(config, use_gpu))
    except RayError as error:
        cause = cause_of(error)
        if cause.kind is not None:
            raise cause.kind(cause.message) from None  # without the traceback of the other process
        raise MaxentRayError(
            f"model={config.policy_model!r} could not be loaded with the resources of one worker: {cause.message}"
        ) from error


def _fits_embedded(config: ExperimentConfig) -> bool:
    texts = asked_texts(build_run_task(config), config)
    lengths, characters = {len(text) for text in texts}, set().union(*texts)
    fits = max(lengths) + config.grpo.max_new_tokens <= EMBEDDED_POSITIONS
    return fits and 0 not in lengths and characters <= EMBEDDED_CHARACTERS


def _load(config: ExperimentConfig, use_gpu: bool) -> None:
    import torch

    from maxent_ray.train.policy_and_task import load_policy_and_task  # loads transformers: only on a worker

    train = config.train
    torch.set_num_threads(max(1, int(train.cpus_per_worker)))
    on_cpu = train.fully_shard and train.num_workers > 1
    load_policy_and_task(config, torch.device("cuda" if use_gpu else "cpu"), on_cpu=on_cpu)
