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
from urllib.parse import SplitResult

from neardup.pipeline.errors import InvalidFrame, Reason


def port_of(scheme: str, port: int | None) -> int | None:
    """Return the port of a URI, None if the scheme has none by itself."""
    return port if port is not None else {"http": 80, "https": 443}.get(scheme)


def open_connection(parts: SplitResult, seconds: float, private: bool, setting: str) -> http.client.HTTPConnection:
    """Return a connection to a host of http or https; of https, TLS begins with `begin`.

    Args:
        seconds: longest wait for any one step.
        private: whether the host may have addresses that are not public. setting: which allows that.
    Raises:
        InvalidFrame: FORBIDDEN, an address is not allowed.
        OSError: it cannot be connected to.
    """
    host, port = parts.hostname or "", port_of(parts.scheme, parts.port) or 0
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


def begin(connection: http.client.HTTPConnection) -> None:
    """Begin TLS, if there is any.

    Raises:
        OSError: the host's certificate is not good, or it does not answer.
    """
    if isinstance(connection.sock, ssl.SSLSocket):
        connection.sock.do_handshake()


@contextmanager
def cut_after(connection: http.client.HTTPConnection, seconds: float) -> Iterator[None]:
    """Cut a connection off when it has taken so long altogether: a host may send a byte now and then."""
    guard = threading.Timer(max(seconds, 0.0), _cut, (connection.sock,))
    guard.daemon = True
    guard.start()
    try:
        yield
    finally:
        guard.cancel()


def _cut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _address(host: str, port: int, private: bool, setting: str) -> tuple[str, int]:
    """Return the first address of a host; all of them must be allowed."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(one[4][0]) for one in found]
    if not private and not all(_is_public(address) for address in addresses):
        raise InvalidFrame(Reason.FORBIDDEN, f"{host} has an address that is not public ({setting})")
    return addresses[0], port


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is not None:
            return _is_public(str(inner))
    return ip.is_global and not ip.is_multicast
