"""Code blocks of documentation pages, and what running or checking them takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.core import TyperGroup
from typer.main import get_command

from maxent_ray.cli.app import app
from maxent_ray.cli.commands import OBJECTIVES
from maxent_ray.config.loading import load_config

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts),
    ROOT / "experiments" / "README.md",
]
SHELL = ("console", "bash", "sh")
HARMLESS = {"export", "source"}
"""Shell words that need no check."""
SCRIPTS = {"pbt_objectives": "compare", "train": "train", "sweep_targets": "sweep", "evaluate": "eval"}
"""Scripts that are a command of ``maxent-ray``."""


def blocks(page: Path, *languages: str) -> list[str]:
    """Fenced blocks of a page in any of the languages, in order."""
    found = re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [code for language, code in found if language in languages]


def commands(page: Path) -> Iterator[list[str]]:
    """Words of every command in a page's shell blocks, and in code spans that begin as one of ours."""
    text = "\n".join(blocks(page, *SHELL)).replace("\\\n", " ")
    spans = re.findall(r"`((?:maxent-ray|make|python experiments/\S+)(?: [^`]*)?)`", page.read_text(encoding="utf-8"))
    for line in [*text.splitlines(), *spans]:
        words = shlex.split(line, comments=True)
        while words and re.match(r"\w+=", words[0]):  # an environment variable
            del words[0]
        if words:
            yield words


def check_command(words: list[str]) -> None:
    """Fail where a target, script, command, option or setting does not exist. Nothing is run."""
    program, arguments = Path(words[0]).name, words[1:]
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert arguments[:1] == [] or arguments[0] in targets, f"make has no target {arguments[0]}"
    elif program == "maxent-ray":
        check_maxent_ray(arguments)
    elif program.startswith("python"):
        script = ROOT / arguments[0]
        assert script.is_file(), f"there is no {arguments[0]}"
        if script.stem in SCRIPTS:
            check_maxent_ray([SCRIPTS[script.stem], *arguments[1:]])
    elif program == "ray":
        check_ray(arguments)
    elif program == "kubectl":
        assert arguments[:2] == ["create", "-f"] and (ROOT / arguments[2]).is_file(), f"no {arguments[2:]}"
    else:
        assert program in HARMLESS, f"nobody checks {program}"


def check_ray(arguments: list[str]) -> None:
    """Check what is submitted, and that the files of clusters and scripts exist."""
    match arguments:
        case ["job", "submit", *_]:
            check_command(arguments[arguments.index("--") + 1 :])
        case ["job", "stop" | "logs" | "status", _]:
            pass
        case ["up" | "down" | "dashboard", cluster]:
            assert (ROOT / cluster).is_file(), f"there is no {cluster}"
        case ["submit", cluster, script, *rest]:
            assert (ROOT / cluster).is_file(), f"there is no {cluster}"
            check_command(["python", script, *[word for word in rest if word != "--"]])
        case _:
            raise AssertionError(f"nobody checks ray {' '.join(arguments)}")


def check_maxent_ray(arguments: list[str]) -> None:
    """Parse the options as the command line does, and load the settings that they name."""
    names: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
    if arguments in ([], ["--help"]):
        return
    assert arguments[0] in names, f"maxent-ray has no command {arguments[0]!r}; it has {', '.join(names)}"
    command = names[arguments[0]]
    if isinstance(command, TyperGroup):
        assert arguments[1] in command.commands, f"maxent-ray {arguments[0]} has no {arguments[1]}"
        command.commands[arguments[1]].make_context(arguments[1], arguments[2:])
        return
    given = command.make_context(arguments[0], arguments[1:]).params
    file, objective = given.get("config"), given.get("objective")
    implied = [f"{key}={value}" for key, value in OBJECTIVES[objective].items()] if objective else []
    load_config(None if file is None else ROOT / file, [*implied, *(given.get("overrides") or ())])
