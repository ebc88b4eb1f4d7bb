"""Earlier uploads that match a reference which a bank got only now.

What is said is what would have been said had the reference come first: the upload is the query, the bank's thresholds
decide. Candidates are the heads that resemble the reference, their members, and what is identical to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from neardup.pipeline.log.changes import Action
from neardup.pipeline.log.records import Matched, RetroMatched
from neardup.pipeline.log.verdicts import PublishedVerdicts, is_silenced
from neardup.pipeline.match.apply.batch import Prefetch
from neardup.pipeline.match.compare.banks import Bank, Banks
from neardup.pipeline.match.compare.candidates import CANDIDATES
from neardup.pipeline.match.compare.collection import Collection
from neardup.pipeline.match.compare.reviews import Reviews
from neardup.pipeline.match.data.items import Item, link
from neardup.pipeline.match.decide.evidence import Evidence, differing_bits
from neardup.pipeline.types import Decision, Ids, Kind, Neighbours

MOST_FOUND = 10_000
"""Most items that one event lists: a record has to fit its topic."""
MOST_CANDIDATES = 16_384
"""Nearest descriptors of heads that are looked at for each descriptor of a reference."""
_AT_ONCE = 64


class BackwardSearch:
    """Searches what was seen for a bank's references.

    Args:
        prefetch: may know the nearest already. published: what was said earlier is not searched for again.
    """

    def __init__(
        self,
        seen: Collection,
        banks: Banks,
        reviews: Reviews,
        evidence: Evidence,
        prefetch: Prefetch,
        published: PublishedVerdicts,
    ) -> None:
        self._seen = seen
        self._banks = banks
        self.reviews = reviews
        self._evidence = evidence
        self._prefetch = prefetch
        self._published = published

    def search(self, bank: Bank, reference: Item, offset: int, now_ms: int) -> tuple[list[RetroMatched], int]:
        """Return the earlier items that match a reference, in order of arrival, and how many more there are.

        Args:
            offset: of the record that asks for it. now_ms: its time.
        """
        if not bank.usable(now_ms)(reference):
            return [], 0
        bank.references[reference.id].searched = True
        items = self._seen.tables.items
        found, left_out = self._published.retro_matched(offset) or self._search(bank, reference, now_ms)
        for one in found:
            if (item := items.named(one.id)) is not None:
                link(reference, items.get(item.head) or item)
        return found, left_out

    def _search(self, bank: Bank, reference: Item, now_ms: int) -> tuple[list[RetroMatched], int]:
        found = []
        for item in self._candidates(bank, reference):
            match = bank.collection.comparer.one(item, reference)
            kept = self.reviews.respected(item, reference, match)
            if kept is not None and kept.listed and bank.asks_about(item.id):
                kept = msgspec.structs.replace(kept, action=bank.settings.action)
                silenced = is_silenced(kept, self._allowing(item, now_ms))
                found.append(RetroMatched(id=item.id, match=msgspec.structs.replace(kept, silenced=silenced)))
        return found[:MOST_FOUND], max(0, len(found) - MOST_FOUND)

    def _candidates(self, bank: Bank, reference: Item) -> list[Item]:
        items = self._seen.tables.items
        numbers = {item.number for same in items.identical(reference.sha256, reference.pixels_digest) for item in same}
        rows = bank.collection.tables.rows_of(reference)
        rows = rows[bank.collection.tables.rows.searched[rows]]
        known = self._prefetch.take(bank.settings.name, reference, len(rows))
        for start in range(0, len(rows), _AT_ONCE):
            here = slice(start, start + _AT_ONCE)
            first = None if known is None else Neighbours(known.ids[here], known.distances[here])
            for number in self._near(bank, reference.kind, rows[here], first):
                head = items.get(number)
                if head is not None:
                    numbers |= {number, *head.members}
        return [item for number in sorted(numbers) if (item := items.get(number)) is not None]

    def _near(self, bank: Bank, kind: Kind, rows: Ids, first: Neighbours | None) -> Iterator[int]:
        """Yield numbers of heads of which a descriptor resembles one of these.

        Args:
            first: the CANDIDATES nearest to each, if they are known.
        """
        table, index, judge = self._seen.tables.rows, self._seen.heads.index, bank.collection.judge
        hashes = table.hash[rows]
        unsure = judge.thresholds(bank.collection.heads.chances).min_unsure
        # Frames vote; an image must be more than distinct by itself, so more are asked for only where all may be that.
        matters = judge.min_vote if kind is Kind.VIDEO else max(judge.min_vote, unsure)
        k, most = CANDIDATES, min(MOST_CANDIDATES, len(index))
        while most:
            found = first or index.search(self._seen.tables.vectors.read(rows), min(k, most))
            first = None
            bits = differing_bits(hashes[:, None], table.hash[found.ids])
            least = self._seen.tables.cohort(found.ids.ravel()).least.reshape(found.ids.shape)
            strength = self._evidence.of(found.distances, bits, least)  # no less than what will be decided on
            near = (strength >= judge.min_vote) & (found.ids >= 0)
            if k >= most or not (near[:, -1] & (strength[:, -1] >= matters)).any():
                break
            k *= 4
        else:
            return
        near_items = table.item[found.ids[near]].tolist()
        for number, value in zip(near_items, strength[near].tolist(), strict=True):
            item = self._seen.tables.items.get(number)
            if item is not None and (value >= unsure or Kind.VIDEO in (kind, item.kind)):
                yield number

    def _allowing(self, item: Item, now_ms: int) -> Sequence[Matched]:
        """Return the allow-list matches of an item."""
        matches = []
        for bank in self._banks.asked(item.id):
            if bank.settings.action is Action.ALLOW:
                rows = self._seen.tables.rows_of(item)
                (mine,) = bank.collection.candidates.among([rows], [item.kind])
                found = bank.matches(item, self._seen.tables.side(item), mine, now_ms)
                found = self.reviews.respect(item, found, bank.collection.tables.items)
                matches += [match for match in found if match.decision is Decision.DUPLICATE]
        return matches
