"""Live videos: their frames, and whether they run.

A live video ends by its end marker, for good, or when the log's time says that no frame came for `idle_seconds`; a
frame that comes after that has it go on. What a running one needs is bounded: seconds and row of `max_frames` frames,
and what `live.verdicts` keeps, which is the votes of `VOTING` frames and `MAX_MATCHED` references.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from neardup.pipeline.match.data.items import Item
from neardup.pipeline.match.data.tables import Frames, Heads, Tables
from neardup.pipeline.match.decide.evidence import differing_bits
from neardup.pipeline.match.live.match import LiveMatch
from neardup.pipeline.types import Kind

DROPPED = 1000
"""Frames forgotten at a time."""
STILL_DISTANCE = 0.01
STILL_BITS = 8
"""A frame that differs from the one before by no more than both shows the same still picture."""


@dataclass(frozen=True, slots=True)
class LiveRules:
    """What may be chosen of live videos; all who apply one log should choose the same.

    Attributes:
        idle_seconds: a live video ends when no frame of it came for so long.
        max_frames: newest frames that later items are compared with; more than DROPPED.
        growth_seconds: an event tells that spans grew when they did by so much, and when what was shown is over.
        unsure_seconds: an unsure match is flagged when what showed it is over, or has gone on for so long: it may yet
            become sure.
    """

    idle_seconds: float = 300.0
    max_frames: int = 50_000
    growth_seconds: float = 10.0
    unsure_seconds: float = 30.0


@dataclass(slots=True)
class Live:
    """A live video.

    Attributes:
        number: of its item.
        newest_ms: the log's time at its newest frame.
        taken: frames that were taken in, blank ones too.
        oldest: seconds before which frames are forgotten.
        searched: row of the frame that was put into the index last, -1 before the first.
        ended: its end marker came.
        copies: numbers of items that were found to show it, so that it is never said to show them.
    """

    id: str
    number: int
    newest_ms: int = 0
    taken: int = 0
    oldest: float = float("-inf")
    searched: int = -1
    running: bool = True
    ended: bool = False
    copies: set[int] = field(default_factory=set)
    sightings: dict[int, LiveMatch] = field(default_factory=dict)


class LiveVideos:
    """All live videos, those that have ended too, for a frame may come again."""

    def __init__(self, tables: Tables, heads: Heads, rules: LiveRules) -> None:
        self.rules = rules
        self._tables = tables
        self._heads = heads
        self._live: dict[str, Live] = {}
        self._running: dict[str, Live] = {}

    def __iter__(self) -> Iterator[Live]:
        return iter(self._live.values())

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._live

    def get(self, item_id: str) -> Live | None:
        """Return the live video of this id."""
        return self._live.get(item_id)

    def frames(self, live: Live) -> Frames:
        """Return the frames of a live video that are held."""
        return self._tables.live[live.number]

    def restore(self, lives: Iterable[Live]) -> None:
        """Take over what was written down, and find the frames in the restored tables."""
        rows = self._tables.rows
        self._live = {live.id: live for live in lives}
        self._running = {live.id: live for live in self._live.values() if live.running}
        numbers = np.array(sorted(live.number for live in self._live.values()), dtype=np.int64)
        theirs = np.flatnonzero(np.isin(rows.item[: len(rows)], numbers))
        theirs = theirs[np.lexsort((rows.pts[theirs], rows.item[theirs]))]
        borders = np.searchsorted(rows.item[theirs], numbers[1:])
        by_number = dict(zip(numbers.tolist(), np.split(theirs, borders), strict=False))
        for live in self._live.values():
            mine = by_number[live.number]
            mine = mine[rows.pts[mine] >= live.oldest]
            self._tables.live[live.number] = Frames(rows.pts[mine], mine, live.running)

    def begin(self, item_id: str, source: tuple[int, int]) -> Live:
        """Make room for a live video that is not held; it has no frames yet."""
        number = self._tables.items.next_number()
        item = Item(number, item_id, Kind.VIDEO, b"", b"", source, seconds=0.0, ranges=())
        self._tables.live[number] = Frames()
        self._heads.add(item)
        self._tables.items.add(item)
        live = self._live[item_id] = self._running[item_id] = Live(item_id, number)
        return live

    def forget(self, item: Item) -> None:
        """Forget a live video that was taken out of the items."""
        self._running.pop(item.id, None)
        if self._live.pop(item.id, None) is not None:
            del self._tables.live[item.number]

    def idle(self, now_ms: int) -> list[Live]:
        """Return the running live videos that have had no frame for too long, at this time of the log."""
        limit = now_ms - 1000 * self.rules.idle_seconds
        return sorted((live for live in self._running.values() if live.newest_ms < limit), key=lambda live: live.number)

    def note_time(self, item_id: str, now_ms: int) -> None:
        """Remember that something came at this time of the log, if it is of a live video."""
        if (live := self._live.get(item_id)) is not None:
            live.newest_ms = max(live.newest_ms, now_ms)

    def resume(self, live: Live) -> None:
        """Go on with a live video that had fallen silent."""
        live.running = self.frames(live).running = True
        self._running[live.id] = live

    def stop(self, live: Live) -> None:
        """Have a live video end, for the time being or for good."""
        live.running = self.frames(live).running = False
        del self._running[live.id]

    def expects(self, live: Live, pts: float, coming: int) -> bool:
        """Return whether a frame can simply be taken in, while up to so many others are on their way."""
        frames = self.frames(live)
        return (
            live.running and len(frames) + coming < self.rules.max_frames and pts >= live.oldest and pts not in frames
        )

    def pass_over_still(self, live: Live, row: int) -> None:
        """Leave a frame out of the index that is as good as the one put there last: it would crowd out others."""
        rows = self._tables.rows
        if not rows.speaks[row]:
            return
        if live.searched >= 0:
            pair = np.array([live.searched, row])
            before, now = self._tables.vectors.read(pair)
            if float(((now - before) ** 2).sum()) <= STILL_DISTANCE and differing_bits(*rows.hash[pair]) <= STILL_BITS:
                rows.searched[row] = False
                return
        live.searched = row

    def make_room(self, live: Live) -> None:
        """Forget the oldest frames if there are too many."""
        frames = self.frames(live)
        if len(frames) >= self.rules.max_frames:
            dropped = frames.drop_oldest(DROPPED)
            self._heads.drop(dropped)
            self._tables.rows.searched[dropped] = False
            if live.searched in dropped:
                live.searched = -1
            live.oldest = frames.pts[0]

    def note_copy(self, reference: str, number: int) -> None:
        """Remember that an item shows this reference, if that is a live video: a screenshot, a clip."""
        if (live := self._live.get(reference)) is not None and not live.ended:
            live.copies.add(number)
