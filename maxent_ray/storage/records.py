"""Records of a run, written only while the folder at their path is the one that the driver has locked."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from maxent_ray.errors import FolderMovedError
from maxent_ray.storage.driver_lock import read_holder
from maxent_ray.storage.json_lines import Record, append
from maxent_ray.storage.run_files import CONFIG


class Records:
    """The files of one run's records; made by its driver, may be sent to other processes.

    Args:
        folder: ``results/<name>``, locked by this driver.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._driver = read_holder(folder)

    def append(self, name: str, records: Iterable[Record]) -> None:
        """Add records to a file of the folder.

        Raises:
            FolderMovedError: as :meth:`check_in_place`.
            RecordingError: they cannot be written.
        """
        self.check_in_place()
        append(self._folder / name, records)

    def check_in_place(self) -> None:
        """Check that nobody has moved the folder since the start; a file written now would begin a second one.

        Raises:
            FolderMovedError: the folder is gone, or another run's is in its place.
        """
        now = read_holder(self._folder)
        is_ours = now == self._driver if now else (self._folder / CONFIG).is_file()
        if self._driver and not is_ours:
            raise FolderMovedError(
                f"{self._folder} is no longer this run's folder: it was moved, renamed or removed during the run. "
                "Recorded results are kept; continue where the folder is now, with --resume"
            )
