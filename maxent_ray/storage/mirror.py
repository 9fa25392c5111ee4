"""Mirror of a run's folder at a URI: uploaded while the run goes on, so that the URI always has a state to resume.

A pass uploads what changed since the last one, the lists of checkpoints after all that they name, and deletes what is
gone after that. A pass that fails is tried again by the next; what is local is never touched.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

from maxent_ray.errors import MaxentRayError, RecordingError
from maxent_ray.repeating import Repeating
from maxent_ray.storage.atomic import remove, write_atomic
from maxent_ray.storage.driver_lock import LOCK
from maxent_ray.storage.remote_folder import RemoteFolder
from maxent_ray.storage.remote_lock import RemoteLock
from maxent_ray.storage.snapshot import FileState, is_list, list_files, take_snapshot
from maxent_ray.storage.transfer import Told, counted, in_parallel

EVERY_S = 15.0
LAST_ATTEMPTS, PAUSE_S = 3, 1.0
"""Attempts of the last upload; the pause after the first doubles each time."""
_UNKNOWN = FileState(-1, -1)

logger = logging.getLogger(__name__)


class MirrorState:
    """Files that are at a folder's URI, and the driver that wrote them; kept in a file beside the folder.

    Args:
        folder: The local folder of the run, which need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder.with_name(f".{folder.name}.mirror.json")
        self.driver: str | None = None
        self.whole = False
        """True when all that is local is at the URI."""
        self.files: dict[str, FileState] = {}
        if self._path.is_file():
            self._read()

    def _read(self) -> None:
        """Read the file; one that was cut off by a full disk counts as none, so that everything is uploaded again."""
        try:
            saved = json.loads(self._path.read_bytes())
            files = {name: FileState(*state) for name, state in saved["files"].items()}
            self.driver, self.whole, self.files = saved["driver"], saved["whole"], files
        except (ValueError, KeyError, TypeError, AttributeError):
            logger.warning("%s is damaged: everything is uploaded again", self._path)

    def save(self, driver: str, *, whole: bool) -> None:
        """Write the file."""
        self.driver, self.whole = driver, whole
        files = {name: [state.size, state.modified_ns] for name, state in self.files.items()}
        write_atomic(self._path, json.dumps({"driver": driver, "whole": whole, "files": files}).encode())

    def forget(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)
        self.driver, self.whole, self.files = None, False, {}


class Mirror:
    """Uploads a run's folder for as long as a ``with`` block lasts, and once more at its end.

    Args:
        folder: The local folder of the run; what is not there yet is uploaded later.
        remote: Where it goes.
        lock: This driver's hold on it.
        told: Told of the progress of the last upload.
        every_s: Seconds between two uploads.

    Raises:
        RecordingError: (at the end) the last upload failed; the message says where the local folder is.
    """

    def __init__(
        self,
        folder: Path,
        remote: RemoteFolder,
        lock: RemoteLock,
        told: Told = lambda done, total: None,
        every_s: float = EVERY_S,
    ) -> None:
        self.failures = 0
        """Uploads that failed, and were tried again."""
        self._folder, self._remote, self._lock, self._told = folder, remote, lock, told
        self._staging = folder.with_name(f".{folder.name}.upload")
        self._state = MirrorState(folder)
        known = self._state.files
        self._state.files = {name: known.get(name, _UNKNOWN) for name in remote.files() if name != LOCK}
        self._uploads = Repeating(lambda: self._attempt(self.sync), every_s, "maxent-ray-mirror")

    def __enter__(self) -> Mirror:
        self._uploads.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._uploads.stop()
        try:
            self._upload_the_rest()
        except RecordingError as failed:
            if error is None:
                raise
            logger.error("%s", failed)  # beside the error that ends the run
        finally:
            remove([self._staging])

    def sync(self, told: Told = lambda done, total: None) -> None:
        """Upload what changed, once.

        Raises:
            ResumeError: another driver has taken the remote folder.
            RecordingError: the service does not answer or refuses.
        """
        if not self._folder.is_dir():
            return
        self._lock.check()
        self._state.save(self._lock.driver, whole=False)
        files = take_snapshot(self._folder, self._staging)
        changed = [name for name, state in files.items() if self._state.files.get(name) != state]
        count = counted(told, sum(files[name].size for name in changed))
        self._upload([name for name in changed if not is_list(name)], files, count)
        self._upload([name for name in changed if is_list(name)], files, count)
        self._delete(self._state.files.keys() - files.keys())
        self._state.save(self._lock.driver, whole=list_files(self._folder) == self._state.files)

    def _upload(self, names: Iterable[str], files: dict[str, FileState], told: Callable[[int], None]) -> None:
        def upload(name: str) -> None:
            self._remote.upload(self._staging / name, name)
            self._state.files[name] = files[name]
            told(files[name].size)

        in_parallel(upload, names)

    def _delete(self, names: Iterable[str]) -> None:
        def delete(name: str) -> None:
            self._remote.delete(name)
            del self._state.files[name]

        in_parallel(delete, list(names))

    def _attempt(self, sync: Callable[[], None]) -> MaxentRayError | None:
        try:
            sync()
        except (MaxentRayError, OSError) as failure:
            error = RecordingError(f"cannot copy it: {failure}") if isinstance(failure, OSError) else failure
            self.failures += 1
            if self.failures == 1:
                logger.warning("%s; the upload is tried again", error)
            return error
        return None

    def _upload_the_rest(self) -> None:
        for attempt in range(LAST_ATTEMPTS):
            error = self._attempt(lambda: self.sync(self._told))
            if error is None:
                return
            if not isinstance(error, RecordingError):
                break
            time.sleep(PAUSE_S * 2**attempt)
        raise RecordingError(
            f"the last results could not be uploaded ({error}). They are whole in {self._folder}; upload them with: "
            f"maxent-ray results upload {self._folder} '{self._remote.uri}'"
        )
