"""Snapshots of a state, each good for one offset of the log.

    <folder>/vectors                      the append-only file of all descriptors, shared by the snapshots
    <folder>/similar                      that of the similar head's vectors, see `similars`
    <folder>/snapshot-<offset>/           see `index.snapshot`: a manifest with the checksum of each file of
        tables.msgpack                    items, parts under way, live videos, removed ids, the CRC of vectors in use
        in-use.npy                        whether each row belongs to an item that is held, or under way
        similar-in-use.npy                whether each row of the similar vectors belongs to an item that is held
        rows/<column>.npy                 the columns of `Rows`; what describes a picture is blank where not in use
        searcher/                         of the index, if it has one; the rest of the index is made anew

The vector file may be ahead of a snapshot, since it grows with every record: `load` cuts it back to the rows that the
snapshot knows. Two snapshots are kept; one that is damaged or of another space is passed over for the one before.
A vector that no kept snapshot uses is erased in the file: one that was taken down, at the second snapshot after that.
"""

from __future__ import annotations

import gc
import logging
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import ConfigError, PipelineError
from neardup.pipeline.files import fsync_folder, naming
from neardup.pipeline.index import Index
from neardup.pipeline.index.snapshot import MANIFEST, read_snapshot, write_snapshot
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.records import NOTHING
from neardup.pipeline.match.apply.state import Parts, State
from neardup.pipeline.match.compare.banks import BankSettings, Kept, decode_calibration
from neardup.pipeline.match.compare.reviews import Judged
from neardup.pipeline.match.data.items import Item, Items, Rows
from neardup.pipeline.match.data.pending import Pending
from neardup.pipeline.match.data.undecided import LaterAsk, Undecided
from neardup.pipeline.match.decide.evidence import NEIGHBOURS, make_cohort
from neardup.pipeline.match.live.videos import Live

logger = logging.getLogger(__name__)
VECTORS = "vectors"
KEPT = 2
_VERSION = 5
_WITHOUT_COHORTS = 4
"""The version before: read, too, as its log may have been trimmed."""
_NAME = re.compile(r"snapshot-(\d{20})")
_TABLES = "tables.msgpack"
_IN_USE, _SIMILAR_IN_USE = "in-use.npy", "similar-in-use.npy"
_SEARCHER = "searcher"
_OF_PICTURES = ("hash", "cohort_similarity")
"""Columns of `Rows` that are computed from pixels."""


class _Tables(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot holds besides arrays; items are in the order in which they were taken in."""

    version: int = _VERSION
    offset: int
    vectors: int
    vectors_crc32: int
    items: list[Item]
    numbers_given: int
    pending: dict[str, Pending]
    removed: list[str]
    live: list[Live]
    settings: BankSettings = msgspec.field(default_factory=lambda: BankSettings(SEEN))
    banks: list[Kept] = []
    deleted: list[str] = []
    judged: list[Judged] = []
    undecided: list[Undecided] = []
    later: list[LaterAsk] = []
    similar: int = 0
    similar_crc32: int = 0
    similar_space: str = ""


class Snapshots:
    """The snapshots of one state in a folder that no other process uses.

    Args:
        reached: called with the name of each point where a crash leaves the disk differently, for tests.
    """

    def __init__(self, folder: Path, reached: Callable[[str], object] = lambda _: None) -> None:
        self._folder = folder
        self._reached = reached

    def sync(self, state: State) -> None:
        """Wait until the vectors so far are on the disk, so that `flush` finds little to do; from any thread.

        Raises:
            DependencyError: the disk is full or failed.
        """
        _vector_file(state).sync()
        if state.similars is not None:
            state.similars.vectors.sync()

    def flush(self, state: State) -> None:
        """Make the vectors durable, which `save` begins with.

        Raises:
            DependencyError: the disk is full or failed.
        """
        _vector_file(state).flush()
        if state.similars is not None:
            state.similars.vectors.flush()
        self._reached("vectors-flushed")

    def save(self, state: State, offset: int) -> None:
        """Write down a state that stands for the log up to and with an offset; then drop all but the newest.

        Raises:
            DependencyError: the disk is full or failed; the former snapshots still stand.
        """
        parts, vectors = state.parts(), _vector_file(state)
        self.flush(state)
        in_use = _in_use(parts)
        similars = state.similars
        similar_in_use = np.zeros(0, np.bool_) if similars is None else similars.in_use(parts.items)
        tables = _Tables(
            offset=offset,
            vectors=len(vectors),
            vectors_crc32=vectors.checksum(in_use),
            items=list(parts.items),
            numbers_given=parts.items.numbers_given,
            pending=parts.pending,
            removed=sorted(parts.removed),
            live=parts.live,
            settings=parts.settings,
            banks=parts.banks,
            deleted=sorted(parts.deleted),
            judged=parts.judged,
            undecided=parts.undecided,
            later=parts.later,
            similar=len(similar_in_use),
            similar_crc32=0 if similars is None else similars.vectors.checksum(similar_in_use),
            similar_space="" if similars is None else similars.space,
        )

        def fill(data: Path) -> None:
            (data / _TABLES).write_bytes(msgspec.msgpack.encode(tables))
            (data / "rows").mkdir()
            for name, column in parts.rows.columns().items():
                blank = name in _OF_PICTURES and not in_use.all()
                np.save(data / "rows" / f"{name}.npy", _blanked(column, in_use) if blank else column)
            np.save(data / _IN_USE, in_use)
            np.save(data / _SIMILAR_IN_USE, similar_in_use)
            self._reached("snapshot-half-written")
            parts.index.save(data / _SEARCHER)
            self._reached("snapshot-written")

        try:
            write_snapshot(self._path(offset), vectors.dimension, vectors.space, fill)
        except PipelineError:
            self._drop_unfinished()
            raise
        with naming(self._folder, "fsync"):
            fsync_folder(self._folder)
        self._reached("snapshot-named")
        kept = [self._path(offset) for offset in self.offsets()[:KEPT]]
        for path in self._folder.iterdir():
            if _NAME.fullmatch(path.name) and path not in kept:
                shutil.rmtree(path, ignore_errors=True)
        self._erase(vectors, kept, _IN_USE)
        if similars is not None:
            self._erase(similars.vectors, kept, _SIMILAR_IN_USE)

    def load(self, state: State) -> int:
        """Bring an empty state over this folder's vector file to the newest snapshot that is whole.

        Returns:
            the offset that the state now stands for; NOTHING, with an empty state, if there is no usable snapshot.
        """
        vectors = _vector_file(state)
        self._drop_unfinished()
        for offset in self.offsets():
            try:
                with _without_collector():
                    self._load(state, vectors, offset)
            except PipelineError as error:
                logger.error("snapshot passed over offset=%d error=%s", offset, error)
                self._put_aside(offset)
                continue
            return offset
        vectors.truncate(0)
        if state.similars is not None:
            state.similars.vectors.truncate(0)
        return NOTHING

    def offsets(self) -> list[int]:
        """Return the offsets of snapshots that were written to the end, newest first."""
        found = [_NAME.fullmatch(path.parent.name) for path in self._folder.glob(f"*/{MANIFEST}")]
        return sorted((int(match[1]) for match in found if match), reverse=True)

    def _drop_unfinished(self) -> None:
        """Delete what is left of snapshots that were not written to the end: each would take room for nothing."""
        for path in self._folder.glob("*"):
            if _NAME.fullmatch(path.name) and not (path / MANIFEST).exists():
                shutil.rmtree(path, ignore_errors=True)

    def _erase(self, vectors: VectorFile, kept: Sequence[Path], name: str) -> None:
        """Erase the vectors that none of the kept snapshots uses; `name` is of the file that says which one uses."""
        wanted = np.zeros(len(vectors), dtype=np.bool_)
        for path in kept:
            for mask in path.glob(f"*/{name}"):  # older versions had no similar vectors, and no mask of them
                used = np.load(mask, allow_pickle=False)
                wanted[: len(used)] |= used
                wanted[len(used) :] = True
        rows = np.flatnonzero(~wanted).astype(np.int64)
        rows = rows[~vectors.is_erased(rows)]
        if len(rows):
            vectors.erase(rows)
            vectors.sync()
            logger.info("vectors erased count=%d", len(rows))

    def _put_aside(self, offset: int) -> None:
        """Keep a refused snapshot for whoever wants to know, but only the last, and not as one of those that count."""
        refused = self._folder / "refused"
        with naming(refused, "put a snapshot aside"):
            shutil.rmtree(refused, ignore_errors=True)
            self._path(offset).rename(refused)

    def _path(self, offset: int) -> Path:
        return self._folder / f"snapshot-{offset:020d}"

    def _load(self, state: State, vectors: VectorFile, offset: int) -> None:
        data = read_snapshot(self._path(offset), vectors.dimension, vectors.space)
        try:
            tables = msgspec.msgpack.decode((data / _TABLES).read_bytes(), type=_Tables)
            rows = _read_rows(data / "rows")
            has_offsets = (data / "rows" / "offset.npy").exists()
            in_use = np.load(data / _IN_USE, allow_pickle=False)
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            raise ConfigError(f"{data}: cannot be read as the snapshot of a state: {error}") from error
        if tables.version not in (_VERSION, _WITHOUT_COHORTS) or tables.offset != offset:
            raise ConfigError(f"{data}: version {tables.version}, offset {tables.offset}; wanted {_VERSION}, {offset}")
        if not len(in_use) == len(rows) == tables.vectors <= len(vectors):
            raise ConfigError(
                f"{data}: knows {tables.vectors} vectors in {len(rows)} rows, the vector file holds {len(vectors)}"
            )
        if vectors.checksum(in_use) != tables.vectors_crc32:
            raise ConfigError(f"{data}: the vector file holds other vectors")
        if tables.version == _WITHOUT_COHORTS:
            _drop_old_calibrations([tables.settings, *(bank.settings for bank in tables.banks)])
        items = Items()
        items.restore(tables.items, tables.numbers_given)
        if not has_offsets:
            _fill_offsets(rows, [*tables.items, *(item for bank in tables.banks for item in bank.items)])
        _fill(state.parts().index, data / _SEARCHER, items, rows)
        vectors.truncate(tables.vectors)
        parts = state.parts()
        restored = replace(
            parts,
            items=items,
            rows=rows,
            pending=tables.pending,
            removed=set(tables.removed),
            live=tables.live,
            settings=tables.settings,
            banks=tables.banks,
            deleted=set(tables.deleted),
            judged=tables.judged,
            undecided=tables.undecided,
            later=tables.later,
        )
        state.restore(restored)
        if state.similars is not None:
            state.similars.restore(items, tables.similar, tables.similar_crc32, tables.similar_space)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Keep Python's collector from looking through millions of new objects, none of which is to go, again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _vector_file(state: State) -> VectorFile:
    vectors = state.parts().vectors
    if not isinstance(vectors, VectorFile):  # pragma: no cover
        raise TypeError("only a state over a vector file can be written down or read back")
    return vectors


def _in_use(parts: Parts) -> npt.NDArray[np.bool_]:
    """Return for each row whether an item that is held or under way needs it."""
    of_banks = [holders for bank in parts.banks for holders in (bank.items, bank.pending.values())]
    numbers = [h.number for holders in (parts.items, parts.pending.values(), *of_banks) for h in holders]
    in_use: npt.NDArray[np.bool_] = np.isin(parts.rows.item[: len(parts.rows)], np.array(numbers, dtype=np.int64))
    return in_use


def _blanked(column: npt.NDArray[np.generic], in_use: npt.NDArray[np.bool_]) -> npt.NDArray[np.generic]:
    blanked: npt.NDArray[np.generic] = np.where(in_use if column.ndim == 1 else in_use[:, None], column, 0)
    return blanked.astype(column.dtype)


def _fill(index: Index, searcher: Path, items: Items, rows: Rows) -> None:
    """Put the descriptors of heads into an empty index."""
    heads = np.array([item.number for item in items if item.is_head], dtype=np.int64)
    held = np.flatnonzero(np.isin(rows.item[: len(rows)], heads) & rows.searched[: len(rows)]).astype(np.int64)
    index.add(np.setdiff1d(held, index.load(searcher), assume_unique=True))


def _fill_offsets(rows: Rows, items: Iterable[Item]) -> None:
    """Give rows of a time before this column the offsets that are known from items of a single record.

    Others get that of the row before: a number that no descriptor of that record has, so they are found by those who
    have the same rows, and by no one else.
    """
    offsets = rows.offset[: len(rows)]
    offsets[:] = NOTHING
    for item in items:
        if len(item.ranges) == 1:
            ((start, stop),) = item.ranges
            offsets[start:stop] = item.offset
    np.maximum.accumulate(offsets, out=offsets)


def _drop_old_calibrations(banks: Sequence[BankSettings]) -> None:
    """Take away calibrations of evidence without cohorts, which nothing can be decided by any more."""
    for settings in banks:
        try:
            if settings.calibration:
                decode_calibration(settings.calibration)
        except (msgspec.MsgspecError, ConfigError) as error:
            logger.warning("calibration dropped bank=%s error=%s", settings.name, error)
            settings.calibration = b""


def _read_rows(folder: Path) -> Rows:
    rows = Rows()
    newer = ("cohort", "cohort_similarity", "offset")
    files = [name for name in rows.columns() if (folder / f"{name}.npy").exists() or name not in newer]
    columns = {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in files}
    if "cohort" not in columns:  # written before there were cohorts: then the background is all of it
        background = np.load(folder / "background.npy", allow_pickle=False)
        nothing = np.zeros((len(background), 0), np.int64), np.zeros((len(background), 0), np.float32)
        cohort = make_cohort(*nothing, np.repeat(background[:, None], NEIGHBOURS, axis=1))
        columns |= {"cohort": cohort.items, "cohort_similarity": cohort.similarity}
    rows.append(len(columns["item"]), **columns)
    return rows
