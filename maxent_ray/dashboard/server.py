"""The page's server: one aiohttp application over a results root."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket

from aiohttp import web

from maxent_ray.dashboard import stand_in
from maxent_ray.dashboard.access import LOGIN, Handler, TokenSource, guard, log_in, login_form, refuse
from maxent_ray.dashboard.addresses import LOOPBACK, own_names
from maxent_ray.dashboard.events import Events
from maxent_ray.dashboard.headers import add_headers
from maxent_ray.dashboard.requests import Requests
from maxent_ray.dashboard.results_root import ResultsRoot
from maxent_ray.dashboard.static_files import STATIC, StaticFiles

logger = logging.getLogger(__name__)
_SILENT = logging.getLogger(f"{__name__}.aiohttp")
"""aiohttp's own messages on bad requests quote headers, cookies among them: they go nowhere."""
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
_SHUTDOWN_S = 0.5


@dataclass(frozen=True)
class PageOptions:
    """Results that are served, and access to them."""

    results: Path
    host: str = LOOPBACK
    token: TokenSource | None = None
    """Token that is asked for; None for none, on the loopback address."""
    static: Path = STATIC
    """Files of the page."""


def make_app(options: PageOptions) -> web.Application:
    """Make the application.

    Raises:
        ConfigError: the results root is a file.
    """
    root = ResultsRoot(options.results)
    app = web.Application(middlewares=[_errors, guard(options.token, own_names(options.host))])
    events, static = Events(root), StaticFiles(options.static)
    app.add_routes([web.get("/api/events", events.stream), *Requests(root).routes()])
    app.add_routes([*static.routes(), *stand_in.routes(static.page)])

    async def submit(request: web.Request) -> web.StreamResponse:
        return await log_in(request, options.token)

    async def ask(request: web.Request) -> web.StreamResponse:
        if options.token is None:
            raise web.HTTPSeeOther("/")
        return login_form()

    app.add_routes([web.post(LOGIN, submit), web.get(LOGIN, ask)])
    app.on_response_prepare.append(add_headers)

    async def close(app: web.Application) -> None:
        await events.close()

    app.on_shutdown.append(close)
    return app


@asynccontextmanager
async def serving(options: PageOptions, listener: socket) -> AsyncIterator[None]:
    """Serve on an open port for the time of the block; requests are not logged."""
    runner = web.AppRunner(make_app(options), access_log=None, logger=_SILENT, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield
    finally:
        await runner.cleanup()


def serve(options: PageOptions, listener: socket, ready: Callable[[], None]) -> None:
    """Serve until Ctrl-C, which raises KeyboardInterrupt.

    Args:
        options: What is served.
        listener: Open port.
        ready: Called once the page answers.
    """

    async def run() -> None:
        async with serving(options, listener):
            ready()
            await asyncio.Event().wait()

    asyncio.run(run())


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer errors as JSON for the page's requests, and log our own without anything of the request."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if request.path.startswith("/api/") and error.status in (404, 405):
            return refuse(error.status, "there is no such request; see docs/how-to/results-page.md")
        raise
    except Exception:
        logger.exception("a request of the results page failed")
        return refuse(500, "the page failed on this request: its log, where it was started, has the trace")
