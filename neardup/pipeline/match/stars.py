"""Who stands under which head: a copy joins the star of what it copies, and a star that lost its head finds others."""

from __future__ import annotations

from collections.abc import Sequence

from neardup.pipeline.match.compare import Comparer
from neardup.pipeline.match.heads import Heads
from neardup.pipeline.match.items import Item
from neardup.pipeline.match.tables import Tables
from neardup.pipeline.messages import Matched, ReHeaded
from neardup.pipeline.types import Decision


class Stars:
    """Takes items into stars and out of them.

    Args:
        joined: whether copies of an item join it as members; without, every item stays a reference of its own.
    """

    def __init__(self, tables: Tables, heads: Heads, comparer: Comparer, joined: bool) -> None:
        self._tables = tables
        self._heads = heads
        self._comparer = comparer
        self._joined = joined

    def add(self, item: Item, matches: Sequence[Matched]) -> None:
        """Take in an item, under the first that it copies as a whole."""
        whole = next((m for m in matches if m.whole and m.decision is Decision.DUPLICATE), None)
        head = self._tables.items.named(whole.reference) if whole is not None and self._joined else None
        if head is None:
            self._heads.add(item)
        else:
            item.head = head.number
        self._tables.items.add(item)

    def remove(self, item: Item) -> list[ReHeaded]:
        """Forget an item; its members, if it was a head, stand under the earliest of them that they are close to."""
        if item.is_head:
            self._heads.remove(item)
        orphans = self._tables.items.remove(item)
        events = []
        while orphans:
            head, orphans = orphans[0], orphans[1:]
            self._heads.add(head)
            joined, orphans = self._rejoin(head, orphans)
            events.append(ReHeaded(old=item.id, new=head.id, members=tuple(member.id for member in joined)))
        self._heads.flush()
        return events

    def _rejoin(self, head: Item, orphans: list[Item]) -> tuple[list[Item], list[Item]]:
        """Split orphans into those that copy the new head as a whole, now its members, and the others."""
        joined, left = [], []
        for orphan in orphans:
            if _is_identical(orphan, head) or self._is_copy(orphan, head):
                orphan.head = head.number
                head.members.append(orphan.number)
                joined.append(orphan)
            else:
                left.append(orphan)
        return joined, left

    def _is_copy(self, query: Item, reference: Item) -> bool:
        outcome = self._comparer.pair(query, reference)
        return outcome.whole and outcome.judgement.decision is Decision.DUPLICATE


def _is_identical(a: Item, b: Item) -> bool:
    return (a.sha256 != b"" and a.sha256 == b.sha256) or (a.pixels_digest != b"" and a.pixels_digest == b.pixels_digest)
