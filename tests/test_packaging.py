"""The package says the same thing everywhere: ranges, tested versions, metadata, shipped files, Makefile."""

from __future__ import annotations

import glob
import json
import subprocess
import sys
import tomllib
from importlib import metadata, resources
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import maxent_ray
from maxent_ray.tasks.registry import BUILT_IN

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
REQUIREMENTS = [
    Requirement(line)
    for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for line in group
]
CONSTRAINTS = [
    Requirement(line)
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
PINNED = {
    canonicalize_name(constraint.name): Version(next(iter(constraint.specifier)).version)
    for constraint in CONSTRAINTS
}


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=lambda constraint: constraint.name)
def test_a_constraint_is_one_exact_public_version(constraint: Requirement) -> None:
    assert [specifier.operator for specifier in constraint.specifier] == ["=="]
    assert constraint.url is None
    assert PINNED[canonicalize_name(constraint.name)].local is None


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_the_tested_version_lies_in_the_declared_range(requirement: Requirement) -> None:
    assert PINNED[canonicalize_name(requirement.name)] in requirement.specifier


def test_no_package_is_pinned_twice() -> None:
    assert len(PINNED) == len(CONSTRAINTS)


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_what_a_dependency_needs_is_pinned_too(requirement: Requirement) -> None:
    """One level down, read from what is installed, so that a constraint file cut short is noticed."""
    try:
        needs = metadata.requires(requirement.name) or []
    except metadata.PackageNotFoundError:
        pytest.skip(f"{requirement.name} belongs to an extra that is not installed")
    for need in map(Requirement, needs):
        extras = requirement.extras or {""}
        wanted = need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in extras)
        # A CUDA build of torch pins its own libraries, and a CPU build has none.
        if wanted and requirement.name != "torch":
            assert canonicalize_name(need.name) in PINNED, f"{requirement.name} needs {need}"


def test_the_version_is_said_once() -> None:
    assert maxent_ray.__version__ == metadata.version("maxent-ray") == PROJECT["version"]


def test_the_command_exists() -> None:
    (script,) = metadata.entry_points(group="console_scripts", name="maxent-ray")
    assert callable(script.load())


def test_the_licence_is_the_declared_one() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8").splitlines()[0]


@pytest.mark.parametrize("task", BUILT_IN)
def test_the_shipped_policy_of_a_task_is_found_as_package_data(task: str) -> None:
    config = resources.files("maxent_ray").joinpath(f"policy/assets/{task}/config.json")
    assert "model_type" in json.loads(config.read_text(encoding="utf-8"))


def test_every_asset_is_matched_by_the_package_data_patterns() -> None:
    package = Path(str(resources.files("maxent_ray")))
    assets = {path for path in (package / "policy" / "assets").rglob("*") if path.is_file()}
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["maxent_ray"]
    shipped = {
        package / match
        for pattern in patterns
        for match in glob.glob(pattern, root_dir=package, recursive=True)
    }
    assert assets
    assert assets | {package / "py.typed"} <= shipped


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True)


def test_make_names_the_python_it_found_when_that_is_too_old(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    pretend = "import sys; sys.version_info = (3, 9, 1); exec(sys.argv[1])"
    old.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{pretend}' \"$2\"\n", encoding="utf-8")
    old.chmod(0o755)
    done = make("venv", f"VENV={tmp_path / 'venv'}", f"PYTHON={old}")
    assert done.returncode != 0
    assert "is Python 3.9.1" in done.stderr
    assert "needs 3.11 or newer" in done.stderr
    assert "PYTHON=python3.12" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_make_says_so_when_there_is_no_such_python(tmp_path: Path) -> None:
    done = make("venv", f"VENV={tmp_path / 'venv'}", "PYTHON=python3.no")
    assert done.returncode != 0
    assert "no interpreter 'python3.no'" in done.stderr


def test_make_alone_lists_the_targets() -> None:
    listed = make().stdout
    for target in ("venv", "demo", "test", "test-all", "docs", "lint", "types", "imports", "audit", "check", "clean"):
        assert f"make {target} " in listed
