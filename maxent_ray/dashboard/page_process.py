"""The page in a process of its own beside a command, so that it takes no time from the command's interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from maxent_ray.dashboard.addresses import DEFAULT_PORT, LOOPBACK, listen, url_of

_END_S = 3.0


@dataclass(frozen=True)
class PageTask:
    """Options of the process; it reads this from its standard input, and ends when that is closed."""

    results: str
    host: str
    descriptor: int
    """The open port, inherited."""


class PageProcess:
    """A running page. It ends with this process, even if that is killed: the pipe between them closes then.

    Args:
        results: Parent of the results folders; may not exist yet.
        host: Host to listen on; beyond the loopback address Ray's token is asked for.
        port: Port, or the first one to try.

    Raises:
        ConfigError: no port is free, or the host is none of this machine's.
        OSError: the process cannot be started.
    """

    def __init__(self, results: Path, host: str = LOOPBACK, port: int = DEFAULT_PORT) -> None:
        with listen(host, port) as listener:
            self.port = int(listener.getsockname()[1])
            task = PageTask(str(results.absolute()), host, listener.fileno())
            self._process = subprocess.Popen(
                [sys.executable, "-m", "maxent_ray.dashboard"],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # its lines would break the live table
                pass_fds=[task.descriptor],
                start_new_session=True,  # Ctrl-C is for the command, which may go on for a while to save its work
            )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended already, which is_running tells
            self._process.stdin.write(json.dumps(asdict(task)).encode() + b"\n")
        self.url = url_of(host, self.port)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def processor_seconds(self) -> float:
        """Time that it has taken on a processor so far."""
        times = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[11:13]
        return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")

    @property
    def is_running(self) -> bool:
        """False once it has ended, as when it could not start."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
