"""Places of results: a folder of this machine, or a URI of a storage service."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from maxent_ray.errors import ConfigError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_ONE_SLASH = re.compile(r"(s3|gs|gcs|file|hdfs|abfs|abfss):(?!//)", re.IGNORECASE)


def parse_location(text: str, option: str) -> Path | str:
    """Parse a place of results: a path, with ``file:///`` too, or a URI, without its last slashes.

    Args:
        text: As typed by the user.
        option: Names the place in errors, as ``--results``.

    Raises:
        ConfigError: a URI lacks its bucket, has a password in it, or is written with one slash.

    Example:
        >>> parse_location("results", "--results"), parse_location("file:///shared/my%20results", "--results")
        (PosixPath('results'), PosixPath('/shared/my results'))
        >>> parse_location("s3://bucket/results/", "--results")
        's3://bucket/results'
        >>> parse_location("s3:/bucket", "--results")
        Traceback (most recent call last):
        maxent_ray.errors.ConfigError: --results is 's3:/bucket'; a URI has two slashes, as s3://bucket/results
    """
    if _ONE_SLASH.match(text):
        scheme = text.partition(":")[0]
        raise ConfigError(f"{option} is {text!r}; a URI has two slashes, as {scheme}://bucket/results")
    if _SCHEME.match(text) is None:
        return Path(text)
    parts = urlsplit(text)
    if parts.scheme == "file":
        if parts.netloc or not parts.path:
            raise ConfigError(f"{option} is {text!r}; a file URI has an absolute path, as file:///shared/results")
        return Path(unquote(parts.path))
    if "@" in parts.netloc:
        raise ConfigError(
            f"{option} is a URI with a user or a password, which would be printed and logged; leave them out and set "
            "them as the storage's own tools ask, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if not parts.netloc:
        raise ConfigError(f"{option} is {text!r}, which names no bucket; give one, as {parts.scheme}://bucket/results")
    return urlunsplit(parts._replace(path=parts.path.rstrip("/"), fragment=""))


def join_uri(uri: str, name: str) -> str:
    """URI of something inside a folder; what follows a question mark stays at the end.

    Example:
        >>> join_uri("s3://bucket/results?region=eu-west-1", "mine")
        's3://bucket/results/mine?region=eu-west-1'
    """
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(path=f"{parts.path}/{name}"))


def split_uri(uri: str) -> tuple[str, str]:
    """URI of the folder that something is in, and its name; the inverse of :func:`join_uri`.

    Raises:
        ConfigError: the URI is a bucket, and in no folder.

    Example:
        >>> split_uri("s3://bucket/results/mine?region=eu-west-1")
        ('s3://bucket/results?region=eu-west-1', 'mine')
    """
    parts = urlsplit(uri)
    parent, _, name = parts.path.rpartition("/")
    if not name:
        raise ConfigError(f"{uri!r} is a bucket; give the URI of a run in it, as {parts.scheme}://{parts.netloc}/mine")
    return urlunsplit(parts._replace(path=parent)), name
