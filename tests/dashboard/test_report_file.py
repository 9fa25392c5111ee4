"""The report: one file that opens everywhere, in which nothing of the results can run."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from maxent_ray.cli.app import app
from maxent_ray.dashboard.report_file import REPORT, report_data, write_report
from maxent_ray.dashboard.run_reader import RunReader
from maxent_ray.dashboard.single_file import STATIC, inline_page
from maxent_ray.errors import ConfigError, RecordingError
from tests.report.results_folder import row, write_lines, write_results

HOSTILE = "</script><script>window.hacked = 1</script><!-- & <img src=x onerror=hacked()>"


class Elements(HTMLParser):
    """Elements of a page: their names and attributes, and the text of styles and scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.found:
            tag, attributes, text = self.found[-1]
            self.found[-1] = (tag, attributes, text + data)

    def of(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attributes, text) for name, attributes, text in self.found if name == tag]


def data_of(page: str) -> dict[str, Any]:
    (text,) = [text for attributes, text in Elements(page).of("script") if attributes.get("id") == "maxent-data"]
    found: dict[str, Any] = json.loads(text)
    return found


def test_it_holds_the_answers_that_the_page_asks_for(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "demo")
    report = write_report(folder)
    assert report.path == folder / REPORT
    assert report.size == report.path.stat().st_size < 3_000_000
    data = data_of(report.path.read_text(encoding="utf-8"))
    assert list(data["responses"]) == [f"api/runs/demo{part}" for part in ("", "/series", "/decisions", "/samples")]
    curves = {(each["trial"], each["signal"]): each for each in data["responses"]["api/runs/demo/series"]["series"]}
    assert len(curves["analytic-0", "tau"]["step"]) == 60
    assert data["responses"]["api/runs/demo"]["comparison"]["rows"]
    assert data["notes"] == {"series": "", "decisions": "", "samples": ""}


def test_nothing_but_its_own_scripts_may_run(tmp_path: Path) -> None:
    page = write_report(write_results(tmp_path / "demo")).path.read_text(encoding="utf-8")
    elements = Elements(page)
    (policy,) = [a["content"] for a, _ in elements.of("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert "default-src 'none'" in policy
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == len(list(STATIC.glob("*.js"))) + 1  # uPlot
    for text in scripts + re.findall(r"<style>(.*?)</style>", page, re.DOTALL):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    addresses = {a[name] for _, a, _ in elements.found for name in ("src", "href") if name in a}
    assert addresses <= {"#main", "data:,"}
    assert "Permission is hereby granted" in page  # uPlot's licence travels with it


def test_texts_of_results_end_no_script(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "demo")
    write_lines(folder / "rows.jsonl", [row(HOSTILE, HOSTILE, step) for step in range(3)])
    page = write_report(folder).path.read_text(encoding="utf-8")
    assert "window.hacked" in page
    assert HOSTILE not in page
    scripts = Elements(page).of("script")
    assert not any("window.hacked" in text for attributes, text in scripts if "id" not in attributes)
    assert HOSTILE in [trial["trial"] for trial in data_of(page)["responses"]["api/runs/demo"]["trials"]]


def test_a_title_is_text(tmp_path: Path) -> None:
    page = inline_page({}, HOSTILE)
    assert HOSTILE not in page
    assert "&lt;/script&gt;" in page


def test_a_long_run_is_thinned_and_says_so(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "long", lineage=False, evaluations=False)
    rewards = [999.0 if step == 777 else step / 7 for step in range(3000)]
    spike = [row(f"trial-{t}", "analytic", s, reward=reward) for s, reward in enumerate(rewards) for t in range(4)]
    write_lines(folder / "rows.jsonl", spike)
    write_lines(folder / "decisions.jsonl", spike)
    run = RunReader(folder)
    run.refresh()
    run.read_whole()
    data = report_data(run)
    assert len(json.dumps(data)) <= 2_700_000
    assert data["notes"]["series"].startswith("Curves are thinned")
    assert "of 12,000 decisions" in data["notes"]["decisions"]
    curves = [each for each in data["responses"]["api/runs/long/series"]["series"] if each["signal"] == "reward"]
    assert [max(each["value"]) for each in curves] == [999.0] * 4


def test_results_without_lineage_evaluations_or_rows(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "young", lineage=False, references=False, evaluations=False)
    for name in ("rows.jsonl", "decisions.jsonl"):
        (folder / name).unlink()
    answer = data_of(write_report(folder).path.read_text(encoding="utf-8"))["responses"]["api/runs/young"]
    assert answer["trials"] == []


def test_what_cannot_be_reported_is_told(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "demo")
    with pytest.raises(ConfigError, match="which is no folder"):
        write_report(tmp_path / "nothing")
    with pytest.raises(ConfigError, match=r"has no config\.yaml"):
        write_report(tmp_path)
    with pytest.raises(ConfigError, match="--output is"):
        write_report(folder, tmp_path)
    with pytest.raises(RecordingError, match="cannot write"):
        write_report(folder, tmp_path / "missing" / "report.html")


def test_the_command_prints_path_and_size(tmp_path: Path) -> None:
    folder, output = write_results(tmp_path / "demo"), tmp_path / "sent.html"
    result = CliRunner().invoke(app, ["report", str(folder), "--output", str(output)])
    assert result.exit_code == 0
    assert re.fullmatch(r"Report: .*sent\.html \(0\.\d MB\)", result.output.replace("\n", ""))
    assert output.is_file()
