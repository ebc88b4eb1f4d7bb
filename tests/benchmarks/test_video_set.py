"""Clips of an evaluation show what the truth says that they show."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from benchmarks.video_edits import BESIDE, CORNER, RECUTS, SPEEDS, Frames
from benchmarks.video_set import RATE, SIZE, Segment
from benchmarks.video_strangers import INTRO_SECONDS, STRANGERS


def film(seed: int, count: int = 40) -> Frames:
    """Return frames of noise, each with its number in the red of its middle pixel."""
    made = []
    for number in range(count):
        pixels = np.random.default_rng((seed, number)).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
        pixels[SIZE[1] // 2, SIZE[0] // 2, 0] = number
        made.append(Image.fromarray(pixels))
    return made


def number_of(picture: Image.Image) -> int:
    return int(np.asarray(picture)[SIZE[1] // 2, SIZE[0] // 2, 0])


@pytest.mark.parametrize("name", RECUTS)
def test_a_recut_has_frames_of_one_even_size(name: str) -> None:
    made = RECUTS[name](film(1), film(2, 10), np.random.default_rng(0))
    assert len({picture.size for picture in made}) == 1
    assert not any(side % 2 for side in made[0].size)


@pytest.mark.parametrize("name", SPEEDS)
def test_times_of_the_truth_are_those_of_the_frames_that_are_shown(name: str) -> None:
    speed, start = SPEEDS[name], 3.0
    made = RECUTS[name](film(1), film(2), np.random.default_rng(0))
    row = Segment(0.0, len(made) / RATE, 0, start, speed).row("clip", "film", name)
    first, last = sorted((number_of(made[0]), number_of(made[-1])))
    assert (row["reference_start"], row["kind"]) == (start + first / RATE, name)
    assert row["reference_end"] == pytest.approx(start + (last + 1) / RATE, abs=abs(speed) / RATE)
    assert (number_of(made[0]) > number_of(made[-1])) == (speed < 0)


def test_a_film_in_a_corner_and_beside_another_keeps_its_share() -> None:
    shown, other = film(1, 1), film(2, 1)
    corner = RECUTS["in a corner"](shown, other, np.random.default_rng(0))[0]
    changed = np.any(np.asarray(corner) != np.asarray(other[0]), axis=2).mean()
    assert changed == pytest.approx(CORNER**2, rel=0.05)
    beside = RECUTS["reaction beside"](shown, other, np.random.default_rng(0))[0]
    assert SIZE[0] / beside.width == pytest.approx(2 * (1 - BESIDE) / (2 * (1 - BESIDE) + BESIDE), abs=0.01)


@pytest.mark.parametrize("name", STRANGERS)
def test_films_of_a_family_of_strangers_differ(name: str) -> None:
    scenes = [film(seed) for seed in range(8)]
    first, second = STRANGERS[name](np.random.default_rng(0), scenes, 2)
    rest = slice(INTRO_SECONDS * RATE, INTRO_SECONDS * RATE + 8)
    assert all(a.tobytes() != b.tobytes() for a, b in zip(first[rest], second[rest], strict=True))
