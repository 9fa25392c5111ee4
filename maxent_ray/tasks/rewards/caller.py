"""A rank's connection to the process of its reward functions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import weakref
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from maxent_ray.errors import TaskError
from maxent_ray.tasks.rewards.batch import READY, RewardBatch

START_S = 300.0
"""Longest time for the import of the functions' modules, which may load models."""
SLACK_S = 1.0
"""Beyond the limit, so that asynchronous functions, which end at it, can say which hangs."""


class RewardProcess:
    """Reward functions in a process of their own, started with the first batch.

    Args:
        names: Of the functions: built in, or import paths.
        limit_s: Longest time of one function for one batch (seconds).
    """

    def __init__(self, names: Sequence[str], limit_s: float) -> None:
        self.names = tuple(names)
        self._limit_s = limit_s
        self._connection: Connection | None = None
        self._end: Any = None

    def values(self, batch: RewardBatch) -> list[list[float | None]]:
        """Call every function with a batch; one list of values for each, in their order.

        Raises:
            TaskError: a function hangs, raises, ends its process, or returns what is no reward; the message names it
                and the prompt. The process is ended.
        """
        connection = self._connection or self._start()
        arguments = {**batch.columns, "prompts": batch.prompts, "completions": batch.completions}
        found: dict[int, list[float | None]] = {}
        running: list[int] = []
        try:
            _send(connection, arguments)
            while len(found) < len(self.names):
                message = json.loads(self._receive(self._limit_s + SLACK_S))
                running = message.get("running", running)
                if "values" in message:
                    found[message["index"]] = message["values"]
                elif "problem" in message:
                    raise self._unusable(message, batch)
                elif "hangs" in message:
                    running = [message["index"]]
                    raise TimeoutError
        except TimeoutError:
            raise TaskError(
                f"{self._named(running)} hangs: {self._limit_s:g} s, task.kwargs.time_limit_s, are over for "
                f"{batch.whole()}; make it faster, or raise the limit"
            ) from None
        except (EOFError, OSError):
            raise TaskError(f"{self._named(running)} ends its process, for {batch.whole()}") from None
        finally:
            if len(found) < len(self.names):
                self.close()
        return [found[index] for index in range(len(self.names))]

    def close(self) -> None:
        """End the process; another batch starts a new one."""
        if self._end is not None:
            self._end()
        self._connection = None

    def _start(self) -> Connection:
        ours, theirs = Pipe()
        process = subprocess.Popen(
            # -P: the working directory is imported from only if this process does
            [sys.executable, "-P", "-m", "maxent_ray.tasks.rewards.process", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=2,  # what functions print is no output of this program
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
        )
        theirs.close()
        self._connection, self._end = ours, weakref.finalize(self, _end_process, process, ours)
        try:
            _send(ours, {"rewards": self.names, "limit_s": self._limit_s})
            if self._receive(START_S) == READY:
                return ours
        except (TimeoutError, EOFError, OSError):
            pass
        self.close()
        names = self._named(range(len(self.names)))
        raise TaskError(f"{names} cannot be imported in a process of its own; its log says why")

    def _receive(self, seconds: float) -> bytes:
        assert self._connection is not None
        if not self._connection.poll(seconds):
            raise TimeoutError
        return self._connection.recv_bytes()

    def _named(self, indices: Sequence[int]) -> str:
        return f"reward {' or '.join(repr(self.names[index]) for index in indices)}"

    def _unusable(self, message: dict[str, Any], batch: RewardBatch) -> TaskError:
        name, row = self.names[message["index"]], message["row"]
        where = batch.whole() if row is None else batch.describe(row)
        needed = "" if message["problem"].startswith("raises") else "; it must return a finite number or None for each"
        return TaskError(f"reward {name!r} {message['problem']}, for {where}{needed}")


def _send(connection: Connection, message: dict[str, Any]) -> None:
    connection.send_bytes(json.dumps(message).encode())


def _end_process(process: subprocess.Popen[bytes], connection: Connection) -> None:
    connection.close()
    process.kill()
    process.wait()
