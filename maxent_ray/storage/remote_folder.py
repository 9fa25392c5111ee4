"""A folder of a storage service, such as a bucket's: opened by pyarrow, as Ray opens its own storage."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from maxent_ray.errors import ConfigError, RecordingError
from maxent_ray.storage.locations import join_uri

T = TypeVar("T")
ANSWER_S = 60.0
"""Longest wait for a storage service's first answer; without a network some clients try for a quarter of an hour."""
_CHUNK = 8 * 2**20


@dataclass(frozen=True)
class RemoteFile:
    """A file of a remote folder."""

    size: int
    modified: datetime | None


@dataclass(frozen=True)
class RemoteFolder:
    """A folder of a storage service; it need not exist.

    Writing a file is atomic with object stores: it is there whole, or not at all.
    """

    uri: str
    filesystem: Any
    """A ``pyarrow.fs.FileSystem``."""
    path: str
    """Of the folder in the file system."""

    @classmethod
    def open(cls, uri: str) -> RemoteFolder:
        """Open a URI, and check that its bucket answers and exists.

        Raises:
            ConfigError: the scheme is unknown; the bucket does not exist, refuses access, or does not answer.
        """
        folder = _within(ANSWER_S, lambda: _connect(uri), uri)
        bucket = folder.path.partition("/")[0] or "/"
        found = _within(ANSWER_S, lambda: _type_of(folder.filesystem, bucket), uri)
        if found == "NotFound":
            scheme = urlsplit(uri).scheme
            raise ConfigError(f"{uri}: there is no bucket {bucket!r}; create it, or give another, as {scheme}://bucket")
        return folder

    def child(self, name: str) -> RemoteFolder:
        """A folder inside this one."""
        return RemoteFolder(join_uri(self.uri, name), self.filesystem, f"{self.path}/{name}")

    def files(self) -> dict[str, RemoteFile]:
        """All files below, by their path relative to the folder.

        Raises:
            RecordingError: the service does not answer or refuses.
        """
        return {info.path[len(self.path) + 1 :]: _described(info) for info in self._list(True) if info.is_file}

    def folders(self) -> list[str]:
        """Names of the folders directly below, sorted.

        Raises:
            RecordingError: as :meth:`files`.
        """
        return sorted(info.base_name for info in self._list(False) if not info.is_file)

    def _list(self, recursive: bool) -> list[Any]:
        from pyarrow import fs

        with remote_errors(f"cannot list {self.uri}"):
            selector = fs.FileSelector(self.path, recursive=recursive, allow_not_found=True)
            found: list[Any] = self.filesystem.get_file_info(selector)
            return [info for info in found if info.path != self.path]

    def find(self, name: str) -> RemoteFile | None:
        """A file of the folder, or None.

        Raises:
            RecordingError: as :meth:`files`.
        """
        with remote_errors(f"cannot read {self.uri}"):
            info = self.filesystem.get_file_info(f"{self.path}/{name}")
        return _described(info) if info.is_file else None

    def read(self, name: str) -> bytes | None:
        """Content of a small file, or None where there is none.

        Raises:
            RecordingError: as :meth:`files`.
        """
        if self.find(name) is None:
            return None
        with remote_errors(f"cannot read {name} of {self.uri}"):
            with self._input(name) as stream:
                content: bytes = stream.read()
            return content

    def write(self, name: str, content: bytes) -> None:
        """Write a small file.

        Raises:
            RecordingError: as :meth:`files`.
        """
        with remote_errors(f"cannot write {name} to {self.uri}"), self._output(name) as stream:
            stream.write(content)

    def upload(self, source: Path, name: str) -> None:
        """Copy a local file here.

        Raises:
            RecordingError: as :meth:`files`.
        """
        failed = f"cannot write {name} to {self.uri}"
        with remote_errors(failed), source.open("rb") as file, self._output(name) as stream:
            while chunk := file.read(_CHUNK):
                stream.write(chunk)

    def download(self, name: str, target: Path, told: Callable[[int], None] = lambda size: None) -> None:
        """Copy a file of the folder to a local one; ``told`` gets the bytes of each part.

        Raises:
            RecordingError: as :meth:`files`, or the local file cannot be written.
        """
        failed = f"cannot copy {name} of {self.uri} to {target}"
        with remote_errors(failed), self._input(name) as stream, target.open("wb") as file:
            while chunk := stream.read(_CHUNK):
                file.write(chunk)
                told(len(chunk))

    def delete(self, name: str) -> None:
        """Delete a file; one that is gone is ignored.

        Raises:
            RecordingError: as :meth:`files`.
        """
        if self.find(name) is not None:
            with remote_errors(f"cannot delete {name} of {self.uri}"):
                self.filesystem.delete_file(f"{self.path}/{name}")

    def _input(self, name: str) -> Any:
        return self.filesystem.open_input_stream(f"{self.path}/{name}")

    def _output(self, name: str) -> Any:
        return self.filesystem.open_output_stream(f"{self.path}/{name}")


@contextmanager
def remote_errors(failed: str) -> Iterator[None]:
    """Convert an error of a storage service into one that says what failed.

    Raises:
        RecordingError: the service, or the disk, raised an error.
    """
    try:
        yield
    except OSError as error:
        raise RecordingError(f"{failed}: {_reason(error)}") from None


def _connect(uri: str) -> RemoteFolder:
    from pyarrow import ArrowInvalid, fs

    try:
        filesystem, path = fs.FileSystem.from_uri(uri)
    except ArrowInvalid as error:
        raise ConfigError(
            f"{uri} is no place for results ({error}); give a folder, or a URI that pyarrow.fs takes, as "
            "s3://bucket/results or gs://bucket/results"
        ) from None
    return RemoteFolder(uri, filesystem, path.rstrip("/"))


def _type_of(filesystem: Any, path: str) -> str:
    kind: str = filesystem.get_file_info(path).type.name
    return kind


def _described(info: Any) -> RemoteFile:
    return RemoteFile(info.size or 0, info.mtime)


def _within(seconds: float, ask: Callable[[], T], uri: str) -> T:
    """Answer of a call in another thread, which is left behind where it takes too long."""
    answers: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            answers.append(ask())
        except Exception as error:  # raised again below, in the thread that asks
            errors.append(error)

    thread = threading.Thread(target=run, name="maxent-ray-storage", daemon=True)
    thread.start()
    thread.join(seconds)
    if answers:
        return answers[0]
    if errors and isinstance(errors[0], ConfigError):
        raise errors[0]
    reason = _reason(errors[0]) if errors else f"no answer within {seconds:g} s"
    raise ConfigError(
        f"{uri} cannot be used ({reason}); check the name, the credentials of this machine (as AWS_ACCESS_KEY_ID, or "
        "an IAM role) and that the service can be reached"
    )


def _reason(error: Exception) -> str:
    """First line of a message; some clients list all that they tried."""
    return (str(error).splitlines() or [type(error).__name__])[0]
