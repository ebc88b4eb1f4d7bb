"""Proofs of items by pictures that are had again."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from PIL import Image

from neardup.pipeline.log.records import Described
from neardup.pipeline.prove.files import FilePictures
from neardup.pipeline.prove.finding import Finding, Ground
from neardup.pipeline.prove.keypoints import DOCUMENT_SIDE, SIDE
from neardup.pipeline.prove.prover import Picture, Prover
from neardup.pipeline.types import Kind, Limits, Pixels


def a_scene(seed: int = 0, height: int = 240, width: int = 320) -> Pixels:
    """Return blobs of all sizes: something to find key points in."""
    random = np.random.default_rng(seed)
    layers = []
    for size in (6, 12, 24, 48):
        small = Image.fromarray(random.integers(0, 256, (size, size, 3), np.uint8))
        layers.append(np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), np.float32))
    return np.asarray(np.mean(layers, axis=0) * 1.6 - 70).clip(0, 255).astype(np.uint8)


@dataclass
class Shown:
    """Shows pictures by name, and remembers what it was asked."""

    pictures: dict[str, Pixels]
    asked: list[tuple[str, float, int]] = field(default_factory=list)

    def __call__(self, item: str, second: float, side: int, /) -> Picture | None:
        self.asked.append((item, second, side))
        found = self.pictures.get(item)
        return None if found is None else Picture(found)


def test_a_copy_is_proved_with_its_transform() -> None:
    scene = a_scene()
    found = Prover(Shown({"a": scene, "b": scene[:, 80:]})).prove("b", "a")
    assert found is not None
    assert (found.finding, found.summary.ground) == (Finding.COPY, Ground.AGREES)
    assert found.transform is not None
    assert found.transform[0] == pytest.approx(0.75, abs=0.02)
    assert found.transform[2] == pytest.approx(0.25, abs=0.02)
    assert found.reference_box[0] == pytest.approx(0.25, abs=0.02)
    assert (found.query_share, found.reference_share) == (pytest.approx(1, abs=0.02), pytest.approx(0.75, abs=0.02))
    assert found.summary.map is not None
    assert found.summary.map.blocks.count("1") > 50


def test_nothing_is_proved_without_a_picture_of_either() -> None:
    prover = Prover(Shown({"a": a_scene()}))
    assert prover.prove("gone", "a") is None
    assert prover.prove("a", "gone") is None
    assert prover.prove("gone", "a", [(0.0, 0.0), (1.0, 1.0)]) is None


def test_key_points_are_found_once_and_the_oldest_are_dropped() -> None:
    shown = Shown({name: a_scene(n) for n, name in enumerate("abcd")})
    prover = Prover(shown)
    prover.prove("a", "b")
    prover.prove("a", "c")
    assert [one[0] for one in shown.asked] == ["a", "b", "c"]
    tight = Prover(shown, cached_bytes=1)
    tight.prove("a", "b")
    shown.asked.clear()
    tight.prove("a", "b")
    assert {one[0] for one in shown.asked} == {"a", "b"}


def test_a_few_moments_of_films_are_proved_together() -> None:
    found = Prover(Shown({"a": a_scene(), "b": a_scene()[::2, ::2]})).prove("b", "a", [(1.0, 2.0), (3.0, 4.0)])
    assert found is not None
    assert found.finding is Finding.COPY
    assert (found.summary.query_second, found.summary.reference_second) in {(1.0, 2.0), (3.0, 4.0)}


def test_files_are_read_small_and_say_how_much_smaller_they_were_made(tmp_path: Path) -> None:
    Image.fromarray(a_scene(0, 900, 1200)).save(tmp_path / "large.png")
    Image.fromarray(a_scene(0, 90, 120)).save(tmp_path / "small.png")
    pictures = FilePictures(Limits())
    for name, (width, height) in {"large": (1200, 900), "small": (120, 90)}.items():
        record = Described(id=name, kind=Kind.IMAGE, width=width, height=height)
        pictures.add(record, tmp_path / f"{name}.png")
    large, small = pictures("large", 0.0, SIDE), pictures("small", 0.0, DOCUMENT_SIDE)
    assert large is not None
    assert small is not None
    assert (max(large.pixels.shape), large.scale) == (SIDE, pytest.approx(SIDE / 1200))
    assert (small.pixels.shape[:2], small.scale) == ((90, 120), 1.0)
    found = Prover(pictures).prove("small", "large")
    assert found is not None
    assert found.finding is Finding.COPY


def test_a_file_that_went_away_or_is_none_is_not_to_be_had(tmp_path: Path) -> None:
    pictures = FilePictures(Limits())
    (tmp_path / "text.png").write_text("no picture")
    for name in ("gone.png", "text.png"):
        pictures.add(Described(id=name, kind=Kind.IMAGE, width=9, height=9), tmp_path / name)
        assert pictures(name, 0.0, SIDE) is None
    assert pictures("never heard of", 0.0, SIDE) is None


def test_what_was_foreseen_is_what_would_have_been_proved() -> None:
    scenes = {str(n): a_scene(n // 3) for n in range(9)}
    asked = [(str(n), str(n - n % 3), (), ()) for n in range(9) if n % 3]
    serial = Prover(Shown(scenes))
    expected = [serial.prove(*one) for one in asked]
    shown = Shown(scenes)
    with closing(Prover(shown, threads=3)) as prover:
        prover.look_ahead([*asked, ("0", "gone", (), ())])
        found = [prover.prove(*one) for one in asked]
        assert prover.prove("0", "gone") is None
    assert found == expected
    assert all(one is not None and one.finding is Finding.COPY for one in found)


def test_what_was_foreseen_for_the_last_batch_is_given_up() -> None:
    go_on, shown = Event(), Shown({name: a_scene(n) for n, name in enumerate("abcdef")})

    def slow(item: str, second: float, side: int) -> Picture | None:
        assert go_on.wait(10)
        return shown(item, second, side)

    with closing(Prover(slow, threads=2)) as prover:
        prover.look_ahead([("a", "b", (), ()), ("b", "a", (), ()), ("c", "d", (), ()), ("e", "f", (), ())])
        prover.look_ahead([])
        go_on.set()
    assert {item for item, _, _ in shown.asked} == {"a", "b"}


def test_one_thread_does_not_look_ahead() -> None:
    prover = Prover(Shown({}))
    assert not prover.looks_ahead
    prover.look_ahead([("a", "b", (), ()), ("a", "c", (), ())])
    assert prover.prove("a", "b") is None
