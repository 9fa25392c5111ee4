"""A page's server in the test's own process, and results for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from maxent_ray.dashboard.access import TokenSource
from maxent_ray.dashboard.run_reader import RunReader
from maxent_ray.dashboard.server import PageOptions, make_app


def browse(
    results: Path, visit: Callable[[TestClient[Any, Any]], Awaitable[None]], *, token: TokenSource | None = None
) -> None:
    """Visit a page over HTTP."""
    static = results.parent / "static-files"
    static.mkdir(exist_ok=True)
    (static / "index.html").write_text("<!doctype html><html><head><title>Results</title></head></html>")

    async def run() -> None:
        app = make_app(PageOptions(results, token=token, static=static))
        async with TestClient(TestServer(app)) as client:
            await visit(client)

    asyncio.run(run())


def opened(folder: Path) -> RunReader:
    """A run read whole."""
    run = RunReader(folder)
    run.refresh()
    run.open()
    return run
