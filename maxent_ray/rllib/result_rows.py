"""From a result of RLlib to rows of ``rows.jsonl``: one for each module that is trained, at each training iteration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from maxent_ray.core.signals import SIGNALS
from maxent_ray.report.numbers import number
from maxent_ray.storage.run_files import module_name

OURS: Mapping[str, str] = {
    "tau": "maxent_tau",
    "beta": "maxent_beta",
    "version": "maxent_version",
    "entropy": "maxent_entropy",
    "target_entropy": "maxent_target_entropy",
    "entropy_scale": "maxent_entropy_scale",
    "kl": "maxent_kl",
    "target_kl": "maxent_target_kl",
    "policy_entropy": "maxent_entropy",
}
"""Signal → its key in the results of a learner with a controller."""
RLLIBS: Mapping[str, Sequence[str]] = {
    "tau": ("curr_entropy_coeff", "alpha_value"),
    "beta": ("curr_kl_coeff",),
    "entropy": ("entropy",),
    "kl": ("mean_kl_loss",),
    "policy_entropy": ("entropy",),
}
"""Signal → its keys in the results of RLlib's own learners, which measure the last minibatch of an update."""
LEARNERS: Mapping[str, str] = {"loss": "total_loss", "gradient_norm": "gradients_default_optimizer_global_norm"}
"""Signal → its key in the results of any learner."""


def result_rows(
    result: Mapping[str, Any],
    *,
    step: int,
    trial: str,
    segment: int,
    objectives: Mapping[str, str],
    kl_target: float | None = None,
) -> list[dict[str, Any]]:
    """Make the rows of one training iteration.

    Args:
        result: RLlib's.
        step: Iterations before this one.
        trial: Name of the trial.
        segment: Clones that it has received.
        objectives: Module id → the name of its objective.
        kl_target: KL* of RLlib's own rule (nats per timestep), for modules without a controller.

    Example:
        >>> result = {"learners": {"p": {"maxent_tau": 0.01}}, "env_runners": {"episode_return_mean": 20.0}}
        >>> (row,) = result_rows(result, step=0, trial="mine", segment=0, objectives={"p": "analytic"})
        >>> row["trial"], row["tau"], row["episode_return"], row["reward"]
        ('mine', 0.01, 20.0, None)
    """
    return [
        {
            "step": step,
            "rank": 0,
            "objective": objective,
            **{signal.name: None for signal in SIGNALS},
            **_measured(result.get("learners", {}).get(module, {}), kl_target),
            "episode_return": episode_return(result, module if len(objectives) > 1 else None),
            "seconds": number(result.get("time_this_iter_s")),
            "trial": name,
            "segment": segment,
        }
        for (module, objective), name in zip(objectives.items(), record_names(trial, list(objectives)), strict=True)
    ]


def record_names(trial: str, modules: Sequence[str]) -> tuple[str, ...]:
    """Names of a trial's modules in the records: the trial's own where there is one.

    Example:
        >>> record_names("analytic-0", ["default_policy"]), record_names("analytic-0", ["left", "right"])
        (('analytic-0',), ('analytic-0/left', 'analytic-0/right'))
    """
    return (trial,) if len(modules) == 1 else tuple(module_name(trial, module) for module in modules)


def episode_return(result: Mapping[str, Any], module: str | None = None) -> float | None:
    """Mean return of the latest episodes, of all agents together or of those of one module; None before the first.

    Example:
        >>> episode_return({"env_runners": {"episode_return_mean": 20.0}}), episode_return({})
        (20.0, None)
    """
    found = result.get("env_runners", {})
    if module is None:
        return number(_plain(found.get("episode_return_mean")))
    return number(_plain(found.get("module_episode_returns_mean", {}).get(module)))


def _measured(learner: Mapping[str, Any], kl_target: float | None) -> dict[str, float | None]:
    """Values of one module's learner; one with a controller measures whole updates, and only that is taken."""
    if OURS["tau"] in learner:
        return {name: number(_plain(learner.get(key))) for name, key in {**OURS, **LEARNERS}.items()}
    named = {**RLLIBS, **{name: (key,) for name, key in LEARNERS.items()}}
    values = {
        name: next((value for key in found if (value := number(_plain(learner.get(key)))) is not None), None)
        for name, found in named.items()
    }
    return {**values, "target_kl": kl_target}


def _plain(value: Any) -> Any:
    """A number of numpy or torch as one of Python."""
    return value.item() if hasattr(value, "item") else value
