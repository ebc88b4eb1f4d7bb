"""Packs: which pictures are stored of an item, and what is proved by them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.media.preview import to_jpeg
from neardup.pipeline.media.reader import open_media
from neardup.pipeline.media.tile import squeeze
from neardup.pipeline.prove.finding import Finding
from neardup.pipeline.prove.keypoints import DOCUMENT_SIDE, SIDE
from neardup.pipeline.prove.pack import (
    AROUND,
    MOST_BYTES,
    MOST_FRAMES,
    Pack,
    Packer,
    PackFrame,
    PackPictures,
    key_of,
    moments_at,
    read_pack,
)
from neardup.pipeline.prove.prover import Picture, Prover
from neardup.pipeline.types import Limits, Pixels
from tests.pipeline.prove.test_prover import a_scene

SHA = bytes(range(32))


def pack_of(rgb: Pixels, width: int = 0, height: int = 0) -> bytes:
    packer = Packer()
    packer.take(rgb)
    return packer.packed(width or rgb.shape[1], height or rgb.shape[0])


def film(brightness: list[int], fps: float = 2.0, start: float = 0.0) -> list[tuple[float, Pixels]]:
    """Return frames of one scene each, as bright as that."""
    return [(start + number / fps, np.full((45, 80, 3), level, np.uint8)) for number, level in enumerate(brightness)]


def seconds_of(frames: list[tuple[float, Pixels]]) -> list[float]:
    packer = Packer()
    for second, rgb in frames:
        if packer.wants(squeeze(rgb, 32), second):
            packer.take(rgb, second)
    return [frame.second for frame in read_pack(packer.packed(80, 45)).frames]


def test_an_image_is_stored_small_with_the_size_of_its_original() -> None:
    pack = read_pack(pack_of(a_scene(height=600, width=800)))
    assert (pack.width, pack.height) == (800, 600)
    [frame] = pack.frames
    assert simplejpeg.decode_jpeg_header(frame.jpeg)[:2] == (240, 320)
    assert (frame.second, frame.until) == (0.0, 0.0)


def test_nothing_is_stored_of_an_item_without_pictures() -> None:
    assert Packer().packed(10, 10) == b""


def test_a_picture_of_noise_is_not_larger_than_any() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (320, 320, 3), np.uint8)
    [frame] = read_pack(pack_of(noise)).frames
    assert len(frame.jpeg) <= MOST_BYTES


def test_a_thumbnail_of_the_one_picture_is_stored_as_it_is() -> None:
    rgb = np.full((240, 320, 3), 90, np.uint8)
    thumbnail = to_jpeg(rgb)
    packer = Packer()
    packer.take(rgb)
    assert [frame.jpeg for frame in read_pack(packer.packed(640, 480, thumbnail)).frames] == [thumbnail]


def test_a_thumbnail_that_is_too_large_or_of_one_of_several_pages_is_not_stored() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (320, 320, 3), np.uint8)
    packer = Packer()
    packer.take(noise)
    [frame] = read_pack(packer.packed(320, 320, to_jpeg(noise))).frames
    assert len(frame.jpeg) <= MOST_BYTES
    pages = Packer()
    for second in (0.0, 1.0):
        assert pages.wants(noise[:160, :160], second, alone=True)
        pages.take(noise[:160, :160], second)
    frames = read_pack(pages.packed(160, 160, b"a thumbnail")).frames
    assert len(frames) == 2
    assert b"a thumbnail" not in [frame.jpeg for frame in frames]


def test_the_darkest_frames_are_stored_whatever_a_film_begins_with() -> None:
    levels = [200, 120, 160, 40, 180, 220, 90, 240, 130, 170, 30, 210, 140, 250, 60, 190]
    whole = seconds_of(film(levels))
    assert whole == [1.5, 3.0, 5.0, 7.0]  # levels 40, 90, 30 and 60: the darkest within a second
    cut = seconds_of(film(levels[3:], start=1.5))
    assert cut == whole


def test_a_frame_that_stands_still_is_stored_with_the_time_that_it_does() -> None:
    levels = [200, 60, 120, 120, 120, 120, 120, 120, 40, 200]
    packer = Packer()
    for second, rgb in film(levels):
        if packer.wants(squeeze(rgb, 32), second):
            packer.take(rgb, second)
    frames = read_pack(packer.packed(80, 45)).frames
    assert (1.0, 3.5) in [(frame.second, frame.until) for frame in frames]
    assert Pack(80, 45, frames).near(2.6) == next(frame for frame in frames if frame.second == 1.0)


def test_a_small_change_is_another_frame() -> None:
    slide, packer = np.full((320, 320, 3), 250, np.uint8), Packer()
    written = slide.copy()
    written[100:104, 40:200] = 20  # a line of text
    assert packer.wants(slide, 0.0)
    packer.take(slide, 0.0)
    assert not packer.wants(slide, 0.5)
    assert packer.wants(written, 1.0)


def test_a_long_film_has_no_more_frames_than_any_and_those_of_a_clip_are_among_its_own() -> None:
    levels = np.random.default_rng(1).permutation(np.arange(6000) % 256).tolist()
    frames = film([int(one) for one in levels])
    long = seconds_of(frames)
    assert 64 <= len(long) <= MOST_FRAMES
    clip = seconds_of(frames[2000:2200])
    inside = [second for second in long if frames[2000][0] + AROUND < second < frames[2199][0] - AROUND]
    assert inside
    assert set(inside) <= set(clip)


def test_all_pages_are_stored_however_alike() -> None:
    pages = [Image.new("L", (90, 60), 255) for _ in range(3)]
    data = io.BytesIO()
    pages[0].save(data, "TIFF", save_all=True, append_images=pages[1:])
    packer = Packer()
    list(open_media(data.getvalue(), 32, preview=packer).frames)
    assert [frame.second for frame in read_pack(packer.packed(90, 60)).frames] == [0.0, 1.0, 2.0]


def frames_at(*seconds: float) -> Pack:
    return Pack(80, 45, tuple(PackFrame(second, second, b"") for second in seconds))


def test_moments_are_those_that_both_have() -> None:
    query, reference = frames_at(0.5, 3.0, 6.0), frames_at(8.0, 13.1, 16.0, 40.0)
    asked = [(0.0, 10.0), (2.0, 12.0), (4.0, 14.0), (6.0, 16.0)]
    assert moments_at(query, reference, asked) == ((3.0, 13.1), (6.0, 16.0))
    assert moments_at(query, frames_at(8.0, 11.5), asked) is None
    assert moments_at(frames_at(0.0), frames_at(0.0), ()) == ()


def test_moments_of_a_film_at_another_speed_are_found() -> None:
    query, reference = frames_at(0.0, 3.0, 6.0), frames_at(10.0, 16.0, 22.0)
    assert moments_at(query, reference, [(1.0, 12.0), (5.0, 20.0)]) == ((0.0, 10.0), (3.0, 16.0), (6.0, 22.0))


def test_an_image_is_proved_against_the_frame_that_it_is_like_and_against_none_elsewhere() -> None:
    assert moments_at(frames_at(0.0), frames_at(1.0, 4.2, 8.0), [(0.0, 4.0)]) == ((0.0, 4.2),)
    assert moments_at(frames_at(0.0), frames_at(1.0, 8.0), [(0.0, 4.0)]) is None
    assert moments_at(frames_at(1.0, 4.2, 8.0), frames_at(0.0), [(4.0, 0.0)]) == ((4.2, 0.0),)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs((tmp_path / "blobs").as_uri())


def test_packs_prove_what_pictures_prove(blobs: Blobs) -> None:
    scenes = {"a": a_scene(1, 480, 640), "b": a_scene(1, 480, 640)[:, 160:], "c": a_scene(2, 480, 640)}
    for name, rgb in scenes.items():
        blobs.put_pack("", name, pack_of(rgb), SHA.hex())
    by_packs = Prover(PackPictures(blobs))
    by_pictures = Prover(lambda item, _second, _side: Picture(scenes[item]))
    for query, reference in (("b", "a"), ("c", "a")):
        found = by_packs.prove(key_of("seen", query, SHA), key_of("seen", reference, SHA))
        wanted = by_pictures.prove(query, reference)
        assert found is not None
        assert wanted is not None
        assert found.finding is wanted.finding
    found = by_packs.prove(key_of("seen", "b", SHA), key_of("seen", "a", SHA))
    assert found is not None
    assert found.finding is Finding.COPY
    assert found.transform is not None
    assert found.transform[0] == pytest.approx(0.75, abs=0.02)


def test_a_pack_is_that_of_a_version_and_of_a_bank(blobs: Blobs) -> None:
    blobs.put_pack("known", "a", pack_of(a_scene()), SHA.hex())
    pictures = PackPictures(blobs)
    assert pictures(key_of("known", "a", SHA), 0.0, SIDE) is not None
    assert pictures(key_of("known", "a", bytes(32)), 0.0, SIDE) is None
    assert pictures(key_of("seen", "a", SHA), 0.0, SIDE) is None
    assert blobs.erase("a") == 0
    assert PackPictures(blobs)(key_of("known", "a", SHA), 0.0, SIDE) is not None


def test_the_pack_of_an_upload_serves_for_the_reference_that_it_became(blobs: Blobs) -> None:
    blobs.put_pack("", "a b", pack_of(a_scene()), SHA.hex())
    assert PackPictures(blobs)(key_of("known", "a b", SHA), 0.0, SIDE) is not None
    assert blobs.erase("a b") == 1
    assert PackPictures(blobs)(key_of("known", "a b", SHA), 0.0, SIDE) is None


def test_a_pack_shows_how_much_smaller_it_is_and_has_nothing_larger(blobs: Blobs) -> None:
    blobs.put_pack("", "page", pack_of(a_scene(height=1200, width=1600)), SHA.hex())
    found = PackPictures(blobs)(key_of("seen", "page", SHA), 0.0, SIDE)
    assert found is not None
    assert found.scale == pytest.approx(0.2)
    assert PackPictures(blobs, Limits())(key_of("seen", "page", SHA), 0.0, DOCUMENT_SIDE) is None


def test_an_image_whose_original_is_stored_is_read_larger(blobs: Blobs, tmp_path: Path) -> None:
    blobs.put_pack("", "page", pack_of(a_scene(height=1200, width=1600)), SHA.hex())
    Image.fromarray(a_scene(height=1200, width=1600)).save(tmp_path / "page.png")
    blobs.put("page", tmp_path / "page.png", SHA)
    found = PackPictures(blobs, Limits())(key_of("seen", "page", SHA), 0.0, DOCUMENT_SIDE)
    assert found is not None
    assert (max(found.pixels.shape), found.scale) == (DOCUMENT_SIDE, pytest.approx(0.64))
    tight = Limits(max_pixels=1000)
    assert PackPictures(blobs, tight)(key_of("seen", "page", SHA), 0.0, DOCUMENT_SIDE) is None


def test_what_is_no_pack_is_not_to_be_had(blobs: Blobs) -> None:
    blobs.put_pack("", "odd", b"odd", SHA.hex())
    assert PackPictures(blobs)(key_of("seen", "odd", SHA), 0.0, SIDE) is None
    blobs.put_pack("", "torn", pack_of(a_scene())[:200], SHA.hex())
    assert PackPictures(blobs)(key_of("seen", "torn", SHA), 0.0, SIDE) is None


def test_packs_in_memory_are_bounded(blobs: Blobs) -> None:
    for number in range(8):
        blobs.put_pack("", str(number), pack_of(a_scene(number)), SHA.hex())
    pictures = PackPictures(blobs, kept_bytes=40_000)
    for number in range(8):
        assert pictures.pack(key_of("seen", str(number), SHA)) is not None
    assert pictures._held <= 40_000
    assert len(pictures._packs) < 8


def test_a_store_that_is_away_is_no_missing_pack(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_given: object) -> bytes:
        raise DependencyError("away")

    monkeypatch.setattr(blobs, "pack", away)
    with pytest.raises(DependencyError):
        PackPictures(blobs)(key_of("seen", "a", SHA), 0.0, SIDE)


def a_walk(start: float, fps: float, seconds: float) -> list[tuple[float, Pixels]]:
    """Return frames of a film from a second on, in which the picture changes each second and moves meanwhile."""
    frames = []
    for number in range(int(seconds * fps)):
        at = start + number / fps
        shot = int(at)
        moved = int(100 * (at - shot))
        scene = a_scene(shot, 240, 440)[:, moved : moved + 320]
        dark = 0.5 + 0.5 * np.random.default_rng(shot).random() + 0.1 * abs(at - shot - 0.5)
        frames.append((at - start, (scene * min(dark, 1.0)).astype(np.uint8)))
    return frames


def test_a_clip_of_a_film_is_proved_by_packs_though_it_moves(blobs: Blobs) -> None:
    for name, frames in (
        ("film", a_walk(0.0, 2.0, 30)),
        ("clip", a_walk(8.0, 2.1, 14)),
        ("other", a_walk(100.0, 2.0, 30)),
    ):
        packer = Packer()
        for second, rgb in frames:
            if packer.wants(squeeze(rgb, 32), second):
                packer.take(rgb, second)
        blobs.put_pack("", name, packer.packed(320, 240), SHA.hex())
    pictures = PackPictures(blobs)
    prover = Prover(pictures)
    asked = [(float(second), float(second) + 8) for second in range(0, 14, 3)]
    clip, film, other = (key_of("seen", name, SHA) for name in ("clip", "film", "other"))
    packs = [pictures.pack(name) for name in (clip, film, other)]
    assert packs[0] is not None
    for reference, pack, finding in ((film, packs[1], Finding.COPY), (other, packs[2], Finding.UNPROVED)):
        assert pack is not None
        moments = moments_at(packs[0], pack, asked)
        assert moments is not None
        proved = prover.prove(clip, reference, moments)
        assert proved is not None
        assert proved.finding is finding
