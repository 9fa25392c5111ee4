"""The page on an LLM with LoRA: what it says to try without a GPU is run as it stands there."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from maxent_ray.cli.app import app
from maxent_ray.policy import load_policy
from tests.docs.blocks import ROOT, commands

sys.path.insert(0, str(ROOT / "experiments"))

import make_llm
import torch

PAGE = ROOT / "docs" / "how-to" / "llm-lora.md"
TINY = [words for words in commands(PAGE) if "tiny" in " ".join(words)]


def run(words: list[str]) -> None:
    if words[0] == "python":
        assert words[1] == "experiments/make_llm.py"
        assert make_llm.main(words[2:]) == 0
        return
    assert words[0] == "maxent-ray"
    result = CliRunner().invoke(app, words[1:], env={"RAY_ADDRESS": "", "COLUMNS": "100"})
    assert result.exit_code == 0, result.output


@pytest.mark.ray
@pytest.mark.slow
def test_it_trains_resumes_and_saves_a_plain_model(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.chdir(tmp_path)
    assert len(TINY) == 3
    for words in TINY:
        run(words)
    folder = tmp_path / "results" / "tiny"
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(6))
    assert len({row["tau"] for row in rows}) > 2 and len({row["beta"] for row in rows}) > 2
    policy = load_policy(str(folder / "policy"), device=torch.device("cpu"))
    assert not any("lora" in name for name in policy.model.state_dict())


def test_the_commands_with_the_real_shape_are_those_of_the_tiny_one() -> None:
    """But for shape, names and sizes: what runs above stands for them."""
    real = [words for words in commands(PAGE) if words not in TINY]
    made = [words for words in real if words[0] == "python"]
    assert [words[:3] for words in made] == [TINY[0][:3]]
    trained = [words for words in real if words[:2] == ["maxent-ray", "train"] and "--config" in words]
    assert len(trained) >= 2
    assert {words[words.index("--config") + 1] for words in trained} == {TINY[1][TINY[1].index("--config") + 1]}
