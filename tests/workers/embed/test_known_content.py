from __future__ import annotations

import hashlib
import pickle
import sqlite3
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import msgspec
import numpy as np
import pytest

from neardup.pipeline.describe.decode import Decoder, Job, Look, Piece, finished
from neardup.pipeline.describe.description import Description
from neardup.pipeline.describe.source import Done
from neardup.pipeline.errors import DependencyError
from neardup.pipeline.log.changes import BankChanged, BankEdit, ReferenceChanged, ReferenceEdit
from neardup.pipeline.log.records import Described, Record, Removed
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.media.fetch import Fetched, Rules
from neardup.pipeline.settings import Settings
from neardup.pipeline.types import PLAIN, Kind, Limits
from neardup.workers.embed.known_content import KnownContent, KnownTable, look_digest, remove
from neardup.workers.embed.known_filler import Filler, KnownFiller, follow_known
from neardup.workers.embed.record import MediaTask
from neardup.workers.kafka.media_record import MediaItem
from tests.timing import until
from tests.workers.broker import Broker, FakeTail

LOOK = look_digest(Look(64))
MOST = 2**20
DECODE = msgspec.msgpack.Decoder(Record).decode


def digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def described(id: str, content: bytes, count: int = 1, **more: object) -> Described:
    fields: dict[str, object] = {
        "id": id, "sha256": digest(content), "dimension": 4, "look": LOOK, "pts": tuple(map(float, range(count))),
        "vectors": np.eye(4, dtype="<f2")[np.arange(count) % 4].tobytes(), "source_offset": 5, "source_partition": 1,
    }  # fmt: skip
    return Described(**(fields | more))  # type: ignore[arg-type]


class Filled:
    """A broker, and a table that follows its log."""

    def __init__(self, path: Path, most_bytes: int = MOST) -> None:
        self.broker, self.path, self.most_bytes = Broker(), path, most_bytes
        self.open()

    def open(self, kind: str = "space look") -> None:
        self.table = KnownTable(self.path, kind, self.most_bytes)
        self.tail = FakeTail(self.broker, "log")
        self.filler = Filler(self.table, self.tail, LOOK, self.most_bytes)
        self.known = KnownContent(self.path, 1)

    def reopen(self, kind: str = "space look") -> None:
        self.table.close()
        self.open(kind)

    def follow(self, *records: Record | bytes) -> None:
        self.broker.append(*records)
        while self.filler.step(0.0):
            pass

    def ids(self, *contents: bytes) -> list[str]:
        found = [self.known.find(digest(content)) for content in contents]
        return [parts[0].id if parts else "" for parts in found]


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Filled]:
    made = Filled(tmp_path / "known.sqlite")
    yield made
    made.table.close()


def test_what_the_log_holds_is_found_by_its_content_by_every_process(filled: Filled) -> None:
    filled.follow(described("a", b"one"), b"garbage", Removed(id="x"), described("b", b"two"))
    assert filled.ids(b"one", b"two", b"three") == ["a", "b", ""]
    elsewhere: KnownContent = pickle.loads(pickle.dumps(filled.known))
    assert elsewhere.find(digest(b"one")) == [described("a", b"one")]
    assert pickle.loads(pickle.dumps(filled.known)) is elsewhere


def test_an_item_of_several_parts_is_known_once_all_have_come(filled: Filled) -> None:
    parts = [described("film", b"film", 3, part=n, last=n == 2, kind=Kind.VIDEO) for n in range(3)]
    filled.follow(parts[0], described("a", b"one"), parts[1])
    assert filled.ids(b"film", b"one") == ["", "a"]
    filled.follow(parts[1], parts[2])
    assert filled.known.find(digest(b"film")) == []  # one came twice: a worker was killed in between
    filled.follow(*parts)
    assert filled.known.find(digest(b"film")) == parts


@pytest.mark.parametrize("other", [{"look": b"other"}, {"look": b""}, {"live": True, "last": False}], ids=str)
def test_what_another_description_may_differ_from_is_not_known(filled: Filled, other: dict[str, object]) -> None:
    filled.follow(described("a", b"one", **other))
    assert filled.ids(b"one") == [""]


def test_looks_differ_with_all_that_shapes_a_description() -> None:
    limits = Limits(max_pixels=1000)
    looks = [Look(64), Look(32), Look(64, limits), Look(64, sample_fps=1.0), Look(64, regions="boxes")]
    assert len({look_digest(look) for look in looks}) == len(looks)
    assert look_digest(Look(64)) == LOOK


def test_a_takedown_forgets_what_was_known_from_the_item_and_its_late_records(filled: Filled) -> None:
    film = [described("film", b"film", part=n, last=n == 1) for n in range(2)]
    filled.follow(described("a", b"one"), described("b", b"two"), film[0], Removed(id="a"), Removed(id="film"))
    filled.follow(described("a", b"one"), film[1])
    assert filled.ids(b"one", b"two", b"film") == ["", "b", ""]
    filled.reopen()
    filled.follow(described("a", b"one"), described("a", b"three", bank="logos"), described("c", b"one"))
    assert filled.ids(b"one", b"three") == ["c", "a"]
    for file in (filled.path, filled.path.with_name(filled.path.name + "-wal")):
        assert digest(b"film") not in file.read_bytes()


def test_references_are_forgotten_with_their_bank(filled: Filled) -> None:
    filled.follow(*(described(name, name.encode(), bank=f"bank-{name}") for name in "abc"))
    filled.follow(ReferenceChanged(bank="bank-a", id="a"), BankChanged(bank="bank-b", edit=BankEdit.SET))
    assert filled.ids(b"a", b"b", b"c") == ["a", "b", "c"]
    filled.follow(ReferenceChanged(bank="bank-a", id="a", edit=ReferenceEdit.REMOVE))
    filled.follow(BankChanged(bank="bank-b", edit=BankEdit.DELETE))
    assert filled.ids(b"a", b"b", b"c") == ["", "", "c"]


def test_the_next_worker_goes_on_where_the_table_stands(filled: Filled) -> None:
    filled.follow(described("a", b"one"))
    filled.reopen()
    assert (filled.tail.position(), filled.ids(b"one")) == (1, ["a"])
    filled.reopen("another look")
    assert filled.ids(b"one") == [""]
    filled.follow()
    assert filled.ids(b"one") == ["a"]


def test_another_log_of_the_same_name_and_a_trimmed_one_are_begun_anew(filled: Filled) -> None:
    filled.follow(described("a", b"one"), described("b", b"two"))
    filled.broker.log = filled.broker.log[:1]
    filled.reopen()
    assert filled.ids(b"one", b"two") == ["", ""]
    filled.follow()
    filled.broker.append(*(described(f"{n}", b"%d" % n) for n in range(5)))
    filled.broker.begin = 4
    filled.reopen()
    filled.follow()
    assert filled.ids(b"one", b"2", b"4") == ["", "", "4"]


def test_the_table_is_bounded_and_keeps_what_came_last(tmp_path: Path) -> None:
    filled = Filled(tmp_path / "known.sqlite", 400_000)
    vectors = np.full((1, 500), 500**-0.5, "<f2").tobytes()
    for n in range(2000):
        filled.broker.append(described(f"{n}", b"%d" % n, vectors=vectors, dimension=500))
        if n % 100 == 0:
            filled.follow(described("again", b"0", vectors=vectors, dimension=500))
            assert filled.table.size <= 400_000
    filled.follow(described("long", b"long", vectors=bytes(60_000)))
    assert filled.ids(b"0", b"1", b"1999", b"long") == ["again", "", "1999", ""]
    assert sum(map(bool, filled.ids(*(b"%d" % n for n in range(2000))))) > 150
    filled.table.close()


def test_who_is_far_behind_begins_at_what_is_new(tmp_path: Path) -> None:
    filled = Filled(tmp_path / "known.sqlite", 50_000)  # 50 records of the usual size
    filled.follow(described("first", b"first"))
    filled.follow(*(described(f"{n}", b"%d" % n) for n in range(5000)))
    assert filled.ids(b"first", b"2500", b"4999") == ["", "", "4999"]
    assert filled.table.next == 5001
    filled.table.close()


def test_a_damaged_table_knows_nothing_and_is_replaced(filled: Filled) -> None:
    filled.follow(described("a", b"one"))
    filled.table.close()
    filled.path.write_bytes(b"not a database" * 1000)
    assert KnownContent(filled.path, 2).find(digest(b"one")) == []
    with pytest.raises(sqlite3.DatabaseError):
        KnownTable(filled.path, "space look", MOST)
    remove(filled.path)
    filled.open()
    filled.follow()
    assert filled.ids(b"one") == ["a"]


def test_the_thread_outlives_a_broker_that_is_away_and_a_damaged_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker, path, tries = Broker(), tmp_path / "known.sqlite", list[int]()
    broker.append(described("a", b"one"))
    path.write_bytes(b"not a database" * 1000)

    def open_log() -> FakeTail:
        tries.append(1)
        if len(tries) < 4:
            raise DependencyError("no broker")
        return FakeTail(broker, "log")

    filler = KnownFiller(path, open_log, "kind", LOOK, MOST, retry_seconds=0.0).start()
    try:
        until(lambda: (known := filler.current) is not None and known.find(digest(b"one")))
        assert len(tries) == 5  # the fourth found the file damaged
        said = [record.getMessage() for record in caplog.records]
        assert [text.partition("error=")[2][:20] for text in said] == ["the log: no broker", "the file is damaged,"]
    finally:
        filler.close()


# -- what becomes of an item whose content is known --------------------------------------------------------------------


def task(id: str, content: bytes, filled: Filled, blobs: Blobs, prove: bool = True, **more: object) -> MediaTask:
    item = MediaItem(id, "seen", content, **more)  # type: ignore[arg-type]
    return MediaTask(item, Rules(()), blobs, 3, 7, 1234, prove, LOOK, filled.known)


def described_by(task: MediaTask, content: bytes, thumbnail: bytes, pack: bytes) -> list[bytes]:
    """Store and return what describing gives."""
    sha256 = digest(content)
    task.keep_pack(pack, sha256)
    vectors = np.eye(4, dtype=np.float16)[:2]
    unit = np.full(4, 0.5, np.float32)
    return task.result(
        Description(
            Kind.VIDEO, "mp4", sha256, b"p" * 16, 640, 480, 1.5, PLAIN, task.keep(thumbnail, sha256),
            np.array([0.1, 1.3]), vectors, np.ones((2, 32), np.uint8), np.array([50, 60], np.uint8),
            (None, (0.0, 0.0, 0.5, 0.5)), unit, "s",
        )
    )  # fmt: skip


def test_an_item_of_known_content_enters_the_log_as_it_would_described(filled: Filled, tmp_path: Path) -> None:
    blobs = Blobs(str(tmp_path / "blobs"))
    first = task("first", b"film", filled, blobs)
    filled.follow(*described_by(first, b"film", b"jpeg", b"pack"))
    second, other = task("second", b"film", filled, blobs), Blobs(str(tmp_path / "other"))
    recalled = second.recall(digest(b"film"))
    assert recalled is not None
    assert recalled() == described_by(task("second", b"film", filled, other), b"film", b"jpeg", b"pack")
    assert blobs.thumbnail("second", digest(b"film").hex()) == b"jpeg"
    assert blobs.pack("", "second", digest(b"film").hex()) == b"pack"
    live = task("live", b"film", filled, blobs, pts=3.0)
    assert live.recall(digest(b"film")) is None
    assert second.recall(digest(b"other")) is None


def test_what_is_known_from_history_is_no_history(filled: Filled, tmp_path: Path) -> None:
    filled.follow(described("archived", b"film", quiet=True))
    recalled = task("new", b"film", filled, Blobs(str(tmp_path)), prove=False).recall(digest(b"film"))
    assert recalled is not None
    (record,) = recalled() or []
    found = DECODE(record)
    assert isinstance(found, Described)
    assert (found.id, found.quiet) == ("new", False)


@pytest.mark.parametrize("erased", ["upload", "pack"])
def test_without_the_pictures_of_the_first_the_second_is_described(filled: Filled, tmp_path: Path, erased: str) -> None:
    blobs = Blobs(str(tmp_path / "blobs"))
    first = task("first", b"film", filled, blobs)
    filled.follow(*described_by(first, b"film", b"jpeg", b"pack"))
    if erased == "upload":
        blobs.erase("first")
    else:
        blobs.erase_reference("", "first")
    recalled = task("second", b"film", filled, blobs).recall(digest(b"film"))
    assert recalled is not None
    assert recalled() is None
    assert blobs.thumbnail("second", digest(b"film").hex()) is None
    unproved = task("third", b"film", filled, blobs, prove=False).recall(digest(b"film"))
    assert unproved is not None
    assert (unproved() is None) == (erased == "upload")


class Recalling:
    """A task of known content, as source and task."""

    content, small, gone, packed, traceparent = b"no picture", True, False, False, ""

    def __init__(self, answer: object) -> None:
        self.answer, self.task, self.asked = answer, self, 0

    def opened(self) -> object:
        return nullcontext(Fetched(digest(self.content), self.content))

    def recall(self, sha256: bytes) -> object:
        assert sha256 == digest(self.content)
        self.asked += 1

        def again() -> object:
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

        return again


@pytest.mark.parametrize("stored_elsewhere", [False, True])
def test_a_recalled_item_is_not_decoded_and_one_that_cannot_be_is(stored_elsewhere: bool) -> None:
    pieces: list[Piece[Recalling]] = []  # type: ignore[type-var]
    given_back: list[Job[Recalling]] = []  # type: ignore[type-var]

    def put(piece: Piece[Recalling]) -> bool:  # type: ignore[type-var]
        pieces.append(piece)
        return True

    later: list[object] = []
    decoder: Decoder[Recalling] = Decoder(  # type: ignore[type-var]
        Look(64),
        put,
        lambda _: False,
        store=later.append if stored_elsewhere else None,  # type: ignore[arg-type]
    )
    known, lost = Recalling(["record"]), Recalling(None)
    jobs = [Job(known), Job(lost)]  # type: ignore[type-var]
    decoder.decode(jobs, given_back.append, lambda *_: None)
    for one in later:
        one()  # type: ignore[operator]
    if stored_elsewhere:
        assert [job.source for job in given_back] == [lost]
        decoder.decode(given_back, given_back.append, lambda *_: None)
    done = {piece.job.source: finished(piece) for piece in pieces}
    assert done[known] == Done(known, ["record"], digest(b"no picture"), repeated=True)
    assert done[lost].error is not None
    assert (known.asked, lost.asked) == (1, 1)


def test_a_worker_of_a_user_without_a_home_describes_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert follow_known(Settings(state_folder=""), "log", "space", LOOK) is None
