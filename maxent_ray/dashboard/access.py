"""Access to the page: everyone of this machine on the loopback address, elsewhere those who have the token."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from html import escape

from aiohttp import web
from aiohttp.typedefs import Middleware

from maxent_ray.dashboard.addresses import host_name, is_ours

COOKIE = "maxent-ray-page"
"""Ours; holds a proof that the token was given, not the token."""
RAY_COOKIE, RAY_HEADER = "ray-authentication-token", "X-Ray-Authorization"
"""Ray's, which browsers send to every port of a host: compared with the token, and never kept, logged or passed on."""
LOGIN = "/login"
OPEN_PATHS = (LOGIN, "/api/health", "/api/v1/query")
"""Paths that tell nothing about runs; Ray's dashboard asks for the last two without a token."""
_LONGEST_FORM = 4096
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
TokenSource = Callable[[], str]
"""Gives the token as it is now: Ray makes one while it starts. Empty: there is none, and nobody has access."""


def proof(token: str) -> str:
    """Value of our cookie."""
    return hmac.new(token.encode(), b"maxent-ray results page", hashlib.sha256).hexdigest()


def has_access(request: web.Request, token: str) -> bool:
    """True if a request carries the token, in a header or in Ray's cookie, or our own cookie."""
    bearer = [request.headers.get(name, "").removeprefix("Bearer ") for name in ("Authorization", RAY_HEADER)]
    shown = [*bearer, request.cookies.get(RAY_COOKIE, "")]
    given = [_same(each, token) for each in shown] + [_same(request.cookies.get(COOKIE, ""), proof(token))]
    return bool(token) and any(given)


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


def guard(token: TokenSource | None, own_names: set[str]) -> Middleware:
    """Middleware that refuses requests meant for another host name, and those without the token where one is needed.

    Args:
        token: None where none is needed.
        own_names: Names of this machine.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = host_name(request.headers.get("Host", ""))
        if not is_ours(host, own_names):
            return refuse(
                403,
                f"this page is not served under the name {host[:100]!r}: open it by this machine's address or host "
                "name, or through a tunnel as http://127.0.0.1:PORT",
            )
        if token is None or request.path in OPEN_PATHS or has_access(request, token()):
            return await handler(request)
        if request.path.startswith("/api/"):
            return refuse(401, "this page asks for a token: open its address in the browser and log in")
        return login_form()

    return middleware


def refuse(status: int, sentence: str) -> web.Response:
    """Answer with an error."""
    return web.json_response({"error": sentence}, status=status)


def login_form(problem: str = "") -> web.Response:
    """Page that asks for the token; without scripts."""
    note = f'<p role="alert">{escape(problem)}</p>' if problem else ""
    text = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>maxent_ray: log in</title>
<style>
:root {{ color-scheme: light dark; font-family: system-ui, sans-serif }}
body {{ max-width: 26rem; margin: 15vh auto; padding: 0 1rem }}
input, button {{ font: inherit; padding: .4rem .6rem; width: 100%; box-sizing: border-box; margin-top: .5rem }}
</style></head><body>
<h1>Results page</h1>
<form method="post" action="{LOGIN}">
<label for="token">Token. It is Ray's, which <code>ray get-auth-token</code> prints, or the one of
<code>--token-file</code>.</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Show the results</button>
{note}</form></body></html>
"""
    return web.Response(text=text, content_type="text/html", status=401)


async def log_in(request: web.Request, token: TokenSource | None) -> web.StreamResponse:
    """Answer the form: our cookie for the right token, the form again for a wrong one."""
    if token is not None:
        if (request.content_length or 0) > _LONGEST_FORM:
            return refuse(413, "the form is too long: send the token alone")
        given, expected = (await request.post()).get("token", ""), token()
        if not expected or not isinstance(given, str) or not _same(given.strip(), expected):
            return login_form("This is not the token.")
    response = web.Response(status=303, headers={"Location": "/"})
    if token is not None:
        response.set_cookie(COOKIE, proof(token()), httponly=True, samesite="Strict", secure=request.secure, path="/")
    return response
