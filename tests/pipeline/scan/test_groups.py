from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.sound_set import Carrier, carried, tone
from neardup.pipeline.cleanup.choose import make_plan
from neardup.pipeline.cleanup.plan import Include, Options
from neardup.pipeline.cleanup.quality import Looker
from neardup.pipeline.log.records import Matched, Verdict
from neardup.pipeline.report.tables import to_json
from neardup.pipeline.scan.groups import make_stacks
from neardup.pipeline.types import Decision, Doubt, Limits
from neardup.pipeline.where import Relation, Where, WhereKind
from tests.pipeline.report.build import a_file
from tests.pipeline.scan.build import scan_folder

A_PART = Where(kind=WhereKind.PART, query_box=(0.0, 0.0, 0.5, 0.5))


def said(number: int, *matches: Matched) -> Verdict:
    return Verdict(id=str(number), decision=Decision.DISTINCT, matches=matches)


def a_matched(reference: int, decision: Decision = Decision.DISTINCT, evidence: float = 0.5, **changes: Any) -> Matched:
    """Return a variant, or a copy with any other decision."""
    relation = Relation.VARIANT if decision is Decision.DISTINCT else Relation.COPY
    scores = {"distance": 0.1, "evidence": evidence, "probability": 0.1}
    facts = {"reference": str(reference), "bank": "seen", "decision": decision, "relation": relation}
    return Matched(**{**scores, **facts, **changes})


def stacks_of(count: int, *verdicts: Verdict) -> list[tuple[list[int], list[tuple[int, int]]]]:
    """Return the numbers of each stack's files, and of what its matches join."""
    files = {number: a_file(f"{number}.jpg", id=number) for number in range(count)}
    return [
        ([file.id for file in stack.files], [(match.file.id, match.reference.id) for match in stack.matches])
        for stack in make_stacks(verdicts, files)
    ]


def test_variants_of_variants_are_one_stack_and_strangers_are_in_none() -> None:
    burst = [said(n, *(a_matched(earlier) for earlier in range(max(0, n - 5), n))) for n in range(20)]
    meme = said(22, a_matched(20))
    [(files, matches), other] = stacks_of(23, *burst, said(20), said(21), meme)
    assert files == list(range(20))
    assert len(matches) == 19
    assert {number for match in matches for number in match} == set(files)
    assert other == ([20, 22], [(22, 20)])


def test_a_stack_is_joined_by_the_most_alike() -> None:
    verdicts = (said(1, a_matched(0, evidence=0.2)), said(2, a_matched(0, evidence=0.9), a_matched(1, evidence=0.6)))
    assert stacks_of(3, *verdicts) == [([0, 1, 2], [(2, 0), (2, 1)])]


def test_a_copy_stands_for_its_original_and_is_in_no_stack() -> None:
    """2 copies 0, and only 2 is known to be a variant of 1; 3 is one of its own original, which joins nothing."""
    copied = said(2, a_matched(0, Decision.DUPLICATE), a_matched(1))
    assert stacks_of(4, copied, said(3, a_matched(0, Decision.DUPLICATE), a_matched(0))) == [([0, 1], [(2, 1)])]


def test_unsure_and_partial_copies_and_what_only_resembles_make_no_stack() -> None:
    alike = a_matched(0, relation=Relation.COPY)
    part = a_matched(0, Decision.DUPLICATE, where=A_PART)
    assert stacks_of(4, said(1, a_matched(0, Decision.UNSURE)), said(2, part), said(3, alike)) == []
    assert stacks_of(3, said(1, part, a_matched(0)), said(2, a_matched(1))) == [([0, 1, 2], [(1, 0), (2, 1)])]


AAC, AC3 = Carrier("mp4", "aac", 96_000, 44_100), Carrier("mkv", "ac3", 96_000, gain_db=-6.0, delay=0.1)


def test_one_picture_under_other_songs_is_unsure_and_in_no_plan(tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    song, other = tone(12.0, 220.0), tone(12.0, 660.0)
    contents = {
        "1 song.mp4": carried(song, AAC),
        "2 again.mkv": carried(song, AC3),
        "3 other.mp4": carried(other, AAC),
        "4 muted.mp4": carried(None, AAC, 12.0),
        "5 no voice.mp4": carried(np.zeros(12 * 48_000), AAC),
    }
    for name, content in contents.items():
        (media / name).write_bytes(content)
    result = scan_folder(media)
    assert not result.skipped
    found = {
        Path(match.file.path).name: (match.decision, match.doubt, match.where.whole)
        for group in result.groups
        for match in group.matches
        if Path(group.original.path).name == "1 song.mp4"
    }
    assert found == {
        "2 again.mkv": (Decision.DUPLICATE, Doubt.NO, True),
        "3 other.mp4": (Decision.UNSURE, Doubt.OTHER_SOUND, True),
        "4 muted.mp4": (Decision.UNSURE, Doubt.NO_SOUND, True),
    }
    assert b'"doubt":"other-sound"' in to_json(result)
    plan = make_plan(result, Options(include=Include.DUPLICATE), Looker(Limits()))
    gone = {Path(os.fsdecode(move.gone.path)).name for move in plan.moves}
    assert "3 other.mp4" not in gone
    assert gone & {"1 song.mp4", "2 again.mkv"}  # one of the song's two readings may go
