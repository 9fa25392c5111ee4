"""Run the parts of ``gpu.sh``, each with a time limit of its own, and write what they found into one table.

    python experiments/benchmarks/gpu_parts.py --output results/gpu

A part that hangs or fails is reported, and the others still run. With ``--device cpu`` the same parts run in small
sizes, to try them where there is no GPU; the figures mean nothing then. Exits 1 if a part failed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from gpu_table import table

BENCHMARKS = Path(__file__).resolve().parent
ROOT = BENCHMARKS.parents[1]
SUMMARY = "summary.json"
PASSED, MISSED = "passed", "measured; not every bar holds"


@dataclass(frozen=True)
class Part:
    """A command that writes ``summary.json`` into the folder that is its last argument, or nothing."""

    name: str
    command: Sequence[str]
    limit_s: float
    has_bars: bool = False
    """True where status 1, with a summary written, says that a bar does not hold."""


@dataclass(frozen=True)
class Outcome:
    """End of a part."""

    part: str
    result: str
    """:data:`PASSED`, :data:`MISSED`, or how it failed."""
    seconds: float
    said: str
    """Last line of its output."""


def parts(device: str) -> list[Part]:
    """The parts; limits add up to less than 8 minutes."""
    unroll, memory, steps = (_script(f"{name}.py", device) for name in ("hypergradient", "step_memory", "llm_steps"))
    tests = [sys.executable, "-m", "pytest", "-q", "--noconftest", str(ROOT / "tests" / "gpu")]
    if device == "cpu":
        once = ["--steps", "1", "--inner-steps", "3", "--parts", "time", "--methods", "first_order"]
        tiny = ["--shape", "tiny", "--practice", "5", "--batch", "4", "--steps", "2"]
        small = ["grpo.prompts_per_step=2", "grpo.max_new_tokens=8", "task.kwargs.size=60", "task.held_out_prompts=16"]
        return [
            Part("tests", tests, 120.0),
            Part("hypergradient", [*unroll, *once, "--output"], 300.0, has_bars=True),
            Part("step_memory", [*memory, "--cases", "1", "--new-tokens", "8", "--output"], 120.0),
            Part("llm_lora", [*steps, *tiny, *small, "evaluation.prompts=16", "--output"], 300.0),
        ]
    return [
        Part("tests", tests, 110.0),
        Part("hypergradient", [*unroll, "--steps", "1", "4", "--inner-steps", "8", "--output"], 110.0, has_bars=True),
        Part("step_memory", [*memory, "--output"], 70.0),
        Part("llm_lora", [*steps, "--practice", "200", "--seconds", "60", "--output"], 170.0),
    ]


def _script(name: str, device: str) -> list[str]:
    return [sys.executable, str(BENCHMARKS / name), "--device", device]


def run_part(part: Part, folder: Path, log: Path) -> Outcome:
    """Run a part to its end, or to its time limit; its output goes to the log."""
    print(f"{part.name}: at most {part.limit_s:.0f} s …", flush=True)
    command = [*part.command, str(folder)] if part.command[-1] == "--output" else list(part.command)
    # Unbuffered: a part that is killed has said what it was at, and an error is the last thing that it says.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status = process.wait(part.limit_s)
            result = PASSED if status == 0 else f"ended with status {status}"
            if status == 1 and part.has_bars and (folder / SUMMARY).is_file():
                result = MISSED
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with the processes that it started
            process.wait()
            result = f"no end after {part.limit_s:.0f} s: killed"
        output.seek(0)
        text = output.read()
    with log.open("a", encoding="utf-8") as file:
        file.write(f"== {part.name}: {result}\n{text}\n")
    words = [line.strip() for line in text.splitlines() if any(letter.isalnum() for letter in line)]
    outcome = Outcome(part.name, result, round(time.perf_counter() - started, 1), words[-1] if words else "")
    print(f"{part.name}: {outcome.result} ({outcome.seconds:.0f} s) {outcome.said}", flush=True)
    return outcome


def run_all(chosen: Sequence[Part], output: Path, machine: dict[str, Any]) -> bool:
    """Run parts one after the other and write the table after each; True where none failed."""
    output.mkdir(parents=True, exist_ok=True)
    log = output / "gpu.log"
    log.write_text("", encoding="utf-8")
    outcomes: list[Outcome] = []
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        for part in chosen:
            folder = Path(work) / part.name
            outcomes.append(run_part(part, folder, log))
            if (folder / SUMMARY).is_file():
                found[part.name] = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
            ends = [asdict(outcome) for outcome in outcomes]
            result = {"schema": 1, "machine": machine, "parts": ends, "found": found}
            (output / "table.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            (output / "table.md").write_text(table(machine, ends, found), encoding="utf-8")
    return all(outcome.result in (PASSED, MISSED) for outcome in outcomes)


def describe_machine(device: str) -> dict[str, Any]:
    """Device and versions."""
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    return {"device": name, "torch": torch.__version__, "cuda": torch.version.cuda, "python": sys.version.split()[0]}


def main() -> int:
    """Run the parts, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/gpu"))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    arguments = parser.parse_args()
    passed = run_all(parts(arguments.device), arguments.output, describe_machine(arguments.device))
    print((arguments.output / "table.md").read_text(encoding="utf-8"), end="")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
