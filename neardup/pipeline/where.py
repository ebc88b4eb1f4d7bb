"""Where two items match, and what the match is to the two of them.

Both are values that every reader of a match shares: `decide` makes them, the log carries them, reports, tables, the API
and the pages show them. The decision stands beside them: a pair that is `distinct` may have a place, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import Enum
from typing import TypeAlias

import msgspec

from neardup.pipeline.types import Box, Span

Transform: TypeAlias = tuple[float, ...]
"""A matrix, row by row, that takes a point of the query (x, y, 1) to the reference, both in shares of width and height:
2 × 3 (affine, six numbers) or 3 × 3 (a homography, nine)."""


class WhereKind(str, Enum):
    """How much of two items matches."""

    WHOLE = "whole"
    """Both as a whole; a border may be left out, and two films may begin at different seconds."""
    PART = "part"
    """Boxes or spans say which part of the one, or of both."""
    NOTHING = ""
    """Nothing was found that both show; a reviewer may have matched them all the same."""


class Relation(str, Enum):
    """What the query is to the reference."""

    COPY = "copy"
    VARIANT = "variant"
    """The same template or scene with other content, such as two receipts of one shop; its decision is `distinct`."""


class Where(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The place of a match in both items. On the wire, what is empty is left out.

    Attributes:
        query_box, reference_box: the part of each picture that matches; None is all of it.
        spans: matched stretches in seconds, in order of the query's time; empty between two images.
        transform: from the query to the reference, where a proof found one.
    Raises:
        ValueError: nothing with a place; a part without one; an impossible box, span or transform.
    """

    kind: WhereKind
    query_box: Box | None = None
    reference_box: Box | None = None
    spans: tuple[Span, ...] = ()
    transform: Transform | None = None

    def __post_init__(self) -> None:
        for fault in self._faults():
            raise ValueError(f"{fault}, in {self}")

    @property
    def whole(self) -> bool:
        """Whether both match as a whole."""
        return self.kind is WhereKind.WHOLE

    def _faults(self) -> Iterator[str]:
        placed = bool(self.query_box or self.reference_box or self.spans)
        if self.kind is WhereKind.PART and not placed:
            yield "a part has a box or a span"
        if self.kind is WhereKind.NOTHING and (placed or self.transform):
            yield "what matches nowhere has no box, span or transform"
        for box in (self.query_box, self.reference_box):
            if box and not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
                yield f"box {box} is not left, top, right and bottom as shares from 0 to 1"
        for one in self.spans:
            if not (one.query_start <= one.query_end and one.reference_start <= one.reference_end):
                yield f"{one} ends before it begins"
        if self.transform is not None and not (
            len(self.transform) in (6, 9) and all(map(math.isfinite, self.transform))
        ):
            yield f"transform {self.transform} is not six or nine finite numbers"


WHOLE = Where(kind=WhereKind.WHOLE)
NOWHERE = Where(kind=WhereKind.NOTHING)


def located(whole: bool, boxes: tuple[Box | None, Box | None] = (None, None), spans: tuple[Span, ...] = ()) -> Where:
    """Return both as a whole, or the part that boxes of query and reference, or spans, give; without any, nowhere."""
    placed = bool(any(boxes) or spans)
    if not placed:
        return WHOLE if whole else NOWHERE
    kind = WhereKind.WHOLE if whole else WhereKind.PART
    return Where(kind=kind, query_box=boxes[0], reference_box=boxes[1], spans=spans)
