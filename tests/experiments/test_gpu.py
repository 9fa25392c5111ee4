"""The script for machines with a GPU: parts that hang or fail leave the others running, and figures become a table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments" / "benchmarks"))

import gpu_parts
import llm_steps
from gpu_parts import Part
from unroll_problem import make_problem

from maxent_ray.policy import load_policy

SCRIPT = gpu_parts.BENCHMARKS / "gpu.sh"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("interpreter", [sys.executable, "/nowhere/python"])
def test_without_a_gpu_there_is_one_sentence_and_no_folder(interpreter: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHON": interpreter}
    done = subprocess.run(
        [SCRIPT, tmp_path / "out"], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"gpu.sh: {interpreter} has no torch that can use a GPU; run this on a machine")
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_hangs_is_killed_with_its_children_and_the_rest_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    child = tmp_path / "child"
    hangs = f"""
import subprocess, sys, time
started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({str(child)!r}, "w").write(str(started.pid))
print("waits for its child")
time.sleep(600)
"""
    writes = "import pathlib, sys; f = pathlib.Path(sys.argv[2]); f.mkdir(); (f / 'summary.json').write_text('[7]')"
    parts = [
        Part("hangs", python(hangs), 3.0),
        Part("fails", python("print('so far'); raise SystemExit('it is broken')"), 60.0),
        Part("writes", [*python(writes), "--output"], 60.0),
        Part("judges", [*python(f"{writes}; sys.exit(1)"), "--output"], 60.0, has_bars=True),
        Part("breaks", [*python(f"{writes}; sys.exit(1)"), "--output"], 60.0),
    ]
    assert not gpu_parts.run_all(parts, tmp_path / "out", {"device": "none"})
    found = json.loads((tmp_path / "out" / "table.json").read_text())
    failed = "ended with status 1"
    results = [part["result"] for part in found["parts"]]
    assert results == ["no end after 3 s: killed", failed, gpu_parts.PASSED, gpu_parts.MISSED, failed]
    assert [part["said"] for part in found["parts"][:2]] == ["waits for its child", "it is broken"]
    assert found["found"] == {"writes": [7], "judges": [7], "breaks": [7]}
    state = Path("/proc") / child.read_text() / "stat"
    assert not state.exists() or state.read_text().split()[2] == "Z"
    markdown = (tmp_path / "out" / "table.md").read_text()
    assert "| hangs | no end after 3 s: killed |" in markdown
    assert "so far" in (tmp_path / "out" / "gpu.log").read_text()


def test_all_parts_fit_into_eight_minutes() -> None:
    parts = gpu_parts.parts("cuda")
    assert [part.name for part in parts] == ["tests", "hypergradient", "step_memory", "llm_lora"]
    assert [part.name for part in gpu_parts.parts("cpu")] == [part.name for part in parts]
    assert sum(part.limit_s for part in parts) < 8 * 60
    for part in parts[1:]:
        assert Path(part.command[1]).is_file() and part.command[2:4] == ["--device", "cuda"]


def test_the_hypergradient_problem_is_made() -> None:
    problem = make_problem(load_policy("embedded:countdown_small", device=torch.device("cpu")))
    assert [float(value) for value in problem.coefficients] == [0.3, 0.1]
    losses = [
        case.unroll.inner(case.unroll.params, case.coefficients, 0).double()
        for case in (problem, problem.cast(torch.float64))
    ]
    torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-6)


def test_the_llm_is_measured_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    part = next(part for part in gpu_parts.parts("cpu") if part.name == "llm_lora")
    monkeypatch.setattr(sys, "argv", [*part.command[1:], str(tmp_path)])
    assert llm_steps.main() == 0
    found = json.loads((tmp_path / "summary.json").read_text())
    assert found["steps"] == 2 and found["steps_a_minute"] > 0
    assert found["sampled_tokens_a_second"] > found["tokens_a_second"] > 0
    assert found["trained"] < found["parameters"]
    assert found["target_kl"] == 0.05 and 0 < found["entropy"] <= 2.08
    assert "step 2" in capsys.readouterr().out
    shown = gpu_parts.table({}, [], {"llm_lora": found})
    assert f"| KL by β | {found['kl']:.4g} | 0.05 | 0.1 | {found['beta']:.4g} |" in shown
