"""The files of the corpus: number n of a seed is the same one whenever it is asked for, and needs no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.corpus.bombs import BOMBS
from tests.corpus.mutate import mutated
from tests.corpus.seeds import MAKERS

FORMATS = tuple(MAKERS)
_SOUND, _BOMB = 0.01, 0.15
_RELATED = 0.7


@dataclass(frozen=True, slots=True)
class Item:
    """A file of the corpus.

    Attributes:
        format: of the file that it was made from.
        way: how it was made.
    """

    number: int
    format: str
    way: str
    content: bytes

    @property
    def from_disk(self) -> bool:
        """Whether it is read from a path, and not from memory."""
        return self.number // len(FORMATS) % 2 == 1


def item(seed: int, number: int, seeds: dict[str, list[bytes]]) -> Item:
    """Return a file; the formats take turns."""
    rng = Random(f"{seed}/{number}")
    format = FORMATS[number % len(FORMATS)]
    way = rng.random()
    if way < _SOUND:
        return Item(number, format, "as it is", rng.choice(seeds[format]))
    if way < _SOUND + _BOMB:
        make: Callable[[Random, dict[str, list[bytes]]], bytes] = rng.choice(BOMBS[format])
        return Item(number, format, make.__name__.strip("_"), make(rng, seeds))
    related = seeds[format] if rng.random() < _RELATED else seeds[rng.choice(FORMATS)]
    return Item(number, format, "mutated", mutated(rng, rng.choice(seeds[format]), related))
