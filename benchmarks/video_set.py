"""An evaluation set of videos with known truth: films, and clips that copy stretches of them.

    python -m benchmarks.video_set demo/video-set [--clips DIR]
    neardup evaluate --videos demo/video-set/truth.csv --output demo/evaluation

Films are slow pans over cuts of bundled photographs, no cut in two of them; with --pictures over those below DIR, and
with --clips they are the videos below DIR, one for each of its folders, whose licences are the user's affair. Clips
show an edited stretch of one film, stretches of two between material of their own, one as `video_edits` recuts it, or
nothing of any film. Beside them are families of films that look alike and are no copies (`video_strangers`): half of
each family are references, half are queries. The column `kind` says what was done. Looped or live material is not
among them.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image

from benchmarks.photographs import NAMES, photograph, render_photographs
from benchmarks.sample_video import FPS, Scene, frames, write_clip
from benchmarks.video_edits import RECUTS, SPEEDS, Frames
from benchmarks.video_strangers import STRANGERS
from neardup.pipeline.learn.edits import Draw, chain
from neardup.pipeline.learn.evaluate.videos import COLUMNS, KIND

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
FURTHER = 40
"""Scenes that are in no film: of the families of strangers, and what stands beside a film or around it."""
OF_A_FAMILY = 6
"""Films of a family of strangers, half of them references."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a clip that shows a film: seconds of the clip, the film, its seconds, and how fast it runs."""

    start: float
    end: float
    film: int
    film_start: float
    speed: float = 1.0

    def row(self, clip: str, film: str, kind: str) -> dict[str, str | float]:
        """Return a row of the truth."""
        end = self.film_start + (self.end - self.start) * abs(self.speed)
        values = (clip, film, self.start, self.end, self.film_start, end, kind)
        return dict(zip((*COLUMNS, KIND), values, strict=True))


Clip = tuple[str, Frames, list[Segment]]
"""What was done, frames, and what they show."""


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


def pan_over(random: np.random.Generator, image: Image.Image) -> Frames:
    """Return a slow pan over a picture."""
    fit = min(image.width / SIZE[0], image.height / SIZE[1])
    first, last = (fit * random.uniform(0.7, 0.95) for _ in range(2))
    places = random.uniform(0, 1, (2, 2))
    count = round(random.uniform(*SECONDS_OF_A_SCENE) * RATE)
    made = []
    for share in np.linspace(0, 1, count).tolist():
        size = np.array(SIZE) * (first + share * (last - first))
        x, y = (np.array(image.size) - size) * (places[0] + share * (places[1] - places[0]))
        made.append(image.resize(SIZE, Image.Resampling.BILINEAR, box=(x, y, x + size[0], y + size[1])))
    return made


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


def render(folder: Path, clips: Path | None = None, pictures: Path | None = None) -> Path:
    """Render films, clips and truth.csv into the folder; return the path of the truth."""
    random = np.random.default_rng(7)
    scenes, further = _scenes(random, pictures)
    if clips is None:
        films = [sum((scenes.pop() for _ in range(SCENES_OF_A_FILM)), Frames()) for _ in range(len(scenes) // 5)]
    else:
        first = {path.parent: path for path in sorted(clips.rglob("*"), reverse=True) if path.suffix in SUFFIXES}
        films = [film for film in map(read, first.values()) if len(film) >= 3 * RATE]
    folder.mkdir(parents=True, exist_ok=True)
    options = {"crf": "26", "preset": "ultrafast"}
    for number, film in enumerate(films):
        write_clip(folder / f"film-{number:02}.mp4", film, options=options, fps=RATE)
    made = list(_clips(random, films, scenes))
    made += list(_recuts(random, films, further[: FURTHER // 4]))
    for name, (held, asked) in _families(random, further[FURTHER // 4 :]).items():
        for number, film in enumerate(held):
            write_clip(folder / f"{name.replace(' ', '-')}-{number:02}.mp4", film, options=options, fps=RATE)
        made += [(name, film, []) for film in asked]
    with (folder / "truth.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, (*COLUMNS, KIND))
        rows.writeheader()
        for number, (kind, shown, segments) in enumerate(made):
            name = f"clip-{number:03}.mp4"
            write_clip(folder / name, shown, options=options, fps=RATE)
            for one in segments:
                rows.writerow(one.row(name, f"film-{one.film:02}.mp4", kind))
            if not segments:
                rows.writerow({"query": name, KIND: kind})
    return folder / "truth.csv"


def _scenes(random: np.random.Generator, pictures: Path | None) -> tuple[list[Frames], list[Frames]]:
    """Return scenes to make films of, and further ones."""
    if pictures is None:
        cuts = [(name, (x, y)) for name in NAMES if name not in TEXTURES for x in (0, 1) for y in (0, 1)]
        scenes = [pan(random, *cuts[i]) for i in random.permutation(len(cuts))]
        with tempfile.TemporaryDirectory() as folder:
            paths = render_photographs(Path(folder), FURTHER, names=[name for name in NAMES if name not in TEXTURES])
            return scenes, [pan_over(random, _open(path)) for path in paths]
    paths = [path for path in sorted(pictures.rglob("*")) if path.suffix.lower() in PICTURES]
    many = 4 * (len(NAMES) - len(TEXTURES)) + FURTHER
    chosen = [paths[i] for i in random.permutation(len(paths))[:many]]
    made = [pan_over(random, _open(path)) for path in chosen]
    return made[FURTHER:], made[:FURTHER]


def _open(path: Path) -> Image.Image:
    with Image.open(path) as image:
        opened: Image.Image = image.convert("RGB")
    return opened


PICTURES = {".jpg", ".jpeg", ".png", ".webp"}
SUFFIXES = {".mp4", ".mkv", ".webm", ".mov", ".gif"}


def _clips(random: np.random.Generator, films: list[Frames], scenes: list[Frames]) -> Iterator[Clip]:
    """Yield two excerpts of each film, a clip of two films for every film, strangers; edited as pictures are."""

    def edited(number: int, shown: Frames) -> tuple[str, Frames]:
        steps = EDITS[number % len(EDITS)]
        return ", ".join(name for name, _ in steps), list(edit(shown, steps, number))

    for number, film in enumerate([*range(len(films))] * 2):
        shown, start = _stretch(random, films[film], (4, 12))
        kind, made = edited(number, shown)
        yield kind, made, [Segment(0.0, len(shown) / RATE, film, start)]
    for number, film in enumerate(range(len(films)), 2 * len(films)):
        parts: Frames = []
        segments = []
        for part in (film, (film + 1) % len(films)):
            parts += _fit(scenes[(film + part) % len(scenes)], films[film][0])
            shown, start = _stretch(random, films[part], (4, 7))
            segments.append(Segment(len(parts) / RATE, (len(parts) + len(shown)) / RATE, part, start))
            parts += _fit(shown, films[film][0])
        yield "of two films", edited(number, parts)[1], segments
    for number in range(len(scenes)):
        parts = scenes[number] + _fit(scenes[(number + 1) % len(scenes)], scenes[number][0])
        yield "of none", edited(number + 3 * len(films), parts)[1], []


def _recuts(random: np.random.Generator, films: list[Frames], others: Sequence[Frames]) -> Iterator[Clip]:
    """Yield each film recut in every way."""
    for number, (name, recut) in enumerate(RECUTS.items()):
        speed = SPEEDS.get(name, 1.0)
        for film in range(len(films)):
            shown, start = _stretch(random, films[film], (6, 12))
            made = recut(shown, others[(number + film) % len(others)], random)
            yield name, made, [Segment(0.0, len(made) / RATE, film, start, speed)]


def _families(random: np.random.Generator, scenes: list[Frames]) -> dict[str, tuple[list[Frames], list[Frames]]]:
    """Return for each family of strangers the films that are references and those that are queries."""
    families = {}
    each = len(scenes) // len(STRANGERS)
    for number, (name, make) in enumerate(STRANGERS.items()):
        made = make(random, scenes[number * each : (number + 1) * each], OF_A_FAMILY)
        families[name] = made[::2], made[1::2]
    return families


def _stretch(random: np.random.Generator, film: Frames, seconds: tuple[float, float]) -> tuple[Frames, float]:
    """Return a stretch of a film that is as long, and where it begins, in seconds."""
    count = min(len(film), round(random.uniform(*seconds) * RATE))
    start = int(random.integers(0, len(film) - count + 1))
    return film[start : start + count], start / RATE


def _fit(pictures: Frames, like: Image.Image) -> Frames:
    """Return pictures of the size of another one: a clip has one size."""
    return [picture if picture.size == like.size else picture.resize(like.size) for picture in pictures]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=Path, help="folder with videos to make films of")
    parser.add_argument("--pictures", type=Path, help="folder with pictures to make films of")
    arguments = parser.parse_args()
    print(render(arguments.folder, arguments.clips, arguments.pictures))
