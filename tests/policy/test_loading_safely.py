"""Model folders of strangers: whatever is in them is data. Each trap would create a file if it were sprung."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from maxent_ray.errors import PolicyLoadError
from maxent_ray.policy import load_policy, source
from tests.policy.families import write_model

CPU = torch.device("cpu")


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("marks") / "sprung"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    # Cloned: what load_file gives is mapped from the file, which the tests overwrite.
    return {name: value.clone() for name, value in load_file(folder / "model.safetensors").items()}


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_the_trap_works(mark: Path) -> None:
    pickle.loads(pickle.dumps(Trap(mark)))
    assert mark.exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt", "model.pth"])
def test_pickled_weights_are_refused_with_how_to_convert_them(gpt2_folder: Path, mark: Path, name: str) -> None:
    torch.save({**weights(gpt2_folder), "trap": Trap(mark)}, gpt2_folder / name)
    (gpt2_folder / "model.safetensors").unlink()
    with pytest.raises(PolicyLoadError, match=rf"weights in a pickle, {name}.*convert.*save_pretrained"):
        load_policy(str(gpt2_folder), device=CPU)
    assert not mark.exists()


def test_pickled_weights_are_refused_before_anything_starts(gpt2_folder: Path) -> None:
    (gpt2_folder / "model.safetensors").rename(gpt2_folder / "pytorch_model.bin")
    with pytest.raises(PolicyLoadError, match="in a pickle"):
        source.find_source(str(gpt2_folder))


def test_a_pickle_beside_safetensors_is_not_opened(gpt2_folder: Path, mark: Path) -> None:
    torch.save({"trap": Trap(mark)}, gpt2_folder / "pytorch_model.bin")
    load_policy(str(gpt2_folder), device=CPU)
    assert not mark.exists()


def test_a_pickle_under_the_name_of_safetensors_is_not_unpickled(gpt2_folder: Path, mark: Path) -> None:
    torch.save({**weights(gpt2_folder), "trap": Trap(mark)}, gpt2_folder / "model.safetensors")
    with pytest.raises(PolicyLoadError, match="its model cannot be loaded"):
        load_policy(str(gpt2_folder), device=CPU)
    assert not mark.exists()


def test_an_index_that_leads_to_a_pickle_springs_no_trap(gpt2_folder: Path, mark: Path) -> None:
    parameters = weights(gpt2_folder)
    torch.save({**parameters, "trap": Trap(mark)}, gpt2_folder / "shard.bin")
    (gpt2_folder / "model.safetensors").unlink()
    (gpt2_folder / "decoy.safetensors").touch()  # gets it past our own look at the folder
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(parameters, "shard.bin")}
    (gpt2_folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(PolicyLoadError, match="Weights only load failed"):
        load_policy(str(gpt2_folder), device=CPU)
    assert not mark.exists()


def test_code_that_comes_with_a_model_is_not_run(gpt2_folder: Path, mark: Path) -> None:
    write_code(gpt2_folder, mark)
    code = {"AutoConfig": "modeling_trap.A", "AutoModelForCausalLM": "modeling_trap.B"}
    edit(gpt2_folder / "config.json", auto_map=code, model_type="trap")
    with pytest.raises(PolicyLoadError, match="contains custom code which must be executed"):
        load_policy(str(gpt2_folder), device=CPU)
    assert not mark.exists()


def test_code_that_comes_with_a_tokenizer_is_not_run(gpt2_folder: Path, mark: Path) -> None:
    write_code(gpt2_folder, mark)
    code = {"AutoTokenizer": ["modeling_trap.C", "modeling_trap.D"]}
    edit(gpt2_folder / "tokenizer_config.json", auto_map=code, tokenizer_class="Trap")
    load_policy(str(gpt2_folder), device=CPU)  # from tokenizer.json, which is data
    assert not mark.exists()


def write_code(folder: Path, mark: Path) -> None:
    (folder / "modeling_trap.py").write_text(f"import os\nos.mkdir({str(mark)!r})\n")


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "_attn_implementation_internal"])
def test_a_model_does_not_choose_its_attention(gpt2_folder: Path, key: str) -> None:
    """In a configuration the name of an attention may be that of a kernel, code that transformers would download."""
    edit(gpt2_folder / "config.json", **{key: "somebody/kernel"})
    assert load_policy(str(gpt2_folder), device=CPU).model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("key", ["experts_implementation", "_experts_implementation"])
def test_a_model_does_not_choose_the_kernel_of_its_experts(tmp_path: Path, key: str) -> None:
    """Some names of them stand for a kernel of the hub, which transformers would download."""
    write_model("mixtral", tmp_path)
    edit(tmp_path / "config.json", **{key: "sonicmoe"})
    config = load_policy(str(tmp_path), device=CPU).model.config
    assert config._experts_implementation in ("grouped_mm", "eager")
