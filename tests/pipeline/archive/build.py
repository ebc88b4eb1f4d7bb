"""Descriptions and rows with some value in every field."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from neardup.pipeline.archive.conditions import Conditions
from neardup.pipeline.archive.row import Row
from neardup.pipeline.describe.description import Description
from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.types import PLAIN, Attachment, Box, Descriptors, Extras, Kind, Limits

DIMENSION = 4
CONDITIONS = Conditions(
    space="s-1", dimension=DIMENSION, sample_fps=2.0, regions="boxes", limits=Limits(), thumbnail_side=320, packed=True
)


def a_description(count: int = 1, boxes: tuple[Box | None, ...] | None = None, similar: bool = True) -> Description:
    """Return a film of `count` descriptors, or an image of one."""
    random = np.random.default_rng(count)
    vectors = random.normal(size=(count, DIMENSION)).astype(np.float32)
    mean = random.normal(size=3).astype(np.float32)
    return Description(
        kind=Kind.IMAGE if count == 1 else Kind.VIDEO,
        format="JPEG" if count == 1 else "mov,mp4",
        sha256=hashlib.sha256(b"%d" % count).digest(),
        pixels_digest=b"pixels%d" % count,
        width=640,
        height=481,
        seconds=count / 3,
        extras=Extras(attachments=(Attachment.SOUND,), pages=2, bits=10, grey=True, sound=b"\x00\xff\xfe"),
        thumbnail="",
        pts=np.arange(count) / 3,
        vectors=(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("<f2"),
        hashes=random.integers(0, 256, (count, 32)).astype(np.uint8),
        detail=random.integers(0, 101, count).astype(np.uint8),
        boxes=boxes or (None,) * count,
        similar=mean / np.linalg.norm(mean) if similar else None,
        similar_space="similar-1" if similar else "",
    )


def an_image(name: str, seconds: int, vectors: Descriptors) -> Row:
    """Return an image with these descriptors; its pictures are named by its id."""
    sha256 = hashlib.sha256(name.encode()).digest()
    description = replace(
        a_description(similar=False),
        sha256=sha256,
        pixels_digest=b"",
        extras=PLAIN,
        vectors=vectors.astype("<f2"),
        detail=np.array([50], np.uint8),
    )
    pictures = b"jpeg of " + name.encode(), b"pack of " + name.encode()
    return Row(name, f"file:///x/{name}", name, seconds * 10**9, 7, sha256, description, None, *pictures)


def rows() -> list[Row]:
    """Return in order two that failed, an image, a film of several records with boxes, one without a similar head."""
    film = a_description(600, (None,) * 300 + ((0.1, 0.2, 0.7, 1.0), (0.0, 0.0, 1.0, 1.0)) + (None,) * 298)
    return [
        Row("a/4.jpg", "file:///x/a/4.jpg", "x/a/4\udcff.jpg", 5, 0, error=InvalidFrame(Reason.EMPTY, "no\udcff")),
        Row("a/5.jpg", "file:///x/a/5.jpg", "x/a/5.jpg", 6, 9, b"\x07" * 32, error=InvalidFrame(Reason.VANISHED, "")),
        _row("a/1.jpg", a_description()),
        _row("a/2.mp4", film),
        _row("b/3.jpg", a_description(3, similar=False), time_ns=None, size=None),
    ]  # fmt: skip


def _row(
    id: str, description: Description, time_ns: int | None = 1_700_000_000_123_456_789, size: int | None = 7
) -> Row:
    return Row(
        id, f"file:///x/{id}", f"x/{id}", time_ns, size, description.sha256, description, None, b"jpeg", b"pack"
    )  # fmt: skip
