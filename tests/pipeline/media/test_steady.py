"""Rectangles that stay in a film."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from neardup.pipeline.media.reader import open_media
from neardup.pipeline.media.steady import MOST, OFTEN, SteadyBoxes
from neardup.pipeline.media.tile import squeeze
from neardup.pipeline.types import Frame, Pixels
from tests.pipeline.media.test_video import turned

SIZE = 128


def a_scene(seed: int, height: int, width: int, lightest: int = 100) -> Pixels:
    """Return soft blobs without a straight edge, within 100 levels of each other."""
    small = np.random.default_rng(seed).integers(lightest - 100, lightest, (5, 5, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def in_a_corner(seed: int, at: tuple[int, int] = (10, 12), side: tuple[int, int] = (60, 90)) -> tuple[Pixels, Pixels]:
    """Return a frame of 160 × 240 with another in its corner, and that other one."""
    frame, inner = a_scene(seed, 160, 240).copy(), a_scene(1000 + seed, *side, lightest=250)
    frame[at[0] : at[0] + side[0], at[1] : at[1] + side[1]] = inner
    return frame, inner


def a_film(frames: list[Pixels]) -> bytes:
    """Return a film that shows each frame for half a second."""
    room = io.BytesIO()
    with av.open(room, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=2)
        stream.width, stream.height, stream.bit_rate = frames[0].shape[1], frames[0].shape[0], 8_000_000
        stream.time_base = Fraction(1, 2)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))
    return room.getvalue()


def look(steady: SteadyBoxes, seed: int, **how: object) -> list[Frame]:
    """Show a frame at the second of its seed; what is cut out is as dark as the second."""
    frame, _ = in_a_corner(seed, **how)  # type: ignore[arg-type]
    return steady.look(seed, squeeze(frame, SIZE), lambda _: np.full((SIZE, SIZE, 3), seed, np.uint8))


def test_a_rectangle_is_steady_once_it_was_seen_often_and_earlier_frames_come_late() -> None:
    steady = SteadyBoxes()
    found = [look(steady, seed) for seed in range(OFTEN + 2)]
    assert found[: OFTEN - 1] == [[]] * (OFTEN - 1)
    late = found[OFTEN - 1]
    assert [(one.pts, int(one.tile[0, 0, 0])) for one in late] == [(n, n) for n in range(OFTEN)]
    assert late[0].box == pytest.approx((12 / 240, 10 / 160, 102 / 240, 70 / 160), abs=0.02)
    (last,) = found[-1]
    assert (last.pts, last.box) == (OFTEN + 1, late[0].box)


def test_a_rectangle_that_moves_is_not_steady() -> None:
    steady = SteadyBoxes()
    assert not any(look(steady, seed, at=(10 + 10 * seed, 12 + 17 * seed)) for seed in range(8))


def test_a_film_has_no_more_than_the_most() -> None:
    steady = SteadyBoxes()
    for place in ((5, 5), (5, 140), (95, 5), (95, 140)):
        for seed in range(OFTEN):
            found = look(steady, seed, at=place)
    assert len({one.box for one in found}) == MOST


@pytest.mark.parametrize(("degrees", "turn"), [(0, 0), (90, -1), (180, 2), (270, 1)])
def test_steady_rectangles_become_frames_after_the_whole_one(degrees: int, turn: int) -> None:
    frames, inner = zip(*(in_a_corner(seed) for seed in range(8)), strict=True)
    film = a_film(list(frames))
    media = open_media(turned(film, degrees) if degrees else film, SIZE, regions="boxes")
    found: list[Frame] = list(media.frames)
    whole = [frame for frame in found if frame.box is None]
    parts = [frame for frame in found if frame.box is not None]
    assert len(whole) == len(frames)
    assert len({frame.box for frame in parts}) == 1
    assert [one.pts for one in parts] == [one.pts for one in whole]
    for part, shown in zip(parts, inner, strict=True):
        assert np.abs(part.tile.astype(int) - squeeze(np.ascontiguousarray(np.rot90(shown, turn)), SIZE)).mean() < 8
    assert found[OFTEN] is parts[0]


@pytest.mark.parametrize("mode", ["none", "grid"])
def test_other_modes_leave_films_as_they_are(mode: str) -> None:
    film = a_film([in_a_corner(seed)[0] for seed in range(6)])
    assert all(frame.box is None for frame in open_media(film, SIZE, regions=mode).frames)  # type: ignore[arg-type]
