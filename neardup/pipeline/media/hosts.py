"""Connections to hosts that somebody named: no private addresses, and the address that was checked is the one used.

A name may resolve to anything, and to something else a moment later; so it is resolved once, all of its addresses are
looked at, and the connection goes to one of those.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import SplitResult, quote

from neardup.pipeline.errors import InvalidFrame, Reason

_AS_IS = "%/:?@!$&'()*+,;=~-._[]|^{}`"
"""Characters of a URI that are left as they are: what is encoded already, too."""
_RELAYS = ipaddress.ip_network("192.88.99.0/24")
"""6to4 relays, RFC 7526."""
_NOT_PUBLIC = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "::/96",  # IPv4-compatible, RFC 4291
        "::ffff:0:0/96",  # IPv4-mapped, RFC 4291
        "::ffff:0:0:0/96",  # IPv4-translated, RFC 2765
        "64:ff9b::/96",  # NAT64, RFC 6052
        "64:ff9b:1::/48",  # NAT64 of a site's own, RFC 8215
        "fec0::/10",  # site-local, RFC 3879
    )
)
"""Whatever Python's own tables of a version say."""


def port_of(scheme: str, port: int | None) -> int | None:
    """Return the port of a URI, None if the scheme has none by itself."""
    return port if port is not None else {"http": 80, "https": 443}.get(scheme)


def open_connection(parts: SplitResult, seconds: float, private: bool, setting: str) -> http.client.HTTPConnection:
    """Return a connection to a host of http or https; of https, TLS begins with `begin`.

    Args:
        seconds: longest wait for any one step.
        private: whether the host may have addresses that are not public. setting: which allows that.
    Raises:
        InvalidFrame: FORBIDDEN, an address is not allowed; SCHEMA, the host's name cannot be one.
        OSError: it cannot be connected to.
    """
    host, port = ascii_host(parts), port_of(parts.scheme, parts.port) or 0
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    connection.sock = sock = socket.create_connection(_address(host, port, private, setting), timeout=seconds)
    # A request is two packets, head and body: without this the second waits 40 ms for the receipt of the first.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if parts.scheme == "https":
        try:
            context = ssl.create_default_context()
            connection.sock = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
        except BaseException:
            connection.close()
            raise
    return connection


def ascii_host(parts: SplitResult) -> str:
    """Return the host of a URI as DNS has it.

    Raises:
        InvalidFrame: SCHEMA, it cannot be one.
    """
    host = parts.hostname or ""
    try:
        return host if ":" in host else host.encode("idna").decode()  # IPv6 stays as it is
    except UnicodeError as error:
        raise InvalidFrame(Reason.SCHEMA, f"host {host[:80]!r} cannot be one") from error


def target_of(parts: SplitResult) -> str:
    """Return path and query as a request has them; what is no ASCII is percent-encoded UTF-8, RFC 3987, section 3.1."""
    path = quote(parts.path or "/", safe=_AS_IS)
    return path + (f"?{quote(parts.query, safe=_AS_IS)}" if parts.query else "")


def begin(connection: http.client.HTTPConnection) -> None:
    """Begin TLS, if there is any.

    Raises:
        OSError: the host's certificate is not good, or it does not answer.
    """
    if isinstance(connection.sock, ssl.SSLSocket):
        connection.sock.do_handshake()


class Deadline:
    """What cuts a connection off after a time.

    Attributes:
        passed: it did. What was read to its end then need not be whole.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.passed = False
        self._sock = sock

    def cut(self) -> None:
        """Have whoever reads find the end."""
        self.passed = True
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)


@contextmanager
def cut_after(connection: http.client.HTTPConnection, seconds: float) -> Iterator[Deadline]:
    """Cut a connection off when it has taken so long altogether: a host may send a byte now and then."""
    deadline = Deadline(connection.sock)
    guard = threading.Timer(max(seconds, 0.0), deadline.cut)
    guard.daemon = True
    guard.start()
    try:
        yield deadline
    finally:
        guard.cancel()


def _address(host: str, port: int, private: bool, setting: str) -> tuple[str, int]:
    """Return the first address of a host; all of them must be allowed."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(one[4][0]) for one in found]
    if not private and not all(_is_public(address) for address in addresses):
        raise InvalidFrame(Reason.FORBIDDEN, f"{host} has an address that is not public ({setting})")
    return addresses[0], port


def _is_public(address: str) -> bool:
    """Return whether an address, and any that it carries within, is one of the public Internet.

    What stands for an IPv4 address or leads to one by a translator is not: nobody knows what a translator reaches.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return ip.is_global and not ip.is_multicast and ip not in _RELAYS
    inside = [ip.sixtofour, *(ip.teredo or ()), _isatap(ip)]
    if any(inner is not None and not _is_public(str(inner)) for inner in inside):
        return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _NOT_PUBLIC)


def _isatap(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an ISATAP interface has in its own, RFC 5214, section 6.1."""
    low = int(ip) & (2**64 - 1)
    return ipaddress.IPv4Address(low & 0xFFFFFFFF) if low >> 32 in (0x5EFE, 0x0200_5EFE) else None
