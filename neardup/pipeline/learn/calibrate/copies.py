"""Edited copies of pictures, described as the stream would describe them: the queries of a calibration."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from neardup.pipeline.embed.embedder import Embedder
from neardup.pipeline.learn.calibrate.distractors import joined
from neardup.pipeline.learn.edits import EDITS, Draw, chain, draw_steps
from neardup.pipeline.learn.shared.pictures import Pictures
from neardup.pipeline.media.tile import squeeze
from neardup.pipeline.types import Embedded, Pixels

STRENGTH = 0.7
PASTED = 8
"""Pictures at hand for the edits of one picture that paste something in."""


def describe_copies(
    pictures: Pictures,
    chosen: Sequence[int],
    aside: Sequence[int],
    copies: int,
    embedder: Embedder,
    seed: int,
    report: Callable[[int], None] = lambda _done: None,
) -> Embedded:
    """Return `copies` edited copies of each chosen picture, in order: the edits in turn, every third a chain of them.

    Args:
        aside: pictures that edits paste in. None of them may be a reference: the query would be its copy, too.
        report: called with how many more pictures are done.
    """
    names = sorted(EDITS)
    parts: list[Embedded] = []
    for row, index in enumerate(chosen):
        pasted = [pictures.pixels[aside[(PASTED * row + step) % len(aside)]] for step in range(PASTED)]
        tiles: list[Pixels] = []
        for copy in range(copies):
            draw = Draw(np.random.default_rng((seed, row, copy)), pasted)
            one = [(names[(row * copies + copy) % len(names)], draw.within(0.05, STRENGTH))]
            steps = draw_steps(draw, STRENGTH) if copy % 3 == 2 else one
            tiles.append(squeeze(chain(pictures.pixels[index], steps, draw), embedder.size))
        parts.append(embedder.embed(np.stack(tiles)))
        report(1)
    return joined(parts)


def describe_pictures(pictures: Pictures, chosen: Sequence[int], embedder: Embedder) -> Embedded:
    """Return the pictures as they are, in order."""
    parts = []
    for start in range(0, len(chosen), 64):
        tiles = [squeeze(pictures.pixels[i], embedder.size) for i in chosen[start : start + 64]]
        parts.append(embedder.embed(np.stack(tiles)))
    return joined(parts)
