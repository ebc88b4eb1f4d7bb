from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from neardup.pipeline.learn.calibrate.decisions import read_decisions
from neardup.pipeline.learn.shared.reviewed import Pair, decided_pairs, write_pairs
from neardup.pipeline.log.changes import Outcome, Reviewed
from neardup.pipeline.log.records import (
    Changed,
    Envelope,
    Event,
    Matched,
    Referenced,
    Replaced,
    RetroMatched,
    Rolling,
    Verdict,
)
from neardup.pipeline.types import Decision, Exact


def match(reference: str, evidence: float, bank: str = "seen", exact: Exact = Exact.NO) -> Matched:
    return Matched(
        reference=reference,
        bank=bank,
        decision=Decision.UNSURE,
        exact=exact,
        distance=0.5,
        evidence=evidence,
        probability=0.7,
    )


def verdict(item: str, *matches: Matched, head: str = "") -> Verdict:
    return Verdict(id=item, decision=Decision.UNSURE, matches=matches, head=head)


def said(item: str, reference: str, outcome: Outcome, bank: str = "seen", refused: str = "") -> Changed:
    record = Reviewed(item=item, reference=reference, outcome=outcome, bank=bank, by="ann")
    return Changed(record=record, refused=refused)


def pairs(*events: Event, bank: str = "") -> list[Pair]:
    log = [Envelope(offset=n, events=(event,), timestamp_ms=1000 * n) for n, event in enumerate(events)]
    return decided_pairs(lambda: iter(log), bank)


def test_a_decision_comes_with_the_evidence_it_was_taken_on_and_how_many_there_were() -> None:
    found = pairs(
        verdict("a"), verdict("b"), verdict("c", match("a", 0.625)), said("c", "a", Outcome.MATCH), verdict("d")
    )
    assert found == [Pair("c", "a", "seen", Outcome.MATCH, 3000, "ann", 0.625, 2)]


def test_the_last_word_counts_and_what_was_undone_or_refused_does_not() -> None:
    told = verdict("b", match("a", 0.5), match("z", 0.4))
    changed = pairs(
        told,
        said("b", "a", Outcome.MATCH),
        said("b", "z", Outcome.MATCH),
        said("b", "a", Outcome.NOT_A_MATCH),
        said("b", "y", Outcome.MATCH, refused="there is no item 'y'"),
        said("b", "z", Outcome.UNDO),
    )
    assert [(pair.reference, pair.outcome) for pair in changed] == [("a", Outcome.NOT_A_MATCH)]


def test_matches_found_later_and_those_of_live_videos_have_evidence_too() -> None:
    found = pairs(
        Referenced(id="r", bank="blocked"),
        RetroMatched(id="a", match=match("r", 0.75, "blocked")),
        Rolling(verdict=verdict("live", match("r", 0.5, "blocked"))),
        said("a", "r", Outcome.MATCH, "blocked"),
        said("live", "r", Outcome.NOT_A_MATCH, "blocked"),
    )
    assert [(pair.item, pair.evidence, pair.references) for pair in found] == [("a", 0.75, 1), ("live", 0.5, 1)]


def test_only_those_of_one_bank_are_asked_for() -> None:
    events = [
        verdict("b", match("r", 0.5), match("r", 0.6, "blocked")),
        said("b", "r", Outcome.MATCH),
        said("b", "r", Outcome.NOT_A_MATCH, "blocked"),
    ]
    assert [pair.bank for pair in pairs(*events)] == ["seen", "blocked"]
    assert [pair.evidence for pair in pairs(*events, bank="blocked")] == [0.6]


def test_an_id_that_has_other_content_by_now_is_left_out_and_its_evidence_stays() -> None:
    (pair,) = pairs(
        verdict("b", match("r", 0.5, "blocked")),
        said("b", "r", Outcome.MATCH, "blocked"),
        Replaced(id="r"),
        Replaced(id="b"),
    )
    assert (pair.item, pair.reference, pair.evidence) == ("", "r", 0.5)


def test_calibration_reads_what_is_written_and_passes_over_identical_contents(tmp_path: Path) -> None:
    text = io.StringIO()
    written = pairs(
        verdict("b", match("a", 0.5), match("x\r,1", 0.25), match("same", 1.0, exact=Exact.BYTES)),
        said("b", "a", Outcome.MATCH),
        said("b", "x\r,1", Outcome.NOT_A_MATCH),
        said("b", "same", Outcome.MATCH),
    )
    assert write_pairs(written, text) == 3
    assert [row[1] for row in csv.reader(io.StringIO(text.getvalue(), newline=""))][1:] == ["a", "x\r,1", "same"]
    assert text.getvalue().splitlines()[0] == "a,b,relation,bank,evidence,references,time,by"
    (tmp_path / "pairs.csv").write_text(text.getvalue(), encoding="utf-8", newline="")
    decisions = read_decisions(tmp_path / "pairs.csv")
    assert np.allclose(decisions.evidence, [0.5, 0.25])
    assert decisions.same.tolist() == [True, False]
