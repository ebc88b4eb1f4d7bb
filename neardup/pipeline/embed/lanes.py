"""Batches through the network on a GPU: copies run beside kernels, and one CUDA graph stands for hundreds of launches.

    caller's arrays -> pinned memory -> lane on the GPU -> graph -> pinned memory -> caller's array

Arrays that lie in pinned memory already, see `pinned.py`, skip the first step.

Each lane has memory of its own, so that one is filled and copied while the network works on another. The graph is
captured for a full step; a smaller batch goes with whatever lies behind it, as no row depends on another. A CUDA graph
and not `torch.compile`: it needs no compiler on the machine and no minute to start, and computes with the same kernels.

With device "cpu" the same code runs without streams: so it is tested where there is no GPU.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from neardup.pipeline.types import Descriptors, Pixels

logger = logging.getLogger(__name__)
STEP, LANES = 64, 4
_WARM_UP = 3
"""Runs before the capture, in which libraries choose kernels and take memory."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Lane:
    """Memory for one step, and how far it is. Events are those of torch.cuda, or stand-ins of torch.cpu."""

    tiles: Tensor
    tiles_there: Tensor
    vectors: Tensor
    copied: Any
    done: Any


class Lanes:
    """Owns the memory, the streams and the graph. One thread at a time; under `torch.inference_mode`.

    Args:
        network: uint8 (step, size, size, 3) to (step, dimension), on the device.
        device: where the network is.
    """

    def __init__(
        self,
        network: Callable[[Tensor], Tensor],
        device: torch.device,
        size: int,
        dimension: int,
        step: int = STEP,
        lanes: int = LANES,
    ) -> None:
        on_gpu = self._on_gpu = device.type == "cuda"
        self._api: Any = torch.cuda if on_gpu else torch.cpu
        self._step, self._dimension = step, dimension
        shape = (step, size, size, 3)
        self._network = network
        self._input = torch.zeros(shape, dtype=torch.uint8, device=device)
        self._output = torch.zeros(step, dimension, device=device)
        self._copies, self._stream = self._api.Stream(), self._api.Stream()
        self._lanes = [
            _Lane(
                torch.zeros(shape, dtype=torch.uint8, pin_memory=on_gpu),
                torch.zeros(shape, dtype=torch.uint8, device=device),
                torch.zeros(step, dimension, pin_memory=on_gpu),
                self._api.Event(),
                self._api.Event(),
            )
            for _ in range(lanes)
        ]
        self._api.synchronize()  # the memory was filled on another stream
        self._forward = self._captured() if on_gpu else self._forward_eagerly

    def run(self, batches: Sequence[Pixels], meanwhile: Callable[[], T]) -> tuple[Descriptors, T]:
        """Return the vectors of all tiles of batches (n, size, size, 3), in their order, and what `meanwhile` returned.

        Raises whatever the GPU or `meanwhile` fails with; nothing runs on then.
        """
        vectors = np.empty((sum(map(len, batches)), self._dimension), np.float32)
        steps = list(_steps(batches, self._step))
        try:
            for lane, pieces in zip(self._lanes, steps, strict=False):
                self._start(lane, pieces)
            aside = meanwhile()
            for number in range(len(steps)):
                lane = self._lanes[number % len(self._lanes)]
                self._finish(lane, vectors[number * self._step :][: self._step])
                if number + len(self._lanes) < len(steps):
                    self._start(lane, steps[number + len(self._lanes)])
        except BaseException:  # an interrupt too: the lanes must be idle when they are used again
            self._api.synchronize()
            raise
        return vectors, aside

    def _start(self, lane: _Lane, pieces: Sequence[Pixels]) -> None:
        """Let at most a step begin; returns at once. The lane is idle: it is new or was finished."""
        row = 0
        with self._api.stream(self._copies):
            for piece in pieces:
                rows = slice(row, row + len(piece))
                lane.tiles_there[rows].copy_(self._pinned(lane.tiles[rows], piece), non_blocking=True)
                row = rows.stop
            lane.copied.record()
        with self._api.stream(self._stream):
            lane.copied.wait()
            self._input.copy_(lane.tiles_there)
            self._forward()
            lane.vectors.copy_(self._output, non_blocking=True)
            lane.done.record()

    def _pinned(self, staging: Tensor, piece: Pixels) -> Tensor:
        """Return tiles in memory that is copied from while others compute: where they lie, or copied to `staging`."""
        if self._on_gpu and piece.flags.c_contiguous and piece.flags.writeable:
            there = torch.from_numpy(piece)
            if there.is_pinned():
                return there
        np.copyto(staging.numpy(), piece)
        return staging

    def _finish(self, lane: _Lane, vectors: Descriptors) -> None:
        """Wait for a lane and take its rows out."""
        lane.done.synchronize()
        vectors[:] = lane.vectors.numpy()[: len(vectors)]

    def _forward_eagerly(self) -> None:
        self._output.copy_(self._network(self._input))

    def _captured(self) -> Callable[[], None]:
        with self._api.stream(self._stream):
            for _ in range(_WARM_UP):
                self._forward_eagerly()
        self._api.synchronize()
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the GPU while this one captures.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            self._forward_eagerly()
        replay: Callable[[], None] = graph.replay
        return replay


def _steps(batches: Sequence[Pixels], step: int) -> Iterator[list[Pixels]]:
    """Yield the pieces of batches that make up each step; all steps but the last are full."""
    pieces: list[Pixels] = []
    room = step
    for batch in batches:
        start = 0
        while start < len(batch):
            pieces.append(batch[start : start + room])
            start += len(pieces[-1])
            room -= len(pieces[-1])
            if not room:
                yield pieces
                pieces, room = [], step
    if pieces:
        yield pieces
