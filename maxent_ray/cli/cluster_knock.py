"""One call to a cluster's control service: Ray itself would retry for minutes, with a line of log for each attempt."""

from __future__ import annotations

import socket
from enum import Enum, auto
from typing import NamedTuple

import grpc

CONNECT_TIMEOUT_S = 5.0


class Access(Enum):
    """Answer of an address to a knock."""

    OPEN = auto()
    """Ray answers, and is content with the token that came along, or with none."""
    REFUSED = auto()
    """Ray answers, and asks for a token, or for another one."""
    OTHER = auto()
    """Something that is not Ray answers, or nothing in time."""
    NOBODY = auto()
    """The name is unknown, or nothing listens."""


class Answer(NamedTuple):
    """Answer, with the version of Ray or the reason."""

    access: Access
    detail: str


def knock(endpoint: str, token: dict[str, str]) -> Answer:
    """Ask a cluster's control service whether it is alive, once.

    Args:
        endpoint: ``host:port``.
        token: Header with a token, or none.
    """
    from ray.core.generated.gcs_service_pb2 import CheckAliveRequest  # type: ignore[attr-defined]  # made at import
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

    try:  # an unknown name and a closed port have errors that are clearer than those of gRPC
        host, _, port = endpoint.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
        with grpc.insecure_channel(endpoint, options=[("grpc.enable_http_proxy", 0)]) as channel:
            service = NodeInfoGcsServiceStub(channel)
            reply = service.CheckAlive(CheckAliveRequest(), timeout=CONNECT_TIMEOUT_S, metadata=list(token.items()))
            return Answer(Access.OPEN, reply.ray_version)
    except (OSError, OverflowError) as error:
        return Answer(Access.NOBODY, str(error))
    except grpc.RpcError as error:
        refused = error.code() is grpc.StatusCode.UNAUTHENTICATED
        return Answer(Access.REFUSED if refused else Access.OTHER, str(error.details()))
