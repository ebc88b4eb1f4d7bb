"""Who stands under which head: a copy joins the star of what it copies, and a star that lost its head finds others.

People move items between stars too: then they are believed, whatever the distance. Two items that a reviewer said do
not match never join one star by themselves.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator, Sequence

from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.records import Matched, ReHeaded
from neardup.pipeline.match.compare.compare import Comparer, identity
from neardup.pipeline.match.compare.reviews import Reviews
from neardup.pipeline.match.data.items import Item, link
from neardup.pipeline.match.data.tables import Heads, Tables
from neardup.pipeline.types import Decision, Exact


class Stars:
    """Takes items into stars and out of them.

    Args:
        joined: whether copies of an item join it as members; without, every item stays a reference of its own.
    """

    def __init__(self, tables: Tables, heads: Heads, comparer: Comparer, reviews: Reviews, joined: bool) -> None:
        self._tables = tables
        self._heads = heads
        self._comparer = comparer
        self.reviews = reviews
        self._joined = joined

    def head_for(self, item: Item, matches: Iterable[Matched]) -> str:
        """Return the id of the first head that an item copies as a whole and may join, "" if it stands alone."""
        whole = (m for m in matches if m.where.whole and m.bank == SEEN and m.decision is Decision.DUPLICATE)
        for match in whole if self._joined else ():
            reference = self._tables.items.named(match.reference)
            head = None if reference is None else self.head_of(reference)
            if head is None or reference is None or head is item:
                continue
            # The reference may have found its own head since: what is proved of the one holds not for the other.
            if head is not reference and identity(item, head) is Exact.NO and not self._is_copy(item, head):
                continue
            if not self.reviews.rejects(item, self.star_of(head)):
                return head.id
        return ""

    def add(self, item: Item, head_id: str) -> None:
        """Take in an item, under a head or, with "", as a head of its own."""
        head = self._tables.items.named(head_id) if head_id else None
        if head is None:
            self._heads.add(item)
        else:
            item.head = head.number
        self._tables.items.add(item)

    def remove(self, item: Item) -> list[ReHeaded]:
        """Forget an item; its members, if it was a head, stand under the earliest of them that they are close to."""
        if item.is_head:
            self._heads.remove(item)
        return self._regroup(item.id, self._tables.items.remove(item))

    def star_of(self, item: Item) -> Iterator[Item]:
        """Yield the cluster's head and members; a viral picture may have thousands."""
        head = self.head_of(item)
        yield head
        yield from self._members(head)

    def head_of(self, item: Item) -> Item:
        """Return the head that an item stands under, itself if it is one."""
        head = self._tables.items.get(item.head)
        assert head is not None
        return head

    # -- by hand -------------------------------------------------------------------------------------------------

    def leave(self, item: Item) -> list[ReHeaded]:
        """Have an item stand alone; members that it had stand under the earliest of them."""
        if not item.is_head:
            head = self.head_of(item)
            head.members.remove(item.number)
            self._heads.add(item)
            link(item, head)
            events = [ReHeaded(old=head.id, new=item.id)]
        else:
            orphans = list(self._members(item))
            item.members.clear()
            events = self._regroup(item.id, orphans)
        return events

    def join(self, item: Item, other: Item) -> list[ReHeaded]:
        """Put an item, alone, under the head of another; what stood under it stands under the earliest of those."""
        head = self.head_of(other)
        if head is item or item.head == head.number:
            return []
        old = self.head_of(item)
        events = self.leave(item) if item.is_head else []
        self._put_under(item, head)
        return [*events, ReHeaded(old=old.id, new=head.id, members=(item.id,))]

    def merge(self, item: Item, other: Item) -> list[ReHeaded]:
        """Put all of an item's star under the head of another's."""
        old, head = self.head_of(item), self.head_of(other)
        if old is head:
            return []
        moved = list(self.star_of(old))
        old.members.clear()
        for one in moved:
            self._put_under(one, head)
        return [ReHeaded(old=old.id, new=head.id, members=tuple(one.id for one in moved))]

    def lead(self, item: Item) -> list[ReHeaded]:
        """Make an item the head of its star."""
        old = self.head_of(item)
        if old is item:
            return []
        others = [one for one in self.star_of(old) if one is not item]
        old.members.clear()
        self._heads.add(item)
        for one in sorted(others, key=lambda one: one.number):
            self._put_under(one, item)
        return [ReHeaded(old=old.id, new=item.id, members=tuple(one.id for one in others))]

    def _put_under(self, item: Item, head: Item) -> None:
        if item.is_head:
            self._heads.remove(item)
        elif item.number in (members := self.head_of(item).members):
            members.remove(item.number)
        link(item, head)
        item.head = head.number
        insort(head.members, item.number)

    def _members(self, head: Item) -> Iterator[Item]:
        found = (self._tables.items.get(number) for number in head.members)
        return (item for item in found if item is not None)

    def settle(self, item: Item, head_id: str) -> list[ReHeaded]:
        """Put an item that is decided only now under a head; its members are compared with that as after a removal."""
        head = self._tables.items.named(head_id) if head_id else None
        if head is None or head is item or not item.is_head or not head.is_head:
            return []
        orphans = list(self._members(item))
        item.members.clear()
        self._put_under(item, head)
        joined, left = self._rejoin(head, orphans)
        events = [ReHeaded(old=item.id, new=head.id, members=tuple(one.id for one in joined))] if joined else []
        events += self._regroup(item.id, left)
        return events

    # -- without a head ------------------------------------------------------------------------------------------

    def _regroup(self, old: str, orphans: Sequence[Item]) -> list[ReHeaded]:
        events = []
        left = list(orphans)
        heads: list[Item] = []
        while left:
            head, left = left[0], left[1:]
            self._heads.add(head)
            for one in heads:  # copies of the same
                link(head, one)
            heads.append(head)
            joined, left = self._rejoin(head, left)
            events.append(ReHeaded(old=old, new=head.id, members=tuple(member.id for member in joined)))
        return events

    def _rejoin(self, head: Item, orphans: list[Item]) -> tuple[list[Item], list[Item]]:
        """Split orphans into those that copy the new head as a whole, now its members, and the others."""
        joined: list[Item] = []
        left: list[Item] = []
        for orphan in orphans:
            may = not self.reviews.rejects(orphan, self.star_of(head))
            if may and (identity(orphan, head) is not Exact.NO or self._is_copy(orphan, head)):
                orphan.head = head.number
                insort(head.members, orphan.number)
                joined.append(orphan)
            else:
                left.append(orphan)
        return joined, left

    def _is_copy(self, query: Item, reference: Item) -> bool:
        outcome = self._comparer.pair(query, reference)
        return outcome.where.whole and outcome.judgement.decision is Decision.DUPLICATE
