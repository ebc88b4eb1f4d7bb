from __future__ import annotations

import numpy as np
import pytest

from neardup.pipeline.describe import codec
from neardup.pipeline.describe.codec import to_records
from neardup.pipeline.describe.description import EmbeddedFrames, embed, embed_each
from neardup.pipeline.errors import Reason
from neardup.pipeline.log.records import Described, join_parts
from neardup.pipeline.types import Box, Embedded, Frame, Kind, Media, Pixels

TURN = np.deg2rad(20)
HALF: Box = (0.0, 0.0, 0.5, 1.0)


class Pointing:
    """Says of a tile that its similar vector stands at as many degrees as its first pixel has red."""

    space, dimension, size, engine = "s", 2, 2, "none"

    def __init__(self, similar_space: str = "t") -> None:
        self.similar_space = similar_space

    def embed(self, tiles: Pixels) -> Embedded:
        angles = np.deg2rad(tiles[:, 0, 0, 0].astype(np.float32))
        similar = np.stack([np.cos(angles), np.sin(angles)], axis=1) if self.similar_space else None
        n = len(tiles)
        vectors = np.tile(np.array([1, 0], np.float32), (n, 1))
        return Embedded(vectors, np.zeros((n, 32), np.uint8), np.full(n, 50, np.uint8), similar)


def describe(embedder: Pointing, *frames: tuple[int, Box | None]) -> list[Described]:
    item = EmbeddedFrames()
    for place, (degrees, box) in enumerate(frames):
        embed(embedder, [(item, Frame(float(place), np.full((2, 2, 3), degrees, np.uint8), box))])
    return to_records(item.described(Media(Kind.VIDEO, "mp4", 4, 4, 9.0, b"", iter(())), b""))


def test_the_similar_vector_is_the_mean_over_the_frames_of_unit_length() -> None:
    (record,) = describe(Pointing(), (0, None), (40, None))
    vector = record.similar_vector("t")
    np.testing.assert_allclose(vector, [[np.cos(TURN), np.sin(TURN)]], atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(vector, axis=1), 1, atol=1e-6)


def test_regions_have_no_part_in_the_similar_vector() -> None:
    (record,) = describe(Pointing(), (20, None), (90, HALF), (80, HALF))
    np.testing.assert_allclose(record.similar_vector("t"), [[np.cos(TURN), np.sin(TURN)]], atol=1e-3)


def test_a_similar_vector_of_another_space_is_none() -> None:
    (record,) = describe(Pointing(), (20, None))
    assert record.similar_vector("u").shape == (0, 0)


def test_without_the_head_a_record_has_no_similar_vector() -> None:
    (record,) = describe(Pointing(""), (20, None))
    assert (record.similar, record.similar_space) == (b"", "")
    assert record.similar_vector("").shape == (0, 0)


def test_frames_that_cancel_each_other_leave_no_similar_vector() -> None:
    item = EmbeddedFrames()
    item.add_similar(np.array([1, 0], np.float32), "t")
    item.add_similar(np.array([-1, 0], np.float32), "t")
    embed(Pointing(""), [(item, Frame(0.0, np.zeros((2, 2, 3), np.uint8)))])
    (record,) = to_records(item.described(Media(Kind.VIDEO, "mp4", 4, 4, 9.0, b"", iter(())), b""))
    assert (record.similar, record.similar_space) == (b"", "")


class Starving(Pointing):
    """Memory does not suffice for what is red."""

    def embed(self, tiles: Pixels) -> Embedded:
        if (tiles[..., 0] > 0).any():
            raise MemoryError
        return super().embed(tiles)


def test_a_frame_that_memory_does_not_suffice_for_costs_its_item_and_not_the_network() -> None:
    items, starved = [EmbeddedFrames() for _ in range(5)], list[None]()
    reds = (0, 9, 0, 0, 9)
    batch = [
        (item, Frame(0.0, np.full((2, 2, 3), (red, 1, 1), np.uint8))) for item, red in zip(items, reds, strict=True)
    ]
    embed_each(Starving(), batch, lambda: starved.append(None))
    assert [item.error and item.error.reason for item in items] == [None, Reason.KILLED, None, None, Reason.KILLED]
    assert [len(item.vectors) for item in items] == [1, 0, 1, 1, 0]
    assert len(starved) == 2


class Crowded(Pointing):
    """Memory suffices for one tile at a time, and the network fails on what is red."""

    def embed(self, tiles: Pixels) -> Embedded:
        if len(tiles) > 1:
            raise MemoryError
        if (tiles[..., 0] == 9).any():
            raise ValueError("red")
        return super().embed(tiles)


def test_what_fails_alone_is_not_taken_for_the_want_of_memory_of_the_whole_batch() -> None:
    items = [EmbeddedFrames() for _ in range(4)]
    batch = [
        (item, Frame(0.0, np.full((2, 2, 3), (9 * (number == 2), 1, 1), np.uint8))) for number, item in enumerate(items)
    ]
    embed_each(Crowded(), batch, lambda: pytest.fail("memory did suffice"))
    assert [item.error and (item.error.reason, item.error.detail) for item in items] == [
        None, None, (Reason.MODEL, "ValueError: red"), None,
    ]  # fmt: skip


def test_the_last_part_of_a_long_item_has_the_similar_vector_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MAX_DESCRIPTORS_PER_PART", 2)
    parts = describe(Pointing(), (0, None), (0, None), (40, None), (40, None))
    assert [bool(part.similar) for part in parts] == [False, True]
    vector = join_parts(parts).similar_vector("t")
    np.testing.assert_allclose(vector, [[np.cos(TURN), np.sin(TURN)]], atol=1e-3)
