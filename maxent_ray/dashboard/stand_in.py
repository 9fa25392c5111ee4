"""Stand-in for Grafana and Prometheus, so that Ray's dashboard shows the results page in its Metrics tab.

Ray's dashboard asks whether both are healthy, and frames ``/d/<uid>/…`` whole and ``/d-solo/<uid>/…`` for each panel
of its own pages.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

GRAFANA_HOST, GRAFANA_IFRAME_HOST, PROMETHEUS_HOST = (
    "RAY_GRAFANA_HOST",
    "RAY_GRAFANA_IFRAME_HOST",
    "RAY_PROMETHEUS_HOST",
)
"""Ray's variables, which the process that starts the head reads."""


def variables(url: str, iframe_url: str) -> dict[str, str]:
    """Variables that have a head started from now on show the page.

    Args:
        url: The page's address for the head.
        iframe_url: The page's address for browsers.

    Example:
        >>> variables("http://127.0.0.1:8900", "http://my-host:8900")["RAY_GRAFANA_IFRAME_HOST"]
        'http://my-host:8900'
    """
    return {GRAFANA_HOST: url, PROMETHEUS_HOST: url, GRAFANA_IFRAME_HOST: iframe_url}


def routes(page: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> list[web.RouteDef]:
    """Routes that Ray's dashboard and its frames ask for.

    Args:
        page: Handler that serves the page.
    """
    return [
        web.get("/api/health", _health),
        web.get("/api/v1/query", _query),
        web.get("/d/{uid}", page),
        web.get("/d/{uid}/{rest:.*}", page),
        web.get("/d-solo/{uid}", _panel),
        web.get("/d-solo/{uid}/{rest:.*}", _panel),
    ]


async def _health(request: web.Request) -> web.Response:
    return web.json_response({"database": "ok", "version": "maxent_ray"})


async def _query(request: web.Request) -> web.Response:
    return web.json_response({"status": "success", "data": {"resultType": "vector", "result": []}})


async def _panel(request: web.Request) -> web.Response:
    """A panel of Ray's own pages, whose charts need a real Grafana."""
    text = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>No chart</title>
<style>:root { color-scheme: light dark; font: .85rem system-ui, sans-serif } body { margin: 1rem }</style></head>
<body><p>Ray draws this chart with Prometheus and Grafana, and none is configured.
The Metrics tab shows the results of maxent_ray.</p></body></html>
"""
    return web.Response(text=text, content_type="text/html")
