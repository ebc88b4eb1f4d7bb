"""Batches of tiles to descriptors and hashes: the one door to the network.

Two engines answer one interface. `torch` is the reference and the GPU path; `openvino` is several times as fast on a
CPU. They agree to a cosine of 0.99 (`tests/contract/test_embedder.py`), so their vectors may share an index. Each shows
it at the start, on the check pictures of the checkpoint (`selfcheck.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from neardup.pipeline.devices import has_cuda, is_on_gpu
from neardup.pipeline.embed.checkpoint import Checkpoint, load_checkpoint
from neardup.pipeline.embed.selfcheck import check_embedder
from neardup.pipeline.errors import ConfigError, ShapeError
from neardup.pipeline.settings import usable_cores
from neardup.pipeline.types import Descriptors, Embedded, Hashes, Pixels

DEVICES = ("auto", "cpu", "cuda")
ENGINES = ("auto", "torch", "openvino")


class Embedder(Protocol):
    """Turns tiles into descriptors. Safe to be called from any thread; the work itself runs without the GIL.

    Attributes:
        space: of the checkpoint; vectors of two spaces are never compared. similar_space: of the vectors of its
            similar head; "" without one.
        dimension: d of the vectors. size: height and width of the tiles. engine: what computes, for logs.
    """

    space: str
    similar_space: str
    dimension: int
    size: int
    engine: str

    def embed(self, tiles: Pixels) -> Embedded:
        """Describe a batch.

        Args:
            tiles: uint8 (n, size, size, 3), RGB; any n ≥ 0.
        Returns:
            Unit vectors of all heads, hashes and detail, in the order of the tiles. A tile's vector does not depend on
            the batch that it came in, to a cosine of 0.9999.
        Raises:
            ShapeError: the tiles have another shape or dtype.
        """
        ...


class BatchEmbedder(Embedder, Protocol):
    """An embedder that also runs its network alone, and on several batches at once."""

    def rows(self, batches: Sequence[Pixels]) -> list[Descriptors]:
        """Return what the network says of batches, each uint8 (n, size, size, 3), at least one.

        Returns:
            For each batch float32 (n, d + s), the rows that `put_together` takes: of the descriptor's head, then of
            the similar one.
        Raises:
            ShapeError: as `embed`.
        """
        ...


def make_embedder(
    checkpoint: Checkpoint | str | Path = "default",
    device: str = "auto",
    engine: str = "auto",
    threads: int | None = None,
    check: bool = True,
) -> BatchEmbedder:
    """Return the embedder of a checkpoint, ready to be called, after it has shown that it computes right.

    Args:
        checkpoint: loaded, or a packaged name, or a path.
        device: "cpu", "cuda", or "auto": CUDA where there is a usable GPU.
        engine: "torch", "openvino" (CPU only), or "auto": torch on CUDA, OpenVINO on a CPU where it is installed.
        threads: CPU threads; all that this process may use without it.
        check: whether it has to show that it computes right; not where another process has, with the same files.
    Raises:
        ConfigError: an unknown word, an unusable checkpoint, a device or engine that is not there, or one that gives
            the check pictures other descriptors than the checkpoint says.
    """
    if device not in DEVICES:
        raise ConfigError(f"device is {device!r}, expected one of {', '.join(DEVICES)}")
    if engine not in ENGINES:
        raise ConfigError(f"engine is {engine!r}, expected one of {', '.join(ENGINES)}")
    if threads is not None and threads < 1:
        raise ConfigError(f"threads is {threads}, expected at least 1")
    if engine == "openvino" and device == "cuda":
        raise ConfigError("engine openvino runs on device cpu, not on cuda")
    loaded = checkpoint if isinstance(checkpoint, Checkpoint) else load_checkpoint(checkpoint)
    cuda = engine != "openvino" and device != "cpu" and has_cuda(certain=device == "cuda")
    if device == "cuda" and not cuda:
        raise ConfigError("device is 'cuda', and torch finds no usable CUDA device")
    if engine == "auto":
        engine = "torch" if cuda or find_spec("openvino") is None else "openvino"
    if engine == "openvino" and find_spec("openvino") is None:
        raise ConfigError("engine is 'openvino', which is not installed")
    threads = threads or usable_cores()
    if engine == "openvino":
        from neardup.pipeline.embed.openvino_engine import OpenVinoEmbedder

        openvino = OpenVinoEmbedder(loaded, threads)
        if check:
            check_embedder(openvino, loaded, openvino.check_counts, openvino.processor, openvino.remedy)
        return openvino
    from neardup.pipeline.embed.torch_engine import TorchEmbedder

    torch = TorchEmbedder(loaded, "cuda" if cuda else "cpu", threads)
    if check:
        check_embedder(torch, loaded, torch.check_counts, torch.processor, torch.remedy)
    return torch


def needs_conversion(checkpoint: Checkpoint, device: str) -> bool:
    """Return whether `make_embedder` will convert the network first, which takes up to a minute."""
    if is_on_gpu(device) or find_spec("openvino") is None:
        return False
    from neardup.pipeline.embed.openvino_engine import is_converted

    return not is_converted(checkpoint)


def put_together(rows: Descriptors, dimension: int, hashes: Hashes, detail: npt.NDArray[np.uint8]) -> Embedded:
    """Return what is said of n tiles; `rows` (n, d + s) are the network's, with `dimension` d."""
    vectors = np.ascontiguousarray(rows[:, :dimension])
    similar = np.ascontiguousarray(rows[:, dimension:]) if rows.shape[1] > dimension else None
    return Embedded(vectors=vectors, hashes=hashes, detail=detail, similar=similar)


def check_tiles(tiles: Pixels, size: int) -> None:
    """Raise ShapeError unless the tiles are uint8 (n, size, size, 3)."""
    if tiles.dtype != np.uint8 or tiles.ndim != 4 or tiles.shape[1:] != (size, size, 3):
        raise ShapeError(f"tiles are {tiles.dtype} {tiles.shape}, the model wants uint8 (n, {size}, {size}, 3)")
