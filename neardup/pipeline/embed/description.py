"""What the network says of items: their frames embedded in batches, and cut into records."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from neardup.pipeline.embed.embedder import Embedder
from neardup.pipeline.errors import InvalidFrame, PipelineError, Reason
from neardup.pipeline.log.records import Described, pack_boxes, pack_hashes, pack_vectors
from neardup.pipeline.types import Box, Frame, Media

logger = logging.getLogger(__name__)
MAX_DESCRIPTORS_PER_PART = 256


@dataclass(slots=True, eq=False)
class Description:
    """One item, growing with each frame that was embedded; of each frame the bytes that a `Described` carries.

    Attributes:
        similar: sum of what the similar head says of the whole pictures, float32 (s,); None without that head.
        similar_space: of it.
        error: MODEL, the network fails on one of the frames.
    """

    pts: list[float] = field(default_factory=list)
    vectors: list[bytes] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)
    detail: list[int] = field(default_factory=list)
    boxes: list[Box | None] = field(default_factory=list)
    similar: npt.NDArray[np.float32] | None = None
    similar_space: str = ""
    error: InvalidFrame | None = None

    def parts(self, media: Media, sha256: bytes, thumbnail: str = "") -> list[Described]:
        """Return the item as records without id, of at most MAX_DESCRIPTORS_PER_PART descriptors each."""
        parts: list[Described] = []
        extras = media.all_extras()
        for start in range(0, len(self.pts), MAX_DESCRIPTORS_PER_PART):
            part = slice(start, start + MAX_DESCRIPTORS_PER_PART)
            last = start + MAX_DESCRIPTORS_PER_PART >= len(self.pts)
            similar = self._mean_similar() if last else b""
            record = Described(
                id="",
                part=len(parts),
                last=last,
                kind=media.kind,
                sha256=sha256,
                pixels_digest=media.pixels_digest,
                width=media.width,
                height=media.height,
                seconds=max(media.seconds, self.pts[-1]),
                dimension=len(self.vectors[0]) // 2,
                pts=tuple(self.pts[part]),
                vectors=b"".join(self.vectors[part]),
                hashes=b"".join(self.hashes[part]),
                detail=bytes(self.detail[part]),
                boxes=pack_boxes(self.boxes[part]),
                similar=similar,
                similar_space=self.similar_space if similar else "",
                thumbnail="" if parts else thumbnail,
                extras=extras,
            )
            parts.append(record)
        return parts

    def add_similar(self, vector: npt.NDArray[np.float32], space: str) -> None:
        """Take in what the similar head says of one more whole picture, float32 (s,)."""
        self.similar = vector if self.similar is None else self.similar + vector
        self.similar_space = space

    def _mean_similar(self) -> bytes:
        length = 0.0 if self.similar is None else float(np.linalg.norm(self.similar))
        if self.similar is None or length == 0.0:  # frames that are opposite cancel each other
            return b""
        return pack_vectors(self.similar[None] / np.float32(length))


Batch = Sequence[tuple[Description, Frame]]
"""Frames, each with the item that it belongs to; those of one item in order of time."""


def embed(embedder: Embedder, batch: Batch) -> None:
    """Add frames to their items. Raises whatever the network fails with; nothing was added then."""
    if not batch:
        return
    embedded = embedder.embed(np.stack([frame.tile for _, frame in batch]))
    vectors, hashes = pack_vectors(embedded.vectors), pack_hashes(embedded.hashes)
    width, bits = len(vectors) // len(batch), len(hashes) // len(batch)
    for row, ((item, frame), detail) in enumerate(zip(batch, embedded.detail.tolist(), strict=True)):
        item.pts.append(frame.pts)
        item.vectors.append(vectors[row * width : (row + 1) * width])
        item.hashes.append(hashes[row * bits : (row + 1) * bits])
        item.detail.append(detail)
        item.boxes.append(frame.box)
        if embedded.similar is not None and frame.box is None:
            item.add_similar(embedded.similar[row], embedder.similar_space)


def embed_each(embedder: Embedder, batch: Batch) -> None:
    """As `embed`; a batch that fails is halved until the frame that it fails on stands alone, which costs its item.

    Raises:
        DependencyError: not a frame failed but something outside, the GPU for one.
        PipelineError: the network fails on a picture that is good, too: this process is broken, and must end.
    """
    if not batch:
        return
    try:
        embed(embedder, batch)
    except PipelineError:
        raise
    except Exception as error:
        logger.warning("network failed on a batch frames=%d", len(batch), exc_info=True)
        if len(batch) == 1:
            _check(embedder)
            batch[0][0].error = InvalidFrame(Reason.MODEL, f"{type(error).__name__}: {error}")
            return
        middle = len(batch) // 2
        embed_each(embedder, batch[:middle])
        embed_each(embedder, batch[middle:])


def _check(embedder: Embedder) -> None:
    """Raise PipelineError if the network fails on a picture that is good: grey, brighter to one side."""
    row = np.linspace(64, 192, embedder.size).astype(np.uint8)
    try:
        embedder.embed(np.broadcast_to(row[:, None], (1, embedder.size, embedder.size, 3)).copy())
    except PipelineError:
        raise
    except Exception as error:
        words = f"a picture that is known to be good fails, too: {type(error).__name__}: {error}"
        raise PipelineError(f"the network is broken: {words}") from error
