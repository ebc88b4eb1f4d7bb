"""The items of a part, ready for the describing engine."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import posixpath
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from neardup.pipeline.archive.folder import path_of
from neardup.pipeline.archive.plan import Entry, Files, Part, RowGroup, Tar, fitting
from neardup.pipeline.archive.row import Row
from neardup.pipeline.describe.description import Description
from neardup.pipeline.errors import DependencyError, InvalidFrame, NoRoom, Reason
from neardup.pipeline.log.ids import make_id
from neardup.pipeline.media.fetch import IN_MEMORY_BYTES, Fetched, Rules, fetch
from neardup.pipeline.report.names import raw, visible
from neardup.pipeline.scan.sources import FileTask
from neardup.pipeline.scan.walk import Found
from neardup.pipeline.types import Media
from neardup.workers.backfill.sources import opened

_SMALL_BYTES = 2**20
_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}
_FOREVER_SECONDS = 1e12
_COPY_BYTES = 2**24
_MOST_KEPT_FREE = 2**30
_ROWS = 64
"""Rows of a Parquet file that are in memory at once."""


class Content(Protocol):
    """Where the bytes of an item come from; may be pickled."""

    def opened(self) -> AbstractContextManager[Fetched]:
        """Return them while the context lasts; raises InvalidFrame where they cannot be had."""

    def check_end(self) -> None:
        """Raise InvalidFrame if they are no longer what was opened."""


class _Unchanging:
    def check_end(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Inline(_Unchanging):
    """Bytes at hand."""

    data: bytes

    def opened(self) -> AbstractContextManager[Fetched]:
        return nullcontext(Fetched(hashlib.sha256(self.data).digest(), self.data))


@dataclass(frozen=True, slots=True)
class ByUri(_Unchanging):
    """What a URI leads to."""

    uri: str
    rules: Rules

    def opened(self) -> AbstractContextManager[Fetched]:
        return fetch(self.uri, None, self.rules)


@dataclass(frozen=True, slots=True)
class Member(_Unchanging):
    """A stretch of a file of this machine: a member of a tar file."""

    path: str
    start: int
    size: int

    @contextmanager
    def opened(self) -> Iterator[Fetched]:
        try:
            with open(self.path, "rb", buffering=0) as file:  # noqa: PTH123
                file.seek(self.start)
                if self.size <= IN_MEMORY_BYTES:
                    data = file.read(self.size)
                    self._check_size(len(data))
                    yield Fetched(hashlib.sha256(data).digest(), data)
                    return
                with tempfile.NamedTemporaryFile(prefix="neardup-") as whole:
                    digest, left = hashlib.sha256(), self.size
                    while left and (chunk := file.read(min(left, 2**20))):
                        digest.update(chunk)
                        whole.write(chunk)
                        left -= len(chunk)
                    self._check_size(self.size - left)
                    whole.flush()
                    yield Fetched(digest.digest(), Path(whole.name))
        except OSError as error:
            raise InvalidFrame(Reason.UNREADABLE, error.strerror or type(error).__name__) from error

    def _check_size(self, found: int) -> None:
        if found < self.size:
            raise InvalidFrame(Reason.TRUNCATED, f"the tar file ends after {found} of its {self.size} bytes")


@dataclass(slots=True)
class ItemTask:
    """What decoding an item needs, see `describe.source.Task`; pictures stay with it until there is a description."""

    content: Content
    packed: bool
    _thumbnail: bytes = b""
    _pack: bytes = b""

    def opened(self) -> AbstractContextManager[Fetched]:
        return self.content.opened()

    def check(self, media: Media) -> None:
        """Take whatever can be opened."""

    def check_end(self) -> None:
        self.content.check_end()

    def keep(self, jpeg: bytes, sha256: bytes) -> str:
        del sha256
        self._thumbnail = jpeg
        return ""

    def keep_pack(self, pack: bytes, sha256: bytes) -> None:
        del sha256
        self._pack = pack

    def result(self, description: Description) -> tuple[Description, bytes, bytes]:
        """Return the description, the thumbnail and the pack."""
        return description, self._thumbnail, self._pack


@dataclass(eq=False, slots=True)
class Item:
    """An item, see `describe.source.Source`.

    Attributes:
        row: what is known of it beforehand; with an error, if that is all there will be.
        part: number of the part that it is of. attempts: how often it was tried.
    """

    row: Row
    task: ItemTask
    small: bool = True
    part: int = 0
    attempts: int = 1
    traceparent: str = ""
    sender: Hashable = None
    owner: str = ""
    gone: bool = False

    def finished(self, result: Any, sha256: bytes, error: InvalidFrame | None) -> Row:
        """Return the item's row."""
        if error is not None:
            return replace(self.row, sha256=sha256, error=error)
        description, thumbnail, pack = result
        return replace(self.row, sha256=sha256, description=description, thumbnail=thumbnail, pack=pack)


@contextmanager
def items_of(part: Part, packed: bool, rules: Rules) -> Iterator[Iterator[Row | Item]]:
    """Yield the items of a part, and rows of what cannot be described, while the context lasts.

    Bad content raises nothing.

    Args:
        packed: whether packs are wanted.
        rules: what may be read by URI.
    Raises:
        DependencyError: a tar or Parquet file cannot be read, or there is no room to unpack it.
    """
    with ExitStack() as files:
        if isinstance(part, Files):
            yield (_listed(entry, packed, rules) for entry in part.entries)
        elif isinstance(part, Tar):
            yield _members(part.entry, packed, files)
        else:
            yield _rows(part, files, packed, rules)


def _listed(entry: Entry, packed: bool, rules: Rules) -> Row | Item:
    row = Row(entry.id, entry.uri, entry.path.decode("utf-8", "surrogateescape"), entry.time_ns, entry.size)
    if entry.reason:
        return replace(row, error=InvalidFrame(Reason(entry.reason), entry.detail))
    content: Content
    if entry.stamp and entry.uri.startswith("file:"):
        path = path_of(entry.uri)
        content = FileTask(Found(row.path, path, entry.size or 0, int(entry.stamp)))
    else:
        content = ByUri(entry.uri, rules)
    return Item(row, ItemTask(content, packed), small=(entry.size or 0) <= _SMALL_BYTES)


# -- tar ---------------------------------------------------------------------------------------------------------------


def _members(entry: Entry, packed: bool, files: ExitStack) -> Iterator[Row | Item]:
    """Yield the members of a tar file, and a row of the file itself where it is damaged."""
    last: dict[str, tarfile.TarInfo] = {}
    damage = path = ""
    try:
        path = files.enter_context(_plain(entry.uri))
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.size < 0:  # the next one would come before it, and so on for ever
                    raise tarfile.ReadError(f"a member of {member.size} bytes")
                # of two with one name the later replaces the other
                last[posixpath.normpath(member.name).lstrip("/")] = member
    except (
        tarfile.TarError,
        EOFError,
        OverflowError,
        ValueError,
        gzip.BadGzipFile,
        lzma.LZMAError,
        zlib.error,
    ) as error:
        damage = f"tar: {type(error).__name__}: {error}"
    except OSError as error:
        raise DependencyError(f"{entry.uri} cannot be read: {error}") from error
    base = entry.path.decode("utf-8", "surrogateescape")
    for name, member in last.items():
        if member.isdir():
            continue
        row = Row(
            id=make_id(f"{entry.id}/{name}"),
            uri=f"{entry.uri}#{quote(raw(name))}",
            path=f"{base}/{name}",
            time_ns=_nanoseconds(member.mtime) or entry.time_ns,
            size=fitting(member.size),
        )
        if member.isreg() and not member.issparse():
            content = Member(path, member.offset_data, member.size)
            yield Item(row, ItemTask(content, packed), small=member.size <= _SMALL_BYTES)
        else:
            yield replace(row, error=InvalidFrame(Reason.NOT_A_FILE, "a link, a pipe, a device or a file with holes"))
    if damage:
        reason = InvalidFrame(Reason.DECODE, damage)
        yield Row(entry.id, entry.uri, base, entry.time_ns, entry.size, error=reason)


@contextmanager
def _plain(uri: str) -> Iterator[str]:
    """Yield the path of a tar file on this machine that is not compressed: itself, or a copy.

    Raises:
        NoRoom: the copy would fill the disk for temporary files.
    """
    name = urlsplit(uri).path.lower()
    if uri.startswith("file:") and name.endswith(".tar"):
        yield path_of(uri)
        return
    with opened(uri) as file, tempfile.NamedTemporaryFile(prefix="neardup-", suffix=".tar") as copy:
        source: Any = file
        if name.endswith(("gz", ".tgz")):
            source = gzip.GzipFile(fileobj=file)
        elif name.endswith(".xz"):
            source = lzma.LZMAFile(file)  # noqa: SIM115 (closing it would close `file`)
        elif name.endswith(".bz2"):
            source = bz2.BZ2File(file)
        while chunk := source.read(_COPY_BYTES):
            _check_room(uri, copy.tell())
            copy.write(chunk)
        copy.flush()
        yield copy.name


def _check_room(uri: str, unpacked: int) -> None:
    """Raise NoRoom unless the disk for temporary files has room: others need some, too."""
    folder = tempfile.gettempdir()
    disk = shutil.disk_usage(folder)
    kept = min(_MOST_KEPT_FREE, disk.total // 20)
    if disk.free < kept + _COPY_BYTES:
        raise NoRoom(
            f"{visible(uri)} needs a copy in {folder}, where {disk.free / 2**20:,.0f} MiB are free after "
            f"{unpacked / 2**20:,.0f} MiB of it: let TMPDIR name a folder on a larger disk, "
            "unpack the file into a folder yourself, or leave it out"
        )


# -- Parquet -----------------------------------------------------------------------------------------------------------


def _rows(part: RowGroup, files: ExitStack, packed: bool, rules: Rules) -> Iterator[Row | Item]:
    """Yield the rows of a group, and a row of the file where it is damaged."""
    entry, number = part.entry, part.first
    base = entry.path.decode("utf-8", "surrogateescape")
    columns = [name for name in (part.content, part.ids, part.times) if name]
    try:
        file = files.enter_context(opened(entry.uri))
        batches = pq.ParquetFile(file).iter_batches(_ROWS, row_groups=[part.group], columns=columns)
        for values in (values for batch in batches for values in _values(batch, part.times)):
            own = values[part.ids] if part.ids else None
            row = Row(
                id=make_id(f"{entry.id}/{number}" if own is None else str(own)),
                uri=f"{entry.uri}#{number}",
                path=f"{base}/{number}",
                time_ns=_time(values[part.times]) if part.times else entry.time_ns,
            )
            number += 1
            content, size = _content(values[part.content], rules)
            if isinstance(content, ByUri):
                row = replace(row, uri=content.uri)
            if content is None:
                yield replace(row, error=InvalidFrame(Reason.EMPTY, f"no bytes and no URI in column {part.content}"))
            else:
                yield Item(replace(row, size=size), ItemTask(content, packed), small=(size or 0) <= _SMALL_BYTES)
    except (pa.ArrowException, IndexError, KeyError) as error:  # it is another file than the one that was listed
        damage = InvalidFrame(Reason.DECODE, f"Parquet, row {number}: {error}")
        yield Row(entry.id, entry.uri, base, entry.time_ns, entry.size, error=damage)
    except OSError as error:
        raise DependencyError(f"{entry.uri} cannot be read: {error}") from error


def _content(value: Any, rules: Rules) -> tuple[Inline | ByUri | None, int | None]:
    """Return what a cell holds: bytes, a URI, or a struct with `bytes` or `path`, as data sets of pictures have it."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str):
        return ByUri(value, rules), None
    return (Inline(value), len(value)) if value and isinstance(value, bytes) else (None, None)


def _values(batch: pa.RecordBatch, times: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a batch; timestamps of the column with times as nanoseconds: `datetime` is coarser."""
    kind = batch.schema.field(times).type if times else pa.null()
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        yield from batch.to_pylist()
        return
    whole = batch.column(times)
    if pa.types.is_date(kind):
        whole = whole.cast(pa.timestamp("ms"))
    unit = _NANOSECONDS[whole.type.unit]
    numbers = whole.cast(pa.int64()).to_pylist()
    rest = batch.drop_columns([times]).to_pylist()
    for values, number in zip(rest, numbers, strict=True):
        yield values | {times: None if number is None else _Nanoseconds(number * unit)}


class _Nanoseconds(int):
    """Since 1970; other numbers in a column with times are seconds."""


def _time(value: Any) -> int | None:
    """Return nanoseconds since 1970."""
    if isinstance(value, _Nanoseconds):
        return fitting(int(value))
    return _nanoseconds(value) if isinstance(value, int | float) else None


def _nanoseconds(seconds: float) -> int | None:
    """Return nanoseconds, None of what is no time."""
    return fitting(int(seconds * 1e9)) if abs(seconds) < _FOREVER_SECONDS else None
