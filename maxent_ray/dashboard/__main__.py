"""Entry point of the page's process; see :mod:`maxent_ray.dashboard.page_process`."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import threading
from pathlib import Path

from maxent_ray.dashboard.addresses import is_loopback
from maxent_ray.dashboard.page_process import PageTask
from maxent_ray.dashboard.ray_token import user_token
from maxent_ray.dashboard.server import PageOptions, serving

_NICENESS = 10
"""Training comes first where the machine has no idle core."""


async def _serve_until_closed(task: PageTask) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def watch() -> None:
        sys.stdin.read()  # until the command ends
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=watch, daemon=True).start()
    token = None if is_loopback(task.host) else user_token
    options = PageOptions(Path(task.results), task.host, token)
    async with serving(options, socket.socket(fileno=task.descriptor)):
        await ended.wait()


if __name__ == "__main__":
    os.nice(_NICENESS)
    asyncio.run(_serve_until_closed(PageTask(**json.loads(sys.stdin.readline()))))
    os._exit(0)  # a thread may still read a large run
