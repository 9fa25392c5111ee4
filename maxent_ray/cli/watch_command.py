"""``maxent-ray watch``: the live picture of a run that another process trains."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console
from rich.live import Live

from maxent_ray.report.live.live_run import LiveRun
from maxent_ray.report.live.view import picture
from maxent_ray.report.output import make_console

EVERY_S = 1.0
"""Seconds between two looks at the records."""
CLOCK_EVERY_S = 5.0
"""Seconds after which the picture is drawn anew for its clock alone."""
QUIT = ("q", "Q")


def watch(folder: Path, *, once: bool) -> None:
    """Show a run until ``q`` or Ctrl-C; without a terminal, or ``once``, as it is now.

    Raises:
        ConfigError: there is no run, one that this version cannot read, or it was removed meanwhile.
    """
    run, console = LiveRun(folder), make_console()
    _read(run)
    if not (once or not console.is_terminal or console.is_dumb_terminal):
        _follow(run, console)
    console.print(picture(run, console.width))


Keys = Callable[[float], str]
"""Waits some seconds for a key; the key, or nothing."""


@contextmanager
def _keys() -> Iterator[Keys]:
    """Read single keys from the terminal, or wait where there is none to read from (as under ``< /dev/null``)."""
    try:
        import termios
        import tty

        before = termios.tcgetattr(sys.stdin)
    except (ImportError, OSError, ValueError, termios.error):
        yield _no_keys
        return
    tty.setcbreak(sys.stdin)
    try:
        yield _next_key
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _no_keys(seconds: float) -> str:
    time.sleep(seconds)
    return ""


def _next_key(seconds: float) -> str:
    import select

    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return sys.stdin.read(1) if ready else ""


def _follow(run: LiveRun, console: Console) -> None:
    """Refresh the picture on the terminal's second screen: when there is something new, else now and then."""
    drawn, size = 0.0, console.size
    with suppress(KeyboardInterrupt), _keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
        changed = True
        while True:
            if changed or console.size != size or time.monotonic() - drawn >= CLOCK_EVERY_S:
                live.update(picture(run, console.width, console.height), refresh=True)
                drawn, size = time.monotonic(), console.size
            if keys(EVERY_S) in QUIT:
                return
            changed = _read(run)


def _read(run: LiveRun) -> bool:
    """Read until nothing new is there, as a long record comes in parts; False when there was nothing at all."""
    changed = False
    while run.update():
        changed = True
    return changed
