"""Access to a cluster that is to be joined: whether Ray answers there, its version, and the token it asks for."""

from __future__ import annotations

import os
import socket

import ray

from maxent_ray.cli.cluster_knock import Access, Answer, knock
from maxent_ray.cli.cluster_options import AUTH_MODE
from maxent_ray.dashboard.ray_token import TOKEN, TOKEN_FILE, TOKEN_PATH, user_token
from maxent_ray.errors import ResourceError

RAY_CLIENT = "ray://"
_OTHER_CLUSTER = (
    "unset RAY_ADDRESS, or let it be local, to start one, or give the address that `ray start --head` printed, as "
    "127.0.0.1:6379"
)
_GET_TOKEN = f"`ray get-auth-token`, run where the cluster was started, prints it: put it into {TOKEN_FILE}, or into a "
_GET_TOKEN += f"file that {TOKEN_PATH} names"


def open_access(address: str) -> str:
    """Check that Ray can join a cluster; if that takes the user's token, have this process send it from now on.

    A token is sent if ``RAY_AUTH_MODE`` is ``token``. Where that variable is unset, it is sent to a cluster that asks
    for one, if the user named the token in ``RAY_AUTH_TOKEN`` or ``RAY_AUTH_TOKEN_PATH``, or the cluster is this
    machine's: the user's own token is not handed to other machines unasked.

    Args:
        address: ``host:port``, or ``auto`` for the cluster that this machine belongs to.

    Returns:
        ``host:port``.

    Raises:
        ResourceError: names the address, what answers there, and what to set.
    """
    endpoint = _endpoint(address)
    sent = _own_token() if _mode() == "token" else {}
    answer = knock(endpoint, sent)
    if answer.access is Access.REFUSED and _may_send(address, endpoint) and (token := _own_token()):
        answer = knock(endpoint, sent := token)
        if answer.access is Access.OPEN:
            _send_from_now_on()
    if (problem := _problem(repr(address), answer, sent)) is not None:
        raise ResourceError(problem)
    return endpoint


def _problem(address: str, answer: Answer, sent: dict[str, str]) -> str | None:
    """Why Ray cannot join, and what to do; None if it can."""
    access, detail = answer
    match access:
        case Access.NOBODY:
            return f"no Ray cluster at {address} ({detail}); {_OTHER_CLUSTER}"
        case Access.OTHER:
            return f"what is at {address} does not answer as a Ray cluster ({detail}); {_OTHER_CLUSTER}"
        case Access.REFUSED:
            return f"the Ray cluster at {address} asks for a token{_missing(sent)}"
        case Access.OPEN if detail != ray.__version__:
            return (
                f"the cluster at {address} runs Ray {detail}, and this is Ray {ray.__version__}: install that "
                "version here, or use a cluster of this one"
            )
        case Access.OPEN if _mode() == "token" and not sent:
            return f"the cluster at {address} asks for no token, but {AUTH_MODE} is 'token' and there is none: unset it"
    return None


def connection_advice(address: str) -> str:
    """Advice where Ray could not connect, for a reason that a knock does not show."""
    if address.startswith(RAY_CLIENT) and _mode() != "token":
        return f"set {AUTH_MODE}=token if the cluster asks for a token, or give the cluster's own address, host:port"
    return _OTHER_CLUSTER


def _endpoint(address: str) -> str:
    """``host:port`` of an address.

    Raises:
        ResourceError: it has another form, or there is no cluster on this machine.
    """
    if address.startswith(("http://", "https://")):
        reason = "that is a dashboard's address, which only `ray job` takes"
        raise ResourceError(f"no Ray cluster at {address!r} ({reason}); {_OTHER_CLUSTER}")
    try:
        from ray._private.services import canonicalize_bootstrap_address

        endpoint = canonicalize_bootstrap_address(address) if address == "auto" else address
    except OSError as error:
        raise ResourceError(f"no Ray cluster at {address!r} ({error}); {_OTHER_CLUSTER}") from None
    host, _, port = (endpoint or "").rpartition(":")
    if not host or "://" in host or not port.isdecimal() or endpoint is None:
        raise ResourceError(f"no Ray cluster at {address!r}; {_OTHER_CLUSTER}")
    return endpoint


def _mode() -> str | None:
    mode = os.environ.get(AUTH_MODE)
    return mode and mode.lower()


def _own_token() -> dict[str, str]:
    """The user's token as a header, found as Ray finds it; empty without one.

    Not by Ray's own loader, which has one memory for the whole process: threads of a cluster that this process is
    connected to would find none for a moment, and end it.

    Raises:
        ResourceError: the file that the user named cannot be read.
    """
    token = user_token()
    return {"authorization": f"Bearer {token}"} if token else {}


def _send_from_now_on() -> None:
    """Have Ray send the user's token, in this process and in those that it starts."""
    from ray._private.authentication.authentication_token_setup import _enable_token_auth
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]  # compiled

    AuthenticationTokenLoader.instance().reset_cache()  # it may remember that there was none
    _enable_token_auth()  # as Ray does where it finds the cluster itself


def _may_send(address: str, endpoint: str) -> bool:
    """True when the user's token may be sent to a cluster that asks for it."""
    named = any(os.environ.get(name, "").strip() for name in (TOKEN, TOKEN_PATH))
    return _mode() is None and (named or address == "auto" or _is_this_machine(endpoint))


def _is_this_machine(endpoint: str) -> bool:
    host = endpoint.rpartition(":")[0].strip("[]")
    try:
        family, *_, place = socket.getaddrinfo(host, None)[0]
        socket.create_server((place[0], 0), family=family).close()  # only an address of its own can be listened on
    except OSError:
        return False
    return True


def _missing(sent: dict[str, str]) -> str:
    """End of the sentence on a refusal: the token that was refused, or the reason that none was sent, and advice."""
    if sent:
        return f", and the one {_source()} is not the cluster's. {_GET_TOKEN}"
    if _mode() not in (None, "token"):
        return f", and {AUTH_MODE} is {os.environ[AUTH_MODE]!r}, so that none is sent: unset it"
    if not _own_token():
        return f", and there is none here. {_GET_TOKEN}"
    return f" and is on another machine: {AUTH_MODE}=token sends it the one {_source()}"


def _source() -> str:
    """Source of the user's token: a variable, or a file."""
    if os.environ.get(TOKEN, "").strip():
        return f"in {TOKEN}"
    return f"in {os.environ.get(TOKEN_PATH) or TOKEN_FILE}"
