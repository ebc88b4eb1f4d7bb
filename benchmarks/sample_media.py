"""Render the demonstration's media: photographs, edited copies of them, clips, look-alikes and broken files.

    python -m benchmarks.sample_media demo/media

`demo/media.truth.json`, beside the folder, says what copies what, so that a test can hold a scan against it. The same
call gives the same pictures (an encoder may vary a few bytes of a clip); originals have the earliest dates.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image, ImageDraw, ImageFont, ImageOps

from benchmarks import sample_edits as edits
from benchmarks.photographs import photograph, render_photographs
from benchmarks.sample_video import FPS, Scene, edited, frames, read_clip, write_clip, write_gif

__all__ = ["Copy", "Truth", "render", "render_photographs"]

_START = 1_680_000_000  # spring 2023; each next file is an hour younger

ORIGINALS = {
    "china": "Photos/2023 Beijing/DSC_0412.jpg",
    "coffee": "Photos/2024 Berlin/IMG_2210.jpg",
    "chelsea": "Photos/Chelsea/IMG_1033.png",
    "astronaut": "Photos/Heroes/portrait.heic",
    "camera": "Photos/Black and white/photographer.tif",
    "clock": "Photos/Black and white/clock.bmp",
    "hubble": "Wallpapers/deep field.jpg",
    "moon": "Wallpapers/moon.avif",
    "brick": "Work/Textures/brick.webp",
    "grass": "Work/Textures/grass.jpg",
    "gravel": "Work/Textures/gravel.jpg",
}
"""The other photographs are seen in the clips only."""


@dataclass(frozen=True)
class Copy:
    """What a rendered file copies.

    Attributes:
        copy, original: paths below the folder.
        edit: what was done to it.
        exact: "bytes", "pixels" or "", as in `types.Exact`.
        hard: a copy that may well be missed; a test should not insist on it.
        span: [copy start, copy end, original start, original end] in seconds, where one of them is a video.
    """

    copy: str
    original: str
    edit: str
    exact: str = ""
    hard: bool = False
    span: tuple[float, float, float, float] | None = None


@dataclass
class Truth:
    """What the media are.

    Attributes:
        originals: paths of pictures and clips that copy nothing.
        copies: see `Copy`; a file may copy several.
        lookalikes: pairs of paths that resemble each other and show different things.
        broken: path → the reasons for which it may be skipped, as in `errors.Reason`.
    """

    originals: list[str] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    lookalikes: list[tuple[str, str]] = field(default_factory=list)
    broken: dict[str, list[str]] = field(default_factory=dict)

    def families(self) -> list[set[str]]:
        """Return the files in sets that share content, directly or by way of others; no match joins two sets.

        An excerpt and a still of one clip are in one set, though neither need show what the other shows.
        """
        families = [{path} for path in self.originals]
        for copy in self.copies:
            joined = {copy.copy, copy.original}.union(*(f for f in families if f & {copy.copy, copy.original}))
            families = [family for family in families if not family & joined] + [joined]
        return families


@dataclass(frozen=True)
class _Edited:
    path: str
    original: str
    edit: str
    change: edits.Edit
    hard: bool = False
    exact: str = ""


def _edited_copies() -> list[_Edited]:
    """Return the edited pictures, a line each."""
    e = edits

    return [
        _Edited("WhatsApp Images/IMG-20230412-WA0003.jpg", "china", "smaller", e.scale(0.5)),
        _Edited("Edited/beijing crop.jpg", "china", "crop", e.crop(0.8, 0.4, 0.3)),
        _Edited("Edited/beijing mirrored.jpg", "china", "mirrored", ImageOps.mirror),
        _Edited("Edited/beijing postcard.jpg", "china", "words over it", e.caption("Greetings from Beijing")),
        _Edited("Downloads/china-bw.webp", "china", "grey", e.grey),
        _Edited("Screenshots/Screenshot 2023-05-21.png", "china", "screenshot", e.screenshot),
        _Edited("WhatsApp Images/IMG-20240302-WA0011.jpg", "coffee", "forwarded", e.worn),
        _Edited("Edited/coffee square.jpg", "coffee", "square crop", e.square),
        _Edited("Memes/monday.jpg", "coffee", "meme", e.meme("MONDAY", "AGAIN")),
        _Edited("Edited/coffee old style.jpg", "coffee", "sepia", e.sepia),
        _Edited("Scans/coffee print scan.jpg", "coffee", "turned a little", e.rotate(3)),
        _Edited("Edited/coffee blurred.jpg", "coffee", "blurred", e.blur),
        _Edited("Screenshots/Screenshot_20240211-201534.png", "coffee", "phone screenshot", e.phone, hard=True),
        _Edited("Memes/cat meme.png", "chelsea", "meme", _CAT_MEME),
        _Edited("Memes/cat meme forwarded.jpg", "chelsea", "meme, forwarded", _both(_CAT_MEME, e.worn)),
        _Edited(
            "WhatsApp Images/IMG-20230714-WA0002.jpg", "chelsea", "smaller, forwarded", _both(e.scale(0.6), e.worn)
        ),
        _Edited("Edited/chelsea sticker.jpg", "chelsea", "sticker", e.sticker),
        _Edited("Edited/chelsea close.jpg", "chelsea", "crop", e.crop(0.7, 0.5, 0.3), hard=True),
        _Edited("Backup/Chelsea/IMG_1033.tiff", "chelsea", "another lossless format", _same, exact="pixels"),
        _Edited("Downloads/portrait.jpg", "astronaut", "another format", _same),
        _Edited("Downloads/portrait hd.jpg", "astronaut", "larger, vivid", _both(e.scale(1.6), e.vivid)),
        _Edited("Edited/portrait framed.jpg", "astronaut", "border", e.framed),
        _Edited("Edited/portrait small.jpg", "astronaut", "thumbnail", e.scale(0.25)),
        _Edited("Edited/portrait bw.jpg", "astronaut", "grey crop", _both(e.crop(0.75, 0.45, 0.1), e.grey), hard=True),
        _Edited("Memes/hero.webp", "astronaut", "meme", e.meme("NOT ALL HEROES WEAR CAPES")),
        _Edited("Scans/photographer scan.jpg", "camera", "turned a little", e.rotate(-4)),
        _Edited("Edited/photographer crop.jpg", "camera", "crop", e.crop(0.85, 0.3, 0.4)),
        _Edited("Edited/photographer mirrored.jpg", "camera", "mirrored crop", _both(e.crop(0.9), ImageOps.mirror)),
        _Edited("Downloads/clock.jpg", "clock", "another format", _same),
        _Edited("Wallpapers/old/deep field small.jpg", "hubble", "smaller", e.scale(0.6)),
        _Edited("Wallpapers/old/deep field crop.jpg", "hubble", "crop", e.crop(0.6, 0.2, 0.8), hard=True),
        _Edited("Wallpapers/moon vivid.png", "moon", "vivid", e.vivid),
        _Edited("Downloads/bricks.jpg", "brick", "forwarded", e.worn),
        _Edited("Edited/collage.jpg", "china", "collage", e.beside(photograph("coffee")), hard=True),
    ]


def _same(image: Image.Image) -> Image.Image:
    return image


def _both(first: edits.Edit, second: edits.Edit) -> edits.Edit:
    return lambda image: second(first(image))


_CAT_MEME = edits.meme("WHEN YOU HEAR", "THE FRIDGE")


def render(directory: Path) -> Truth:
    """Render everything below `directory`, which is emptied first, and return what was rendered.

    Raises:
        FileExistsError: the folder holds something that this function did not render.
    """
    _make_empty(directory)
    truth = Truth()
    for step in (_originals, _lookalikes, _clips, _pictures, _literal_copies, _broken):
        step(directory, truth)
    truth_path(directory).write_text(json.dumps(asdict(truth), indent=1) + "\n", encoding="utf-8")
    return truth


def truth_path(directory: Path) -> Path:
    """Return where the truth about a folder is: beside it, for in it a scan would take it for a broken picture."""
    return directory.with_name(f"{directory.name}.truth.json")


def _make_empty(directory: Path) -> None:
    if directory.exists() and any(directory.iterdir()) and not truth_path(directory).exists():
        raise FileExistsError(f"{directory} holds files that were not rendered here; name an empty folder")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    truth_path(directory).touch()  # marks the folder as ours, should the rest fail


def _originals(directory: Path, truth: Truth) -> None:
    for name, path in ORIGINALS.items():
        _save(photograph(name), directory / path)
        truth.originals.append(path)
    _date(directory, truth.originals, 0)


def _pictures(directory: Path, truth: Truth) -> None:
    copies = _edited_copies()
    for copy in copies:
        _save(copy.change(photograph(copy.original)), directory / copy.path)
        truth.copies.append(Copy(copy.path, ORIGINALS[copy.original], copy.edit, copy.exact, copy.hard))
    truth.copies.append(Copy("Edited/collage.jpg", ORIGINALS["coffee"], "collage", hard=True))
    _date(directory, [copy.path for copy in copies], 200)


def _literal_copies(directory: Path, truth: Truth) -> None:
    """Copy some files as they are, and one with its orientation told by EXIF instead of by its pixels."""
    literal = {
        "Backup/2023 Beijing/DSC_0412.jpg": ORIGINALS["china"],
        "Backup/2024 Berlin/IMG_2210 (1).jpg": ORIGINALS["coffee"],
        "Backup/Chelsea/IMG_1033.png": ORIGINALS["chelsea"],
        "Backup/clip.mp4": "Videos/weekend.mp4",
    }
    for path, original in literal.items():
        _parent(directory / path)
        shutil.copyfile(directory / original, directory / path)
        span = (0.0, _CLIP_SECONDS, 0.0, _CLIP_SECONDS) if path.endswith(".mp4") else None
        truth.copies.append(Copy(path, original, "copied", "bytes", span=span))
    turned = "Camera roll/IMG_0007.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by 90 degrees to see it upright
    _parent(directory / turned)
    photograph("clock").transpose(Image.Transpose.ROTATE_90).save(directory / turned, quality=92, exif=exif)
    truth.copies.append(Copy(turned, ORIGINALS["clock"], "turned by EXIF"))
    _date(directory, [*literal, turned], 400)


def _lookalikes(directory: Path, truth: Truth) -> None:
    letters = {"Work/Letters/to Ada.png": 1, "Work/Letters/to Grace.png": 2}
    charts = {"Work/Charts/sales north.png": 3, "Work/Charts/sales south.png": 4}
    for draw, paths in ((_letter, letters), (_chart, charts)):
        for path, seed in paths.items():
            _save(draw(np.random.default_rng(seed)), directory / path)
            truth.originals.append(path)
        first, second = paths
        truth.lookalikes.append((first, second))
    truth.lookalikes.append((ORIGINALS["grass"], ORIGINALS["gravel"]))
    _date(directory, [*letters, *charts], 100)


def _letter(random: np.random.Generator) -> Image.Image:
    """Return a page of made-up words under a letterhead."""
    page = Image.new("RGB", (620, 877), "white")
    pen = ImageDraw.Draw(page)
    pen.text((60, 50), "Example & Sons", fill="#203050", font=ImageFont.load_default(30))
    pen.line((60, 95, 560, 95), fill="#203050", width=2)
    y = 140
    for _ in range(int(random.integers(3, 7))):
        for _ in range(int(random.integers(2, 7))):
            words = ["".join(random.choice(list("abcdefghilmnoprstu"), random.integers(2, 9))) for _ in range(8)]
            pen.text((60, y), " ".join(words)[:62], fill="#202020", font=ImageFont.load_default(15))
            y += 24
        y += 20
    return page


def _chart(random: np.random.Generator) -> Image.Image:
    """Return a bar chart of made-up numbers."""
    page = Image.new("RGB", (640, 400), "white")
    pen = ImageDraw.Draw(page)
    pen.text((320, 24), "Sales by month", fill="black", font=ImageFont.load_default(20), anchor="mm")
    pen.line((60, 360, 600, 360), fill="black", width=2)
    for month, height in enumerate(random.uniform(20, 300, size=12)):
        pen.rectangle((70 + month * 44, 360 - height, 102 + month * 44, 359), fill="#3b76c4")
    return page


_SCENES = (
    Scene("flower", 3.0, start=(0.0, 0.5), end=(1.0, 0.3)),
    Scene("rocket", 3.0, start=(0.5, 0.0), end=(0.5, 1.0)),
    Scene("coins", 3.0, share=(0.8, 0.98)),
    Scene("moon", 3.0, share=(0.98, 0.8)),
)
_CLIP_SECONDS = sum(scene.seconds for scene in _SCENES)
_LAB_SCENES = (Scene("retina", 4.0, start=(0.5, 0.2), end=(0.5, 0.8)), Scene("stain", 4.0))
_GIF_FPS = 8


def _clips(directory: Path, truth: Truth) -> None:
    """Render two clips, and an excerpt, a small version, a GIF and a still of the first."""
    clip, lab = "Videos/weekend.mp4", "Videos/lab tour.mkv"
    _parent(directory / clip)
    write_clip(directory / clip, frames(_SCENES, (640, 360)), options={"crf": "21", "preset": "veryfast"})
    write_clip(directory / lab, frames(_LAB_SCENES, (480, 270)), options={"crf": "24", "preset": "veryfast"})
    truth.originals += [clip, lab]
    for path, scenes in ((clip, _SCENES), (lab, _LAB_SCENES)):
        truth.copies += _scene_copies(path, scenes)
    _date(directory, [clip, lab], 120)

    excerpt, small, gif, still = (
        "Downloads/best part.webm",
        "WhatsApp Video/VID-20240310-WA0001.mp4",
        "Downloads/rocket.gif",
        "Screenshots/vlcsnap-00012.jpg",
    )
    for path in (excerpt, small, gif, still):
        _parent(directory / path)
    source = directory / clip
    shrink = edits.scale(0.5)
    write_clip(
        directory / excerpt,
        edited(read_clip(source, 4.0, 9.0), shrink),
        "libvpx-vp9",
        {"deadline": "realtime", "cpu-used": "8", "b": "250k"},
    )
    write_clip(
        directory / small,
        edited(read_clip(source, 0, 99), _both(shrink, edits.caption("our weekend"))),
        options={"crf": "32"},
    )
    write_gif(directory / gif, map(shrink, islice(read_clip(source, 3.5, 5.5), 0, None, FPS // _GIF_FPS)), _GIF_FPS)
    next(iter(read_clip(source, 8.0, 8.1))).save(directory / still, quality=85)
    truth.copies += [
        Copy(excerpt, clip, "excerpt, smaller", span=(0.0, 5.0, 4.0, 9.0)),
        Copy(small, clip, "smaller, words over it", span=(0.0, _CLIP_SECONDS, 0.0, _CLIP_SECONDS)),
        Copy(gif, clip, "excerpt as a GIF", span=(0.0, 2.0, 3.5, 5.5)),
        Copy(still, clip, "still", span=(0.0, 0.0, 8.0, 8.0)),
    ]
    _date(directory, [excerpt, small, gif, still], 300)


def _scene_copies(path: str, scenes: tuple[Scene, ...]) -> list[Copy]:
    """Return which of the photographs the clip shows, and when."""
    copies, start = [], 0.0
    for scene in scenes:
        end = start + scene.seconds
        if scene.name in ORIGINALS:
            copies.append(Copy(path, ORIGINALS[scene.name], "pan in a clip", hard=True, span=(start, end, 0.0, 0.0)))
        start = end
    return copies


def _broken(directory: Path, truth: Truth) -> None:
    jpeg = (directory / ORIGINALS["coffee"]).read_bytes()
    video = (directory / "Videos/weekend.mp4").read_bytes()
    contents = {
        "Broken/IMG_0000.jpg": (b"", ["empty"]),
        "Broken/IMG_2211.jpg": (jpeg[: len(jpeg) // 3], ["truncated", "decode"]),
        "Broken/shopping list.jpg": (b"milk\nbread\ncoffee\n", ["format"]),
        "Broken/recovered.png": (np.random.default_rng(5).bytes(20_000), ["format"]),
        "Broken/unfinished download.mp4": (video[: len(video) // 2], ["truncated", "decode", "format"]),
    }
    for path, (content, reasons) in contents.items():
        _parent(directory / path)
        (directory / path).write_bytes(content)
        truth.broken[path] = reasons
    _date(directory, contents, 500)


def _save(image: Image.Image, path: Path) -> None:
    """Write the image in the format that its name says."""
    _parent(path)
    options: dict[str, dict[str, Any]] = {
        ".jpg": {"quality": 90},
        ".webp": {"quality": 90},
        ".avif": {"quality": 85, "max_threads": 1},
        ".png": {"optimize": False},
        ".tif": {"compression": "tiff_lzw"},
        ".tiff": {"compression": "tiff_lzw"},
    }
    if path.suffix == ".heic":
        pillow_heif.from_pillow(image).save(path, quality=85)
    else:
        image.save(path, **options.get(path.suffix, {}))


def _parent(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)


def _date(directory: Path, paths: Iterable[str], hours: int) -> None:
    """Date the files one hour apart, from so many hours after the start."""
    for number, path in enumerate(paths):
        moment = _START + 3600 * (hours + number)
        os.utime(directory / path, (moment, moment))


def summary(truth: Truth) -> str:
    """Return how many files there are of each kind; an original that itself holds a copy counts as a copy."""
    copies = {one.copy for one in truth.copies}
    originals = set(truth.originals) - copies
    count = len(originals) + len(copies) + len(truth.broken)
    return f"{count} files: {len(originals)} originals, {len(copies)} copies, {len(truth.broken)} broken"


def main() -> None:
    parser = argparse.ArgumentParser(description="Render the sample media of `make demo`.")
    parser.add_argument("directory", type=Path, help="where they go; emptied first if it holds earlier ones")
    directory: Path = parser.parse_args().directory
    truth = render(directory)
    print(f"{directory}: {summary(truth)}")


if __name__ == "__main__":
    main()
