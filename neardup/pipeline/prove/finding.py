"""What a proof found, as decisions, records and reports carry it; nothing here needs the pictures."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, TypeAlias

import msgspec

from neardup.pipeline.types import Box
from neardup.pipeline.where import Transform

BoxPair: TypeAlias = tuple[Box, Box]
"""A part of the query and the part of the reference that it may show."""


class Block(IntEnum):
    """What one block of the overlap shows."""

    EMPTY = 0
    """Neither has texture, or they do not overlap here."""
    AGREES = 1
    DIFFERS = 2
    """Both have texture, and not the same."""
    QUERY_ONLY = 3
    REFERENCE_ONLY = 4


class Finding(str, Enum):
    """What two pictures are to each other, as far as it is proved."""

    COPY = "copy"
    VARIANT = "variant"
    UNPROVED = "unproved"


class Ground(str, Enum):
    """Why."""

    AGREES = "agrees"
    OTHER_WRITING = "other-writing"
    """Writing stands in the place of other writing."""
    MOTION = "motion"
    """The same scene, and something in it moved, or the camera did."""
    CHANGED_SCENE = "changed-scene"
    """What differs is of one kind on both sides: a part of the scene is other."""
    TEMPLATE = "template"
    """They agree in one part only, which stands at the same place in both."""
    NO_TRANSFORM = "no-transform"
    FEW_POINTS = "few-points"
    """Too few key points support the transform."""
    LITTLE_AGREES = "little-agrees"
    REPETITIVE = "repetitive"
    """Stripes, lattices: what agrees would do so anywhere."""
    ILLEGIBLE = "illegible"
    """Too small to tell a document from another one of its layout, or a caption from another one."""
    WRITTEN_IN = "written-in"
    """A document that has writing or lines which the other lacks."""


class BlockMap(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The blocks that were compared, for people.

    Attributes:
        columns: of blocks; rows follow from the number of blocks.
        blocks: a digit for each, row by row: its `Block`.
        of_query: whether rows and columns are those of the query; else of the reference. The other lies below them by
            the transform.
        box: the part of that picture that the blocks divide.
    """

    columns: int
    blocks: str
    of_query: bool = False
    box: Box = (0.0, 0.0, 1.0, 1.0)


class ProofSummary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a proof says of a match. The transform is in `Where`.

    Attributes:
        stage: 0 if the two were laid over each other as they are or by boxes, 1 if by key points.
        inliers: key points that the transform explains; 0 in stage 0.
        agreeing: of the blocks with texture in either, the share that shows the same, 0 to 1.
        query_extra, reference_extra: the share of them where a side has what the other lacks.
        query_second, reference_second: of the frames that were compared, where one is of a video.
        map: where they agree; None where nothing was laid over the other.
    """

    finding: Finding
    ground: Ground
    stage: int = 0
    inliers: int = 0
    agreeing: float = 0.0
    query_extra: float = 0.0
    reference_extra: float = 0.0
    query_second: float = 0.0
    reference_second: float = 0.0
    map: BlockMap | None = None

    def in_full(self) -> dict[str, Any]:
        """Return all fields for JSON that people read."""
        return msgspec.structs.asdict(self) | {"map": None if self.map is None else msgspec.structs.asdict(self.map)}


@dataclass(frozen=True, slots=True)
class Proved:
    """What was proved of two items.

    Attributes:
        transform: nine numbers, see `Proof`; None where nothing lays one over the other.
        query_box, reference_box, query_share, reference_share, bordered: see `Proof`; all of both where there is none.
    """

    summary: ProofSummary
    transform: Transform | None = None
    query_box: Box = (0.0, 0.0, 1.0, 1.0)
    reference_box: Box = (0.0, 0.0, 1.0, 1.0)
    query_share: float = 1.0
    reference_share: float = 1.0
    bordered: tuple[bool, bool] = (False, False)

    @property
    def finding(self) -> Finding:
        """What the two are to each other."""
        return self.summary.finding
