from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neardup.pipeline.describe import decode
from neardup.pipeline.describe.decode import Look
from neardup.pipeline.describe.in_turn import InTurn
from neardup.pipeline.describe.once import Once
from neardup.pipeline.describe.source import Done
from neardup.pipeline.errors import InvalidFrame, PipelineError, Reason
from neardup.pipeline.scan.catalog import Packed
from neardup.pipeline.scan.describe import BATCH, in_threads
from neardup.pipeline.scan.finished import Finished
from neardup.pipeline.scan.sources import FileSource, FileTask
from neardup.pipeline.scan.twins import Twins
from neardup.pipeline.scan.walk import Found, walk
from neardup.pipeline.settings import Settings
from neardup.pipeline.types import Embedded, Frame, Kind, Media, Pixels
from tests.pipeline.scan.build import SIZE, StandIn, save
from tests.timing import until


def described(
    files: list[Found], embedder: StandIn | None, threads: int = 2, made: list[int] | None = None
) -> Generator[list[Finished]]:
    def make() -> StandIn:
        if made is not None:
            made.append(1)
        return embedder or pytest.fail("loaded")

    return in_threads(make, SIZE, Settings(threads=threads))(files, frozenset())


def found(folder: Path) -> list[Found]:
    return [one for one in walk([folder]) if isinstance(one, Found)]


def all_of(files: list[Found], embedder: StandIn) -> list[Finished]:
    return [finished for batch in described(files, embedder) for finished in batch]


def film(frames: int, decoded: list[int]) -> Media:
    """Return a video whose frames show their number, and note how many were asked for."""

    def show() -> Iterator[Frame]:
        for number in range(frames):
            decoded.append(number)
            tile = np.random.default_rng(number).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
            yield Frame(number / 2.0, tile)

    return Media(Kind.VIDEO, "mp4", SIZE, SIZE, frames / 2.0, b"", show())


def decoders() -> int:
    return sum(thread.name.startswith("decode") for thread in threading.enumerate())


@pytest.fixture
def clip(tmp_path: Path) -> list[Found]:
    (tmp_path / "clip.mp4").write_bytes(b"a clip")
    return found(tmp_path)


def test_every_file_comes_once_and_the_network_is_loaded_once(tmp_path: Path) -> None:
    for number in range(100):
        save(tmp_path, f"{number}.bmp", number, side=16)
    embedder, made = StandIn(), list[int]()
    batches = described(found(tmp_path), embedder, 3, made)
    names = [finished.file.path for batch in batches for finished in batch]
    assert sorted(names) == sorted(file.path for file in found(tmp_path))
    assert (len(made), embedder.tiles) == (1, 100)
    until(lambda: decoders() == 0, "the decoders end")


def test_nothing_to_embed_loads_no_network(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("milk")
    [[finished]] = described(found(tmp_path), None, 1)
    assert finished.error is not None


def test_long_video_is_cut_into_parts(clip: list[Found], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "open_media", lambda *_arguments, **_options: film(600, []))
    [finished] = all_of(clip, StandIn())
    assert finished.content is not None
    parts = finished.content.unpacked().parts
    assert [(part.part, part.last, len(part.pts)) for part in parts] == [
        (0, False, 256),
        (1, False, 256),
        (2, True, 88),
    ]
    assert np.concatenate([part.pts for part in parts]).tolist() == [number / 2.0 for number in range(600)]
    assert all(len(part.embedded().vectors) == len(part.pts) == len(part.detail) for part in parts)


def test_decoder_waits_for_a_slow_network(clip: list[Found], monkeypatch: pytest.MonkeyPatch) -> None:
    """The frames that wait are bounded, however long a video is."""
    decoded: list[int] = []
    monkeypatch.setattr(decode, "open_media", lambda *_arguments, **_options: film(100_000, decoded))
    batches = described(clip, StandIn(), threads=1)
    next(batches)
    before = -1
    while before != len(decoded):  # until it stands still
        before = len(decoded)
        time.sleep(0.05)
    assert len(decoded) < 8 * BATCH
    batches.close()
    until(lambda: decoders() == 0, "the decoders end")


def test_closing_ends_the_decoders(tmp_path: Path) -> None:
    for number in range(300):
        save(tmp_path, f"{number}.bmp", number, side=16)
    batches = described(found(tmp_path), StandIn())
    next(batches)
    batches.close()
    until(lambda: decoders() == 0, "the decoders end")


def test_failure_of_the_network_is_raised_and_ends_the_decoders(tmp_path: Path) -> None:
    class Broken(StandIn):
        def embed(self, tiles: Pixels) -> Embedded:
            raise RuntimeError(f"no memory for {len(tiles)} tiles")

    save(tmp_path, "a.png", 1)
    with pytest.raises(PipelineError, match="no memory for 1 tiles"):
        all_of(found(tmp_path), Broken())
    until(lambda: decoders() == 0, "the decoders end")


class Picky(StandIn):
    """Fails on what is white."""

    def embed(self, tiles: Pixels) -> Embedded:
        if (tiles == 255).all(axis=(1, 2, 3)).any():
            raise RuntimeError("white")
        return super().embed(tiles)


@pytest.mark.parametrize("how", ["threads", "in turn"])
def test_a_frame_that_the_network_fails_on_costs_its_file_alone(tmp_path: Path, how: str) -> None:
    for number in range(6):
        save(tmp_path, f"{number}.png", number)
    for name in ("white.png", "white too.png"):
        Image.new("RGB", (64, 64), "white").save(tmp_path / name)
    files = found(tmp_path)
    if how == "threads":
        ended = all_of(files, Picky())
        errors = {Path(one.file.path).name: one.error.reason for one in ended if one.error is not None}
        contents = [one.content for one in ended if one.content is not None]
    else:
        done, _ = InTurn[FileSource](Picky(), Look(SIZE)).describe([FileSource(FileTask(file)) for file in files])
        errors = {Path(one.source.task.file.path).name: one.error.reason for one in done if one.error is not None}
        contents = [one.result for one in done if one.result is not None]
    assert errors == {"white.png": Reason.MODEL, "white too.png": Reason.MODEL}
    assert len(contents) == 6


@pytest.mark.parametrize("failed", [True, False])
def test_a_content_that_two_processes_described_comes_once_and_one_that_failed_first_comes_at_all(failed: bool) -> None:
    once = Once()
    twins = Twins(once, lambda _: pytest.fail("again"))
    a, b = (FileSource(FileTask(Found(name, f"/{name}", 1, 0))) for name in "ab")
    content = Packed(b"s", "png", b"")
    error = InvalidFrame(Reason.TOO_SLOW, "not decoded in time") if failed else None
    [first] = twins.settle(Done(a, None if failed else content, b"s", error))
    [second] = twins.settle(Done(b, content, b"s"))
    assert (first.content is None, second.content is None) == (failed, not failed)
    assert (second.sha256, second.error) == (b"s", None)
