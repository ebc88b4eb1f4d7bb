from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.log.changes import BankChanged, BankEdit, ReferenceChanged, ReferenceEdit
from neardup.pipeline.log.reasons import Refusal
from neardup.pipeline.log.records import (
    Changed,
    Entry,
    Envelope,
    Record,
    Referenced,
    Removed,
    RemovedEvent,
    Unreferenced,
)
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.store.memory import MemoryStore
from neardup.workers.flag.erase import Gone, erase, gone
from neardup.workers.flag.worker import FlagWorker
from tests.integration.stream import a_state_in
from tests.pipeline.match.build import picture
from tests.workers.broker import Broker, FakeTail


def test_what_was_taken_down_and_what_came_too_late_is_gone(tmp_path: Path) -> None:
    log: list[Record] = [
        picture("a", 0, source_offset=0),
        picture("b", 60, source_offset=1),
        Removed(id="a"),
        picture("a", 0, source_offset=0),
        picture("b", 90, source_offset=0),  # older than what is known: b stays
    ]
    with closing(a_state_in(tmp_path)) as state:
        envelopes = state.apply([Entry(offset, record) for offset, record in enumerate(log)])
    assert [gone([envelope]).items for envelope in envelopes] == [set(), set(), {"a"}, {"a"}, set()]


def test_files_of_many_items_go_and_others_stay(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path.as_uri())
    for number in range(40):
        blobs.put_thumbnail(f"p{number}", b"jpeg", "1")
    assert erase(blobs, Gone(frozenset({f"p{number}" for number in range(39)} | {"unheard-of"}))) == 39
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1
    assert erase(blobs, Gone()) == 0


def test_nothing_is_applied_before_its_files_are_erased() -> None:
    broker, store = Broker(), MemoryStore()
    broker.publish(Envelope(offset=0, events=(RemovedEvent(id="a"),)))
    erased: list[frozenset[str]] = []

    def erase_later(what: Gone) -> None:
        erased.append(what.items)
        if len(erased) == 1:
            raise DependencyError("the blob store is away")

    def worker() -> FlagWorker:
        return FlagWorker(cast(Any, FakeTail(broker, "verdicts")), store, erase_later)

    with pytest.raises(DependencyError):
        worker().step()
    assert store.applied() == -1
    worker().step()
    assert (erased, store.applied()) == ([{"a"}, {"a"}], 0)


def test_packs_of_references_go_with_them_and_with_their_bank(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path.as_uri())
    kept = [("", "a"), ("known", "a"), ("known", "b"), ("other", "a")]
    for bank, id in kept:
        blobs.put_pack(bank, id, b"pack", "1")

    def left_after(*events: Any) -> list[tuple[str, str]]:
        erase(blobs, gone([Envelope(offset=0, events=events)]))
        return [one for one in kept if blobs.pack(*one, "1") is not None]

    assert left_after(Unreferenced(id="a", bank="known")) == [("", "a"), ("known", "b"), ("other", "a")]
    refused = Changed(record=BankChanged(bank="other", edit=BankEdit.DELETE), refused="no", refusal=Refusal.NO_BANK)
    assert left_after(refused) == [("", "a"), ("known", "b"), ("other", "a")]
    assert left_after(RemovedEvent(id="a")) == [("known", "b"), ("other", "a")]
    again = Unreferenced(id="b", bank="known"), Referenced(id="b", bank="known")
    assert left_after(*again) == [("known", "b"), ("other", "a")]
    assert left_after(Changed(record=BankChanged(bank="known", edit=BankEdit.DELETE))) == [("other", "a")]
    assert left_after(Changed(record=BankChanged(bank="known", edit=BankEdit.DELETE))) == [("other", "a")]


def test_a_reference_that_was_made_of_an_upload_keeps_its_pack_when_the_upload_is_taken_down(tmp_path: Path) -> None:
    blobs, sha256 = Blobs((tmp_path / "blobs").as_uri()), b"content of a"
    blobs.put_pack("", "a", b"pack", sha256.hex())
    log: list[Record] = [
        picture("a", 0),
        BankChanged(bank="banned"),
        ReferenceChanged(bank="banned", id="a", edit=ReferenceEdit.ADD),
        Removed(id="a"),
    ]
    with closing(a_state_in(tmp_path)) as state:
        envelopes = state.apply([Entry(offset, record) for offset, record in enumerate(log)])
    erase(blobs, gone(envelopes))
    assert blobs.pack("", "a", sha256.hex()) is None
    assert blobs.pack("banned", "a", sha256.hex()) == b"pack"
