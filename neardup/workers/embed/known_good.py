"""A picture that is known to be good, put through decoding and the network: whether a worker still works.

Bad items in a row prove nothing, for a sender may send as many as it likes. This picture proves it.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from neardup.pipeline.describe.description import Description
from neardup.pipeline.embed.checkpoint import Checkpoint
from neardup.pipeline.embed.embedder import Embedder
from neardup.pipeline.embed.selfcheck import check_embedder
from neardup.pipeline.media.fetch import Fetched
from neardup.pipeline.media.reader import open_media
from neardup.pipeline.types import Descriptors, Limits, Media

if TYPE_CHECKING:  # it imports torch
    from neardup.pipeline.media.nvjpeg import GpuJpegs

logger = logging.getLogger(__name__)
LEAST_COSINE = 0.99
"""With the descriptor of the first time. A GPU's batches differ by less than 1e-3, another picture by far more."""
_SIDE = 256
Prove = Callable[[], str]
"""Returns why a known good picture fails, "" if it does not."""


class GoodTask(NamedTuple):
    """A known good picture as a task, see `describe.source.Task`; its result is float16 (n, d)."""

    file: bytes
    packed: bool = False

    def opened(self) -> AbstractContextManager[Fetched]:
        """Return the picture."""
        return nullcontext(Fetched(b"", self.file))

    def check(self, media: Media) -> None:
        """Take it."""

    def check_end(self) -> None:
        """Take it."""

    def keep(self, jpeg: bytes, sha256: bytes) -> str:
        """Store nothing."""
        del jpeg, sha256
        return ""

    def keep_pack(self, pack: bytes, sha256: bytes) -> None:
        """Store nothing."""

    def result(self, description: Description) -> npt.NDArray[np.float16]:
        """Return the descriptors."""
        return description.vectors


class GoodSource:
    """It as a source, see `describe.source.Source`."""

    traceparent = sender = owner = ""
    small, gone = True, False

    def __init__(self, file: bytes) -> None:
        self.task = GoodTask(file)


Describe = Callable[[bytes], Descriptors]
"""Returns the descriptors, float32 (n, d), of a file."""


def prove_by(describe: Describe) -> Callable[[Describe], str]:
    """Return what has a rendered picture described again, and compares it with the first time, which is now.

    Raises:
        Exception: it fails now.
    """
    file = _render()
    first = describe(file)

    def prove(again: Describe) -> str:
        try:
            cosine = float(np.einsum("nd,nd->n", first, again(file)).min())
        except Exception as error:
            logger.warning("a known good picture fails", exc_info=True)
            return f"{type(error).__name__}: {error}"
        return "" if cosine >= LEAST_COSINE else f"its descriptor is another, cosine {cosine:.3f} with the first one"

    return prove


def prove_with(embedder: Embedder, checkpoint: Checkpoint | None = None, jpegs: GpuJpegs | None = None) -> Prove:
    """Return what decodes and embeds a rendered picture again and compares it with the first time, which is now.

    The first time also loads decoders and runs the network, which takes seconds.

    Args:
        checkpoint: of the embedder; its check pictures are described again, too.
        jpegs: a GPU's decoder, which decodes it first.
    Raises:
        Exception: it fails now.
    """
    prove = prove_by(lambda file: _describe(file, embedder, jpegs))

    def describe(file: bytes) -> Descriptors:
        found = _describe(file, embedder, jpegs)
        if checkpoint is not None:
            check_embedder(embedder, checkpoint)
        return found

    return lambda: prove(describe)


def _render() -> bytes:
    """Return a JPEG with gradients, edges and a disc."""
    y, x = np.mgrid[:_SIDE, :_SIDE]
    disc = (x - 90) ** 2 + (y - 150) ** 2 < 50**2
    stripes = ((x + 2 * y) // 24) % 2 * 90
    picture = np.stack([x, np.where(disc, 255 - y, stripes + 60), np.where(disc, 30, 255 - x)], axis=2)
    file = io.BytesIO()
    Image.fromarray(picture.astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _describe(file: bytes, embedder: Embedder, jpegs: GpuJpegs | None) -> Descriptors:
    """Return the descriptors, float32 (n, d), of a file by each decoder that there is."""
    limits = Limits()
    by_cpu = [frame.tile for frame in open_media(file, embedder.size, limits).frames]
    by_gpu = []
    if jpegs is not None:
        [picture] = jpegs.open([file], embedder.size, limits)
        media = open_media(file, embedder.size, limits, decoded=picture)
        by_gpu = [frame.tile for frame in media.frames]
    vectors: Descriptors = embedder.embed(np.stack(by_cpu + by_gpu)).vectors
    return vectors
