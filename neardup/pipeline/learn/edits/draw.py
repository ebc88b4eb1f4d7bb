"""What all edits share: where their chances come from, and the registry that they are found in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from PIL import Image

from neardup.pipeline.types import Pixels


@dataclass(frozen=True, slots=True)
class Draw:
    """Where an edit takes its chances from.

    Attributes:
        random: the generator; the same seed gives the same edit.
        others: pictures that are no copies of the edited one, to paste on or beside it; a gradient without them.
    """

    random: np.random.Generator
    others: Sequence[Pixels] = field(default=())

    def within(self, low: float, high: float) -> float:
        """Return a number from low to high."""
        return low + (high - low) * self.random.random()

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self.random.random() < probability

    def colour(self) -> tuple[int, int, int]:
        """Return a colour: white, black, a grey or any."""
        kind = self.random.random()
        if kind < 0.5:
            grey = 255 if kind < 0.2 else 0 if kind < 0.4 else int(self.within(0, 256))
            return grey, grey, grey
        red, green, blue = (int(value) for value in self.random.integers(0, 256, 3))
        return red, green, blue

    def other(self, width: int, height: int) -> Image.Image:
        """Return an unrelated picture, squeezed to this size."""
        if self.others:
            picture = Image.fromarray(self.others[int(self.random.integers(len(self.others)))])
            return picture.resize((width, height), Image.Resampling.BILINEAR)
        corners = self.random.integers(0, 256, (2, 2, 3)).astype(np.uint8)
        return Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR)


Edit: TypeAlias = Callable[[Pixels, float, Draw], Pixels]
PictureEdit: TypeAlias = Callable[[Image.Image, float, Draw], Image.Image]

EDITS: dict[str, Edit] = {}
"""Every edit by name."""
FAMILIES: dict[str, str] = {}
"""The family of every edit: colour, detail, geometry, over, around."""


def edit(function: PictureEdit) -> PictureEdit:
    """Register an edit of Pillow pictures under its name, as one of arrays."""

    def on_arrays(pixels: Pixels, strength: float, draw: Draw) -> Pixels:
        return np.asarray(function(Image.fromarray(pixels), float(strength), draw))

    EDITS[function.__name__] = on_arrays
    FAMILIES[function.__name__] = function.__module__.rpartition(".")[2]
    return function
