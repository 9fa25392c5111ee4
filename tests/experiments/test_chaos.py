"""The soak in short, on a cluster of its own, and its verdict on logs with known answers."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from maxent_ray.core.controller import Controller
from maxent_ray.core.statistics import merge_all

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments" / "benchmarks"))

import chaos_verdict
from chaos_rank import CONFIG, RankLog, measured

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "experiments" / "benchmarks"
ROUNDS, RANKS = 12, 2


def faultless(lag: int = 1) -> list[RankLog]:
    controller = Controller(CONFIG)
    states, decisions = [controller.init()], []
    for step in range(ROUNDS):
        tau, beta = states[max(step - lag, 0)].tau, states[max(step - lag, 0)].beta
        merged = merge_all(measured(rank, step, tau, beta) for rank in range(RANKS))
        state, decision = controller.step(states[-1], merged)
        states.append(state)
        decisions.append(decision.to_dict())
    trained = [states[max(step - lag, 0)] for step in range(ROUNDS)]
    seen = [(state.tau, state.beta, state.version) for state in trained]
    return [RankLog(list(seen), list(map(float, range(ROUNDS))), list(decisions), {}, {}) for _ in range(RANKS)]


def test_a_run_without_faults_loses_nothing() -> None:
    verdict = chaos_verdict.judge(faultless(), ROUNDS, lag=1)
    assert verdict == chaos_verdict.Verdict(ROUNDS, 0, 0, 0)
    assert verdict.holds


def test_a_decision_that_nobody_knows_is_lost() -> None:
    logs = faultless()
    for log in logs:
        del log.decisions[4]
    assert chaos_verdict.judge(logs, ROUNDS, lag=1).lost_updates == 1


def test_a_round_that_was_held_or_decided_on_some_ranks_is_lost() -> None:
    logs = faultless()
    for log in logs:
        log.decisions[3] = {**log.decisions[3], "reason": "stale", "entropy": None, "kl": None}
        log.decisions[5] = {**log.decisions[5], "kl": 0.01}
    verdict = chaos_verdict.judge(logs, ROUNDS, lag=1)
    assert (verdict.lost_updates, verdict.holds) == (2, False)


def test_a_rank_of_its_own_mind_is_seen() -> None:
    logs = faultless()
    tau, beta, version = logs[1].coefficients[7]
    logs[1].coefficients[7] = (tau * (1 + 1e-15), beta, version)
    verdict = chaos_verdict.judge(logs, ROUNDS, lag=1)
    assert (verdict.disagreements, verdict.departures, verdict.lost_updates) == (1, 1, 0)


def test_a_short_run_is_seen() -> None:
    logs = faultless()
    logs[0] = dataclasses.replace(logs[0], coefficients=logs[0].coefficients[:5])
    assert chaos_verdict.judge(logs, ROUNDS, lag=1).rounds == 5


@pytest.mark.ray
@pytest.mark.slow
def test_nothing_is_lost_in_a_short_soak(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(BENCHMARKS / "chaos.py"), "--output", str(tmp_path)]
    command += ["--rounds", "150", "--ranks", "4", "--kill-every", "30"]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=tmp_path, env=environment)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["rounds"] == 150
    assert (summary["lost_updates"], summary["disagreements"], summary["departures"]) == (0, 0, 0)
    assert summary["kills"] >= 2
    assert summary["faults"]["doubled"] > 0
    assert summary["faults"]["delayed"] > 0
    assert (tmp_path / "chaos.png").stat().st_size > 10_000
