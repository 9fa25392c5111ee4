"""The TRL example trains, prints its table, and resumes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.integrations.trl.support import tiny_model

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments"))

import trl_grpo

SMALL = ["--prompts", "2", "--group-size", "4"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_model(tmp_path_factory.mktemp("model"), vocabulary="0123456789,=:+-*/()$")


def test_it_trains_saves_resumes_and_prints_a_table(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saving = ["--model", model, "--output", str(tmp_path), "--save-steps", "2", *SMALL]
    trl_grpo.main([*saving, "--steps", "2"])
    trl_grpo.main([*saving, "--steps", "4", "--resume"])
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [entry["step"] for entry in log] == [1, 2, 3, 4]
    output = capsys.readouterr().out
    table = output.split(trl_grpo.HEADER)[-1]
    assert trl_grpo.line(4, log[3]) in table
    assert "second half, mean of 2 steps: |H − H*|/H*" in table


@pytest.mark.parametrize(
    ("options", "moving"),
    [(["--trainer", "grpo"], {"beta"}), (["--trainer", "grpo", "--target-entropy", "2.0"], {"tau", "beta"})],
    ids=["kl", "entropy-too"],
)
def test_trl_s_own_loss(model: str, tmp_path: Path, options: list[str], moving: set[str]) -> None:
    trl_grpo.main(["--model", model, "--steps", "3", "--output", str(tmp_path), *SMALL, *options])
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {name for name in ("tau", "beta") if len({entry[f"maxent/{name}"] for entry in log}) > 1} == moving


def test_fixed_coefficients_stay(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trl_grpo.main(["--model", model, "--steps", "2", "--output", str(tmp_path), "--fixed", *SMALL])
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [entry["maxent/beta"] for entry in log] == [pytest.approx(0.1)] * 2
    assert "no targets" in capsys.readouterr().out
