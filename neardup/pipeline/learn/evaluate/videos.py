"""The evaluation of videos: which references a query copies, and which seconds of which.

A CSV names true segments, with files relative to its folder:

    query,reference,query_start,query_end,reference_start,reference_end
    copy.mp4,film.mp4,0,12.5,31,43.5
    other.mp4,,,,,

A query may have several rows; one without a reference copies nothing. A further column, `kind`, may say what was done
to the query: figures are given for each kind, too. Every other file below the folder of the CSV is a reference. As for
pictures, all pairs of a query and a reference are in one ranking. Pairs are matched as by the stream: frames vote,
agreeing votes are segments, and a decision is taken.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from neardup.pipeline.errors import ConfigError, InvalidFrame
from neardup.pipeline.learn.evaluate.segments import Boxes, Pair, SegmentQuality, measure_segments
from neardup.pipeline.learn.shared.ranking import Ranking
from neardup.pipeline.log.records import Described, Entry, Matched, join_parts
from neardup.pipeline.log.verdicts import score
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.query.lookup import lookup
from neardup.pipeline.types import Decision

COLUMNS = ("query", "reference", "query_start", "query_end", "reference_start", "reference_end")
KIND = "kind"
TAKEN = {"duplicate": (Decision.DUPLICATE,), "duplicate or unsure": (Decision.DUPLICATE, Decision.UNSURE)}
"""What counts as found where segments are measured."""
Parts = Mapping[str, Sequence[Described]]


@dataclass(frozen=True)
class Truth:
    """What copies what.

    Attributes:
        queries: names, in order of the file, and their kinds, "" if none is given.
        boxes: of each pair that has something in common.
    """

    queries: Mapping[str, str]
    boxes: Mapping[Pair, Boxes]


@dataclass(frozen=True, slots=True)
class VideoResult:
    """What a system scored; all figures from 0 to 1.

    Attributes:
        micro_ap, recall_at_p90: over pairs of videos. recall_at_1: of the true pairs, found before any false one of
            the same query.
        segments: by what was taken as found, see TAKEN; empty for a system that finds none. curve: recall and
            precision. kinds: by name; empty for a system that does not decide.
    """

    name: str
    micro_ap: float
    recall_at_p90: float
    recall_at_1: float
    segments: dict[str, SegmentQuality]
    curve: tuple[list[float], list[float]]
    kinds: Mapping[str, KindResult]


@dataclass(frozen=True)
class VideoSet:
    """Videos of an evaluation, described, and their true segments. Names are paths relative to the CSV's folder.

    Attributes:
        kinds: of the queries, "" where none is given.
    """

    queries: Parts
    references: Parts
    true: Mapping[Pair, Boxes]
    kinds: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class KindResult:
    """What became of the queries of one kind.

    Attributes:
        pairs: true ones. found: those that are ranked above the threshold of `recall_at_p90` over all kinds.
        decided: how many of them are of each decision.
        seconds: median error of the times of those that are duplicate or unsure, nan without any, see `time_error`.
        queries: of this kind; false_pairs: their pairs with nothing in common, of each decision.
    """

    pairs: int
    found: int
    decided: Mapping[Decision, int]
    seconds: float
    queries: int
    false_pairs: Mapping[Decision, int]


def read_truth(path: Path) -> Truth:
    """Read the CSV.

    Raises:
        ConfigError: other columns, a value that is no number, a segment that ends before it starts, or no rows.
    """
    rows: dict[Pair, list[list[float]]] = {}
    queries: dict[str, str] = {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not set(COLUMNS) <= set(reader.fieldnames or ()):
            raise ConfigError(f"videos {path} has the columns {reader.fieldnames}, expected {', '.join(COLUMNS)}")
        for row in reader:
            queries[row["query"]] = row.get(KIND) or ""
            if not row["reference"]:
                continue
            try:
                box = [float(row[column]) for column in COLUMNS[2:]]
            except ValueError as error:
                raise ConfigError(f"videos {path} line {reader.line_num}: {error}, expected seconds") from error
            if not (0 <= box[0] <= box[1] and 0 <= box[2] <= box[3]):
                raise ConfigError(f"videos {path} line {reader.line_num}: a segment ends before it starts: {box}")
            rows.setdefault((row["query"], row["reference"]), []).append(box)
    if not rows:
        raise ConfigError(f"videos {path} names no segments")
    return Truth(queries, {pair: np.array(boxes) for pair, boxes in rows.items()})


def build_video_set(truth: Truth, described: Mapping[str, Sequence[Described] | InvalidFrame]) -> VideoSet:
    """Return the set.

    Args:
        described: what lies beside the CSV, by path relative to its folder; files that are no media may be among it.
    Raises:
        ConfigError: a file that the CSV names is not there, cannot be read, or is both a query and a reference.
    """
    usable = {name: parts for name, parts in described.items() if not isinstance(parts, InvalidFrame)}
    for name in (*truth.queries, *(reference for _, reference in truth.boxes)):
        if name not in usable:
            raise ConfigError(f"videos: {name!r} cannot be evaluated: {described.get(name, 'no such file')}")
    both = {reference for _, reference in truth.boxes}.intersection(truth.queries)
    if both:
        raise ConfigError(f"videos: {min(both)!r} is both a query and a reference; give it another name as a query")
    queries = {name: usable.pop(name) for name in truth.queries}
    return VideoSet(queries, usable, truth.boxes, truth.queries)


def match_all(given: VideoSet, make: Callable[[], State]) -> dict[Pair, Matched]:
    """Return how each query matches each reference that it has anything in common with.

    Args:
        make: returns an empty state.
    """
    state = make()
    records = [msgspec.structs.replace(part, id=name) for name, parts in given.references.items() for part in parts]
    state.apply([Entry(offset, record) for offset, record in enumerate(records)])
    queries = [msgspec.structs.replace(join_parts(parts), id=name) for name, parts in given.queries.items()]
    found = lookup(state, queries, len(given.references))
    return {
        (query.id, match.reference): match
        for query, matches in zip(queries, found, strict=True)
        for match in matches
    }  # fmt: skip


def measure_matches(name: str, given: VideoSet, matches: Mapping[Pair, Matched]) -> VideoResult:
    """Return the figures of a system that finds segments and decides; ranked by `verdicts.score`, as `match` does."""
    segments = {}
    for taken, which in TAKEN.items():
        found = {pair: boxes_of(match) for pair, match in matches.items() if match.decision in which}
        segments[taken] = measure_segments(found, given.true)
    scores = {pair: score(match) for pair, match in matches.items() if match.where.spans}
    return replace(measure_scores(name, given, scores, segments), kinds=_by_kind(given, matches, scores))


def _by_kind(given: VideoSet, matches: Mapping[Pair, Matched], scores: Mapping[Pair, float]) -> dict[str, KindResult]:
    correct = np.array([pair in given.true for pair in scores], dtype=np.bool_)
    ranking = Ranking(np.array(list(scores.values()), dtype=np.float64), correct, len(given.true))
    least = ranking.recall_at_precision(0.9)[1]
    found = {}
    for kind in dict.fromkeys(given.kinds.values()):
        mine = {query for query, its in given.kinds.items() if its == kind}
        true = [pair for pair in given.true if pair[0] in mine]
        taken = [pair for pair in true if pair in matches and matches[pair].decision is not Decision.DISTINCT]
        errors = [time_error(given.true[pair], boxes_of(matches[pair])) for pair in taken]
        found[kind] = KindResult(
            pairs=len(true),
            found=sum(scores.get(pair, -np.inf) >= least for pair in true),
            decided=Counter(matches[pair].decision for pair in taken),
            seconds=float(np.median(errors)) if errors else float("nan"),
            queries=len(mine),
            false_pairs=Counter(
                match.decision for pair, match in matches.items() if pair[0] in mine and pair not in given.true
            ),
        )
    return found


def time_error(true: Boxes, found: Boxes) -> float:
    """Return by how many seconds the four ends of true segments are missed on average; each by the nearest found."""
    away = np.abs(true[:, None] - found[None]).mean(axis=2)  # (true, found)
    return float(away.min(axis=1).mean())


def boxes_of(match: Matched) -> Boxes:
    """Return the segments of a match."""
    rows = [(one.query_start, one.query_end, one.reference_start, one.reference_end) for one in match.where.spans]
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def measure_scores(
    name: str, given: VideoSet, scores: Mapping[Pair, float], segments: dict[str, SegmentQuality] | None = None
) -> VideoResult:
    """Return the figures of a system that scores pairs of videos; pairs without a score were not found."""
    true = given.true
    correct = np.array([pair in true for pair in scores], dtype=np.bool_)
    ranking = Ranking(np.array(list(scores.values()), dtype=np.float64), correct, len(true))
    highest: dict[str, float] = {}
    for pair, its in scores.items():
        if pair not in true:
            highest[pair[0]] = max(its, highest.get(pair[0], -np.inf))
    first = [scores[pair] > highest.get(pair[0], -np.inf) for pair in true if pair in scores]
    return VideoResult(
        name=name,
        micro_ap=ranking.micro_ap,
        recall_at_p90=ranking.recall_at_precision(0.9)[0],
        recall_at_1=sum(first) / len(true) if true else 0.0,
        segments=segments or {},
        curve=ranking.curve(),
        kinds={},
    )


def best_frames(given: VideoSet) -> dict[Pair, float]:
    """Return for each pair the similarity of their most similar frames: what is left without segments."""
    references = {name: _vectors(parts) for name, parts in given.references.items()}
    scores = {}
    for query, parts in given.queries.items():
        frames = _vectors(parts)
        for name, others in references.items():
            scores[query, name] = float((frames @ others.T).max())
    return scores


def _vectors(parts: Sequence[Described]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return join_parts(parts).embedded().vectors
