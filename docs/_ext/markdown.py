"""Markdown from docstrings, and the directives' base: a page's part that is written by Python."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective


class Generated(SphinxDirective):
    """A directive that parses the Markdown of :meth:`lines`, headings included."""

    def lines(self) -> Iterable[str]:
        """Markdown of this part."""
        raise NotImplementedError(f"{type(self).__name__} must define lines()")

    def run(self) -> list[nodes.Node]:
        """Parse it in place."""
        return self.parse_text_to_nodes("\n".join(self.lines()), allow_section_headings=True)


def to_markdown(docstring: str) -> str:
    """One line of Markdown from a docstring's paragraph: roles and double backticks become code."""
    text = re.sub(r":[\w:]+:`[~.]?([^`<]+)(?: <[^`]*>)?`", r"`\1`", " ".join(docstring.split()))
    return text.replace("``", "`")


def first_line(value: Any) -> str:
    """Summary of a docstring."""
    return to_markdown((value.__doc__ or "").strip().split("\n\n")[0])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return [*("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines), ""]
