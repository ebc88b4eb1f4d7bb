"""What answers look like: the same words as in the records, see `pipeline.messages`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from neardup.pipeline.log.changes import Action
from neardup.pipeline.log.records import Described, Verdict
from neardup.pipeline.match.data.items import Item
from neardup.pipeline.prove.finding import Finding, Ground
from neardup.pipeline.store.interface import DeadLetter
from neardup.pipeline.types import Box, Decision, Doubt, Exact, Kind
from neardup.pipeline.where import Relation, Transform, WhereKind

Distance = Annotated[float, Field(ge=0, le=4.001, description="squared Euclidean, 0 same, 4 opposite")]
Probability = Annotated[float, BeforeValidator(lambda value: min(max(value, 0.0), 1.0)), Field(ge=0, le=1)]
_BOX = "left, top, right, bottom as shares of width and height"
EXAMPLE_COMPARISON: dict[str, Any] = {
    "decision": "duplicate",
    "exact": "",
    "distance": 0.12,
    "evidence": 0.93,
    "probability": 0.999,
    "where": {
        "kind": "part",
        "query_box": [0.1, 0.1, 0.6, 0.5],
        "reference_box": None,
        "spans": [],
        "transform": None,
    },
    "relation": "copy",
    "doubt": "",
    "proof": {
        "finding": "copy",
        "ground": "agrees",
        "stage": 1,
        "inliers": 143,
        "agreeing": 0.97,
        "query_extra": 0.03,
        "reference_extra": 0.0,
        "query_second": 0.0,
        "reference_second": 0.0,
        "map": {"columns": 3, "blocks": "111113", "of_query": False, "box": [0.0, 0.0, 1.0, 1.0]},
    },
}
EXAMPLE_MATCH: dict[str, Any] = {
    "reference": "cat-1",
    "bank": "seen",
    **EXAMPLE_COMPARISON,
    "identical_to": "",
    "action": "flag",
    "silenced": False,
    "head": "",
}
EXAMPLE_DEAD_LETTER: dict[str, Any] = {
    "reason": "decode",
    "detail": "the file ends early",
    "at_ms": 1798761600000,
}


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class SpanBody(_Model):
    """A matched stretch of two videos, in seconds; 0 to 0 on the side that is an image."""

    query_start: float
    query_end: float
    reference_start: float
    reference_end: float
    evidence: float = 0.0
    backwards: bool = Field(False, description="the query shows the stretch from its end to its beginning")


class WhereBody(_Model):
    """Where two match: both as a whole, or the part that boxes or spans give."""

    kind: WhereKind = Field(description="`whole`, `part`, or empty where nothing was found that both show")
    query_box: Box | None = Field(None, description=f"the part of the query that matches: {_BOX}; null is all of it")
    reference_box: Box | None = Field(None, description="the part of the reference that matches")
    spans: list[SpanBody] = Field([], description="matched stretches of videos; empty between two images")
    transform: Transform | None = Field(
        None, description="matrix by rows, 2 × 3 or 3 × 3: from shares of the query to those of the reference"
    )


class BlockMapBody(_Model):
    """The blocks that a proof compared, row by row."""

    columns: int
    blocks: str = Field(
        description="a digit each: 0 nothing to see, 1 agrees, 2 differs, 3 only in the query, 4 only in the reference"
    )
    of_query: bool = Field(description="whether they divide the query; else the reference")
    box: Box = Field(description=f"the part of it that they divide: {_BOX}")


class ProofBody(_Model):
    """What laying the query over the reference showed, by `where.transform`."""

    finding: Finding
    ground: Ground = Field(description="why")
    stage: int = Field(description="0 laid over as they are or by boxes, 1 by key points")
    inliers: int = Field(description="key points that the transform explains, 0 in stage 0")
    agreeing: float = Field(ge=0, le=1, description="of the blocks with texture in either, the share that agrees")
    query_extra: float = Field(ge=0, le=1, description="the share where the query has what the reference lacks")
    reference_extra: float = Field(ge=0, le=1, description="the other way round")
    query_second: float = Field(description="of the frame that was compared, 0 of an image")
    reference_second: float
    map: BlockMapBody | None = Field(description="where they agree; null where nothing was laid over the other")


class ComparisonBody(_Model):
    """What two items have in common."""

    decision: Decision
    exact: Exact = Field(description="identical `bytes` or `pixels`, else empty")
    distance: Distance
    evidence: float = Field(description="what was decided on; higher is more alike")
    probability: Probability = Field(description="that the two show the same picture")
    where: WhereBody
    relation: Relation = Field(
        Relation.COPY, description="`variant`: the same template or scene with other content; it is `distinct`"
    )
    doubt: Doubt = Field(
        Doubt.NO, description="why it is unsure at most: same pictures, but other sound or none; or too pale for white"
    )
    proof: ProofBody | None = Field(
        None, description="what laying one over the other showed; null where that was not tried"
    )


class MatchBody(ComparisonBody):
    """One reference that an item was matched with."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"example": EXAMPLE_MATCH})
    reference: str = Field(description="id of the earlier item: the original of its cluster, or a reference of a bank")
    bank: str = Field(description="the bank that it is of; `seen` is the stream itself")
    identical_to: str = Field(description="id of the item with the same bytes or pixels; empty if there is none")
    action: Action = Field(Action.FLAG, description="of the bank: flag a match, or allow the item")
    silenced: bool = Field(False, description="an allow-list covers it, so it counts for nothing")
    head: str = Field("", description="original that the earlier item stood under by then; empty if itself")


class VerdictBody(_Model):
    """What is said of an item: the decision, and its matches, best first."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "example": {
                "id": "cat-2",
                "decision": "duplicate",
                "running": False,
                "allowed": "",
                "matches": [EXAMPLE_MATCH],
            }
        },
    )
    id: str
    decision: Decision
    running: bool = Field(description="a live video that goes on: matches may come and grow")
    allowed: str = Field(description="the allow-list that it is a duplicate of; empty if none")
    matches: list[MatchBody] = Field(description="of curated banks, then of `seen`; best first within each")


class MediaBody(_Model):
    """What was found in an upload."""

    kind: Kind
    width: int = Field(description="pixels, upright")
    height: int
    seconds: float = Field(description="duration of a video, 0 of an image")
    frames: int = Field(description="pictures that were looked at")
    sha256: str = Field(description="of the content")


class MatchAnswer(_Model):
    """What an upload copies; nothing was taken in."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "example": {
                "decision": "duplicate",
                "original": "cat-1",
                "bank": "seen",
                "exact": "",
                "distance": 0.12,
                "probability": 0.999,
                "allowed": "",
                "matches": [EXAMPLE_MATCH],
                "media": {"kind": "image", "width": 640, "height": 480, "seconds": 0.0, "frames": 1, "sha256": "9f86…"},
                "space": "f00d",
                "offset": 41,
            }
        },
    )
    decision: Decision
    original: str | None = Field(description="the best match, unless the decision is distinct")
    bank: str | None = Field(description="that the best match is of")
    exact: Exact
    distance: Distance | None = Field(description="of the best match")
    probability: float = Field(description="of the best match, 0 without any")
    allowed: str = Field(description="the allow-list that it is a duplicate of, which silences; empty if none")
    matches: list[MatchBody] = Field(
        description="of curated banks, then of `seen`, best first within each; with `all`, also such as are distinct"
    )
    media: MediaBody
    space: str = Field(description="the model and preprocessing that looked")
    offset: int = Field(description="of the log, up to which items were compared with")


class DeadLetterBody(_Model):
    """The newest record of an item that could not be used, where nothing newer is known."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"example": EXAMPLE_DEAD_LETTER})
    reason: str = Field(description="as `neardup dead-letters list` has it")
    detail: str = Field(description="in words")
    at_ms: int = Field(description="when it was put aside, milliseconds since 1970")


class ItemBody(_Model):
    """What is known of an item."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "example": {
                "id": "cat-2",
                "kind": "image",
                "seconds": 0.0,
                "frames": 1,
                "sha256": "9f86…",
                "original": "cat-1",
                "is_original": False,
                "members": 2,
                "thumbnail": "/v1/thumbnails?id=cat-2",
                "banks": ["blocked"],
                "verdict": None,
                "dead_letter": None,
            }
        },
    )
    id: str
    kind: Kind
    seconds: float
    frames: int
    sha256: str
    original: str = Field(description="the head of its cluster; its own id if it is one")
    is_original: bool
    members: int = Field(description="items of the cluster, the original included")
    thumbnail: str | None = Field(description="path of a small JPEG")
    banks: list[str] = Field(description="curated banks that have a reference of this id")
    verdict: VerdictBody | None = Field(None, description="what was said of it, while Redis keeps that")
    dead_letter: DeadLetterBody | None = Field(None, description="a newer version of it that could not be used")


class SimilarBody(_Model):
    """One similar item, and those that are near-duplicates of the same original."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "example": {
                "id": "cat-9",
                "kind": "image",
                "seconds": 0.0,
                "distance": 0.7,
                "original": "cat-9",
                "members": 1,
                "others": [],
            }
        },
    )
    id: str
    kind: Kind
    seconds: float = Field(description="duration of a video, 0 of an image")
    distance: Distance
    original: str = Field(description="the head of its cluster")
    members: int = Field(description="items of its cluster, the original included")
    others: list[OtherBody] = Field(description="further items of the cluster, nearest first, up to 20")


class OtherBody(_Model):
    """A further item of a cluster."""

    id: str
    distance: Distance


class SimilarAnswer(_Model):
    """Similar items, nearest first; a page of them."""

    results: list[SimilarBody]
    next: str | None = Field(
        description="cursor of the next page, for `GET /v1/search?cursor=`; null with the last one"
    )
    head: str = Field(
        description="the head of the network that distances are by: `copy`, or `similar` where it has one"
    )
    space: str
    offset: int = Field(description="of the log, up to which items were searched")


def media_body(record: Described) -> MediaBody:
    """Return what was found in an upload; its parts joined."""
    return MediaBody(
        kind=record.kind,
        width=record.width,
        height=record.height,
        seconds=record.seconds,
        frames=len(record.pts),
        sha256=record.sha256.hex(),
    )


def item_body(
    item: Item,
    head: Item,
    frames: int,
    thumbnail: str | None,
    banks: list[str],
    verdict: Verdict | None,
    letter: DeadLetter | None = None,
) -> ItemBody:
    """Return an item as answers show it."""
    return ItemBody(
        id=item.id,
        kind=item.kind,
        seconds=item.seconds,
        frames=frames,
        sha256=item.sha256.hex(),
        original=head.id,
        is_original=item is head,
        members=1 + len(head.members),
        thumbnail=thumbnail,
        banks=banks,
        verdict=None if verdict is None else VerdictBody.model_validate(verdict),
        dead_letter=None if letter is None else DeadLetterBody.model_validate(letter),
    )


SimilarBody.model_rebuild()
