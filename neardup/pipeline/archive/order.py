"""All rows of an archive in order of time, then path, as a scan takes files; memory does not grow with the archive.

Shards follow the order in which sources were listed, which is not that of time. So rows, without their pictures, go to
files of this machine, each for a stretch of time that fits in memory, and these are sorted one after the other. A row
without a time comes last: it may be an original nowhere.
"""

from __future__ import annotations

import tempfile
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from neardup.pipeline.archive.folder import Folder
from neardup.pipeline.archive.row import PICTURES, Row, from_columns, make_schema
from neardup.pipeline.archive.shard import GROUP_ROWS, count_rows, reading
from neardup.pipeline.errors import DependencyError

STRETCH_ROWS = 20_000
"""Rows of a stretch, or more where there are MOST_STRETCHES."""
MOST_STRETCHES = 256
_SAMPLED = 64
"""Rows of each stretch of which the borders between stretches are found."""
_NEVER = np.iinfo(np.int64).max
_KEYS = ["time_ns", "path"]


class Placed(NamedTuple):
    """A row without pictures, and where it is: the number of its shard among the names given, its place in that."""

    row: Row
    shard: int
    place: int


def in_order(
    folder: Folder,
    names: Sequence[str],
    space: str,
    stretch_rows: int = STRETCH_ROWS,
    alive: Callable[[], object] = lambda: None,
) -> Generator[Placed]:
    """Yield all rows of some shards, the earliest first; of equal times the path decides, by its bytes.

    Args:
        alive: called again and again before the first row comes; what it raises ends the work.
    Raises:
        ConfigError: a shard is of another space, or is damaged. DependencyError: one cannot be read, or the disk with
            temporary files is full.
    """
    with tempfile.TemporaryDirectory(prefix="neardup-") as scratch:
        try:
            for stretch in _stretches(folder, names, space, stretch_rows, Path(scratch), alive):
                yield from _sorted(stretch)
                stretch.unlink()
        except OSError as error:
            raise DependencyError(f"{scratch}: cannot sort the archive there: {error}") from error


def _stretches(
    folder: Folder, names: Sequence[str], space: str, stretch_rows: int, scratch: Path, alive: Callable[[], object]
) -> list[Path]:
    """Return files of rows, each with all that come between those of the file before and those of the file after."""
    borders = _borders(folder, names, space, stretch_rows, alive)
    paths = [scratch / f"{number}.arrow" for number in range(len(borders) + 1)]
    with ExitStack() as stack:
        writers: list[Any] = []
        for shard_number, name in enumerate(names):
            with reading(folder, name, space) as shard:
                schema = make_schema(shard.conditions.dimension)
                columns = [field for field in schema.names if field not in PICTURES]
                place = 0
                for batch in shard.batches(columns):
                    alive()
                    rows = _placed(batch, shard_number, place)
                    place += len(batch)
                    if not writers:
                        writers += [stack.enter_context(pa.ipc.new_stream(str(path), rows.schema)) for path in paths]
                    chosen = np.array([bisect_right(borders, key) for key in _keys(batch)])
                    for number in np.unique(chosen).tolist():
                        writers[number].write_batch(rows.take(pa.array(np.flatnonzero(chosen == number))))
    return paths if writers else []


def _placed(batch: pa.RecordBatch, shard: int, place: int) -> pa.RecordBatch:
    """Return rows with the place of each; words are plain text, for dictionaries of shards differ."""
    columns = {
        name: column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }
    columns["shard"] = pa.array(np.full(len(batch), shard, np.int32))
    columns["place"] = pa.array(np.arange(place, place + len(batch), dtype=np.int32))
    return pa.RecordBatch.from_pydict(columns)


def _borders(
    folder: Folder, names: Sequence[str], space: str, stretch_rows: int, alive: Callable[[], object]
) -> list[tuple[int, bytes]]:
    """Return the first keys of all stretches but the first, of about as many rows each."""
    total = count_rows(folder, names, space, alive)
    count = min(-(-total // stretch_rows), MOST_STRETCHES)
    if count < 2:
        return []
    every = max(1, total // (count * _SAMPLED))
    sample: list[tuple[int, bytes]] = []
    seen = 0
    for name in names:
        with reading(folder, name, space) as shard:
            for batch in shard.batches(_KEYS):
                alive()
                sample += _keys(batch)[-seen % every :: every]
                seen += len(batch)
    sample.sort()
    return [sample[len(sample) * number // count] for number in range(1, count)]


def _keys(batch: pa.RecordBatch) -> list[tuple[int, bytes]]:
    times = pc.fill_null(batch.column("time_ns"), _NEVER)
    return list(zip(times.to_pylist(), batch.column("path").to_pylist(), strict=True))


def _sorted(stretch: Path) -> Iterator[Placed]:
    with pa.memory_map(str(stretch)) as source, pa.ipc.open_stream(source) as reader:
        table = reader.read_all()
        keys = pa.table({"time_ns": pc.fill_null(table["time_ns"], _NEVER), "path": table["path"]})
        order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in _KEYS])
        for start in range(0, len(order), GROUP_ROWS):
            for values in table.take(order[start : start + GROUP_ROWS]).to_pylist():
                yield Placed(from_columns(values), values["shard"], values["place"])
