"""Places of results that cannot be right are refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from maxent_ray.errors import ConfigError
from maxent_ray.storage.locations import join_uri, parse_location, split_uri


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("results", Path("results")),
        ("/shared/a b", Path("/shared/a b")),
        ("./s3:x", Path("./s3:x")),
        ("file:///shared/a%20b", Path("/shared/a b")),
        ("gs://bucket", "gs://bucket"),
        ("s3://bucket/a//", "s3://bucket/a"),
        ("s3://bucket/a/?region=x", "s3://bucket/a?region=x"),
    ],
)
def test_folders_and_uris(text: str, place: Path | str) -> None:
    assert parse_location(text, "--results") == place


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("s3:/bucket/a", "two slashes"),
        ("gs:bucket", "two slashes"),
        ("s3:///a", "names no bucket"),
        ("file://results", "absolute path"),
        ("s3://key:secret@bucket/a", "user or a password"),
    ],
)
def test_what_is_neither_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as raised:
        parse_location(text, "--results")
    assert "--results" in str(raised.value) and "secret" not in str(raised.value)


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/a", "s3://bucket/a/b?region=x"])
def test_joined_and_split(uri: str) -> None:
    assert split_uri(join_uri(uri, "mine")) == (uri, "mine")


def test_a_bucket_is_no_run() -> None:
    with pytest.raises(ConfigError, match="is a bucket"):
        split_uri("s3://bucket")
