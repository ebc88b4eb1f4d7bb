"""Say what a proof makes of two pictures: a copy, a variant, or nothing.

A variant is the same template or scene with other content: two receipts of one shop, a meme with another caption, the
next shot of a burst. It is said on positive grounds only. A sticker or caption on a picture is an edit: something else
in its place is no ground, writing in the place of other writing is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from neardup.pipeline.prove.changes import MAX_ON_BOTH
from neardup.pipeline.prove.finding import BlockMap, Finding, Ground, ProofSummary
from neardup.pipeline.prove.proof import Proof

MIN_INLIERS = 8
MIN_AGREEING, MIN_COVERED = 0.65, 0.5
"""Of the blocks with texture; less where something was put over the picture."""
MIN_AGREED = 6
MAX_REPETITION = 0.95
MIN_WRITING = 5
"""Blocks of writing in the place of other writing; in documents, anywhere on both sides. Twice as many where no piece
is on both sides: of two captions in one place the longer one may have the outline to itself."""
MIN_CAPTION = 3
"""Blocks or squares of writing that are a caption."""
MIN_MOTION, MIN_MOVING = 0.2, 5
"""Pixels that corners share on the mean, or corners that share one of a pixel."""
SURE_MOTION = 0.35
"""Pixels of motion that no copy has, even where only one side has something."""
MIN_OF_ONE_KIND, MIN_SHARE_OF_ONE_KIND = 5, 0.4
"""Blocks that differ and are of one kind, at least so many and such a share of those that differ."""
MAX_TEMPLATE = 0.5
"""What agrees at the same place of both is less of them than this, else something was put over the rest."""
MAX_SHARE_ON_BOTH = 0.04
"""Of what one side has, the share that may be on both: pieces have ragged edges."""
MIN_CHANGED = 60.0
"""Pixels at SIDE that each side has to itself; of less it is not certain what changed."""
MAX_SPREAD = 0.25
"""Share of changed pixels above which light or a picture over it all changed them, not pieces."""
MAX_REPETITION_BELOW = 0.5
"""What changed everywhere must be more unlike itself to prove something."""
DAMAGE_BESIDE, DAMAGE_SPREAD, DAMAGE_AGREEING = 2.0, 0.004, 0.95
"""Pixels on both sides for one that only one side has, share of pixels that changed, and of blocks that agree."""
MIN_HUE = 0.4
"""Correlation of colours: a tint or a filter keeps more, another colour of one product less."""
MAX_RECOLOURED = 700.0
"""Pixels at SIDE that may have another colour while they did not change in grey."""
MAX_LINES = 20.0
"""Pixels at SIDE that may have been written into a document or rubbed out of it."""
MIN_DOCUMENT_AGREEING = 0.75
"""Of a document's blocks; what one side has written in is a ground for neither."""


class Judgement(NamedTuple):
    """What was found, and why."""

    finding: Finding
    ground: Ground


def judge(proof: Proof | None) -> Judgement:
    """Return what a proof makes of two pictures."""
    if proof is None:
        return Judgement(Finding.UNPROVED, Ground.NO_TRANSFORM)
    if proof.same and (proof.legible or not proof.document):
        return Judgement(Finding.COPY, Ground.AGREES)
    if proof.same:
        return Judgement(Finding.UNPROVED, Ground.ILLEGIBLE)
    if proof.stage and proof.inliers < MIN_INLIERS:
        return Judgement(Finding.UNPROVED, Ground.FEW_POINTS)
    enough = MIN_COVERED if proof.covered and not proof.document else MIN_AGREEING
    agreeing = proof.agreeing if proof.document else proof.agreeing_of_one
    if agreeing < enough or proof.agreed < MIN_AGREED:
        return Judgement(Finding.UNPROVED, Ground.LITTLE_AGREES)
    if proof.repetition > MAX_REPETITION:
        return Judgement(Finding.UNPROVED, Ground.REPETITIVE)
    differences, changes = proof.differences, proof.changes
    everywhere = changes.spread > MAX_SPREAD
    on_both = changes.on_both > max(MAX_ON_BOTH, MAX_SHARE_ON_BOTH * max(changes.query, changes.reference))
    each = min(differences.query_writing, differences.reference_writing) if proof.document else 0
    written = max(differences.other_writing, each) if on_both else differences.other_writing / 2
    if written >= MIN_WRITING:
        return Judgement(Finding.VARIANT, Ground.OTHER_WRITING)
    if _have_captions(proof):
        return Judgement(Finding.VARIANT, Ground.OTHER_WRITING)
    if (proof.motion >= MIN_MOTION or proof.moving >= MIN_MOVING) and on_both:
        return Judgement(Finding.VARIANT, Ground.MOTION)
    if proof.motion >= SURE_MOTION and proof.moving >= MIN_MOVING:
        return Judgement(Finding.UNPROVED, Ground.MOTION)
    of_one_kind = differences.of_one_kind >= max(MIN_OF_ONE_KIND, MIN_SHARE_OF_ONE_KIND * differences.differing)
    if on_both and (of_one_kind or (not everywhere and min(changes.query, changes.reference) >= MIN_CHANGED)):
        return Judgement(Finding.VARIANT, Ground.CHANGED_SCENE)
    if on_both and not everywhere and not _is_damage(proof):
        return Judgement(Finding.UNPROVED, Ground.CHANGED_SCENE)
    if proof.confined and proof.in_place and proof.reference_share < MAX_TEMPLATE:
        return Judgement(Finding.UNPROVED if proof.one_sided else Finding.VARIANT, Ground.TEMPLATE)
    if proof.document and not proof.legible:
        return Judgement(Finding.UNPROVED, Ground.ILLEGIBLE)
    if proof.document and (proof.agreeing < MIN_DOCUMENT_AGREEING or changes.lines > MAX_LINES):
        return Judgement(Finding.UNPROVED, Ground.WRITTEN_IN)
    if everywhere and proof.repetition > MAX_REPETITION_BELOW:
        return Judgement(Finding.UNPROVED, Ground.REPETITIVE)
    if proof.recoloured > MAX_RECOLOURED or (proof.hue is not None and proof.hue < MIN_HUE):
        return Judgement(Finding.UNPROVED, Ground.CHANGED_SCENE)
    return Judgement(Finding.COPY, Ground.AGREES)


def _have_captions(proof: Proof) -> bool:
    """Return whether each side has writing of its own, one of them beside the picture: captions of one meme.

    A caption that one side alone has is an edit.
    """
    beside, differences = proof.written_beside, proof.differences
    query, reference = differences.query_writing, differences.reference_writing
    on_it = query - reference >= MIN_CAPTION, reference - query >= MIN_CAPTION
    return any(beside[side] >= MIN_CAPTION and (on_it[1 - side] or beside[1 - side] >= MIN_CAPTION) for side in (0, 1))


def _is_damage(proof: Proof) -> bool:
    """Return whether what is on both sides is what a sticker or a watermark leaves around it, and encoding everywhere.

    Nearly everything agrees, one side has half as much to itself, and pixels have changed in many places: where
    look-alikes differ, the rest hardly does.
    """
    changes = proof.changes
    beside = changes.on_both <= DAMAGE_BESIDE * max(changes.query, changes.reference)
    return beside and changes.spread >= DAMAGE_SPREAD and proof.agreeing >= DAMAGE_AGREEING


def judge_moments(proofs: Sequence[Proof | None]) -> Judgement:
    """Return what the moments of two videos make of them together.

    Frames of a copy are seldom taken at the same instant, so that in some moments something moved: a third of them, and
    two where there are two, prove a copy. A variant takes half of them; that it has other writing says more than that
    something moved, as frames of other instants show motion, too.
    """
    each = [judge(proof) for proof in proofs]
    copies = [one for one in each if one.finding is Finding.COPY]
    variants = [one for one in each if one.finding is Finding.VARIANT]
    if copies and len(copies) >= min(2, len(each)) and 3 * len(copies) >= len(each):
        return copies[0]
    if variants and 2 * len(variants) >= len(each):
        return next((one for one in variants if one.ground is Ground.OTHER_WRITING), variants[0])
    return next(
        (one for one in each if one.finding is Finding.UNPROVED), Judgement(Finding.UNPROVED, Ground.LITTLE_AGREES)
    )


def summarize(proof: Proof | None, judged: Judgement, seconds: tuple[float, float] = (0.0, 0.0)) -> ProofSummary:
    """Return a proof as records and reports carry it.

    Args:
        seconds: of the frames that were compared, in the query and in the reference.
    """
    if proof is None:
        return ProofSummary(finding=judged.finding, ground=judged.ground)
    digits = "".join(map(str, proof.blocks.ravel().tolist()))
    box = proof.query_box if proof.of_query else proof.reference_box
    return ProofSummary(
        finding=judged.finding,
        ground=judged.ground,
        stage=proof.stage,
        inliers=proof.inliers,
        agreeing=round(proof.agreeing, 3),
        query_extra=round(proof.query_extra, 3),
        reference_extra=round(proof.reference_extra, 3),
        query_second=seconds[0],
        reference_second=seconds[1],
        map=BlockMap(
            columns=proof.blocks.shape[1],
            blocks=digits,
            of_query=proof.of_query,
            box=tuple(round(side, 4) for side in box),  # type: ignore[arg-type]
        ),
    )
