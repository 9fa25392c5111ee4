"""Source of a policy: the shipped folder, a folder of the user, or a name on the hub."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from pathlib import Path

from huggingface_hub import constants as hub_constants

from maxent_ray.errors import PolicyLoadError
from maxent_ray.shipped import EMBEDDED, embedded_folder, is_embedded

_NEEDED_FILES = {
    "model configuration": ("config.json",),
    "model weights": ("*.safetensors",),
    "tokenizer": (
        "tokenizer.json",
        "tokenizer_config.json",
        "tokenizer.model",
        "vocab.json",
        "vocab.txt",
        "spiece.model",
    ),
}
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_CONVERT = (
    "weights are read as safetensors alone, because loading a pickle can run any program; if you trust the source, "
    "convert it: AutoModelForCausalLM.from_pretrained(source).save_pretrained(folder), and give that folder"
)
_HUB_TIMEOUT_SECONDS = 5.0


def find_source(model: str) -> Path | str:
    """Turn the user's string into a checked folder, or into a name for the hub.

    A name that could be one on the hub is one, whatever folders the process finds in its working directory: it may be
    a worker in another folder than the user. Settings know where they were typed, and name folders by absolute paths.

    Args:
        model: `"embedded:NAME"` (the shipped policy of task NAME; without it, that of the default task), a folder
            (absolute, or as `./folder`) or a hub name.

    Returns:
        A folder that holds a model and a tokenizer, or the name unchanged.

    Raises:
        PolicyLoadError: The string is a path of no folder, the folder lacks a needed file, or no policy is shipped
            for the task.

    Example:
        >>> find_source("owner/model")
        'owner/model'
    """
    if is_embedded(model):
        return embedded_folder(model)
    folder = Path(os.path.expanduser(model))
    is_path = not model.strip() or _looks_like_path(model)
    if is_path and model.strip() and os.path.isdir(folder):
        _check_folder(folder)
        return folder
    if os.path.isfile(folder):
        raise PolicyLoadError(f"model={model!r} is a file; give the folder that holds config.json")
    if is_path:
        raise PolicyLoadError(
            f"model={model!r}: there is no folder {str(folder)!r}; give an existing Hugging Face model "
            f"folder, a hub name such as 'owner/model', or {EMBEDDED!r}"
        )
    return model


def hub_answers() -> bool:
    """True when the hub answers within a few seconds; its client would retry each file for half a minute."""
    if hub_constants.HF_HUB_OFFLINE:
        return False
    request = urllib.request.Request(hub_constants.ENDPOINT, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_HUB_TIMEOUT_SECONDS).close()
    except urllib.error.HTTPError:
        return True  # any answer counts
    except OSError:
        return False
    return True


def source_advice(source: Path | str, local_only: bool) -> str:
    """Advice for a source that did not load.

    Args:
        source: From `find_source`.
        local_only: True when the hub could not be reached.
    """
    if isinstance(source, Path):
        return (
            "the folder must hold what save_pretrained writes for a causal language model and its tokenizer"
        )
    if local_only:
        return (
            f"there is no folder of that name, the hub ({hub_constants.ENDPOINT}) does not answer and the "
            "local cache has no complete copy: download it where there is a network, and give its folder"
        )
    return f"there is no folder of that name; check the spelling of the hub name and your access to it; {_CONVERT}"


def _looks_like_path(model: str) -> bool:
    return model.startswith((".", "/", "~")) or "\\" in model or model.count("/") > 1


def _check_folder(folder: Path) -> None:
    """Check that a folder has all needed files, before transformers guesses."""
    missing = [
        f"{what} ({' or '.join(patterns)})"
        for what, patterns in _NEEDED_FILES.items()
        if not any(any(folder.glob(pattern)) for pattern in patterns)
    ]
    pickles = [file.name for pattern in _PICKLES for file in sorted(folder.glob(pattern))]
    if pickles and not any(folder.glob("*.safetensors")):
        raise PolicyLoadError(f"model folder {str(folder)!r} has its weights in a pickle, {pickles[0]}; {_CONVERT}")
    if missing:
        raise PolicyLoadError(
            f"model folder {str(folder)!r} has no {', no '.join(missing)}; write it there with "
            "model.save_pretrained(folder) and tokenizer.save_pretrained(folder)"
        )
