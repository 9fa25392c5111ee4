"""Models, tokenizers and adapters that do not fit: one sentence, exit status 2, and nothing is left."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from maxent_ray.cli.app import app
from tests.experiments.tiny_llm import SUMS, make_llm

pytestmark = pytest.mark.ray
REWARD = "tests.tasks.rewards.functions_for_tests:length"


class Case(NamedTuple):
    """Settings that break a run, what is done to the model's folder before, and parts of the sentence."""

    overrides: tuple[str, ...]
    change: Callable[[Path], None]
    said: tuple[str, ...]


def nothing(folder: Path) -> None:
    """Leave the model as it is."""


def without_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def with_rows(rows: int) -> Callable[[Path], None]:
    """The model with so many embedded tokens, as where the tokenizer was copied from elsewhere."""

    def resize(folder: Path) -> None:
        model = AutoModelForCausalLM.from_pretrained(folder)
        model.config.pad_token_id = model.config.eos_token_id = 0
        model.resize_token_embeddings(rows)
        model.save_pretrained(folder)

    return resize


def padding_beyond(folder: Path) -> None:
    """A configuration whose padding token has no row."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "pad_token_id": 5000}))


def start_beyond(folder: Path) -> None:
    """A model with a row for the end of a turn, and none for its start, which is the last token."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with_rows(tokenizer.convert_tokens_to_ids("<|im_start|>"))(folder)


CASES = {
    "a completion beyond the positions": Case(
        ("grpo.max_new_tokens=600",),
        nothing,
        ("max_new_tokens is 600", "has 512 positions", "set grpo.max_new_tokens="),
    ),
    "a prompt beyond the positions": Case(
        ("task.name=jsonl:{folder}/long.jsonl", f"task.kwargs={{rewards: ['{REWARD}']}}"),
        nothing,
        ("has 512 positions", "fewer than the tokens of the longest prompt", "'10+10+", "shorter prompts, or a model"),
    ),
    "no chat template": Case(
        (), without_template, ("has no chat template", "set tokenizer.chat_template", "write the prompts as text")
    ),
    "more tokens than the model embeds": Case(
        (), with_rows(200), ("its tokenizer needs", "its model embeds only 200", "a tokenizer that belongs to")
    ),
    "an end token beyond the model": Case(
        (), with_rows(300), ("its tokenizer needs", "its model embeds only 300", "a tokenizer that belongs to")
    ),
    "a padding token beyond the model": Case(
        (), padding_beyond, ("its model cannot be loaded (Padding_idx must be within", "the folder must hold")
    ),
    "special tokens of the template beyond the model": Case(
        (), start_beyond, ("holds '<|im_start|>'", "its model has not", "choose another model")
    ),
    "a target that matches nothing": Case(
        ("policy.lora.target_modules=[query]",),
        nothing,
        ("policy.lora.target_modules is ('query',)", "no layer of the model matches", "q_proj", "all-linear"),
    ),
    "a target among others that matches nothing": Case(
        ("policy.lora.target_modules=[q_proj, v_prj]",),
        nothing,
        ("policy.lora.target_modules is ('q_proj', 'v_prj')", "matches 'v_prj'", "v_proj", "all-linear"),
    ),
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    assert make_llm.main(["--shape", "tiny", str(folder), *SUMS]) == 0
    yield folder


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_is_refused(case: Case, tiny: Path, tmp_path: Path, ray_cluster: None) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for file in tiny.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    case.change(model)
    rows = [{"prompt": f"{n}+{n}="} for n in range(40)] + [{"prompt": "10+" * 300 + "1="}]
    (tmp_path / "long.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    overrides = [override.replace("{folder}", str(tmp_path)) for override in case.overrides]
    results = tmp_path / "results"
    given = ["--config", str(make_llm.CONFIG), "--results", str(results), "--no-gpu", f"policy.model={model}", *SUMS]
    done = CliRunner().invoke(app, ["train", *given, *overrides], env={"RAY_ADDRESS": "", "COLUMNS": "100"})
    assert done.exit_code == 2, done.output
    assert not results.exists()
    error = next(line for line in done.output.splitlines() if line.startswith("error: "))
    assert done.output.rstrip().endswith(error) and "Traceback" not in done.output
    for part in case.said:
        assert part in error
