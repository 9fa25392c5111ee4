"""Load a policy: a Hugging Face causal language model with its tokenizer, from a folder or the hub, and test it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from maxent_ray.errors import PolicyLoadError
from maxent_ray.policy.adapters import has_adapters, merged_copy
from maxent_ray.policy.self_test import self_test
from maxent_ray.policy.source import find_source, hub_answers, source_advice
from maxent_ray.policy.vocabulary import fit_tokenizer, ordinary_tokens
from maxent_ray.policy.whole_state import filled, gathered

# An index may lead from safetensors to a pickle, which transformers reads with `weights_only`, and so may refuse.
# An assertion is torch's, about a padding token beyond the rows of the embedding.
_LOAD_ERRORS = (OSError, ValueError, RuntimeError, ImportError, SafetensorError, UnpicklingError, AssertionError)


@dataclass(frozen=True, eq=False)
class Policy:
    """A language model that is trained, and its tokenizer.

    Attributes:
        model: The causal language model; loaded in evaluation mode, so that dropout does not separate
            sampling from scoring.
        tokenizer: Pads on the left and has a padding and an end-of-sequence token.
        name: The argument of `load_policy`.
        adds_special_tokens: True where its tokenizer puts special tokens around a prompt, such as one for the beginning
            of a sequence; False where a chat template has written them.
        outline: The model without values, where the parameters of `model` are divided among ranks.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    adds_special_tokens: bool = True
    outline: PreTrainedModel | None = None

    @property
    def device(self) -> torch.device:
        """Device of the model's parameters."""
        return next(self.model.parameters()).device

    @property
    def end_ids(self) -> tuple[int, ...]:
        """Tokens that end a completion: the tokenizer's, and those of the model's generation settings."""
        ends = {int(self.tokenizer.eos_token_id)}
        if self.model.generation_config is not None:
            declared = self.model.generation_config.eos_token_id
            ends.update([declared] if isinstance(declared, int) else declared or [])
        return tuple(sorted(ends))


def load_policy(
    model: str,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    precision: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Policy:
    """Load a policy with `AutoModelForCausalLM` and `AutoTokenizer`, from the package, a folder or the hub.

    Attention is PyTorch's `scaled_dot_product_attention` where the family has it, else its own. The model is tested
    before it is returned: padding, a cache and later tokens must leave its log-probabilities as they are.

    Args:
        model: `"embedded:NAME"` (the policy shipped for task NAME; `"embedded"`: for the default task), a folder, or
            a name on the Hugging Face hub.
        device: Device of the model.
        dtype: Type of its parameters.
        precision: Creates the context of its forward passes, such as autocast to bfloat16; the test runs in it too.

    Returns:
        The policy, its tokenizer set to pad on the left.

    Raises:
        PolicyLoadError: The folder does not exist or lacks a model or a tokenizer, the hub cannot deliver the
            name, the files are not a complete causal language model, or it cannot be sampled and scored rightly.

    Example:
        >>> policy = load_policy("embedded", device=torch.device("cpu"))
        >>> policy.tokenizer.padding_side, policy.tokenizer.eos_token
        ('left', '$')
    """
    source = find_source(model)
    local_only = isinstance(source, Path) or not hub_answers()
    network = _load_model(source, model, local_only, dtype)
    tokenizer = _load_tokenizer(source, model, local_only)
    fit_tokenizer(tokenizer, network, model)
    nn.Module.to(network, device)  # in place; the model's own .to is not typed
    _test(network, tokenizer, model, precision)
    return Policy(network, tokenizer, model)


def save_policy(policy: Policy, folder: Path) -> None:
    """Write a folder that `load_policy` reads: model as safetensors, tokenizer and their settings.

    Args:
        policy: The policy to save; adapters are added into the weights of what is written. Where it is divided among
            ranks, all of them call this, and rank 0 writes.
        folder: Created when it does not exist.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_policy(load_policy("embedded", device=torch.device("cpu")), Path(folder))
        ...     load_policy(folder, device=torch.device("cpu")).tokenizer.eos_token
        '$'
    """
    model = policy.model
    if policy.outline is not None:
        values = gathered(model.state_dict(keep_vars=True))
        if dist.get_rank() != 0:
            return
        model = filled(policy.outline, values)
    with _no_progress_bars():
        (merged_copy(model) if has_adapters(model) else model).save_pretrained(folder)
        policy.tokenizer.save_pretrained(folder)


def frozen_copy(policy: Policy) -> PreTrainedModel:
    """Copy the model with its present parameters, as the reference policy: evaluation mode, no gradients.

    Args:
        policy: The policy to copy; not changed.

    Returns:
        A model with its own parameters, none of which requires a gradient. Of a policy with adapters its own model,
        which is the reference where they are off.

    Example:
        >>> reference = frozen_copy(load_policy("embedded", device=torch.device("cpu")))
        >>> any(parameter.requires_grad for parameter in reference.parameters())
        False
    """
    if has_adapters(policy.model):
        return policy.model
    reference = copy.deepcopy(policy.model)
    reference.eval()
    reference.requires_grad_(False)
    return reference


def parameter_count(model: nn.Module) -> int:
    """Count the parameters, tied ones once.

    Example:
        >>> parameter_count(nn.Linear(3, 2))
        8
    """
    return sum(parameter.numel() for parameter in model.parameters())


def _load_model(source: Path | str, name: str, local_only: bool, dtype: torch.dtype) -> PreTrainedModel:
    with _no_progress_bars():
        try:
            # Read first, so that ours replaces the configured attention, which may be code on the hub.
            config = AutoConfig.from_pretrained(
                source,
                local_files_only=local_only,
                trust_remote_code=False,  # left out, transformers would ask on a terminal
            )
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                source,
                config=config,
                dtype=dtype,
                attn_implementation=None,  # sdpa where the family has it, else eager
                experts_implementation=None,  # likewise: no kernel of the hub
                local_files_only=local_only,
                output_loading_info=True,
                use_safetensors=True,
                trust_remote_code=False,
            )
        except _LOAD_ERRORS as error:
            raise _load_error(source, name, "model", local_only, error) from error
    model, report = loaded
    if report["missing_keys"]:
        raise PolicyLoadError(
            f"model={name!r} is not a complete causal language model: its weights lack "
            f"{sorted(report['missing_keys'])[:3]}; transformers would fill them with random numbers"
        )
    assert isinstance(model, PreTrainedModel)
    model.eval()
    return model


def _test(
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    precision: Callable[[], AbstractContextManager[object]],
) -> None:
    tokens = torch.tensor(ordinary_tokens(tokenizer, network))
    try:
        self_test(network, tokens, int(tokenizer.pad_token_id), precision)
    except PolicyLoadError as error:
        raise PolicyLoadError(
            f"model={name!r} (model_type {network.config.model_type!r}) cannot be sampled and scored rightly: {error}; "
            "take a model of another family"
        ) from error


def _load_tokenizer(source: Path | str, name: str, local_only: bool) -> PreTrainedTokenizerBase:
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            source, padding_side="left", local_files_only=local_only, trust_remote_code=False
        )
    except Exception as error:  # what tokenizers cannot read it raises bare
        raise _load_error(source, name, "tokenizer", local_only, error) from error
    if not tokenizer.eos_token:  # an empty one would be taken for the unknown token
        raise PolicyLoadError(
            f"the tokenizer of model={name!r} has no end-of-sequence token; set tokenizer.eos_token and save "
            "it again"
        )
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    return tokenizer


def _load_error(
    source: Path | str, name: str, part: str, local_only: bool, error: Exception
) -> PolicyLoadError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return PolicyLoadError(
        f"model={name!r}: its {part} cannot be loaded ({reason}); {source_advice(source, local_only)}"
    )


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
