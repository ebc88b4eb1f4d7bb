"""The reference engine: torch in float32 on a CPU, in float16 on a GPU.

Not in bfloat16, which is as fast: of an int8 network a GPU computes what the CPU computes, rounding included, and the
steps between 8-bit levels are coarser than those of float16, but finer than those of bfloat16. And without rounding,
descriptors of dim pictures in bfloat16 are further from the CPU's than `tests/contract/test_embedder.py` allows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from neardup.pipeline.devices import name_processor
from neardup.pipeline.embed.checkpoint import Checkpoint
from neardup.pipeline.embed.convolutions import settle
from neardup.pipeline.embed.embedder import check_tiles, put_together
from neardup.pipeline.embed.hash import dct_hash
from neardup.pipeline.embed.lanes import STEP, Lanes
from neardup.pipeline.embed.network import Siamese, load_network
from neardup.pipeline.errors import PipelineError
from neardup.pipeline.types import Descriptors, Embedded, Pixels

T = TypeVar("T")
CPU_STEP = 8
"""Tiles in one pass: as many as stay in the cache."""


class TorchEmbedder:
    """See `embedder.Embedder`."""

    def __init__(self, checkpoint: Checkpoint, device: str, threads: int) -> None:
        """Load the network to "cpu" or "cuda". `threads` are set for all of torch in this process."""
        if device == "cpu":
            torch.set_num_threads(threads)
        network = load_network(checkpoint).requires_grad_(False)
        settle(network)
        self._network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._lock = threading.Lock()
        self.space, self.similar_space = checkpoint.space, checkpoint.similar_space
        self.dimension, self.size = checkpoint.architecture.dimension, checkpoint.architecture.size
        self._width = self.dimension + (checkpoint.similar.dimension if checkpoint.similar else 0)
        int8 = checkpoint.architecture.precision == "int8"
        name = "int8" if int8 else "f16" if device == "cuda" else "f32"
        self.engine = f"torch {name} on {device}"
        self.processor = torch.cuda.get_device_name() if device == "cuda" else name_processor()
        self.check_counts: tuple[int, ...] = (1, CPU_STEP)
        self.remedy = "the checkpoint is damaged, or this build of torch does not suit the processor: install both anew"
        self._lanes: Lanes | None = None
        if device == "cuda":
            self.check_counts = (1, STEP, STEP + 7)
            self.remedy = "use --device cpu (NEARDUP_DEVICE=cpu), or another version of torch or of the GPU's driver"
            with torch.inference_mode():
                half = in_float16(self._network)
                self._lanes = Lanes(half, torch.device(device), self.size, self._width)

    def embed(self, tiles: Pixels) -> Embedded:
        """See `embedder.Embedder.embed`.

        Raises:
            PipelineError: the GPU failed, and this process cannot use it any more.
        """
        vectors, (hashes, detail) = self._run([tiles], partial(dct_hash, tiles))
        return put_together(vectors, self.dimension, hashes, detail)

    def rows(self, batches: Sequence[Pixels]) -> list[Descriptors]:
        """See `embedder.BatchEmbedder.rows`. A GPU takes all batches as one.

        Raises:
            PipelineError: see `embed`.
        """
        vectors, _ = self._run(batches, lambda: None)
        return np.split(vectors, np.cumsum([len(batch) for batch in batches])[:-1])

    def _run(self, batches: Sequence[Pixels], meanwhile: Callable[[], T]) -> tuple[Descriptors, T]:
        for tiles in batches:
            check_tiles(tiles, self.size)
        with self._lock, torch.inference_mode():
            if self._lanes is None:
                return np.concatenate([self._on_cpu(tiles) for tiles in batches]), meanwhile()
            try:
                return self._lanes.run(batches, meanwhile)
            except torch.AcceleratorError as error:
                raise PipelineError(f"the GPU failed, a new process has to begin: {error}") from error

    def _on_cpu(self, tiles: Pixels) -> Descriptors:
        vectors = np.empty((len(tiles), self._width), np.float32)
        for start in range(0, len(tiles), CPU_STEP):
            batch = torch.from_numpy(np.array(tiles[start : start + CPU_STEP]))
            vectors[start : start + CPU_STEP] = self._network(batch).numpy()
        return vectors


def in_float16(network: Siamese) -> Callable[[Tensor], Tensor]:
    """Return the network as autocast runs it, but with weights that are float16 once and for all (in place)."""
    network.trunk.half()
    network.head.half()
    device = network.head.weight.device.type

    def forward(tiles: Tensor) -> Tensor:
        with torch.autocast(device, torch.float16, cache_enabled=False):  # a graph must not rely on a cache
            vectors: Tensor = network(tiles)
        return vectors

    return forward
