"""Are there known vulnerabilities in the versions that constraints.txt pins? Asks pip-audit, and doubts its answer.

Where the database of vulnerabilities cannot be asked this says so and passes: then nothing was audited. pip-audit alone
does not tell. Behind a mirror of packages its database may know of none, and it ends with "no known vulnerabilities".
So it is asked about a canary first: a version so old that its vulnerabilities are known wherever any are.

Exit status: 0 nothing known, or skipped; 1 a vulnerability that audit-ignore.txt does not list; 2 the audit is broken.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CANARY = "jinja2==2.4.1"
CLEAN, FOUND, BROKEN = 0, 1, 2
_OPTIONS = ("--no-deps", "--disable-pip", "--progress-spinner=off", "--timeout=10", "--format=json", "--desc=off")
_NETWORK = re.compile(r"(requests|urllib3)\.exceptions\.|ConnectionError|ServiceError|network may be blocking")
"""How pip-audit fails when the network does: by a traceback, or with a tip."""


class BrokenAuditError(Exception):
    """pip-audit, or a file of ours, does not work."""


class UnreachableError(Exception):
    """The database of vulnerabilities cannot be asked."""


@dataclass(frozen=True)
class Vulnerability:
    """One that is known, in one package."""

    names: tuple[str, ...]
    """Its identifiers: CVE, GHSA, PYSEC."""
    words: str


@dataclass(frozen=True)
class Answer:
    """What pip-audit says."""

    audited: int
    found: tuple[Vulnerability, ...]
    unknown: tuple[str, ...]
    """Packages that are not in the database."""


def main() -> int:
    """Audit; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tool", type=Path, default=Path(sys.executable).with_name("pip-audit"))
    parser.add_argument("--constraints", type=Path, default=HERE.parent / "constraints.txt")
    parser.add_argument("--ignore", type=Path, default=HERE / "audit-ignore.txt")
    parser.add_argument("--seconds", type=float, default=300, help="how long pip-audit may take")
    arguments = parser.parse_args()
    try:
        ignored = read_ignored(arguments.ignore)
        check_database(arguments.tool)
        answer = audit(arguments.tool, arguments.constraints, arguments.seconds)
        if answer.audited == 0:
            raise BrokenAuditError(f"the database knows {CANARY}, but nothing in {arguments.constraints}")
        return judge(answer, ignored)
    except UnreachableError as error:
        print(f"audit: SKIPPED, nothing was audited: the database of vulnerabilities cannot be asked ({error})")
        return CLEAN
    except BrokenAuditError as error:
        print(f"audit: BROKEN: {error}", file=sys.stderr)
        return BROKEN


def check_database(tool: Path) -> None:
    """See that pip-audit runs, and finds what is known to be there.

    Raises:
        BrokenAuditError: it does not run.
        UnreachableError: it finds nothing wrong with the canary.
    """
    try:
        subprocess.run([tool, "--version"], capture_output=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise BrokenAuditError(f"{tool} does not run ({error})") from None
    with tempfile.TemporaryDirectory() as folder:
        canary = Path(folder) / "canary.txt"
        canary.write_text(CANARY, encoding="utf-8")
        if not audit(tool, canary, 60).found:
            raise UnreachableError(f"it answers, but knows nothing against {CANARY}, which has known vulnerabilities")


def audit(tool: Path, requirements: Path, seconds: float) -> Answer:
    """Ask pip-audit about every version in a file.

    Raises:
        UnreachableError: it failed as it does without a network, or took too long.
        BrokenAuditError: it failed otherwise, or its answer is none.
    """
    try:
        done = subprocess.run([tool, "-r", requirements, *_OPTIONS], capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise UnreachableError(f"no answer in {seconds:g} s") from None
    last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    try:
        answer = read_answer(json.loads(done.stdout))
    except (ValueError, LookupError, TypeError) as error:
        if done.returncode != 0 and _NETWORK.search(done.stderr):
            raise UnreachableError(last[:300]) from None
        raise BrokenAuditError(f"{tool} ended with {done.returncode} and no report ({error!r}): {last}") from None
    if done.returncode != 0 and not answer.found:
        raise BrokenAuditError(f"{tool} ended with {done.returncode} although it found nothing: {last}")
    return answer


def read_answer(report: Any) -> Answer:
    """The report that ``pip-audit --format=json`` writes."""
    packages = report["dependencies"]
    found = tuple(
        Vulnerability(
            (known["id"], *known["aliases"]),
            f"{package['name']} {package['version']}: {known['id']}, "
            f"fixed in {', '.join(known['fix_versions']) or 'no version'}",
        )
        for package in packages
        for known in package.get("vulns", ())
    )
    unknown = tuple(package["name"] for package in packages if "skip_reason" in package)
    return Answer(len(packages) - len(unknown), found, unknown)


def read_ignored(file: Path) -> dict[str, str]:
    """Vulnerabilities that are known not to matter here, each with its reason: ``ID reason`` on a line.

    Raises:
        BrokenAuditError: one has no reason.
    """
    lines = [line.split(maxsplit=1) for line in file.read_text(encoding="utf-8").splitlines()]
    given = [words for words in lines if words and not words[0].startswith("#")]
    for words in given:
        if len(words) < 2:
            raise BrokenAuditError(f"{file}: {words[0]!r} has no reason; write 'ID reason'")
    return {name: reason for name, reason in given}


def judge(answer: Answer, ignored: Mapping[str, str]) -> int:
    """Print what there is to know; the exit status."""
    left = [known for known in answer.found if not ignored.keys() & set(known.names)]
    named = {name for known in answer.found for name in known.names}
    for name, reason in ignored.items():
        print(f"audit: {name} {f'is ignored: {reason}' if name in named else 'need not be ignored any longer'}")
    if answer.unknown:
        print(f"audit: not in the database: {', '.join(answer.unknown)}")
    for known in left:
        print(f"audit: VULNERABLE {known.words}", file=sys.stderr)
    print(f"audit: {answer.audited} packages audited, {len(left)} known vulnerabilities to act on")
    return FOUND if left else CLEAN


if __name__ == "__main__":
    sys.exit(main())
