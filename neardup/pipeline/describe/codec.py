"""Descriptions as records of the log: the one place where arrays become the wire's structs."""

from __future__ import annotations

from neardup.pipeline.describe.description import Description
from neardup.pipeline.log.records import Described, pack_boxes, pack_hashes, pack_vectors

MAX_DESCRIPTORS_PER_PART = 256


def to_records(description: Description) -> list[Described]:
    """Return an item as records without id, of at most MAX_DESCRIPTORS_PER_PART descriptors each, in order."""
    parts: list[Described] = []
    count, similar = len(description.pts), description.similar
    for start in range(0, count, MAX_DESCRIPTORS_PER_PART):
        part = slice(start, start + MAX_DESCRIPTORS_PER_PART)
        last = start + MAX_DESCRIPTORS_PER_PART >= count
        mean = pack_vectors(similar[None]) if last and similar is not None else b""
        record = Described(
            id="",
            part=len(parts),
            last=last,
            space=description.space,
            kind=description.kind,
            sha256=description.sha256,
            pixels_digest=description.pixels_digest,
            width=description.width,
            height=description.height,
            seconds=description.seconds,
            dimension=description.vectors.shape[1],
            pts=tuple(description.pts[part].tolist()),
            vectors=description.vectors[part].tobytes(),
            hashes=pack_hashes(description.hashes[part]),
            detail=description.detail[part].tobytes(),
            boxes=pack_boxes(description.boxes[part]),
            similar=mean,
            similar_space=description.similar_space if mean else "",
            thumbnail="" if parts else description.thumbnail,
            extras=description.extras,
        )
        parts.append(record)
    return parts
