"""The audit of the pins: found, clean, no database and a broken tool are four things, and only two of them pass.

pip-audit is played by a script: what a real one says depends on the network and on the day.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
CANARY = {"name": "jinja2", "version": "2.4.1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"], "aliases": []}]}
SOUND = {"name": "alpha", "version": "1.0", "vulns": []}
BAD = {
    "name": "beta",
    "version": "2.0",
    "vulns": [{"id": "PYSEC-7", "fix_versions": ["2.1", "3.0"], "aliases": ["CVE-2026-7"]}],
}
WITHOUT_FIX = {"name": "beta", "version": "2.0", "vulns": [{"id": "PYSEC-8", "fix_versions": [], "aliases": []}]}
ABSENT = {"name": "gamma", "skip_reason": "Dependency not found and could not be audited: gamma (1.0)"}
NO_NETWORK = "Traceback (most recent call last):\nrequests.exceptions.ProxyError: cannot connect to proxy"
BLOCKED = "ERROR:pip_audit._cli:Tip: your network may be blocking this service. Try another service with `-s SERVICE`"

FAKE = """#!{python}
import json, sys, time
if "--version" in sys.argv:
    sys.exit({version_status})
said = json.load(open({said!r}))["canary" if "canary" in sys.argv[sys.argv.index("-r") + 1] else "pins"]
time.sleep(said["sleep"])
print(said["out"])
print(said["err"], file=sys.stderr)
sys.exit(said["status"])
"""


def says(
    *packages: dict[str, Any], out: str | None = None, err: str = "", status: int | None = None, sleep: float = 0
) -> dict[str, Any]:
    vulnerable = any(package.get("vulns") for package in packages)
    report = json.dumps({"dependencies": packages, "fixes": []})
    status = int(vulnerable) if status is None else status
    return {"out": report if out is None else out, "err": err, "status": status, "sleep": sleep}


def audit(
    folder: Path,
    pins: dict[str, Any],
    canary: dict[str, Any] | None = None,
    ignored: str = "",
    version_status: int = 0,
) -> subprocess.CompletedProcess[str]:
    said, tool, ignore = folder / "said.json", folder / "pip-audit", folder / "ignore.txt"
    said.write_text(json.dumps({"canary": canary or says(CANARY), "pins": pins}))
    tool.write_text(FAKE.format(python=sys.executable, said=str(said), version_status=version_status))
    tool.chmod(0o755)
    ignore.write_text(ignored)
    options = ["--tool", tool, "--constraints", folder / "pins.txt", "--ignore", ignore, "--seconds", "2"]
    return subprocess.run(
        [sys.executable, ROOT / ".ci" / "audit.py", *map(str, options)], capture_output=True, text=True
    )


def test_nothing_known_passes_and_says_how_much_was_looked_at(tmp_path: Path) -> None:
    done = audit(tmp_path, says(SOUND, ABSENT))
    assert done.returncode == 0
    assert "1 packages audited, 0 known" in done.stdout
    assert "not in the database: gamma" in done.stdout
    assert "SKIPPED" not in done.stdout


def test_a_known_vulnerability_fails_with_its_id(tmp_path: Path) -> None:
    done = audit(tmp_path, says(SOUND, BAD, err="Found 1 known vulnerability in 1 package"))
    assert done.returncode == 1
    assert "VULNERABLE beta 2.0: PYSEC-7, fixed in 2.1, 3.0" in done.stderr


@pytest.mark.parametrize("name", ["PYSEC-7", "CVE-2026-7"])
def test_one_that_is_listed_with_a_reason_passes_and_is_shown(tmp_path: Path, name: str) -> None:
    done = audit(tmp_path, says(BAD), ignored=f"# known\n{name} we never call it\nPYSEC-0 long gone\n")
    assert done.returncode == 0
    assert f"{name} is ignored: we never call it" in done.stdout
    assert "PYSEC-0 need not be ignored any longer" in done.stdout


def test_ignoring_one_does_not_hide_another(tmp_path: Path) -> None:
    done = audit(tmp_path, says(BAD, WITHOUT_FIX), ignored="PYSEC-7 we never call it\n")
    assert done.returncode == 1
    assert "PYSEC-8, fixed in no version" in done.stderr
    assert "PYSEC-7" not in done.stderr


NO_DATABASE = {
    "the connection fails": says(out="", err=NO_NETWORK, status=1),
    "the network blocks it": says(out="", err=BLOCKED, status=1),
    "a mirror has no page": says({"name": "jinja2", "skip_reason": "not found"}),
    "a mirror has a page without vulnerabilities": says({"name": "jinja2", "version": "2.4.1", "vulns": []}),
}


@pytest.mark.parametrize("canary", NO_DATABASE.values(), ids=NO_DATABASE)
def test_without_a_database_it_is_skipped_and_says_so(tmp_path: Path, canary: dict[str, Any]) -> None:
    done = audit(tmp_path, says(BAD), canary)
    assert done.returncode == 0
    assert "SKIPPED, nothing was audited" in done.stdout
    assert "packages audited" not in done.stdout


@pytest.mark.parametrize("pins", [says(out="", err=NO_NETWORK, status=1), says(SOUND, sleep=10)], ids=["gone", "slow"])
def test_a_database_that_goes_away_in_between_is_none(tmp_path: Path, pins: dict[str, Any]) -> None:
    done = audit(tmp_path, pins)
    assert done.returncode == 0
    assert "SKIPPED" in done.stdout


BROKEN = {
    "a crash": (says(out="", err="Traceback\nKeyError: 'name'", status=1), "ended with 1 and no report"),
    "no report": (says(out="nothing", status=0), "ended with 0 and no report"),
    "another report": (says(out='{"packages": []}'), "no report"),
    "a failure that found nothing": (says(SOUND, status=3), "ended with 3 although it found nothing"),
    "no package known": (says(ABSENT), "nothing in"),
}


@pytest.mark.parametrize(("pins", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_tool_fails(tmp_path: Path, pins: dict[str, Any], said: str) -> None:
    done = audit(tmp_path, pins)
    assert done.returncode == 2
    assert "BROKEN" in done.stderr and said in done.stderr


def test_a_tool_that_does_not_start_fails(tmp_path: Path) -> None:
    assert audit(tmp_path, says(SOUND), version_status=1).returncode == 2
    command = [sys.executable, ROOT / ".ci" / "audit.py", "--tool", str(tmp_path / "no-such-tool")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no-such-tool does not run" in done.stderr


def test_to_ignore_without_a_reason_fails(tmp_path: Path) -> None:
    done = audit(tmp_path, says(BAD), ignored="PYSEC-7\n")
    assert done.returncode == 2
    assert "'PYSEC-7' has no reason" in done.stderr


def test_ci_runs_it() -> None:
    assert "audit" in (ROOT / ".ci" / "run").read_text().splitlines()[-1].split()
