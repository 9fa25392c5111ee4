"""A local S3 server: moto's, in this process, with one bucket."""

from __future__ import annotations

import logging
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

BUCKET = "bucket"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}


@dataclass(frozen=True)
class S3Server:
    """A running server."""

    address: str
    server: Any
    client: Any
    """boto3's: another implementation than the one under test."""

    def uri(self, path: str) -> str:
        """URI of something in the bucket, with the server's address in it."""
        return f"s3://{BUCKET}/{path}?endpoint_override={self.address}&scheme=http"

    @property
    def environment(self) -> dict[str, str]:
        """Environment of processes that use plain ``s3://`` URIs."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://{self.address}"}

    def names(self, prefix: str) -> set[str]:
        """Files below a prefix, relative to it."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
        keys = [each["Key"] for page in pages for each in page.get("Contents", ())]
        return {key.removeprefix(f"{prefix}/") for key in keys if not key.endswith("/")}

    def read(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return content

    def copy_to(self, prefix: str, folder: Path) -> Path:
        """Copy everything below a prefix into a folder, by boto3."""
        for name in self.names(prefix):
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(self.read(f"{prefix}/{name}"))
        return folder


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Start a server on a free port, with credentials for it in this process's environment."""
    server_module = pytest.importorskip("moto.server", reason="moto is not installed; pip install '.[dev]'")
    boto3 = pytest.importorskip("boto3")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it logs every request
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        for name in [name for name in os.environ if name.startswith("AWS_ENDPOINT")]:
            patch.delenv(name)
        server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        try:
            host, port = server.get_host_and_port()
            client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
            reset = urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")
            urllib.request.urlopen(reset).close()  # its buckets are the whole process's
            client.create_bucket(Bucket=BUCKET)
            yield S3Server(f"{host}:{port}", server, client)
        finally:
            server.stop()
