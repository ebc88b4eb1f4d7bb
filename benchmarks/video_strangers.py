"""Films that look alike and are no copies of each other: what a detector of copies must leave apart.

Each maker returns films of one family, any number of them; frames of SIZE, RATE a second.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.video_edits import Frames

Maker = Callable[[np.random.Generator, list[Frames], int], list[Frames]]
"""Randomness, scenes to make films of, how many films; a scene is used by one family only."""
SECONDS = 10
INTRO_SECONDS = 4
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def room(random: np.random.Generator, scenes: list[Frames], count: int, rate: int = 8) -> list[Frames]:
    """Return recordings of one room by one camera that stands still: two people move, each time otherwise."""
    view, *others = scenes
    ground = view[0]
    people = [_person(one[0], ground.size) for one in others[:2]]
    return [_recording(random, ground, people, rate) for _ in range(count)]


def talk(random: np.random.Generator, scenes: list[Frames], count: int, rate: int = 8) -> list[Frames]:
    """Return talks on one template: its colours, its logo, its place for the speaker; other slides, another speaker."""
    width, height = scenes[0][0].size
    logo = scenes[0][0].resize((width // 8, height // 8))
    films = []
    for number in range(count):
        speaker = scenes[1 + number % (len(scenes) - 1)]
        slides = [_slide(random, (width, height), logo) for _ in range(3)]
        film = []
        for at in range(SECONDS * rate):
            canvas = slides[at * len(slides) // (SECONDS * rate)].copy()
            canvas.paste(speaker[at % len(speaker)].resize((width // 4, height // 4)), (width * 3 // 4 - 4, 4))
            film.append(canvas)
        films.append(film)
    return films


def intro(_random: np.random.Generator, scenes: list[Frames], count: int, rate: int = 8) -> list[Frames]:
    """Return films that begin with one intro and go on each by itself."""
    first, *others = scenes
    return [first[: INTRO_SECONDS * rate] + others[number % len(others)] for number in range(count)]


def _person(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return a patch of a picture with a round head, transparent around."""
    w, h = size[0] // 6, size[1] // 2
    patch = picture.resize((w, h)).convert("RGBA")
    mask = Image.new("L", (w, h))
    pen = ImageDraw.Draw(mask)
    pen.ellipse((w // 4, 0, w * 3 // 4, h // 3), fill=255)
    pen.rounded_rectangle((0, h // 3, w, h), w // 4, fill=255)
    patch.putalpha(mask)
    return patch


def _recording(random: np.random.Generator, ground: Image.Image, people: list[Image.Image], rate: int) -> Frames:
    width, height = ground.size
    # Each goes from one place to the next, at times of its own.
    paths = [random.uniform(0, width - people[0].width, 5) for _ in people]
    knots = [np.sort(random.uniform(0, SECONDS, 5)) for _ in people]
    film = []
    for at in range(SECONDS * rate):
        canvas = ground.copy()
        for person, path, knot in zip(people, paths, knots, strict=True):
            x = int(np.interp(at / rate, knot, path))
            canvas.paste(person, (x, height - person.height), person)
        film.append(canvas)
    return film


def _slide(random: np.random.Generator, size: tuple[int, int], logo: Image.Image) -> Image.Image:
    width, height = size
    canvas = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(canvas)
    pen.rectangle((0, 0, width, height // 6), fill=(24, 60, 120))
    pen.text((8, 8), _words(random, 3), fill="white")
    for line in range(int(random.integers(4, 8))):
        pen.text((16, height // 6 + 12 + line * 16), "- " + _words(random, int(random.integers(3, 7))), fill="black")
    canvas.paste(logo, (4, height - logo.height - 4))
    return canvas


def _words(random: np.random.Generator, count: int) -> str:
    return " ".join(
        "".join(random.choice(list(_LETTERS), int(random.integers(3, 9))).tolist()) for _ in range(count)
    )  # fmt: skip


STRANGERS: dict[str, Maker] = {"one room": room, "one template of talks": talk, "one intro": intro}
