"""The verdicts on live videos while they run.

A frame votes for the references that it resembles, and every few votes the newest frames are compared with a reference
(see `live.match`). An event is emitted when a reference is new, a decision rose, or spans grew by a step, not for each
frame. Where proofs are made, a match is asked about when it is found, once in each window until one agrees, and flagged
when that is decided. It is flagged once, and a second time where what was flagged as unsure became a duplicate.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from neardup.pipeline.log.changes import SEEN, Action
from neardup.pipeline.log.proofs import Ask, Asked
from neardup.pipeline.log.records import Entry, Matched, Rolling, Verdict
from neardup.pipeline.log.verdicts import RANK, PublishedVerdicts, combine, is_silenced
from neardup.pipeline.match.compare.banks import Banks
from neardup.pipeline.match.compare.collection import Collection
from neardup.pipeline.match.compare.compare import MAX_MATCHES, PROVED, moments_of
from neardup.pipeline.match.compare.reviews import Reviews
from neardup.pipeline.match.data.items import Item, link
from neardup.pipeline.match.data.tables import Frames
from neardup.pipeline.match.data.undecided import Pair, Undecided, UndecidedItems
from neardup.pipeline.match.decide.decide import Judgement, PairOutcome, Pairs, at_most_unsure
from neardup.pipeline.match.decide.evidence import Evidence
from neardup.pipeline.match.decide.segments import Track, Votes
from neardup.pipeline.match.live.match import LiveMatch, WindowMatch, see_image, see_video
from neardup.pipeline.match.live.videos import Live, LiveVideos
from neardup.pipeline.types import Decision, Doubt, Kind

WINDOW = 256
"""Newest frames that are looked at."""
VOTING = 64
"""Newest frames whose votes say where to look: what older ones showed is known."""
OVER = 8
"""Newest frames of which none resembles a reference any more when what showed it is over."""
MAX_MATCHED = 256
"""References that are remembered as matched, those seen last."""
VOTES_PER_REFERENCE = 4
REFERENCES_PER_FRAME = 32


class LiveVerdicts:
    """Compares live videos with the stream and the curated banks, and emits what is new.

    Args:
        undecided: takes what waits for a proof. most: that may wait; above it only curated banks are asked about, and
            with 0 nothing is: evidence decides alone.
    """

    def __init__(
        self,
        seen: Collection,
        banks: Banks,
        lives: LiveVideos,
        reviews: Reviews,
        evidence: Evidence,
        published: PublishedVerdicts,
        undecided: UndecidedItems,
        most: int = 0,
    ) -> None:
        self._seen = seen
        self._tables = seen.tables
        self._banks = banks
        self._lives = lives
        self._reviews = reviews
        self._evidence = evidence
        self._published = published
        self._undecided = undecided
        self._most = most

    def take(
        self, live: Live, entry: Entry, pts: float, row: int, source: tuple[int, int], pairs: Pairs
    ) -> tuple[Rolling, ...]:
        """Take in a frame and return its events.

        Args:
            entry: its record; events that were published for it replace those computed now.
            pairs: of the frame with earlier descriptors of heads, and with references of curated banks.
        """
        frames = self._lives.frames(live)
        frames.add(pts, row)
        live.taken += 1
        item = self._tables.items.named(live.id)
        assert item is not None
        item.seconds = frames.pts[-1]
        item.source = max(item.source, source) if item.source[0] == source[0] else source
        self._seen.heads.extend(np.array([row]))
        self._vote(live, pts, pairs)
        gone = self._look(live)
        published = self._published.rolling(entry.offset, live.id, running=True)
        if published is None:
            asked = self._ask(live, entry.offset)
            return self._emit(live, self._news(live, asked, gone), entry)
        return self._emit(live, published, entry)

    def settle(self, live: Live, waiting: Undecided, entry: Entry) -> tuple[Rolling, ...]:
        """Return the events of a record that brings the last answer that was missing, or that there is none.

        A reference that was removed or disabled meanwhile is matched no more.
        """
        gone = []
        for pair in waiting.pairs:
            live_match = live.sightings.get(pair.number)
            if live_match is None or live_match.ask != waiting.offset:
                continue
            if self._is_usable(pair.number, entry.timestamp_ms):
                live_match.take(pair, waiting.expired)
            else:
                del live.sightings[pair.number]
                gone += [(pair.candidate.bank, pair.candidate.reference)] if live_match.is_flagged else []
        published = self._published.rolling(entry.offset, live.id, live.running)
        return self._emit(live, self._news(live, gone=gone) if published is None else published)

    def _is_usable(self, number: int, now_ms: int) -> bool:
        if self._tables.items.get(number) is not None:
            return True
        found = self._banks.find(number)
        return found is not None and found[0].usable(now_ms)(found[1])

    def end(self, live: Live, entry: Entry) -> tuple[Rolling, ...]:
        """Return the final events and drop what only a running video needs; what was not asked about is so now.

        Args:
            entry: the end marker, or the record at whose time no frame has come for too long.
        """
        gone = self._look(live, at_end=True)
        self._lives.stop(live)
        published = self._published.rolling(entry.offset, live.id, running=False)
        if published is None:
            news = self._news(live, self._ask(live, entry.offset), gone)
            published = [*news] or [Rolling(verdict=self._verdict(live))]
        events = self._emit(live, published, entry)
        item = self._item(live)
        live.sightings = {number: one for number, one in live.sightings.items() if one.match is not None}
        for live_match in live.sightings.values():
            live_match.votes.clear()
            self._count_shared(item, live_match)
        return events

    # -- looking ---------------------------------------------------------------------------------------------------

    def _vote(self, live: Live, pts: float, pairs: Pairs) -> None:
        votes: dict[int, list[tuple[int, float, float]]] = {}
        numbers = self._tables.rows.item[pairs.reference].tolist()
        for place in np.lexsort((pairs.reference, -pairs.evidence)).tolist():
            number = numbers[place]
            if number not in votes and len(votes) == REFERENCES_PER_FRAME:
                continue
            mine = votes.setdefault(number, [])
            if len(mine) < VOTES_PER_REFERENCE:
                numbered = int(pairs.reference[place]), float(pairs.evidence[place]), float(pairs.distance[place])
                mine.append(numbered)
        for number, mine in votes.items():
            live.sightings.setdefault(number, LiveMatch(number)).vote(pts, mine)

    def _look(self, live: Live, at_end: bool = False) -> list[tuple[str, str]]:
        """Look at references for which enough frames voted, or that are over.

        Returns:
            Bank and reference of matches that were flagged, and whose reference has left.
        """
        left = []
        frames = self._lives.frames(live)
        begin = frames.pts[-min(VOTING, len(frames))]
        over = frames.pts[-OVER] if len(frames) >= OVER else frames.pts[0]
        window: Track | None = None
        for live_match in list(live.sightings.values()):
            is_over = at_end or live_match.last < over
            live_match.going_on = not is_over
            if live_match.new >= (1 if is_over else live_match.wait):
                window = window or self._window(frames)
                live_match.looked(begin)
                self._look_at(live, live_match, window)
            if live_match.last < begin:
                live_match.votes.clear()
            gone = self._find(live_match.reference) is None
            if gone and live_match.is_flagged and live_match.match is not None:
                left.append((live_match.match.bank, live_match.match.reference))
            if gone or (live_match.match is None and live_match.last < begin):
                del live.sightings[live_match.reference]
        matched = [one for one in live.sightings.values() if one.match is not None]
        if len(matched) > MAX_MATCHED:
            del live.sightings[min(matched, key=lambda one: one.last).reference]
        return left

    def _window(self, frames: Frames) -> Track:
        pts, rows = frames.newest(WINDOW)
        return self._tables.track(rows, float(pts[0]), float(pts[-1]))

    def _look_at(self, live: Live, live_match: LiveMatch, window: Track) -> None:
        found = self._find(live_match.reference)
        if found is None or live_match.reference in live.copies or not live_match.votes:
            return
        collection, reference = found
        shown = self._see(live, live_match, window, collection, reference)
        if shown is not None and not self._reviews.rejects(self._item(live), [reference]):
            live_match.learn(shown, reference.id, collection, window.begin)

    def _find(self, number: int) -> tuple[Collection, Item] | None:
        """Return a reference of the stream or of a curated bank, with what judges it."""
        item = self._tables.items.get(number)
        if item is not None:
            return self._seen, item
        found = self._banks.find(number)
        return None if found is None else (found[0].collection, found[1])

    def _item(self, live: Live) -> Item:
        item = self._tables.items.get(live.number)
        assert item is not None
        return item

    def _see(
        self, live: Live, live_match: LiveMatch, window: Track, collection: Collection, reference: Item
    ) -> WindowMatch | None:
        judge, chances = collection.judge, collection.heads.chances
        pts, rows, evidence, distance = map(np.array, zip(*live_match.votes, strict=True))
        votes = Votes(np.searchsorted(window.pts, pts), np.zeros_like(rows), evidence.astype(np.float32))
        if reference.kind is Kind.IMAGE:
            return see_image(window, votes, float(distance.min()), live.taken, judge, chances)
        whole, *_ = self._tables.side(reference).views()  # of boxes nothing is seen live
        track = whole.side.track()
        held = self._tables.rows.pts[rows] >= track.pts[0]  # a live video may have forgotten some since
        if not held.any():
            return None
        shown, place = whole.seen(self._tables.frames_of(reference, rows[held]))
        if not shown.any():
            return None
        votes = Votes(votes.query[held][shown], place[shown], votes.evidence[held][shown])
        newest = self._lives.frames(live).newest(WINDOW)[1]
        shift = self._tables.cohort(newest).shift_of_moments(reference.kin, reference.number)
        return see_video(window, track, votes, live.taken, self._evidence, judge, chances, shift)

    def _count_shared(self, item: Item, live_match: LiveMatch) -> None:
        """Count, once, that a live video shows these frames of a reference."""
        reference = self._tables.items.get(live_match.reference)
        if reference is None or live_match.match is None or live_match.shared or reference.kind is Kind.IMAGE:
            return
        spans = [(span.reference_start, span.reference_end) for span in live_match.match.where.spans]
        self._tables.share(item, reference, spans)
        live_match.shared = True

    # -- proofs ----------------------------------------------------------------------------------------------------

    def _ask(self, live: Live, offset: int) -> Asked | None:
        """Return what of the window is to be proved, the likeliest, each reference once in a window."""
        frames, item = self._lives.frames(live), self._item(live)
        begin = frames.pts[-min(WINDOW, len(frames))]
        full, wanted = self._undecided.waiting >= self._most, []
        for one in live.sightings.values() if self._most else ():
            found = self._find(one.reference) if one.asks(begin) else None
            if found is None or (full and found[0] is self._seen) or not self._is_proved(found[1]):
                continue
            if one.match is not None and not self._reviews.rejects(item, [found[1]]):
                wanted.append((RANK[one.match.decision], one.match.evidence, one, *found))
        wanted.sort(key=lambda each: each[:2], reverse=True)
        asks = tuple(
            Ask(
                bank=collection.name,
                reference=reference.id,
                offset=reference.offset,
                sha256=reference.sha256,
                moments=tuple(moments_of(one.shown, reference.kind is Kind.VIDEO)),
            )
            for _, _, one, collection, reference in wanted[:PROVED]
        )
        return Asked(id=live.id, offset=offset, asks=asks) if asks else None

    def _wait(self, live: Live, asked: Asked, entry: Entry) -> None:
        """Have matches wait for what was asked."""
        pairs = []
        for ask in asked.asks:
            reference = self._named(ask.bank, ask.reference)
            is_there = reference is not None and reference.offset == ask.offset
            pairs.append(Pair(ask, reference.number if reference is not None and is_there else -1, asked=True))
            if (one := live.sightings.get(pairs[-1].number)) is not None:
                one.ask, one.asked_at, one.open, one.expired = asked.offset, one.last, True, False
        self._undecided.add(Undecided(live.number, asked.offset, entry.timestamp_ms, pairs), entry.timestamp_ms)

    def _is_proved(self, reference: Item) -> bool:
        """Whether a match with a reference waits for a proof; of live videos themselves nothing is asked."""
        return self._most > 0 and reference.number not in self._tables.live

    def _as_proved(self, live_match: LiveMatch) -> Matched | None:
        """Return a match as far as it is proved: without an answer it is unsure at most.

        One that was flagged as a duplicate before proofs were made remains one until an answer says otherwise.
        """
        match, found = live_match.match, self._find(live_match.reference)
        if match is None or found is None or not self._is_proved(found[1]):
            return match
        judgement = Judgement(match.decision, match.probability)
        outcome = PairOutcome(
            judgement, match.distance, match.evidence, match.where, live_match.chances, moments=live_match.moments
        )
        if live_match.proved is not None:
            outcome = found[0].judge.prove(outcome, live_match.proved)
        elif not live_match.answered and live_match.flagged is not Decision.DUPLICATE:
            doubt = Doubt.UNPROVED if live_match.expired else Doubt.NO
            outcome = msgspec.structs.replace(at_most_unsure(outcome), doubt=doubt)
        return msgspec.structs.replace(
            match,
            decision=outcome.judgement.decision,
            probability=outcome.judgement.probability,
            where=outcome.where,
            relation=outcome.relation,
            doubt=outcome.doubt,
            proof=outcome.proof,
        )

    # -- events ----------------------------------------------------------------------------------------------------

    def _news(
        self, live: Live, asked: Asked | None = None, gone: Sequence[tuple[str, str]] = ()
    ) -> tuple[Rolling, ...]:
        """Return one event for each match to be flagged, or else one if anything else matters.

        Args:
            gone: bank and reference of matches that were flagged, and were forgotten now.
        """
        known = [(one, shown) for one in live.sightings.values() if (shown := self._as_proved(one)) is not None]
        newest = self._lives.frames(live).pts[-1]
        rules = self._lives.rules
        waiting = {(ask.bank, ask.reference) for ask in (asked.asks if asked is not None else ())}
        due = (
            self._respected(live, one)
            for one, shown in known
            if (shown.bank, shown.reference) not in waiting
            and one.is_to_be_flagged(shown, newest, rules.unsure_seconds)
        )
        ripe = [match for match in due if match is not None]
        news = asked is not None or any(one.is_news(shown, rules.growth_seconds) for one, shown in known)
        if not ripe and not news and not gone:
            return ()
        none_any_more = [
            (shown.bank, shown.reference)
            for one, shown in known
            if one.is_flagged and one.told is not Decision.DISTINCT and shown.decision is Decision.DISTINCT
        ]
        verdict = self._verdict(live)
        allowing = [m for m in verdict.matches if m.action is Action.ALLOW and m.decision is Decision.DUPLICATE]
        flagged = [m for m in ripe if m.action is Action.FLAG and not is_silenced(m, allowing)]
        first, *rest = [Rolling(verdict=verdict, flagged=match) for match in flagged] or [Rolling(verdict=verdict)]
        return (msgspec.structs.replace(first, asked=asked, withdrawn=(*gone, *none_any_more)), *rest)

    def _emit(self, live: Live, events: Sequence[Rolling], entry: Entry | None = None) -> tuple[Rolling, ...]:
        """Remember what these events say, and adopt what another worker published.

        Args:
            entry: the record of the frame that may ask for proofs.
        """
        for event in events:
            for bank, id in event.withdrawn:  # to be flagged again where it turns out to be a match after all
                reference = self._named(bank, id)
                if reference is not None and (withdrawn := live.sightings.get(reference.number)) is not None:
                    withdrawn.flagged = Decision.DISTINCT
            for match in event.verdict.matches:
                self._adopt(live, match)
                if match.decision is not Decision.DISTINCT and (reference := self._reference(match)) is not None:
                    link(self._item(live), reference)
                if match.bank == SEEN:
                    self._lives.note_copy(match.reference, live.number)
            if event.flagged is not None and (live_match := self._adopt(live, event.flagged)) is not None:
                live_match.flagged = event.flagged.decision
            if event.asked is not None and entry is not None:
                self._wait(live, event.asked, entry)
        if events:
            for live_match in live.sightings.values():
                if (shown := self._as_proved(live_match)) is not None:
                    live_match.note_event(shown)
        return tuple(events)

    def _reference(self, match: Matched) -> Item | None:
        return self._named(match.bank, match.reference)

    def _named(self, bank: str, id: str) -> Item | None:
        if bank == SEEN:
            return self._tables.items.named(id)
        named = self._banks.named(bank)
        return None if named is None else named.collection.tables.items.named(id)

    def _adopt(self, live: Live, match: Matched) -> LiveMatch | None:
        reference = self._reference(match)
        if reference is None:
            return None
        live_match = live.sightings.setdefault(reference.number, LiveMatch(reference.number))
        if live_match.match is not None and self._reviews.of(self._item(live), reference) is not None:
            match = msgspec.structs.replace(live_match.match, where=match.where)  # a reviewer's word can be taken back
        live_match.adopt(match)
        return live_match

    def _respected(self, live: Live, live_match: LiveMatch) -> Matched | None:
        """Return what is known of a reference as reviewers left it."""
        match, found = self._as_proved(live_match), self._find(live_match.reference)
        if match is None or found is None:
            return match
        return self._reviews.respected(self._item(live), found[1], match)

    def _verdict(self, live: Live) -> Verdict:
        respected = (self._respected(live, live_match) for live_match in live.sightings.values())
        matches = [match for match in respected if match is not None and match.listed]
        matches.sort(key=lambda match: (match.bank == SEEN, -RANK[match.decision], -match.evidence))
        return combine(live.id, matches[:MAX_MATCHES], running=live.running)
