"""Keep descriptors in the tables: those that records bring, and once more those of an item that becomes a reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from neardup.pipeline.log.records import Described, unpack_boxes
from neardup.pipeline.match.data.items import NO_ROW, Item
from neardup.pipeline.match.data.pending import Pending
from neardup.pipeline.match.data.tables import Tables
from neardup.pipeline.match.decide.evidence import Evidence
from neardup.pipeline.match.decide.pictures import pictures_of
from neardup.pipeline.match.live.videos import Live, LiveVideos
from neardup.pipeline.types import Ids


class RowWriter:
    """Writes rows, of the stream and of all banks; nothing is searched for or compared here."""

    def __init__(self, tables: Tables, lives: LiveVideos, evidence: Evidence) -> None:
        self._tables = tables
        self._lives = lives
        self._evidence = evidence

    def append(self, records: Sequence[Described], holders: Sequence[Pending | Live]) -> list[Ids]:
        """Keep the descriptors of records, and return the rows of each.

        Args:
            holders: what each record is a part or a frame of.
        """
        pictures, speaks = pictures_of(records, self._evidence)
        counts = [len(record.pts) for record in records]
        before = [holder.frames if isinstance(holder, Pending) else 0 for holder in holders]
        rows = self._tables.rows.append(
            sum(counts),
            item=np.repeat([holder.number for holder in holders], counts),
            frame=np.concatenate([b + np.arange(n) for b, n in zip(before, counts, strict=True)]),
            pts=np.concatenate([record.pts for record in records]),
            hash=pictures.hashes,
            box=np.concatenate([unpack_boxes(record.boxes, len(record.pts)) for record in records]),
            speaks=speaks,
            searched=speaks,
            background=pictures.background,
        )
        self._tables.vectors.append(rows, pictures.vectors)
        stop = int(rows[0]) if len(rows) else 0
        for holder, count in zip(holders, counts, strict=True):
            first, stop = stop, stop + count
            if isinstance(holder, Live):
                self._lives.pass_over_still(holder, first)
            else:
                holder.frames += count
                holder.ranges.append((first, stop))
        return np.split(rows, np.cumsum(counts)[:-1])

    def copy(self, item: Item) -> Item:
        """Return a new item, in no table yet, with the descriptors of one that is held."""
        tables = self._tables
        rows = tables.rows_of(item)
        number = tables.items.next_number()
        columns = tables.rows.columns()
        values = {name: column[rows] for name, column in columns.items() if name not in ("item", "shared")}
        copied = tables.rows.append(len(rows), item=number, **values)
        tables.vectors.append(copied, tables.vectors.read(rows))
        ranges = ((int(copied[0]), int(copied[-1]) + 1),)
        return replace(
            item, number=number, source=(-1, -1), ranges=ranges, head=-1, members=[], shares=(), similar=NO_ROW
        )
