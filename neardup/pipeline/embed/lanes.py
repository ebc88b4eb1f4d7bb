"""Batches through the network on a GPU: copies run beside kernels, and one CUDA graph stands for hundreds of launches.

    caller's array -> pinned memory -> lane on the GPU -> graph -> pinned memory -> caller's array

Each lane has memory of its own, so that one is filled and copied while the network works on another. The graph is
captured for a full step; a smaller batch goes with whatever lies behind it, as no row depends on another. A CUDA graph
and not `torch.compile`: it needs no compiler on the machine and no minute to start, and computes with the same kernels.

With device "cpu" the same code runs without streams: so it is tested where there is no GPU.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
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
        on_gpu = device.type == "cuda"
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

    def run(self, tiles: Pixels, meanwhile: Callable[[], T]) -> tuple[Descriptors, T]:
        """Return the vectors of tiles (n, size, size, 3), in their order, and what `meanwhile` returned.

        Raises whatever the GPU or `meanwhile` fails with; nothing runs on then.
        """
        vectors = np.empty((len(tiles), self._dimension), np.float32)
        starts = range(0, len(tiles), self._step)
        try:
            for lane, start in zip(self._lanes, starts, strict=False):
                self._start(lane, tiles[start : start + self._step])
            aside = meanwhile()
            for number, start in enumerate(starts):
                lane = self._lanes[number % len(self._lanes)]
                self._finish(lane, vectors[start : start + self._step])
                following = (number + len(self._lanes)) * self._step
                if following < len(tiles):
                    self._start(lane, tiles[following : following + self._step])
        except BaseException:  # an interrupt too: the lanes must be idle when they are used again
            self._api.synchronize()
            raise
        return vectors, aside

    def _start(self, lane: _Lane, tiles: Pixels) -> None:
        """Let a batch of at most a step begin; returns at once. The lane is idle: it is new or was finished."""
        np.copyto(lane.tiles.numpy()[: len(tiles)], tiles)
        with self._api.stream(self._copies):
            lane.tiles_there.copy_(lane.tiles, non_blocking=True)
            lane.copied.record()
        with self._api.stream(self._stream):
            lane.copied.wait()
            self._input.copy_(lane.tiles_there)
            self._forward()
            lane.vectors.copy_(self._output, non_blocking=True)
            lane.done.record()

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
