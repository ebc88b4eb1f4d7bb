"""Items that wait for proofs: what they are decided on, and when."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import pytest

from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.log.changes import (
    Action,
    BankChanged,
    BankEdit,
    ClusterEdit,
    ClusterEdited,
    Outcome,
    ReferenceChanged,
    ReferenceEdit,
    Reviewed,
)
from neardup.pipeline.log.proofs import Asked, ItemProved, ProofExpired, ProofPending, answer
from neardup.pipeline.log.records import Described, Entry, Matched, Record, Redecided, ReHeaded, Removed, Verdict
from neardup.pipeline.match.apply.snapshot import VECTORS, Snapshots
from neardup.pipeline.match.compare.compare import PROVED
from neardup.pipeline.match.data.undecided import LATE_MS
from neardup.pipeline.prove.finding import Proved
from neardup.pipeline.types import Decision, Doubt, Exact
from neardup.pipeline.where import Relation
from tests.pipeline.match.build import (
    AGREES,
    NOTHING_FITS,
    OTHER_WRITING,
    SHIFTED,
    D,
    Film,
    Log,
    a_calibration,
    a_state,
    edited,
    picture,
    times,
    video,
)

HIGH, MIDDLE, LOW = 20.0, 30.0, 60.0
"""Angles whose evidence alone makes a duplicate, leaves it unsure, and is not worth a proof."""


def a_log(**options: object) -> Log:
    return Log(a_state(asks=True, **options))  # type: ignore[arg-type]


def pending(log: Log, *records: Record) -> ProofPending:
    *_, event = log.events(*records)
    assert isinstance(event, ProofPending), event
    return event


def prove(log: Log, waiting: ProofPending, *proofs: Proved | None) -> Verdict:
    event, *_ = log.events(answer(waiting.asked, proofs))
    assert isinstance(event, Verdict), event
    return event


def only(verdict: Verdict) -> Matched:
    (match,) = verdict.matches
    return match


def reference(record: Described, bank: str = "banned") -> Described:
    return msgspec.structs.replace(record, bank=bank)


def test_what_resembles_nothing_is_decided_at_once() -> None:
    log = a_log()
    assert log.verdict(picture("a", 0)).decision is Decision.DISTINCT
    assert log.verdict(picture("b", LOW)).decision is Decision.DISTINCT
    assert len(log.state.undecided) == 0


def test_identical_content_is_decided_at_once() -> None:
    log = a_log()
    log.events(picture("a", 0))
    verdict = log.verdict(picture("b", 0, sha256=b"content of a"))
    assert (only(verdict).exact, verdict.head) == (Exact.BYTES, "a")


def test_all_identical_references_are_exact_and_none_is_asked_about() -> None:
    log = a_log()
    log.events(BankChanged(bank="banned"), *(reference(picture(f"r{n}", 0, sha256=b"x")) for n in range(3)))
    verdict = log.verdict(picture("q", 0, sha256=b"x"))
    found = [(one.reference, one.exact) for one in verdict.matches]
    assert found == [("r0", Exact.BYTES), ("r1", Exact.BYTES), ("r2", Exact.BYTES)]


def test_identical_items_that_become_one_star_meanwhile_are_listed_once() -> None:
    log = a_log()
    log.add(BankChanged(bank="banned", edit=BankEdit.SET, action=Action.FLAG), reference(picture("ref", MIDDLE)))
    first, second, third = (pending(log, picture(name, 0, sha256=b"same")) for name in "abc")
    for waiting in (first, second):
        prove(log, waiting, *[AGREES] * len(waiting.asked.asks))
    verdict = prove(log, third, *[AGREES] * len(third.asked.asks))
    assert [(one.bank, one.reference) for one in verdict.matches] == [("banned", "ref"), ("seen", "a")]


def test_among_many_look_alikes_an_item_finds_what_came_in_its_batch() -> None:
    found = []
    for together in (False, True):
        log = a_log(calibration=a_calibration(cohort_weight=0.0))
        log.add(*(picture(f"v{n}", n * 0.05) for n in range(66)))  # more than are first looked at
        newest = [picture("a", 10.0), picture("x", 10.2)]
        batches = [newest] if together else [[one] for one in newest]
        events = [event for batch in batches for envelope in log.add(*batch) for event in envelope.events]
        found.append(events)
        waiting = events[-1]
        assert isinstance(waiting, ProofPending)
        assert "a" in [*(one.reference for one in waiting.beside), *(one.reference for one in waiting.asked.asks)]
    assert found[0] == found[1]


def test_a_candidate_is_asked_about_and_a_copy_is_a_duplicate_when_it_is_proved() -> None:
    log = a_log()
    log.events(picture("a", 0))
    waiting = pending(log, picture("b", MIDDLE))
    (ask,) = waiting.asked.asks
    assert (ask.bank, ask.reference, ask.offset, ask.sha256) == ("seen", "a", 0, b"content of a")
    assert (waiting.asked.id, waiting.asked.offset, waiting.asked.sha256) == ("b", 1, b"content of b")
    verdict = prove(log, waiting, AGREES)
    assert (verdict.decision, verdict.head, only(verdict).reference) == (Decision.DUPLICATE, "a", "a")
    assert only(verdict).where.transform == SHIFTED
    assert log.head_of("b") == "a"
    assert len(log.state.undecided) == 0


@pytest.mark.parametrize("degrees", [HIGH, MIDDLE])
def test_a_variant_is_distinct_and_listed(degrees: float) -> None:
    log = a_log()
    log.events(picture("a", 0))
    verdict = prove(log, pending(log, picture("b", degrees)), OTHER_WRITING)
    assert (verdict.decision, only(verdict).relation) == (Decision.DISTINCT, Relation.VARIANT)
    assert log.head_of("b") == "b"


def test_what_is_not_proved_is_unsure_at_most() -> None:
    log = a_log()
    log.events(picture("a", 0))
    verdict = prove(log, pending(log, picture("b", HIGH)), NOTHING_FITS)
    assert (verdict.decision, log.head_of("b")) == (Decision.UNSURE, "b")


def test_evidence_decides_where_pictures_are_not_to_be_had() -> None:
    log = a_log()
    log.events(picture("a", 0))
    assert prove(log, pending(log, picture("b", HIGH)), None).decision is Decision.DUPLICATE


def test_late_repeated_and_unknown_answers_have_no_effect() -> None:
    log = a_log()
    log.events(picture("a", 0))
    waiting = pending(log, picture("b", MIDDLE))
    given = answer(waiting.asked, [AGREES])
    assert log.events(msgspec.structs.replace(given, offset=77)) == []
    assert log.events(msgspec.structs.replace(given, id="other")) == []
    stale = msgspec.structs.replace(given.pairs[0], offset=5)
    assert log.events(msgspec.structs.replace(given, pairs=(stale,))) == []
    assert len(log.events(given)) == 1
    assert log.events(given) == []
    assert log.events(ProofExpired(id="b", offset=1)) == []


def test_of_two_answers_in_one_record_the_first_counts() -> None:
    log = a_log()
    log.events(picture("a", 0))
    waiting = pending(log, picture("b", MIDDLE))
    (first,), (second,) = answer(waiting.asked, [AGREES]).pairs, answer(waiting.asked, [OTHER_WRITING]).pairs
    (verdict,) = log.events(ItemProved(id="b", offset=1, pairs=(first, second)))
    assert isinstance(verdict, Verdict)
    assert verdict.decision is Decision.DUPLICATE


def test_the_verdict_waits_for_the_last_answer() -> None:
    log = a_log()
    log.events(picture("a", 0), picture("z", 55))
    waiting = pending(log, picture("b", MIDDLE))
    assert len(waiting.asked.asks) == 2
    one, two = answer(waiting.asked, [AGREES, NOTHING_FITS]).pairs
    assert log.events(ItemProved(id="b", offset=2, pairs=(two,))) == []
    assert log.events(ItemProved(id="b", offset=2, pairs=(two,))) == []
    (verdict,) = log.events(ItemProved(id="b", offset=2, pairs=(one,)))
    assert isinstance(verdict, Verdict)
    assert verdict.decision is Decision.DUPLICATE


def test_at_most_five_are_asked_about() -> None:
    log = a_log()
    for n in range(8):
        log.events(reference(picture(f"r{n}", n / 10), f"bank-{n}"))
    assert len(pending(log, picture("b", MIDDLE)).asked.asks) == PROVED


def test_a_removed_item_gets_no_verdict() -> None:
    log = a_log()
    log.events(picture("a", 0))
    waiting = pending(log, picture("b", MIDDLE))
    log.events(Removed(id="b"))
    assert log.events(answer(waiting.asked, [AGREES])) == []
    assert len(log.state.undecided) == 0


def test_a_new_version_asks_afresh() -> None:
    log = a_log()
    log.events(picture("a", 0))
    waiting = pending(log, picture("b", MIDDLE))
    again = pending(log, picture("b", HIGH, sha256=b"other bytes"))
    assert again.asked.offset != waiting.asked.offset
    assert log.events(answer(waiting.asked, [OTHER_WRITING])) == []
    assert prove(log, again, AGREES).decision is Decision.DUPLICATE


def test_a_removed_reference_counts_no_more() -> None:
    log = a_log()
    log.events(picture("a", 0))
    waiting = pending(log, picture("b", MIDDLE))
    log.events(Removed(id="a"))
    verdict = prove(log, waiting, AGREES)
    assert (verdict.decision, verdict.matches) == (Decision.DISTINCT, ())


def test_a_replaced_reference_counts_no_more() -> None:
    log = a_log()
    log.events(picture("a", 0))
    waiting = pending(log, picture("b", MIDDLE))
    log.events(picture("a", 0, sha256=b"other bytes"))
    assert prove(log, waiting, AGREES).matches == ()


def test_a_reference_that_was_disabled_counts_no_more() -> None:
    log = a_log()
    log.events(reference(picture("a", 0)))
    waiting = pending(log, picture("b", MIDDLE))
    assert waiting.asked.asks[0].bank == "banned"
    log.events(ReferenceChanged(bank="banned", id="a", edit=ReferenceEdit.SET, disabled_until_ms=10**15))
    assert prove(log, waiting, AGREES).matches == ()


def test_a_deleted_bank_counts_no_more() -> None:
    log = a_log()
    log.events(reference(picture("a", 0)))
    waiting = pending(log, picture("b", MIDDLE))
    log.events(BankChanged(bank="banned", edit=BankEdit.DELETE))
    assert prove(log, waiting, AGREES).matches == ()


def test_settings_of_a_bank_are_those_of_the_deciding_record() -> None:
    log = a_log()
    log.events(reference(picture("a", 0)))
    waiting = pending(log, picture("b", MIDDLE))
    log.events(BankChanged(bank="banned", action=Action.ALLOW))
    verdict = prove(log, waiting, AGREES)
    assert (verdict.allowed, verdict.decision) == ("banned", Decision.DISTINCT)


def test_a_reviewer_may_come_first() -> None:
    log = a_log()
    log.events(picture("a", 0))
    waiting = pending(log, picture("b", MIDDLE))
    log.events(Reviewed(item="b", reference="a", outcome=Outcome.NOT_A_MATCH))
    assert prove(log, waiting, AGREES).matches == ()
    log.events(picture("c", 0, plane=1))
    waiting = pending(log, picture("d", MIDDLE, plane=1))
    log.events(Reviewed(item="d", reference="c", outcome=Outcome.MATCH))
    verdict = prove(log, waiting, OTHER_WRITING)
    assert (verdict.decision, verdict.head) == (Decision.DUPLICATE, "c")


def test_what_waits_is_found_by_later_items() -> None:
    log = a_log()
    log.events(picture("a", 0))
    first = pending(log, picture("b", MIDDLE))
    second = pending(log, picture("c", 2 * MIDDLE))
    assert [ask.reference for ask in second.asked.asks] == ["b"]
    prove(log, first, AGREES)
    assert log.head_of("b") == "a"
    verdict = prove(log, second, AGREES)
    assert (only(verdict).reference, only(verdict).head) == ("b", "a")
    assert (verdict.decision, verdict.head) == (Decision.DUPLICATE, "")  # what is proved of b holds not for a
    assert log.head_of("c") == "c"


def test_items_of_archives_among_those_that_wait_are_counted() -> None:
    log = a_log()
    log.events(picture("a", 0))
    undecided = log.state.undecided
    old = pending(log, msgspec.structs.replace(picture("b", MIDDLE), quiet=True))
    new = pending(log, picture("c", 2 * MIDDLE))
    assert (undecided.waiting, undecided.waiting_later) == (2, 1)
    undecided.restore([*undecided])
    assert (undecided.waiting, undecided.waiting_later) == (2, 1)
    prove(log, new, AGREES)
    log.events(ProofExpired(id="b", offset=old.asked.offset))
    assert (undecided.waiting, undecided.waiting_later) == (0, 0)
    log.events(answer(old.asked, [AGREES]))
    assert (len(undecided), undecided.waiting_later) == (0, 0)


def test_members_of_what_joins_a_star_are_compared_with_its_head() -> None:
    log = a_log()
    log.events(picture("a", 0))
    waiting = pending(log, picture("b", MIDDLE))
    log.events(picture("b2", 1, sha256=b"content of b"), picture("b3", 50, sha256=b"content of b"))
    assert log.head_of("b2") == log.head_of("b3") == "b"
    verdict, *moved = log.events(answer(waiting.asked, [AGREES]))
    assert isinstance(verdict, Verdict)
    assert log.head_of("b") == log.head_of("b2") == "a"
    assert log.head_of("b3") == "b3"
    assert moved == [ReHeaded(old="b", new="a", members=("b2",)), ReHeaded(old="b", new="b3")]


def test_a_twin_of_what_waits_that_is_an_original_of_nothing() -> None:
    """Its twin came later, and is no match of it."""
    log = a_log()
    log.events(picture("a", 0))
    waiting = pending(log, picture("b", MIDDLE))
    log.events(picture("b2", MIDDLE, sha256=b"content of b"))
    assert [match.reference for match in prove(log, waiting, OTHER_WRITING).matches] == ["a"]
    assert log.head_of("b2") == "b"


def test_people_may_move_it_meanwhile() -> None:
    log = a_log()
    log.events(picture("a", 0), picture("other", 0, plane=1))
    waiting = pending(log, picture("b", MIDDLE))
    log.events(ClusterEdited(item="b", edit=ClusterEdit.MERGE, into="other"))
    verdict = prove(log, waiting, AGREES)
    assert (verdict.decision, verdict.head, log.head_of("b")) == (Decision.DUPLICATE, "other", "other")


def test_what_nobody_answers_is_unsure_and_a_late_answer_decides_once_more() -> None:
    log = a_log()
    log.events(picture("a", 0))
    waiting = pending(log, picture("b", HIGH))
    (verdict,) = log.events(ProofExpired(id="b", offset=1))
    assert isinstance(verdict, Verdict)
    assert (verdict.decision, only(verdict).doubt) == (Decision.UNSURE, Doubt.UNPROVED)
    assert log.events(ProofExpired(id="b", offset=1)) == []
    given = answer(waiting.asked, [OTHER_WRITING])
    (again,) = log.events(given)
    assert isinstance(again, Redecided)
    assert (again.before, again.verdict.decision) == (Decision.UNSURE, Decision.DISTINCT)
    assert again.withdrawn == ()  # it is listed as a variant
    assert log.events(given) == []


def test_what_a_reviewer_matched_is_in_no_doubt_when_nobody_answers() -> None:
    log = a_log()
    log.events(picture("a", 0))
    pending(log, picture("b", HIGH))
    log.events(Reviewed(item="b", reference="a", outcome=Outcome.MATCH))
    (verdict,) = log.events(ProofExpired(id="b", offset=1))
    assert isinstance(verdict, Verdict)
    assert (verdict.decision, only(verdict).doubt) == (Decision.DUPLICATE, Doubt.NO)


def test_what_a_late_answer_takes_away_is_withdrawn() -> None:
    log = a_log()
    log.events(picture("a", 0))
    waiting = pending(log, picture("b", HIGH))
    log.events(ProofExpired(id="b", offset=1), Removed(id="a"))
    (again,) = log.events(answer(waiting.asked, [AGREES]))
    assert isinstance(again, Redecided)
    assert again.withdrawn == (("seen", "a"),)


def test_an_answer_after_a_day_decides_nothing() -> None:
    log = a_log()
    log.events(picture("a", 0))
    waiting = pending(log, picture("b", HIGH))
    log.events(ProofExpired(id="b", offset=1))
    log.now = LATE_MS / 1000 + 1
    assert log.events(answer(waiting.asked, [AGREES])) == []
    log.events(picture("c", 0, plane=1))
    pending(log, picture("d", MIDDLE, plane=1))
    assert [one.offset for one in log.state.undecided] == [5]


def test_above_the_most_that_may_wait_only_the_best_is_asked_about() -> None:
    log = a_log(max_pending=1)
    log.events(picture("a", 0), picture("z", 55), reference(picture("r", 54)))
    first = pending(log, picture("b", MIDDLE))
    assert {(ask.bank, ask.reference) for ask in first.asked.asks} == {("banned", "r"), ("seen", "a"), ("seen", "z")}
    second = pending(log, picture("c", MIDDLE - 1))
    assert len([ask for ask in second.asked.asks if ask.bank == "seen"]) == 1
    assert len([ask for ask in second.asked.asks if ask.bank == "banned"]) == 1


def test_films_are_proved_by_moments() -> None:
    log = a_log()
    film = Film(1)
    log.events(*video("film", film.at(times(30))))
    waiting = pending(log, *video("clip", edited(film.at(times(12) + 5), cosine=0.9)))
    (ask,) = waiting.asked.asks
    assert len(ask.moments) == 3
    assert all(abs(other - second - 5) < 1 for second, other in ask.moments)
    assert prove(log, waiting, AGREES).decision is Decision.DUPLICATE


def records() -> list[Record]:
    """A log in which some wait, with all that may come between."""
    return [
        picture("a", 0),
        reference(picture("r", 0, plane=2)),
        picture("b", MIDDLE),
        picture("c", 62),
        picture("b2", 1, sha256=b"content of b"),
        picture("e", MIDDLE, plane=2),
    ]


def test_a_snapshot_holds_what_waits(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with closing(a_state(asks=True, vectors=VectorFile(tmp_path / "one" / VECTORS, D, "s"))) as state:
        asked = [event.asked for event in Log(state).events(*records()) if isinstance(event, ProofPending)]
        assert len(asked) > 1
        Snapshots(tmp_path / "one").save(state, 5)
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        with closing(a_state(asks=True, vectors=VectorFile(tmp_path / "two" / VECTORS, D, "s"))) as other:
            assert Snapshots(tmp_path / "two").load(other) == 5
            for offset, one in enumerate(asked, start=6):
                entry = Entry(offset, answer(one, [AGREES] * len(one.asks)))
                assert state.apply([entry]) == other.apply([entry])
            assert len(other.undecided) == 0


def test_a_follower_takes_what_was_published() -> None:
    """Also where it would not have asked, as with another precision, or found something else."""
    leader, follower = a_log(), Log(a_state(asks=False))
    said = records()
    envelopes = leader.add(*said)
    asked = [e.asked for one in envelopes for e in one.events if isinstance(e, ProofPending)]
    answers = [answer(one, [AGREES] * len(one.asks)) for one in asked]
    envelopes += leader.add(*answers)
    entries = [Entry(offset, record) for offset, record in enumerate([*said, *answers])]
    followed = follower.state.apply(entries, {one.offset: one for one in envelopes})
    assert followed == envelopes
    for name in "abce":
        assert leader.head_of(name) == follower.head_of(name)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_batches_make_no_difference(size: int) -> None:
    whole = a_log()
    said = records()
    first = whole.add(*said)
    asked = [e.asked for one in first for e in one.events if isinstance(e, ProofPending)]
    mixed = [*said, *(answer(one, [AGREES] * len(one.asks)) for one in asked), picture("late", 31)]
    expected = a_log()
    alone = [expected.add(record)[0] for record in mixed]
    cut = a_log()
    batched = [e for start in range(0, len(mixed), size) for e in cut.add(*mixed[start : start + size])]
    assert batched == alone


def random_log(seed: int) -> list[Record]:
    """Return pictures of a few scenes, with answers some records after the asks, takedowns and new versions between.

    An answer is there before its ask is known to this function: the state that asks is run along.
    """
    random = np.random.default_rng(seed)
    log, said, open_ = a_log(calibration=a_calibration(cohort_weight=0.5)), list[Record](), list[Asked]()
    while len(said) < 60:
        choice = random.random()
        if open_ and choice < 0.35:
            asked = open_.pop(int(random.integers(len(open_))))
            proofs = [(AGREES, OTHER_WRITING, NOTHING_FITS, None)[int(random.integers(4))] for _ in asked.asks]
            record: Record = answer(asked, proofs)
        elif choice < 0.4:
            record = Removed(id=f"i{random.integers(40)}")
        else:
            content = int(random.integers(1000)) if random.random() < 0.8 else 7
            degrees = float(random.integers(0, 90))
            record = picture(
                f"i{random.integers(40)}", degrees, plane=int(random.integers(2)), sha256=f"{content}".encode()
            )
        said.append(record)
        open_ += [event.asked for event in log.events(record) if isinstance(event, ProofPending)]
    return said


@pytest.mark.parametrize("seed", range(12))
def test_batches_of_random_logs_make_no_difference(seed: int) -> None:
    said = random_log(seed)
    alone, batched = (a_log(calibration=a_calibration(cohort_weight=0.5)) for _ in range(2))
    expected = [envelope for record in said for envelope in alone.add(record)]
    sizes, start, found = np.random.default_rng(seed), 0, []
    while start < len(said):
        size = int(sizes.integers(1, 40))
        found += batched.add(*said[start : start + size])
        start += size
    assert found == expected


def a_crowded_log(seed: int, weight: float) -> list[Record]:
    """Return more pictures than are fetched for one, some copies, with answers that make them leave the index."""
    random = np.random.default_rng(seed)
    log, said, open_ = a_log(calibration=a_calibration(cohort_weight=weight)), list[Record](), list[Asked]()
    while len(said) < 260:
        if open_ and random.random() < 0.4:
            asked = open_.pop(int(random.integers(len(open_))))
            proofs = [AGREES if random.random() < 0.6 else OTHER_WRITING for _ in asked.asks]
            record: Record = answer(asked, proofs)
        else:
            record = picture(f"i{len(said)}", float(random.uniform(0, 180)), plane=int(random.integers(2)))
        said.append(record)
        open_ += [event.asked for event in log.events(record) if isinstance(event, ProofPending)]
    return said


@pytest.mark.parametrize(("seed", "weight"), [(2, 0.5), (4, 0.0)])
def test_batches_make_no_difference_where_heads_leave_a_crowd(seed: int, weight: float) -> None:
    said = a_crowded_log(seed, weight)
    alone, batched = (a_log(calibration=a_calibration(cohort_weight=weight)) for _ in range(2))
    expected = [envelope for record in said for envelope in alone.add(record)]
    assert [one for start in range(0, len(said), 48) for one in batched.add(*said[start : start + 48])] == expected


def test_copies_that_come_in_a_burst_ask_about_the_original_first_and_the_others_lapse() -> None:
    log = a_log()
    log.events(picture("a", 0))
    waiting = [pending(log, picture(f"b{n}", degrees)) for n, degrees in enumerate((20, 21, 22, 23, 24, 25, 26))]
    assert [(ask.reference, ask.spare) for ask in waiting[0].asked.asks] == [("a", False)]
    for one in waiting[1:]:
        first, *others = one.asked.asks
        assert (first.reference, first.spare) == ("a", False)
        assert all(ask.spare for ask in others)
        assert len(one.asked.asks) <= PROVED
        assert all(candidate.spare for candidate in one.beside)
    for one in waiting:
        verdict = prove(log, one, AGREES, *[None] * (len(one.asked.asks) - 1))
        assert (verdict.decision, verdict.head, only(verdict).reference) == (Decision.DUPLICATE, "a", "a")
    assert len(log.state.undecided) == 0


def test_where_the_first_is_no_copy_the_spare_ones_decide() -> None:
    log = a_log()
    log.events(picture("a", 0))
    first, second = (pending(log, picture(id, degrees)) for id, degrees in (("b", 20), ("c", 22)))
    assert [ask.spare for ask in second.asked.asks] == [False, True]
    prove(log, first, OTHER_WRITING)
    verdict = prove(log, second, OTHER_WRITING, AGREES)
    assert (verdict.decision, verdict.head) == (Decision.DUPLICATE, "b")
    assert {match.reference: match.decision for match in verdict.matches} == {
        "a": Decision.DISTINCT,
        "b": Decision.DUPLICATE,
    }


def test_a_spare_one_that_nobody_looked_at_is_unsure_at_most_where_it_counts() -> None:
    log = a_log()
    log.events(picture("a", 0))
    pending(log, picture("b", 20))
    second = pending(log, picture("c", 22))
    log.events(Removed(id="a"))
    verdict = prove(log, second, AGREES, None)
    assert (only(verdict).reference, only(verdict).decision, only(verdict).doubt) == ("b", Decision.UNSURE, Doubt.NO)
