"""Host names and ports: who reaches them, and whether a request meant us."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Collection

from maxent_ray.errors import ConfigError

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 8275
_PORTS_TRIED = 100


def is_loopback(host: str) -> bool:
    """True when only this machine reaches ``host``; names other than ``localhost`` are taken as reachable.

    Example:
        >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "192.0.2.7", "my-host")]
        [True, True, True, False, False, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_name(header: str) -> str:
    """Host of a ``Host`` header, without its port.

    Example:
        >>> host_name("127.0.0.1:8900"), host_name("[::1]:8900"), host_name("Localhost")
        ('127.0.0.1', '::1', 'localhost')
    """
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def is_ours(host: str, own: Collection[str]) -> bool:
    """True if a request to ``host`` cannot come from a page whose name was bound to our address (DNS rebinding).

    An address in figures is no name, so it cannot be bound anew.

    Args:
        host: Without its port.
        own: Names of this machine that a user may type.

    Example:
        >>> [is_ours(host, {"my-host"}) for host in ("127.0.0.1", "localhost", "my-host", "evil.example", "")]
        [True, True, True, False, False]
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host in own
    return True


def own_names(host: str) -> set[str]:
    """Names of this machine, and the one that it listens on."""
    return {name.lower() for name in (host, socket.gethostname(), socket.getfqdn())}


def listen(host: str, port: int) -> socket.socket:
    """Open a port, or the next one that is free; 0 takes any.

    Raises:
        ConfigError: the host is none of this machine's, or no port is free.
    """
    try:
        family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
    except OSError as error:
        raise _unusable(host, error) from None
    for tried in range(port, min(port + _PORTS_TRIED, 2**16) if port else 1):
        try:
            return socket.create_server((host, tried), family=family, backlog=128)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise _unusable(host, error) from None
    raise ConfigError(f"--port is {port}, and neither it nor the {_PORTS_TRIED} next ports are free; choose another")


def _unusable(host: str, error: OSError) -> ConfigError:
    return ConfigError(
        f"--host is {host!r} ({error}); give an address of this machine, such as {LOOPBACK}, or 0.0.0.0 for all of them"
    )


def url_of(host: str, port: int) -> str:
    """Address that a browser on this machine opens; one on all addresses is opened on the loopback address.

    Example:
        >>> url_of("0.0.0.0", 8900), url_of("::1", 8900)
        ('http://127.0.0.1:8900', 'http://[::1]:8900')
    """
    return _url({"0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host), port)


def browser_url(host: str, port: int) -> str:
    """Address for browsers of any machine: of a page on all addresses, with this machine's name.

    Example:
        >>> browser_url("127.0.0.1", 8275)
        'http://127.0.0.1:8275'
    """
    return _url(socket.getfqdn() if host in ("0.0.0.0", "::") else host, port)


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
