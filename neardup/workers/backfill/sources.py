"""Sources listed, and cut into parts: folders, object stores, URIs, tar files, and Parquet with bytes or URIs.

Ids are those of `neardup ingest`: an archive that is described here and one that is sent have the same. A tar file is a
part, and so is each group of rows of a Parquet file: what is in them is read where they are described.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from neardup.pipeline.archive.folder import path_of
from neardup.pipeline.archive.plan import Entry, Files, Part, RowGroup, Tar, fitting
from neardup.pipeline.errors import ConfigError, DependencyError, Reason
from neardup.pipeline.log.ids import make_id
from neardup.pipeline.report.names import raw, readable, visible
from neardup.pipeline.scan.walk import Found, Identity, PutAside, identities, walk
from neardup.workers.ingest.names import below, check_names, composed, root_name, split
from neardup.workers.ingest.objects import Objects

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
TABLE = ".parquet"
CONTENTS = ("content", "bytes", "image", "jpg", "uri", "url")
"""Columns of a Parquet file that are looked for, where none is named."""
PART_BYTES = 8 * 2**30
"""Of files, beyond which a part is closed: a long film costs as much as thousands of pictures."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns of Parquet files: contents or URIs, ids and times; "" chooses."""

    content: str = ""
    ids: str = ""
    times: str = ""


class Sources:
    """What the user named.

    Attributes:
        names: URIs, below which all that is listed lies. columns: that were named; none if none was.

    Args:
        leave_out: folders of this machine that are not entered. output: URL of the archive, which is not entered.
    Raises:
        ConfigError: a source does not exist or is the output, or two have the same name, so that ids could meet.
        DependencyError: an object store failed.
    """

    def __init__(
        self, arguments: Sequence[str], columns: Columns, leave_out: Set[Identity] = frozenset(), output: str = ""
    ) -> None:
        self._paths, urls, self._uris = split(arguments)
        missing = next((path for path in self._paths if not path.exists()), None)
        if missing is not None:
            raise ConfigError(f"{visible(os.fspath(missing))} does not exist; name a folder or file")
        self._stores = [Objects(url) for url in urls]
        check_names(self._paths, self._stores, "rename one, or name a folder that holds both")
        if not leave_out.isdisjoint(identities(self._paths)) or output in [store.url for store in self._stores]:
            raise ConfigError(
                "the output is a source itself, and would be left out; name a folder below it, or another"
            )
        self._columns, self._leave_out, self._output = columns, leave_out, output
        self.columns = (columns.content, columns.ids, columns.times) if columns != Columns() else ()
        roots = [Path(os.path.abspath(path)).as_uri() for path in self._paths]  # noqa: PTH100
        self.names = (*roots, *(store.url for store in self._stores), *self._uris)

    def parts(self, most_items: int) -> Iterator[Part]:
        """Yield all parts, the same for the same contents of the sources.

        Raises:
            ConfigError: a Parquet file has no column with contents. DependencyError: a source cannot be listed.
        """
        entries: list[Entry] = []
        size = 0
        for entry in self._entries():
            place = urlsplit(entry.uri).path.lower()
            if not entry.reason and place.endswith(TARS):
                yield Tar(entry)
            elif not entry.reason and place.endswith(TABLE):
                yield from self._groups(entry)
            else:
                entries.append(entry)
                size += entry.size or 0
                if len(entries) >= most_items or size >= PART_BYTES:
                    yield Files(tuple(entries))
                    entries, size = [], 0
        if entries:
            yield Files(tuple(entries))

    def _entries(self) -> Iterator[Entry]:
        several = len(self._paths) + sum(not store.single for store in self._stores) > 1
        for path in self._paths:
            prefix = f"{root_name(path)}/" if several and path.is_dir() else ""
            for found in walk([path], self._leave_out):
                yield _of_file(found, make_id(prefix + below(found.path, path)))
        for store in self._stores:
            prefix = f"{store.name}/" if several else ""
            for one in store:
                if self._output and one.uri.startswith(f"{self._output}/"):
                    continue
                id = make_id(prefix + composed(one.name, store) if one.name else one.uri)
                entry = Entry(id, one.uri, raw(one.uri), fitting(one.size), fitting(one.time_ns), one.stamp)
                if "::" in one.uri:
                    detail = "two colons in a URI, which fsspec takes for two URIs"
                    entry = msgspec.structs.replace(entry, reason=Reason.FORBIDDEN.value, detail=detail)
                yield entry
        for uri in self._uris:
            yield Entry(make_id(uri), uri, raw(uri))

    def _groups(self, entry: Entry) -> Iterator[Part]:
        with opened(entry.uri) as file:
            try:
                table = pq.ParquetFile(file)
            except pa.ArrowInvalid as error:
                damaged = msgspec.structs.replace(entry, reason=Reason.DECODE.value, detail=f"Parquet: {error}")
                yield Files((damaged,))
                return
            names, wanted = table.schema_arrow.names, self._columns
            content = wanted.content or next((name for name in CONTENTS if name in names), "")
            for name in (content, wanted.ids, wanted.times):
                if name not in ("", *names) or not content:
                    there, sought = ", ".join(names), name or " or ".join(CONTENTS)
                    raise ConfigError(f"{visible(entry.uri)} has the columns {there}; wanted {sought}")
            ids = wanted.ids or ("id" if "id" in names else "")
            first = 0
            for number in range(table.metadata.num_row_groups):
                yield RowGroup(entry, number, first, content, ids, wanted.times)
                first += table.metadata.row_group(number).num_rows


def _of_file(found: Found | PutAside, id: str) -> Entry:
    uri, path = Path(found.absolute).as_uri(), raw(found.path)
    if isinstance(found, PutAside):
        return Entry(id, uri, path, reason=found.reason.value, detail=readable(found.detail))
    return Entry(id, uri, path, found.size, fitting(found.modified), str(found.modified))


def opened(uri: str) -> Any:
    """Return a context with a file of this machine, or an object of a store, open for reading anywhere in it.

    Raises:
        DependencyError: it cannot be opened.
    """
    try:  # fsspec takes a file's path literally, signs of URIs and all
        return open(path_of(uri), "rb") if uri.startswith("file:") else fsspec.open(uri, "rb").open()  # noqa: PTH123
    except Exception as error:  # every store has errors of its own
        raise DependencyError(f"{uri}: {type(error).__name__}: {error}") from error
