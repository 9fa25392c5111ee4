"""The soak in short, on a cluster of its own, and its verdict on logs with known answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from maxent_ray.core.controller import Controller
from maxent_ray.core.statistics import merge_all

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments" / "benchmarks"))

import chaos_verdict
from chaos_rank import CONFIG, Step, measured

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "experiments" / "benchmarks"
ROUNDS, RANKS = 12, 2
Logs = tuple[list[list[Step]], list[dict[str, Any]]]


def faultless(lag: int = 1) -> Logs:
    """What ranks and rank 0 write down of a run without faults."""
    controller = Controller(CONFIG)
    states, decisions = [controller.init()], []
    for step in range(ROUNDS):
        tau, beta = states[max(step - lag, 0)].tau, states[max(step - lag, 0)].beta
        merged = merge_all(measured(rank, step, tau, beta) for rank in range(RANKS))
        state, decision = controller.step(states[-1], merged)
        states.append(state)
        decisions.append(json.loads(json.dumps({**decision.to_dict(), "alarms": []})))
    trained = [states[max(step - lag, 0)] for step in range(ROUNDS)]
    seen = [Step(step, state.tau, state.beta, state.version, float(step)) for step, state in enumerate(trained)]
    return [list(seen) for _ in range(RANKS)], decisions


def judged(logs: Logs) -> chaos_verdict.Verdict:
    return chaos_verdict.judge(*logs, rounds=ROUNDS, lag=1)


def test_a_run_without_faults_loses_nothing_nor_one_that_did_steps_again() -> None:
    seen, decisions = faultless()
    assert judged((seen, decisions)) == chaos_verdict.Verdict(ROUNDS, 0, 0, 0)
    again = [[*steps, *steps[4:]] for steps in seen]
    assert judged((again, [*decisions, *decisions[4:]])).holds


def test_a_decision_that_nobody_knows_or_that_was_made_otherwise_is_lost() -> None:
    seen, decisions = faultless()
    otherwise = {**decisions[5], "kl": 0.01}
    assert judged((seen, [*decisions[:4], *decisions[5:]])).lost_updates == 1
    assert judged((seen, [*decisions, otherwise])).lost_updates == 1
    assert judged((seen, [*decisions, {**decisions[5], "events": ["unusable: x"]}])).lost_updates == 1


@pytest.mark.parametrize("life", ["first", "second"])
def test_a_rank_of_its_own_mind_is_seen_in_every_life(life: str) -> None:
    seen, decisions = faultless()
    odd = seen[1][7]._replace(tau=seen[1][7].tau * (1 + 1e-15))
    if life == "first":
        seen[1][7] = odd
    else:
        seen[1].append(odd)
    verdict = judged((seen, decisions))
    assert (verdict.disagreements, verdict.departures, verdict.lost_updates, verdict.holds) == (1, 1, 0, False)


def test_a_short_run_is_seen() -> None:
    seen, decisions = faultless()
    assert judged(([seen[0][:5], seen[1]], decisions)).rounds == 5


@pytest.mark.ray
@pytest.mark.slow
def test_nothing_is_lost_in_a_short_soak(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(BENCHMARKS / "chaos.py"), "--output", str(tmp_path), "--timeout", "1"]
    command += ["--rounds", "150", "--ranks", "4", "--kill-every", "30", "--kill-rank-every", "60"]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=tmp_path, env=environment)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["rounds"] == 150
    assert (summary["lost_updates"], summary["disagreements"], summary["departures"]) == (0, 0, 0)
    assert summary["misnamed"] == 0
    assert min(summary["faults"].values()) >= 1
    assert summary["counters"]["doubled"] > 0
    assert summary["counters"]["decided locally"] > 0
    assert (tmp_path / "chaos.png").stat().st_size > 10_000
