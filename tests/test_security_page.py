"""The page on security names the tests that hold it, and they exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "explanation" / "security.md").read_text(encoding="utf-8")


def test_every_test_that_it_names_exists() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", PAGE))
    assert len(named) >= 7
    assert [name for name in named if not (ROOT / name).is_file()] == []


def sets_authentication(tree: ast.AST) -> bool:
    """An assignment to it in an environment, or a dictionary that could become one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            keys = [node.slice]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("setdefault", "putenv", "setenv", ".pop")):
            keys = list(node.args[:1])
        elif isinstance(node, ast.Dict):
            keys = [key for key in node.keys if key is not None]
        else:
            continue
        if any("AUTH_MODE" in ast.unparse(key) for key in keys):
            return True
    return any(isinstance(node, ast.keyword) and node.arg == "RAY_AUTH_MODE" for node in ast.walk(tree))


@pytest.mark.parametrize(
    "source",
    [
        'os.environ["RAY_AUTH_MODE"] = "disabled"',
        "os.environ[AUTH_MODE] = mode",
        "del os.environ[AUTH_MODE]",
        'os.environ.setdefault("RAY_AUTH_MODE", "disabled")',
        'subprocess.run(command, env={**os.environ, "RAY_AUTH_MODE": "disabled"})',
        'os.environ.update(RAY_AUTH_MODE="disabled")',
    ],
)
def test_setting_it_is_seen(source: str) -> None:
    assert sets_authentication(ast.parse(source))


def test_nothing_of_ours_sets_rays_authentication() -> None:
    files = [*(ROOT / "maxent_ray").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")]
    assert files
    assert [file.name for file in files if sets_authentication(ast.parse(file.read_text(encoding="utf-8")))] == []
    for file in ("Makefile", ".ci/run"):
        assert "AUTH_MODE" not in (ROOT / file).read_text(encoding="utf-8")
