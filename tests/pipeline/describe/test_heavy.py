"""What takes long has places of its own: it keeps neither small pictures nor other senders waiting."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import pytest

from neardup.pipeline.describe import decode
from neardup.pipeline.describe.decode import Look
from neardup.pipeline.describe.description import Description
from neardup.pipeline.describe.heavy import Heavy
from neardup.pipeline.describe.source import Done
from neardup.pipeline.describe.threads import ThreadDescriber
from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media import still
from neardup.pipeline.media.budget import Budget
from neardup.pipeline.media.fetch import Fetched
from neardup.pipeline.media.reader import open_media
from neardup.pipeline.settings import Settings
from neardup.pipeline.types import Frame, Kind, Media
from neardup.workers.api.uploads import UploadDescriber
from tests.pipeline.describe.test_threads import picture
from tests.pipeline.scan.build import SIZE, StandIn
from tests.timing import until


@dataclass(eq=False)
class Sent:
    """An item; `film` stands for content that keeps a thread until it is released."""

    name: str
    content: bytes = b"film"
    sender: str = ""
    owner: str = ""
    small: bool = True
    left: threading.Event = field(default_factory=threading.Event)
    fetched: bool = False
    traceparent: str = ""
    packed: bool = False

    @property
    def gone(self) -> bool:
        return self.left.is_set()

    @property
    def task(self) -> Sent:
        return self

    @contextmanager
    def opened(self) -> Iterator[Fetched]:
        self.fetched = True
        yield Fetched(self.name.encode(), self.content)

    def check(self, media: Media) -> None:
        pass

    def check_end(self) -> None:
        pass

    def result(self, description: Description) -> Description:
        return description

    def keep(self, jpeg: bytes, sha256: bytes) -> str:
        raise AssertionError((jpeg, sha256))

    def keep_pack(self, pack: bytes, sha256: bytes) -> None:
        raise AssertionError((pack, sha256))


class Films:
    """Takes the place of `open_media` for films that last until `release`."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.running: list[str] = []

    def open_media(self, source: bytes | Path, *arguments: object) -> Media:
        if source != b"film":
            return open_media(source, *arguments)  # type: ignore[arg-type]
        budget = arguments[-1]
        assert isinstance(budget, Budget)
        with budget.running():
            budget.long()

        def frames() -> Iterator[Frame]:
            self.running.append("film")
            while not self.release.wait(0.01):
                budget.check()
            yield Frame(0.0, np.zeros((SIZE, SIZE, 3), np.uint8))

        return Media(Kind.VIDEO, "mp4", 8, 8, 1.0, b"", budget.metered(frames()))


@pytest.fixture
def films(monkeypatch: pytest.MonkeyPatch) -> Iterator[Films]:
    made = Films()
    monkeypatch.setattr(decode, "open_media", made.open_media)
    yield made
    made.release.set()


@contextmanager
def describer(threads: int = 1) -> Iterator[ThreadDescriber[Sent]]:
    made: ThreadDescriber[Sent] = ThreadDescriber(StandIn(), Look(SIZE), threads, 8, 0.01)
    yield made
    made.close()


def step_until(one: ThreadDescriber[Sent], condition: Callable[[dict[str, Done[Sent]]], bool]) -> dict[str, Done[Sent]]:
    found: dict[str, Done[Sent]] = {}
    deadline = time.monotonic() + 60
    while not condition(found):
        assert time.monotonic() < deadline, found
        found |= {done.source.name: done for done in one.step(0.05)}
    return found


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("threads", [1, 3])
def test_pictures_behind_films_come_out_before_them(films: Films, threads: int, small: bool) -> None:
    with describer(threads) as one:
        for number in range(12):
            one.add(Sent(f"before {number}", picture(number)))
            one.add(Sent(f"film {number}", small=small))
            one.add(Sent(f"after {number}", picture(number)))
        found = step_until(one, lambda found: len(found) == 24)
        assert not any(name.startswith("film") for name in found)
        assert all(done.error is None for done in found.values())
        assert len(films.running) <= max(2, threads)
        films.release.set()
        assert len(step_until(one, lambda found: len(found) == 12)) == 12
    assert one.working == 0


def test_nobody_has_all_places(films: Films) -> None:
    with describer() as one:
        hers = [Sent(f"hers {number}", owner="ann") for number in range(5)]
        for sent in hers:
            one.add(sent)
        until(lambda: len(films.running) == 1)
        one.add(Sent("his", owner="bob"))
        until(lambda: len(films.running) == 2)
        for sent in hers:
            sent.left.set()
        found = step_until(one, lambda found: len(found) == 5)
        assert {str(done.error) for done in found.values()} == {"too-slow: given up: nobody waits for it any more"}
        films.release.set()
        assert step_until(one, lambda found: len(found) == 1)["his"].error is None


def test_what_nobody_waits_for_is_not_begun() -> None:
    with describer() as one:
        gone = Sent("gone", picture(1))
        gone.left.set()
        one.add(gone)
        error = step_until(one, lambda found: "gone" in found)["gone"].error
        assert isinstance(error, InvalidFrame)
        assert (error.reason, gone.fetched) == (Reason.TOO_SLOW, False)


def test_no_more_than_a_few_films_are_fetched_before_their_turn(films: Films) -> None:
    with describer(threads=2) as one:
        sent = [Sent(f"film {number}", small=False) for number in range(20)]
        for film in sent:
            one.add(film)
        until(lambda: sum(film.fetched for film in sent) >= 4)
        for _ in range(6):
            one.step(0.05)
        assert sum(film.fetched for film in sent) <= 2 * 2 + 2  # under way, waiting, and one that each thread was at
        films.release.set()
        assert len(step_until(one, lambda found: len(found) == 20)) == 20


def test_items_whose_decoding_has_not_begun_can_be_dropped(films: Films) -> None:
    with describer(threads=2) as one:
        for number in range(20):
            one.add(Sent(f"film {number}", small=False))
        until(lambda: len(films.running) == 2)
        until(lambda: one._decoders._left.qsize() == 0)
        count = len(one.drop_waiting())
        assert count + one.working == 20
        assert 12 <= count <= 18


def test_a_very_large_picture_is_heavy_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(still, "_LARGE_PIXELS", 100)
    entered: list[str] = []
    monkeypatch.setattr(Heavy, "enter", lambda _self, owner, _gone, _waits: bool(entered.append(owner)))
    with describer() as one:
        one.add(Sent("large", picture(1), owner="ann"))
        one.add(Sent("small", picture(2), owner="ann"))
        assert all(done.error is None for done in step_until(one, lambda found: len(found) == 2).values())
    assert entered == ["ann", "ann"]


def hungry(frames: int = 300, side: int = 2048) -> bytes:
    """Return a small MP4 of large flat frames, all but the first the same one."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=50, options={"g": "300"})
        stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p"
        shown = av.VideoFrame(side, side, "yuv420p")
        for plane in shown.planes:
            plane.update(bytes([128]) * plane.buffer_size)
        packets = []
        for number in range(2):
            shown.pts = number
            packets += stream.encode(shown)
        first, second = [*packets, *stream.encode()]
        again, time_base = bytes(second), first.time_base
        output.mux(first)
        for number in range(1, frames):
            packet = av.Packet(again)
            packet.stream, packet.time_base, packet.pts, packet.dts = stream, time_base, number, number
            output.mux(packet)
    return file.getvalue()


def test_hungry_videos_end_by_their_budget_and_pictures_beside_them_are_answered_before() -> None:
    content = hungry()
    uploads = UploadDescriber(StandIn, Settings(api_decode_seconds=0.4, threads=1))
    try:
        assert uploads.describe(picture(0)).result(60)  # the network is there
        films = [uploads.describe(content, "ann") for _ in range(3)]
        for number in range(20):
            assert uploads.describe(picture(number), "bob").result(60)
        assert not all(film.done() for film in films)
        for film in films:
            error = film.exception(120)
            assert isinstance(error, InvalidFrame)
            assert error.reason is Reason.TOO_SLOW
    finally:
        uploads.close()


def test_an_upload_that_is_cancelled_ends_its_work(films: Films) -> None:
    uploads = UploadDescriber(StandIn, Settings(threads=1))
    try:
        film = uploads.describe(b"film", "ann")
        until(lambda: films.running == ["film"])
        queued = uploads.describe(b"film", "ann")
        assert (film.cancel(), queued.cancel()) == (True, True)
        done = uploads.describe(picture(1), "ann").result(60)
        assert done
        films.release.clear()
        again = uploads.describe(b"film", "ann")  # her one place is free again
        until(lambda: films.running == ["film", "film"])
        again.cancel()
    finally:
        uploads.close()
