"""A slow, obviously right model of verdicts: dictionaries, lists, and each rule once.

It takes the log in order and says what each record must lead to. It shares no code with `pipeline/match`, and no
structure: no rows, index, batches or numbers. It knows images and films in the world of `worlds`, where evidence is the
plain cosine, and a film is one stretch of a source of which no two moments are alike. Live videos, films that play at
other speeds or backwards, and stills among frames are left to `tests.faults.oracle.by_state`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import TypeVar

import msgspec

from neardup.pipeline.log.changes import (
    SEEN,
    Action,
    BankChanged,
    BankEdit,
    Calibrated,
    ClusterEdit,
    ClusterEdited,
    Outcome,
    ReferenceChanged,
    ReferenceEdit,
    Reviewed,
)
from neardup.pipeline.log.proofs import Ask, Asked, Candidate, ItemProved, ProofExpired, ProofPending
from neardup.pipeline.log.reasons import IgnoredReason, Refusal
from neardup.pipeline.log.records import (
    ARCHIVE,
    Changed,
    Described,
    Entry,
    Event,
    Ignored,
    Matched,
    Redecided,
    Redelivered,
    Referenced,
    ReHeaded,
    Removed,
    RemovedEvent,
    Replaced,
    RetroMatched,
    Unreferenced,
    Verdict,
)
from neardup.pipeline.prove.finding import Finding, Proved
from neardup.pipeline.types import Decision, Doubt, Exact, Kind, Span
from neardup.pipeline.where import NOWHERE, WHOLE, Relation, Where, WhereKind
from tests.model.curves import CALIBRATIONS, REFERENCES, SLOPE, Curves, Unclear

DAY_MS = 86_400_000
MOST_ASKED, MOST_LISTED, SPEAKING = 5, 16, 8
RANK = {Decision.DISTINCT: 0, Decision.UNSURE: 1, Decision.DUPLICATE: 2}
YOUNG = 2000
"""References that a young index counts as."""
ALL = (0.0, 0.0, 1.0, 1.0)
T = TypeVar("T")


@dataclass(eq=False)
class Thing:
    """One version of an upload, or of a reference of a bank.

    Attributes:
        order: of its first part. offset: in the log, of its last part. head: whom it stands under, itself or another.
        shared: of a film's frames: how many others show each. shows: frames of other films that it shows, and counts
            for there.
    """

    id: str
    sha256: bytes
    pixels: bytes
    source: tuple[int, int]
    order: int
    newest_ms: int = 0
    parts: int = 0
    offset: int = -1
    thumbnail: str = ""
    quiet: bool = False
    kind: Kind = Kind.IMAGE
    seconds: float = 0.0
    pts: list[float] = field(default_factory=list)
    vectors: list[dict[int, float]] = field(default_factory=list)
    blank: list[bool] = field(default_factory=list)
    shared: list[int] = field(default_factory=list)
    shows: list[tuple[Thing, range]] = field(default_factory=list)
    members: list[Thing] = field(default_factory=list)
    above: Thing | None = None

    @property
    def head(self) -> Thing:
        return self.above or self

    @property
    def is_film(self) -> bool:
        return self.kind is Kind.VIDEO

    @property
    def content(self) -> bytes:
        return self.pixels or self.sha256

    def star(self) -> list[Thing]:
        return [self.head, *self.head.members]


@dataclass
class Bank:
    """A curated bank, or what was seen: settings, references by id, and what people said of references."""

    name: str
    action: Action = Action.FLAG
    precision: float | None = None
    ratio: float = 1.0
    calibration: bytes = b""
    things: dict[str, Thing] = field(default_factory=dict)
    arriving: dict[str, Thing] = field(default_factory=dict)
    disabled: dict[str, int] = field(default_factory=dict)
    searched: set[str] = field(default_factory=set)
    removed: dict[str, tuple[int, int]] = field(default_factory=dict)

    def usable(self, thing: Thing, now: int) -> bool:
        """`disabled_until_ms`: it matches nothing in records before this time, by the log's clock."""
        return self.disabled.get(thing.id, 0) <= now

    def asks_about(self, item: str) -> bool:
        """Asks a bank about a share of the uploads, by a hash of their ids; who is in at 0.1 stays in at 0.5."""
        digest = hashlib.blake2b(f"{self.name}\n{item}".encode(), digest_size=8).digest()
        return self.ratio >= 1.0 or int.from_bytes(digest, "big") / 2**64 < self.ratio


@dataclass
class Pair:
    """An item's candidate: asked about or beside, spare or not; the answer, once there is one."""

    bank: str
    thing: Thing
    asked: bool
    answered: bool = False
    proved: Proved | None = None
    spare: bool = False
    moments: tuple[tuple[float, float], ...] = ()


@dataclass
class Waiting:
    """An item with open asks."""

    thing: Thing
    since_ms: int
    pairs: list[Pair]
    said: Verdict | None = None


@dataclass
class Later:
    """A head that is asked about because a bank got a reference, and its star as it was then.

    Attributes:
        said: what was said of it when nobody had answered in time, by id; None before.
    """

    bank: str
    reference: Thing
    head: Thing
    star: list[Thing]
    since_ms: int
    said: dict[str, Decision] | None = None


@dataclass
class Review:
    """What a reviewer said of two contents, and whom that moved: out of, or under, this head."""

    outcome: Outcome
    moved: Thing | None = None
    head: Thing | None = None


class Refused(Exception):
    """A change cannot be made."""


def before(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether a record came before another of the same partition of `media`; an archive comes before all else."""
    return one[1] < other[1] if one[0] == other[0] else one[0] == ARCHIVE


def sparse(vector: Sequence[float]) -> dict[int, float]:
    """Return what is not zero, by place."""
    return {place: value for place, value in enumerate(vector) if value}


def identity(a: Thing, b: Thing) -> Exact:
    """Exact means identical bytes, or identical content."""
    if a.sha256 and a.sha256 == b.sha256:
        return Exact.BYTES
    return Exact.PIXELS if a.pixels and a.pixels == b.pixels else Exact.NO


def frame_cosine(a: Thing, i: int, b: Thing, j: int) -> float:
    return sum(p * b.vectors[j].get(n, 0.0) for n, p in a.vectors[i].items())


@dataclass(frozen=True)
class Looks:
    """What evidence is there of two things.

    Attributes:
        evidence: None where there is none. chances: see `Curves`. moments: films agree on moments.
    """

    evidence: float | None
    distance: float = 4.0
    where: Where = NOWHERE
    chances: int = REFERENCES
    moments: bool = False


def compare(thing: Thing, other: Thing, curves: Curves) -> Looks:
    """Images by their cosine, an image and a film by its best frame, films by the stretch that both show."""
    if not thing.is_film and not other.is_film:
        evidence, speak = cosine(thing, other)
        return Looks(evidence if speak else None, 2 - 2 * evidence, WHOLE if speak else NOWHERE)
    if thing.is_film and other.is_film:
        return compare_films(thing, other, curves)
    film, image = (thing, other) if thing.is_film else (other, thing)
    if image.blank[0]:
        return Looks(None)
    evidence, best = max((frame_cosine(film, i, image, 0), -i) for i in range(len(film.vectors)))
    if not curves.alike(evidence):
        return Looks(None)
    second = film.pts[-best]
    span = Span(second, second, 0.0, 0.0, evidence) if film is thing else Span(0.0, 0.0, second, second, evidence)
    chances = YOUNG * len(thing.vectors)
    return Looks(evidence, 2 - 2 * evidence, Where(kind=WhereKind.PART, spans=(span,)), chances)


def stretch(thing: Thing, other: Thing, curves: Curves) -> list[tuple[int, int]]:
    """Return the frames of two films that show the same moments; fewer than three say nothing."""
    same = [
        (i, j)
        for i in range(len(thing.vectors))
        for j in range(len(other.vectors))
        if (found := frame_cosine(thing, i, other, j)) > 0.3 and curves.alike(found)
    ]
    return same if len(same) >= 3 else []


def compare_films(thing: Thing, other: Thing, curves: Curves) -> Looks:
    """Each frame is a chance to match, and of k moments that agree each beyond two would have to match by chance as
    well. What many films have in common is no evidence, unless it is nearly all of one of the two."""
    same = stretch(thing, other, curves)
    if not same:
        return Looks(None)
    k, evidence = len(same), frame_cosine(thing, same[0][0], other, same[0][1])
    covered = k / len(thing.vectors), k / len(other.vectors)
    rare = sum(1 / max(thing.shared[i], other.shared[j], 1) ** 2 for i, j in same)
    if max(covered) < 0.8 and rare < 3:
        return Looks(None)
    chances = YOUNG * len(thing.vectors) / k**2 * min(curves.chance(evidence), 1.0) ** (k - 2)
    ends = [
        (
            0.0 if first == 0 else film.pts[first] - 0.25,
            film.seconds if last == len(film.pts) - 1 else film.pts[last] + 0.25,
        )
        for film, first, last in ((thing, same[0][0], same[-1][0]), (other, same[0][1], same[-1][1]))
    ]
    where = Where(
        kind=WhereKind.WHOLE if min(covered) >= 0.8 else WhereKind.PART, spans=(Span(*ends[0], *ends[1], evidence),)
    )
    return Looks(evidence, 2 - 2 * evidence, where, math.ceil(chances), moments=True)


def moments_of(thing: Thing, other: Thing, where: Where) -> tuple[tuple[float, float], ...]:
    """Return what a proof looks at: of two films three moments, evenly spread over what both show."""
    if not where.spans:
        return ()
    (span,) = where.spans
    shares = [1 / 6, 3 / 6, 5 / 6] if thing.is_film and other.is_film else [1 / 2]
    lengths = span.query_end - span.query_start, span.reference_end - span.reference_start
    return tuple((span.query_start + at * lengths[0], span.reference_start + at * lengths[1]) for at in shares)


def exactness(match: Matched) -> int:
    """What is identical comes before what is not, and in the order in which it came."""
    return [Exact.NO, Exact.PIXELS, Exact.BYTES].index(match.exact)


def cosine(a: Thing, b: Thing) -> tuple[float, bool]:
    """Return the best cosine of two things, and whether both say something: blank pictures say nothing."""
    pairs = [(x, y) for x in zip(a.vectors, a.blank, strict=True) for y in zip(b.vectors, b.blank, strict=True)]
    speaking = [(x, y) for (x, no), (y, none) in pairs if not no and not none]
    values = [sum(p * y.get(n, 0.0) for n, p in x.items()) for x, y in speaking or [(x[0], y[0]) for x, y in pairs]]
    return max(values), bool(speaking)


def best_first(things: Iterable[T], *keys: Callable[[T], float]) -> list[T]:
    """Return things by falling keys; equals stay in their order, and nearly equals are unclear."""
    found = list(things)
    for key in keys:
        values = sorted(map(key, found))
        if any(0 < b - a < 3e-6 for a, b in pairwise(values)):
            raise Unclear("two are nearly equal")
    return sorted(found, key=lambda one: tuple(-key(one) for key in keys))


class Model:
    """All that a log led to so far; `most` items may wait before fewer proofs are asked for."""

    def __init__(self, most: int = 100_000) -> None:
        self.seen = Bank(SEEN)
        self.banks: dict[str, Bank] = {}
        self.deleted: set[str] = set()
        self.taken_down: set[str] = set()
        self.waiting: dict[int, Waiting] = {}
        self.later: list[Later] = []
        self.reviews: dict[tuple[bytes, bytes], Review] = {}
        self.most = most
        self.offset = self.now = -1
        self._order = count()

    def take(self, entry: Entry) -> list[Event]:
        """Return the events of a record."""
        self.offset, self.now = entry.offset, entry.timestamp_ms
        match entry.record:
            case Removed() as record:
                return self.remove(record)
            case ItemProved() | ProofExpired() as record:
                return self.answer(record)
            case Described(bank="seen") as record:
                return self.upload(record)
            case Described() as record:
                return self.refer(record)
            case record:
                try:
                    return self.change(record)
                except Refused as refused:
                    return [Changed(record=record, refused="yes", refusal=refused.args[0])]

    # -- descriptions ------------------------------------------------------------------------------------------------

    def arrive(self, bank: Bank, record: Described) -> list[Event] | Thing:
        """Return what becomes of a part: nothing (older, again, without those before it), or the thing so far.

        Same id, same bytes: redelivered. Same id, other bytes: a new version. A part comes after those before it, of
        the same bytes; what gets no part for a day is given up.
        """
        known, arriving = bank.things.get(record.id), bank.arriving.get(record.id)
        if arriving is not None and self.now - arriving.newest_ms > DAY_MS:
            arriving = None
        source = record.source_partition, record.source_offset
        latest = known or arriving
        if latest is not None and before(source, latest.source):
            return [Ignored(id=record.id, why="yes", reason=IgnoredReason.OLDER_VERSION)]
        if known is not None and known.sha256 == record.sha256:
            known.source = source
            return [Redelivered(id=record.id)] if record.last else []
        if arriving is not None and before(source, arriving.source):
            return [Ignored(id=record.id, why="yes", reason=IgnoredReason.PART_MISSING)]
        if record.part == 0:
            arriving = Thing(record.id, record.sha256, record.pixels_digest, source, next(self._order))
            arriving.thumbnail, arriving.kind, arriving.seconds = record.thumbnail, record.kind, record.seconds
        elif arriving is None or (record.part, record.sha256) != (arriving.parts, arriving.sha256):
            return [Ignored(id=record.id, why="yes", reason=IgnoredReason.PART_MISSING)]
        arriving.parts, arriving.newest_ms, arriving.offset = record.part + 1, self.now, self.offset
        arriving.quiet = record.quiet
        arriving.vectors += [sparse(vector.tolist()) for vector in record.embedded().vectors]
        arriving.blank += [detail < SPEAKING for detail in record.detail]
        arriving.pts += record.pts
        arriving.shared += [0] * len(record.pts)
        bank.arriving[record.id] = arriving
        if record.last:
            del bank.arriving[record.id]
        return arriving

    def upload(self, record: Described) -> list[Event]:
        """A takedown cannot be undone by a late or replayed record. A new version replaces the one before."""
        if record.id in self.taken_down:
            return [Ignored(id=record.id, why="yes", reason=IgnoredReason.TAKEN_DOWN)]
        thing = self.arrive(self.seen, record)
        if isinstance(thing, list):
            return thing
        known = self.seen.things.get(record.id)
        events = [] if known is None else [Replaced(id=record.id), *self.forget(known)]
        return [*events, self.decide(thing, record.produced_ms)] if record.last else events

    def remove(self, record: Removed) -> list[Event]:
        """A takedown is answered whether or not the item was there; who asked for it is in the audit trail."""
        self.taken_down.add(record.id)
        self.seen.arriving.pop(record.id, None)
        known = self.seen.things.get(record.id)
        events: list[Event] = [Changed(record=record)] if record.by or record.why else []
        return [*events, *(self.forget(known) if known else []), RemovedEvent(id=record.id)]

    def forget(self, thing: Thing) -> list[Event]:
        """Item removed: no verdict. Its members find heads among themselves."""
        self.waiting.pop(thing.offset, None)
        del self.seen.things[thing.id]
        for film, frames in thing.shows:
            for place in frames:
                film.shared[place] = max(film.shared[place] - 1, 0)
        if thing.above is not None:
            thing.above.members.remove(thing)
            return []
        return self.regroup(thing.id, thing.members)

    # -- candidates and asks -----------------------------------------------------------------------------------------

    def curves(self, name: str) -> Curves:
        """A bank decides by its own calibration and precision, else by those of `seen`."""
        bank = self.seen if name == SEEN else self.banks[name]
        calibration = bank.calibration or self.seen.calibration
        return CALIBRATIONS[calibration, bank.precision or self.seen.precision or 0.99]

    def twins(self, bank: Bank, thing: Thing) -> list[Thing]:
        """All that is identical, of each star what was complete first; identical bytes go before identical content."""
        usable = [one for one in bank.things.values() if bank.usable(one, self.now)]
        found: list[Thing] = []
        for kind in (Exact.BYTES, Exact.PIXELS):
            for one in usable:
                same = one.sha256 == thing.sha256 if kind is Exact.BYTES else one.pixels == thing.pixels != b""
                if same and all(one.head is not other.head for other in found):
                    found.append(one)
        return found

    def candidates(self, bank: Bank, thing: Thing) -> list[tuple[Thing, Decision, float]]:
        """All heads whose evidence is worth a proof, the likeliest first."""
        curves = self.curves(bank.name)
        found = []
        for one in sorted(bank.things.values(), key=lambda one: one.order):
            looks = compare(thing, one, curves)
            evidence, m = looks.evidence, looks.chances
            if one.above is None and evidence and bank.usable(one, self.now) and curves.proposes(evidence, m):
                found.append((one, curves.decide(evidence, None, m), curves.log_odds(evidence, None, m)))
        return best_first(found, lambda one: RANK[one[1]], lambda one: one[2] / SLOPE)

    def decide(self, thing: Thing, produced_ms: int) -> Event:
        """Identical content is decided at once. What has candidates asks, five at most, and waits as a head.

        A candidate is spare that itself waits for a proof with another one: it is asked about last. Above `max_pending`
        only bank matches and best candidates are asked.
        """
        self.count_frames(thing)
        wanted: list[tuple[Bank, Thing, Decision, float]] = []
        beside: dict[str, list[Thing]] = {}
        full = sum(one.said is None for one in self.waiting.values()) >= self.most
        asked_banks = [bank for bank in self.banks.values() if bank.things and bank.asks_about(thing.id)]
        for bank in [*asked_banks, self.seen]:
            beside[bank.name] = self.twins(bank, thing)
            found = self.candidates(bank, thing) if not beside[bank.name] else []
            wanted += [(bank, one, decision, odds) for one, decision, odds in found[:MOST_LISTED]]
        spare = self.spare([one for bank, one, *_ in wanted if bank is self.seen])
        wanted = best_first(
            wanted, lambda one: one[1] not in spare, lambda one: RANK[one[2]], lambda one: one[3] / SLOPE
        )
        if full:
            best = next((one for one in wanted if one[0] is self.seen), None)
            wanted = [one for one in wanted if one[0] is not self.seen or one is best]
        wanted = wanted[:MOST_ASKED]
        if all(bank is not self.seen or one in spare for bank, one, *_ in wanted):
            spare = []
        pairs = [Pair(bank.name, one, True, spare=one in spare) for bank, one, _, _ in wanted]
        asked = [pair.thing for pair in pairs]
        for bank in [*asked_banks, self.seen]:
            found = self.candidates(bank, thing) if not beside[bank.name] else []
            alike = [one for one, decision, _ in found if decision is not Decision.DISTINCT and one not in asked]
            for one in [*alike, *beside[bank.name]]:
                pairs.append(Pair(bank.name, one, False, spare=one in spare))
        for pair in pairs:
            pair.moments = self.moments(pair.bank, thing, pair.thing)
        self.count_shown(thing, beside[SEEN])
        event: Event
        if asked:
            self.waiting[self.offset] = Waiting(thing, self.now, pairs)
            event = self.pending(thing, pairs, produced_ms)
            head = None
        else:
            event = self.verdict(thing, pairs, expired=False)
            head = self.seen.things.get(event.head or "")
        self.seen.things[thing.id] = thing
        if head is not None:
            self.put_under(thing, head)
        return event

    def count_frames(self, thing: Thing) -> None:
        """Count with how many earlier items each frame of a film is more likely than not in common."""
        curves = self.curves(SEEN)
        for place in range(len(thing.vectors) if thing.is_film else 0):
            thing.shared[place] = sum(
                one.above is None
                and any(
                    not one.blank[j]
                    and (found := frame_cosine(thing, place, one, j)) > 0.3
                    and curves.alike(found, REFERENCES)
                    for j in range(len(one.vectors))
                )
                for one in self.seen.things.values()
            )

    def count_shown(self, thing: Thing, twins: Sequence[Thing]) -> None:
        """A film that shows a part of another counts for those frames there; a copy as a whole does not."""
        curves, heads = self.curves(SEEN), [twin.head for twin in twins]
        for one in [*self.seen.things.values()] if thing.is_film else []:
            if one.above is not None or one in heads or not one.is_film:
                continue
            same = stretch(thing, one, curves)
            looks = compare(thing, one, curves)
            if not same or looks.where.kind is WhereKind.WHOLE:
                continue
            if curves.alike(frame_cosine(thing, same[0][0], one, same[0][1]), REFERENCES):
                thing.shows.append((one, range(same[0][1], same[-1][1] + 1)))
        for film, frames in thing.shows:
            for place in frames:
                film.shared[place] += 1

    def spare(self, candidates: Sequence[Thing]) -> list[Thing]:
        """Copies that come in a burst wait for the same one, under which they will stand: its proof says enough."""
        waiting = {id(one.thing): one.pairs for one in self.waiting.values() if one.said is None}
        return [
            one
            for one in candidates
            if any(pair.asked and pair.bank == SEEN and pair.thing in candidates for pair in waiting.get(id(one), []))
        ]

    def pending(self, thing: Thing, pairs: Sequence[Pair], produced_ms: int) -> ProofPending:
        """The asks name version and offset of both sides; history is proved after all else, and nobody is notified."""
        asks = tuple(
            Ask(
                bank=pair.bank,
                reference=pair.thing.id,
                offset=pair.thing.offset,
                sha256=pair.thing.sha256,
                spare=pair.spare,
                moments=pair.moments,
            )
            for pair in pairs
            if pair.asked
        )
        beside = tuple(
            Candidate(bank=pair.bank, reference=pair.thing.id, offset=pair.thing.offset, spare=pair.spare)
            for pair in pairs
            if not pair.asked
        )
        asked = Asked(
            id=thing.id,
            offset=thing.offset,
            sha256=thing.sha256,
            asks=asks,
            later=thing.quiet or thing.source[0] == ARCHIVE,
            produced_ms=produced_ms,
        )
        return ProofPending(asked=asked, beside=beside)

    def moments(self, bank: str, thing: Thing, other: Thing) -> tuple[tuple[float, float], ...]:
        return moments_of(thing, other, compare(thing, other, self.curves(bank)).where)

    # -- answers -----------------------------------------------------------------------------------------------------

    def answer(self, record: ItemProved | ProofExpired) -> list[Event]:
        """Stale, second and unknown answers have no effect; the last one that was missing decides, or the expiry.

        After an expiry a later answer, within a day, still decides: the one permitted second verdict.
        """
        return [*self.answer_item(record), *self.answer_later(record)]

    def answer_later(self, record: ItemProved | ProofExpired) -> list[Event]:
        """The proof decides on the head, and is the most that is said of those that stood under it.

        After an expiry a later answer, within a day, takes the place of what was said.
        """
        if isinstance(record, ProofExpired):
            given: list[tuple[Candidate, Proved | None, bool]] = []
            given += [(record.reference, None, False)] if record.reference else []
        else:
            given = [(pair, pair.proved, True) for pair in record.pairs]
        events: list[Event] = []
        for named, proved, answered in given:
            wanted = record.id, record.offset, named.bank, named.reference, named.offset
            for one in list(self.later):
                if wanted != (one.head.id, one.head.offset, one.bank, one.reference.id, one.reference.offset):
                    continue
                if not answered and one.said is not None:
                    continue
                self.later.remove(one)
                if one.said is not None and self.now - one.since_ms > DAY_MS:
                    continue
                bank = self.banks.get(one.bank)
                there = bank is not None and bank.things.get(one.reference.id) is one.reference
                if bank is None or not there or not bank.usable(one.reference, self.now):
                    continue
                said: dict[str, Decision] = {}
                pair = Pair(one.bank, one.reference, True, answered, proved)
                for item in one.star:
                    if self.seen.things.get(item.id) is not item or identity(item, one.reference) is not Exact.NO:
                        continue
                    match = self.match(bank, item, pair, expired=not answered)
                    if match is not None and item is not one.head and answered and proved is not None:
                        mine = self.by_evidence(bank, item, one.reference)
                        lower = min(mine.decision, match.decision, key=RANK.__getitem__)
                        odds = mine.probability if lower is mine.decision else match.probability
                        match = msgspec.structs.replace(mine, decision=lower, probability=odds)
                        match = self.judged(item, one.reference, match)
                    told = self.told(bank, item, match, (one.said or {}).get(item.id))
                    said |= {event.id: event.match.decision for event in told}
                    events += told
                if not answered:
                    one.said = said
                    self.later.append(one)
        return events

    def answer_item(self, record: ItemProved | ProofExpired) -> list[Event]:
        """What an item asked when it came."""
        one = self.waiting.get(record.offset)
        if one is None or one.thing.id != record.id:
            return []
        if one.said is not None and self.now - one.since_ms > DAY_MS:
            return []
        if isinstance(record, ProofExpired):
            if one.said is not None or record.reference is not None:
                return []
        else:
            new = False
            for given in record.pairs:
                for pair in one.pairs:
                    names = pair.bank, pair.thing.id, pair.thing.offset
                    if pair.asked and not pair.answered and names == (given.bank, given.reference, given.offset):
                        pair.answered, pair.proved, new = True, given.proved, True
            if not new or any(pair.asked and not pair.answered for pair in one.pairs):
                return []
        if all(pair.answered for pair in one.pairs if pair.asked):
            del self.waiting[record.offset]
        verdict = self.verdict(one.thing, one.pairs, expired=isinstance(record, ProofExpired) or one.said is not None)
        moved = self.settle(one.thing, self.seen.things.get(verdict.head or ""))
        said, one.said = one.said, verdict
        if said is None:
            return [verdict, *moved]
        now = [(match.bank, match.reference) for match in verdict.matches]
        withdrawn = [(match.bank, match.reference) for match in said.matches]
        left = tuple(key for key in withdrawn if key not in now)
        return [Redecided(verdict=verdict, before=said.decision, withdrawn=left), *moved]

    def settle(self, thing: Thing, head: Thing | None) -> list[Event]:
        """A pending item is a head at once; if it then joins H, its members are compared with H as after a removal."""
        if head is None or head is thing or thing.above is not None or head.above is not None:
            return []
        orphans, thing.members = thing.members, []
        self.put_under(thing, head)
        joined = self.rejoin(head, orphans)
        left = [one for one in orphans if one not in joined]
        events: list[Event] = []
        if joined:
            events.append(ReHeaded(old=thing.id, new=head.id, members=tuple(one.id for one in joined)))
        return events + self.regroup(thing.id, left)

    # -- verdicts ----------------------------------------------------------------------------------------------------

    def verdict(self, thing: Thing, pairs: Sequence[Pair], expired: bool) -> Verdict:
        """Reference removed, disabled or judged no match meanwhile: that pair lapses, the rest decide.

        Reviews, calibration and bank settings are those at the deciding offset. Curated banks come before `seen`.
        """
        matches: list[Matched] = []
        for name in dict.fromkeys(pair.bank for pair in pairs):
            bank = self.seen if name == SEEN else self.banks.get(name)
            if bank is None or not bank.asks_about(thing.id):
                continue
            mine = [pair for pair in pairs if pair.bank == name and bank.things.get(pair.thing.id) is pair.thing]
            copied = any(
                pair.bank == SEEN and not pair.spare and pair.proved and pair.proved.finding is Finding.COPY
                for pair in pairs
            )
            found, lapsed = [], []
            for pair in mine:
                if bank.usable(pair.thing, self.now):
                    lapses = pair.spare and pair.proved is None and copied
                    found.append(self.match(bank, thing, pair, expired, lapses))
                    lapsed += [found[-1]] if lapses and identity(thing, pair.thing) is Exact.NO else []
            listed = [match for match in found if match is not None and match.listed]
            left = [match for match in listed if match not in lapsed]
            if any(match.decision is Decision.DUPLICATE and match.where.whole for match in left):
                listed = left
            listed = [match for match in listed if (match.bank, match.reference) != (SEEN, thing.id)]
            best = best_first(
                listed,
                lambda match: RANK[match.decision],
                exactness,
                lambda match: match.evidence if match.exact is Exact.NO else 0.0,
            )
            names = [match.reference for match in best]  # two that are identical may stand under one head by now
            matches += [one for n, one in enumerate(best) if one.reference not in names[:n]][:MOST_LISTED]
        head = self.head_for(thing, matches) if matches else None
        if thing.above is not None:
            head = thing.above.id
        return msgspec.structs.replace(combine(thing.id, matches, head), quiet=thing.quiet)

    def match(self, bank: Bank, thing: Thing, pair: Pair, expired: bool, lapses: bool = False) -> Matched | None:
        """A copy or a variant is what the proof says. Without an answer a match is unsure at most, and a spare one that
        was not looked at, since another is a copy; where pictures are not to be had evidence decides alone."""
        other, curves = pair.thing, self.curves(bank.name)
        exact = identity(thing, other)
        if exact is not Exact.NO:
            return self.judged(thing, other, self.exactly(bank, other, other.head, exact))
        looks = compare(thing, other, curves)
        evidence, m = looks.evidence or 0.0, looks.chances
        match = self.by_evidence(bank, thing, other)
        if pair.proved is not None and looks.moments and pair.proved.summary.finding is Finding.UNPROVED:
            match = msgspec.structs.replace(match, proof=pair.proved.summary)  # not taken at the same instant
        elif pair.proved is not None:
            finding, ground = pair.proved.summary.finding, pair.proved.summary.ground
            decision = curves.decide(evidence, ground, m)
            if finding is Finding.VARIANT:
                decision = Decision.DISTINCT
            match = msgspec.structs.replace(
                match,
                decision=decision,
                relation=Relation.VARIANT if finding is Finding.VARIANT else Relation.COPY,
                probability=curves.probability(evidence, ground, m),
                where=proved_where(pair.proved, match.where),
                proof=pair.proved.summary,
            )
        elif (lapses or not pair.answered) and match.decision is not Decision.DISTINCT:
            doubt = Doubt.UNPROVED if expired and not lapses else Doubt.NO
            match = msgspec.structs.replace(match, decision=Decision.UNSURE, doubt=doubt)
        if other.head is not other:
            match = msgspec.structs.replace(match, head=other.head.id)
        return self.judged(thing, other, match)

    def by_evidence(self, bank: Bank, thing: Thing, other: Thing) -> Matched:
        """What evidence alone says of two; two blank pictures are distinct."""
        curves = self.curves(bank.name)
        looks = compare(thing, other, curves)
        evidence, m = looks.evidence, looks.chances
        return Matched(
            reference=other.id,
            bank=bank.name,
            action=bank.action,
            decision=Decision.DISTINCT if evidence is None else curves.decide(evidence, None, m),
            distance=looks.distance,
            evidence=(2 - looks.distance) / 2 if evidence is None else evidence,
            probability=0.0 if evidence is None else curves.probability(evidence, None, m),
            where=looks.where,
        )

    def exactly(self, bank: Bank, twin: Thing, head: Thing, exact: Exact) -> Matched:
        """Identical content is a copy whatever the descriptors say; the match names the head, and the twin beside."""
        looks = compare(twin, head, self.curves(bank.name))
        evidence, where = looks.evidence or 0.0, WHOLE
        if twin is head or not twin.is_film:
            evidence = 1.0 if twin is head else cosine(twin, head)[0]
        if twin.is_film:
            itself = (Span(0.0, twin.seconds, 0.0, twin.seconds, 1.0),)
            where = msgspec.structs.replace(WHOLE, spans=itself if twin is head else looks.where.spans)
        return Matched(
            reference=head.id,
            bank=bank.name,
            action=bank.action,
            decision=Decision.DUPLICATE,
            exact=exact,
            identical_to=twin.id,
            distance=2 - 2 * evidence,
            evidence=evidence,
            probability=1.0,
            where=where,
        )

    def is_copy(self, thing: Thing, head: Thing) -> bool:
        """What stars are made of, where nothing was proved: evidence alone takes one for a copy of the other."""
        if self.rejected(thing, head.star()):
            return False
        match = self.by_evidence(self.seen, thing, head)
        alike = match.decision is Decision.DUPLICATE and match.where.whole
        return identity(thing, head) is not Exact.NO or alike

    def head_for(self, thing: Thing, matches: Sequence[Matched]) -> str:
        """The first whole duplicate gives the head. What is proved of a reference is not inherited by its head."""
        for match in matches:
            if (match.bank, match.decision, match.where.kind) != (SEEN, Decision.DUPLICATE, WhereKind.WHOLE):
                continue
            reference = self.seen.things[match.reference]
            head = reference.head
            if head is thing or (head is not reference and not self.is_copy(thing, head)):
                continue
            if not self.rejected(thing, head.star()):
                return head.id
        return ""

    # -- reviews -----------------------------------------------------------------------------------------------------

    def judged(self, thing: Thing, other: Thing, match: Matched) -> Matched | None:
        """A reviewer's "not a match" holds for ever, and by every door alike; a "match" makes a duplicate."""
        review = self.reviews.get(pair_of(thing, other))
        if review is None:
            return match
        if review.outcome is Outcome.NOT_A_MATCH:
            return None
        return msgspec.structs.replace(
            match, decision=Decision.DUPLICATE, relation=Relation.COPY, probability=1.0, doubt=Doubt.NO
        )

    def rejected(self, thing: Thing, star: Iterable[Thing]) -> bool:
        """Two items that a reviewer said do not match never join one star by themselves."""
        reviews = (self.reviews.get(pair_of(thing, one)) for one in star if one is not thing)
        return any(review is not None and review.outcome is Outcome.NOT_A_MATCH for review in reviews)

    def review(self, record: Reviewed) -> list[Event]:
        """ "Not a match" takes the pair apart, "match" joins it, "undo" takes back both what was said and moved."""
        thing = self.held(record.item)
        other = self.held(record.reference) if record.bank == SEEN else self.reference(record)
        if thing is other:
            raise Refused(Refusal.ITSELF)
        old = self.reviews.pop(pair_of(thing, other), None)
        if record.outcome is Outcome.UNDO and old is None:
            raise Refused(Refusal.NOT_JUDGED)
        events = [] if old is None else self.move_back(old)
        if record.outcome is Outcome.UNDO:
            return events
        review = self.reviews[pair_of(thing, other)] = Review(record.outcome)
        if record.bank != SEEN:
            return events
        if record.outcome is Outcome.NOT_A_MATCH and thing.head is other.head:
            review.moved = other if thing.above is None else thing
            review.head = thing.head
            events += self.leave(review.moved)
        elif record.outcome is Outcome.MATCH and thing.head is not other.head and self.may_be_one(thing, other):
            review.moved, review.head = thing, other.head
            events += self.join(thing, other.head)
        return events

    def may_be_one(self, thing: Thing, other: Thing) -> bool:
        """Whether two can be copies as a whole; of films that follows from what they show."""
        same = identity(thing, other) is not Exact.NO
        whole = same or not thing.is_film or compare(thing, other, self.curves(SEEN)).where.whole
        return thing.kind is other.kind and whole

    def move_back(self, review: Review) -> list[Event]:
        """Undo what a review did to a cluster, unless that was changed again since."""
        thing, head = review.moved, review.head
        if thing is None or head is None or head.above is not None or thing is head:
            return []
        if any(self.seen.things.get(one.id) is not one for one in (thing, head)):
            return []
        if review.outcome is Outcome.MATCH:
            return self.leave(thing) if thing.above is head else []
        return self.join(thing, head) if thing.above is None and not thing.members else []

    # -- clusters ----------------------------------------------------------------------------------------------------

    def put_under(self, thing: Thing, head: Thing) -> None:
        if thing.above is not None:
            thing.above.members.remove(thing)
        thing.above = head
        head.members.append(thing)
        head.members.sort(key=lambda one: one.order)

    def rejoin(self, head: Thing, orphans: Sequence[Thing]) -> list[Thing]:
        """Orphans that copy the head as a whole stand under it."""
        joined = []
        for one in orphans:
            if self.is_copy(one, head):
                one.above = None
                self.put_under(one, head)
                joined.append(one)
        return joined

    def regroup(self, old: str, orphans: Sequence[Thing]) -> list[Event]:
        """Members without a head stand under the earliest of them that they copy."""
        events: list[Event] = []
        left = list(orphans)
        for one in left:
            one.above = None
        while left:
            head = left.pop(0)
            joined = self.rejoin(head, left)
            left = [one for one in left if one not in joined]
            events.append(ReHeaded(old=old, new=head.id, members=tuple(one.id for one in joined)))
        return events

    def leave(self, thing: Thing) -> list[Event]:
        """It stands alone; members that it had stand under the earliest of them."""
        if thing.above is not None:
            old = thing.above
            old.members.remove(thing)
            thing.above = None
            return [ReHeaded(old=old.id, new=thing.id)]
        orphans, thing.members = thing.members, []
        return self.regroup(thing.id, orphans)

    def join(self, thing: Thing, head: Thing) -> list[Event]:
        """It alone stands under another head; what stood under it stands under the earliest of those."""
        if thing is head or thing.above is head:
            return []
        old = thing.head
        events = self.leave(thing) if thing.above is None else []
        self.put_under(thing, head)
        return [*events, ReHeaded(old=old.id, new=head.id, members=(thing.id,))]

    def edit_cluster(self, record: ClusterEdited) -> list[Event]:
        """People split, merge, and choose heads; they are believed, whatever the distance."""
        thing = self.held(record.item)
        old = thing.head
        if record.edit is ClusterEdit.SPLIT:
            if old is thing and not thing.members:
                raise Refused(Refusal.ALONE)
            return self.leave(thing)
        if record.edit is ClusterEdit.MERGE:
            head = self.held(record.into).head
            if head is old:
                raise Refused(Refusal.SAME_CLUSTER)
        else:
            head = thing
            if head is old:
                raise Refused(Refusal.IS_HEAD)
        moved = [one for one in old.star() if one is not head]
        if head is thing:
            old.members.remove(thing)
            thing.above = None
        for one in moved:
            self.put_under(one, head)
        return [ReHeaded(old=old.id, new=head.id, members=tuple(one.id for one in moved))]

    # -- banks -------------------------------------------------------------------------------------------------------

    def change(self, record: BankChanged | ReferenceChanged | Reviewed | ClusterEdited | Calibrated) -> list[Event]:
        """Each change is answered, with why where it was refused, and with what followed from it."""
        waits = False
        match record:
            case BankChanged():
                followed = self.change_bank(record)
            case ReferenceChanged():
                followed = self.change_reference(record)
                waits = record.edit is ReferenceEdit.SET and record.id not in self.bank(record.bank).things
            case Reviewed():
                followed = self.review(record)
            case ClusterEdited():
                followed = self.edit_cluster(record)
            case Calibrated():
                (self.seen if record.bank == SEEN else self.bank(record.bank)).calibration = record.calibration
                followed = []
        return [Changed(record=record, waits=waits), *followed]

    def bank(self, name: str) -> Bank:
        if name not in self.banks:
            raise Refused(Refusal.NO_BANK)
        return self.banks[name]

    def held(self, item: str) -> Thing:
        if item not in self.seen.things:
            raise Refused(Refusal.NO_ITEM)
        return self.seen.things[item]

    def reference(self, record: Reviewed) -> Thing:
        thing = self.bank(record.bank).things.get(record.reference)
        if thing is None:
            raise Refused(Refusal.NO_REFERENCE)
        return thing

    def change_bank(self, record: BankChanged) -> list[Event]:
        """Creates, changes or deletes a bank; what comes late for a deleted one does not bring it back."""
        if record.edit is BankEdit.DELETE:
            self.bank(record.bank)
            del self.banks[record.bank]
            self.deleted.add(record.bank)
            return []
        if record.edit is BankEdit.CREATE and record.bank in self.banks:
            raise Refused(Refusal.BANK_EXISTS)
        bank = self.seen if record.bank == SEEN else self.banks.setdefault(record.bank, Bank(record.bank))
        self.deleted.discard(record.bank)
        bank.action = bank.action if record.action is None else record.action
        bank.precision = bank.precision if record.precision is None else record.precision
        bank.ratio = bank.ratio if record.enable_ratio is None else record.enable_ratio
        return []

    def change_reference(self, record: ReferenceChanged) -> list[Event]:
        """Uploads become references and stay what they were; one that is enabled again is compared with earlier items
        if it was not before; what is said of one that is not there yet holds from its arrival on."""
        bank = self.bank(record.bank)
        known = bank.things.get(record.id)
        if record.edit is ReferenceEdit.REMOVE:
            if known is None:
                raise Refused(Refusal.NO_REFERENCE)
            del bank.things[record.id]
            bank.removed[record.id] = known.source
            bank.disabled.pop(record.id, None)
            bank.searched.discard(record.id)
            return [Unreferenced(id=record.id, bank=record.bank)]
        added = None
        if record.edit is ReferenceEdit.ADD and known is None:
            item = self.held(record.id)
            added = Thing(item.id, item.sha256, item.pixels, (-1, -1), next(self._order), offset=self.offset)
            added.vectors, added.blank, added.pts = item.vectors, item.blank, item.pts
            added.kind, added.seconds, added.shared = item.kind, item.seconds, [0] * len(item.pts)
            bank.removed.pop(record.id, None)
        if record.disabled_until_ms is not None:
            bank.disabled[record.id] = record.disabled_until_ms
        if added is not None:
            return self.add_reference(bank, added)
        if known is None or record.id in bank.searched:
            return []
        found, asked = self.retro(bank, known)
        referenced = Referenced(
            id=known.id, bank=bank.name, kind=known.kind, sha256=known.sha256, found=len(found), asked=asked
        )
        return [referenced, *found] if found or asked else []

    def refer(self, record: Described) -> list[Event]:
        """A reference of a bank that is not known creates it; late records bring back neither it nor a reference."""
        events: list[Event] = []
        if record.bank in self.deleted:
            return [Ignored(id=record.id, why="yes", reason=IgnoredReason.BANK_DELETED)]
        if record.bank not in self.banks:
            if record.part:
                return [Ignored(id=record.id, why="yes", reason=IgnoredReason.PART_MISSING)]
            self.banks[record.bank] = Bank(record.bank)
            events.append(Changed(record=BankChanged(bank=record.bank, why="yes")))
        bank = self.banks[record.bank]
        source, removed = (record.source_partition, record.source_offset), bank.removed.get(record.id)
        if removed is not None and removed[0] == source[0] >= 0 and source[1] <= removed[1]:
            return [Ignored(id=record.id, why="yes", reason=IgnoredReason.REFERENCE_REMOVED)]
        thing = self.arrive(bank, record)
        if isinstance(thing, list):
            return thing
        if not record.last:
            return events
        if bank.things.pop(record.id, None) is not None:
            bank.searched.discard(record.id)
        return events + self.add_reference(bank, thing)

    def add_reference(self, bank: Bank, thing: Thing) -> list[Event]:
        bank.things[thing.id] = thing
        found, asked = self.retro(bank, thing)
        referenced = Referenced(
            id=thing.id,
            bank=bank.name,
            kind=thing.kind,
            sha256=thing.sha256,
            thumbnail=thing.thumbnail,
            found=len(found),
            asked=asked,
        )
        return [referenced, *found]

    def retro(self, bank: Bank, thing: Thing) -> tuple[list[Event], tuple[Asked, ...]]:
        """Earlier items that match a new reference, in order of arrival; what an allow-list covers is silenced.

        What is said is what would have been said had the reference come first. Looked at are heads that resemble the
        reference, with their members, and what is identical to it. Each head whose evidence is worth a proof is asked
        about, the likeliest first, and its star waits for that; what is identical, and the star of what is, does not.
        """
        if not bank.usable(thing, self.now):
            return [], ()
        bank.searched.add(thing.id)
        curves, likely = self.curves(bank.name), []
        ordered = sorted(self.seen.things.values(), key=lambda one: one.order)
        near = []
        for head in ordered:
            looks = compare(head, thing, curves)
            evidence, m = looks.evidence, looks.chances
            if head.above is None and evidence and curves.proposes(evidence, m):
                likely.append((head, curves.decide(evidence, None, m), curves.log_odds(evidence, None, m)))
                near.append(head)
            elif head.above is None and self.have_a_frame_in_common(head, thing, curves):
                near.append(head)
        asked = [
            head
            for head, *_ in best_first(likely, lambda one: RANK[one[1]], lambda one: one[2] / SLOPE)
            if identity(head, thing) is Exact.NO
        ]
        events: list[Event] = []
        for item in ordered:
            exact = identity(item, thing)
            if exact is not Exact.NO:
                match = self.judged(item, thing, self.exactly(bank, thing, thing, exact))
            elif item.head in near and item.head not in asked:
                found = self.by_evidence(bank, item, thing)
                if identity(item.head, thing) is Exact.NO and found.decision is Decision.DUPLICATE:
                    found = msgspec.structs.replace(found, decision=Decision.UNSURE)
                match = self.judged(item, thing, found)
            else:
                continue
            events += self.told(bank, item, match)
        told = []
        for head in asked:
            self.later.append(Later(bank.name, thing, head, head.star(), self.now))
            moments = self.moments(bank.name, head, thing)
            ask = Ask(bank=bank.name, reference=thing.id, offset=thing.offset, sha256=thing.sha256, moments=moments)
            told.append(Asked(id=head.id, offset=head.offset, sha256=head.sha256, asks=(ask,), later=True))
        return events, tuple(told)

    def have_a_frame_in_common(self, head: Thing, thing: Thing, curves: Curves) -> bool:
        """Whether one of them is a film of which a frame resembles the other: then the head's members are looked at."""
        if not head.is_film and not thing.is_film:
            return False
        frames = [(i, j) for i in range(len(head.vectors)) for j in range(len(thing.vectors))]
        speaking = [(i, j) for i, j in frames if not head.blank[i] and not thing.blank[j]]
        found = [frame_cosine(head, i, thing, j) for i, j in speaking]
        return any(one > 0.3 and curves.alike(one) for one in found)

    def told(
        self, bank: Bank, item: Thing, match: Matched | None, before: Decision | None = None
    ) -> list[RetroMatched]:
        """What is said of an earlier item, given how it matches a reference; and that it is no match any more."""
        if match is None or not (match.listed or before) or not bank.asks_about(item.id):
            return []
        silenced = bank.action is Action.FLAG and is_silenced(match, self.allowing(item))
        return [RetroMatched(id=item.id, match=msgspec.structs.replace(match, silenced=silenced), before=before)]

    def allowing(self, item: Thing) -> list[Matched]:
        """Duplicates of an item with references of allow-lists."""
        allowing = []
        for bank in self.banks.values():
            if bank.action is Action.FLAG or not bank.asks_about(item.id):
                continue
            for thing in bank.things.values():
                exact = identity(item, thing)
                found = self.exactly(bank, thing, thing, exact) if exact is not Exact.NO else None
                found = found or self.by_evidence(bank, item, thing)
                match = self.judged(item, thing, found) if found.listed and bank.usable(thing, self.now) else None
                if match is not None and match.decision is Decision.DUPLICATE:
                    allowing.append(match)
        return allowing


def pair_of(a: Thing, b: Thing) -> tuple[bytes, bytes]:
    """A pair of contents is remembered, in both directions; of one and the same content it is the ids."""
    one, other = a.content, b.content
    if one == other:
        one, other = b"id " + a.id.encode(), b"id " + b.id.encode()
    return (one, other) if one < other else (other, one)


def proved_where(proved: Proved, where: Where) -> Where:
    """Where a proof laid one over the other; a copy that covers less than half of a side is a copy of a part. Of films
    the spans say it."""
    if where.kind is WhereKind.NOTHING:
        return where
    if where.spans:
        return msgspec.structs.replace(where, transform=proved.transform)
    part = proved.summary.finding is Finding.COPY and min(proved.query_share, proved.reference_share) < 0.5
    if not part:
        return msgspec.structs.replace(WHOLE, transform=proved.transform)
    boxes = [None if box == ALL else box for box in (proved.query_box, proved.reference_box)]
    return Where(kind=WhereKind.PART, query_box=boxes[0], reference_box=boxes[1], transform=proved.transform)


def is_silenced(match: Matched, allowing: Sequence[Matched]) -> bool:
    """A duplicate with an allow-list silences all other matches if it is one as a whole, else those whose seconds lie
    within the allowed ones, give or take a second; an unsure one nothing."""
    if any(one.where.whole for one in allowing):
        return True
    allowed = [span for one in allowing for span in one.where.spans]
    seconds = [(span.query_start, span.query_end) for span in match.where.spans] or [(0.0, 0.0)]
    return all(any(span.query_start - 1 <= a and b <= span.query_end + 1 for span in allowed) for a, b in seconds)


def combine(item: str, matches: Sequence[Matched], head: str | None) -> Verdict:
    """Curated banks before `seen`, best first. The highest decision of those that are not silenced is the verdict's."""
    ordered = sorted(
        matches,
        key=lambda one: (
            one.bank == SEEN,
            -RANK[one.decision],
            -exactness(one),
            -one.evidence if one.exact is Exact.NO else 0.0,
        ),
    )
    allowing = [one for one in ordered if one.action is Action.ALLOW and one.decision is Decision.DUPLICATE]
    marked = [
        msgspec.structs.replace(one, silenced=one.action is Action.FLAG and is_silenced(one, allowing))
        for one in ordered
    ]
    counting = [one.decision for one in marked if one.action is Action.FLAG and not one.silenced]
    decision = max(counting, key=RANK.__getitem__, default=Decision.DISTINCT)
    allowed = allowing[0].bank if allowing else ""
    return Verdict(id=item, decision=decision, matches=tuple(marked), allowed=allowed, head=head)
