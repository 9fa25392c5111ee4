"""One driver a remote results folder: a small file whose number grows for as long as its driver lives.

Storage services have no locks that a dead process loses. So a driver that finds the file of another one watches it for
longer than two of that one's heartbeats: if it stays the same, that driver is dead. No clock is compared with another
machine's. Two drivers that start within one moment can both believe that they were first, until the next heartbeat,
where one of them finds the other's file and stops writing.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
import uuid
from dataclasses import asdict, dataclass
from types import TracebackType

from maxent_ray.errors import RecordingError, ResumeError
from maxent_ray.repeating import Repeating
from maxent_ray.storage.driver_lock import LOCK
from maxent_ray.storage.remote_folder import RemoteFolder
from maxent_ray.telemetry import Telemetry

HEARTBEAT_S = 10.0
WATCH_S = 3 * HEARTBEAT_S
_WORD = re.compile(r"[\w.-]{1,255}", re.ASCII)


@dataclass(frozen=True)
class _Sign:
    """Sign of life of a driver, as it is in the folder."""

    driver: str
    beats: int | None
    """Signs so far; None once the driver has ended."""
    process: int
    host: str

    def is_sound(self) -> bool:
        """True where all of it may be repeated in a message."""
        numbers = isinstance(self.process, int) and isinstance(self.beats, int | None)
        return numbers and all(_WORD.fullmatch(str(text)) for text in (self.driver, self.host))

    @property
    def holder(self) -> str:
        """Names the process."""
        return f"process {self.process} on {self.host}"


class RemoteLock:
    """A driver's hold on a remote folder, from ``with`` until its end.

    Args:
        remote: The folder of the run.
        heartbeat_s: Seconds between two signs of life.

    Raises:
        ResumeError: (on entry) another driver uses the folder.
        RecordingError: (on entry) the folder cannot be written to.
    """

    def __init__(self, remote: RemoteFolder, heartbeat_s: float = HEARTBEAT_S) -> None:
        self.driver = uuid.uuid4().hex
        """Names this driver."""
        self.before: str | None = None
        """The driver that had the folder before; None where nobody had."""
        self._remote = remote
        self._heartbeat_s = heartbeat_s
        self._beats = 0
        self._lost: str | None = None
        self._heartbeats = Repeating(self._beat, heartbeat_s, "maxent-ray-remote-lock")

    def __enter__(self) -> RemoteLock:
        found = self._read()
        if found and found.beats is not None:
            time.sleep(WATCH_S / HEARTBEAT_S * self._heartbeat_s)
            if (now := self._read()) and now != found and now.beats is not None:
                raise ResumeError(
                    f"{self._remote.uri} is in use by another driver ({now.holder}): wait until it has ended, or end "
                    "it, then continue with --resume"
                )
        self.before = found.driver if found else None
        self._write(0)
        self.check()
        self._heartbeats.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._heartbeats.stop()
        if self._lost is None:
            with Telemetry(f"{self._remote.uri} cannot be released; the next driver waits {WATCH_S:g} s").attempt():
                self._write(None)

    def check(self) -> None:
        """Check that the folder is still this driver's.

        Raises:
            ResumeError: another driver has taken it.
            RecordingError: the service does not answer.
        """
        if self._lost is None and (now := self._read()) and now.driver != self.driver:
            self._lost = now.holder
        if self._lost is not None:
            raise ResumeError(
                f"{self._remote.uri} was taken by another driver ({self._lost}) during the run; nothing more was "
                "written there"
            )

    def forget(self) -> None:
        """Leave no trace of a run that never began."""
        self._heartbeats.end()
        self._remote.delete(LOCK)
        self._lost = "nobody"

    def _beat(self) -> None:
        try:
            self.check()
            self._write(self._beats + 1)
        except ResumeError:
            self._heartbeats.end()
        except RecordingError:  # the uploads meet it too, and tell of it
            pass

    def _read(self) -> _Sign | None:
        """The sign in the folder; None where there is none, or something else."""
        try:
            found = json.loads(self._remote.read(LOCK) or b"")
            sign = _Sign(**found) if isinstance(found, dict) else None
        except (ValueError, TypeError):
            return None
        return sign if sign is not None and sign.is_sound() else None

    def _write(self, beats: int | None) -> None:
        self._beats = beats or 0
        mine = _Sign(self.driver, beats, os.getpid(), socket.gethostname())
        self._remote.write(LOCK, json.dumps(asdict(mine)).encode())
