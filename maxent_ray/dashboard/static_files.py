"""The page itself: ``index.html`` and its files, from the package."""

from __future__ import annotations

from html import escape
from pathlib import Path

from aiohttp import web

STATIC = Path(__file__).with_name("static")
_BASE = '<base href="/">'


class StaticFiles:
    """Serves the page.

    Args:
        folder: Its files.
    """

    def __init__(self, folder: Path = STATIC) -> None:
        self._folder = folder

    def routes(self) -> list[web.AbstractRouteDef]:
        """Routes for an application."""
        files = [web.static("/static", self._folder, append_version=False)] if self._folder.is_dir() else []
        return [web.get("/", self.page), *files]

    async def page(self, request: web.Request) -> web.StreamResponse:
        """Answer with the page; its relative addresses begin at the root, wherever it is framed."""
        index = self._folder / "index.html"
        if not index.is_file():
            text = f"<p>The page's files are missing from {escape(str(self._folder))}: install maxent-ray again.</p>"
            return web.Response(text=text, content_type="text/html", status=500)
        text = index.read_text(encoding="utf-8")
        if "<base " not in text:
            text = text.replace("<head>", f"<head>{_BASE}", 1)
        response = web.Response(text=text, content_type="text/html", headers={"Cache-Control": "no-cache"})
        response.enable_compression()
        return response
