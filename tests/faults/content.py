"""What schedules send, by name: `picture:7:2` is edit 2 of picture 7, `clip:1:0`, `bad:truncated`, `row:12:1`.

The same name is the same bytes. Edits of one picture or clip are near copies of each other, other numbers are not
alike: which items are copies follows from names alone. A row is a record of the log without media, to fill an index.
"""

from __future__ import annotations

import io
from functools import cache

import av
import numpy as np
from PIL import ImageEnhance

from neardup.pipeline.log.records import Described, pack_hashes, pack_vectors
from neardup.pipeline.types import Descriptors
from tests.pipeline.scan.build import CELLS, a_picture

EDITS = 5
BAD = {
    "empty": "empty",
    "words": "format",
    "truncated": "truncated",
    "key": "schema",
    "bank": "schema",
    "forbidden": "forbidden",
    "gone": "fetch",
}
"""Bad content, and the reason that its dead letter must give."""
SHARPEST, OTHERS = 0.95, 0.7
"""Cosines: copies are closer than the first, whatever else there is is farther than the second."""
READABLE = "/neardup-faults"
"""The folder that workers may read; there is none."""
_CLIP_SEEDS = 10_000
_D = CELLS * CELLS


def same_picture(name: str) -> str:
    """Return what all copies have in common: the name without the edit."""
    return name.rpartition(":")[0]


def is_bad(name: str) -> bool:
    """Return whether the item must end among the dead letters."""
    return name.startswith("bad:")


def payload(name: str) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Return value and headers of the record in `media`."""
    kind, what, *edit = name.split(":")
    if kind == "picture":
        return _picture(int(what), int(edit[0])), []
    if kind == "clip":
        return _clip(int(what), int(edit[0])), []
    return _bad(what)


def row(name: str, item: str) -> Described:
    """Return the record of a row under this id."""
    _, number, edit = name.split(":")
    return Described(
        id=item,
        sha256=name.encode().ljust(32),
        dimension=_D,
        pts=(0.0,),
        vectors=pack_vectors(_vector(int(number), int(edit))),
        hashes=pack_hashes(np.zeros((1, 32), np.uint8)),
        detail=b"\x32",
    )


def _vector(number: int, edit: int) -> Descriptors:
    """Return a unit vector (1, d); edits lie at a cosine of 0.99 to the vector itself, at 0.98 to each other."""
    found = np.random.default_rng(number).normal(size=_D)
    found /= np.linalg.norm(found)
    if edit:
        noise = np.random.default_rng([number, edit]).normal(size=_D)
        noise -= noise @ found * found
        found = 0.99 * found + np.sqrt(1 - 0.99**2) * noise / np.linalg.norm(noise)
    return np.asarray([found], dtype=np.float32)


@cache
def _picture(number: int, edit: int) -> bytes:
    image = a_picture(number, side=(64, 96, 128, 64, 80)[edit])
    if edit == 3:
        image = ImageEnhance.Brightness(image).enhance(0.8)
    file = io.BytesIO()
    if edit in (0, 2):
        image.save(file, "PNG")
    else:
        image.save(file, "JPEG", quality=90)
    return file.getvalue()


@cache
def _clip(number: int, edit: int) -> bytes:
    """Return four pictures for one second each; edits differ in their length by some frames."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width = stream.height = 64
        stream.bit_rate = 1_000_000
        for part in range(4):
            picture = a_picture(_CLIP_SEEDS + 4 * number + part)
            for _ in range(8 + (edit if part == 3 else 0)):
                container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode(None))
    return file.getvalue()


def _bad(what: str) -> tuple[bytes, list[tuple[str, bytes]]]:
    picture, uris = _picture(0, 1), [("content-type", b"text/uri-list")]
    return {
        "empty": (b"", []),
        "words": (b"these are words, no picture at all", []),
        "truncated": (picture[: len(picture) // 3], []),
        "key": (picture, []),  # under a key that is no id
        "bank": (picture, [("bank", b"a b")]),
        "forbidden": (b"file:///etc/passwd", uris),
        "gone": (f"file://{READABLE}/none".encode(), uris),
    }[what]
