"""What an evaluation says of pictures: tables, JSON, and sections of the page with curves and mistakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import numpy.typing as npt

from neardup.pipeline.learn.evaluate.chapters import Chapter
from neardup.pipeline.learn.evaluate.measure import CUTS, Result
from neardup.pipeline.learn.evaluate.queries import EvaluationSet
from neardup.pipeline.learn.evaluate.systems import tiles
from neardup.pipeline.learn.shared.chart import Chart, Line
from neardup.pipeline.learn.shared.mistakes import worst_missed, worst_strangers
from neardup.pipeline.learn.shared.page import Case, Picture, Section, Table, encode
from neardup.pipeline.types import Pixels

MISTAKES = 12
TILE = 224
HEAD = ("", "micro-AP", "recall at 90 % precision", "recall at pair rate 1e-6", "recall@1")
TITLES = {
    "kind": "By kind of picture", "family": "By family of edits", "strength": "By strength of the edit",
    "edit": "By edit",
}  # fmt: skip
STRENGTH_ORDER = ("light", "medium", "hard")


def figures(results: Sequence[Result], missing: Mapping[str, str] = {}) -> Table:
    """Return the table of all systems; the first system is ours.

    Args:
        missing: peers that were not measured, and the package that each lacks.
    """
    rows = [
        (
            one.name,
            *(f"{value:.3f}" for value in (one.micro_ap, one.recall_at_p90, one.recall_at_rate, one.recall_at_1)),
        )
        for one in results
    ]
    rows += [(f"{peer}: {package} is not installed", "", "", "", "") for peer, package in missing.items()]
    return Table(HEAD, rows, frozenset({results[0].name}))


def cut_tables(results: Sequence[Result], cut: str) -> tuple[Table, Table]:
    """Return micro-AP of all systems by slice, and the recall of ours at its one threshold of 90 % precision."""
    slices = sorted(results[0].cuts[cut], key=lambda one: _order(one.name))
    by_name = [{one.name: one for one in result.cuts[cut]} for result in results]
    quality = Table(
        ("micro-AP", *(one.name.replace("_", " ") for one in slices)),
        [
            (result.name, *(f"{found[one.name].micro_ap:.3f}" for one in slices))
            for result, found in zip(results, by_name, strict=True)
        ],
        frozenset({results[0].name}),
    )
    recall = Table(
        ("", "copies", "recall at 90 % precision", "micro-AP"),
        [
            (one.name.replace("_", " "), f"{one.copies:,}", f"{one.recall:.3f}", f"{one.micro_ap:.3f}")
            for one in (sorted(slices, key=lambda one: one.recall) if cut == "edit" else slices)
        ],
    )
    return quality, recall


def describe(given: EvaluationSet) -> str:
    """Return what the set is, in a sentence."""
    copies = int(given.correct.any(axis=1).sum())
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(Counter(given.kinds).items()))
    return (
        f"{copies:,} edited copies and {len(given.queries) - copies:,} queries without an original, among "
        f"{len(given.references):,} references ({kinds})."
    )


def picture_chapter(
    given: EvaluationSet,
    results: Sequence[Result],
    scores: npt.NDArray[np.float32],
    missing: Mapping[str, str] = {},
) -> Chapter:
    """Return curves, tables and mistakes.

    Args:
        results: the first is ours. scores: (q, m), of the first. missing: see `figures`.
    """
    systems = [{**asdict(one), "threshold": None if np.isinf(one.threshold) else one.threshold} for one in results]
    first = results[0]
    sections = [
        Section(
            "All systems",
            "All pairs of all queries are ranked together, ties worst-case. Recall counts every copy, found or not.",
            charts=(_curves(results),),
            tables=(figures(results, missing),),
        )
    ]
    for cut in CUTS:
        quality, recall = cut_tables(results, cut)
        lead = f"Recall: copies above the one threshold of {first.name} that has 90 % precision over all queries."
        tables = (recall,) if cut == "edit" else (quality, recall)
        sections.append(Section(TITLES[cut], lead, tables=tables))
    return Chapter(
        title=f"micro-AP {first.micro_ap:.3f}, recall {first.recall_at_p90:.3f} at 90 % precision",
        lead=f"{first.name}. {describe(given)} Small reference sets flatter: compare within this page only, not with "
        "published figures.",
        told={"set": describe(given), "systems": systems},
        sections=(*sections, *_mistakes(given, scores)),
    )


def _order(name: str) -> tuple[int, str]:
    return (STRENGTH_ORDER.index(name) if name in STRENGTH_ORDER else 0, name)


def _curves(results: Sequence[Result]) -> Chart:
    """Draw ours and the best of the others, five lines at most: more cannot be distinguished."""
    chosen = [results[0], *sorted(results[1:], key=lambda one: -one.micro_ap)[:4]]
    return Chart("Precision over recall", "recall", [Line(one.name, *one.curve) for one in chosen], low=0.0, high=1.0)


def _mistakes(given: EvaluationSet, scores: npt.NDArray[np.float32]) -> tuple[Section, Section]:
    missed = worst_missed(scores, given.correct, given.counted, MISTAKES)
    strangers = worst_strangers(scores, given.correct, given.counted, MISTAKES)
    return (
        Section(
            "Copies that are missed",
            "Another reference was ranked before the original; those furthest behind.",
            cases=[
                Case(
                    f"{_edits(given, one.query)}; original {one.score:.3f}, ranked first {one.score_instead:.3f}",
                    (
                        _picture("query", given.queries[one.query].pixels),
                        _picture("its original", given.references[one.original]),
                        _picture("ranked first", given.references[one.instead]),
                    ),
                )
                for one in missed
            ],
        ),
        Section(
            "Strangers that look like copies",
            "The highest scores of pairs that are no copies.",
            cases=[
                Case(
                    f"{_edits(given, one.query)}; score {one.score:.3f}",
                    (
                        _picture("query", given.queries[one.query].pixels),
                        _picture("a stranger", given.references[one.reference]),
                    ),
                )
                for one in strangers
            ],
        ),
    )


def _picture(caption: str, pixels: Pixels) -> Picture:
    height, width = pixels.shape[:2]
    return encode(caption, tiles([pixels], TILE)[0], (height, width))


def _edits(given: EvaluationSet, query: int) -> str:
    one = given.queries[query]
    return f"{one.kind}, {one.edits.replace('+', ', ').replace('_', ' ')}, {one.strength}"
