"""Answers to the requests for runs; docs/how-to/results-page.md tells what the page shows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakKeyDictionary

from aiohttp import web

from maxent_ray.dashboard import answers
from maxent_ray.dashboard.access import refuse
from maxent_ray.dashboard.decisions import LIMIT, Decisions, Filter
from maxent_ray.dashboard.results_root import GoneRunError, ResultsRoot, UnknownRunError
from maxent_ray.dashboard.run_files import read_samples
from maxent_ray.dashboard.run_reader import RunReader
from maxent_ray.dashboard.trial_rows import NAMES
from maxent_ray.storage.json_lines import strict

MOST_POINTS, MOST_SIGNALS = 20_000, 40
_ZIPPED_BYTES = 2048
Answer = Callable[[RunReader, "Query"], Any]


class BadQueryError(ValueError):
    """A part of the query has a wrong value."""


class Query:
    """Query of a request, checked as it is read."""

    def __init__(self, request: web.Request) -> None:
        self._query = request.query

    def text(self, name: str) -> str:
        """A text; empty where there is none."""
        return str(self._query.get(name, ""))

    def texts(self, name: str) -> list[str]:
        """All values of a name."""
        return list(map(str, self._query.getall(name, [])))

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number.

        Raises:
            BadQueryError: it is none, or out of range.
        """
        text = self.text(name) or str(default)
        value = int(text) if text.isdecimal() and len(text) <= 16 else -1
        if not low <= value <= high:
            raise BadQueryError(f"{name} is {text[:40]!r}; it must be a whole number from {low} to {high}")
        return value


class Requests:
    """Routes ``/api/runs…``.

    Args:
        root: The results.
    """

    def __init__(self, root: ResultsRoot) -> None:
        self._root = root
        self._details: WeakKeyDictionary[RunReader, tuple[int, dict[str, Any]]] = WeakKeyDictionary()

    def routes(self) -> list[web.RouteDef]:
        """Routes for an application."""
        one = "/api/runs/{id}"
        return [
            web.get("/api/runs", self._runs),
            web.get(one, self._answer(self._details_of)),
            web.get(f"{one}/series", self._answer(_series)),
            web.get(f"{one}/decisions", self._answer(_decisions)),
            web.get(f"{one}/samples", self._answer(_samples)),
        ]

    async def _runs(self, request: web.Request) -> web.StreamResponse:
        return await respond(request, self._overviews)

    def _overviews(self) -> dict[str, Any]:
        self._root.refresh()
        runs = [answers.overview(run) for run in self._root.runs()]
        empty = f"there are no runs in {self._root.root} yet: start one, as with maxent-ray compare --name first"
        return {"root": str(self._root.root), "runs": runs, "message": "" if runs else empty}

    def _details_of(self, run: RunReader, query: Query) -> dict[str, Any]:
        """Details, computed once for each version of a run."""
        version, found = self._details.get(run, (0, {}))
        if version != run.version:
            found = answers.details(run)
            self._details[run] = (found["version"], found)
        return found

    def _answer(self, answer: Answer) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def respond_to(request: web.Request) -> web.StreamResponse:
            def make() -> Any:
                run = self._root.open(request.match_info["id"])
                run.refresh()
                return answer(run, Query(request))

            return await respond(request, make)

        return respond_to


async def respond(request: web.Request, make: Callable[[], Any]) -> web.StreamResponse:
    """Make an answer in a thread, and send it as JSON, compressed if it is long."""
    try:
        body = await asyncio.to_thread(lambda: json.dumps(make(), allow_nan=False, ensure_ascii=False).encode())
    except BadQueryError as error:
        return refuse(400, str(error))
    except (GoneRunError, FileNotFoundError) as error:
        return refuse(410, str(error) if isinstance(error, GoneRunError) else "the run was deleted while it was read")
    except UnknownRunError as error:
        return refuse(404, str(error))
    except OSError as error:
        return refuse(403, f"the run cannot be read ({error.strerror}): make its files readable for this user")
    response = web.Response(body=body, content_type="application/json", zlib_executor_size=_ZIPPED_BYTES)
    if len(body) > _ZIPPED_BYTES:
        response.enable_compression()
    return response


def _series(run: RunReader, query: Query) -> dict[str, Any]:
    names = query.texts("signal")
    unknown = [name for name in names if name not in NAMES]
    if unknown or not names or len(names) > MOST_SIGNALS:
        given = f"{unknown[0][:80]!r}" if unknown else f"given {len(names)} times"
        raise BadQueryError(f"signal is {given}; it must be one of {', '.join(NAMES)}, at most {MOST_SIGNALS} of them")
    begin, end = query.whole("from", 0, 0, 2**53), query.whole("to", 2**53, 0, 2**53)
    points = query.whole("points", 400, 2, MOST_POINTS)
    return {"series": answers.series(run, names, query.text("trial"), begin, end, points)}


def _decisions(run: RunReader, query: Query) -> dict[str, Any]:
    wanted = Filter(
        trial=query.text("trial"),
        reason=query.text("reason"),
        text=query.text("text")[:200],
        offset=query.whole("offset", 0, 0, 2**53),
        limit=query.whole("limit", 100, 1, LIMIT),
        newest=query.text("newest") == "1",
    )
    with run.lock:
        decisions = run.decisions or Decisions(run.folder)  # none yet while a large run is read
        total, page = decisions.select(wanted)
    return {"total": total, "decisions": strict(page), "reading": run.decisions is None}


def _samples(run: RunReader, query: Query) -> dict[str, Any]:
    return {"samples": strict(read_samples(run.folder, query.text("trial")))}
