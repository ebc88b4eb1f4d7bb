"""Small scan results, built by hand, for the tests of the report."""

from __future__ import annotations

import itertools
from typing import Any

from neardup.pipeline.prove.finding import BlockMap, Finding, Ground, ProofSummary
from neardup.pipeline.report.result import File, Group, Match, ScanResult, Skipped, Stack, Variant
from neardup.pipeline.types import Decision, Exact, Kind, Span
from neardup.pipeline.where import Relation, Transform, Where, WhereKind

_ids = itertools.count()


def a_file(path: str, **changes: Any) -> File:
    """Return a JPEG of 400×300 pixels and 1000 bytes, changed by the 1st of January 2024."""
    facts: dict[str, Any] = {
        "kind": Kind.IMAGE,
        "format": "jpeg",
        "width": 400,
        "height": 300,
        "seconds": 0.0,
        "bytes": 1000,
        "modified": 1_704_067_200.0,
    }
    return File(**{"id": next(_ids), "path": path, **facts, **changes})


def a_video(path: str, seconds: float = 10.0, **changes: Any) -> File:
    """Return an mp4."""
    return a_file(path, kind=Kind.VIDEO, format="mp4", seconds=seconds, **changes)


def a_match(file: File, decision: Decision = Decision.DUPLICATE, **changes: Any) -> Match:
    """Return a whole-file match, `duplicate` with probability 0.99 unless told otherwise."""
    scores: dict[str, Any] = {"exact": Exact.NO, "distance": 0.25, "evidence": 0.75, "probability": 0.99}
    return Match(file=file, decision=decision, **{**scores, **changes})


AS_IT_IS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def a_proof(**changes: Any) -> ProofSummary:
    """Return the proof of a copy: four blocks, all of which agree."""
    facts: dict[str, Any] = {"finding": Finding.COPY, "ground": Ground.AGREES, "agreeing": 1.0}
    return ProofSummary(**{**facts, "map": BlockMap(columns=2, blocks="1111"), **changes})


def a_copy(file: File, transform: Transform = AS_IT_IS, **changes: Any) -> Match:
    """Return a match of a whole file that is proved; the changes are of its proof."""
    return a_match(file, where=Where(kind=WhereKind.WHOLE, transform=transform), proof=a_proof(**changes))


def a_part(file: File, *spans: Span, **changes: Any) -> Match:
    """Return a match of a part."""
    return a_match(file, where=Where(kind=WhereKind.PART, spans=spans), **changes)


def a_result(*groups: Group, skipped: tuple[Skipped, ...] = (), **changes: Any) -> ScanResult:
    """Return the result of a scan of `Pictures` that found these groups."""
    facts: dict[str, Any] = {
        "roots": ("Pictures",),
        "images": 12,
        "videos": 3,
        "unchanged": 0,
        "seconds": 1.5,
        "created": 1_704_067_200.0,
        "version": "0.1.0",
        "model": "test-model",
        "space": "0123abcd",
        "precision": 0.99,
    }
    return ScanResult(groups=groups, skipped=skipped, **{**facts, **changes})


def a_group(original: File, *matches: Match) -> Group:
    """Return a group."""
    return Group(original=original, matches=matches)


def a_stack(*files: File, **changes: Any) -> Stack:
    """Return a stack in which each file is a variant of the one before it."""
    scores: dict[str, Any] = {"distance": 0.25, "evidence": 0.75, "probability": 0.02, **changes}
    facts = {"decision": Decision.DISTINCT, "relation": Relation.VARIANT, **scores}
    pairs = itertools.pairwise(files)
    return Stack(files=files, matches=tuple(Variant(file=after, reference=before, **facts) for before, after in pairs))
