"""The training pictures: decoded once, kept small in memory, and split into those trained on and those held out.

Pictures that belong together (known look-alikes, faces of one person) are on one side of the split, or the held-out
figures would flatter.
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageOps

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.types import Pixels

logger = logging.getLogger(__name__)
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"})
SIMILAR = "similar"


@dataclass(frozen=True, slots=True)
class Pictures:
    """n decoded pictures.

    Attributes:
        sha1: hex, of each file.
        pixels: uint8 (h, w, 3) each, the shorter side at most what was asked for.
        groups: for each, a name shared by the pictures that must stay on one side of a split.
        similar: index pairs that are known look-alikes and never serve as negatives.
        paths: of each file; of equal files the first.
    """

    sha1: tuple[str, ...]
    pixels: tuple[Pixels, ...]
    groups: tuple[str, ...]
    similar: frozenset[tuple[int, int]]
    paths: tuple[Path, ...] = ()


def find_roots(names: Iterable[str], pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return for each name the smallest name of its group, where pairs join names to groups."""
    parent = {name: name for name in names}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for a, b in pairs:
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return {name: root(name) for name in parent}


def load_pictures(
    folders: Sequence[Path],
    short_side: int,
    only: Path | None = None,
    alike: Path | None = None,
    threads: int = 1,
    most: int = 30_000,
) -> Pictures:
    """Decode all pictures under the folders, in the order of their sha1; files that are equal count once.

    Args:
        only: file with one sha1 a line; pictures that are not listed are left out.
        alike: CSV with the columns sha1_a, sha1_b, relation; `similar` pairs are never negatives, and pairs of any
            relation stay on one side of a split.
        most: of more files than this, a sample is read; a picture takes about 150 kB of memory at 200 pixels.
    Raises:
        ConfigError: nothing there that can be decoded, or a CSV with other columns.
    """
    named = _read_alike(alike)  # a mistake in it is reported before all is decoded
    wanted = set(only.read_text(encoding="ascii").split()) if only else None
    paths = sorted(
        Path(root) / name
        for folder in folders
        for root, _, names in os.walk(folder)
        for name in names
        if Path(name).suffix.lower() in SUFFIXES
    )
    if wanted is None and len(paths) > most:
        logger.info("pictures sampled found=%d kept=%d", len(paths), most)
        paths = Random(0).sample(paths, most)
    with ThreadPoolExecutor(threads) as pool:
        decoded = pool.map(lambda path: _decode(path, short_side, wanted), paths)
        found: dict[str, tuple[Path, Pixels]] = {}
        for path, result in zip(paths, decoded, strict=True):
            if result is not None:
                found.setdefault(result[0], (path, result[1]))
    if not found:
        raise ConfigError(f"no pictures that can be decoded in {', '.join(map(str, folders))}")
    names = tuple(sorted(found))
    place = {name: i for i, name in enumerate(names)}
    pairs = [(a, b, relation) for a, b, relation in named if a in place and b in place]
    # Two may belong together by a third that was not read.
    roots = find_roots({*names, *(name for a, b, _ in named for name in (a, b))}, ((a, b) for a, b, _ in named))
    similar = frozenset((place[a], place[b]) for a, b, relation in pairs if relation == SIMILAR)
    return Pictures(
        sha1=names,
        pixels=tuple(found[name][1] for name in names),
        groups=tuple(roots[name] for name in names),
        similar=similar,
        paths=tuple(found[name][0] for name in names),
    )


def split_held_out(pictures: Pictures, count: int) -> tuple[list[int], list[int]]:
    """Return the indices to train on and at least `count` (at most a third) to hold out, by whole groups.

    Which groups are held out depends on their names alone.
    """
    order = sorted(set(pictures.groups), key=lambda group: hashlib.sha256(f"held out {group}".encode()).digest())
    members: dict[str, list[int]] = {group: [] for group in order}
    for index, group in enumerate(pictures.groups):
        members[group].append(index)
    held: list[int] = []
    for group in order:
        if len(held) >= min(count, len(pictures.groups) // 3):
            break
        held += members[group]
    chosen = set(held)
    return [index for index in range(len(pictures.groups)) if index not in chosen], sorted(held)


def with_lookalikes(pictures: Pictures, path: Path | None) -> Pictures:
    """Return the pictures with more of them known to belong together: a CSV like `alike`, found after the split."""
    place = {name: i for i, name in enumerate(pictures.sha1)}
    pairs = [(pictures.groups[place[a]], pictures.groups[place[b]]) for a, b, _ in _read_alike(path)
             if a in place and b in place]  # fmt: skip
    roots = find_roots(pictures.groups, pairs)
    return replace(pictures, groups=tuple(roots[group] for group in pictures.groups))


def source_of(pictures: Pictures, folders: Sequence[Path]) -> list[str]:
    """Return where each picture comes from: its first folder below the given ones, or the given one."""
    found = []
    for path in pictures.paths:
        home = next(folder for folder in folders if path.is_relative_to(folder))
        inner = path.relative_to(home).parts
        found.append(str(home / inner[0]) if len(inner) > 1 else str(home))
    return found


def kinds_of(pictures: Pictures, sources: Sequence[str], labels: Mapping[str, str] | None = None) -> list[str]:
    """Return the kind of each picture within its source: its label, else the folder it lies in.

    Args:
        labels: what pictures show, by sha1; see `read_labels`.
    Raises:
        ConfigError: labels of other pictures only.
    """
    label = labels or {}
    if label and not label.keys() & set(pictures.sha1):
        raise ConfigError(f"none of the {len(label)} labels is of a picture here; wanted the sha1 of files")
    return [
        f"{source}: {label[sha1]}" if label.get(sha1) else str(path.parent)
        for source, sha1, path in zip(sources, pictures.sha1, pictures.paths, strict=True)
    ]


def read_labels(path: Path) -> dict[str, str]:
    """Read a CSV that says what pictures show, with the columns sha1 and label; an empty label says nothing.

    Raises:
        ConfigError: other columns.
    """
    return {row["sha1"].strip().lower(): row["label"] or "" for row in read_rows(path, "labels", "sha1", "label")}


def _read_alike(path: Path | None) -> list[tuple[str, str, str]]:
    if path is None:
        return []
    columns = ("sha1_a", "sha1_b", "relation")
    return [(row["sha1_a"], row["sha1_b"], row["relation"]) for row in read_rows(path, "look-alikes", *columns)]


def read_rows(path: Path, what: str, *columns: str) -> list[dict[str, str]]:
    """Read a CSV, UTF-8, that has at least these columns.

    Raises:
        ConfigError: it has others; `what` says what it is for.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not set(columns) <= set(reader.fieldnames or ()):
            raise ConfigError(f"{what} {path} has the columns {reader.fieldnames}, expected {', '.join(columns)}")
        return list(reader)


def _decode(path: Path, short_side: int, wanted: set[str] | None) -> tuple[str, Pixels] | None:
    try:
        data = path.read_bytes()
        sha1 = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        if wanted is not None and sha1 not in wanted:
            return None
        with Image.open(io.BytesIO(data)) as opened:
            opened.draft("RGB", (short_side * 2, short_side * 2))
            picture = ImageOps.exif_transpose(opened)
            if picture.has_transparency_data:
                ground = Image.new("RGBA", picture.size, "white")
                picture = Image.alpha_composite(ground, picture.convert("RGBA"))
            picture = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        logger.warning("picture left out path=%s error=%s", path, error)
        return None
    scale = short_side / min(picture.size)
    if scale < 1:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.BOX)
    return sha1, np.array(picture)


def squeeze(pixels: Pixels, size: int) -> Pixels:
    """Return the whole picture as a tile of size × size, aspect ratio not kept."""
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))
