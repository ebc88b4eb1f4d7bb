from __future__ import annotations

import msgspec
import numpy as np
import pytest

from neardup.pipeline.log.changes import (
    FOREVER_MS,
    Action,
    BankChanged,
    BankEdit,
    Calibrated,
    Change,
    ClusterEdit,
    ClusterEdited,
    Outcome,
    ReferenceChanged,
    ReferenceEdit,
    Reviewed,
    fault_of,
)
from neardup.pipeline.log.records import (
    Changed,
    Described,
    Envelope,
    Event,
    Ignored,
    Matched,
    Record,
    Redelivered,
    Referenced,
    ReHeaded,
    Removed,
    RemovedEvent,
    Replaced,
    RetroMatched,
    Rolling,
    Unreferenced,
    Verdict,
    join_parts,
    key_of,
    pack_hashes,
    pack_vectors,
)
from neardup.pipeline.types import Decision, Descriptors, Exact, Kind, Span
from neardup.pipeline.where import Where, WhereKind

D = 8


def unit(count: int, seed: int = 0) -> Descriptors:
    vectors = np.random.default_rng(seed).normal(size=(count, D)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def a_record(count: int = 5) -> Described:
    random = np.random.default_rng(1)
    return Described(
        id="ein Bild é.jpg",
        kind=Kind.VIDEO,
        sha256=bytes(range(32)),
        pixels_digest=b"p" * 16,
        source_partition=3,
        source_offset=2**40,
        width=640,
        height=480,
        seconds=2.5,
        dimension=D,
        pts=tuple(n / 2 for n in range(count)),
        vectors=pack_vectors(unit(count)),
        hashes=pack_hashes(random.integers(0, 256, size=(count, 32), dtype=np.uint8)),
        detail=bytes(range(count)),
    )


MATCH = Matched(
    reference="a",
    bank="seen",
    decision=Decision.UNSURE,
    exact=Exact.PIXELS,
    identical_to="b",
    distance=0.25,
    evidence=0.5,
    probability=0.75,
    where=Where(kind=WhereKind.PART, spans=(Span(0.0, 1.0, 2.0, 3.0, 0.5),)),
)
EVENTS: list[Event] = [
    Verdict(id="a", decision=Decision.DUPLICATE, matches=(MATCH,)),
    Verdict(id="a", decision=Decision.DISTINCT),
    Redelivered(id="a"),
    Replaced(id="a"),
    RemovedEvent(id="a"),
    ReHeaded(old="a", new="b", members=("c", "d")),
    Ignored(id="a", why="was taken down"),
    Rolling(verdict=Verdict(id="a", decision=Decision.UNSURE, running=True)),
    Referenced(id="a", bank="blocked", sha256=b"s" * 32, found=2),
    Unreferenced(id="a", bank="blocked"),
    RetroMatched(id="a", match=MATCH),
    Changed(record=Reviewed(item="a", reference="b", outcome=Outcome.MATCH, by="jo", why="same"), refused="not held"),
]
CHANGES: list[Change] = [
    BankChanged(bank="blocked", action=Action.ALLOW, precision=0.9, enable_ratio=0.5, note="n", metadata={"a": "b"}),
    BankChanged(bank="blocked", edit=BankEdit.DELETE, by="jo", why="old"),
    ReferenceChanged(bank="blocked", id="a", disabled_until_ms=FOREVER_MS),
    ReferenceChanged(bank="blocked", id="a", edit=ReferenceEdit.ADD),
    Reviewed(item="a", reference="b", outcome=Outcome.NOT_A_MATCH),
    ClusterEdited(item="a", edit=ClusterEdit.MERGE, into="b"),
    Calibrated(calibration=b"c"),
]


@pytest.mark.parametrize("record", [a_record(), Described(id="a"), Removed(id="a", by="jo"), *CHANGES])
def test_record_survives_the_log(record: Record) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=Record) == record


@pytest.mark.parametrize("event", EVENTS)
def test_event_survives_the_log(event: Event) -> None:
    envelope = Envelope(offset=12, events=(event, event))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(envelope), type=Envelope) == envelope


def test_each_kind_of_event_has_a_tag_of_its_own() -> None:
    tags = {msgspec.to_builtins(event)["type"] for event in EVENTS}
    assert len(tags) == len({type(event) for event in EVENTS})


def test_record_of_before_banks_is_read_as_it_was_meant() -> None:
    old = msgspec.msgpack.encode({"type": "removed", "id": "a"})
    assert msgspec.msgpack.decode(old, type=Record) == Removed(id="a")
    assert msgspec.msgpack.encode(Removed(id="a")) == old


def test_a_record_is_found_in_the_log_by_what_it_is_about() -> None:
    assert [key_of(change) for change in CHANGES] == ["blocked", "blocked", "a", "a", "a", "a", "seen"]
    assert key_of(Described(id="a")) == key_of(Removed(id="a")) == "a"


def test_changes_that_make_sense_have_no_fault() -> None:
    assert [fault_of(change) for change in CHANGES] == [""] * len(CHANGES)
    assert fault_of(BankChanged(bank="seen", precision=0.999, note="careful")) == ""


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (BankChanged(bank="no spaces"), "letters, digits"),
        (BankChanged(bank="b", precision=1.0), "precision is 1"),
        (BankChanged(bank="b", enable_ratio=1.5), "enable ratio is 1.5"),
        (BankChanged(bank="b", enable_ratio=float("nan")), "enable ratio is nan"),
        (BankChanged(bank="seen", edit=BankEdit.DELETE), "is the stream"),
        (BankChanged(bank="seen", edit=BankEdit.CREATE), "is the stream"),
        (BankChanged(bank="seen", action=Action.ALLOW), "is the stream"),
        (ReferenceChanged(bank="seen", id="a"), "is the stream"),
        (Reviewed(item="a", reference="b", outcome=Outcome.MATCH, bank=""), "letters, digits"),
    ],
)
def test_what_is_wrong_with_a_change_is_told(change: Change, fault: str) -> None:
    assert fault in fault_of(change)


def test_old_reader_takes_a_record_with_a_new_field() -> None:
    written = msgspec.msgpack.decode(msgspec.msgpack.encode(a_record()))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(written | {"colour": "blue"}), type=Record) == a_record()


def test_new_reader_takes_a_record_without_the_later_fields() -> None:
    old = msgspec.msgpack.encode({"type": "described", "id": "a"})
    assert msgspec.msgpack.decode(old, type=Record) == Described(id="a")


def test_old_reader_takes_an_event_with_a_new_field() -> None:
    written = msgspec.msgpack.decode(msgspec.msgpack.encode(Envelope(offset=1, events=tuple(EVENTS))))
    for event in written["events"]:
        event["reviewer"] = "somebody"
    read = msgspec.msgpack.decode(msgspec.msgpack.encode(written), type=Envelope)
    assert read.events == tuple(EVENTS)


def test_record_of_an_unknown_kind_is_told_and_not_guessed() -> None:
    with pytest.raises(msgspec.ValidationError, match="type"):
        msgspec.msgpack.decode(msgspec.msgpack.encode({"type": "banished", "id": "a"}), type=Record)


def test_vectors_come_back_within_half_precision_and_of_unit_length() -> None:
    embedded = a_record().embedded()
    assert embedded.vectors.dtype == np.float32
    assert embedded.vectors == pytest.approx(unit(5), abs=2**-11)
    assert np.linalg.norm(embedded.vectors, axis=1) == pytest.approx(np.ones(5), abs=1e-6)


def test_vectors_are_stored_as_little_endian_half_floats_row_by_row() -> None:
    assert pack_vectors(np.array([[1.0, 0.0], [0.0, -2.0]], np.float32)) == bytes.fromhex("003c0000000000c0")


def test_hashes_and_detail_come_back_as_they_were() -> None:
    embedded = a_record().embedded()
    hashes = np.random.default_rng(1).integers(0, 256, size=(5, 32), dtype=np.uint8)
    assert embedded.hashes.tolist() == hashes.tolist()
    assert embedded.detail.tolist() == [0, 1, 2, 3, 4]


def test_hashes_may_be_packed_from_a_view() -> None:
    hashes = np.arange(128, dtype=np.uint8).reshape(2, 64)[:, ::2]
    assert pack_hashes(hashes) == hashes.tobytes()


def test_record_without_descriptors_has_empty_arrays() -> None:
    embedded = a_record(0).embedded()
    assert (embedded.vectors.shape, embedded.hashes.shape, embedded.detail.shape) == ((0, D), (0, 32), (0,))
    assert Described(id="a").embedded().vectors.shape == (0, 0)


def test_record_whose_vectors_do_not_fit_its_times_is_refused() -> None:
    with pytest.raises(ValueError, match="reshape"):
        msgspec.structs.replace(a_record(), pts=(0.0,)).embedded()


@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_joined_parts_are_what_was_cut(size: int) -> None:
    whole = a_record()
    starts = range(0, 5, size)
    parts = [
        msgspec.structs.replace(
            whole,
            part=part,
            last=start + size >= 5,
            pts=whole.pts[start : start + size],
            vectors=whole.vectors[start * 2 * D : (start + size) * 2 * D],
            hashes=whole.hashes[start * 32 : (start + size) * 32],
            detail=whole.detail[start : start + size],
        )
        for part, start in enumerate(starts)
    ]
    assert join_parts(parts) == whole
