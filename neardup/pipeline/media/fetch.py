"""What a URI leads to, default-deny: only below allowed prefixes, and below the blob store's own.

No redirects, no private addresses (the address that was checked is the one that is connected to), no other hosts by
tricks in the path, and limits on size and time. A file is read where its real path lies below an allowed folder.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from neardup.pipeline.errors import DependencyError, InvalidFrame, PipelineError, Reason
from neardup.pipeline.media.hosts import begin, cut_after, open_connection, port_of, target_of
from neardup.pipeline.media.object_store import missing
from neardup.pipeline.settings import Settings

IN_MEMORY_BYTES = 16 * 2**20
"""Content up to this size is handed on in memory, larger content as a file."""
MAX_URI_BYTES = 4096
_CHUNK = 2**18
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]|(^|/)\.\.?(/|$)")


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be read.

    Attributes:
        prefixes: URIs; one allows itself and what lies below it, "https://host" every path of that host.
        private: whether hosts of http and https may have addresses that are not public.
        max_bytes: of what is read from a host; files have the limits of their format.
        seconds: for one URI of a host, all in all.
    """

    prefixes: tuple[str, ...]
    private: bool = False
    max_bytes: int = 2**30
    seconds: float = 60.0


def fetch_rules(settings: Settings) -> Rules:
    """Return what workers may read."""
    prefixes = (settings.blobs_url, *settings.fetch_prefixes)
    return Rules(prefixes, settings.fetch_private, settings.fetch_max_bytes, settings.fetch_seconds)


@dataclass(frozen=True, slots=True)
class Fetched:
    """Content that was fetched: its hash, and itself or the file that holds it while the context lasts."""

    sha256: bytes
    source: bytes | Path


@contextmanager
def open_content(content: bytes | str, sha256: bytes | None, rules: Rules) -> Iterator[Fetched]:
    """Yield bytes with their hash, or what a URI leads to; see `fetch`."""
    if isinstance(content, str):
        with fetch(content, sha256, rules) as fetched:
            yield fetched
    else:
        yield Fetched(hashlib.sha256(content).digest(), content)


@contextmanager
def fetch(uri: str, sha256: bytes | None, rules: Rules) -> Iterator[Fetched]:
    """Read what a URI leads to.

    Args:
        sha256: what the content must have, if that is known.
    Raises:
        InvalidFrame: FORBIDDEN, FETCH, SCHEMA, or TOO_LARGE.
    """
    parts = check(uri, rules)
    with _opened(parts, uri, rules) as fetched:
        if sha256 is not None and fetched.sha256 != sha256:
            raise InvalidFrame(Reason.FETCH, f"content has sha256 {fetched.sha256.hex()}, {sha256.hex()} was announced")
        yield fetched


def check(uri: str, rules: Rules) -> SplitResult:
    """Return the parts of a URI that may be read.

    Raises:
        InvalidFrame: SCHEMA where it is no URI, FORBIDDEN where it is not allowed.
    """
    try:
        if len(uri.encode()) > MAX_URI_BYTES:
            raise InvalidFrame(Reason.SCHEMA, f"a URI of more than {MAX_URI_BYTES} bytes")
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as error:
        raise InvalidFrame(Reason.SCHEMA, f"{uri[:200]!r} is no URI: {error}") from error
    if not parts.scheme:
        raise InvalidFrame(Reason.SCHEMA, f"{uri[:100]!r} is no URI")
    path = unquote(parts.path)
    if _UNSAFE.search(path) or _UNSAFE.search(parts.netloc) or "@" in parts.netloc or parts.fragment:
        raise InvalidFrame(Reason.FORBIDDEN, "a path that leads up, or a user, a fragment or a control character")
    if not any(_below(parts, port, path, prefix) for prefix in rules.prefixes):
        raise InvalidFrame(Reason.FORBIDDEN, f"{uri[:200]} is below no allowed prefix (NEARDUP_FETCH_ALLOW)")
    return parts


def check_readable(uri: str, rules: Rules) -> None:
    """Check a URI, and of a file also where links lead; raises as `check`."""
    parts = check(uri, rules)
    if parts.scheme == "file":
        _real(parts, rules)


def _below(parts: SplitResult, port: int | None, path: str, prefix: str) -> bool:
    allowed = urlsplit(prefix)
    same = (parts.scheme, parts.hostname, port_of(parts.scheme, port)) == (
        allowed.scheme,
        allowed.hostname,
        port_of(allowed.scheme, allowed.port),
    )
    root = unquote(allowed.path).rstrip("/")
    return same and (path == root or path.startswith(f"{root}/"))


@contextmanager
def _opened(parts: SplitResult, uri: str, rules: Rules) -> Iterator[Fetched]:
    if parts.scheme == "file":
        yield _file(parts, rules)
        return
    with _scratch() as (file, path):
        with _answer(parts, rules) if parts.scheme in ("http", "https") else _stored(uri) as source:
            fetched = _receive(source, file, path, rules)
        yield fetched


@contextmanager
def _scratch() -> Iterator[tuple[IO[bytes], Path]]:
    """Yield a temporary file and a path by which this process may open it.

    On Linux it has no name: a process that describes may be killed at any time, and would leave gigabytes behind.
    """
    if sys.platform == "linux" and Path("/proc/self/fd").is_dir():
        with tempfile.TemporaryFile() as nameless:
            yield nameless, Path(f"/proc/self/fd/{nameless.fileno()}")
    else:
        with tempfile.NamedTemporaryFile(prefix="neardup-") as named:
            yield named, Path(named.name)


def _real(parts: SplitResult, rules: Rules) -> Path:
    if parts.hostname not in (None, "", "localhost"):
        raise InvalidFrame(Reason.FORBIDDEN, "a file of another machine")
    path = Path(os.path.realpath(unquote(parts.path, errors="surrogateescape")))  # a name need not be UTF-8
    roots = [unquote(urlsplit(prefix).path) for prefix in rules.prefixes if prefix.startswith("file:")]
    if not any(path.is_relative_to(os.path.realpath(root)) for root in roots):
        raise InvalidFrame(Reason.FORBIDDEN, "a link that leads out of the allowed folders")
    return path


def _file(parts: SplitResult, rules: Rules) -> Fetched:
    path = _real(parts, rules)
    try:
        if not path.is_file():  # a pipe would keep us waiting
            raise InvalidFrame(Reason.FETCH, "no such file")
        if path.stat().st_size <= IN_MEMORY_BYTES:
            data = path.read_bytes()
            return Fetched(hashlib.sha256(data).digest(), data)
        digest = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise InvalidFrame(Reason.FETCH, error.strerror or type(error).__name__) from error
    return Fetched(digest.digest(), path)


class _Readable(Protocol):
    def read(self, amount: int, /) -> bytes: ...


def _receive(source: _Readable, file: IO[bytes], path: Path, rules: Rules) -> Fetched:
    """Read to the end, into memory and, once there is more than a little, into the file."""
    digest, total, kept = hashlib.sha256(), 0, bytearray()
    while chunk := source.read(_CHUNK):
        total += len(chunk)
        if total > rules.max_bytes:
            raise InvalidFrame(Reason.TOO_LARGE, f"more than {rules.max_bytes} bytes")
        digest.update(chunk)
        kept += chunk
        if total > IN_MEMORY_BYTES:
            _write(file, kept)
            kept.clear()
    if total <= IN_MEMORY_BYTES:
        return Fetched(digest.digest(), bytes(kept))
    return Fetched(digest.digest(), path)


def _write(file: IO[bytes], data: bytearray) -> None:
    try:
        file.write(data)
        file.flush()
    except OSError as error:
        raise DependencyError(f"temporary file in {tempfile.gettempdir()}: {error.strerror}") from error


@contextmanager
def _stored(uri: str) -> Iterator[_Readable]:
    """Open an object of a store, such as s3."""
    import fsspec

    try:
        with fsspec.open(uri, "rb") as file:
            yield file
    except PipelineError:
        raise
    except ImportError as error:
        raise InvalidFrame(Reason.FETCH, f"this scheme needs {missing(uri, error)}") from error
    except Exception as error:  # every store has errors of its own
        raise InvalidFrame(Reason.FETCH, f"{type(error).__name__}: {error}") from error


@contextmanager
def _answer(parts: SplitResult, rules: Rules) -> Iterator[http.client.HTTPResponse]:
    """Ask a host; what it does not send in time is cut off."""
    deadline = time.monotonic() + rules.seconds
    connection: http.client.HTTPConnection | None = None
    answer: http.client.HTTPResponse | None = None
    try:
        connection = open_connection(parts, rules.seconds, rules.private, "NEARDUP_FETCH_PRIVATE")
        with cut_after(connection, deadline - time.monotonic()) as cut:
            begin(connection)
            connection.request(
                "GET", target_of(parts), headers={"Accept-Encoding": "identity", "User-Agent": "neardup"}
            )
            answer = connection.getresponse()
            if 300 <= answer.status < 400:
                raise InvalidFrame(Reason.FORBIDDEN, f"status {answer.status}: redirects are not followed")
            if answer.status != 200:
                raise InvalidFrame(Reason.FETCH, f"status {answer.status}")
            if answer.length is not None and answer.length > rules.max_bytes:
                raise InvalidFrame(Reason.TOO_LARGE, f"{answer.length} bytes, at most {rules.max_bytes} are read")
            yield answer
            if cut.passed:  # an answer that does not say how long it is seems to end there
                raise TimeoutError
            if answer.length:
                raise InvalidFrame(Reason.FETCH, f"the answer ended {answer.length} bytes early")
    except (OSError, http.client.HTTPException) as error:
        late = time.monotonic() >= deadline or isinstance(error, TimeoutError)
        detail = f"no answer within {rules.seconds:g} s" if late else f"{type(error).__name__}: {error}"
        raise InvalidFrame(Reason.FETCH, detail) from error
    finally:
        if answer is not None:
            answer.close()
        if connection is not None:
            connection.close()
