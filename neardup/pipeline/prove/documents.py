"""Prove two pictures at the smallest size that separates them, and documents again from larger ones.

A page at SIDE shows its layout, not its words: what is found there says that the two are worth a closer look, and
nothing else. Other pictures with traces of writing on both sides are worth one, too: where no larger ones are at hand,
as in the stream, which stores small ones, they are unproved. Everything else is decided at SIDE, so that most pictures
are loaded once and small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from neardup.pipeline.prove.finding import BoxPair, Finding, Ground
from neardup.pipeline.prove.keypoints import DOCUMENT_SIDE, SIDE, Keypoints
from neardup.pipeline.prove.proof import Proof, prove
from neardup.pipeline.prove.relation import Judgement, judge

TRACES, FEW = 3.0, 400.0
"""Changed pixels, at SIDE, of a copy that is looked at more closely: on both sides from the first on, on one side up to
the second. They may be words that stand for others."""
INK, SHARE_OF_INK = 12.0, 0.05
"""Pixels, at SIDE, of bold strokes on each side where something changed, and their share of the other side's: of two
captions the longer one can cover the other. Texture below a caption has fewer."""

Load: TypeAlias = Callable[[int], Keypoints | None]
"""Returns a picture at a longest side in pixels; None where it is not at hand, or not so large as is stored."""


def prove_closely(query: Load, reference: Load, boxes: Sequence[BoxPair] = ()) -> tuple[Proof | None, Judgement]:
    """Return what can be proved of two pictures at SIDE, or at DOCUMENT_SIDE where that is too small to tell.

    Args:
        query, reference: each is called with SIDE, and with DOCUMENT_SIDE only where the decision depends on it. A
            caller that keeps key points keeps them by side.
        boxes: as of `prove`.
    """
    small, other = query(SIDE), reference(SIDE)
    if small is None or other is None:
        return None, judge(None)
    proof = prove(small, other, boxes)
    judged = judge(proof)
    if not needs_more(proof, judged):
        return proof, judged
    large = query(DOCUMENT_SIDE)
    larger = None if large is None else reference(DOCUMENT_SIDE)
    if large is None or larger is None:
        return proof, Judgement(Finding.UNPROVED, Ground.ILLEGIBLE) if _may_be_other_words(proof, judged) else judged
    closer = prove(large, larger, boxes, proof)
    return closer, judge(closer)


def needs_more(proof: Proof | None, judged: Judgement) -> bool:
    """Return whether a proof at DOCUMENT_SIDE may change what one of a smaller side found."""
    if proof is None or proof.legible:
        return False
    if not proof.document:
        one = max(proof.changes.query, proof.changes.reference)
        return _may_be_other_words(proof, judged) or (judged.finding is Finding.COPY and TRACES <= one <= FEW)
    return judged.finding is not Finding.UNPROVED or judged.ground in (Ground.ILLEGIBLE, Ground.WRITTEN_IN)


def _may_be_other_words(proof: Proof | None, judged: Judgement) -> bool:
    """Return whether a copy may have other words, which are too small to tell: traces or strokes are on both sides."""
    if proof is None or proof.legible or judged.finding is not Finding.COPY:
        return False
    return proof.changes.on_both >= TRACES or min(proof.ink) >= max(INK, SHARE_OF_INK * max(proof.ink))
