"""The registry of kinds, and what a kind is given to draw with.

A kind draws one picture from a *layout* and a *content*. A variant is two pictures of one layout. What is drawn from
the layout's generator, and in which order, must not depend on the content, or the two are not of one template.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from PIL import Image


class Content:
    """The fields that differ between pictures of one layout, each with a generator of its own.

    Attributes:
        count: fields drawn so far.
    """

    def __init__(
        self, seed: tuple[int, ...], other: tuple[int, ...] = (), changed: frozenset[int] = frozenset()
    ) -> None:
        """Take a seed; fields whose number is in `changed` take the other one."""
        self.count = 0
        self._seed = seed
        self._other = other
        self._changed = changed

    def field(self) -> np.random.Generator:
        """Return the generator of the next field."""
        seed = self._other if self.count in self._changed else self._seed
        self.count += 1
        return np.random.default_rng((*seed, self.count))


Kind: TypeAlias = Callable[[np.random.Generator, Content], Image.Image]


@dataclass(frozen=True, slots=True)
class Entry:
    """A kind: what draws it, its family (the module) and how its pictures become files, see `capture`."""

    draw: Kind
    family: str
    capture: str


KINDS: dict[str, Entry] = {}
"""Every rendered kind by name."""


def kind(capture: str) -> Callable[[Kind], Kind]:
    """Register a kind under its function's name; `capture` is a way of `capture.CAPTURES`."""

    def register(draw: Kind) -> Kind:
        KINDS[draw.__name__] = Entry(draw, draw.__module__.rpartition(".")[2], capture)
        return draw

    return register
