"""The page as one file: its styles and scripts inside, and a policy that lets nothing else run."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import escape
from typing import Any

from maxent_ray.dashboard.static_files import STATIC

_STYLE = re.compile(r'<link rel="stylesheet" href="/static/([^"]+)">')
_SCRIPT = re.compile(r'<script src="/static/([^"]+)"></script>')
_HEAD = '<meta charset="utf-8">'


def inline_page(data: Any, title: str) -> str:
    """Put the page's files, and data for ``reportAnswers`` in ``report_answers.js``, into one HTML text.

    Args:
        data: Strict JSON.
        title: Title of the page.

    Returns:
        The page. Its meta policy names the hashes of its own styles and scripts, so that nothing else runs, and no
        address is fetched.
    """
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    policy = _policy(_contents(_STYLE, page), _contents(_SCRIPT, page))
    page = _STYLE.sub(lambda found: f"<style>{_content(found[1])}</style>", page)
    page = _SCRIPT.sub(lambda found: f"<script>{_content(found[1])}</script>", page)
    kept = f'<script type="application/json" id="maxent-data">{as_script_text(data)}</script>'
    page = page.replace("<script>", f"{kept}\n<script>", 1)
    page = page.replace(_HEAD, f"{_HEAD}\n{policy}", 1)
    page = re.sub(r"<title>[^<]*</title>", lambda _: f"<title>{escape(title)}</title>", page, count=1)
    licence = (STATIC / "vendor" / "uPlot.LICENSE").read_text(encoding="utf-8")
    return page.replace("</body>", f"<!-- uPlot:\n{licence}-->\n</body>", 1)


def as_script_text(data: Any) -> str:
    r"""Write JSON so that no text in it can end its script element, begin another one or a comment.

    Example:
        >>> as_script_text({"prompt": "</script><!--"})
        '{"prompt":"\\u003c/script\\u003e\\u003c!--"}'
    """
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _content(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def _contents(kind: re.Pattern[str], page: str) -> list[str]:
    return [_content(name) for name in kind.findall(page)]


def _policy(styles: list[str], scripts: list[str]) -> str:
    content = (
        f"default-src 'none'; script-src {_hashes(scripts)}; style-src {_hashes(styles)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return f'<meta http-equiv="Content-Security-Policy" content="{content}">'


def _hashes(texts: list[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in digests)
