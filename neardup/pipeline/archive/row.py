"""An item of an archive, and its row in Parquet: from the row comes exactly the description that was written.

Descriptors, hashes and boxes stand there as the bytes that the log's records carry, so `Row.records` returns the very
records that the item has on the stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from neardup.pipeline.describe.codec import to_records
from neardup.pipeline.describe.description import Description
from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.log.records import FULL, Described, pack_boxes, pack_vectors
from neardup.pipeline.report.names import raw, readable
from neardup.pipeline.types import Box, Extras, Kind

_SHA256_BYTES, _HASH_BYTES, _BOX_BYTES = 32, 32, 8
PICTURES = ("thumbnail", "pack")
"""Columns that take most of a file, and that only those read who need them."""
_decode_extras = msgspec.json.Decoder(Extras).decode


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """An item, described or not.

    Attributes:
        uri: where its content lies; that of a member of a tar, or of a row of Parquet, ends in # and its name there.
        path: as the user named the source, joined with what was found below it; may hold surrogate escapes.
        time_ns: when the content was made, as far as the source knows, in nanoseconds since 1970; of a file the time
            of modification.
        size: bytes, where the listing knew.
        sha256: of the content; b"" where it could not be had.
        error: why there is no description; None if there is one.
        thumbnail: JPEG. pack: see `prove.pack`. b"" where there is none, or it was not read.
    """

    id: str
    uri: str
    path: str
    time_ns: int | None = None
    size: int | None = None
    sha256: bytes = b""
    description: Description | None = None
    error: InvalidFrame | None = None
    thumbnail: bytes = b""
    pack: bytes = b""

    def records(self) -> list[Described]:
        """Return the item as records of the log, with its id alone of what the stream adds; none of an error."""
        parts = [] if self.description is None else to_records(self.description)
        return [msgspec.structs.replace(part, id=self.id) for part in parts]


def make_schema(dimension: int) -> pa.Schema:
    """Return the columns of a shard of descriptors with d dimensions."""
    word = pa.dictionary(pa.int32(), pa.string())
    return pa.schema([
        pa.field("id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("path", pa.binary(), nullable=False),
        pa.field("time_ns", pa.int64()),
        pa.field("size", pa.int64()),
        pa.field("sha256", pa.binary(_SHA256_BYTES)),
        pa.field("reason", word),
        pa.field("detail", pa.string()),
        pa.field("kind", word),
        pa.field("format", word),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("seconds", pa.float64()),
        pa.field("pixels_digest", pa.binary()),
        pa.field("extras", pa.string()),
        pa.field("pts", pa.list_(pa.float64())),
        pa.field("descriptors", pa.list_(pa.binary(2 * dimension))),
        pa.field("hashes", pa.list_(pa.binary(_HASH_BYTES))),
        pa.field("detail_levels", pa.binary()),
        pa.field("boxes", pa.list_(pa.binary(_BOX_BYTES))),
        pa.field("similar", pa.binary()),
        pa.field("similar_space", word),
        pa.field("thumbnail", pa.binary()),
        pa.field("pack", pa.binary()),
    ])  # fmt: skip


def to_columns(row: Row) -> dict[str, Any]:
    """Return the values of a row by column."""
    values: dict[str, Any] = {
        "id": row.id, "uri": row.uri, "path": raw(row.path), "time_ns": row.time_ns, "size": row.size,
        "sha256": row.sha256 or None,
    }  # fmt: skip
    if row.error is not None:
        return values | {"reason": row.error.reason.value, "detail": readable(row.error.detail)}
    one = row.description
    assert one is not None
    return values | {
        "kind": one.kind.value,
        "format": one.format,
        "width": one.width,
        "height": one.height,
        "seconds": one.seconds,
        "pixels_digest": one.pixels_digest,
        "extras": msgspec.json.encode(one.extras).decode(),
        "pts": one.pts.tolist(),
        "descriptors": [vector.tobytes() for vector in one.vectors],
        "hashes": [hash.tobytes() for hash in one.hashes],
        "detail_levels": one.detail.tobytes(),
        "boxes": None if not any(one.boxes) else [None if box is None else pack_boxes([box]) for box in one.boxes],
        "similar": None if one.similar is None else pack_vectors(one.similar[None]),
        "similar_space": one.similar_space or None,
        "thumbnail": row.thumbnail or None,
        "pack": row.pack or None,
    }


def from_columns(values: Mapping[str, Any]) -> Row:
    """Return the row of which these are the values; raises ValueError for what `to_columns` does not return."""
    reason = values["reason"]
    return Row(
        id=values["id"],
        uri=values["uri"],
        path=values["path"].decode("utf-8", "surrogateescape"),
        time_ns=values["time_ns"],
        size=values["size"],
        sha256=values["sha256"] or b"",
        description=_description(values) if reason is None else None,
        error=None if reason is None else InvalidFrame(Reason(reason), values["detail"]),
        thumbnail=values.get("thumbnail") or b"",
        pack=values.get("pack") or b"",
    )


def _description(values: Mapping[str, Any]) -> Description:
    count = len(values["pts"])
    similar = values["similar"]
    return Description(
        kind=Kind(values["kind"]),
        format=values["format"],
        sha256=values["sha256"],
        pixels_digest=values["pixels_digest"],
        width=values["width"],
        height=values["height"],
        seconds=values["seconds"],
        extras=_decode_extras(values["extras"]),
        thumbnail="",
        pts=np.array(values["pts"], np.float64),
        vectors=_rows(values["descriptors"], "<f2", count),
        hashes=_rows(values["hashes"], "u1", count),
        detail=np.frombuffer(values["detail_levels"], np.uint8),
        boxes=(None,) * count if values["boxes"] is None else tuple(map(_box, values["boxes"])),
        similar=None if similar is None else np.frombuffer(similar, "<f2").astype(np.float32),
        similar_space=values["similar_space"] or "",
    )


def _rows(values: list[bytes], dtype: str, count: int) -> npt.NDArray[Any]:
    return np.frombuffer(b"".join(values), dtype).reshape(count, -1)


def _box(packed: bytes | None) -> Box | None:
    if packed is None:
        return None
    left, top, right, bottom = (np.frombuffer(packed, "<u2") / FULL).tolist()
    return left, top, right, bottom
