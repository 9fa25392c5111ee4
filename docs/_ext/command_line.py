"""The ``command-line`` directive: every command of ``maxent-ray`` with its options, from their own help."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from markdown import Generated, table
from typer.main import get_command

from maxent_ray.cli.app import app as command_line


class CommandLine(Generated):
    """One part for each command."""

    def lines(self) -> Iterable[str]:
        """Headings, help and options."""
        group: Any = get_command(command_line)
        for name, command in group.commands.items():
            yield from command_lines(f"maxent-ray {name}", command)


def command_lines(name: str, command: Any) -> Iterator[str]:
    """One command: its help, its options by panel, its examples."""
    yield from [f"## `{name}`", "", plain(command.help), ""]
    panels: dict[str, list[Any]] = {}
    for parameter in command.params:
        panels.setdefault(panel_of(parameter), []).append(parameter)
    for panel, members in panels.items():
        yield from table([panel, ""], [[spelled(member), plain(member.help or "")] for member in members])
    if command.epilog:
        examples = [line for line in command.epilog.split("\n\n") if line.startswith("maxent-ray")]
        yield from ["```console", *examples, "```", ""]


def panel_of(parameter: Any) -> str:
    """Panel of the help that a parameter is in."""
    usual = "Options" if parameter.param_type_name == "option" else "Arguments"
    return getattr(parameter, "rich_help_panel", None) or usual


def spelled(parameter: Any) -> str:
    """All spellings of an option and what it takes, or an argument's form."""
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar}`"
    names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
    return names if parameter.is_flag else f"{names} {parameter.metavar or ''}"


def plain(text: str) -> str:
    r"""Markdown of a help text, without the form feed that ends it and the backslashes for terminals."""
    return re.sub(r"\\(\*)", r"\1", text.split("\f")[0]).replace("RESULTS/NAME", "`RESULTS/NAME`").strip()


def setup(app: Any) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True}
