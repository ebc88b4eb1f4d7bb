"""Shards: Parquet files of rows, under conditions that their metadata names."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from neardup.pipeline.archive.conditions import FORMAT, Conditions
from neardup.pipeline.archive.folder import Folder
from neardup.pipeline.archive.row import PICTURES, Row, from_columns, make_schema, to_columns
from neardup.pipeline.errors import ConfigError, DependencyError

SHARDS = "shards"
"""Folder of the shards below that of the archive."""
SUFFIX = ".parquet"
GROUP_ROWS = 1000
"""Rows that are written, and read, at once: all groups of a shard but the last have so many, in every archive."""
_CONDITIONS, _COUNTS = b"neardup.conditions", b"neardup.counts"
_WORDS = ["reason", "kind", "format", "similar_space"]
_ORDERED = ["id", "time_ns", "size", *_WORDS]


class Counts(msgspec.Struct, frozen=True):
    """How many items a shard holds, and how many of them have no description."""

    items: int = 0
    failed: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.items + other.items, self.failed + other.failed)


def place_of(name: str) -> str:
    """Return where a shard lies below the archive's folder."""
    return f"{SHARDS}/{name}{SUFFIX}"


class Writer:
    """Writes a shard to a file of this machine; see `writing`. Memory does not grow with the shard.

    Attributes:
        counts: of what was added so far.
    """

    def __init__(self, file: Path, conditions: Conditions) -> None:
        self._schema = make_schema(conditions.dimension).with_metadata({_CONDITIONS: msgspec.json.encode(conditions)})
        self._file = pq.ParquetWriter(
            file,
            self._schema,
            use_dictionary=_WORDS,
            write_statistics=_ORDERED,
            compression={name: "none" if name in PICTURES else "zstd" for name in _leaves(self._schema)},
            store_schema=True,
        )
        self._rows: list[dict[str, Any]] = []
        self.counts = Counts()

    def add(self, row: Row) -> None:
        """Add a row. Those of a group are written in order of time, then id, whatever was described first."""
        self._rows.append(to_columns(row))
        self.counts += Counts(1, int(row.error is not None))
        if len(self._rows) == GROUP_ROWS:
            self._write()

    def finish(self) -> None:
        """Write what is left."""
        if self._rows:
            self._write()
        self._file.add_key_value_metadata({_COUNTS: msgspec.json.encode(self.counts)})
        self._file.close()

    def abandon(self) -> None:
        """Close an unfinished file."""
        self._file.close()

    def _write(self) -> None:
        self._rows.sort(key=lambda row: (row["time_ns"] is None, row["time_ns"] or 0, row["id"]))
        self._file.write_table(pa.Table.from_pylist(self._rows, self._schema))
        self._rows = []


@contextmanager
def writing(folder: Folder, name: str, conditions: Conditions) -> Iterator[Writer]:
    """Open a shard for writing; it stands in the folder once the block has ended, and not at all if that fails.

    Raises:
        DependencyError: the disk is full, or the folder cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="neardup-") as scratch:
        file = Path(scratch) / "shard"
        try:
            writer = Writer(file, conditions)
            try:
                yield writer
            except BaseException:
                writer.abandon()
                raise
            writer.finish()
        except OSError as error:
            raise DependencyError(f"{scratch}: cannot write a shard: {error}") from error
        folder.put(place_of(name), file)


class Shard:
    """A finished shard; see `reading`.

    Attributes:
        name: without folder and suffix.
    """

    def __init__(self, file: pq.ParquetFile, name: str, folder: Folder) -> None:
        self._file, self._folder, self.name = file, folder, name
        place = f"{folder.url}/{place_of(name)}"
        metadata = file.metadata.metadata or {}
        try:
            self.conditions = msgspec.json.decode(metadata[_CONDITIONS], type=Conditions)
            self.counts = msgspec.json.decode(metadata[_COUNTS], type=Counts)
        except (KeyError, msgspec.MsgspecError) as error:
            raise ConfigError(f"{place} is no shard of an archive, or was written by a later version") from error
        if self.conditions.format != FORMAT:
            raise ConfigError(f"{place} has format {self.conditions.format}, this version of neardup reads {FORMAT}")

    def rows(self, pictures: bool = False) -> Iterator[Row]:
        """Yield the rows in the order in which they were written; raises DependencyError where they cannot be read.

        Args:
            pictures: whether with thumbnails and packs, which are most of a file.
        """
        columns = [field for field in self._file.schema_arrow.names if pictures or field not in PICTURES]
        for batch in self.batches(columns):
            yield from map(from_columns, batch.to_pylist())

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield some columns of the rows, GROUP_ROWS at a time; raises DependencyError where they cannot be read."""
        batches = self._file.iter_batches(GROUP_ROWS, columns=columns)
        while True:
            with self._folder.reading(place_of(self.name)):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def group_of(self, row: int, columns: Sequence[str]) -> pa.Table:
        """Return some columns of the GROUP_ROWS rows that one of them stands among, by its place in the shard.

        Raises:
            DependencyError: they cannot be read.
        """
        with self._folder.reading(place_of(self.name)):
            return self._file.read_row_group(row // GROUP_ROWS, columns=columns)


@contextmanager
def reading(folder: Folder, name: str, space: str | None = None) -> Iterator[Shard]:
    """Open a shard.

    Args:
        space: that in which it must have been described; None takes any.
    Raises:
        ConfigError: it is no shard, is damaged, of a later format, or of another space; the message names it.
        DependencyError: it cannot be read.
    """
    place = place_of(name)
    with folder.opened(place) as file:
        try:
            opened = pq.ParquetFile(file)
        except pa.ArrowInvalid as error:
            raise ConfigError(f"{folder.url}/{place} is no shard, or is damaged: {error}") from error
        with opened:
            shard = Shard(opened, name, folder)
            if space is not None:
                shard.conditions.check_space(space, f"{folder.url}/{place}")
            yield shard


def shard_names(folder: Folder) -> list[str]:
    """Return the names of all finished shards, sorted; raises DependencyError."""
    return [name.removesuffix(SUFFIX) for name in folder.names(SHARDS) if name.endswith(SUFFIX)]


def count_rows(folder: Folder, names: Sequence[str], space: str, alive: Callable[[], object]) -> int:
    """Return how many rows some shards have together; raises as `reading`.

    Args:
        alive: called after each shard; what it raises ends the work.
    """
    rows = 0
    for name in names:
        with reading(folder, name, space) as shard:
            rows += shard.counts.items
        alive()
    return rows


def _leaves(schema: pa.Schema) -> list[str]:
    """Return Parquet's own names of the columns."""
    return [f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name for field in schema]
