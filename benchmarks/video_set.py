"""An evaluation set of videos with known truth: films, and clips that copy stretches of them.

    python -m benchmarks.video_set demo/video-set [--clips DIR]
    neardup evaluate --videos demo/video-set/truth.csv --output demo/evaluation

Films are slow pans over cuts of bundled photographs, no cut in two of them; with --clips they are the videos below DIR,
one for each of its folders, whose licences are the user's affair. Clips show an edited stretch of one film, stretches
of two between material of their own, or nothing of any film. Looped, sped up or live material is not among them.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image

from benchmarks.photographs import NAMES, photograph
from benchmarks.sample_video import FPS, Scene, frames, write_clip
from neardup.pipeline.learn.edits import Draw, chain
from neardup.pipeline.learn.evaluate.videos import COLUMNS

SIZE = (320, 180)
RATE = 8
SCENES_OF_A_FILM, SECONDS_OF_A_SCENE = 4, (3.0, 5.0)
TEXTURES = {"brick", "grass", "gravel"}
"""Cuts of these cannot be told apart by anybody."""
EDITS: tuple[tuple[tuple[str, float], ...], ...] = (
    (("resize", 0.4), ("jpeg", 0.4)), (("crop", 0.5),), (("mirror", 0.5),), (("text", 0.6),), (("meme", 0.5),),
    (("letterbox", 0.5),), (("grey", 0.5), ("blur", 0.3)), (("rotate", 0.2),), (("colour", 0.6),), (("pasted", 0.4),),
    (("screenshot", 0.5),), (("crop", 0.4), ("mirror", 0.5), ("text", 0.5)),
)  # fmt: skip
"""What is done to a clip, in turn."""
Frames = list[Image.Image]
"""RATE a second."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a clip that shows a film: seconds of the clip, the film, and its seconds."""

    start: float
    end: float
    film: int
    film_start: float

    def row(self, clip: str, film: str) -> dict[str, str | float]:
        """Return a row of the truth."""
        end = self.film_start + self.end - self.start
        return dict(zip(COLUMNS, (clip, film, self.start, self.end, self.film_start, end), strict=True))


def pan(random: np.random.Generator, name: str, corner: tuple[int, int]) -> Frames:
    """Return a slow pan within a corner of a photograph, which no other corner shows."""
    image = photograph(name)
    # `Scene` fits the view into the whole; below half of it, placed at a corner, it stays on its side of the middle.
    share = random.uniform(0.36, 0.48, 2)
    x, y = corner
    drift = random.uniform(0, 0.12, 2)
    fit = min(image.width / SIZE[0], image.height / SIZE[1]) * share.max()
    room = max(image.width - SIZE[0] * fit, 1), max(image.height - SIZE[1] * fit, 1)
    most = [min(drift[i], (image.size[i] / 2 - SIZE[i] * fit) / room[i]) for i in (0, 1)]
    end = tuple(float(abs(side - max(move, 0.0))) for side, move in zip((x, y), most, strict=True))
    scene = Scene(name, float(random.uniform(*SECONDS_OF_A_SCENE)), (share[0], share[1]), (x, y), (end[0], end[1]))
    return list(frames([scene], SIZE))[:: FPS // RATE]


def read(path: Path, most: float = 40.0) -> Frames:
    """Return the frames of a video at RATE, its first seconds, small."""
    found: Frames = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if frame.time is None or frame.time > most:
                break
            while frame.time >= len(found) / RATE:
                image = frame.to_image()
                image.thumbnail((SIZE[0], SIZE[0]))
                found.append(image.resize((image.width // 2 * 2, image.height // 2 * 2)))
    return found


def edit(pictures: Frames, steps: tuple[tuple[str, float], ...], seed: int) -> Iterator[Image.Image]:
    """Yield the frames, all edited in the same way and of one size."""
    for picture in pictures:
        edited = chain(np.asarray(picture), steps, Draw(np.random.default_rng(seed)))
        yield Image.fromarray(edited).resize((edited.shape[1] // 2 * 2, edited.shape[0] // 2 * 2))


def render(folder: Path, clips: Path | None = None) -> Path:
    """Render films, clips and truth.csv into the folder; return the path of the truth."""
    random = np.random.default_rng(7)
    cuts = [(name, (x, y)) for name in NAMES if name not in TEXTURES for x in (0, 1) for y in (0, 1)]
    scenes = [pan(random, *cuts[i]) for i in random.permutation(len(cuts))]
    if clips is None:
        films = [
            sum((scenes.pop() for _ in range(SCENES_OF_A_FILM)), Frames()) for _ in range(len(cuts) // 5)
        ]  # fmt: skip
    else:
        first = {path.parent: path for path in sorted(clips.rglob("*"), reverse=True) if path.suffix in SUFFIXES}
        films = [film for film in map(read, first.values()) if len(film) >= 3 * RATE]
    folder.mkdir(parents=True, exist_ok=True)
    options = {"crf": "26", "preset": "ultrafast"}
    for number, film in enumerate(films):
        write_clip(folder / f"film-{number:02}.mp4", film, options=options, fps=RATE)
    with (folder / "truth.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, COLUMNS)
        rows.writeheader()
        for number, (shown, segments) in enumerate(_clips(random, films, scenes)):
            name = f"clip-{number:02}.mp4"
            edited = edit(shown, EDITS[number % len(EDITS)], number)
            write_clip(folder / name, edited, options=options, fps=RATE)
            for one in segments:
                rows.writerow(one.row(name, f"film-{one.film:02}.mp4"))
            if not segments:
                rows.writerow({"query": name})
    return folder / "truth.csv"


SUFFIXES = {".mp4", ".mkv", ".webm", ".mov", ".gif"}


def _clips(
    random: np.random.Generator, films: list[Frames], scenes: list[Frames]
) -> Iterator[tuple[Frames, list[Segment]]]:
    """Yield frames and what they show: two excerpts of each film, a clip of two films for every film, strangers."""

    def stretch(film: int, seconds: tuple[float, float]) -> tuple[Frames, float]:
        count = min(len(films[film]), round(random.uniform(*seconds) * RATE))
        start = int(random.integers(0, len(films[film]) - count + 1))
        return films[film][start : start + count], start / RATE

    for film in [*range(len(films))] * 2:
        shown, start = stretch(film, (4, 12))
        yield shown, [Segment(0.0, len(shown) / RATE, film, start)]
    for film in range(len(films)):
        made: Frames = []
        segments = []
        for part in (film, (film + 1) % len(films)):
            made += _fit(scenes[(film + part) % len(scenes)], films[film][0])
            shown, start = stretch(part, (4, 7))
            segments.append(Segment(len(made) / RATE, (len(made) + len(shown)) / RATE, part, start))
            made += _fit(shown, films[film][0])
        yield made, segments
    for number in range(len(scenes)):
        yield scenes[number] + _fit(scenes[(number + 1) % len(scenes)], scenes[number][0]), []


def _fit(pictures: Frames, like: Image.Image) -> Frames:
    """Return pictures of the size of another one: a clip has one size."""
    return [picture if picture.size == like.size else picture.resize(like.size) for picture in pictures]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=Path, help="folder with videos to make films of")
    arguments = parser.parse_args()
    print(render(arguments.folder, arguments.clips))
