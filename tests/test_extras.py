"""Packages of extras: missing, too old, new enough."""

from __future__ import annotations

import subprocess
import sys

import pytest

from maxent_ray.errors import ConfigError
from maxent_ray.extras import require_version

# hides an installed package from its metadata, as if it had never been installed
WITHOUT = """
import importlib.metadata, sys
from importlib.metadata import PackageNotFoundError
look, hidden = importlib.metadata.version, {package!r}
def version(name):
    if name == hidden:
        raise PackageNotFoundError(name)
    return look(name)
importlib.metadata.version = version
try:
    import {module}
except ModuleNotFoundError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [("maxent_ray.rllib", "gymnasium", "rllib"), ("maxent_ray.integrations.trl", "trl", "trl")],
)
def test_an_import_without_the_extra_names_it(module: str, package: str, extra: str) -> None:
    script = WITHOUT.format(module=module, package=package)
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == f"{package} is not installed: pip install 'maxent-ray[{extra}]'"


def test_an_older_version_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"ray is 2.9.3; it must be >= 2.60: pip install 'maxent-ray\[rllib\]'"):
        require_version("ray", "2.60", "rllib", installed="2.9.3")
    for newer in ("2.60.0", "2.60.0.dev0", "2.100.0", "3.0.0.dev0"):
        require_version("ray", "2.60", "rllib", installed=newer)
