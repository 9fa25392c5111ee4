"""The ``command-line`` directive: every command of ``maxent-ray`` with its options, from their own help."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from markdown import Generated, table
from typer.main import get_command

from maxent_ray.cli.app import app as command_line


class CommandLine(Generated):
    """One part for each command."""

    def lines(self) -> Iterable[str]:
        """Headings, help and options."""
        group: Any = get_command(command_line)
        yield from [plain(group.help), ""]
        for name, command in group.commands.items():
            yield from command_lines(f"maxent-ray {name}", command)


def command_lines(name: str, command: Any) -> Iterator[str]:
    """One command: its help, its options by panel, its examples."""
    yield from [f"## `{name}`", "", plain(command.help), ""]
    options = [option for option in command.params if option.param_type_name == "option"]
    panels = sorted(options, key=lambda option: panel_of(option) == "Options")
    for panel, members in groupby(sorted(panels, key=panel_of), panel_of):
        yield from table([panel, ""], [[spelled(option), plain(option.help or "")] for option in members])
    if command.epilog:
        examples = [line for line in command.epilog.split("\n\n") if line.startswith("maxent-ray")]
        yield from ["```console", *examples, "```", ""]


def panel_of(option: Any) -> str:
    """Panel of the help that an option is in."""
    return getattr(option, "rich_help_panel", None) or "Options"


def spelled(option: Any) -> str:
    """All spellings of an option, and what it takes."""
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    return names if option.is_flag else f"{names} {option.metavar or ''}"


def plain(text: str) -> str:
    r"""Markdown of a help text, without the form feed that ends it and the backslashes for terminals."""
    return re.sub(r"\\(\*)", r"\1", text.split("\f")[0]).replace("RESULTS/NAME", "`RESULTS/NAME`").strip()


def setup(app: Any) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True}
