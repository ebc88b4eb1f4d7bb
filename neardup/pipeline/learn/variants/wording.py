"""Names, amounts, dates and sentences for pictures: plausible to read, of nobody and nothing.

Lists of words are in words.txt, ASCII as the font that comes with Pillow is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np

Random: TypeAlias = np.random.Generator
T = TypeVar("T")

_LINES = Path(__file__).with_name("words.txt").read_text(encoding="ascii").splitlines()
WORDS = {name: words.split("|") for name, words in (line.split(": ", 1) for line in _LINES)}
"""Lists of words by name."""


def pick(random: Random, choices: Sequence[T]) -> T:
    """Return one of the choices."""
    return choices[int(random.integers(len(choices)))]


def word(random: Random, of: str) -> str:
    """Return a word of a list."""
    return pick(random, WORDS[of])


def first_name(random: Random) -> str:
    return word(random, "first")


def name(random: Random) -> str:
    return f"{word(random, 'first')} {word(random, 'last')}"


def street(random: Random) -> str:
    return f"{word(random, 'street')} {word(random, 'way')}"


def address(random: Random) -> str:
    return f"{int(random.integers(1, 200))} {street(random)}"


def city(random: Random) -> str:
    return word(random, "city")


def firm(random: Random) -> str:
    return f"{word(random, 'firm')} {word(random, 'trade')}"


def goods(random: Random) -> str:
    return word(random, "goods")


def date(random: Random) -> str:
    day, month, year = (int(random.integers(low, high)) for low, high in ((1, 29), (1, 13), (2015, 2027)))
    return f"{day:02}.{month:02}.{year}"


def hour(random: Random) -> str:
    return f"{int(random.integers(6, 23)):02}:{int(random.integers(0, 60)):02}"


def digits(random: Random, count: int) -> str:
    return "".join(str(one) for one in random.integers(0, 10, count))


def letters(random: Random, count: int) -> str:
    return "".join(chr(65 + int(one)) for one in random.integers(0, 26, count))


def topic(random: Random) -> str:
    return f"{word(random, 'adjective')} {word(random, 'noun')}"


def task(random: Random) -> str:
    return f"{word(random, 'verb')} the {topic(random)}"


def sentence(random: Random) -> str:
    """Return a sentence as in a report."""
    forms = (
        f"{name(random)} will {task(random)} in {city(random)}",
        f"{task(random).capitalize()} before {word(random, 'day')}",
        f"The {topic(random)} grew by {int(random.integers(2, 80))} % in {word(random, 'month')}",
        f"{task(random).capitalize()} and {task(random)}",
        f"{int(random.integers(3, 90))} of {int(random.integers(90, 300))} answers name the {topic(random)}",
    )
    return pick(random, forms)


def said(random: Random) -> str:
    """Return a line of a chat."""
    return _filled(random, "said")


def caption(random: Random) -> str:
    """Return half a joke."""
    return _filled(random, "caption")


def _filled(random: Random, of: str) -> str:
    form = word(random, of)
    values = {key: word(random, key) for key in ("noun", "verb", "city", "day", "food")}
    values |= {"name": first_name(random), "street": street(random), "hour": hour(random)}
    return form.format(**values, number=int(random.integers(2, 60)))
