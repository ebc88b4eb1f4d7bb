from __future__ import annotations

import errno
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from neardup.pipeline.describe.codec import MAX_DESCRIPTORS_PER_PART, to_records
from neardup.pipeline.describe.decode import Look
from neardup.pipeline.describe.description import Description
from neardup.pipeline.describe.source import Done
from neardup.pipeline.describe.threads import ThreadDescriber
from neardup.pipeline.embed.embedder import Embedder
from neardup.pipeline.errors import DependencyError, InvalidFrame, PipelineError, Reason
from neardup.pipeline.log.records import Described
from neardup.pipeline.media.fetch import Fetched
from neardup.pipeline.media.jpeg import read_plain_jpeg
from neardup.pipeline.media.nvjpeg import GpuJpegs
from neardup.pipeline.media.regions import GRID
from neardup.pipeline.prove.pack import Pack, read_pack
from neardup.pipeline.types import Embedded, Kind, Media, Pixels
from tests.pipeline.scan.build import SIZE, StandIn, a_picture
from tests.timing import LATE_SECONDS, until


@dataclass(frozen=True)
class Named:
    """An item whose content is given."""

    name: str
    content: bytes = b""
    wait: threading.Event | None = field(default=None, compare=False)
    kept: list[tuple[str, bytes]] | None = field(default=None, compare=False)
    small: bool = True
    traceparent: str = ""
    sender: str = ""
    owner: str = ""
    gone: bool = False
    packed: bool = False
    packs: list[tuple[str, bytes]] | None = field(default=None, compare=False)

    @contextmanager
    def opened(self) -> Iterator[Fetched]:
        if self.wait is not None:
            self.wait.wait(120)
        yield Fetched(self.name.encode(), self.content)

    @property
    def task(self) -> Named:
        return self

    def check_end(self) -> None:
        pass

    def result(self, description: Description) -> list[Described]:
        return to_records(description)

    def check(self, media: Media) -> None:
        if self.name == "no video" and media.kind is Kind.VIDEO:
            raise InvalidFrame(Reason.SCHEMA, "a video")

    def keep(self, jpeg: bytes, sha256: bytes) -> str:
        if self.kept is None:
            raise DependencyError("the store is away")
        self.kept.append((sha256.decode(), jpeg))
        return f"kept/{self.name}"

    def keep_pack(self, pack: bytes, sha256: bytes) -> None:
        if self.packs is None:
            raise DependencyError("the store is away")
        self.packs.append((sha256.decode(), pack))


def picture(seed: int) -> bytes:
    file = io.BytesIO()
    a_picture(seed).save(file, "PNG")
    return file.getvalue()


def animation(frames: int) -> bytes:
    file = io.BytesIO()
    pictures = [a_picture(number % 7) for number in range(frames)]
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], duration=500)
    return file.getvalue()


Make = Callable[..., ThreadDescriber[Named]]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[ThreadDescriber[Named]] = []

    def describer(
        embedder: Embedder | None = None,
        threads: int = 2,
        batch: int = 8,
        wait: float = 0.05,
        thumbnail_side: int = 0,
        writers: int = 0,
    ) -> ThreadDescriber[Named]:
        look = Look(SIZE, thumbnail_side=thumbnail_side)
        made.append(ThreadDescriber(embedder or StandIn(), look, threads, batch, wait, writers))
        return made[-1]

    yield describer
    for one in made:
        one.close()


def all_of(describer: ThreadDescriber[Named]) -> dict[str, Done[Named]]:
    found: dict[str, Done[Named]] = {}
    deadline = time.monotonic() + LATE_SECONDS
    while describer.working and time.monotonic() < deadline:
        found |= {done.source.name: done for done in describer.step(0.1)}
    assert not describer.working
    return found


def test_items_come_out_described_or_with_their_reason(make: Make) -> None:
    describer = make()
    describer.add(Named("good", picture(1)))
    describer.add(Named("words", b"no picture"))
    describer.add(Named("empty"))
    found = all_of(describer)
    [part] = found["good"].result
    assert (part.sha256, part.pts, part.last, part.dimension) == (b"good", (0.0,), True, 64)
    assert found["words"].error is not None
    assert (found["words"].error.reason, found["words"].result) == (Reason.FORMAT, None)
    assert found["empty"].error is not None
    assert found["empty"].error.reason is Reason.EMPTY


def test_an_item_does_not_wait_for_all_that_another_sender_sent_before(
    make: Make,
) -> None:
    describer, gate = make(threads=1, batch=1), threading.Event()
    describer.add(Named("first", picture(1), wait=gate, small=False, sender="flood"))
    until(lambda: describer.waiting == 0)
    for number in range(50):
        describer.add(Named(f"flood {number}", b"no picture", small=False, sender="flood"))
    describer.add(Named("other", picture(2), small=False, sender="other"))
    gate.set()
    order: list[str] = []
    while "other" not in order:
        order += [done.source.name for done in describer.step(0.5)]
    assert order.index("other") <= 2


def test_a_full_temporary_folder_is_no_fault_of_the_item(make: Make) -> None:
    class Full(Named):
        @contextmanager
        def opened(self) -> Iterator[Fetched]:
            raise OSError(errno.ENOSPC, "No space left on device", "/tmp/neardup-x")
            yield

    describer = make()
    describer.add(Full("fetched"))
    with pytest.raises(DependencyError, match="/tmp/neardup-x: No space left on device"):
        all_of(describer)


def test_a_long_item_is_many_parts_and_only_the_last_is_marked(make: Make) -> None:
    describer = make(batch=64)
    describer.add(Named("long", animation(MAX_DESCRIPTORS_PER_PART + 20)))
    parts = all_of(describer)["long"].result
    assert [(part.part, part.last) for part in parts] == [(0, False), (1, True)]
    assert len(parts[0].pts) == MAX_DESCRIPTORS_PER_PART
    assert sum(len(part.vectors) for part in parts) == 2 * 64 * sum(len(part.pts) for part in parts)
    pts = [pts for part in parts for pts in part.pts]
    assert pts == sorted(pts)


class Picky(StandIn):
    """Fails on every batch that holds a white tile."""

    def embed(self, tiles: Pixels) -> Embedded:
        if (tiles.min(axis=(1, 2, 3)) == 255).any():
            raise RuntimeError("no white")
        return super().embed(tiles)


def test_a_batch_that_the_network_fails_on_costs_one_item_only(make: Make) -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), 255, np.uint8)).save(file, "PNG")
    describer = make(Picky(), batch=8, wait=1.0)
    for number in range(7):
        describer.add(Named(str(number), file.getvalue() if number == 3 else picture(number)))
    found = all_of(describer)
    errors = {name: done.error.reason for name, done in found.items() if done.error}
    assert errors == {"3": Reason.MODEL}
    assert len(found) == 7


def test_a_batch_closes_when_its_oldest_frame_has_waited(make: Make) -> None:
    gate = threading.Event()
    describer = make(batch=8, wait=0.1)
    describer.add(Named("slow", picture(1), gate))
    describer.add(Named("quick", picture(2)))
    began = time.monotonic()
    done: list[Done[Named]] = []
    while not done:
        done = describer.step(60.0)
    assert [one.source.name for one in done] == ["quick"]
    assert time.monotonic() - began < 30.0  # and not when its batch is full
    gate.set()
    assert set(all_of(describer)) == {"slow"}


def test_what_has_not_begun_can_be_dropped(make: Make) -> None:
    gate = threading.Event()
    describer = make(threads=1)
    for number in range(5):
        describer.add(Named(str(number), picture(number), gate, small=False))
    until(lambda: describer.waiting <= 4)
    assert [one.name for one in describer.drop_waiting()] == ["1", "2", "3", "4"]
    gate.set()
    assert set(all_of(describer)) == {"0"}


def test_small_items_are_decoded_together_and_do_not_wait_for_a_large_one(
    make: Make,
) -> None:
    first, large = threading.Event(), threading.Event()
    describer = make(threads=1)
    describer.add(Named("first", picture(0), first, small=False))
    until(lambda: describer.waiting == 0)
    for number in range(4):
        describer.add(Named(str(number), picture(number)))
    describer.add(Named("large", picture(5), large, small=False))
    for number in range(5, 15):
        describer.add(Named(str(number), picture(number)))
    first.set()
    done: list[str] = []
    while len(done) < 5:
        done += [one.source.name for one in describer.step(5.0)]
    assert sorted(done) == ["0", "1", "2", "3", "first"]
    large.set()
    assert set(all_of(describer)) == {"large", *map(str, range(5, 15))}


def test_of_items_decoded_together_one_that_is_broken_costs_no_other(
    make: Make,
) -> None:
    first = threading.Event()
    describer = make(threads=1)
    describer.add(Named("first", picture(0), first, small=False))
    until(lambda: describer.waiting == 0)
    for number in range(8):
        describer.add(Named(str(number), picture(number) if number != 3 else b"nothing", small=True))
    first.set()
    found = all_of(describer)
    assert len(found) == 9
    assert [name for name, done in found.items() if done.error] == ["3"]


def test_a_failure_outside_is_not_blamed_on_the_item(make: Make) -> None:
    class Full(StandIn):
        def embed(self, _tiles: Pixels) -> Embedded:
            raise DependencyError("GPU gone")

    describer = make(Full())
    describer.add(Named("a", picture(1)))
    with pytest.raises(DependencyError, match="GPU gone"):
        all_of(describer)


def test_a_gpu_that_failed_ends_the_worker_and_costs_no_item(make: Make) -> None:
    class Broken(StandIn):
        def embed(self, _tiles: Pixels) -> Embedded:
            raise PipelineError("the GPU failed")

    describer = make(Broken())
    describer.add(Named("a", picture(1)))
    with pytest.raises(PipelineError, match="the GPU failed"):
        all_of(describer)


@pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")
@pytest.mark.parametrize("small", [True, False])
def test_plain_jpegs_go_to_the_gpu_and_all_else_to_the_cpu(small: bool) -> None:
    whole = io.BytesIO()
    a_picture(1).resize((300, 300)).save(whole, "JPEG")
    describer: ThreadDescriber[Named] = ThreadDescriber(StandIn(), Look(SIZE), 4, 8, 0.05, jpegs=GpuJpegs("cpu"))
    describer.add(Named("jpeg", whole.getvalue(), small=small))
    describer.add(Named("png", picture(1), small=small))
    describer.add(Named("half", whole.getvalue()[:-200], small=small))
    found = all_of(describer)
    describer.close()
    header = read_plain_jpeg(whole.getvalue())
    assert header is not None
    assert found["jpeg"].result[0].pixels_digest == header.digest
    assert len(found["png"].result) == 1
    assert found["half"].error is None  # most of it is there
    assert not found["half"].result[0].extras.complete
    assert found["half"].result[0].pixels_digest == b""


@pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")
def test_regions_and_thumbnails_come_from_the_gpu_too() -> None:
    paper = Image.new("RGB", (640, 400), "white")
    for seed, left in ((1, 0), (2, 320)):
        paper.paste(a_picture(seed).resize((320, 400)), (left, 0))
    whole, kept = io.BytesIO(), list[tuple[str, bytes]]()
    paper.save(whole, "JPEG")
    describer: ThreadDescriber[Named] = ThreadDescriber(
        StandIn(), Look(SIZE, regions="grid", thumbnail_side=64), 1, 8, 0.05, jpegs=GpuJpegs("cpu")
    )
    packs: list[tuple[str, bytes]] = []
    describer.add(Named("both", whole.getvalue(), kept=kept, packed=True, packs=packs))
    (part,) = all_of(describer)["both"].result
    describer.close()
    assert len(part.pts) == 1 + len(GRID)
    assert Image.open(io.BytesIO(kept[0][1])).size == (64, 40)
    pack = read_pack(packs[0][1])
    assert (pack.width, pack.height, sizes_of(pack)) == (640, 400, [(80, 50)])  # all that tiles of 32 need


def test_a_gpu_that_fails_while_it_decodes_ends_the_worker_and_costs_no_item() -> None:
    def broken(_files: list[Tensor], _device: torch.device) -> list[Tensor]:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    whole = io.BytesIO()
    a_picture(1).resize((300, 300)).save(whole, "JPEG")
    describer: ThreadDescriber[Named] = ThreadDescriber(
        StandIn(), Look(SIZE), 1, 8, 0.05, jpegs=GpuJpegs("cpu", broken)
    )
    describer.add(Named("a", whole.getvalue()))
    with pytest.raises(PipelineError, match="illegal memory access"):
        all_of(describer)
    describer.close()


@pytest.mark.parametrize("writers", [0, 2])
def test_an_item_comes_out_once_its_thumbnail_is_kept(make: Make, writers: int) -> None:
    kept: list[tuple[str, bytes]] = []
    describer = make(thumbnail_side=20, writers=writers)
    for name, content in (("still", picture(1)), ("film", animation(300)), ("words", b"no picture")):
        describer.add(Named(name, content, kept=kept))
    found = all_of(describer)
    assert sorted(name for name, _ in kept) == ["film", "still"]
    assert all(Image.open(io.BytesIO(jpeg)).size == (20, 20) for _, jpeg in kept)
    assert [part.thumbnail for part in found["film"].result] == ["kept/film", ""]
    assert [part.thumbnail for part in found["still"].result] == ["kept/still"]


@pytest.mark.parametrize("writers", [0, 2])
def test_a_store_that_is_away_is_not_blamed_on_the_item(make: Make, writers: int) -> None:
    describer = make(thumbnail_side=20, writers=writers)
    describer.add(Named("a", picture(1)))
    with pytest.raises(DependencyError, match="the store is away"):
        all_of(describer)


def sizes_of(pack: Pack) -> list[tuple[int, int]]:
    return [Image.open(io.BytesIO(frame.jpeg)).size for frame in pack.frames]


@pytest.mark.parametrize(("writers", "thumbnail_side"), [(0, 0), (0, 20), (2, 20)])
def test_an_item_that_may_be_proved_comes_out_once_its_pack_is_kept(
    make: Make, writers: int, thumbnail_side: int
) -> None:
    packs: list[tuple[str, bytes]] = []
    describer = make(thumbnail_side=thumbnail_side, writers=writers)
    for name, content in (("still", picture(1)), ("film", animation(40)), ("words", b"no picture")):
        describer.add(Named(name, content, kept=[], packed=True, packs=packs))
    describer.add(Named("live", picture(2), kept=[], packs=packs))
    found = all_of(describer)
    kept = {name: read_pack(pack) for name, pack in packs}
    assert kept.keys() == {"still", "film"}
    assert sizes_of(kept["still"]) == [(kept["still"].width, kept["still"].height)]
    seconds = [frame.second for frame in kept["film"].frames]
    assert 5 <= len(seconds) <= 10  # of twenty seconds
    assert set(seconds) <= set(found["film"].result[0].pts)


@pytest.mark.parametrize("writers", [0, 2])
def test_a_store_that_takes_no_pack_is_not_blamed_on_the_item(make: Make, writers: int) -> None:
    describer = make(writers=writers)
    describer.add(Named("a", picture(1), packed=True))
    with pytest.raises(DependencyError, match="the store is away"):
        all_of(describer)


def test_without_thumbnails_nothing_is_kept(make: Make) -> None:
    describer = make(writers=2)
    describer.add(Named("a", picture(1)))
    assert all_of(describer)["a"].result[0].thumbnail == ""


def test_a_content_that_may_not_be_is_refused_before_its_frames(make: Make) -> None:
    embedder = StandIn()
    describer = make(embedder)
    describer.add(Named("no video", animation(5)))
    error = all_of(describer)["no video"].error
    assert error is not None
    assert (error.reason, embedder.tiles) == (Reason.SCHEMA, 0)


@pytest.mark.parametrize("writers", [0, 1])
def test_a_store_that_fails_in_a_way_of_its_own_costs_the_item(make: Make, writers: int) -> None:
    class Faulty(Named):
        def keep(self, jpeg: bytes, sha256: bytes) -> str:
            raise ValueError(f"{len(jpeg)} {len(sha256)}")

    describer = make(thumbnail_side=20, writers=writers)
    describer.add(Faulty("bad", picture(1)))
    describer.add(Named("good", picture(2), kept=[]))
    found = all_of(describer)
    assert found["bad"].error is not None
    assert found["bad"].error.reason is Reason.DECODE
    assert found["good"].error is None
