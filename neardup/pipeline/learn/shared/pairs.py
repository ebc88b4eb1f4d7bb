"""Which pictures show the same, which do not, and which pairs say nothing.

Three sources, which add up:

- none: a picture is the same as its own edited copies, and different from every other;
- `classes`: each folder directly below a given one is a class (a person, a writer, a product). Two pictures of a class
  are a genuine pair, pictures of two classes an impostor pair. What lies in a folder `forged` of a class imitates it:
  against genuine pictures of the class it is an impostor, against other forged ones of the class it counts neither way.
- a CSV of pairs, such as a reviewer's decisions, which overrules both. Columns: `a` and `b`, a file's sha1 in hex, or
  its path from the CSV or from a folder of pictures, as are ids of `neardup ingest`; and `relation`: `same`,
  `different`, or `unknown` for a pair that counts neither way.

Known look-alikes (`Pictures.similar`) count neither way.
"""

from __future__ import annotations

import csv
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.learn.shared.pictures import Pictures, find_roots

logger = logging.getLogger(__name__)
FORGED = "forged"
RELATIONS = ("unknown", "same", "different")
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Others = Mapping[int, frozenset[int]]
"""For a picture, other pictures; whatever stands there stands the other way round, too."""


@dataclass(frozen=True)
class Relations:
    """What n pictures are to each other.

    Attributes:
        labels: int64 (n,), equal for pictures of one class; a number of its own for a picture without a class.
        forged: bool (n,).
        exceptions: for each of RELATIONS, pairs that are so whatever their labels say.
    """

    labels: Indices
    forged: Mask
    exceptions: Mapping[str, Others] = field(default_factory=dict)

    @property
    def classes(self) -> bool:
        """Whether any two pictures are of one class."""
        return len(np.unique(self.labels)) < len(self.labels)

    def masks(self, rows: Indices, columns: Indices) -> tuple[Mask, Mask]:
        """Return whether pictures (n,) and (m,) are the same, and whether they are different, both (n, m).

        A picture is the same as itself: that is what its edited copies are.
        """
        own = rows[:, None] == columns
        alike = self.labels[rows][:, None] == self.labels[columns]
        forged = self.forged[rows][:, None].astype(int) + self.forged[columns]
        same, different = own | (alike & (forged == 0)), ~alike | (alike & (forged == 1))
        for relation, others in self.exceptions.items():
            for row in np.flatnonzero([index in others for index in rows.tolist()]):
                at = np.isin(columns, list(others[int(rows[row])]))
                same[row, at], different[row, at] = relation == "same", relation == "different"
        return same, different

    def companions(self, members: Sequence[int]) -> list[list[int]]:
        """Return for each member the positions of members that teach something beside it: its class, named pairs."""
        place = {index: position for position, index in enumerate(members)}
        of_label: dict[int, list[int]] = defaultdict(list)
        for position, index in enumerate(members):
            of_label[int(self.labels[index])].append(position)
        found = []
        for position, index in enumerate(members):
            mates = [mate for mate in of_label[int(self.labels[index])] if mate != position]
            for relation in ("same", "different"):
                named = self.exceptions.get(relation, {}).get(index, frozenset())
                mates += [place[other] for other in sorted(named) if other in place]
            found.append(mates)
        return found


def find_relations(
    pictures: Pictures, folders: Sequence[Path], classes: bool = False, pairs: Path | None = None
) -> tuple[Relations, Pictures]:
    """Return what the pictures are to each other, and the pictures with groups that a split must not part.

    Args:
        folders: those that the pictures were loaded from. classes: whether each of their folders is a class.
        pairs: a CSV, see above; pairs that name a picture which was not loaded are left out.
    Raises:
        ConfigError: the CSV has other columns or relations.
    """
    names = [_find_class(path, folders) if classes else None for path in pictures.paths or [None] * len(pictures.sha1)]
    numbers: dict[str, int] = {}
    labels = [
        len(pictures.sha1) + numbers.setdefault(name[0], len(numbers)) if name else index
        for index, name in enumerate(names)
    ]
    named = _read_pairs(pairs, pictures, folders) if pairs else []
    told = [*((a, b, "unknown") for a, b in pictures.similar), *named]
    exceptions = {relation: _both_ways((a, b) for a, b, what in told if what == relation) for relation in RELATIONS}
    relations = Relations(
        labels=np.array(labels, dtype=np.int64),
        forged=np.array([bool(name and name[1]) for name in names], dtype=np.bool_),
        exceptions={relation: others for relation, others in exceptions.items() if others},
    )
    return relations, replace(pictures, groups=_join(pictures, relations.labels, named))


def _find_class(path: Path | None, folders: Sequence[Path]) -> tuple[str, bool] | None:
    """Return the name of the class and whether the picture is a forged one; None for a picture in no class."""
    for folder in folders:
        if path is not None and path.is_relative_to(folder):
            inner = path.relative_to(folder).parts[:-1]
            if inner:
                return inner[0], FORGED in (part.lower() for part in inner[1:])
    return None


def _read_pairs(path: Path, pictures: Pictures, folders: Sequence[Path]) -> list[tuple[int, int, str]]:
    place = {sha1: index for index, sha1 in enumerate(pictures.sha1)}
    by_path = {file.resolve(): index for index, file in enumerate(pictures.paths)}

    def find(name: str) -> int | None:
        """Return the picture of a sha1, of a path from the CSV, or of one below a folder where only one has it."""
        if name.lower() in place:
            return place[name.lower()]
        if (beside := by_path.get((path.parent / name).resolve())) is not None:
            return beside
        below = {by_path[file] for folder in folders if (file := (folder / name).resolve()) in by_path}
        return below.pop() if len(below) == 1 else None

    found, lost = [], 0
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not {"a", "b", "relation"} <= set(reader.fieldnames or ()):
            raise ConfigError(f"pairs {path} has the columns {reader.fieldnames}, expected a, b, relation")
        for row in reader:
            if row["relation"] not in RELATIONS:
                wanted = ", ".join(RELATIONS)
                raise ConfigError(f"pairs {path} line {reader.line_num}: {row['relation']!r}, expected one of {wanted}")
            a, b = find(row["a"] or ""), find(row["b"] or "")
            if a is None or b is None or a == b:
                lost += 1
            else:
                found.append((a, b, row["relation"]))
    if lost:
        logger.warning("pairs left out that name pictures which are not there left_out=%d kept=%d", lost, len(found))
    return found


def _both_ways(pairs: Iterable[tuple[int, int]]) -> dict[int, frozenset[int]]:
    others: dict[int, set[int]] = defaultdict(set)
    for a, b in pairs:
        others[a].add(b)
        others[b].add(a)
    return {index: frozenset(found) for index, found in others.items()}


def _join(pictures: Pictures, labels: Indices, named: Sequence[tuple[int, int, str]]) -> tuple[str, ...]:
    """Return the groups, with those of one class and of named pairs made one."""
    first: dict[int, int] = {}
    pairs = [(group, pictures.sha1[index]) for index, group in enumerate(pictures.groups)]
    pairs += [
        (pictures.sha1[first.setdefault(label, index)], pictures.sha1[index])
        for index, label in enumerate(labels.tolist())
    ]
    pairs += [(pictures.sha1[a], pictures.sha1[b]) for a, b, _ in named]
    roots = find_roots((*pictures.sha1, *pictures.groups), pairs)
    return tuple(roots[sha1] for sha1 in pictures.sha1)
