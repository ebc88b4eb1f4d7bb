"""One function for each thing that must hold when a run is over; each yields what is wrong, in words."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

import msgspec
import numpy as np

from neardup.pipeline.errors import Reason
from neardup.pipeline.index import IndexOptions
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.log.proofs import ItemProved, ProofExpired, ProofPending
from neardup.pipeline.log.records import (
    Described,
    Envelope,
    Ignored,
    Redecided,
    Redelivered,
    Removed,
    RemovedEvent,
    Replaced,
    Verdict,
)
from neardup.pipeline.match.apply.snapshot import VECTORS, Snapshots
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.decide.evidence import Evidence
from neardup.pipeline.store.interface import entry_of
from neardup.pipeline.store.memory import MemoryStore
from neardup.pipeline.types import Decision, Exact
from neardup.workers.dead_letters.letters import Letter
from tests.faults.cluster import SPACE
from tests.faults.content import BAD, SHARPEST, is_bad
from tests.faults.observe import Observed, of_people, source
from tests.faults.oracle import ByContent, Expected, by_state
from tests.faults.schedule import Mode
from tests.pipeline.match.build import D, a_calibration

MISSED_SHARE = 0.01
"""Of the duplicates, that an approximate search may miss."""
_SAME_DISTANCE = 2e-3
_KILLED = Reason.KILLED.value
_encode = msgspec.msgpack.encode


@dataclass
class Count:
    """What a run was about: how many verdicts there were, how many should name a copy, and how many did not."""

    verdicts: int = 0
    copies: int = 0
    missed: int = 0


def check(observed: Observed, mode: Mode, count: Count) -> list[str]:
    """Return everything that is wrong with a run, and count."""
    wrong = list(observed.wrong)
    for one in CHECKS:
        wrong += one(observed)
    if len(observed.envelopes) == len(observed.log):
        wrong += equals_the_oracle(observed, mode)
        if all(isinstance(entry.record, Described | Removed | ItemProved | ProofExpired) for entry in observed.log):
            wrong += equals_the_content(observed, mode, count)  # which knows nothing of banks and reviews
        wrong += snapshot_stands_for_the_log(observed, mode)
    return wrong


# -- media to log ------------------------------------------------------------------------------------------------------


def everything_sent_arrived(observed: Observed) -> Iterator[str]:
    """Each good record of `media` is described in the log from its first part to its last, each null value removed.

    One by which processes died is a dead letter instead; see `dead_letters_are_the_bad_records`.
    """
    killed = {_place(letter) for letter in observed.letters if letter.reason == _KILLED}
    parts: dict[tuple[int, int], set[int]] = {}
    whole: set[tuple[int, int]] = set()
    for entry in observed.log:
        if isinstance(entry.record, Described):
            parts.setdefault(source(entry.record), set()).add(entry.record.part)
            if entry.record.last and parts[source(entry.record)] >= set(range(entry.record.part)):
                whole.add(source(entry.record))
    removed = {entry.record.id for entry in observed.log if isinstance(entry.record, Removed)}
    for one in observed.sent:
        place, what = (one.partition, one.offset), one.action
        if is_bad(what.content):
            if place in parts:
                yield f"bad record {one} is described in the log"
        elif not what.content:
            if what.key.decode() not in removed:
                yield f"null value {one} removed nothing"
        elif place not in whole and place not in killed:
            yield f"record {one} is not whole in the log: parts {sorted(parts.get(place, ()))}"
    strange = parts.keys() - {(one.partition, one.offset) for one in observed.sent} - {(-1, -1)}
    if strange:
        yield f"the log describes records that nobody sent: {sorted(strange)}"


def dead_letters_are_the_bad_records(observed: Observed) -> Iterator[str]:
    """Each bad record, and no other, is a dead letter, as it came; twice only if its partition began anew."""
    bad = {(one.partition, one.offset): one for one in observed.sent if is_bad(one.action.content)}
    times: Counter[tuple[int, int]] = Counter()
    killed = 0
    for letter in observed.letters:
        place = _place(letter)
        times[place] += 1
        killed += letter.reason == _KILLED
        if letter.reason == _KILLED and killed < observed.died_describing:
            continue  # two processes died by it, and by chance: the first death made a suspect of it
        if place not in bad:
            yield f"dead letter {letter.source}, key {letter.key!r}, was good: {letter.reason} {letter.detail}"
            continue
        wanted = BAD[bad[place].action.content.partition(":")[2]]
        if (letter.reason, letter.key) != (wanted, bad[place].action.key):
            yield f"dead letter {letter.source} gives {letter.reason}, {letter.key!r}; {wanted} for {bad[place]}"
    for place, one in bad.items():
        if not times[place]:
            yield f"bad record {one} is no dead letter"
    for place, number in times.items():
        if number > 1 + observed.chances:
            yield f"{number} dead letters of media/{place}, and partitions may have begun anew {observed.chances} times"


def _place(letter: Letter) -> tuple[int, int]:
    _, partition, offset = letter.source.rsplit("/", 2)
    return int(partition), int(offset)


# -- log to verdicts ---------------------------------------------------------------------------------------------------


def one_envelope_for_each_offset(observed: Observed) -> Iterator[str]:
    """Envelope n is of offset n, and there are as many as records; their times are those of the records."""
    found = [one.offset for one in observed.envelopes]
    wanted = range(len(observed.log))
    times = Counter(found)
    for offset in wanted:
        if times[offset] == 0:
            yield f"offset {offset} of the log has no envelope"
        elif times[offset] > 1:
            yield f"offset {offset} of the log has {times[offset]} envelopes"
    if strange := sorted(set(found) - set(wanted)):
        yield f"envelopes of offsets that the log does not have: {strange}"
    if found != sorted(found):
        yield "envelopes are not in order"
    for one in observed.envelopes:
        if one.offset < len(observed.log):
            record = observed.log[one.offset].record
            produced = record.produced_ms if isinstance(record, Described | ItemProved) else 0
            if (one.timestamp_ms, one.produced_ms) != (observed.times[one.offset], produced):
                yield f"envelope {one.offset} has the times {one.timestamp_ms}, {one.produced_ms} of another record"


def equals_the_oracle(observed: Observed, mode: Mode) -> Iterator[str]:
    """With the exact index every event is the oracle's; with ScaNN they are, once its verdicts are taken over."""
    published = {} if mode == "exact" else _published(observed)
    for wanted, found in zip(by_state(observed.log, published, observed.proves), observed.envelopes, strict=True):
        if _encode(wanted.events) != _encode(found.events):
            yield f"offset {found.offset}: published {found.events}, the oracle says {wanted.events}"


def equals_the_content(observed: Observed, mode: Mode, count: Count) -> Iterator[str]:
    """Each accepted version has one verdict: a duplicate of an earlier live copy, or distinct where there is none."""
    model, waiting, expired = ByContent(observed), dict[int, ProofPending](), set[int]()
    for entry, envelope in zip(observed.log, observed.envelopes, strict=True):
        wanted = model.take(entry)
        pending = next((event for event in envelope.events if isinstance(event, ProofPending)), None)
        if wanted.what == "answered" and (one := waiting.get(wanted.offset)) is not None:
            if model.stands_since(one.id) != wanted.offset:
                del waiting[wanted.offset]  # taken down, or another version is there
            elif isinstance(entry.record, ProofExpired):
                expired.add(wanted.offset)
        again = next((event for event in envelope.events if isinstance(event, Redecided)), None)
        if problem := _wrong_events(wanted, envelope):
            yield f"offset {entry.offset}, {wanted.id}: {problem}; published {envelope.events}"
        elif again is not None:
            problem = "is decided again"
            if (waited := waiting.pop(wanted.offset, None)) is not None:
                problem = _wrong_when_settled(waited, False, again.verdict, model)
            if problem:
                yield f"offset {entry.offset}, {wanted.id}: {problem}; published {again}"
        elif pending is not None:
            if not wanted.copies:
                yield f"offset {entry.offset}, {wanted.id}: copies nothing and waits; published {envelope.events}"
            waiting[entry.offset] = pending
        elif verdict := next((one for one in envelope.events if isinstance(one, Verdict)), None):
            settled = wanted.what == "answered"
            copies, twins = model.earlier(verdict.id) if settled else (wanted.copies, wanted.twins)
            count.verdicts += 1
            count.copies += bool(copies)
            problem = ""
            if settled:
                if wanted.offset not in waiting:
                    problem = "did not wait"
                else:
                    problem = _wrong_when_settled(waiting[wanted.offset], wanted.offset in expired, verdict, model)
                if wanted.offset not in expired:
                    del waiting[wanted.offset]
            elif mode == "scann" and copies and not twins and verdict.decision is Decision.DISTINCT:
                count.missed += 1
            else:
                problem = _wrong_verdict(wanted, verdict, model)
            if problem:
                yield f"offset {entry.offset}, {wanted.id}: {problem}; published {verdict}"
    for offset, one in waiting.items():
        if model.stands_since(one.id) == offset and offset not in expired:
            yield f"offset {offset}, {one.id} waits for proofs, and was never decided"
    if count.missed > MISSED_SHARE * count.copies:
        yield f"{count.missed} of {count.copies} copies were missed"


def _wrong_events(wanted: Expected, envelope: Envelope) -> str:
    """Return how the kinds of events are not what the record must lead to, "" if they are."""
    kinds = Counter(type(event) for event in envelope.events)
    main = {
        "verdict": {Verdict: 1},
        "part": {},
        "redelivered": {Redelivered: 1},
        "ignored": {Ignored: 1},
        "removed": {RemovedEvent: 1},
        "answered": {},
    }[wanted.what]
    if wanted.what == "answered":  # the first decides, one after an expiry may do so again, and others do nothing
        return "" if kinds[Verdict] + kinds[Redecided] <= 1 else "decided twice"
    if wanted.what == "verdict" and kinds[ProofPending]:
        main = {ProofPending: 1}
    for kind in (Verdict, Redelivered, Ignored, RemovedEvent, Replaced):
        number = wanted.replaces if kind is Replaced else main.get(kind, 0)
        if kinds[kind] != number:
            return f"{kinds[kind]} {kind.__name__}, wanted {int(number)} ({wanted.what})"
    if any(event.id != wanted.id for event in envelope.events if hasattr(event, "id")):
        return "events of another item"
    return ""


def _wrong_verdict(wanted: Expected, verdict: Verdict, model: ByContent) -> str:
    if not wanted.copies:
        return "" if verdict.decision is Decision.DISTINCT else "a copy of nothing that is there"
    if verdict.decision is not Decision.DUPLICATE or not verdict.matches:
        return f"copies {sorted(wanted.copies)[:5]} and was not found to"
    for match in verdict.matches:
        if match.reference not in wanted.copies:
            return f"copies {sorted(wanted.copies)[:5]}, not {match.reference}"
    best = verdict.matches[0]
    if wanted.twins and (best.exact is not Exact.BYTES or best.identical_to not in wanted.twins):
        return f"has the bytes of {sorted(wanted.twins)[:5]}, and is told to have those of {best.identical_to!r}"
    if best.exact is Exact.NO:
        nearest = _distance(model, verdict.id, best.reference)
        if abs(nearest - best.distance) > _SAME_DISTANCE or nearest > 2 - 2 * SHARPEST:
            return f"is at distance {nearest:.4f} from {best.reference}"
    return ""


def _wrong_when_settled(waited: ProofPending, expired: bool, verdict: Verdict, model: ByContent) -> str:
    """Return what is wrong with a verdict that was waited for, given what is there by then."""
    wanted = Expected("verdict", waited.id, False, *model.earlier(waited.id))
    candidates = (*waited.asked.asks, *waited.beside)
    if any(model.stands_since(one.reference) != one.offset for one in candidates):
        return "" if {match.reference for match in verdict.matches} <= wanted.copies else "matches what is no copy"
    if expired and verdict.decision is Decision.UNSURE:
        return ""
    return _wrong_verdict(wanted, verdict, model)


def _distance(model: ByContent, one: str, other: str) -> float:
    """Return the squared distance of the closest descriptors of two items, by their float16 vectors in the log."""
    a, b = model.vectors(one).astype(np.float64), model.vectors(other).astype(np.float64)
    return float(np.min(np.sum((a[:, None] - b[None]) ** 2, axis=-1)))


# -- verdicts to Redis -------------------------------------------------------------------------------------------------


def feed_holds_each_flagged_verdict_once(observed: Observed) -> Iterator[str]:
    """The feed is, in order, what was flagged, and nothing else."""
    wanted = [
        (entry.event, entry.verdict)
        for envelope in observed.envelopes
        for number, event in enumerate(envelope.events)
        if (entry := entry_of(event, f"{envelope.offset}.{number}", envelope.timestamp_ms)) is not None
    ]
    found = [(entry.event, entry.verdict) for entry in observed.flags.feed]
    items = Counter((verdict.id, _encode(verdict)) for _, verdict in found)
    allowed = Counter((verdict.id, _encode(verdict)) for _, verdict in wanted)
    for key in items.keys() | allowed.keys():
        if items[key] != allowed[key]:
            yield f"the feed holds {key[0]} {items[key]} times, flagged {allowed[key]} times"
    if [event for event, _ in found] != [event for event, _ in wanted]:
        yield "the feed is not in the order of the events"


def redis_is_what_the_verdicts_make_it(observed: Observed) -> Iterator[str]:
    """Verdicts by item and members by head are those that a store in memory has after all envelopes."""
    flags, store = observed.flags, MemoryStore()
    store.apply(observed.envelopes)
    if flags.applied != len(observed.log) - 1:
        yield f"Redis stands for offset {flags.applied}, the log ends with {len(observed.log) - 1}"
    said = {event.id for one in observed.envelopes for event in one.events if isinstance(event, Verdict)}
    for item in sorted(said | flags.verdicts.keys()):
        if (found := flags.verdicts.get(item)) != (wanted := store.verdict(item)):
            yield f"Redis says {found} of {item}, the last verdict is {wanted}"
    for head in sorted(said | flags.members.keys()):
        if (found_members := flags.members.get(head, frozenset())) != (members := store.members(head)):
            yield f"Redis has the members {sorted(found_members)} for {head}, wanted {sorted(members)}"
    for name, is_there, is_wanted in (
        ("banks", flags.people.banks, of_people(store).banks),
        ("references", flags.people.references, of_people(store).references),
        ("audit trail", flags.people.audit, of_people(store).audit),
        ("review queue", flags.people.queue, of_people(store).queue),
    ):
        if is_there != is_wanted:
            yield f"Redis has the {name} {is_there}, wanted {is_wanted}"


# -- files -------------------------------------------------------------------------------------------------------------


def files_are_those_of_what_is_there(observed: Observed) -> Iterator[str]:
    """Each live item that came through `media` has a thumbnail; of what was taken down no file is left."""
    model, removed = ByContent(observed), set[str]()
    for entry in observed.log:
        model.take(entry)
        if isinstance(entry.record, Removed):
            removed.add(entry.record.id)
    for one in observed.sent:
        if one.action.content and not is_bad(one.action.content):
            item = one.action.key.decode()
            files = sorted(file for file in observed.files if file.startswith(_file_name(item)))
            if item in removed and files:
                yield f"{item} was taken down and has files: {files}"
            elif item not in removed and model.alive(item) and not any(file.endswith(".jpg") for file in files):
                yield f"{item} has no thumbnail: {files}"


def _file_name(item: str) -> str:
    """Return how the names of an item's files begin."""
    return hashlib.sha256(item.encode()).hexdigest()[:32]


def snapshot_stands_for_the_log(observed: Observed, mode: Mode) -> Iterator[str]:
    """Each folder's newest snapshot, and the log after it, say what the log says that was applied in one go."""
    published = _published(observed) if mode == "scann" else {}
    for folder in sorted(observed.state_folder.glob("match-*")):
        if not (folder / VECTORS).exists() or not Snapshots(folder).offsets():
            continue
        calibration = a_calibration()
        with closing(
            State(
                IndexOptions("exact", device="cpu"),
                VectorFile(folder / VECTORS, D, SPACE),
                Evidence(np.zeros((0, D), dtype=np.float32), *calibration.weights),
                calibration,
                asks=observed.proves,
            )
        ) as state:
            wanted = Snapshots(folder).offsets()[0]
            offset = Snapshots(folder).load(state)
            if offset != wanted:
                yield f"{folder.name}: the snapshot of offset {wanted} cannot be read"
            rest = observed.log[offset + 1 :]
            for envelope in state.apply(rest, published):
                if _encode(envelope.events) != _encode(observed.envelopes[envelope.offset].events):
                    yield f"{folder.name}: from its snapshot of offset {offset} on it says {envelope.events}"


def _published(observed: Observed) -> Mapping[int, Envelope]:
    return {envelope.offset: envelope for envelope in observed.envelopes}


CHECKS: tuple[Callable[[Observed], Iterator[str]], ...] = (
    everything_sent_arrived,
    dead_letters_are_the_bad_records,
    one_envelope_for_each_offset,
    feed_holds_each_flagged_verdict_once,
    redis_is_what_the_verdicts_make_it,
    files_are_those_of_what_is_there,
)
