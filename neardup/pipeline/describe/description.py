"""What the network says of items: frames embedded in batches, gathered by item until each has its `Description`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from neardup.pipeline.embed.embedder import Embedder
from neardup.pipeline.errors import InvalidFrame, PipelineError, Reason, for_want_of_memory
from neardup.pipeline.types import Box, Extras, Frame, Hashes, Kind, Media

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Description:
    """An item as it is compared: n descriptors, one for each frame and each region, and what its file holds.

    Attributes:
        sha256: of the content. pixels_digest, width, height, seconds, extras: see `Media`; `seconds` reaches at least
            to the last frame.
        thumbnail: where it lies, "" without one.
        pts: float64 (n,), seconds from the start.
        vectors: float16 (n, d), rows of unit length, to its precision.
        hashes: uint8 (n, 32). detail: uint8 (n,), 0 to 100.
        boxes: n parts of the picture; None is all of it.
        similar: float32 (s,), the mean over the whole pictures, of unit length; None without that head, or where frames
            cancel each other. similar_space: of it.
        space: of the vectors.
    """

    kind: Kind
    format: str
    sha256: bytes
    pixels_digest: bytes
    width: int
    height: int
    seconds: float
    extras: Extras
    thumbnail: str
    pts: npt.NDArray[np.float64]
    vectors: npt.NDArray[np.float16]
    hashes: Hashes
    detail: npt.NDArray[np.uint8]
    boxes: tuple[Box | None, ...]
    similar: npt.NDArray[np.float32] | None = None
    similar_space: str = ""
    space: str = ""


@dataclass(slots=True, eq=False)
class EmbeddedFrames:
    """The frames of one item that were embedded so far, in order of time.

    Attributes:
        similar: sum of what the similar head says of the whole pictures, float32 (s,).
        space: of the vectors.
        error: MODEL, the network fails on one of the frames; KILLED, for want of memory.
    """

    pts: list[float] = field(default_factory=list)
    vectors: list[npt.NDArray[np.float16]] = field(default_factory=list)
    hashes: list[Hashes] = field(default_factory=list)
    detail: list[int] = field(default_factory=list)
    boxes: list[Box | None] = field(default_factory=list)
    similar: npt.NDArray[np.float32] | None = None
    similar_space: str = ""
    space: str = ""
    error: InvalidFrame | None = None

    def add_similar(self, vector: npt.NDArray[np.float32], space: str) -> None:
        """Take in what the similar head says of one more whole picture, float32 (s,)."""
        self.similar = vector if self.similar is None else self.similar + vector
        self.similar_space = space

    def described(self, media: Media, sha256: bytes, thumbnail: str = "") -> Description:
        """Return the item of which these are all frames, at least one."""
        similar = self._mean_similar()
        return Description(
            kind=media.kind,
            format=media.format,
            sha256=sha256,
            pixels_digest=media.pixels_digest,
            width=media.width,
            height=media.height,
            seconds=max(media.seconds, self.pts[-1]),
            extras=media.all_extras(),
            thumbnail=thumbnail,
            pts=np.array(self.pts, np.float64),
            vectors=np.stack(self.vectors),
            hashes=np.stack(self.hashes),
            detail=np.array(self.detail, np.uint8),
            boxes=tuple(self.boxes),
            similar=similar,
            similar_space="" if similar is None else self.similar_space,
            space=self.space,
        )

    def _mean_similar(self) -> npt.NDArray[np.float32] | None:
        if self.similar is None:
            return None
        length = float(np.linalg.norm(self.similar))
        return self.similar / np.float32(length) if length else None  # frames that are opposite cancel each other


Batch = Sequence[tuple[EmbeddedFrames, Frame]]
"""Frames, each with those of its item before it."""


def embed(embedder: Embedder, batch: Batch) -> None:
    """Add frames to their items. Raises whatever the network fails with; nothing was added then."""
    if not batch:
        return
    embedded = embedder.embed(np.stack([frame.tile for _, frame in batch]))
    vectors = embedded.vectors.astype("<f2")
    for row, ((item, frame), detail) in enumerate(zip(batch, embedded.detail.tolist(), strict=True)):
        item.space = embedder.space
        item.pts.append(frame.pts)
        item.vectors.append(vectors[row])
        item.hashes.append(embedded.hashes[row])
        item.detail.append(detail)
        item.boxes.append(frame.box)
        if embedded.similar is not None and frame.box is None:
            item.add_similar(embedded.similar[row], embedder.similar_space)


def embed_each(embedder: Embedder, batch: Batch, starved: Callable[[], object] = lambda: None) -> None:
    """As `embed`; a batch that fails is halved until the frame that it fails on stands alone, which costs its item.

    Args:
        starved: called where memory does not suffice for a single frame.
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
            if for_want_of_memory(error):  # which says nothing of the network
                starved()
                batch[0][0].error = InvalidFrame(Reason.KILLED, "memory did not suffice to embed it")
                return
            _check(embedder)
            batch[0][0].error = InvalidFrame(Reason.MODEL, f"{type(error).__name__}: {error}")
            return
    else:
        return
    # outside of `except`: what fails in a half is not for what the whole failed for
    middle = len(batch) // 2
    embed_each(embedder, batch[:middle], starved)
    embed_each(embedder, batch[middle:], starved)


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
