"""What a user is told to do about a file that cannot be written: storage that really refuses, where there is some."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from maxent_ray.errors import RecordingError
from maxent_ray.storage.atomic import write_atomic
from maxent_ray.storage.json_lines import append
from maxent_ray.storage.write_errors import writing
from tests.conftest import ROOT

NOBODY = 65534
Write = Callable[[Path], None]
WRITERS: dict[str, Write] = {
    "a growing file": lambda path: append(path, [{"step": 0}]),
    "a whole file": lambda path: write_atomic(path, b"whole"),
}


# What holds for a whole process is done to one that runs nothing else.
WITHOUT_RIGHTS = f"""
import os, sys
from pathlib import Path
from maxent_ray.errors import RecordingError
from tests.storage.test_write_errors import WRITERS

if os.geteuid() == 0:
    os.seteuid({NOBODY})
try:
    WRITERS[sys.argv[1]](Path(sys.argv[2]))
except RecordingError as refused:
    print(refused)
"""
WITHOUT_ROOM = """
import resource, sys
from pathlib import Path
from maxent_ray.storage.json_lines import truncate_partial_line

resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
truncate_partial_line(Path(sys.argv[1]))
"""


def run(program: str, *arguments: str | Path) -> str:
    """What it prints; any error that it does not catch is one of the test."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


@pytest.fixture
def locked() -> Iterator[Path]:
    """A folder that other users may look into, and nobody may write to."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_folder_without_rights_is_not_mistaken_for_a_full_disk(writer: str, locked: Path) -> None:
    path = locked / "rows.jsonl"
    told = run(WITHOUT_RIGHTS, writer, path)
    assert told.startswith(f"cannot write {path}: Permission denied. ")
    assert f"; make {locked} writable (check its permissions, and that it is not mounted read-only)" in told
    assert told.endswith("read-only)") and "space" not in told


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_missing_folder_is_called_missing(write: Write, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=rf"; the folder {tmp_path}/gone is missing: restore it"):
        write(tmp_path / "gone" / "rows.jsonl")


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_path_that_is_no_folder_has_the_storages_own_error(write: Write, tmp_path: Path) -> None:
    """The file that was being written cannot be removed there either: that error must not hide the first."""
    (tmp_path / "file").touch()
    with pytest.raises(RecordingError, match=r"Not a directory\. .*; fix the storage's error"):
        write(tmp_path / "file" / "rows.jsonl")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_asks_for_space(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").symlink_to("/dev/full")
    with pytest.raises(RecordingError, match=r"No space left.*Training so far is kept; free some space"):
        append(tmp_path / "rows.jsonl", [{"step": 0}])


ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EACCES: "writable",
    errno.EPERM: "writable",
    errno.EROFS: "writable",
    errno.ENOENT: "the folder /results is missing",
    errno.EIO: "fix the storage's error",
    errno.ESTALE: "fix the storage's error",
    errno.EFBIG: "fix the storage's error",
}


@pytest.mark.parametrize("number", ADVICE, ids=errno.errorcode.get)
def test_the_advice_fits_the_error_and_survives_a_pickle(number: int) -> None:
    with pytest.raises(RecordingError) as refused, writing(Path("/results/rows.jsonl"), "All is kept"):
        raise OSError(number, os.strerror(number))
    told = str(pickle.loads(pickle.dumps(refused.value)))
    assert told.startswith(f"cannot write /results/rows.jsonl: {os.strerror(number)}. All is kept; ")
    assert [advice for advice in sorted(set(ADVICE.values())) if advice in told] == [ADVICE[number]]


def test_an_error_without_a_number_is_told_in_its_own_words() -> None:
    with pytest.raises(RecordingError, match="cannot write /rows: the wire was cut"), writing(Path("/rows"), "Kept"):
        raise OSError("the wire was cut")


def test_cutting_off_half_a_line_writes_nothing_anew(tmp_path: Path) -> None:
    """On a disk without room for the file itself; written anew, its rows would be lost."""
    path, rows = tmp_path / "rows.jsonl", b'{"step": 0}\n' * 1000
    path.write_bytes(rows + b'{"st')
    run(WITHOUT_ROOM, path)
    assert path.read_bytes() == rows
