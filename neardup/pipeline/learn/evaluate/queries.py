"""The evaluation set: edited copies of pictures, searched for among those pictures and others.

As in DISC21, a part of the queries copies nothing. Each query has a kind of picture, a family of edits and a strength,
by which figures are cut. What edits paste in is set aside and is no reference: the query would be its copy, too. The
same pictures give the same set.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.learn.edits import EDITS, FAMILIES, Draw, chain, draw_steps
from neardup.pipeline.learn.shared.pictures import Pictures, read_rows
from neardup.pipeline.types import Pixels

STRENGTHS = {"light": 0.2, "medium": 0.5, "hard": 0.8}
WITHOUT_STRENGTH = {"mirror", "flip", "rotate_quarter", "grey"}
"""Edits that are done or not; they count as medium."""
CHAIN = "chain"
CHAINS = 6
"""A chain of each strength comes so many times as often as one edit of it."""
COPIES = 4
"""Queries made of each picture that is edited."""
WITHOUT_ORIGINAL = 0.2
"""Of the pictures that are edited, the share whose original is no reference."""
MEME = "meme"


@dataclass(frozen=True, slots=True)
class Query:
    """An edited picture. `original` is a place among the references, -1 for none; `edits` their names, joined by +."""

    pixels: Pixels
    original: int
    kind: str
    family: str
    strength: str
    edits: str


@dataclass(frozen=True)
class EvaluationSet:
    """Queries and references as RGB pictures of any size.

    Attributes:
        references, kinds: m pictures and what kind each is. background: pictures that are neither, for peers that
            need some.
        correct, counted: bool (q, m); pictures that belong together without being copies count neither way.
    """

    queries: Sequence[Query]
    references: Sequence[Pixels]
    kinds: Sequence[str]
    background: Sequence[Pixels]
    correct: npt.NDArray[np.bool_]
    counted: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Way:
    """A way of editing: an edit by name, or a chain of them; figures are cut by family and strength."""

    family: str
    strength: str
    name: str


def edit_in(way: Way, pixels: Pixels, draw: Draw) -> tuple[Pixels, str]:
    """Return a picture that was edited in this way, and the names of the edits, joined by +."""
    level = STRENGTHS[way.strength]
    steps = _draw_chain(draw, level) if way.name == CHAIN else [(way.name, level)]
    return chain(pixels, steps, draw), "+".join(name for name, _ in steps)


def find_kinds(pictures: Pictures, folders: Sequence[Path], names: Mapping[str, str]) -> list[str]:
    """Return the kind of each picture: its first folder below the given ones, renamed by `names`."""
    found = []
    for path in pictures.paths:
        inner = next((path.relative_to(folder).parts for folder in folders if path.is_relative_to(folder)), ())
        folder = inner[0] if len(inner) > 1 else ""
        found.append(names.get(folder, folder or "picture"))
    return found


def read_kinds(path: Path) -> dict[str, str]:
    """Return the kind of each folder, from a CSV with the columns folder, kind.

    Raises:
        ConfigError: other columns.
    """
    return {row["folder"]: row["kind"] for row in read_rows(path, "kinds", "folder", "kind")}


def build_set(
    pictures: Pictures, kinds: Sequence[str], most: int = 1000, memes: Mapping[str, int] | None = None, threads: int = 1
) -> EvaluationSet:
    """Render the set.

    Args:
        kinds: of each picture.
        most: pictures that are edited, COPIES times each; as many of each kind as there are.
        memes: of these kinds so many pictures (a third at most) get captions and become memes, before anything is
            edited.
    Raises:
        ConfigError: fewer than 20 pictures.
    """
    if len(pictures.pixels) < 20:
        raise ConfigError(f"{len(pictures.pixels)} pictures to evaluate with, expected at least 20")
    order = sorted(range(len(kinds)), key=lambda i: hashlib.sha256(f"evaluate {pictures.sha1[i]}".encode()).digest())
    pixels, kinds = list(pictures.pixels), list(kinds)
    for kind, count in (memes or {}).items():
        of_kind = [i for i in order[::-1] if kinds[i] == kind]
        for number, index in enumerate(of_kind[: min(count, len(of_kind) // 3)]):
            draw = Draw(np.random.default_rng((1, number)))
            pixels[index], kinds[index] = EDITS["meme"](pixels[index], draw.within(0.2, 0.8), draw), MEME
    aside, background = min(64, len(order) // 20), min(300, len(order) // 10)
    pasted = [pixels[i] for i in order[:aside]]
    apart, rest = order[aside : aside + background], order[aside + background :]
    edited = _choose(rest, kinds, min(most, len(rest)))
    without = set(edited[:: round(1 / WITHOUT_ORIGINAL)])
    references = [i for i in rest if i not in without]
    place = {index: row for row, index in enumerate(references)}

    def render(number: int) -> list[Query]:
        index = edited[number]
        found = []
        for copy in range(COPIES):
            way = WAYS[(number * COPIES + copy) % len(WAYS)]
            copied, names = edit_in(way, pixels[index], Draw(np.random.default_rng((2, number, copy)), pasted))
            found.append(Query(copied, place.get(index, -1), kinds[index], way.family, way.strength, names))
        return found

    with ThreadPoolExecutor(threads) as pool:
        queries = [query for made in pool.map(render, range(len(edited))) for query in made]
    return EvaluationSet(
        queries=queries,
        references=[pixels[i] for i in references],
        kinds=[kinds[i] for i in references],
        background=[pixels[i] for i in apart],
        **_truth(pictures, np.repeat(edited, COPIES), np.array(references)),
    )


def _truth(
    pictures: Pictures, made_of: npt.NDArray[np.int64], references: npt.NDArray[np.int64]
) -> dict[str, npt.NDArray[np.bool_]]:
    groups = np.unique(pictures.groups, return_inverse=True)[1]
    correct = made_of[:, None] == references
    return {"correct": correct, "counted": correct | (groups[made_of][:, None] != groups[references])}


def _choose(order: Sequence[int], kinds: Sequence[str], most: int) -> list[int]:
    """Return pictures of all kinds in turn, until there are `most`."""
    of_kind: dict[str, list[int]] = defaultdict(list)
    for index in order:
        of_kind[kinds[index]].append(index)
    rounds = max(map(len, of_kind.values()), default=0)
    turns = [members[turn] for turn in range(rounds) for _, members in sorted(of_kind.items()) if turn < len(members)]
    return turns[:most]


def _draw_chain(draw: Draw, level: float) -> list[tuple[str, float]]:
    """Return a random chain of at least two edits."""
    while True:
        steps = draw_steps(draw, level + 0.2)
        if len(steps) > 1:
            return steps


def _ways() -> list[Way]:
    ways = [
        Way(FAMILIES[name], strength, name)
        for name in sorted(EDITS)
        for strength in (("medium",) if name in WITHOUT_STRENGTH else STRENGTHS)
    ]
    ways += [Way(CHAIN, strength, CHAIN) for strength in STRENGTHS for _ in range(CHAINS)]
    return [ways[i] for i in np.random.default_rng(0).permutation(len(ways))]


WAYS = _ways()
"""Every way of editing, mixed."""
