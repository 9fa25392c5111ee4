"""The page over HTTP: who may see it, what leaves it, and what it says of bad requests."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from yarl import URL

from maxent_ray.dashboard.access import COOKIE, RAY_COOKIE, RAY_HEADER, proof
from maxent_ray.dashboard.events import Events
from maxent_ray.dashboard.results_root import ResultsRoot
from maxent_ray.dashboard.run_reader import RunReader
from maxent_ray.errors import ConfigError
from tests.dashboard.pages import browse
from tests.report.results_folder import STEPS, row, write_results

Client = TestClient[Any, Any]
TOKEN = "the-token-of-this-test"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    write_results(tmp_path / "results" / "demo")
    return tmp_path / "results"


def test_every_answer_is_json_with_headers_that_keep_it_here(results: Path) -> None:
    async def visit(client: Client) -> None:
        for url in ("", "/demo", "/demo/series?signal=kl&signal=tau", "/demo/decisions?newest=1", "/demo/samples"):
            answer = await client.get(f"/api/runs{url}")
            assert answer.status == 200, await answer.text()
            assert json.loads(await answer.text())
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "Access-Control-Allow-Origin" not in answer.headers and "Server" not in answer.headers
        assert (await client.get("/api/runs/demo")).headers["Content-Encoding"] in ("gzip", "deflate")
        assert "frame-ancestors 'self' http://127.0.0.1:*" in answer.headers["Content-Security-Policy"]

    browse(results, visit)


def test_rays_dashboard_takes_it_for_grafana_and_prometheus(results: Path) -> None:
    async def health(client: Client) -> None:
        assert (await (await client.get("/api/health")).json())["database"] == "ok"
        assert (await (await client.get("/api/v1/query?query=up")).json())["status"] == "success"

    async def frames(client: Client) -> None:
        for path in ("/d/rayDefaultDashboard/", "/d/x?kiosk=1", "/d/x/some/name"):
            assert '<base href="/">' in await (await client.get(path)).text()
        assert "Grafana" in await (await client.get("/d-solo/x/name?panelId=3")).text()

    browse(results, health, token=lambda: TOKEN)  # Ray asks for them without a token
    browse(results, frames)


@pytest.mark.parametrize(
    "path",
    ["..%2F..%2Fetc", "%2e%2e", "demo%2F..%2Fdemo", "%2Fetc", "demo%00", "outside", ".hidden", "a-file", "%252e%252e"],
)
def test_no_path_leaves_the_results(results: Path, tmp_path: Path, path: str) -> None:
    shutil.copytree(results / "demo", tmp_path / "elsewhere")
    (results / "outside").symlink_to(tmp_path / "elsewhere")
    shutil.copytree(results / "demo", results / ".hidden")
    (results / "a-file").write_text("x")

    async def visit(client: Client) -> None:
        for part in ("", "/series?signal=kl", "/decisions", "/samples"):
            answer = await client.get(URL(f"/api/runs/{path}{part}", encoded=True))
            assert answer.status == 404 and "error" in await answer.json()
        listed = await (await client.get("/api/runs")).json()
        assert [run["id"] for run in listed["runs"]] == ["demo"]
        for file in ("/static/%2e%2e/server.py", "/static/..%2f..%2fpages.py"):
            assert (await client.get(URL(file, encoded=True))).status in (403, 404)

    browse(results, visit)


def test_a_link_to_another_run_of_the_results_is_a_run(results: Path) -> None:
    (results / "latest").symlink_to("demo")
    root = ResultsRoot(results)
    root.refresh()
    assert [run.folder.name for run in root.runs()] == ["demo", "latest"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8275", "127.0.0.1.evil.example", "localhost.evil", ""])
def test_a_name_that_was_bound_to_our_address_is_refused(results: Path, host: str) -> None:
    async def visit(client: Client) -> None:
        for path in ("/", "/api/runs", "/api/health", "/api/events"):
            answer = await client.get(path, headers={"Host": host})
            assert answer.status == 403 and "address" in (await answer.json())["error"]
        for good in ("127.0.0.1:1", "localhost", "[::1]:8275"):
            assert (await client.get("/api/runs", headers={"Host": good})).status == 200

    browse(results, visit)


def test_with_a_token_only_those_who_have_it_see_anything(results: Path) -> None:
    async def visit(client: Client) -> None:
        for path in ("/api/runs", "/api/runs/demo", "/api/events", "/static/x", "/", "/d/x/"):
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": f"{COOKIE}={TOKEN}"}, {RAY_HEADER: "ü"}):
                answer = await client.get(path, headers=headers)
                assert answer.status == 401 and "demo" not in await answer.text()
        for headers in (
            {"Authorization": f"Bearer {TOKEN}"},
            {RAY_HEADER: f"Bearer {TOKEN}"},
            {"Cookie": f"{RAY_COOKIE}={TOKEN}"},
            {"Cookie": f"{COOKIE}={proof(TOKEN)}"},
        ):
            answer = await client.get("/api/runs", headers=headers)
            assert answer.status == 200 and "Set-Cookie" not in answer.headers

    browse(results, visit, token=lambda: TOKEN)


def test_the_form_gives_a_cookie_of_ours_that_scripts_cannot_read(results: Path) -> None:
    async def visit(client: Client) -> None:
        wrong = await client.post("/login", data={"token": "<b>wrong"}, allow_redirects=False)
        assert wrong.status == 401 and "not the token" in await wrong.text() and "<b>wrong" not in await wrong.text()
        assert (await client.post("/login", data={}, allow_redirects=False)).status == 401
        right = await client.post("/login", data={"token": f" {TOKEN}\n"}, allow_redirects=False)
        cookie = right.headers["Set-Cookie"]
        assert right.status == 303 and "HttpOnly" in cookie and "SameSite=Strict" in cookie and TOKEN not in cookie
        value = cookie.partition("=")[2].partition(";")[0]
        assert (await client.get("/api/runs", headers={"Cookie": f"{COOKIE}={value}"})).status == 200

    browse(results, visit, token=lambda: TOKEN)


def test_while_there_is_no_token_yet_nobody_has_access(results: Path) -> None:
    async def visit(client: Client) -> None:
        for headers in ({}, {"Authorization": "Bearer "}, {"Cookie": f"{COOKIE}={proof('')}"}):
            assert (await client.get("/api/runs", headers=headers)).status == 401
        assert (await client.post("/login", data={"token": ""}, allow_redirects=False)).status == 401

    browse(results, visit, token=lambda: "")


def test_rays_cookie_is_in_no_log_and_no_answer(results: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = "secret-of-ray-0123456789"

    async def visit(client: Client) -> None:
        for path in ("/", "/api/runs", "/api/runs/nope", "/d/x/", "/api/runs/demo/series?signal=nope", "/api/health"):
            answer = await client.get(path, headers={"Cookie": f"{RAY_COOKIE}={secret}", RAY_HEADER: secret})
            assert secret not in await answer.text() and secret not in str(answer.headers)

    with caplog.at_level(logging.DEBUG):
        browse(results, visit)
    assert secret not in caplog.text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("series", "signal is given 0 times"),
        ("series?signal=<b>", "signal is '<b>'; it must be one of tau, beta"),
        ("series?signal=kl&points=1", "points is '1'; it must be a whole number from 2"),
        ("series?signal=kl&from=-1", "from is '-1'"),
        ("series?signal=kl&to=" + 400 * "9", "to is"),
        ("decisions?limit=0", "limit is '0'; it must be a whole number from 1 to 1000"),
        ("decisions?offset=x", "offset is 'x'"),
    ],
)
def test_a_wrong_query_is_a_sentence(results: Path, query: str, said: str) -> None:
    async def visit(client: Client) -> None:
        answer = await client.get(f"/api/runs/demo/{query}")
        assert answer.status == 400 and said in (await answer.json())["error"]

    browse(results, visit)


def test_a_run_that_is_deleted_while_it_is_shown_is_gone(results: Path) -> None:
    async def visit(client: Client) -> None:
        assert (await client.get("/api/runs/demo")).status == 200
        shutil.rmtree(results / "demo")
        answer = await client.get("/api/runs/demo/series?signal=kl")
        assert answer.status == 410 and "was deleted" in (await answer.json())["error"]
        listed = await (await client.get("/api/runs")).json()
        assert listed["runs"] == [] and "start one" in listed["message"]
        assert (await client.get("/api/runs/never")).status == 404

    browse(results, visit)


def test_results_are_a_folder_that_may_not_exist_yet_or_one_run(results: Path) -> None:
    with pytest.raises(ConfigError, match="a file; give a folder"):
        ResultsRoot(results / "demo" / "rows.jsonl")
    assert not ResultsRoot(results / "nowhere").refresh().changed
    one = ResultsRoot(results / "demo")
    one.refresh()
    assert [run.folder.name for run in one.runs()] == ["demo"]


async def read_event(answer: Any) -> tuple[str, dict[str, Any]]:
    lines = []
    while (line := (await answer.content.readline()).decode().strip()) or not lines:
        lines.append(line)
    return lines[0].removeprefix("event: "), json.loads(lines[1].removeprefix("data: "))


def test_pages_are_told_what_changed(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maxent_ray.dashboard.events.INTERVAL_S", 0.05)

    async def visit(client: Client) -> None:
        await client.get("/api/runs")
        answer = await client.get("/api/events?run=demo")
        assert answer.headers["Content-Type"] == "text/event-stream"
        name, first = await read_event(answer)
        assert name == "run" and first["steps"]["grpo"] == STEPS
        with (results / "demo" / "rows.jsonl").open("a") as out:
            out.write(json.dumps(row("grpo", "grpo", STEPS)) + "\n")
        name, changed = await read_event(answer)
        assert name == "runs" and changed["runs"][0]["steps_done"] == 10 * STEPS + 1
        name, grown = await read_event(answer)
        assert name == "run" and grown["steps"]["grpo"] == STEPS + 1 and grown["version"] > first["version"]
        (results / "demo" / "rows.jsonl").write_text(json.dumps(row("grpo", "grpo", 3)) + "\n")
        assert (await read_event(answer))[0] == "runs"
        name, anew = await read_event(answer)
        assert name == "run" and anew["steps"] == {"grpo": 0}  # steps that went back: the page fetches them anew
        assert (await read_event(answer))[1]["steps"] == {"grpo": 4}
        shutil.rmtree(results / "demo")
        assert await read_event(answer) == ("gone", {"id": "demo"})
        answer.close()
        answer = await client.get("/api/events?run=never")
        assert await read_event(answer) == ("gone", {"id": "never"})
        answer.close()

    browse(results, visit)


def test_nobody_looks_while_no_page_is_open(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = ResultsRoot(results)
    events = Events(root)
    looks: list[int] = []
    monkeypatch.setattr(root, "refresh", lambda: looks.append(1))
    asyncio.run(events._poll())
    assert looks == []


def test_the_page_loads_neither_torch_nor_ray() -> None:
    program = (
        "import sys, maxent_ray.dashboard.server, maxent_ray.cli.app, maxent_ray.cli.results_page; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pyarrow" in done.stdout.split() and not {"torch", "ray", "transformers"} & set(done.stdout.split())


DAMAGE = {
    "rungs.jsonl": {"trial": "analytic-0", "objective": "analytic", "step": 1, "score": 0.1, "stopped": True},
    "rows.jsonl": row("odd", "analytic", -5),
    "trials.jsonl": {"trial": "odd", "objective": "", "steps": -1, "settings": {}, "command": ""},
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_line_hides_no_run(results: Path, name: str) -> None:
    with (results / "demo" / name).open("a") as out:
        out.write(json.dumps(DAMAGE[name]) + "\n")
    write_results(results / "intact")

    async def visit(client: Client) -> None:
        answer = await client.get("/api/runs")
        assert answer.status == 200
        assert {run["id"]: run["status"] != "unreadable" for run in (await answer.json())["runs"]} == {
            "demo": True,
            "intact": True,
        }
        assert (await client.get("/api/runs/demo")).status == 200

    browse(results, visit)


def test_a_run_that_cannot_be_taken_in_hides_no_other(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_results(results / "intact")
    refresh = RunReader.refresh

    def fails(run: RunReader) -> bool:
        if run.folder.name == "demo":
            raise ValueError("step is -5")
        return refresh(run)

    monkeypatch.setattr(RunReader, "refresh", fails)

    async def visit(client: Client) -> None:
        demo, intact = (await (await client.get("/api/runs")).json())["runs"]
        assert demo["status"] == "unreadable" and "step is -5" in demo["message"]
        assert intact["status"] != "unreadable"

    browse(results, visit)


def test_the_forms_own_address_shows_the_form(results: Path) -> None:
    async def with_token(client: Client) -> None:
        answer = await client.get("/login")
        assert answer.status == 401 and "Show the results" in await answer.text()

    async def without(client: Client) -> None:
        answer = await client.get("/login", allow_redirects=False)
        assert answer.status == 303 and answer.headers["Location"] == "/"

    browse(results, with_token, token=lambda: TOKEN)
    browse(results, without)
