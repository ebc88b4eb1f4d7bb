"""The state that the log builds, and `apply`: records in, events out.

`apply` is the whole of matching. The stream's match worker, its standby, the lookup's view and `neardup scan` run it
unchanged. It has no clock and no randomness: equal logs give equal events, however they are cut into batches. An item
is compared only with items of smaller offsets, and among those only with heads of stars; ties go to the earlier one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import UsageError
from neardup.pipeline.index.interface import Index
from neardup.pipeline.match.calibration import Calibration
from neardup.pipeline.match.decide import DISTINCT, RANK, Judge, Outcome, Pairs, Side, compare_items
from neardup.pipeline.match.evidence import Evidence, Pictures, differing_bits, near
from neardup.pipeline.match.items import Item, Items, Rows
from neardup.pipeline.match.segments import Track
from neardup.pipeline.messages import (
    Described,
    Envelope,
    Event,
    Ignored,
    Matched,
    Record,
    Redelivered,
    ReHeaded,
    Removed,
    RemovedEvent,
    Replaced,
    Verdict,
)
from neardup.pipeline.types import Decision, Descriptors, Embedded, Exact, Ids, Kind, Span

CANDIDATES = 64
"""Nearest descriptors fetched for each descriptor of a query."""
MOST_CANDIDATES = 1024
"""The same where all of those are likely matches."""
MIN_REFERENCES = 500
"""Thresholds assume at least so many: a young index is no reason to believe weak evidence, it will grow."""
MIN_DETAIL = 8
"""Below this a picture says nothing (`Embedded.detail`): blank pages, black frames."""
MAX_BATCH_ROWS = 1024
"""Descriptors after which a batch is closed: a batch compares all of its rows with each other."""
SEARCHED_AT_ONCE = 256
"""Descriptors looked up in one call of the index, which bounds its memory."""
MAX_MATCHES = 16
"""Matches that a verdict lists, best first."""


class Vectors(Protocol):
    """Where the descriptors lie; see `index.vectors.VectorFile`."""

    def append(self, ids: Ids, vectors: Descriptors) -> int: ...

    def read(self, rows: Ids) -> Descriptors: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """A record at its place in the log."""

    offset: int
    record: Record


@dataclass(slots=True)
class Pending:
    """An item of which the last part has not been seen."""

    first: Described
    number: int
    parts: int = 0
    frames: int = 0
    ranges: list[tuple[int, int]] = field(default_factory=list)

    @property
    def rows(self) -> Ids:
        """Rows of its descriptors so far, int64 (n,), in order of time."""
        return np.concatenate([np.arange(a, b, dtype=np.int64) for a, b in self.ranges])


@dataclass(frozen=True, slots=True)
class Parts:
    """What a state consists of; see `State`."""

    items: Items
    rows: Rows
    pending: dict[str, Pending]
    removed: set[str]
    index: Index
    vectors: Vectors


class State:
    """Everything that a verdict depends on.

    Args:
        index: holds the descriptors of heads; empty at the start.
        vectors: holds all descriptors; row numbers are those of `Rows`.
        evidence: turns pairs into evidence.
        calibration: gives thresholds.
        precision: wanted of `duplicate`, 0 to 1.
        stars: whether copies of an item join it as members; without, every item stays a reference of its own.
    """

    def __init__(
        self,
        index: Index,
        vectors: Vectors,
        evidence: Evidence,
        calibration: Calibration,
        precision: float = 0.99,
        stars: bool = True,
    ) -> None:
        self.items = Items()
        self.rows = Rows()
        self._index = index
        self._vectors = vectors
        self._evidence = evidence
        self._judge = Judge(calibration, precision)
        self._stars = stars
        self._references = 0
        self._unindexed: list[Ids] = []
        self._pending: dict[str, Pending] = {}
        self._removed: set[str] = set()
        self._published: Mapping[int, Verdict] = {}

    def apply(self, entries: Sequence[Entry], published: Mapping[int, Verdict] | None = None) -> list[Envelope]:
        """Take in records of the log, in order, and return one envelope for each.

        Described items are embedded, searched and compared as one batch as far as they do not depend on each other's
        removal; the result is that of applying the records one at a time.

        Args:
            published: verdicts that were given earlier, by offset; each takes the place of the one found now, for an
                approximate search need not find the same again.
        """
        self._published = published or {}
        envelopes: list[Envelope] = []
        run: list[Entry] = []
        done: set[str] = set()
        size = 0
        for entry in entries:
            record = entry.record
            plain = isinstance(record, Described) and record.id not in done and self._is_new(record)
            rows = self._rows_with(record) if isinstance(record, Described) else 0
            if not plain or size + rows > MAX_BATCH_ROWS:
                envelopes += self._describe(run)
                run, done, size = [], set(), 0
            if isinstance(record, Described) and plain:
                run.append(entry)
                done.add(record.id)
                size += rows
            else:
                envelopes.append(self._apply_alone(entry))
        return envelopes + self._describe(run)

    def lookup(self, queries: Sequence[Described], k: int) -> list[list[Matched]]:
        """Return for each whole item the k references most like it, best first, whatever the decision.

        Nothing is taken in. Parts of one item are joined first, see `messages.join_parts`.
        """
        if not queries:
            return []
        embedded = _concatenate([query.embedded() for query in queries])
        pictures = Pictures(embedded.vectors, embedded.hashes, self._evidence.background(embedded.vectors))
        speaks = embedded.detail >= MIN_DETAIL
        pairs = self._search(pictures, speaks, max(CANDIDATES, 4 * k), np.full(len(speaks), -np.inf))
        found = []
        start = 0
        for query, mine in zip(queries, _split(pairs, [len(query.pts) for query in queries]), strict=True):
            stop = start + len(query.pts)
            track = Track(
                pts=np.asarray(query.pts),
                vectors=embedded.vectors[start:stop],
                hashes=embedded.hashes[start:stop],
                background=pictures.background[start:stop],
                speaks=speaks[start:stop],
                shared=self._sharers(mine, stop - start),
                seconds=query.seconds,
            )
            found.append(self._matches(query, Side(query.kind, partial(_same, track)), mine, k, False))
            start = stop
        return found

    def parts(self) -> Parts:
        """Return what the state consists of, to be written down; not a copy."""
        return Parts(self.items, self.rows, self._pending, self._removed, self._index, self._vectors)

    def restore(self, items: Items, rows: Rows, pending: dict[str, Pending], removed: set[str]) -> None:
        """Take over what was written down; the index and the vectors hold what belongs to it already."""
        self.items, self.rows, self._pending, self._removed = items, rows, pending, removed
        self._references = len(self._index)

    def close(self) -> None:
        """Let go of files, memory and processes; the state is of no use afterwards."""
        self._index.close()
        self._vectors.close()

    def compare(self, query_id: str, reference_id: str) -> Matched:
        """Compare two items that are held, with all that is known by now.

        Raises:
            UsageError: one of them is not held.
        """
        query, reference = self.items.named(query_id), self.items.named(reference_id)
        if query is None or reference is None:
            raise UsageError(f"no item {query_id if query is None else reference_id!r}")
        return _matched(reference, self._compare_pair(query, reference))

    @property
    def _chances(self) -> int:
        """References that a query is judged among."""
        return max(self._references, MIN_REFERENCES)

    # -- records one at a time -----------------------------------------------------------------------------------

    def _is_new(self, record: Described) -> bool:
        return record.id not in self.items and record.id not in self._removed and self._continues(record)

    def _continues(self, record: Described) -> bool:
        """Whether a part is the next one of its item; part 0 starts afresh. Nothing goes back to an older version."""
        pending = self._pending.get(record.id)
        if pending is None:
            return record.part == 0
        if _is_older(record, _source(pending.first)):
            return False
        return record.part == 0 or (record.part == pending.parts and record.sha256 == pending.first.sha256)

    def _rows_with(self, record: Described) -> int:
        """Return how many rows a batch compares because of this part: with the last one, those of all parts."""
        pending = self._pending.get(record.id) if record.part > 0 and record.last else None
        return len(record.pts) + (0 if pending is None else pending.frames)

    def _apply_alone(self, entry: Entry) -> Envelope:
        record = entry.record
        if isinstance(record, Removed):
            return Envelope(offset=entry.offset, events=tuple(self._take_down(record)))
        known, pending = self.items.named(record.id), self._pending.get(record.id)
        if record.id in self._removed:
            return _ignored(entry, record.id, "was taken down")
        latest = known.source if known is not None else _source(pending.first) if pending is not None else None
        if latest is not None and _is_older(record, latest):
            return _ignored(entry, record.id, "older than the version that is known")
        if known is not None and record.sha256 == known.sha256:
            known.source = _source(record)
            return Envelope(offset=entry.offset, events=(Redelivered(id=record.id),) if record.last else ())
        if not self._continues(record):
            return _ignored(entry, record.id, "a part without the parts before it")
        events_before = () if known is None else (Replaced(id=record.id), *self._forget(known))
        envelope = self._describe([entry])[0]
        return Envelope(offset=entry.offset, events=(*events_before, *envelope.events))

    def _take_down(self, record: Removed) -> Iterator[Event]:
        self._removed.add(record.id)
        self._pending.pop(record.id, None)
        known = self.items.named(record.id)
        if known is not None:
            yield from self._forget(known)
            yield RemovedEvent(id=record.id)

    def _forget(self, item: Item) -> list[Event]:
        """Remove an item; its members, if it was a head, stand under the earliest of them that they are close to."""
        self._flush()
        if item.is_head:
            rows = self._indexed_rows(item)
            self._index.remove(rows)
            self._references -= len(rows)
        orphans = self.items.remove(item)
        events: list[Event] = []
        while orphans:
            head, orphans = orphans[0], orphans[1:]
            self._make_head(head)
            joined, orphans = self._rejoin(head, orphans)
            events.append(ReHeaded(old=item.id, new=head.id, members=tuple(member.id for member in joined)))
        self._flush()
        return events

    def _rejoin(self, head: Item, orphans: list[Item]) -> tuple[list[Item], list[Item]]:
        """Split orphans into those that copy the new head as a whole, now its members, and the others."""
        joined, left = [], []
        for orphan in orphans:
            if _is_identical(orphan, head) or _is_copy(self._compare_pair(orphan, head)):
                orphan.head = head.number
                head.members.append(orphan.number)
                joined.append(orphan)
            else:
                left.append(orphan)
        return joined, left

    def _compare_pair(self, query: Item, reference: Item) -> Outcome:
        q, r = query.rows, reference.rows
        both_images = query.kind is reference.kind is Kind.IMAGE
        floor = -np.inf if both_images else self._judge.min_vote
        frame, other, distance, strength = near(self._evidence, self._pictures(q), self._pictures(r), floor, CANDIDATES)
        speak = self.rows.speaks[q[frame]] & self.rows.speaks[r[other]]
        if not both_images:
            frame, other, distance, strength = frame[speak], other[speak], distance[speak], strength[speak]
        pairs = Pairs(frame, r[other], distance, strength)
        outcome = compare_items(
            self._side(query),
            self._side(reference),
            pairs,
            (frame, other),
            self._evidence,
            self._judge,
            self._chances,
        )
        # Two blank pages have a distance; that they are close says nothing.
        return outcome if speak.all() else replace(outcome, judgement=DISTINCT)

    # -- described items, a batch at a time ----------------------------------------------------------------------

    def _describe(self, entries: Sequence[Entry]) -> list[Envelope]:
        records = [entry.record for entry in entries if isinstance(entry.record, Described)]
        if not records:
            return []
        embedded = _concatenate([record.embedded() for record in records])
        counts = [len(record.pts) for record in records]
        pendings = [self._part(record) for record in records]
        first = len(self.rows)
        rows = self.rows.append(
            sum(counts),
            item=np.repeat([pending.number for pending in pendings], counts),
            frame=np.concatenate([p.frames - n + np.arange(n) for p, n in zip(pendings, counts, strict=True)]),
            pts=np.concatenate([record.pts for record in records]),
            hash=embedded.hashes,
            speaks=embedded.detail >= MIN_DETAIL,
            background=self._evidence.background(embedded.vectors),
        )
        self._vectors.append(rows, embedded.vectors)
        for pending, stop in zip(pendings, (first + np.cumsum(counts)).tolist(), strict=True):
            pending.ranges.append((first, stop))
            first = stop
        # Only with the last part an item is compared, all of it, since what came between its parts is earlier too.
        found = iter(self._candidates([p for p, record in zip(pendings, records, strict=True) if record.last]))
        envelopes = []
        for entry, record, pending in zip(entries, records, pendings, strict=True):
            published = self._published.get(entry.offset)
            events = (self._settle(pending, next(found), published),) if record.last else ()
            envelopes.append(Envelope(offset=entry.offset, events=events))
        self._flush()
        return envelopes

    def _part(self, record: Described) -> Pending:
        """Return the item that a part belongs to, the part counted in."""
        if record.part == 0:
            self._pending[record.id] = Pending(record, self.items.next_number())
        pending = self._pending[record.id]
        pending.parts = record.part + 1
        pending.frames += len(record.pts)
        if record.last:
            del self._pending[record.id]
        return pending

    def _candidates(self, pendings: Sequence[Pending]) -> list[Pairs]:
        """Return for each item its pairs with all that is earlier; in those, the query is a frame of the item."""
        if not pendings:
            return []
        rows = np.concatenate([pending.rows for pending in pendings])
        pictures, speaks = self._pictures(rows), self.rows.speaks[rows]
        floor = np.repeat([self._floor(pending.first.kind) for pending in pendings], [p.frames for p in pendings])
        pairs = self._search(pictures, speaks, CANDIDATES, floor)
        if len(pendings) > 1:
            pairs = self._with_earlier_in_batch(pairs, rows, pictures, speaks, floor)
        return _split(pairs, [pending.frames for pending in pendings])

    def _floor(self, kind: Kind) -> float:
        """Return the evidence that a pair needs to matter: frames vote, an image alone must be more than distinct."""
        if kind is Kind.VIDEO:
            return self._judge.min_vote
        return max(self._judge.min_vote, self._judge.thresholds(self._chances).min_unsure)

    def _search(
        self, pictures: Pictures, speaks: npt.NDArray[np.bool_], k: int, floor: npt.NDArray[np.float64]
    ) -> Pairs:
        """Return pairs of n pictures, by place, with indexed descriptors whose evidence reaches the floor, (n,)."""
        asking = np.flatnonzero(speaks)
        if asking.size == 0 or len(self._index) == 0:
            return _NO_PAIRS
        parts = [
            self._search_some(pictures, asking[start : start + SEARCHED_AT_ONCE], min(k, len(self._index)), floor)
            for start in range(0, len(asking), SEARCHED_AT_ONCE)
        ]
        return _join(parts)

    def _search_some(self, pictures: Pictures, asking: Ids, k: int, floor: npt.NDArray[np.float64]) -> Pairs:
        found = self._index.search(pictures.vectors[asking], k)
        bits = differing_bits(pictures.hashes[asking][:, None], self.rows.hash[found.ids])  # (n, k)
        strength = self._evidence.of(found.distances, bits, pictures.background[asking][:, None])
        # Where every candidate is likely a match, a still video may have filled the places of others.
        crowded = strength[:, -1] >= self._judge.thresholds(self._chances).min_unsure
        more = min(MOST_CANDIDATES, len(self._index))
        if k >= more or not crowded.any():
            crowded[:] = False
        query, place = np.nonzero((strength >= floor[asking][:, None]) & (found.ids >= 0) & ~crowded[:, None])
        pairs = Pairs(asking[query], found.ids[query, place], found.distances[query, place], strength[query, place])
        if k >= MOST_CANDIDATES:
            pairs = self._nearest_of_each_item(pairs)
        if not crowded.any():
            return pairs
        pairs = _join([pairs, self._search_some(pictures, asking[crowded], more, floor)])
        return pairs.take(np.argsort(pairs.query, kind="stable"))

    def _nearest_of_each_item(self, pairs: Pairs) -> Pairs:
        """Keep for each query, whose pairs are sorted by distance, no more than CANDIDATES descriptors of one item."""
        items = self.rows.item[pairs.reference]
        order = np.lexsort((items, pairs.query))
        new = np.diff(pairs.query[order], prepend=-1) | np.diff(items[order], prepend=-1)
        starts = np.flatnonzero(new)
        rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
        return pairs.take(np.sort(order[rank < CANDIDATES]))

    def _with_earlier_in_batch(
        self, pairs: Pairs, rows: Ids, pictures: Pictures, speaks: npt.NDArray[np.bool_], floor: npt.NDArray[np.float64]
    ) -> Pairs:
        """Add pairs with earlier rows of the same batch, which are not in the index yet, and sort by query."""
        query, reference, distance, strength = near(self._evidence, pictures, pictures, floor)
        items = self.rows.item[rows]
        kept = (query > reference) & speaks[query] & speaks[reference] & (items[query] != items[reference])
        query = np.concatenate([pairs.query, query[kept]])
        order = np.argsort(query, kind="stable")
        return Pairs(
            query[order],
            np.concatenate([pairs.reference, rows[reference[kept]]])[order],
            np.concatenate([pairs.distance, distance[kept]])[order],
            np.concatenate([pairs.evidence, strength[kept]])[order],
        )

    # -- one item ------------------------------------------------------------------------------------------------

    def _settle(self, pending: Pending, pairs: Pairs, published: Verdict | None) -> Verdict:
        """Decide on an item whose descriptors are all known, unless that was done, and take it in."""
        first = pending.first
        item = Item(
            number=pending.number,
            id=first.id,
            kind=first.kind,
            sha256=first.sha256,
            pixels_digest=first.pixels_digest,
            source=_source(first),
            seconds=first.seconds,
            ranges=tuple(pending.ranges),
        )
        if item.kind is Kind.IMAGE:
            # Below this an image is distinct from anything; most candidates are, and comparing each costs time.
            least = self._judge.thresholds(self._chances).min_unsure
            pairs = pairs.take(np.flatnonzero(pairs.evidence.astype(np.float64) >= least))
        pairs = self._with_heads(pairs)
        if item.kind is Kind.VIDEO:
            self.rows.shared[item.rows] = self._sharers(pairs, pending.frames)
        matches = self._matches(first, self._side(item), pairs, MAX_MATCHES, True)
        matches = [match for match in matches if match.decision is not Decision.DISTINCT]
        if published is not None:
            matches = list(published.matches)
        whole = next((m for m in matches if m.whole and m.decision is Decision.DUPLICATE), None)
        head = self.items.named(whole.reference) if whole is not None and self._stars else None
        if head is None:
            self._make_head(item)
        else:
            item.head = head.number
        self.items.add(item)
        decision = matches[0].decision if matches else Decision.DISTINCT
        return Verdict(id=item.id, decision=decision, matches=tuple(matches))

    def _matches(self, query: Described, side: Side, pairs: Pairs, k: int, taken_in: bool) -> list[Matched]:
        """Compare a query with each reference that its pairs name and with its identical twin; best first.

        Args:
            taken_in: the query becomes part of the state, so its segments count for what frames are common.
        """
        twin, exact = self._twin(query)
        head = None if twin is None else self.items.get(twin.head)
        numbers = self.rows.item[pairs.reference]
        order = np.argsort(numbers, kind="stable")
        starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
        matches: list[Matched] = []
        for where in np.split(order, starts[1:]) if order.size else []:
            reference = self.items.get(int(numbers[where[0]]))
            if reference is None or not reference.is_head or reference is head:
                continue
            mine = pairs.take(where)
            frames = (mine.query, self.rows.frame[mine.reference])
            outcome = compare_items(
                side, self._side(reference), mine, frames, self._evidence, self._judge, self._chances
            )
            if taken_in:
                self._note_shared(reference, outcome)
            matches.append(_matched(reference, outcome))
        matches.sort(key=lambda match: (-RANK[match.decision], -match.evidence))
        if twin is not None and head is not None:
            outcome = self._itself(head) if twin is head else self._compare_pair(twin, head)
            matches.insert(0, _exactly(twin, head, exact, outcome))
        return matches[:k]

    def _twin(self, query: Described) -> tuple[Item | None, Exact]:
        """Return the earliest item with identical bytes, else pixels."""
        same_bytes, same_pixels = self.items.identical(query.sha256, query.pixels_digest)
        if same_bytes is not None:
            return same_bytes, Exact.BYTES
        return same_pixels, Exact.PIXELS if same_pixels is not None else Exact.NO

    def _itself(self, item: Item) -> Outcome:
        """Return how an item matches another with the same content."""
        background = self.rows.background[item.rows]
        nothing = np.zeros_like(background)
        evidence = self._evidence.of(nothing, nothing.astype(np.int64), background)
        mean = float(evidence.mean()) if evidence.size else 0.0
        spans = (Span(0.0, item.seconds, 0.0, item.seconds, mean),) if item.kind is Kind.VIDEO else ()
        return Outcome(DISTINCT, 0.0, mean, whole=True, spans=spans)

    def _with_heads(self, pairs: Pairs) -> Pairs:
        """Leave out references that are no heads, or no more."""
        numbers, place = np.unique(self.rows.item[pairs.reference], return_inverse=True)
        items = [self.items.get(number) for number in numbers.tolist()]
        is_head = np.array([item is not None and item.is_head for item in items], dtype=np.bool_)
        return pairs.take(np.flatnonzero(is_head[place]))

    def _sharers(self, pairs: Pairs, frames: int) -> Ids:
        """Return with how many items each of a query's frames is more likely than not in common: int64 (frames,).

        Weaker resemblance is no sign: among many references, some resemble any frame.
        """
        likely = np.flatnonzero(pairs.evidence >= self._judge.thresholds(self._chances).min_unsure)
        both = np.stack([pairs.query[likely], self.rows.item[pairs.reference[likely]]])
        return np.bincount(np.unique(both, axis=1)[0], minlength=frames).astype(np.int64)

    def _note_shared(self, reference: Item, outcome: Outcome) -> None:
        """Count one more item that shows these frames of the reference; a copy as a whole is not one."""
        if outcome.whole:
            return
        least = self._judge.thresholds(self._chances).min_unsure
        rows = reference.rows
        shown = np.zeros(len(rows), dtype=np.bool_)
        for segment in outcome.segments:
            if segment.evidence >= least:
                shown[segment.reference[0] : segment.reference[1] + 1] = True
        self.rows.shared[rows[shown]] += 1

    def _pictures(self, rows: Ids) -> Pictures:
        return Pictures(self._vectors.read(rows), self.rows.hash[rows], self.rows.background[rows])

    def _side(self, item: Item) -> Side:
        @cache  # a query is compared with many
        def track() -> Track:
            rows = item.rows
            return Track(
                pts=self.rows.pts[rows],
                vectors=self._vectors.read(rows),
                hashes=self.rows.hash[rows],
                background=self.rows.background[rows],
                speaks=self.rows.speaks[rows],
                shared=self.rows.shared[rows],
                seconds=item.seconds,
            )

        return Side(item.kind, track)

    # -- heads -----------------------------------------------------------------------------------------------------

    def _make_head(self, item: Item) -> None:
        item.head = item.number
        rows = self._indexed_rows(item)
        self._unindexed.append(rows)
        self._references += len(rows)

    def _indexed_rows(self, item: Item) -> Ids:
        rows = item.rows
        return rows[self.rows.speaks[rows]]

    def _flush(self) -> None:
        """Put the descriptors of new heads into the index."""
        if self._unindexed:
            rows = np.concatenate(self._unindexed)
            self._unindexed = []
            if rows.size:
                self._index.add(rows, self._vectors.read(rows))


_NO_ROWS = np.zeros(0, dtype=np.int64)
_NO_PAIRS = Pairs(_NO_ROWS, _NO_ROWS, np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.float32))


def _same(track: Track) -> Track:
    return track


def _join(parts: Sequence[Pairs]) -> Pairs:
    return Pairs(
        np.concatenate([part.query for part in parts]),
        np.concatenate([part.reference for part in parts]),
        np.concatenate([part.distance for part in parts]),
        np.concatenate([part.evidence for part in parts]),
    )


def _split(pairs: Pairs, frames: Sequence[int]) -> list[Pairs]:
    """Cut pairs that are sorted by query into those of each item, the query counted from its first frame."""
    stops = np.cumsum(frames)
    borders = np.searchsorted(pairs.query, [0, *stops])
    found = []
    for first, start, stop in zip([0, *stops], borders[:-1], borders[1:], strict=False):
        one = pairs.take(np.arange(start, stop))
        found.append(replace(one, query=one.query - first))
    return found


def _source(record: Described) -> tuple[int, int]:
    return record.source_partition, record.source_offset


def _is_older(record: Described, source: tuple[int, int]) -> bool:
    return record.source_partition == source[0] and record.source_offset < source[1]


def _is_copy(outcome: Outcome) -> bool:
    return outcome.whole and outcome.judgement.decision is Decision.DUPLICATE


def _is_identical(a: Item, b: Item) -> bool:
    return (a.sha256 != b"" and a.sha256 == b.sha256) or (a.pixels_digest != b"" and a.pixels_digest == b.pixels_digest)


def _matched(reference: Item, outcome: Outcome) -> Matched:
    return Matched(
        reference=reference.id,
        bank="seen",
        decision=outcome.judgement.decision,
        distance=outcome.distance,
        evidence=outcome.evidence,
        probability=outcome.judgement.probability,
        whole=outcome.whole,
        spans=outcome.spans,
    )


def _exactly(twin: Item, head: Item, exact: Exact, outcome: Outcome) -> Matched:
    """Identical content is a copy whatever the descriptors say; those of the twin stand in for the query's."""
    return Matched(
        reference=head.id,
        bank="seen",
        decision=Decision.DUPLICATE,
        exact=exact,
        identical_to=twin.id,
        distance=outcome.distance,
        evidence=outcome.evidence,
        probability=1.0,
        whole=True,
        spans=outcome.spans,
    )


def _ignored(entry: Entry, item_id: str, why: str) -> Envelope:
    return Envelope(offset=entry.offset, events=(Ignored(id=item_id, why=why),))


def _concatenate(parts: Sequence[Embedded]) -> Embedded:
    return Embedded(
        vectors=np.concatenate([part.vectors for part in parts]),
        hashes=np.concatenate([part.hashes for part in parts]),
        detail=np.concatenate([part.detail for part in parts]),
    )
