"""Decide what an item is: what it matches, and which star it joins."""

from __future__ import annotations

from collections.abc import Sequence

from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.records import Described, Matched, Verdict
from neardup.pipeline.log.verdicts import combine, star_head
from neardup.pipeline.match.compare.banks import Bank
from neardup.pipeline.match.compare.collection import Collection
from neardup.pipeline.match.compare.compare import MAX_MATCHES
from neardup.pipeline.match.compare.reviews import Reviews
from neardup.pipeline.match.compare.stars import Stars
from neardup.pipeline.match.data.entry import Entry
from neardup.pipeline.match.data.items import Item
from neardup.pipeline.match.data.pending import Pending
from neardup.pipeline.match.data.published import PublishedVerdicts
from neardup.pipeline.match.data.similars import Similars
from neardup.pipeline.match.decide.decide import Pairs
from neardup.pipeline.match.live.videos import LiveVideos
from neardup.pipeline.types import Kind


class ItemVerdicts:
    """Gives verdicts on items of the stream and takes the items in."""

    def __init__(
        self,
        seen: Collection,
        reviews: Reviews,
        stars: Stars,
        lives: LiveVideos,
        published: PublishedVerdicts,
        similars: Similars | None,
    ) -> None:
        self._seen = seen
        self._reviews = reviews
        self._stars = stars
        self._lives = lives
        self._published = published
        self._similars = similars

    def decide(
        self, entry: Entry, record: Described, pending: Pending, pairs: Pairs, banked: Sequence[tuple[Bank, Pairs]]
    ) -> Verdict:
        """Decide on an item whose descriptors are all known, unless that was done, and take it in; `flush` follows.

        Args:
            record: its last part, of this entry.
            pairs: of the item with what was seen.
            banked: of the item with the references of each bank that is asked about it.
        """
        item = pending.item()
        matches = self._matches(entry, item, pending, pairs, banked)
        published = self._published.verdict(entry.offset)
        verdict = published or combine(item.id, matches, self._stars.head_for(item, matches) if matches else None)
        self._stars.add(item, star_head(verdict) or "")
        if self._similars is not None:
            self._similars.take(item, record)
        for match in verdict.matches:
            if match.bank == SEEN:
                self._lives.note_copy(match.reference, item.number)
        return verdict

    def flush(self) -> None:
        """Let later searches find all that was taken in."""
        self._seen.heads.flush()
        if self._similars is not None:
            self._similars.flush()

    def _matches(
        self, entry: Entry, item: Item, pending: Pending, pairs: Pairs, banked: Sequence[tuple[Bank, Pairs]]
    ) -> list[Matched]:
        """Return the matches of an item that its verdict lists, and count the frames that it shares with others."""
        tables, comparer = self._seen.tables, self._seen.comparer
        pairs = comparer.likely(item.kind, pairs)
        if item.kind is Kind.VIDEO:
            pairs = comparer.with_heads(pairs)
            tables.rows.shared[item.rows] = comparer.sharers(pairs, pending.frames)
        side = tables.side(item)
        found = self._reviews.respect(item, comparer.matches(pending.first, side, pairs, item), tables.items)
        matches = [match for match in found[:MAX_MATCHES] if match.listed]
        for bank, theirs in banked:
            found = bank.matches(item, side, theirs, entry.timestamp_ms)
            matches += self._reviews.respect(item, found, bank.collection.tables.items)
        return matches
