"""Every panel of the shipped dashboard shows something of a real run, through a real Prometheus."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from maxent_ray.dashboard.grafana.install import SHIPPED
from maxent_ray.dashboard.grafana.reachability import PROMETHEUS, prometheus_state
from maxent_ray.runtime.metric_table import exported_metrics
from maxent_ray.storage.json_lines import read_lines
from maxent_ray.storage.run_files import EVALUATIONS, LINEAGE
from tests.conftest import ROOT
from tests.dashboard.grafana.prometheus import Prometheus, prometheus_for, scrape, wait_for
from tests.dashboard.grafana.run_main import RUN
from tests.system_programs import find_program

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DASHBOARD: dict[str, Any] = json.loads(SHIPPED.read_text(encoding="utf-8"))
QUERIES = [
    (panel["title"], target["expr"], target["legendFormat"])
    for panel in DASHBOARD["panels"]
    if panel["type"] != "row"
    for target in panel["targets"]
]
RARE = {"ray_maxent_rounds_decided_locally_total", "ray_maxent_alarms_total"}
"""Metrics of what need not happen in a run; their panels show 0."""
OF_EPISODES = {"ray_maxent_episode_return"}
"""Metrics of RLlib's runs; this run trains on groups."""


class Scraped(NamedTuple):
    """A run that has ended, with Prometheus' memory of it."""

    prometheus: Prometheus
    folder: Path
    text: str
    """Text that was scraped in the middle of the run."""


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    find_program("prometheus")
    folder = tmp_path_factory.mktemp("panels")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    command = [sys.executable, "-m", "tests.dashboard.grafana.run_main", str(folder)]
    with (
        (folder / "stderr").open("w") as errors,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None
        session = Path(process.stdout.readline().strip())
        with prometheus_for(session, folder) as prometheus:
            process.stdin.write("begin\n")
            process.stdin.flush()

            def in_the_middle() -> str:
                text = scrape(session)
                return text if "ray_maxent_tau{" in text and "ray_maxent_held_out_reward{" in text else ""

            text = wait_for(in_the_middle, (folder / "stderr").read_text())
            assert process.stdout.readline().strip() == "ended", (folder / "stderr").read_text()
            wait_for(
                lambda: len(prometheus.query_range("ray_maxent_held_out_reward", {})) == trials(folder),
                "the last results are not scraped",
            )
            yield Scraped(prometheus, folder / RUN, text)
        process.stdin.close()


def trials(folder: Path) -> int:
    return len(read_lines(folder / RUN / EVALUATIONS)[0])


def test_every_panels_query_returns_data(scraped: Scraped) -> None:
    lacking = []
    for title, expression, _ in QUERIES:
        series = scraped.prometheus.query_range(expression, {})
        points = [float(value) for each in series for _, value in each["values"]]
        finite = [value for value in points if value == value]
        span = f"{min(finite):.4g} to {max(finite):.4g}" if finite else "nothing"
        print(f"{title} | {len(series)} series, {len(finite)} points, {span} | {expression}")
        if not finite:
            lacking.append(title)
    assert not lacking


def test_legends_name_labels_that_the_series_have(scraped: Scraped) -> None:
    for title, expression, legend in QUERIES:
        named = {part.split("}}")[0] for part in legend.split("{{")[1:]}
        have = {label for each in scraped.prometheus.query_range(expression, {}) for label in each["metric"]}
        assert named & have, (title, named, have)


def test_variables_list_the_runs_trials_and_objectives_and_narrow_the_panels(scraped: Scraped) -> None:
    queries = {each["name"]: each["query"]["query"] for each in DASHBOARD["templating"]["list"][1:]}
    ask = scraped.prometheus.label_values
    assert ask(queries["run"], {}) == [RUN]
    population = [f"{objective}-{index}" for objective in ("analytic", "truncated_backprop") for index in (0, 1)]
    assert ask(queries["trial"], {"run": RUN}) == sorted([*population, "fixed", "grpo"])
    assert ask(queries["objective"], {"run": RUN, "trial": "analytic-0"}) == ["analytic"]
    tau = next(expression for title, expression, _ in QUERIES if title == "Entropy temperature τ")
    (only,) = scraped.prometheus.query_range(tau, {"trial": "analytic-1"})
    assert only["metric"] == {"run": RUN, "trial": "analytic-1", "objective": "analytic"}


def test_what_prometheus_counts_is_what_was_recorded(scraped: Scraped) -> None:
    clones = scraped.prometheus.query_range("sum(ray_maxent_clones_total)", {})
    assert float(clones[0]["values"][-1][1]) == len(read_lines(scraped.folder / LINEAGE)[0]) > 0


def test_every_metric_of_the_table_was_exported(scraped: Scraped) -> None:
    names = set(scraped.prometheus.ask("label/__name__/values"))
    bare = {name.removesuffix("_count") for name in names}
    assert {each.in_prometheus for each in exported_metrics()} - bare <= RARE | OF_EPISODES


def test_prometheus_own_linter_has_no_complaint(scraped: Scraped) -> None:
    checked = subprocess.run(
        [find_program("promtool"), "check", "metrics"], input=scraped.text, capture_output=True, text=True
    )
    ours = {line for line in checked.stderr.splitlines() if line.startswith("ray_maxent_")}
    rays = "label names should be written in 'snake_case' not 'camelCase'"  # SessionName, NodeAddress and the like
    assert {line for line in ours if not line.endswith(rays)} == set()


def test_it_is_found_with_its_run(scraped: Scraped) -> None:
    state = prometheus_state({PROMETHEUS: scraped.prometheus.url})
    assert state == f"Prometheus at {scraped.prometheus.url} has the metrics of 1 run(s)"
