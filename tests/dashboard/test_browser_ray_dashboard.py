"""The results page inside the real Ray dashboard: logged in with its token, in the Metrics tab, in a browser."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import FrameLocator, Page, expect, sync_playwright

from tests.system_programs import find_program

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
TRAIN = [sys.executable, "-m", "maxent_ray.cli", "train", "evaluation.prompts=8", "evaluation.samples=2"]
TAB_MS = 60_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dashboard")


@pytest.fixture(scope="module")
def environment(folder: Path) -> dict[str, str]:
    """An empty home, so that the token is one that this run makes."""
    hidden = ("RAY_", "MAXENT_RAY_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    root = str(Path(__file__).resolve().parents[2])
    return {**kept, "HOME": str(folder), "PYTHONPATH": root, "RAY_USAGE_STATS_ENABLED": "0", "COLUMNS": "200"}


@pytest.fixture(scope="module")
def running(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """Dashboard of a run that is going on, beside one that is finished."""
    at = ["--results", str(folder / "results")]
    subprocess.run([*TRAIN, *at, "--name", "finished", "--steps", "6"], env=environment, check=True, timeout=300)
    process = subprocess.Popen(
        [*TRAIN, *at, "--name", "running", "--steps", "2000"], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        yield _address(process, r"^Dashboard: (http://\S+)")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)


@pytest.fixture
def dashboard(running: str, folder: Path) -> Iterator[Page]:
    """The Metrics tab, after a login with the token; our console errors and requests to other hosts fail."""
    hosts, errors = set(), []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_program("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.goto(running)
        token = (folder / ".ray" / "auth_token").read_text(encoding="utf-8").strip()
        page.get_by_placeholder("Enter your authentication token").fill(token)
        page.get_by_role("button", name="Submit").click()
        page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
        page.on("console", lambda message: errors.append(message) if message.type == "error" else None)
        page.get_by_role("link", name="Metrics").first.click()
        yield page
        browser.close()
    assert hosts <= {"127.0.0.1", None}
    # Ray's own pages ask for what its server does not have.
    assert [error.text for error in errors if not error.location["url"].startswith(running)] == []


def test_the_metrics_tab_lists_the_finished_and_the_running_run(dashboard: Page) -> None:
    shown = _results(dashboard)
    expect(shown.get_by_role("link", name="finished", exact=True)).to_be_visible(timeout=TAB_MS)
    expect(shown.get_by_role("link", name="running", exact=True)).to_be_visible()


@pytest.mark.parametrize("name", ["finished", "running"])
def test_its_curves_are_shown(dashboard: Page, name: str) -> None:
    shown = _results(dashboard)
    shown.get_by_role("link", name=name, exact=True).click(timeout=TAB_MS)
    expect(shown.locator("canvas").first).to_be_visible(timeout=TAB_MS)


def _results(page: Page) -> FrameLocator:
    """The frame of the Metrics tab that has our page."""
    return page.frame_locator("iframe").first


def _address(process: subprocess.Popen[str], pattern: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(pattern, line):
            return found[1]
    pytest.fail(f"the command ended without a line like {pattern}")
