"""The typed records of the log, and the events that `apply` answers with.

A record's place in the log, its offset, is the only order there is. Encoded with msgspec as MessagePack maps, so that
an old reader takes a record with a new field and a new reader takes an old record: fields are only ever added, with a
default, and one that goes stays readable (see `Matched`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from neardup.pipeline.log.changes import (
    SEEN,
    Action,
    BankChanged,
    Calibrated,
    Change,
    ClusterEdited,
    ReferenceChanged,
    Reviewed,
)
from neardup.pipeline.log.proofs import Asked, ItemProved, ProofExpired, ProofPending
from neardup.pipeline.log.reasons import IGNORED_WORDS, IgnoredReason, Refusal, ignored_for, refused_for
from neardup.pipeline.prove.finding import ProofSummary
from neardup.pipeline.types import (
    PLAIN,
    Box,
    Boxes,
    Decision,
    Descriptors,
    Doubt,
    Embedded,
    Exact,
    Extras,
    Hashes,
    Kind,
    Span,
)
from neardup.pipeline.where import WHOLE, Relation, Where, located

NOTHING = -1
"""The offset before the first: of an empty log, state or store."""
FULL = 65535
"""A whole side of a picture in `Described.boxes`."""
ARCHIVE = -2
"""`Described.source_partition` of what was loaded from an archive. It is older than whatever came by `media`."""


class Described(msgspec.Struct, frozen=True, kw_only=True, tag="described", omit_defaults=True):
    """An item, or a part of a long one, as the network sees it.

    Attributes:
        id: the item's id, at most 256 bytes of UTF-8.
        part: 0, 1, 2, … for an item of more than 256 descriptors; `last` marks the final part.
        live: one frame of a running live video, `id` its video, `pts` its one second and `sha256` of its own bytes;
            with `last` the end of the live video, which has no descriptor. `part` is 0.
        space: of the vectors; "" in records of a time before this field.
        bank: "seen" is the stream itself: an upload, of which a verdict is given. Any other name makes it a reference
            of that bank, under this id within the bank.
        sha256: 32 bytes, of the item's content.
        pixels_digest: see `types.Media`.
        source_partition, source_offset: where it came from in `media`; -1 without a broker. Of what was loaded from an
            archive ARCHIVE, and the item's own time in milliseconds since 1970.
        quiet: nobody is notified of what is found out about this item: it is history.
        produced_ms: when the broker took it into `media`, in milliseconds since 1970; 0 without a broker.
        width, height: pixels, upright. seconds: duration, 0 for an image.
        dimension: d of the vectors.
        pts: seconds, one for each of the n descriptors.
        vectors: float16 little-endian, n × d, row by row.
        hashes: n × 32 bytes. detail: n bytes.
        boxes: which part of the upright picture each descriptor shows, see `pack_boxes`; b"" if all show all of it.
        similar: float16 little-endian, (s,), unit length: the mean over the whole pictures of all parts of what the
            similar head says. With the last part only, not of a live video; b"" without such a head.
        similar_space: of that vector; those of two spaces are never compared.
        thumbnail: where the blob store has a small JPEG of the item, below the store's own URL; "" if there is none.
            With part 0 only.
        extras: what else the file holds, the same with every part.
        look: what shaped the description beside content and network, see `workers.embed.known_content.look_digest`: of
            the same content the same look makes the same description. b"" where that is not known.
    """

    id: str
    part: int = 0
    last: bool = True
    live: bool = False
    space: str = ""
    bank: str = SEEN
    kind: Kind = Kind.IMAGE
    sha256: bytes = b""
    pixels_digest: bytes = b""
    source_partition: int = -1
    source_offset: int = -1
    produced_ms: int = 0
    quiet: bool = False
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    dimension: int = 0
    pts: tuple[float, ...] = ()
    vectors: bytes = b""
    hashes: bytes = b""
    detail: bytes = b""
    boxes: bytes = b""
    similar: bytes = b""
    similar_space: str = ""
    thumbnail: str = ""
    extras: Extras = PLAIN
    look: bytes = b""

    def embedded(self) -> Embedded:
        """Return the descriptors as arrays: float32 unit rows (n, d), hashes (n, 32), detail (n,)."""
        return unpack([self])

    def similar_vector(self, space: str) -> Descriptors:
        """Return the similar head's vector as a unit row, float32 (1, s); (0, 0) if there is none of this space."""
        if not self.similar or self.similar_space != space:
            return np.zeros((0, 0), np.float32)
        vector = np.frombuffer(self.similar, dtype="<f2").astype(np.float32)
        length = np.sqrt(vector @ vector)
        unit: Descriptors = (vector / length)[None] if 0 < length < np.inf else np.zeros((0, 0), np.float32)
        return unit


def unpack(records: Sequence[Described]) -> Embedded:
    """Return the descriptors of at least one record as `Described.embedded` does, one record's after another's."""
    vectors = np.frombuffer(b"".join([one.vectors for one in records]), dtype="<f2").astype(np.float32)
    vectors = vectors.reshape(sum(len(one.pts) for one in records), records[0].dimension)
    return Embedded(
        vectors=vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        hashes=np.frombuffer(b"".join([one.hashes for one in records]), dtype=np.uint8).reshape(-1, 32),
        detail=np.frombuffer(b"".join([one.detail for one in records]), dtype=np.uint8),
    )


def pack_vectors(vectors: Descriptors) -> bytes:
    """Return float32 (n, d) as the little-endian float16 bytes that a `Described` carries."""
    return vectors.astype("<f2").tobytes()


def pack_hashes(hashes: Hashes) -> bytes:
    """Return (n, 32) hashes as the bytes that a `Described` carries."""
    return np.ascontiguousarray(hashes).tobytes()


def pack_boxes(boxes: Sequence[Box | None]) -> bytes:
    """Return left, top, right and bottom of each box in 65535ths, uint16 little-endian; b"" if there is none."""
    if not any(boxes):
        return b""
    shares = np.array([box or (0.0, 0.0, 1.0, 1.0) for box in boxes])
    packed: bytes = np.rint(shares * FULL).astype("<u2").tobytes()
    return packed


def unpack_boxes(boxes: bytes, count: int) -> Boxes:
    """Return what `pack_boxes` made of `count` boxes."""
    if not boxes:
        return np.tile(np.array([0, 0, FULL, FULL], dtype=np.uint16), (count, 1))
    return np.frombuffer(boxes, dtype="<u2").reshape(count, 4)


def boxes_of(records: Sequence[Described]) -> Boxes:
    """Return which part of its picture each descriptor of some records shows, one record's after another's."""
    if not any(record.boxes for record in records):
        return unpack_boxes(b"", sum(len(record.pts) for record in records))
    return np.concatenate([unpack_boxes(record.boxes, len(record.pts)) for record in records])


def join_parts(parts: Sequence[Described]) -> Described:
    """Return the parts of one item, in order, as one record."""
    return msgspec.structs.replace(
        parts[0],
        last=True,
        pts=tuple(pts for part in parts for pts in part.pts),
        vectors=b"".join(part.vectors for part in parts),
        hashes=b"".join(part.hashes for part in parts),
        detail=b"".join(part.detail for part in parts),
        boxes=b"".join(part.boxes for part in parts),
        similar=parts[-1].similar,
        similar_space=parts[-1].similar_space,
    )


class Removed(msgspec.Struct, frozen=True, kw_only=True, tag="removed", omit_defaults=True):
    """An upload was taken down. Late or replayed records of it stay without effect.

    A reference of a curated bank that has the same id stays: to ban a picture is to add it to a bank and take it down.

    Attributes:
        by: who asked for it. why: in their words.
    """

    id: str
    by: str = ""
    why: str = ""


Record: TypeAlias = (
    Described
    | Removed
    | BankChanged
    | ReferenceChanged
    | Reviewed
    | ClusterEdited
    | Calibrated
    | ItemProved
    | ProofExpired
)
"""Whatever may stand in the log; see `changes` for what people cause."""


def key_of(record: Record) -> str:
    """Return what a record is about: the key that it has in the log, for a person who reads along."""
    match record:
        case Described(id=key) | Removed(id=key) | ReferenceChanged(id=key):
            return key
        case ItemProved(id=key) | ProofExpired(id=key):
            return key
        case Reviewed(item=key) | ClusterEdited(item=key) | BankChanged(bank=key) | Calibrated(bank=key):
            return key


class Comparison(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What two items have in common. A field that is added here reaches every match; docs/new-match-field.md.

    Attributes:
        exact: whether the two are identical.
        distance: squared Euclidean distance of the closest pair of descriptors, 0 to 4.
        evidence: what the decision was taken on; higher is more alike.
        probability: that the two show the same picture, after calibration, 0 to 1.
        relation: a variant is `distinct`, so it counts for no flag, cluster or plan, and is listed all the same.
        doubt: why the match is `unsure` at most.
        proof: what laying one over the other showed; None where that was not tried.
    Raises:
        ValueError: a variant that is not `distinct`.
    """

    decision: Decision
    exact: Exact = Exact.NO
    distance: float
    evidence: float
    probability: float
    where: Where = WHOLE
    relation: Relation = Relation.COPY
    doubt: Doubt = Doubt.NO
    proof: ProofSummary | None = None

    def __post_init__(self) -> None:
        if self.relation is Relation.VARIANT and self.decision is not Decision.DISTINCT:
            raise ValueError(f"a variant is distinct, not {self.decision.value}")

    @property
    def listed(self) -> bool:
        """Whether verdicts list the match: as a duplicate, as unsure, or as a variant."""
        return self.decision is not Decision.DISTINCT or self.relation is Relation.VARIANT

    def common(self) -> dict[str, Any]:
        """Return the fields of `Comparison` alone, for another that says the same of two items."""
        return {name: getattr(self, name) for name in Comparison.__struct_fields__}

    def in_full(self) -> dict[str, Any]:
        """Return all fields for JSON that people read, what is empty in `where` too."""
        fields = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not UNSET}
        proof = None if self.proof is None else self.proof.in_full()
        spans = [msgspec.structs.asdict(span) for span in self.where.spans]
        return fields | {"where": msgspec.structs.asdict(self.where) | {"spans": spans}, "proof": proof}


class Matched(Comparison, frozen=True, kw_only=True, omit_defaults=True):
    """One reference that an item was matched with.

    Attributes:
        reference: id of the earlier item, a cluster head, or of a reference of the bank.
        bank: "seen" or a curated one. action: what a match with it means.
        silenced: an allow-list matches too, so this one counts for nothing in the item's decision.
        head: present head of the reference, which joined a cluster while the item waited; "" if it is a head.
        identical_to: id of the item with the same bytes or pixels: the reference or one of its members; "" if none.
        old_whole, old_spans, old_query_box, old_reference_box: `where` in records of a time before it; only read.
    """

    reference: str
    bank: str
    identical_to: str = ""
    action: Action = Action.FLAG
    silenced: bool = False
    head: str = ""
    old_whole: bool | UnsetType = msgspec.field(name="whole", default=UNSET)
    old_spans: tuple[Span, ...] | UnsetType = msgspec.field(name="spans", default=UNSET)
    old_query_box: Box | UnsetType | None = msgspec.field(name="query_box", default=UNSET)
    old_reference_box: Box | UnsetType | None = msgspec.field(name="reference_box", default=UNSET)

    def __post_init__(self) -> None:
        if self.old_whole is not UNSET:
            boxes = self.old_query_box or None, self.old_reference_box or None
            where = located(self.old_whole, boxes, self.old_spans or ())
            msgspec.structs.force_setattr(self, "where", where)
            for name in ("old_whole", "old_spans", "old_query_box", "old_reference_box"):
                msgspec.structs.force_setattr(self, name, UNSET)
        super().__post_init__()


class Verdict(msgspec.Struct, frozen=True, kw_only=True, tag="verdict"):
    """What is said of an item, once, when its last part has been seen: its matches and the decision.

    Attributes:
        decision: the highest of the matches that are neither silenced nor of an allow-list.
        matches: of curated banks, then of `seen`; best first within a bank.
        running: a live video that goes on: matches may come and grow.
        allowed: the allow-list that it is a duplicate of, as a whole or in spans; "" if none.
        head: the head of the cluster that it joined, "" if it stands alone; None in old logs, where it is the first
            whole duplicate.
        quiet: nobody is notified: it enters no feed, no review queue and no webhook; see `Described.quiet`.
    """

    id: str
    decision: Decision
    matches: tuple[Matched, ...] = ()
    running: bool = False
    allowed: str = ""
    head: str | None = None
    quiet: bool = False


class Redecided(msgspec.Struct, frozen=True, kw_only=True, tag="re-decided"):
    """What is said of an item once more: its verdict was given without proofs, and they came after all.

    Attributes:
        verdict: takes the place of the one before.
        before: the decision of that one.
        withdrawn: matches that it listed and this one does not: bank and reference.
    """

    verdict: Verdict
    before: Decision
    withdrawn: tuple[tuple[str, str], ...] = ()


class Rolling(msgspec.Struct, frozen=True, kw_only=True, tag="rolling"):
    """What is said of a live video so far, each time that something in it changed that matters, and at its end.

    Attributes:
        verdict: takes the place of the one before.
        flagged: the match that is to be looked at now, sent once; None if none is new.
        asked: what is to be proved before it is flagged; None if nothing is new.
        withdrawn: matches that were flagged and are none any more: bank and reference.
    """

    verdict: Verdict
    flagged: Matched | None = None
    asked: Asked | None = None
    withdrawn: tuple[tuple[str, str], ...] = ()


class Redelivered(msgspec.Struct, frozen=True, kw_only=True, tag="redelivered"):
    """The same id came with the same bytes again, or a live video's frame with the same pts; nothing changes."""

    id: str


class Replaced(msgspec.Struct, frozen=True, kw_only=True, tag="replaced"):
    """The same id came with other bytes; the earlier version is gone. A verdict on the new one follows."""

    id: str


class RemovedEvent(msgspec.Struct, frozen=True, kw_only=True, tag="removed"):
    """The item was taken down and is not in the state, whether or not it was before."""

    id: str


class ReHeaded(msgspec.Struct, frozen=True, kw_only=True, tag="re-headed"):
    """Items stand under another head: theirs was removed, or a review or a person's edit moved them.

    Attributes:
        old: the head that they stood under. new: their head from now on, which stands under none.
        members: ids that joined the new head. Without any, `new` stands alone, having left the cluster of `old`.
    """

    old: str
    new: str
    members: tuple[str, ...] = ()


class Referenced(msgspec.Struct, frozen=True, kw_only=True, tag="referenced"):
    """A curated bank has a new reference, or a new version of one; `RetroMatched` lists earlier items like it.

    Attributes:
        found: earlier items that match it. left_out: how many more are not listed, for there were too many.
        asked: earlier heads that may match it; they and their members are listed once these are proved.
    """

    id: str
    bank: str
    kind: Kind = Kind.IMAGE
    sha256: bytes = b""
    thumbnail: str = ""
    found: int = 0
    left_out: int = 0
    asked: tuple[Asked, ...] = ()


class RetroMatched(msgspec.Struct, frozen=True, kw_only=True, tag="retro-matched"):
    """An item that was decided on earlier matches a reference that a bank got only now.

    Attributes:
        id: of the earlier item. match: joins those of its verdict; one that is not `listed` leaves them.
        before: decision of the match whose place this one takes, when a proof came late; None if it is the first.
    """

    id: str
    match: Matched
    before: Decision | None = None


class Unreferenced(msgspec.Struct, frozen=True, kw_only=True, tag="unreferenced"):
    """A curated bank has lost a reference."""

    id: str
    bank: str


class Changed(msgspec.Struct, frozen=True, kw_only=True, tag="changed"):
    """A change that somebody asked for was applied, for the audit trail; what it led to follows in other events.

    Attributes:
        refused: why it was not, in words; "" if it was.
        waits: the reference is not there yet: what was said of it holds from its arrival on.
        refusal: why it was not; None if it was, and in envelopes of a time before reasons, see `refused_for`.
    """

    record: Change | Removed
    refused: str = ""
    waits: bool = False
    refusal: Refusal | None = None

    @property
    def refused_for(self) -> Refusal | None:
        """Why it was not applied; None if it was."""
        return refused_for(self.refusal, self.refused)


class Ignored(msgspec.Struct, frozen=True, kw_only=True, tag="ignored"):
    """A record without effect: older than what is known of its id, or of an id that was taken down.

    Attributes:
        why: in words. reason: None in envelopes of a time before reasons, see `ignored_for`.
    """

    id: str
    why: str
    reason: IgnoredReason | None = None

    @property
    def ignored_for(self) -> IgnoredReason:
        """Why it has no effect."""
        return ignored_for(self.reason, self.why)


def ignored(item_id: str, reason: IgnoredReason, words: str = "") -> Ignored:
    """Return that a record is ignored; words are to be given where the reason alone does not say all."""
    return Ignored(id=item_id, why=words or IGNORED_WORDS[reason], reason=reason)


Event: TypeAlias = (
    Verdict
    | ProofPending
    | Redecided
    | Rolling
    | Redelivered
    | Replaced
    | RemovedEvent
    | ReHeaded
    | Ignored
    | Referenced
    | Unreferenced
    | RetroMatched
    | Changed
)


def asks_of(event: Event) -> tuple[Asked, ...]:
    """Return what an event asks prove workers for."""
    if isinstance(event, ProofPending | Rolling):
        return () if event.asked is None else (event.asked,)
    return event.asked if isinstance(event, Referenced) else ()


def say_the_same(some: Sequence[Event], others: Sequence[Event]) -> bool:
    """Return whether events are the same but for the words in which they say why something had no effect."""
    return [_wordless(event) for event in some] == [_wordless(event) for event in others]


def _wordless(event: Event) -> Event:
    if isinstance(event, Ignored):
        return msgspec.structs.replace(event, why="", reason=event.ignored_for)
    if isinstance(event, Changed):
        record = msgspec.structs.replace(event.record, why="")
        return msgspec.structs.replace(event, record=record, refused="", refusal=event.refused_for)
    return event


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """All events of one log offset; exactly one envelope per offset, also where it holds no event.

    Attributes:
        candidates: what was searched for and found, so that who applies the log again need not search, see
            `log.candidates` and `match.apply.findings`; UNSET in old envelopes, and where nothing was searched for.
        timestamp_ms: when the broker took the record into the log, in milliseconds since 1970; 0 without a broker.
        produced_ms: when it took the item into `media`; 0 if the record did not come from there.
    """

    offset: int
    events: tuple[Event, ...] = ()
    timestamp_ms: int = 0
    produced_ms: int = 0
    candidates: bytes | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Entry:
    """A record at its place in the log; the time is the log's, in milliseconds since 1970."""

    offset: int
    record: Record
    timestamp_ms: int = 0
