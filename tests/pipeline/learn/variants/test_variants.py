"""Rendered kinds: pairs of one template that differ, the same for the same seed on every run."""

from __future__ import annotations

import hashlib
import io
from functools import cache
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.learn.variants import HELD_OUT, KINDS, Variant, render
from neardup.pipeline.learn.variants.copies import OVERLAYS, WAYS, copy_of
from neardup.pipeline.learn.variants.films import NAME, cut_pairs
from neardup.pipeline.learn.variants.registry import Content
from neardup.pipeline.learn.variants.render import DIFFERS
from tests.pipeline.scan.build import save_clip


@cache
def rendered(kind: str, number: int) -> Variant:
    return render(kind, number)


def pixels(file: bytes) -> npt.NDArray[np.int16]:
    with Image.open(io.BytesIO(file)) as picture:
        return np.asarray(picture.convert("RGB"), dtype=np.int16)


def small(file: bytes) -> npt.NDArray[np.float32]:
    """Return a picture of 16 × 16, without its exposure."""
    with Image.open(io.BytesIO(file)) as picture:
        shrunk = np.asarray(picture.convert("RGB").resize((16, 16), Image.Resampling.BOX), dtype=np.float32)
    return shrunk - shrunk.mean()


@pytest.mark.parametrize("kind", KINDS)
def test_a_pair_is_the_same_for_the_same_seed(kind: str) -> None:
    one, again = rendered(kind, 1), render(kind, 1)
    assert (one.a, one.b) == (again.a, again.b)
    assert render(kind, 1, seed=1).a != one.a


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_a_pair_differ_and_are_large(kind: str) -> None:
    for number, differs in enumerate(DIFFERS):
        pair = rendered(kind, number)
        assert (pair.kind, pair.number, pair.differs) == (kind, number, differs)
        a, b = (pixels(file) for file in (pair.a, pair.b))
        assert min(*a.shape[:2], *b.shape[:2]) >= 400
        assert a.shape != b.shape or (np.abs(a - b).max(axis=2) >= 16).mean() > 1e-4


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"gradient", "noise", "stripes"}))
def test_pictures_of_a_pair_are_of_one_template(kind: str) -> None:
    """They are closer than those of two pairs. Of gradients and the like the template is but a direction or a grain."""
    first = [small(rendered(kind, number).a) for number in range(len(DIFFERS))]
    second = [small(rendered(kind, number).b) for number in range(len(DIFFERS))]
    apart = np.array([[np.abs(a - b).mean() for b in second] for a in first])
    same = np.eye(len(DIFFERS), dtype=bool)
    assert apart[same].mean() < 0.8 * apart[~same].mean()


def test_no_picture_is_in_two_kinds_or_pairs() -> None:
    pairs = [rendered(kind, number) for kind in KINDS for number in range(len(DIFFERS))]
    digests = {hashlib.sha256(file).digest() for pair in pairs for file in (pair.a, pair.b)}
    assert len(digests) == 2 * len(pairs)


def test_two_fifths_of_the_kinds_are_held_out() -> None:
    of_rendered = HELD_OUT - {NAME}
    assert of_rendered <= KINDS.keys()
    assert len(of_rendered) * 5 >= len(KINDS) * 2


def test_only_the_changed_fields_are_drawn_anew() -> None:
    first, second = Content((1,)), Content((1,), (2,), frozenset({1}))
    drawn = [[one.field().random() for _ in range(3)] for one in (first, second)]
    assert [a == b for a, b in zip(*drawn, strict=True)] == [True, False, True]
    assert first.count == 3


def test_copies_are_made_in_all_ways_in_turn() -> None:
    file = rendered("stripes", 0).a
    made = [copy_of(file, number) for number in range(len(WAYS))]
    assert [way for way, _ in made] == list(WAYS)
    assert set(OVERLAYS) <= WAYS.keys()
    assert len({data for _, data in made} | {file}) == len(WAYS) + 1
    assert made[0] == copy_of(file, 0)


def film(path: Path, moves: bool) -> None:
    """Write a film of 4 seconds, 8 frames a second: a wall, and before it a square that moves or stays."""
    wall = (
        np.random.default_rng(len(path.name)).integers(0, 120, (12, 16, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
    )
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for number in range(32):
            shown = wall.copy()
            left = 4 * number if moves else 40
            shown[40:80, left : left + 36] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown)))
        container.mux(stream.encode())


def test_frames_of_a_film_are_of_one_shot_in_which_something_moved(tmp_path: Path) -> None:
    film(tmp_path / "still.mp4", moves=False)
    with pytest.raises(ConfigError, match="no film with two frames"):
        cut_pairs(tmp_path, 4)
    film(tmp_path / "moving.mp4", moves=True)
    pairs = cut_pairs(tmp_path, 4)
    assert [(one.kind, one.number) for one in pairs] == [("film", number) for number in range(4)]
    assert [(one.a, one.b) for one in cut_pairs(tmp_path, 4)] == [(one.a, one.b) for one in pairs]
    assert len({file for one in pairs for file in (one.a, one.b)}) == 8
    for one in pairs:
        assert 3 < np.abs(small(one.a) - small(one.b)).mean() < 40


def test_frames_of_two_shots_are_no_pair(tmp_path: Path) -> None:
    save_clip(tmp_path / "cuts.mp4", [1, 2, 3, 4, 5, 6, 7, 8])
    with pytest.raises(ConfigError):
        cut_pairs(tmp_path, 4)
