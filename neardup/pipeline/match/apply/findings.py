"""What was searched for and found, written into envelopes and read from those that were published.

An approximate index need not find the same again. So who applies the log again takes rows from the envelopes, and
computes distances and cohorts from the vectors: the same to the last bit. The lists of an item's envelope, see
`log.candidates`, are the cohort of each descriptor, the candidates of each, and the references that it was linked with.
A reference of a bank has the last list alone, and so has an item whose lists take more than MAX_BYTES.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from neardup.pipeline.log.candidates import MAX_BYTES, Lists, pack, unpack
from neardup.pipeline.log.records import Envelope
from neardup.pipeline.log.verdicts import PublishedVerdicts
from neardup.pipeline.match.compare.banks import Banks
from neardup.pipeline.match.compare.candidates import CANDIDATES, NO_PAIRS, Found, Given
from neardup.pipeline.match.data.items import NO_ROW, Item
from neardup.pipeline.match.data.tables import Tables
from neardup.pipeline.match.decide.decide import Pairs
from neardup.pipeline.match.decide.evidence import COHORT
from neardup.pipeline.types import Ids, Kind

logger = logging.getLogger(__name__)
_NO_DESCRIPTOR = np.zeros((0, COHORT), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class _Noted:
    """What was found for one record: rows of the cohort of each descriptor, (n, COHORT), pairs, and rows of its kin."""

    offset: int
    neighbours: Ids
    pairs: Pairs
    kin: list[int]


class Findings:
    """Remembers what was found until it is written into envelopes.

    Attributes:
        too_long: how many envelopes name kin alone because all of it takes more than MAX_BYTES.
    """

    def __init__(self, tables: Tables, banks: Banks, published: PublishedVerdicts) -> None:
        self.too_long = 0
        self._tables = tables
        self._banks = banks
        self._published = published
        self._noted: list[_Noted] = []
        self._kin: dict[int, list[int]] = {}

    # -- writing ---------------------------------------------------------------------------------------------------

    def note(self, offset: int, kind: Kind, found: Found, kin: Iterable[Item] = ()) -> None:
        """Remember what was found for an item or a frame, given the record of this offset.

        Args:
            found: what its comparison needs, and no more. kin: references that it was linked with.
        """
        if offset in self._published or found.neighbours is None:
            return
        pairs = _best(found.pairs) if kind is Kind.IMAGE else found.pairs
        self._noted.append(_Noted(offset, found.neighbours, pairs, self._first_rows(kin)))

    def note_kin(self, offset: int, kin: Iterable[Item]) -> None:
        """Remember the references of its bank that a new reference was linked with."""
        if offset not in self._published:
            self._noted.append(_Noted(offset, _NO_DESCRIPTOR, NO_PAIRS, self._first_rows(kin)))

    def written(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        """Return envelopes with what was found for their records, or was published as that; then forget it."""
        noted, self._noted, self._kin = self._noted, [], {}
        packed = self._packed(noted) if noted else {}
        candidates = (packed.get(one.offset) or self._published.candidates(one.offset) for one in envelopes)
        return [
            msgspec.structs.replace(one, candidates=found) if isinstance(found, bytes) else one
            for one, found in zip(envelopes, candidates, strict=True)
        ]

    def _packed(self, noted: Sequence[_Noted]) -> dict[int, bytes]:
        packed = self._pack(noted)
        long = [one for one, some in zip(noted, packed, strict=True) if len(some) > MAX_BYTES]
        kin_alone = [_Noted(one.offset, _NO_DESCRIPTOR, NO_PAIRS, one.kin) for one in long]
        self.too_long += len(long)
        found = dict(zip((one.offset for one in noted), packed, strict=True))
        return found | (dict(zip((one.offset for one in long), self._pack(kin_alone), strict=True)) if long else {})

    def _pack(self, noted: Sequence[_Noted]) -> list[bytes]:
        n = np.array([len(one.neighbours) for one in noted], dtype=np.int64)
        counts = 2 * n + 1
        firsts = np.cumsum(counts) - counts
        neighbours = np.concatenate([one.neighbours for one in noted])
        descriptor, place = np.nonzero(neighbours != NO_ROW)
        list_of = [(np.repeat(firsts - np.cumsum(n) + n, n) + np.arange(len(neighbours)))[descriptor]]
        rows = [neighbours[descriptor, place]]
        for one, first in zip(noted, firsts.tolist(), strict=True):
            if len(one.pairs.query):
                list_of.append(first + len(one.neighbours) + one.pairs.query)
                rows.append(one.pairs.reference)
            if one.kin:
                list_of.append(np.full(len(one.kin), first + 2 * len(one.neighbours)))
                rows.append(np.array(one.kin, dtype=np.int64))
        lists = np.concatenate(list_of)
        order = np.argsort(lists, kind="stable")
        lengths = np.bincount(lists, minlength=int(counts.sum()))
        own = np.array([one.offset for one in noted], dtype=np.int64)
        return pack(own, Lists(counts, lengths, *self._tables.rows.names(np.concatenate(rows)[order])))

    def _first_rows(self, items: Iterable[Item]) -> list[int]:
        return [int(self._tables.rows_of(item)[0]) for item in items]

    # -- reading ---------------------------------------------------------------------------------------------------

    def given(self, offsets: Sequence[int], rows: Sequence[Ids]) -> Given | None:
        """Return what was found for the items and frames of a batch; None where that is not known of all of them.

        Args:
            offsets: of their last records. rows: of each.
        """
        read = self._read(offsets) if all(map(self._published.says_what_was_found, offsets)) else None
        if read is None:
            return None
        lists, named = read
        descriptors = np.array([len(some) for some in rows], dtype=np.int64)
        if (lists.counts != 2 * descriptors + 1).any():
            logger.warning("candidates of other descriptors first_offset=%d", offsets[0])
            return None
        item = np.repeat(np.arange(len(offsets)), lists.counts)
        place = np.arange(len(item)) - np.repeat(np.cumsum(lists.counts) - lists.counts, lists.counts)
        n = descriptors[item]
        at = (np.cumsum(descriptors) - descriptors)[item] + place % n  # the descriptor of each list
        list_of = lists.list_of
        kind = (place // n)[list_of]  # 0 a cohort, 1 candidates, 2 kin
        rank = np.arange(len(list_of)) - np.repeat(np.cumsum(lists.lengths) - lists.lengths, lists.lengths)
        near = kind == 0
        if rank[near].max(initial=0) >= COHORT:
            logger.warning("cohort is too large first_offset=%d", offsets[0])
            return None
        neighbours = np.full((int(descriptors.sum()), COHORT), NO_ROW, np.int64)
        neighbours[at[list_of[near]], rank[near]] = named[near]
        self._kin |= {offset: [] for offset in offsets}
        for number, row in zip(item[list_of[kind == 2]].tolist(), named[kind == 2].tolist(), strict=True):
            self._kin[offsets[number]].append(row)
        return Given(neighbours, at[list_of[kind == 1]], named[kind == 1])

    def kin(self, offset: int) -> list[Item] | None:
        """Return the references that an item or a reference was linked with when it came; None if it is not known."""
        rows = self._kin.get(offset)
        if rows is None:
            read = self._read([offset])
            if read is None:
                return None
            lists, named = read
            rows = named[len(named) - int(lists.lengths[-1]) :].tolist()
        items = map(self._item, self._tables.rows.item[rows].tolist() if rows else [])
        return [item for item in items if item is not None]

    def _item(self, number: int) -> Item | None:
        item = self._tables.items.get(number)
        found = self._banks.find(number) if item is None else None
        return item if found is None else found[1]

    def _read(self, offsets: Sequence[int]) -> tuple[Lists, Ids] | None:
        """Return the lists of some envelopes and the rows that they name; None where one has none, or names no row."""
        packed = [found for offset in offsets if isinstance(found := self._published.candidates(offset), bytes)]
        if not packed or len(packed) < len(offsets):
            return None
        try:
            lists = unpack(np.array(offsets, dtype=np.int64), packed)
        except ValueError as error:
            logger.warning("candidates cannot be read first_offset=%d error=%s", offsets[0], error)
            return None
        named = self._tables.rows.named(lists.offsets, lists.numbers)
        return (lists, named) if (named != NO_ROW).all() else None


def _best(pairs: Pairs) -> Pairs:
    """Return the CANDIDATES pairs of each descriptor whose evidence is highest."""
    if len(pairs.query) <= CANDIDATES:
        return pairs
    order = np.lexsort((-pairs.evidence, pairs.query))
    rank = np.arange(len(order)) - np.searchsorted(pairs.query, pairs.query[order])
    return pairs.take(np.sort(order[rank < CANDIDATES]))
