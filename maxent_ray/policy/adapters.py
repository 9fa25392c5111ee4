"""Low-rank adapters (LoRA): a small part of a model is trained, and the rest serves as the reference too.

The layers are those of `peft`, put into the model itself; so it keeps its class, and its names of parameters.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from maxent_ray.errors import ConfigError, ResumeError
from maxent_ray.extras import require_version
from maxent_ray.policy.whole_state import divided_like, gathered

OLDEST_PEFT = "0.18"


def add_adapters(
    model: PreTrainedModel, *, rank: int, alpha: int, target_modules: str | Sequence[str], seed: int
) -> None:
    """Put adapters into a model, and freeze all else. They begin as 0: the model's outputs are unchanged.

    Args:
        model: Changed in place.
        rank: Of an adapter.
        alpha: LoRA's α: an adapter's output is multiplied by α / rank.
        target_modules: Names of the layers that have one; ``all-linear``: all but the output head.
        seed: Of the adapters' first values.

    Raises:
        ModuleNotFoundError: `peft` is not installed.
        ConfigError: a name is that of no layer, or of the output head.

    Example:
        >>> from maxent_ray.policy import load_policy
        >>> model = load_policy("embedded", device=torch.device("cpu")).model
        >>> add_adapters(model, rank=2, alpha=4, target_modules=["q_proj", "v_proj"], seed=0)
        >>> sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        3072
    """
    require_version("peft", OLDEST_PEFT, "lora")
    _check_names(model, target_modules)
    from peft import LoraConfig, inject_adapter_in_model

    chosen: Any = target_modules if isinstance(target_modules, str) else list(target_modules)
    layers = LoraConfig(r=rank, lora_alpha=alpha, target_modules=chosen)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            inject_adapter_in_model(layers, model)
        except ValueError as error:
            raise _nothing_matches(model, target_modules) from error
    for parameter in model.parameters():
        if parameter.requires_grad:  # in bfloat16 small steps would round to nothing
            parameter.data = parameter.data.to(torch.promote_types(parameter.dtype, torch.float32))
    if any(module is model.get_output_embeddings() for module in _adapted(model)):
        raise ConfigError(
            f"policy.lora.target_modules is {target_modules!r}, which takes in the output head; leave it out: its "
            "logits are formed for some tokens at a time, under policy and reference"
        )


def has_adapters(model: nn.Module) -> bool:
    """True for a model that :func:`add_adapters` changed.

    Example:
        >>> has_adapters(nn.Linear(2, 1))
        False
    """
    return hasattr(model, "peft_config")  # which `peft` leaves on a model that it has put layers into


@contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """Context in which a model is what it was before adapters; one without adapters is what it is.

    Example:
        >>> from maxent_ray.policy import load_policy
        >>> with adapters_off(load_policy("embedded", device=torch.device("cpu")).model):
        ...     pass
    """
    adapted = _adapted(model)
    for module in adapted:
        module.enable_adapters(False)
    try:
        yield
    finally:
        for module in adapted:
            module.enable_adapters(True)


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """State of the parameters that are trained; of a model without frozen ones the whole state.

    Where it is divided among ranks, all of them call this, and rank 0 gets the tensors.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> _ = layer.bias.requires_grad_(False)
        >>> list(trained_state(layer))
        ['weight']
    """
    return gathered(_trained(model))


def _trained(model: nn.Module) -> dict[str, Tensor]:
    state: dict[str, Tensor] = model.state_dict(keep_vars=True)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    if not frozen:
        return state
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    return {name: value for name, value in state.items() if name in trained}


def load_trained_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load :func:`trained_state`.

    Raises:
        ResumeError: the state is of other parameters; nothing was loaded.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> load_trained_state(layer, {"bias": torch.zeros(1)})
        Traceback (most recent call last):
        maxent_ray.errors.ResumeError: the checkpoint has other parameters than the policy trains (weight is not in ...
    """
    own = _trained(model)
    shapes = [{name: value.shape for name, value in each.items()} for each in (own, state)]
    differing = sorted(name for name in {*own, *state} if shapes[0].get(name) != shapes[1].get(name))
    if differing:
        name = differing[0]
        how = "is in both, of other shape" if name in own and name in state else "is not in both"
        raise ResumeError(
            f"the checkpoint has other parameters than the policy trains ({name} {how}): resume with policy.model and "
            "policy.lora as they were, or start a new run"
        )
    parts = {name: divided_like(value, own[name]) for name, value in state.items()}
    model.load_state_dict(parts, strict=len(parts) == len(model.state_dict()))


def merged_copy(model: PreTrainedModel) -> PreTrainedModel:
    """Copy a model with its adapters added into its weights: a plain model again.

    Example:
        >>> from maxent_ray.policy import load_policy
        >>> model = load_policy("embedded", device=torch.device("cpu")).model
        >>> len(merged_copy(model).state_dict()) == len(model.state_dict())
        True
    """
    merged = copy.deepcopy(model)
    for name, module in list(merged.named_modules()):
        if module in _adapted(merged):
            module.merge()
            parent, _, own = name.rpartition(".")
            setattr(merged.get_submodule(parent), own, module.get_base_layer())
    if has_adapters(merged):
        del merged.peft_config
    return merged.requires_grad_(True)


def _adapted(model: nn.Module) -> list[Any]:
    """Layers with adapters; `peft` is loaded where there are some."""
    if not has_adapters(model):
        return []
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]


def _check_names(model: PreTrainedModel, target_modules: str | Sequence[str]) -> None:
    """Check each name by itself: `peft` is content where one of several matches."""
    if isinstance(target_modules, str):
        return
    layers = [name for name, _ in model.named_modules()]
    missing = [name for name in target_modules if not any(f".{layer}".endswith(f".{name}") for layer in layers)]
    if missing:
        raise _nothing_matches(model, target_modules, missing if len(missing) < len(target_modules) else ())


def _nothing_matches(
    model: PreTrainedModel, target_modules: str | Sequence[str], some: Sequence[str] = ()
) -> ConfigError:
    linear = {name.rpartition(".")[2] for name, each in model.named_modules() if isinstance(each, nn.Linear)}
    head = model.get_output_embeddings()
    there = sorted(linear - {name.rpartition(".")[2] for name, each in model.named_modules() if each is head})
    names = ", ".join(map(repr, some))
    what = f"but no layer of the model matches {names}" if some else "which no layer of the model matches"
    return ConfigError(
        f"policy.lora.target_modules is {target_modules!r}, {what}; it has {', '.join(there)}, or set all-linear"
    )
