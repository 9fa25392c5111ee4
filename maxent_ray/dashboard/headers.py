"""Headers of every answer: content of this server only, and frames of the same host only."""

from __future__ import annotations

from aiohttp import web

from maxent_ray.dashboard.addresses import host_name

_CONTENT = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'self'; form-action 'self'; "
)
_LOOPBACK_FRAMES = "http://127.0.0.1:* http://localhost:*"


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler of the application, called before an answer is sent.

    The Ray dashboard, which frames the page, is on the same host and another port.
    """
    host = host_name(request.headers.get("Host", ""))
    same_host = "" if not host or ":" in host else f" http://{host}:* https://{host}:*"
    response.headers["Content-Security-Policy"] = f"{_CONTENT}frame-ancestors 'self' {_LOOPBACK_FRAMES}{same_host}"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.pop("Server", None)
