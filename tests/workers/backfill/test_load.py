"""An archive loaded into a log."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from neardup.pipeline.archive.folder import Folder
from neardup.pipeline.archive.row import Row
from neardup.pipeline.archive.shard import writing
from neardup.pipeline.errors import ConfigError, InvalidFrame, Reason
from neardup.pipeline.log.proofs import Asked, ItemProved, ProofPending, answer
from neardup.pipeline.log.records import ARCHIVE, Described, Entry, Envelope, Record, Removed, RemovedEvent, Verdict
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.store.memory import MemoryStore
from neardup.pipeline.types import Decision
from neardup.workers.backfill import load
from neardup.workers.backfill.load import Awaited, Journal, Load
from tests.pipeline.archive.build import CONDITIONS, DIMENSION, an_image
from tests.pipeline.match.build import AGREES, a_state


class Stream:
    """A log and its match worker, which decides a little when it is polled."""

    def __init__(self, asks: bool = False, at_once: int = 1_000_000, fails_after: int = 1_000_000) -> None:
        self.state = a_state(dimension=DIMENSION, asks=asks)
        self.records: list[Record] = []
        self.envelopes: list[Envelope] = []
        self.most_ahead = 0
        self._at_once, self.fails_after = at_once, fails_after
        self._told = 0

    def append(self, records: Sequence[Record]) -> list[int]:
        if self.fails_after <= 0:
            raise InterruptedError
        self.fails_after -= 1
        self.records += records
        self.most_ahead = max(self.most_ahead, len(self.records) - len(self.envelopes))
        return list(range(len(self.records) - len(records), len(self.records)))

    def poll(self, _seconds: float) -> list[Envelope]:
        start = len(self.envelopes)
        some = self.records[start : start + self._at_once]
        self.envelopes += self.state.apply([Entry(start + n, record) for n, record in enumerate(some)])
        told, self._told = self.envelopes[self._told :], len(self.envelopes)
        return told

    def verdicts(self) -> list[Verdict]:
        return [event for one in self.envelopes for event in one.events if isinstance(event, Verdict)]


class Place:
    """An archive, and where it is loaded to."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.blobs = Folder(str(folder / "archive")), Blobs((folder / "blobs").as_uri())
        self.journal = Journal(self.folder, "the-log")

    def shard(self, name: str, *rows: Row) -> None:
        with writing(self.folder, name, CONDITIONS) as writer:
            for row in rows:
                writer.add(row)

    def load(self, stream: Stream, *names: str, announce: bool = False) -> Load:
        made = Load(
            self.folder, names, CONDITIONS.space, self.journal, self.blobs, stream, stream.poll, announce
        )  # fmt: skip
        made.run()
        return made


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def a_row(name: str, seconds: int, look: int | None = None) -> Row:
    """Return an image; those of one look have the same descriptor."""
    vector = np.random.default_rng(seconds if look is None else look).normal(size=(1, DIMENSION))
    return an_image(name, seconds, vector / np.linalg.norm(vector))


def ids(records: Sequence[Record]) -> list[str]:
    return [record.id for record in records if isinstance(record, Described)]


def test_items_come_as_history_in_order_of_time_with_their_pictures_in_the_blob_store(place: Place) -> None:
    bad = Row("bad", "file:///x/bad", "bad", 2 * 10**9, 7, error=InvalidFrame(Reason.EMPTY, ""))
    place.shard("one", a_row("d", 4, look=1), a_row("a", 1, look=1), bad)
    place.shard("two", a_row("c", 3), a_row("b", 2))
    stream = Stream()
    loaded = place.load(stream, "one", "two")
    assert ids(stream.records) == ["a", "b", "c", "d"]
    for record, seconds in zip(stream.records, (1, 2, 3, 4), strict=True):
        assert isinstance(record, Described)
        assert (record.source_partition, record.source_offset, record.quiet) == (ARCHIVE, seconds * 1000, True)
        assert record.space == CONDITIONS.space
        version = record.sha256.hex()
        assert place.blobs.thumbnail(record.id, version) == b"jpeg of " + record.id.encode()
        assert record.thumbnail == place.blobs.place_of_thumbnail(record.id, version)
        assert place.blobs.pack("", record.id, version) == b"pack of " + record.id.encode()
    assert (loaded.items, loaded.without_description) == (4, 1)
    assert loaded.awaited.outcomes == {"distinct": 3, "duplicate": 1}
    store = MemoryStore()
    store.apply(stream.envelopes)
    assert (store.members("a"), store.feed("", 10)) == ({"d"}, [])


def test_what_is_announced_is_in_the_feed(place: Place) -> None:
    place.shard("one", a_row("a", 1, look=1), a_row("b", 2, look=1))
    stream, store = Stream(), MemoryStore()
    place.load(stream, "one", announce=True)
    store.apply(stream.envelopes)
    assert [entry.verdict.id for entry in store.feed("", 10)] == ["b"]


def test_a_second_run_loads_what_is_new_and_nothing_else(place: Place) -> None:
    place.shard("one", a_row("a", 1), a_row("b", 2))
    stream = Stream()
    place.load(stream, "one")
    assert place.load(stream, "one").items == 0
    place.shard("two", a_row("c", 0))
    place.load(stream, "one", "two")
    assert ids(stream.records) == ["a", "b", "c"]


def test_an_interrupted_run_goes_on_with_the_same_shards_in_the_same_order(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "BATCH_ROWS", 3)
    monkeypatch.setattr(load, "_NOTE_BATCHES", 2)
    names = [f"{n:02}" for n in range(20)]
    place.shard("one", *(a_row(name, n) for n, name in enumerate(names) if n % 2))
    place.shard("two", *(a_row(name, n) for n, name in enumerate(names) if not n % 2))
    stream = Stream(fails_after=5)
    with pytest.raises(InterruptedError):
        place.load(stream, "one", "two")
    assert ids(stream.records) == names[:15]
    place.shard("three", a_row("new", 0))  # it came meanwhile, and must not shift the others
    stream.fails_after = 100
    loaded = place.load(stream, "three", "one", "two")
    assert list(dict.fromkeys(ids(stream.records))) == [*names, "new"]
    assert sorted(verdict.id for verdict in stream.verdicts()) == sorted([*names, "new"])
    assert loaded.awaited.outcomes["known before"] == 3  # those after the last note
    assert place.load(stream, "one", "two", "three").items == 0


def test_an_archive_in_an_object_store_keeps_its_note_there(place: Place, tmp_path: Path) -> None:
    place.folder = Folder(f"memory://{tmp_path.name}")
    place.journal = Journal(place.folder, "the-log")
    place.shard("one", a_row("b", 2), a_row("a", 1))
    stream = Stream()
    assert place.load(stream, "one").items == 2
    assert Journal(Folder(place.folder.url), "the-log").read().done == ("one",)
    assert place.load(stream, "one").items == 0
    assert ids(stream.records) == ["a", "b"]


def test_another_log_is_loaded_from_the_start(place: Place) -> None:
    place.shard("one", a_row("a", 1))
    place.load(Stream(), "one")
    place.journal = Journal(place.folder, "another-log")
    assert place.load(Stream(), "one").items == 1


def test_a_damaged_journal_is_named(place: Place, tmp_path: Path) -> None:
    place.shard("one", a_row("a", 1))
    place.load(Stream(), "one")
    (tmp_path / "archive" / load.LOADED / "the-log.json").write_text("{")
    with pytest.raises(ConfigError, match=r"loaded/the-log\.json is damaged"):
        place.load(Stream(), "one")


def test_loading_stays_a_bounded_number_of_items_ahead(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "BATCH_ROWS", 4)
    monkeypatch.setattr(load, "MAX_AHEAD_ITEMS", 10)
    place.shard("one", *(a_row(f"{n:03}", n) for n in range(100)))
    stream = Stream(at_once=1)
    place.load(stream, "one")
    assert 10 < stream.most_ahead <= 14
    assert len(stream.verdicts()) == 100


def test_loading_waits_while_many_wait_for_proofs(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "BATCH_ROWS", 1)
    first = a_row("000", 0, look=1)
    assert first.description is not None
    near = first.description.vectors.astype(np.float32) + 0.25
    rows = [first]
    for n in range(1, 9):
        look = (near + 0.02 * n) / np.linalg.norm(near + 0.02 * n)
        row = a_row(f"{n:03}", n)
        assert row.description is not None
        rows.append(replace(row, description=replace(row.description, vectors=look.astype("<f2"))))
    place.shard("one", *rows)
    stream, most = Stream(asks=True), 0

    def prove() -> None:
        """Answer the oldest ask."""
        nonlocal most
        most = max(most, made.awaited.undecided)
        answered = {one.id for one in stream.records if isinstance(one, ItemProved)}
        events = (event for one in stream.envelopes for event in one.events if isinstance(event, ProofPending))
        asked = next((event.asked for event in events if event.id not in answered), None)
        if asked is not None:
            stream.append([answer(asked, [AGREES] * len(asked.asks))])

    def poll(seconds: float) -> list[Envelope]:
        if seconds:  # loading waits
            prove()
        return stream.poll(seconds)

    made = Load(place.folder, ["one"], CONDITIONS.space, place.journal, place.blobs, stream, poll, max_pending=5)
    made.run()
    assert most == 2
    assert made.awaited.outcomes[Decision.DUPLICATE.value] + made.awaited.pending == 8


def test_what_the_match_worker_has_not_come_to_counts_as_what_waits(place: Place) -> None:
    place.shard("one", *(a_row(f"{n:03}", n) for n in range(100)))
    stream = Stream(at_once=1)
    made = Load(
        place.folder, ["one"], CONDITIONS.space, place.journal, place.blobs, stream, stream.poll, max_pending=20
    )
    made.run()
    assert stream.most_ahead == 10
    assert len(stream.verdicts()) == 100


def test_a_load_of_which_nothing_may_wait_goes_on_one_by_one(place: Place) -> None:
    place.shard("one", *(a_row(f"{n:03}", n) for n in range(5)))
    stream = Stream(at_once=1)
    Load(place.folder, ["one"], CONDITIONS.space, place.journal, place.blobs, stream, stream.poll, max_pending=1).run()
    assert stream.most_ahead == 1
    assert len(stream.verdicts()) == 5


def test_pictures_of_what_was_taken_down_are_erased_whether_the_space_serves_or_not(place: Place) -> None:
    place.shard("one", a_row("a", 1), a_row("b", 2))
    stream = Stream()
    stream.append([Removed(id="a")])
    loaded = place.load(stream, "one")
    assert loaded.awaited.outcomes == {"ignored": 1, "distinct": 1}
    files = {id: place.blobs.any_thumbnail(id) for id in "ab"}
    assert (files["a"], files["b"]) == (None, b"jpeg of b")
    assert [place.blobs.pack("", row.id, row.sha256.hex()) for row in (a_row("a", 1), a_row("b", 2))] == [
        None,
        b"pack of b",
    ]


def test_what_left_while_it_waited_for_a_proof_is_waited_for_no_more() -> None:
    awaited = Awaited()
    for offset, item in enumerate("ab"):
        awaited.add(offset, item)
        awaited.take([Envelope(offset=offset, events=(ProofPending(asked=Asked(id=item, offset=offset)),))])
    assert (awaited.ahead, awaited.pending) == (0, 2)
    awaited.take([Envelope(offset=7, events=(RemovedEvent(id="a"),))])
    assert awaited.pending == 1
    awaited.take([Envelope(offset=8, events=(Verdict(id="b", decision=Decision.UNSURE),))])
    assert (awaited.pending, awaited.outcomes) == (0, {"unsure": 1})


def test_waiting_for_a_match_worker_is_said_from_time_to_time(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.shard("one", a_row("a", 1))
    stream, now = Stream(), 0.0

    def poll(seconds: float) -> list[Envelope]:
        """Begin to decide after 100 s."""
        nonlocal now
        now += 1
        return stream.poll(seconds) if now > 100 else []

    made = Load(
        place.folder, ["one"], CONDITIONS.space, place.journal, place.blobs, stream, poll, clock=lambda: now
    )  # fmt: skip
    made.run()
    assert [record.message for record in caplog.records] == [
        "no verdicts for 30 s: do match and prove workers run? undecided=1 waiting_for_proofs=0"
    ] * 3
    assert made.awaited.outcomes == {"distinct": 1}


def test_a_shard_of_another_space_is_refused_before_anything_is_appended(place: Place) -> None:
    place.shard("one", a_row("a", 1))
    with writing(place.folder, "two", msgspec.structs.replace(CONDITIONS, space="s-2")) as writer:
        writer.add(a_row("b", 2))
    stream = Stream()
    with pytest.raises(ConfigError, match="was described in the space s-2"):
        place.load(stream, "one", "two")
    assert stream.records == []
    assert place.load(stream, "one").items == 1  # nothing was noted of what was refused


def test_what_the_match_worker_passes_over_is_not_waited_for() -> None:
    awaited = Awaited()
    for offset, item in enumerate("abc"):
        awaited.add(offset, item)
    awaited.take([Envelope(offset=1, events=(Verdict(id="b", decision=Decision.DISTINCT),))])
    assert (awaited.ahead, awaited.outcomes) == (1, {"passed over": 1, "distinct": 1})
    awaited.take([Envelope(offset=9)])
    assert (awaited.ahead, awaited.outcomes["passed over"]) == (0, 2)


def test_an_interrupt_is_heard_while_pictures_are_put(place: Place) -> None:
    place.shard("one", *(a_row(name, n) for n, name in enumerate("abcd")))
    stream, calls = Stream(), 0

    def advance(rows: int) -> None:
        nonlocal calls
        calls += 1
        assert rows == 0
        if calls == 3:  # after the shard was opened, before the second row
            raise KeyboardInterrupt

    made = Load(
        place.folder, ["one"], CONDITIONS.space, place.journal, place.blobs, stream, stream.poll, advance=advance
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        made.run()
    assert (stream.records, place.journal.read().pictures) == ([], 0)
    there = [place.blobs.pack("", name, hashlib.sha256(name.encode()).hexdigest()) is not None for name in "abcd"]
    assert there == [True, False, False, False]
    assert place.load(stream, "one").items == 4
