"""On a CPU the streams are stand-ins that do nothing; order, padding, lanes and failures are as on a GPU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from neardup.pipeline.embed.checkpoint import Checkpoint
from neardup.pipeline.embed.lanes import Lanes
from neardup.pipeline.embed.network import load_network
from neardup.pipeline.embed.torch_engine import TorchEmbedder, in_float16
from neardup.pipeline.types import Pixels
from tests.pipeline.embed.build import in_float

CPU = torch.device("cpu")
STEP, SIZE = 3, 2


def first_values(tiles: Tensor) -> Tensor:
    """(n, 2, 2, 3) -> (n, 1): a network whose vector names the tile."""
    return tiles[:, 0, 0, :1].float()


def numbered(count: int) -> Pixels:
    return np.arange(1, count + 1, dtype=np.uint8)[:, None, None, None] * np.ones((1, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 6, 7, 50])
def test_vectors_come_in_the_order_of_the_tiles(count: int) -> None:
    lanes = Lanes(first_values, CPU, SIZE, 1, STEP, 2)
    vectors, _ = lanes.run([numbered(count)], lambda: None)
    assert vectors.shape == (count, 1)
    assert vectors.ravel().tolist() == list(range(1, count + 1))


def test_the_network_always_sees_a_full_step() -> None:
    seen = []

    def network(tiles: Tensor) -> Tensor:
        seen.append(len(tiles))
        return first_values(tiles)

    Lanes(network, CPU, SIZE, 1, STEP, 2).run([numbered(7)], lambda: None)
    assert seen == [STEP] * 3


@pytest.mark.parametrize("sizes", [[1, 2], [2, 2, 2], [7, 0, 1], [0], [1] * 11])
def test_batches_share_steps_and_keep_their_order(sizes: list[int]) -> None:
    seen = []

    def network(tiles: Tensor) -> Tensor:
        seen.append(len(tiles))
        return first_values(tiles)

    ends = np.cumsum(sizes)
    batches = [numbered(sum(sizes))[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    vectors, _ = Lanes(network, CPU, SIZE, 1, STEP, 2).run(batches, lambda: None)
    assert vectors.ravel().tolist() == list(range(1, sum(sizes) + 1))
    assert len(seen) == -(-sum(sizes) // STEP)


def test_pinned_tiles_are_copied_from_where_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    lanes = Lanes(first_values, CPU, SIZE, 1, STEP, 2)
    lanes._on_gpu = True
    tiles, pinned = numbered(4), set[int]()
    monkeypatch.setattr(Tensor, "is_pinned", lambda tensor: tensor.data_ptr() in pinned)
    monkeypatch.setattr(np, "copyto", lambda *_: pytest.fail("copied by the processor"))
    pinned |= {tiles[row:].ctypes.data for row in range(4)}
    vectors, _ = lanes.run([tiles], lambda: None)
    assert vectors.ravel().tolist() == [1, 2, 3, 4]
    monkeypatch.undo()
    lanes._on_gpu = True
    tiles.flags.writeable = False  # of which torch makes no tensor without a warning
    assert lanes.run([tiles], lambda: None)[0].ravel().tolist() == [1, 2, 3, 4]


def test_what_lies_in_a_lane_from_before_stays_out_of_a_smaller_batch() -> None:
    lanes = Lanes(first_values, CPU, SIZE, 1, STEP, 2)
    lanes.run([numbered(9)], lambda: None)
    vectors, _ = lanes.run([numbered(1)], lambda: None)
    assert vectors.tolist() == [[1.0]]


def test_as_many_steps_as_there_are_lanes_begin_before_the_caller_does_something_else() -> None:
    runs: list[int] = []

    def network(tiles: Tensor) -> Tensor:
        runs.append(len(tiles))
        return first_values(tiles)

    _, begun = Lanes(network, CPU, SIZE, 1, STEP, 2).run([numbered(50)], lambda: len(runs))
    assert begun == 2


def test_a_lane_is_not_filled_again_before_it_was_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    lanes = Lanes(first_values, CPU, SIZE, 1, STEP, 2)
    busy: set[int] = set()
    start, finish = lanes._start, lanes._finish

    def watched_start(lane: object, tiles: Pixels) -> None:
        assert id(lane) not in busy
        busy.add(id(lane))
        start(lane, tiles)  # type: ignore[arg-type]

    def watched_finish(lane: object, vectors: np.ndarray) -> None:
        busy.remove(id(lane))
        finish(lane, vectors)  # type: ignore[arg-type]

    monkeypatch.setattr(lanes, "_start", watched_start)
    monkeypatch.setattr(lanes, "_finish", watched_finish)
    lanes.run([numbered(20)], lambda: None)
    assert not busy


def test_after_a_failure_the_lanes_serve_the_next_batch() -> None:
    def network(tiles: Tensor) -> Tensor:
        if (tiles == 13).any():
            raise RuntimeError("no luck")
        return first_values(tiles)

    lanes = Lanes(network, CPU, SIZE, 1, STEP, 2)
    with pytest.raises(RuntimeError, match="no luck"):
        lanes.run([numbered(20)], lambda: None)
    with pytest.raises(ZeroDivisionError):
        lanes.run([numbered(5)], lambda: 1 // 0)
    vectors, _ = lanes.run([numbered(5)], lambda: None)
    assert vectors.ravel().tolist() == [1, 2, 3, 4, 5]


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    """One that is not int8: of such the GPU computes in float16, see `torch_engine`."""
    return in_float()


def test_float16_lanes_agree_with_float32(checkpoint: Checkpoint) -> None:
    """What a GPU runs, but for the kernels: half precision with weights that were rounded beforehand, padded steps."""
    size, dimension = checkpoint.architecture.size, checkpoint.architecture.dimension
    rough = np.random.default_rng(0).integers(0, 256, (3, size // 16, size // 16, 3), dtype=np.uint8)
    tiles = rough.repeat(16, axis=1).repeat(16, axis=2)
    exact = TorchEmbedder(checkpoint, "cpu", 1).embed(tiles).vectors
    network = load_network(checkpoint).requires_grad_(False)
    vectors, _ = Lanes(in_float16(network), CPU, size, dimension, 2, 2).run([tiles], lambda: None)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (vectors * exact).sum(axis=1).min() >= 0.99


def test_weights_rounded_beforehand_change_nothing(checkpoint: Checkpoint) -> None:
    size = checkpoint.architecture.size
    tiles = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8))
    network = load_network(checkpoint).requires_grad_(False)
    with torch.autocast("cpu", torch.float16):
        expected = network(tiles)
    torch.testing.assert_close(in_float16(network)(tiles), expected)
