"""What an evaluation says of videos: tables, JSON, and sections of the page with the worst mistakes as pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from neardup.pipeline.errors import InvalidFrame
from neardup.pipeline.learn.evaluate.chapters import Chapter
from neardup.pipeline.learn.evaluate.segments import Boxes, Pair, covered
from neardup.pipeline.learn.evaluate.videos import TAKEN, KindResult, VideoResult, VideoSet, boxes_of
from neardup.pipeline.learn.shared.chart import Chart, Line
from neardup.pipeline.learn.shared.page import Case, Picture, Section, Table, encode
from neardup.pipeline.log.records import Matched
from neardup.pipeline.media.reader import frame_at
from neardup.pipeline.media.tile import squeeze
from neardup.pipeline.types import Decision, Pixels, Span

MISTAKES = 8
HEAD = ("videos", "micro-AP", "recall at 90 % precision", "recall@1")
SEGMENTS_HEAD = ("segments of what is", "precision", "recall", "F1", "pairs", "of them wrong")
KINDS_HEAD = (
    *("kind", "true pairs", "found at 90 % precision", "duplicate", "unsure", "time error"),
    *("queries", "false duplicate", "false unsure"),
)
TILE, SIDE = 224, 320
NONE: Boxes = np.zeros((0, 4))


@dataclass(frozen=True)
class VideoEvaluation:
    """Videos, what systems scored on them (the first is ours), how ours matched them, and the folder they are in."""

    given: VideoSet
    results: Sequence[VideoResult]
    matches: Mapping[Pair, Matched]
    folder: Path


def describe_videos(given: VideoSet) -> str:
    """Return what the set is, in a sentence."""
    true = given.true
    copies = {query for query, _ in true}
    return (
        f"{len(copies):,} videos with {sum(map(len, true.values())):,} copied segments and "
        f"{len(given.queries) - len(copies):,} that copy nothing, among {len(given.references):,} references."
    )


def video_figures(results: Sequence[VideoResult]) -> Table:
    """Return the table of all systems, by pairs of videos."""
    rows = [
        (one.name, *(f"{value:.3f}" for value in (one.micro_ap, one.recall_at_p90, one.recall_at_1)))
        for one in results
    ]  # fmt: skip
    return Table(HEAD, rows, frozenset({results[0].name}))


def segment_figures(results: Sequence[VideoResult]) -> Table:
    """Return how well segments are located, of systems that find some."""
    several = sum(bool(one.segments) for one in results) > 1
    rows = [
        (
            f"{one.name}: {taken}" if several else taken,
            *(f"{value:.3f}" for value in (found.precision, found.recall, found.f1)),
            f"{found.pairs:,}",
            f"{found.wrong:,}",
        )
        for one in results
        for taken, found in one.segments.items()
    ]
    return Table(SEGMENTS_HEAD, rows)


def kind_figures(results: Sequence[VideoResult]) -> Table:
    """Return what became of each kind of query, by the first system."""
    rows = []
    for kind, one in results[0].kinds.items():
        shares = (one.found, one.decided.get(Decision.DUPLICATE, 0), one.decided.get(Decision.UNSURE, 0))
        told = [f"{count / one.pairs:.2f}" for count in shares] if one.pairs else ["–"] * 3
        seconds = "–" if math.isnan(one.seconds) else f"{one.seconds:.2f} s"
        wrong = [f"{one.false_pairs.get(decision, 0):,}" for decision in (Decision.DUPLICATE, Decision.UNSURE)]
        rows.append((kind, f"{one.pairs:,}", *told, seconds, f"{one.queries:,}", *wrong))
    return Table(KINDS_HEAD, rows)


def _as_json(evaluation: VideoEvaluation) -> dict[str, Any]:
    """Return all figures for programs."""
    systems = []
    for one in evaluation.results:
        segments = {taken: {**asdict(found), "f1": found.f1} for taken, found in one.segments.items()}
        kinds = {kind: _kind_as_json(its) for kind, its in one.kinds.items()}
        systems.append({**asdict(replace(one, kinds={})), "segments": segments, "kinds": kinds})
    return {"set": describe_videos(evaluation.given), "systems": systems}


def _kind_as_json(one: KindResult) -> dict[str, Any]:
    """Return the figures of a kind; no number stands for no error of time."""
    decided = {
        name: {key.value: count for key, count in getattr(one, name).items()} for name in ("decided", "false_pairs")
    }
    return {**asdict(one), **decided, "seconds": None if math.isnan(one.seconds) else one.seconds}


def video_chapter(evaluation: VideoEvaluation) -> Chapter:
    """Return tables, a curve, and what is missed or wrong, as pictures."""
    first = evaluation.results[0]
    located = first.segments["duplicate or unsure"]
    return Chapter(
        title=f"Videos: micro-AP {first.micro_ap:.3f}, segment F1 {located.f1:.3f}",
        lead=f"{first.name}. {describe_videos(evaluation.given)} Small reference sets flatter: compare within this "
        "page only, not with published figures.",
        told={"videos": _as_json(evaluation)},
        sections=_sections(evaluation),
    )


def _sections(evaluation: VideoEvaluation) -> tuple[Section, ...]:
    results = evaluation.results
    chart = Chart(
        "Precision over recall, pairs of videos", "recall", [Line(one.name, *one.curve) for one in results],
        low=0.0, high=1.0,
    )  # fmt: skip
    return (
        Section(
            "Videos",
            f"{describe_videos(evaluation.given)} All pairs of a query and a reference are ranked together; what was "
            "not found comes last.",
            charts=(chart,),
            tables=(video_figures(results),),
        ),
        Section(
            "Segments of videos",
            "Seconds that predicted and true segments share, on the query's axis times the reference's, as VCSL "
            "counts them. Precision is over pairs in which something was predicted, recall over pairs with something "
            "in common.",
            tables=(segment_figures(results),),
        ),
        Section(
            "Videos by what was done to them",
            "The threshold of 90 % precision is that of all kinds together. Time error: by how many seconds the ends "
            "of true segments are missed, median over what is duplicate or unsure. False pairs have nothing in common.",
            tables=(kind_figures(results),),
        ),
        Section(
            "Segments that are missed or misplaced",
            "Pairs of which least is covered, on both axes; beginnings of the true segments as pictures.",
            cases=_missed(evaluation),
        ),
        Section(
            "Videos that look like copies",
            "Pairs with nothing in common that were decided duplicate or unsure, the highest evidence first.",
            cases=_strangers(evaluation),
        ),
    )


def _missed(evaluation: VideoEvaluation) -> list[Case]:
    ranked = []
    for pair, true in evaluation.given.true.items():
        match = evaluation.matches.get(pair)
        found = NONE if match is None or match.decision not in TAKEN["duplicate or unsure"] else boxes_of(match)
        ranked.append((covered(true, found), pair, true, found, "nothing" if match is None else match.decision.value))
    ranked.sort(key=lambda one: one[:2])
    return [
        Case(
            f"{pair[0]} in {pair[1]}: {share:.0%} covered ({decision}). True {_told(true)}; found {_told(found)}.",
            (
                _picture(evaluation.folder / pair[0], "query", float(true[0, 0])),
                _picture(evaluation.folder / pair[1], "reference", float(true[0, 2])),
            ),
        )
        for share, pair, true, found, decision in ranked[:MISTAKES]
        if share < 1
    ]


def _strangers(evaluation: VideoEvaluation) -> list[Case]:
    true = evaluation.given.true
    wrong = [
        (match.evidence, pair, match)
        for pair, match in evaluation.matches.items()
        if pair not in true and match.decision is not Decision.DISTINCT
    ]
    wrong.sort(key=lambda one: (-one[0], one[1]))
    return [
        Case(
            f"{pair[0]} and {pair[1]}: {match.decision.value}, evidence {evidence:.3f}. "
            f"Found {_told(boxes_of(match))}.",
            (
                _picture(evaluation.folder / pair[0], "query", first.query_start),
                _picture(evaluation.folder / pair[1], "reference", first.reference_start),
            ),
        )
        for evidence, pair, match in wrong[:MISTAKES]
        for first in match.where.spans[:1] or [Span(0.0, 0.0, 0.0, 0.0)]
    ]


def _told(boxes: Boxes) -> str:
    return ", ".join(f"{a:.1f}–{b:.1f} s as {c:.1f}–{d:.1f} s" for a, b, c, d in boxes.tolist()) or "nothing"


def _picture(path: Path, caption: str, seconds: float) -> Picture:
    try:
        pixels: Pixels = frame_at(path, math.nextafter(seconds, math.inf), SIDE)
    except InvalidFrame:
        pixels = np.full((SIDE // 2, SIDE, 3), 127, dtype=np.uint8)
    pixels = pixels if pixels.flags.writeable else pixels.copy()  # torch warns of those that cannot be written
    height, width = pixels.shape[:2]
    return encode(
        f"{caption}, {seconds:.1f} s",
        squeeze(pixels, TILE),
        (height, width),
    )
