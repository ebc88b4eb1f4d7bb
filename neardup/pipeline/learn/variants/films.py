"""The next shot of a film: two frames of one shot, 0.5 to 3 seconds apart, between which something moved.

The films are the user's: whatever is below a folder; of files that differ in their suffix alone, the first.
Pairs are taken from all films in turn, and no frame is in two pairs.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise, zip_longest
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.learn.variants.render import Variant

logger = logging.getLogger(__name__)
NAME = "film"
SUFFIXES = frozenset({".mp4", ".m4v", ".mkv", ".webm", ".mov", ".avi", ".gif"})
STEP_SECONDS, MAX_SECONDS = 0.25, 120.0
"""Frames are looked at so many seconds apart, up to a time of the film."""
APART_STEPS = (2, 4, 8, 12)
MOVED_LEVELS = 20
"""A pixel of a grey frame of 64 × 64 has changed if it differs by so many levels."""
MOVED, CUT = 0.015, 0.5
"""Shares of changed pixels: from the first on something moved, from the second on the shot is another one."""


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """A frame as a JPEG, and small and grey: int16 (64, 64)."""

    file: bytes
    small: npt.NDArray[np.int16]


def cut_pairs(folder: Path, count: int, seed: int = 0) -> list[Variant]:
    """Return at most `count` pairs of frames, as JPEGs.

    Raises:
        ConfigError: no film below the folder has such frames.
    """
    paths = {
        (path.parent, path.stem): path
        for path in sorted(folder.rglob("*"), reverse=True)
        if path.suffix.lower() in SUFFIXES
    }
    found = [_pairs(path, np.random.default_rng((seed, number))) for number, path in enumerate(sorted(paths.values()))]
    pairs = [pair for pair in chain.from_iterable(zip_longest(*found)) if pair is not None][:count]
    if not pairs:
        raise ConfigError(f"films {folder}: no film with two frames of one shot between which something moved")
    return [Variant(NAME, number, "all", a.file, b.file) for number, (a, b) in enumerate(pairs)]


def _pairs(path: Path, random: np.random.Generator) -> list[tuple[_Frame, _Frame]]:
    try:
        frames = list(_read(path))
    except (av.error.FFmpegError, OSError) as error:
        logger.warning("film left out path=%s error=%s", path, error)
        return []
    cuts = [_changed(a, b) >= CUT for a, b in pairwise(frames)]
    pairs, used = [], set[int]()
    for i in random.permutation(len(frames)).tolist():
        j = i + APART_STEPS[int(random.integers(len(APART_STEPS)))]
        if (
            j < len(frames)
            and not {i, j} & used
            and not any(cuts[i:j])
            and MOVED <= _changed(frames[i], frames[j]) < CUT
        ):
            used |= {i, j}
            pairs.append((frames[i], frames[j]))
    return pairs


def _changed(a: _Frame, b: _Frame) -> float:
    return float((np.abs(a.small - b.small) >= MOVED_LEVELS).mean())


def _read(path: Path) -> Iterator[_Frame]:
    """Yield a frame each STEP_SECONDS."""
    due = 0.0
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if frame.time is None or frame.time > MAX_SECONDS:
                return
            if frame.time >= due:
                due = frame.time + STEP_SECONDS
                picture: Image.Image = frame.to_image()
                buffer = io.BytesIO()
                picture.save(buffer, "JPEG", quality=92)
                small = picture.convert("L").resize((64, 64), Image.Resampling.BOX)
                yield _Frame(buffer.getvalue(), np.asarray(small, dtype=np.int16))
