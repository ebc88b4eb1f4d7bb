from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.pipeline.log.ids import fault_of_id
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.media.fetch import Rules
from neardup.workers.cli.ingest import _print, _total
from neardup.workers.ingest import ingest as module
from neardup.workers.ingest.ingest import Count, Ingest, check_sources
from neardup.workers.ingest.journal import Journal
from neardup.workers.ingest.names import split
from neardup.workers.kafka.media_record import read_item
from neardup.workers.kafka.outbox import Message, Outbox
from tests.pipeline.scan.build import save


class FakeOutbox:
    """Keeps what it is given; acknowledges at once, or only when somebody waits."""

    def __init__(self, at_once: bool = True) -> None:
        self.sent: list[Message] = []
        self.most_bytes = 0
        self._at_once = at_once
        self._open: list[tuple[int, Callable[[], object]]] = []

    def send(self, messages: Sequence[Message], confirmed: Callable[[], object]) -> None:
        self.sent += messages
        if self._at_once:
            confirmed()
        else:
            self._open.append((sum(message.size for message in messages), confirmed))
            self.most_bytes = max(self.most_bytes, sum(size for size, _ in self._open))

    def wait_below(self, most_bytes: int, _seconds: float) -> None:
        while sum(size for size, _ in self._open) > most_bytes:
            self._open.pop(0)[1]()


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Ingest]]:
    """Each run opens the journal anew; they are closed when the test ends, as if the runs had been killed before."""
    with ExitStack() as journals:

        def ingest(outbox: FakeOutbox, **how: Any) -> Ingest:
            journal = journals.enter_context(Journal(tmp_path / "journal"))
            blobs = Blobs((tmp_path / "blobs").as_uri())
            return Ingest(cast(Outbox, outbox), "media", lambda: blobs, journal, **how)

        yield ingest


def some_files(folder: Path, count: int) -> Path:
    for number in range(count):
        save(folder, f"p{number}.png", number)
    return folder


def test_a_rate_is_kept_and_a_pause_is_not_made_good_for(
    make: Callable[..., Ingest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    steps = make(FakeOutbox(), rate=4.0).run([some_files(tmp_path / "media", 21)], [])
    for _ in range(11):
        next(steps)
    assert clock.now == pytest.approx(100.0 + 10 / 4, abs=1.01)  # up to a second's worth goes at once at the start
    start = clock.now = 1000.0
    assert sum(1 for _ in steps) == 10
    assert clock.now == pytest.approx(start + 9 / 4, abs=1.01)


def test_progress_is_told_once_for_each_file_and_uri(make: Callable[..., Ingest], tmp_path: Path) -> None:
    folder = some_files(tmp_path / "media", 5)
    (folder / "notes.txt").write_text("no picture")
    (folder / "gone.png").symlink_to(tmp_path / "nothing")
    outbox = FakeOutbox()
    ingest = make(outbox, bank="licensed", id_prefix="shop/")
    assert sum(1 for _ in ingest.run([folder], ["https://h/a.jpg"])) == _total([folder]) + 1
    assert (ingest.count.sent, ingest.count.skipped) == (6, 2)
    assert set(ingest.count.examples) == {str(folder / "notes.txt"), str(folder / "gone.png")}
    assert all(("bank", b"licensed") in message.headers for message in outbox.sent)
    assert {message.key for message in outbox.sent} == {
        *(f"shop/p{number}.png".encode() for number in range(5)),
        b"shop/https://h/a.jpg",
    }


def test_a_name_that_can_be_no_id_gets_one_of_its_own(make: Callable[..., Ingest], tmp_path: Path) -> None:
    folder = tmp_path / "media"
    for number, name in enumerate(
        ("a\tb.png", "cafe\u0301.png", "re\u0301.png", "r\u00e9.png", os.fsdecode(b"\xff.png"))
    ):
        save(folder, name, number)
    outbox = FakeOutbox()
    list(make(outbox).run([folder], ["s3://bucket/a/../b"]))
    ids = sorted((message.key or b"").decode().rpartition("~")[2] for message in outbox.sent)
    assert ids == ["%FF.png", "a%09b.png", "caf\u00e9.png", "r\u00e9.png", "r\u00e9.png", "s3:/bucket/a/b"]
    whole = {(message.key or b"").decode() for message in outbox.sent}
    assert len(whole) == 6
    assert {"caf\u00e9.png", "r\u00e9.png"} <= whole  # one form, but where another file has that name
    assert not any(map(fault_of_id, whole))


def test_reading_waits_for_kafka(make: Callable[..., Ingest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING_BYTES", 4_000_000)
    folder = tmp_path / "media"
    folder.mkdir()
    for number in range(12):
        (folder / f"p{number}.jpg").write_bytes(b"\xff\xd8\xff\xe0".ljust(1_000_000))
    outbox = FakeOutbox(at_once=False)
    ingest = make(outbox)
    assert sum(1 for _ in ingest.run([folder], [])) == 12
    assert len(outbox.sent) == 12
    assert 4_000_000 < outbox.most_bytes < 5_001_000


def test_only_what_was_acknowledged_is_not_sent_again(make: Callable[..., Ingest], tmp_path: Path) -> None:
    folder = some_files(tmp_path / "media", 10)
    cut_off = FakeOutbox(at_once=False)
    steps = make(cut_off).run([folder], [])
    for _ in range(6):
        next(steps)
    for _, confirmed in cut_off._open[:4]:
        confirmed()
    again = FakeOutbox()
    ingest = make(again)
    list(ingest.run([folder], []))
    assert (ingest.count.sent, ingest.count.before) == (6, 4)
    assert {message.key for message in again.sent}.isdisjoint(message.key for message in cut_off.sent[:4])


def test_two_folders_of_one_name_need_a_prefix(tmp_path: Path) -> None:
    paths, _, _ = split([str(tmp_path / "x" / "a"), str(tmp_path / "y" / "a")])
    with pytest.raises(ConfigError, match="two paths end in a;"):
        check_sources(paths, [], None)


def test_by_uri_a_folder_sends_no_bytes_and_has_the_same_ids(make: Callable[..., Ingest], tmp_path: Path) -> None:
    folder = some_files(tmp_path / "my media" / "sub", 3).parent
    save(folder, os.fsdecode(b"\xff#.png"), 3)
    (folder / "notes.txt").write_text("no picture")
    rules = Rules((folder.parent.as_uri(),))
    check_sources([folder], [], rules)
    by_bytes, by_uri, changed = FakeOutbox(at_once=False), FakeOutbox(), FakeOutbox()
    list(make(by_bytes).run([folder], []))  # nothing is acknowledged until the end
    (tmp_path / "journal").unlink()
    ingest = make(by_uri, bank="licensed", rules=rules)
    list(ingest.run([folder], []))
    assert (ingest.count.sent, ingest.count.skipped) == (4, 1)
    assert [message.key for message in by_uri.sent] == [message.key for message in by_bytes.sent]
    for sent, content in zip(by_uri.sent, by_bytes.sent, strict=True):
        item = read_item(sent.key, sent.value or b"", sent.headers)
        assert isinstance(item.content, str)
        with item.opened(rules) as fetched:
            assert (item.bank, fetched.source) == ("licensed", content.value)
    ingest = make(changed)  # the other way now: it was delivered
    list(ingest.run([folder], []))
    assert (ingest.count.sent, ingest.count.before) == (0, 4)


def test_by_uri_what_workers_would_refuse_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    folder = some_files(tmp_path / "media", 1)
    (tmp_path / "elsewhere").mkdir()
    rules = Rules(((tmp_path / "elsewhere").as_uri(),))
    for path in (folder, folder / "p0.png"):
        with pytest.raises(ConfigError, match=f"add {folder.as_uri()} to NEARDUP_FETCH_ALLOW, .* without --by-uri"):
            check_sources([path], [], rules)
    (tmp_path / "elsewhere" / "link").symlink_to(folder)
    with pytest.raises(ConfigError, match="a link that leads out of the allowed folders"):
        check_sources([tmp_path / "elsewhere" / "link"], [], rules)


def test_by_uri_a_file_that_workers_would_refuse_is_skipped(make: Callable[..., Ingest], tmp_path: Path) -> None:
    folder = some_files(tmp_path / "media", 1)
    save(tmp_path, "outside.png", 8)
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    save(folder, "back\\slash.png", 9)
    ingest = make(outbox := FakeOutbox(), rules=Rules((folder.as_uri(),)))
    assert sum(1 for _ in ingest.run([folder], [])) == 3
    assert [message.key for message in outbox.sent] == [b"p0.png"]
    assert ingest.count.skipped == 2


def test_a_frozen_kafka_ends_the_run_in_time() -> None:
    frozen = SimpleNamespace(send=lambda *_: SimpleNamespace(add_callback=print, add_errback=print))
    outbox = Outbox(frozen)
    outbox.send([Message("media", b"k", bytes(100))], threading.Event().set)
    with pytest.raises(DependencyError, match="acknowledged nothing"):
        outbox.wait_below(0, 0.01)


def test_arguments_are_paths_stores_or_uris() -> None:
    paths, stores, uris = split(["pictures", "HTTPS://h/a.jpg", "S3://bucket/x", "b/clips"])
    assert [str(path) for path in paths] == ["pictures", "b/clips"]
    assert (stores, uris) == (["S3://bucket/x"], ["HTTPS://h/a.jpg"])


def test_only_the_first_that_are_skipped_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    count = Count()
    for number in range(4):
        count.skip(f"{number}\n.txt")
    _print(count)
    assert capsys.readouterr().out.splitlines()[-1] == (
        "4 skipped, no image or video, or not readable: 0\\n.txt, 1\\n.txt, 2\\n.txt and 1 more, "
        "which `neardup --verbose ingest` lists"
    )
