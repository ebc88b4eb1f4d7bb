"""Variants: pictures of one template or scene with other content, which are no copies of each other.

Two receipts of one shop, two slides of one talk, a meme with another caption, the next shot of a burst. From each pair
a true copy is made as well: a system that finds nothing confuses nothing, either. Pair number i of a kind is the same
whatever else is rendered.

Eleven kinds, HELD_OUT, are never fitted to: constants and curves may be chosen on the others, and the figure that
counts is that of the held-out ones.
"""

from __future__ import annotations

from neardup.pipeline.learn.variants import (  # noqa: F401 (they register the kinds)
    bursts,
    codes,
    documents,
    graphics,
    memes,
    office,
    patterns,
    screens,
    slips,
    studio,
    subjects,
)
from neardup.pipeline.learn.variants.registry import KINDS
from neardup.pipeline.learn.variants.render import HELD_OUT, Variant, render

__all__ = ["HELD_OUT", "KINDS", "Variant", "render"]
