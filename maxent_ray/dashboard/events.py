"""Server-sent events: one look at the results a second for all pages, while any page is open."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from maxent_ray.dashboard.answers import overview
from maxent_ray.dashboard.results_root import ResultsRoot
from maxent_ray.dashboard.run_reader import RunReader

logger = logging.getLogger(__name__)

INTERVAL_S = 1.0
HEARTBEAT_S = 15.0
_GONE = (-1, -1)
_WAITING = 100
"""Events that a page may be behind; one that does not take them is closed, and connects again."""


@dataclass(eq=False)
class Subscriber:
    """An open page."""

    run: str = ""
    """Run that it shows; empty for the list."""
    events: asyncio.Queue[str] = field(default_factory=lambda: asyncio.Queue(_WAITING))
    seen: tuple[int, int] = (0, 0)
    """Version and restarts of the run that it was told of."""


class Events:
    """Tells the open pages what has changed.

    Args:
        root: The results.
    """

    def __init__(self, root: ResultsRoot) -> None:
        self._root = root
        self._subscribers: set[Subscriber] = set()
        self._poller: asyncio.Task[None] | None = None

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Answer ``GET /api/events``, until the page is closed."""
        subscriber = Subscriber(request.query.get("run", ""))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        await response.prepare(request)
        self._subscribers.add(subscriber)
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())
        try:
            while subscriber in self._subscribers:
                await response.write((await _next(subscriber.events)).encode())
        except ConnectionError:
            pass  # the page was closed
        finally:
            self._subscribers.discard(subscriber)
        return response

    async def close(self) -> None:
        """End the streams."""
        self._subscribers.clear()
        if self._poller is not None:
            self._poller.cancel()

    async def _poll(self) -> None:
        while self._subscribers:
            shown = {subscriber.run for subscriber in self._subscribers}
            try:
                changed, gone, steps = await asyncio.to_thread(self._look, shown)
            except Exception:  # the page stays live for what the next look can read
                logger.warning("the results cannot be looked through; trying again", exc_info=True)
                await asyncio.sleep(INTERVAL_S)
                continue
            for subscriber in list(self._subscribers):
                for event in _events_for(subscriber, changed, gone, steps):
                    self._send(subscriber, event)
            await asyncio.sleep(INTERVAL_S)

    def _look(self, shown: set[str]) -> tuple[list[dict[str, Any]], list[str], dict[str, _Steps]]:
        """Overviews of the runs that changed, runs that are gone, and the steps of the runs that are shown."""
        changes = self._root.refresh()
        by_name = {run.folder.name: run for run in self._root.runs()}
        steps = {name: _steps(by_name[name]) for name in shown if name in by_name}
        return [overview(run) for run in changes.changed], changes.gone, steps

    def _send(self, subscriber: Subscriber, event: str) -> None:
        try:
            subscriber.events.put_nowait(event)
        except asyncio.QueueFull:
            self._subscribers.discard(subscriber)


@dataclass(frozen=True)
class _Steps:
    version: int
    restarts: int
    steps: dict[str, int]


def _steps(run: RunReader) -> _Steps:
    with run.lock:
        return _Steps(run.version, run.restarts, {trial: rows.last_step for trial, rows in run.rows.trials.items()})


def _events_for(
    subscriber: Subscriber, changed: list[dict[str, Any]], gone: list[str], steps: dict[str, _Steps]
) -> list[str]:
    events = [_event("runs", {"runs": changed})] if changed else []
    events += [_event("gone", {"id": name}) for name in gone]
    now = steps.get(subscriber.run)
    if subscriber.run and now is None and subscriber.seen != _GONE:
        events += [] if subscriber.run in gone else [_event("gone", {"id": subscriber.run})]
        subscriber.seen = _GONE
    if now is not None and subscriber.seen != (now.version, now.restarts):
        told = {"id": subscriber.run, "version": now.version}
        if subscriber.seen[1] not in (0, now.restarts):  # read anew: steps that went back have the page fetch them
            events.append(_event("run", {**told, "steps": dict.fromkeys(now.steps, 0)}))
        events.append(_event("run", {**told, "steps": now.steps}))
        subscriber.seen = (now.version, now.restarts)
    return events


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, allow_nan=False)}\n\n"


async def _next(events: asyncio.Queue[str]) -> str:
    try:
        return await asyncio.wait_for(events.get(), HEARTBEAT_S)
    except TimeoutError:
        return ": heartbeat\n\n"
