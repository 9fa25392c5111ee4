"""A browser for tests: pages that fail on an error of a script, a request to another host and a page that scrolls."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page

from tests.report.results_folder import write_lines, write_results

WIDTHS = (1280, 400)


@contextmanager
def served(results: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Serve a results folder as the command does; gives the address."""
    command = [sys.executable, "-m", "maxent_ray.cli", "dashboard", str(results), "--port", "0", "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            lines = iter(server.stdout)
            told = next(line for line in lines if line.startswith("Results page: "))
            yield told.split()[2].rstrip("/") + "/", server
        finally:
            server.terminate()


@contextmanager
def visited(browser: Browser, address: str, **settings: Any) -> Iterator[Page]:
    """Open an address; at the end no script may have failed, no other host been asked, the page not be too wide.

    Where the run or the server ends (``server_ends``), answers that fail are part of the test.
    """
    width, server_ends = settings.pop("width", WIDTHS[0]), settings.pop("server_ends", False)
    problems: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
    page = context.new_page()
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: problems.append(request.url) if _is_foreign(request.url, address) else None)
    page.goto(address)
    yield page
    assert [each for each in problems if not (server_ends and "Failed to load resource" in each)] == []
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    context.close()


def has_lines(page: Page, signal: str) -> bool:
    """Check that the chart of a signal has pixels in colour: its lines, as axes and grid are grey."""
    coloured = """(name) => {
        const canvas = document.querySelector(`[data-signal=${name}] canvas`);
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        let count = 0;
        for (let at = 0; at < data.length; at += 4) {
            const [red, green, blue, alpha] = data.slice(at, at + 4);
            if (alpha > 100 && Math.max(red, green, blue) - Math.min(red, green, blue) > 60) count += 1;
        }
        return count > 100;
    }"""
    page.wait_for_selector(f"[data-signal={signal}] canvas")
    return bool(page.evaluate(coloured, signal))


def write_shown_results(folder: Path) -> Path:
    """Results with whole decisions, an alarm and sampled answers."""
    write_results(folder)
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    alarm = {"kind": "no_effect", "coefficient": "beta", "message": "β has had no effect on the KL for 20 decisions"}
    kept = ("step", "version", "trial", "segment", "reason", "tau", "beta")
    kept += ("entropy", "target_entropy", "kl", "target_kl")
    decisions = [{**{name: each[name] for name in kept}, "events": [], "alarms": []} for each in rows]
    decisions[7] |= {"events": ["tau_clipped"], "alarms": [alarm]}
    write_lines(folder / "decisions.jsonl", decisions)
    answers = [{"text": "7+5*3", "reward": 1.0, "mode": "3*5+7"}, {"text": "7+5+3", "reward": 0.0, "mode": None}]
    sample = {"trial": "analytic-0", "objective": "analytic", "step": 60, "prompt": "3,5,7=22:", "modes": 2}
    write_lines(folder / "samples.jsonl", [{**sample, "answers": answers}])
    return folder


def _is_foreign(url: str, address: str) -> bool:
    asked = urlsplit(url)
    return asked.scheme not in ("data", "blob") and asked[:2] != urlsplit(address)[:2]
