"""Earlier uploads and a reference that a bank gets later: heads are proved, and the answers say what matches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from neardup.pipeline.index import Index
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.log.changes import (
    Action,
    BankChanged,
    BankEdit,
    Outcome,
    ReferenceChanged,
    ReferenceEdit,
    Reviewed,
)
from neardup.pipeline.log.proofs import Asked, Candidate, ItemProved, ProofExpired, ProofPending, answer
from neardup.pipeline.log.records import Described, Entry, Record, Referenced, Removed, RetroMatched, asks_of
from neardup.pipeline.match.apply import backward
from neardup.pipeline.match.apply.snapshot import VECTORS, Snapshots
from neardup.pipeline.match.compare.compare import Comparer
from neardup.pipeline.match.data.undecided import LATE_MS
from neardup.pipeline.match.decide.calibration import Calibration
from neardup.pipeline.prove.finding import Proved
from neardup.pipeline.types import Decision, Descriptors, Doubt, Exact, Neighbours
from neardup.pipeline.where import Relation
from tests.pipeline.match.build import (
    AGREES,
    NOTHING_FITS,
    OTHER_WRITING,
    SHIFTED,
    D,
    Log,
    a_calibration,
    a_state,
    picture,
)

HIGH, MIDDLE = 20.0, 30.0
"""Angles whose evidence alone makes a duplicate, and leaves it unsure."""
FAR = 29.5
"""An angle whose evidence alone makes a pair distinct by `STRICT`, and that is proved all the same."""
STRICT = a_calibration(intercept=-264.0)


@contextmanager
def a_log(calibration: Calibration | None = None) -> Iterator[Log]:
    with closing(a_state(calibration, asks=True)) as state:
        yield Log(state)


def banned(id: str, degrees: float, plane: int = 0, **how: object) -> Described:
    return msgspec.structs.replace(picture(id, degrees, plane=plane, **how), bank="banned")  # type: ignore[arg-type]


def decided(log: Log, *records: Record) -> None:
    """Apply records of uploads; whatever is asked about agrees."""
    for record in records:
        for event in log.events(record):
            if isinstance(event, ProofPending):
                log.events(answer(event.asked, [AGREES] * len(event.asked.asks)))


def asked(log: Log, record: Record) -> tuple[Asked, ...]:
    (event,) = (event for event in log.events(record) if isinstance(event, Referenced))
    return event.asked


def told(log: Log, record: Record) -> list[tuple[str, Decision]]:
    events = log.events(record)
    assert all(isinstance(event, RetroMatched) for event in events), events
    return [(event.id, event.match.decision) for event in events if isinstance(event, RetroMatched)]


def expired(one: Asked) -> ProofExpired:
    (ask,) = one.asks
    named = Candidate(bank=ask.bank, reference=ask.reference, offset=ask.offset)
    return ProofExpired(id=one.id, offset=one.offset, reference=named)


def test_a_head_is_asked_about_after_others_and_told_of_when_it_is_proved() -> None:
    with a_log() as log:
        log.events(picture("a", 0))
        ((one),) = asked(log, banned("r", MIDDLE))
        (ask,) = one.asks
        assert (one.id, one.offset, one.sha256, one.later) == ("a", 0, b"content of a", True)
        assert (ask.bank, ask.reference, ask.offset, ask.sha256) == ("banned", "r", 1, b"content of r")
        assert len(log.state.later) == 1
        (event,) = log.events(answer(one, [AGREES]))
        assert isinstance(event, RetroMatched)
        assert (event.id, event.match.reference, event.match.bank) == ("a", "r", "banned")
        assert (event.match.decision, event.match.where.transform) == (Decision.DUPLICATE, SHIFTED)
        assert len(log.state.later) == 0


def test_asks_of_both_kinds_are_for_prove_workers() -> None:
    with a_log() as log:
        log.events(picture("a", 0))
        (waiting,) = log.events(picture("b", MIDDLE))
        events = log.events(banned("r", 15))
        assert [one.id for one in asks_of(waiting)] == ["b"]
        assert [[one.id for one in asks_of(event)] for event in events if asks_of(event)] == [["a", "b"]]


@pytest.mark.parametrize(
    ("proved", "wanted"),
    [(OTHER_WRITING, Decision.DISTINCT), (NOTHING_FITS, Decision.UNSURE), (None, Decision.DUPLICATE)],
)
def test_a_proof_decides_and_without_a_picture_evidence(proved: Proved | None, wanted: Decision) -> None:
    with a_log() as log:
        log.events(picture("a", 0))
        (one,) = asked(log, banned("r", HIGH))
        (event,) = log.events(answer(one, [proved]))
        assert isinstance(event, RetroMatched)
        assert event.match.decision is wanted
        assert (event.match.relation is Relation.VARIANT) is (wanted is Decision.DISTINCT)


def test_a_star_is_asked_about_once_and_its_head_bounds_what_is_said_of_members() -> None:
    with a_log() as log:
        decided(log, picture("a", 0), picture("b", 5), picture("c", 10))
        first, second = asked(log, banned("r", 12))[0], asked(log, banned("s", 14))[0]
        third = asked(log, banned("t", 16))[0]
        assert [one.id for one in (first, second, third)] == ["a"] * 3
        assert told(log, answer(first, [AGREES])) == [(id, Decision.DUPLICATE) for id in "abc"]
        assert told(log, answer(second, [NOTHING_FITS])) == [(id, Decision.UNSURE) for id in "abc"]
        assert told(log, answer(third, [OTHER_WRITING])) == [("a", Decision.DISTINCT)]


def test_what_is_identical_is_told_at_once() -> None:
    with a_log() as log:
        decided(log, picture("a", 0), picture("b", 5))
        events = log.events(banned("r", 5, sha256=b"content of b"))
        (match,) = (event for event in events if isinstance(event, RetroMatched))
        assert (match.id, match.match.exact, match.match.decision) == ("b", Exact.BYTES, Decision.DUPLICATE)
        (referenced,) = (event for event in events if isinstance(event, Referenced))
        assert [one.id for one in referenced.asked] == ["a"]
        assert told(log, answer(referenced.asked[0], [AGREES])) == [("a", Decision.DUPLICATE)]


def test_late_repeated_and_unknown_answers_have_no_effect() -> None:
    with a_log() as log:
        log.events(picture("a", 0))
        (one,) = asked(log, banned("r", HIGH))
        given = answer(one, [AGREES])
        stale = msgspec.structs.replace(given.pairs[0], offset=7)
        for wrong in (
            msgspec.structs.replace(given, offset=7),
            msgspec.structs.replace(given, id="b"),
            msgspec.structs.replace(given, pairs=(stale,)),
            ProofExpired(id="a", offset=0),
        ):
            assert log.events(wrong) == []
        twice = ItemProved(id="a", offset=0, pairs=(*given.pairs, *answer(one, [OTHER_WRITING]).pairs))
        assert told(log, twice) == [("a", Decision.DUPLICATE)]
        assert log.events(given) == log.events(expired(one)) == []


def test_what_nobody_answers_is_unsure() -> None:
    with a_log() as log:
        decided(log, picture("a", 0), picture("b", 5))
        (one,) = asked(log, banned("r", 10))
        events = log.events(expired(one))
        matches = [event.match for event in events if isinstance(event, RetroMatched)]
        assert [(match.decision, match.doubt) for match in matches] == [(Decision.UNSURE, Doubt.UNPROVED)] * 2
        assert (len(log.state.later), log.state.later.waiting) == (1, 0)
        assert log.events(expired(one)) == []


@pytest.mark.parametrize(
    ("proved", "wanted"),
    [
        (AGREES, [("a", Decision.DUPLICATE), ("b", Decision.DUPLICATE)]),
        (OTHER_WRITING, [("a", Decision.DISTINCT), ("b", Decision.DISTINCT)]),
    ],
)
def test_a_late_answer_decides_once_more(proved: Proved, wanted: list[tuple[str, Decision]]) -> None:
    with a_log() as log:
        decided(log, picture("a", 0), picture("b", 5))
        (one,) = asked(log, banned("r", 10))
        log.events(expired(one))
        events = [event for event in log.events(answer(one, [proved])) if isinstance(event, RetroMatched)]
        assert [(event.id, event.match.decision) for event in events] == wanted
        assert {event.before for event in events} == {Decision.UNSURE}
        assert len(log.state.later) == 0
        assert log.events(answer(one, [proved])) == []


def test_a_late_answer_decides_on_what_was_said_and_for_a_day() -> None:
    with a_log() as log:
        decided(log, picture("a", 0), picture("b", 5))
        (one,) = asked(log, banned("r", 10))
        log.events(expired(one), Reviewed(item="b", reference="r", bank="banned", outcome=Outcome.NOT_A_MATCH))
        assert told(log, answer(one, [AGREES])) == [("a", Decision.DUPLICATE)]
        (two,) = asked(log, banned("s", 10))
        log.events(expired(two))
        log.now += LATE_MS / 1000 + 1
        assert log.events(answer(two, [AGREES])) == []


def test_few_that_were_given_up_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backward, "MOST_OPEN", 2)
    with a_log() as log:
        log.events(picture("a", 0))
        for name in "rstu":
            (one,) = asked(log, banned(name, 10))
            log.events(expired(one))
        assert [later.pair.candidate.reference for later in log.state.later] == ["s", "t", "u"]
        asked(log, banned("v", 10))
        assert [later.pair.candidate.reference for later in log.state.later] == ["t", "u", "v"]


@pytest.mark.parametrize(
    "change",
    [
        ReferenceChanged(bank="banned", id="r", edit=ReferenceEdit.REMOVE),
        ReferenceChanged(bank="banned", id="r", edit=ReferenceEdit.SET, disabled_until_ms=10**15),
        BankChanged(bank="banned", edit=BankEdit.DELETE),
        BankChanged(bank="banned", enable_ratio=0.0),
        Reviewed(item="a", reference="r", bank="banned", outcome=Outcome.NOT_A_MATCH),
        Removed(id="a"),
        banned("r", HIGH, sha256=b"other bytes"),
    ],
    ids=lambda change: type(change).__name__,
)
def test_what_changed_meanwhile_counts(change: Record) -> None:
    with a_log() as log:
        log.events(picture("a", 0))
        (one,) = asked(log, banned("r", HIGH))
        log.events(change)
        assert log.events(answer(one, [AGREES])) == []


def test_settings_are_those_of_the_deciding_record_and_an_allow_list_silences() -> None:
    with a_log() as log:
        log.events(BankChanged(bank="fine", action=Action.ALLOW), picture("a", 0))
        (one,) = asked(log, banned("r", HIGH))
        log.events(msgspec.structs.replace(picture("s", 0, sha256=b"content of a"), bank="fine"))
        (event,) = log.events(answer(one, [AGREES]))
        assert isinstance(event, RetroMatched)
        assert event.match.silenced


def test_members_of_a_removed_head_are_told_of_all_the_same() -> None:
    with a_log() as log:
        decided(log, picture("a", 0), picture("b", 5))
        (one,) = asked(log, banned("r", 10))
        log.events(Removed(id="a"))
        assert told(log, answer(one, [NOTHING_FITS])) == [("b", Decision.UNSURE)]


def test_an_upload_that_becomes_a_reference_and_one_that_is_enabled_ask_too() -> None:
    with a_log() as log:
        log.events(picture("a", 0), picture("c", MIDDLE, plane=0), BankChanged(bank="banned"))
        assert [one.id for one in asked(log, ReferenceChanged(bank="banned", id="c", edit=ReferenceEdit.ADD))] == ["a"]
        off = ReferenceChanged(bank="banned", id="d", edit=ReferenceEdit.SET, disabled_until_ms=10**15)
        log.events(off, banned("d", 10))
        assert len(log.state.later) == 1
        on = ReferenceChanged(bank="banned", id="d", edit=ReferenceEdit.SET, disabled_until_ms=0)
        assert {one.id for one in asked(log, on)} == {"a", "c"}


def test_only_the_likeliest_are_asked_about_and_the_rest_is_unsure_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backward, "MOST_ASKED", 2)
    with a_log() as log:
        for n, degrees in enumerate((28, -25, 22)):  # nothing agrees, so each stands alone
            for event in log.events(picture(f"i{n}", degrees)):
                if isinstance(event, ProofPending):
                    log.events(answer(event.asked, [NOTHING_FITS] * len(event.asked.asks)))
        events = log.events(banned("r", 0))
        (referenced,) = (event for event in events if isinstance(event, Referenced))
        assert [one.id for one in referenced.asked] == ["i2", "i1"]
        assert [(one.id, one.match.decision) for one in events if isinstance(one, RetroMatched)] == [
            ("i0", Decision.UNSURE)
        ]
        monkeypatch.setattr(backward, "MOST_OPEN", len(log.state.later))
        assert asked(log, banned("s", 1)) == ()


def standing_alone(log: Log, *degrees: float) -> None:
    """Have pictures come of which nothing agrees with another, so that each is a head."""
    for n, one in enumerate(degrees):
        for event in log.events(picture(f"i{n}", one)):
            if isinstance(event, ProofPending):
                log.events(answer(event.asked, [NOTHING_FITS] * len(event.asked.asks)))


def test_of_what_evidence_makes_distinct_the_nearest_are_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    angles = [FAR + n / 10 for n in range(5)] + [25, -20]
    with a_log(STRICT) as log:
        standing_alone(log, *angles)
        everything = asked(log, banned("r", 0))
        assert [one.id for one in everything] == ["i6", "i5", "i0", "i1", "i2", "i3", "i4"]
        assert told(log, expired(everything[2])) == []  # it is distinct by evidence
    monkeypatch.setattr(backward, "MOST_UNLIKELY", 2)
    with a_log(STRICT) as log:
        standing_alone(log, *angles)
        assert [one.id for one in asked(log, banned("r", 0))] == ["i6", "i5", "i0", "i1"]


def test_however_much_resembles_a_reference_its_bank_is_searched_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []
    search = Index.search
    with a_log() as log:
        standing_alone(log, *range(-24, 25, 2))
        log.events(banned("q", 60))
        bank = log.state.banks.named("banned")
        assert bank is not None

        def counted(self: Index, queries: Descriptors, *more: int, **named: int) -> Neighbours:
            if self is bank.collection.heads.index:
                searched.append(len(queries))
            return search(self, queries, *more, **named)

        monkeypatch.setattr(Index, "search", counted)
        assert len(asked(log, banned("r", 0))) == 25
        assert sum(searched) >= 25
        assert len(searched) <= 3


def test_what_is_computed_at_once_is_what_is_computed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def events() -> list[object]:
        with a_log() as log:
            standing_alone(log, *range(-40, 41, 4))
            told = [*log.events(banned("q", 10)), *log.events(banned("r", 0)), *log.events(banned("s", -12))]
            asks = [ask for event in told if isinstance(event, Referenced) for ask in event.asked]
            answers: list[Record] = [
                answer(one, [AGREES if n % 3 else NOTHING_FITS]) for n, one in enumerate(asks[:20])
            ]
            answers += [expired(one) for one in asks[20:]]
            return [*told, *(event for one in answers for event in log.events(one))]

    together = events()
    assert sum(isinstance(event, RetroMatched) for event in together) > 20
    monkeypatch.setattr(Comparer, "measure", lambda *_, **__: None)
    assert events() == together


def test_without_proofs_evidence_decides_at_once() -> None:
    with closing(a_state()) as state:
        log = Log(state)
        log.events(picture("a", 0))
        events = log.events(banned("r", HIGH))
        assert [type(event).__name__ for event in events] == ["Changed", "Referenced", "RetroMatched"]


def test_a_snapshot_holds_what_is_asked(tmp_path: Path) -> None:
    def state() -> Log:
        return Log(a_state(a_calibration(), asks=True, vectors=VectorFile(tmp_path / VECTORS, D, "s")))

    log = state()
    log.events(picture("a", 0))
    (one,) = asked(log, banned("r", HIGH))
    Snapshots(tmp_path).save(log.state, 1)
    log.state.close()
    again = state()
    assert Snapshots(tmp_path).load(again.state) == 1
    assert [later.key for later in again.state.later] == [(0, "banned", 1)]
    (envelope,) = again.state.apply([Entry(2, answer(one, [AGREES]), 0)])
    assert [event.id for event in envelope.events if isinstance(event, RetroMatched)] == ["a"]
    again.state.close()


def test_a_follower_asks_what_was_published() -> None:
    with a_log() as log, a_log() as follower:
        (said,) = log.add(picture("a", 0))
        (published,) = log.add(banned("r", HIGH))
        (referenced,) = (event for event in published.events if isinstance(event, Referenced))
        without = msgspec.structs.replace(referenced, asked=())
        events = (without if event is referenced else event for event in published.events)
        nothing = msgspec.structs.replace(published, events=tuple(events))
        entries = [Entry(0, picture("a", 0), 0), Entry(1, banned("r", HIGH), 0)]
        follower.state.apply(entries, {0: said, 1: nothing})
        assert len(follower.state.later) == 0
