"""Process that runs reward functions: a rank starts it, sends batches, and ends it where one hangs.

A thread could be neither stopped nor bounded: a power of large numbers holds Python's lock for hours. Batches and
values pass as JSON.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from maxent_ray.tasks.rewards.batch import READY
from maxent_ray.tasks.rewards.functions import arguments_of, is_async, load_function
from maxent_ray.tasks.rewards.values import UnusableValueError, read_values

_STANDARD_ERROR = 2
GRACE_S = 5.0
"""Seconds beyond the limit after which the process ends by itself, should the rank be gone."""


class Batch(NamedTuple):
    """Arguments of all functions, and the number of answers."""

    arguments: Mapping[str, Any]
    size: int


def serve(connection: Connection) -> None:
    """Answer requests until the other side closes.

    The first message is ``{"rewards": names, "limit_s": seconds}``, each further one a mapping of arguments. To each
    there is a ``{"running": [index, …]}`` before functions start, and an outcome for every function: ``{"index": i}``
    with its ``values``, or a ``problem`` and the ``row`` it is in, or ``hangs``.
    """
    setup = json.loads(connection.recv_bytes())
    functions = [load_function(name) for name in setup["rewards"]]
    connection.send_bytes(READY)
    while True:
        try:
            arguments = json.loads(connection.recv_bytes())
        except EOFError:
            return
        batch = Batch(arguments, len(arguments["completions"]))
        for message in outcomes(functions, batch, setup["limit_s"]):
            connection.send_bytes(json.dumps(message).encode())


def outcomes(functions: Sequence[Any], batch: Batch, limit_s: float) -> Iterator[dict[str, Any]]:
    """Run the functions one by one, then the asynchronous ones together.

    Example:
        >>> batch = Batch({"completions": ["a", "bc"]}, 2)
        >>> list(outcomes([lambda completions: map(len, completions)], batch, 9.0))
        [{'running': [0]}, {'index': 0, 'values': [1.0, 2.0]}]
    """
    gathered = [index for index, function in enumerate(functions) if is_async(function)]
    for index, function in enumerate(functions):
        if index not in gathered:
            yield {"running": [index]}
            with _ends_after(limit_s):
                outcome = _run(function, batch)
            yield {"index": index, **outcome}
    if gathered:
        yield {"running": gathered}
        with _ends_after(limit_s):
            found = asyncio.run(_gather([functions[index] for index in gathered], batch, limit_s))
        yield from ({"index": index, **outcome} for index, outcome in zip(gathered, found, strict=True))


def _run(function: Any, batch: Batch) -> dict[str, Any]:
    try:
        return {"values": read_values(function(**arguments_of(function, batch.arguments)), batch.size)}
    except Exception as error:
        return _problem(error)


async def _gather(functions: Sequence[Any], batch: Batch, limit_s: float) -> list[dict[str, Any]]:
    return await asyncio.gather(*(_await(function, batch, limit_s) for function in functions))


async def _await(function: Any, batch: Batch, limit_s: float) -> dict[str, Any]:
    task = asyncio.ensure_future(function(**arguments_of(function, batch.arguments)))
    done, _ = await asyncio.wait([task], timeout=limit_s)
    if not done:  # its own TimeoutError is no sign of it
        task.cancel()
        return {"hangs": True}
    try:
        return {"values": read_values(task.result(), batch.size)}
    except Exception as error:
        return _problem(error)


def _problem(error: Exception) -> dict[str, Any]:
    if isinstance(error, UnusableValueError):
        return {"problem": error.problem, "row": error.row}
    traceback.print_exception(error)
    text = " ".join(str(error).split())
    return {"problem": f"raises {type(error).__name__}{f': {text}' if text else ''}", "row": None}


@contextmanager
def _ends_after(limit_s: float) -> Iterator[None]:
    """End this process after the limit, even where Python's lock is held."""
    faulthandler.dump_traceback_later(limit_s + GRACE_S, exit=True, file=_STANDARD_ERROR)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the rank's to act on
    serve(Connection(int(sys.argv[1])))
