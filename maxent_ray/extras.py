"""Packages of an extra, which need not be installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

from maxent_ray.errors import ConfigError


def require_version(package: str, oldest: str, extra: str, *, installed: str | None = None) -> None:
    """Refuse a package that is missing, or older than those tested: it has other modules and attributes.

    Args:
        package: Its name in the registry.
        oldest: The oldest version that was tested.
        extra: The extra that brings it.
        installed: Its version; None: look it up.

    Raises:
        ModuleNotFoundError: it is not installed.
        ConfigError: it is too old.

    Example:
        >>> require_version("trl", "1.16", "trl", installed="1.2.0")
        Traceback (most recent call last):
        maxent_ray.errors.ConfigError: trl is 1.2.0; it must be >= 1.16: pip install 'maxent-ray[trl]'
        >>> require_version("no-package", "1.0", "rllib")
        Traceback (most recent call last):
        ModuleNotFoundError: no-package is not installed: pip install 'maxent-ray[rllib]'
    """
    command = f"pip install 'maxent-ray[{extra}]'"
    try:
        found = version_of(package) if installed is None else installed
    except PackageNotFoundError:
        raise ModuleNotFoundError(f"{package} is not installed: {command}", name=package) from None
    from packaging.version import Version  # where even this is missing, the package is too

    if Version(found).release < Version(oldest).release:  # a development version counts as the release it leads to
        raise ConfigError(f"{package} is {found}; it must be >= {oldest}: {command}")


def require_for_setting(setting: str, package: str, oldest: str, extra: str) -> None:
    """Refuse a setting whose package is missing or too old.

    Args:
        setting: Begins the message: the setting and its value.
        package: As of :func:`require_version`, like the others.
        oldest: The oldest version that was tested.
        extra: The extra that brings it.

    Raises:
        ConfigError: it is.

    Example:
        >>> require_for_setting("task.name is 'hf:mine'", "no-package", "1.0", "tasks")
        Traceback (most recent call last):
        maxent_ray.errors.ConfigError: task.name is 'hf:mine': no-package is not installed: pip install ...
    """
    try:
        require_version(package, oldest, extra)
    except (ModuleNotFoundError, ConfigError) as error:
        raise ConfigError(f"{setting}: {error}") from None
