"""The reference engine: torch in float32 on a CPU, in bfloat16 on a GPU."""

from __future__ import annotations

import threading

import numpy as np
import torch

from neardup.pipeline.embed.checkpoint import Checkpoint
from neardup.pipeline.embed.embedder import check_tiles
from neardup.pipeline.embed.hash import dct_hash
from neardup.pipeline.embed.network import load_network
from neardup.pipeline.types import Embedded, Pixels

CPU_BATCH, CUDA_BATCH = 8, 256
"""Tiles in one pass: on a CPU as many as stay in the cache."""


class TorchEmbedder:
    """See `embedder.Embedder`."""

    def __init__(self, checkpoint: Checkpoint, device: str, threads: int) -> None:
        """Load the network to "cpu" or "cuda". `threads` are set for all of torch in this process."""
        if device == "cpu":
            torch.set_num_threads(threads)
        network = load_network(checkpoint).requires_grad_(False)
        self._network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device = torch.device(device)
        self._lock = threading.Lock()
        self.space = checkpoint.space
        self.dimension, self.size = checkpoint.architecture.dimension, checkpoint.architecture.size
        self.engine = f"torch {'bf16 on cuda' if device == 'cuda' else 'f32 on cpu'}"

    def embed(self, tiles: Pixels) -> Embedded:
        """See `embedder.Embedder.embed`."""
        check_tiles(tiles, self.size)
        vectors = np.empty((len(tiles), self.dimension), np.float32)
        cuda = self._device.type == "cuda"
        step = CUDA_BATCH if cuda else CPU_BATCH
        with self._lock, torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=cuda):
            for start in range(0, len(tiles), step):
                batch = torch.from_numpy(np.array(tiles[start : start + step])).to(self._device)
                vectors[start : start + step] = self._network(batch).float().cpu().numpy()
        hashes, detail = dct_hash(tiles)
        return Embedded(vectors=vectors, hashes=hashes, detail=detail)
