from __future__ import annotations

import msgspec
import numpy as np
import pytest

from neardup.pipeline.log.changes import (
    FOREVER_MS,
    Action,
    BankChanged,
    BankEdit,
    Calibrated,
    ReferenceChanged,
    ReferenceEdit,
)
from neardup.pipeline.log.reasons import IgnoredReason, Refusal
from neardup.pipeline.log.records import (
    Changed,
    Described,
    Event,
    Ignored,
    Record,
    Redelivered,
    Referenced,
    Removed,
    RetroMatched,
    Rolling,
    Unreferenced,
    Verdict,
    ignored,
)
from neardup.pipeline.match.apply import state
from neardup.pipeline.match.compare.banks import share_of
from neardup.pipeline.match.data.pending import MAX_PENDING_SECONDS
from neardup.pipeline.match.query.lookup import ask, ask_all
from neardup.pipeline.types import Decision, Exact, Kind
from tests.pipeline.match.build import Film, Log, a_calibration, live_end, live_frames, picture, times, video

BLOCKED = BankChanged(bank="blocked", by="jo")
ALLOWED = BankChanged(bank="fine", action=Action.ALLOW)


def reference(item_id: str, degrees: float, bank: str = "blocked", **how: object) -> Described:
    return msgspec.structs.replace(picture(item_id, degrees, **how), bank=bank)  # type: ignore[arg-type]


def film(item_id: str, start: float, seconds: float, bank: str = "seen", seed: int = 3) -> list[Described]:
    records = video(item_id, Film(seed).at(times(seconds) + start), part_size=9)
    return [msgspec.structs.replace(record, bank=bank) for record in records]


def matches(verdict: Verdict) -> list[tuple[str, str, Decision]]:
    return [(match.bank, match.reference, match.decision) for match in verdict.matches]


def retro(events: list[Event]) -> list[tuple[str, str, Decision]]:
    return [(e.id, e.match.reference, e.match.decision) for e in events if isinstance(e, RetroMatched)]


# -- matching against a bank ---------------------------------------------------------------------------------------


def test_upload_is_matched_with_the_references_of_a_bank_before_what_was_seen() -> None:
    log = Log()
    log.add(BLOCKED, reference("r", 20), picture("a", 0))
    verdict = log.verdict(picture("b", 1))
    assert matches(verdict) == [("blocked", "r", Decision.DUPLICATE), ("seen", "a", Decision.DUPLICATE)]
    assert verdict.decision is Decision.DUPLICATE
    assert verdict.head == "a"


def test_a_reference_is_no_upload_and_gets_no_verdict() -> None:
    log = Log()
    log.add(BLOCKED)
    assert log.events(reference("r", 0)) == [Referenced(id="r", bank="blocked", sha256=b"content of r")]
    assert "r" not in log.state.items
    assert matches(log.verdict(picture("r", 90, sha256=b"other"))) == []


def test_the_same_picture_in_a_bank_is_an_exact_match() -> None:
    log = Log()
    log.add(BLOCKED, reference("r", 0, sha256=b"x"))
    (match,) = log.verdict(picture("a", 0, sha256=b"x")).matches
    assert (match.reference, match.exact, match.identical_to, match.bank) == ("r", Exact.BYTES, "r", "blocked")


def test_an_upload_that_a_bank_matches_joins_the_cluster_of_what_was_seen() -> None:
    log = Log()
    log.add(BLOCKED, reference("r", 5), picture("a", 0), picture("b", 4))
    assert log.head_of("b") == "a"
    assert log.head_of("a") == "a"


def test_a_reference_of_a_bank_that_is_not_known_creates_it_and_says_so() -> None:
    log = Log()
    created, referenced = log.events(reference("r", 0, bank="new"))
    assert isinstance(created, Changed)
    assert created.record == BankChanged(bank="new", why="a reference came for a bank that was not known")
    assert isinstance(referenced, Referenced)
    assert matches(log.verdict(picture("a", 0))) == [("new", "r", Decision.DUPLICATE)]


def test_a_later_part_alone_creates_no_bank() -> None:
    log = Log()
    [ignored] = log.events(msgspec.structs.replace(reference("r", 0, bank="new"), part=1))
    assert isinstance(ignored, Ignored)
    assert log.state.banks.named("new") is None


def test_a_bank_decides_with_a_precision_of_its_own() -> None:
    log = Log()
    log.add(BLOCKED, BankChanged(bank="strict", precision=0.999999999), reference("r", 0), reference("s", 0, "strict"))
    assert matches(log.verdict(picture("a", 27))) == [
        ("blocked", "r", Decision.DUPLICATE),
        ("strict", "s", Decision.UNSURE),
    ]


def test_banks_without_a_precision_follow_that_of_the_stream() -> None:
    log = Log()
    log.add(BLOCKED, reference("r", 0), BankChanged(bank="seen", precision=0.999999999))
    assert matches(log.verdict(picture("a", 27))) == [("blocked", "r", Decision.UNSURE)]
    log.add(BankChanged(bank="seen", precision=0.99))
    assert matches(log.verdict(picture("b", -27)))[0] == ("blocked", "r", Decision.DUPLICATE)


def test_a_share_of_items_is_asked_about_by_a_hash_of_the_id_and_stays_as_the_share_grows() -> None:
    ids = [f"item {n}" for n in range(60)]

    def matched_at(ratio: float) -> set[str]:
        log = Log()
        log.add(BankChanged(bank="blocked", enable_ratio=ratio), reference("r", 0))
        return {
            one for one in ids if matches(log.verdict(picture(one, 0)))[:1] == [("blocked", "r", Decision.DUPLICATE)]
        }

    none, some, more, all_of_them = map(matched_at, (0.0, 0.3, 0.6, 1.0))
    assert none < some < more < all_of_them
    assert all_of_them == set(ids)
    assert some == {one for one in ids if share_of("blocked", one) < 0.3}


def test_shares_are_spread_evenly() -> None:
    shares = [share_of("blocked", f"cat-{n}") for n in range(2000)]
    assert np.histogram(shares, bins=10, range=(0, 1))[0] == pytest.approx(np.full(10, 200), abs=60)


def test_a_video_is_matched_with_an_excerpt_in_a_bank_and_says_where() -> None:
    log = Log()
    log.add(BLOCKED, *film("clip", 4.0, 5.0, bank="blocked"))
    (match,) = log.verdict(film("whole", 0.0, 20.0)).matches
    assert (match.bank, match.reference, match.decision) == ("blocked", "clip", Decision.DUPLICATE)
    assert (match.where.spans[0].query_start, match.where.spans[0].query_end) == pytest.approx((4.0, 9.0), abs=1.0)


def test_a_live_video_is_matched_with_a_bank_while_it_runs() -> None:
    log = Log()
    log.add(BLOCKED, *film("clip", 4.0, 8.0, bank="blocked"))
    moments = times(20.0)
    events = log.events(*live_frames("live", Film(3).at(moments), moments), live_end("live"))
    flagged = [(e.flagged.bank, e.flagged.reference) for e in events if isinstance(e, Rolling) and e.flagged]
    assert flagged == [("blocked", "clip")]
    assert isinstance(events[-1], Rolling)
    assert matches(events[-1].verdict) == [("blocked", "clip", Decision.DUPLICATE)]


# -- allow-lists -----------------------------------------------------------------------------------------------------


def test_an_allow_list_silences_what_else_matches_and_the_verdict_says_so() -> None:
    log = Log()
    log.add(BLOCKED, ALLOWED, reference("r", 0), reference("logo", 2, bank="fine"), picture("a", 4))
    verdict = log.verdict(picture("b", 1))
    assert (verdict.decision, verdict.allowed) == (Decision.DISTINCT, "fine")
    assert {(m.bank, m.silenced) for m in verdict.matches} == {("blocked", True), ("fine", False), ("seen", True)}
    assert log.head_of("b") == "a"  # one more copy is no new head


def test_an_allow_list_that_is_unsure_silences_nothing() -> None:
    log = Log()
    log.add(BLOCKED, ALLOWED, reference("r", 0), reference("logo", 35, bank="fine"))
    verdict = log.verdict(picture("b", 0))
    assert (verdict.decision, verdict.allowed) == (Decision.DUPLICATE, "")


def test_an_allowed_intro_silences_only_what_lies_within_it() -> None:
    log = Log()
    log.add(ALLOWED, *film("intro", 0.0, 5.0, bank="fine"), *film("shares the intro", 0.0, 5.0))
    both = Film(3).at(times(5.0)), Film(4).at(times(8.0))
    log.add(*video("other", both[1]))
    verdict = log.verdict(video("new", np.concatenate(both)))
    assert verdict.decision is Decision.DUPLICATE
    assert {m.reference: m.silenced for m in verdict.matches} == {
        "intro": False,
        "other": False,
        "shares the intro": True,
    }


# -- what comes and goes ---------------------------------------------------------------------------------------------


def test_a_reference_is_disabled_at_once_and_until_a_date_of_the_log() -> None:
    log = Log()
    log.add(BLOCKED, reference("r", 0))
    log.now = 100.0
    log.add(ReferenceChanged(bank="blocked", id="r", disabled_until_ms=200_000))
    assert matches(log.verdict(picture("a", 90))) == []
    assert matches(log.verdict(picture("b", 0))) == []
    log.now = 199.999
    assert [bank for bank, *_ in matches(log.verdict(picture("c", 1)))] == ["seen"]
    log.now = 200.0
    assert [bank for bank, *_ in matches(log.verdict(picture("d", 2)))] == ["blocked", "seen"]


def test_a_reference_disabled_for_good_can_be_enabled() -> None:
    log = Log()
    log.add(BLOCKED, reference("r", 0), ReferenceChanged(bank="blocked", id="r", disabled_until_ms=FOREVER_MS))
    log.now = 1e9
    assert matches(log.verdict(picture("a", 0))) == []
    log.add(ReferenceChanged(bank="blocked", id="r", disabled_until_ms=0))
    assert matches(log.verdict(picture("b", 0)))[0][:2] == ("blocked", "r")


def test_the_second_of_two_identical_references_is_found_while_the_first_is_disabled() -> None:
    log = Log()
    log.add(BLOCKED, reference("r", 0, sha256=b"x"), reference("s", 0, sha256=b"x"))
    log.add(ReferenceChanged(bank="blocked", id="r", disabled_until_ms=FOREVER_MS))
    (match,) = log.verdict(picture("a", 0, sha256=b"x")).matches
    assert (match.reference, match.exact) == ("s", Exact.BYTES)


def test_settings_of_a_reference_that_is_still_on_its_way_hold_from_its_arrival_on() -> None:
    log = Log()
    off = ReferenceChanged(bank="blocked", id="r", disabled_until_ms=FOREVER_MS, note="later")
    log.add(BLOCKED, picture("a", 0))
    assert log.events(off) == [Changed(record=off, waits=True)]
    assert log.events(reference("r", 0)) == [Referenced(id="r", bank="blocked", sha256=b"content of r")]
    assert matches(log.verdict(picture("b", 1))) == [("seen", "a", Decision.DUPLICATE)]
    bank = log.state.banks.named("blocked")
    assert bank is not None
    assert bank.references["r"].note == "later"


def test_a_removed_reference_matches_nothing_and_a_late_record_does_not_bring_it_back() -> None:
    log = Log()
    record = reference("r", 0, source_offset=5)
    record = msgspec.structs.replace(record, source_partition=1)
    log.add(BLOCKED, record)
    remove = ReferenceChanged(bank="blocked", id="r", edit=ReferenceEdit.REMOVE, by="jo")
    assert log.events(remove) == [Changed(record=remove), Unreferenced(id="r", bank="blocked")]
    assert matches(log.verdict(picture("a", 0))) == []
    assert log.events(record) == [ignored("r", IgnoredReason.REFERENCE_REMOVED, "was removed from bank blocked")]
    again = msgspec.structs.replace(record, source_offset=6)
    assert [type(e) for e in log.events(again)] == [Referenced, RetroMatched]


def test_a_deleted_bank_is_gone_with_its_references_until_it_is_created_again() -> None:
    log = Log()
    log.add(BLOCKED, reference("r", 0), BankChanged(bank="blocked", edit=BankEdit.DELETE))
    assert matches(log.verdict(picture("a", 0))) == []
    assert log.events(reference("s", 0)) == [ignored("s", IgnoredReason.BANK_DELETED, "bank blocked was deleted")]
    log.add(BLOCKED)
    assert [type(e) for e in log.events(reference("s", 0))] == [Referenced, RetroMatched]


def test_a_takedown_leaves_a_reference_of_the_same_id() -> None:
    log = Log()
    log.add(BLOCKED, picture("a", 0), ReferenceChanged(bank="blocked", id="a", edit=ReferenceEdit.ADD))
    log.add(Removed(id="a"))
    assert matches(log.verdict(picture("b", 1))) == [("blocked", "a", Decision.DUPLICATE)]


def test_a_reference_that_comes_again_changes_nothing_and_another_version_takes_its_place() -> None:
    log = Log()
    log.add(BLOCKED, reference("r", 0))
    assert log.events(reference("r", 0)) == [Redelivered(id="r")]
    assert [type(e) for e in log.events(reference("r", 90, sha256=b"new"))] == [Referenced]
    assert matches(log.verdict(picture("a", 0))) == []
    assert matches(log.verdict(picture("b", 90))) == [("blocked", "r", Decision.DUPLICATE)]


def test_a_frame_of_a_live_video_is_no_reference() -> None:
    (frame,) = live_frames("live", Film(3).at([0.0]), [0.0])
    assert Log().events(msgspec.structs.replace(frame, bank="blocked")) == [
        ignored("live", IgnoredReason.LIVE_REFERENCE)
    ]


# -- earlier items ---------------------------------------------------------------------------------------------------


def test_a_new_reference_finds_the_earlier_items_that_match_it_members_of_clusters_too() -> None:
    log = Log()
    log.add(BLOCKED, picture("a", 0), picture("a copy", 10), picture("far", 90), picture("between", 37, plane=0))
    events = log.events(reference("r", 2))
    assert retro(events) == [
        ("a", "r", Decision.DUPLICATE),
        ("a copy", "r", Decision.DUPLICATE),
        ("between", "r", Decision.UNSURE),
    ]
    assert [(e.found, e.left_out) for e in events if isinstance(e, Referenced)] == [(3, 0)]


@pytest.mark.parametrize("degrees", [0, 10, 29, 33, 38, 45])
def test_an_earlier_item_is_told_what_a_later_one_would_be(degrees: float) -> None:
    before, after = Log(), Log()
    (verdict,) = [before.verdict(picture("a", degrees)) for _ in [before.add(BLOCKED, reference("r", 0))]]
    after.add(BLOCKED, picture("a", degrees))
    found = [e.match for e in after.events(reference("r", 0)) if isinstance(e, RetroMatched)]
    assert found == list(verdict.matches)


def test_an_earlier_video_is_told_what_a_later_one_would_be() -> None:
    before, after = Log(), Log()
    before.add(BLOCKED, *film("clip", 4.0, 5.0, bank="blocked"))
    verdict = before.verdict(film("whole", 0.0, 20.0))
    after.add(BLOCKED, *film("whole", 0.0, 20.0))
    found = [e.match for e in after.events(*film("clip", 4.0, 5.0, bank="blocked")) if isinstance(e, RetroMatched)]
    assert [(m.reference, m.decision, m.where.spans) for m in found] == [
        (m.reference, m.decision, m.where.spans) for m in verdict.matches
    ]
    assert found[0].evidence == pytest.approx(verdict.matches[0].evidence, abs=1e-5)


def test_all_identical_items_are_found_even_where_nothing_is_to_be_seen_in_them() -> None:
    log = Log()
    log.add(BLOCKED, picture("a", 0, detail=0, sha256=b"x"), picture("b", 0, detail=0, sha256=b"x"))
    found = log.events(reference("r", 0, detail=0, sha256=b"x"))
    assert retro(found) == [("a", "r", Decision.DUPLICATE), ("b", "r", Decision.DUPLICATE)]


def test_an_upload_can_be_made_a_reference_and_stays_an_upload() -> None:
    log = Log()
    log.add(BLOCKED, picture("a", 0), picture("b", 10))
    add = ReferenceChanged(bank="blocked", id="a", edit=ReferenceEdit.ADD, note="bad", by="jo")
    events = log.events(add)
    assert events[0] == Changed(record=add)
    assert retro(events) == [("a", "a", Decision.DUPLICATE), ("b", "a", Decision.DUPLICATE)]
    assert log.events(add) == [Changed(record=add)]
    assert [bank for bank, *_ in matches(log.verdict(picture("c", 1)))] == ["blocked", "seen"]


def test_what_is_allowed_is_told_as_silenced() -> None:
    log = Log()
    log.add(BLOCKED, ALLOWED, reference("logo", 0, bank="fine"), picture("a", 1))
    (found,) = [e for e in log.events(reference("r", 2)) if isinstance(e, RetroMatched)]
    assert found.match.silenced


def test_a_new_reference_of_an_allow_list_tells_what_it_lets_pass() -> None:
    log = Log()
    log.add(ALLOWED, picture("a", 1))
    (found,) = [e for e in log.events(reference("logo", 0, bank="fine")) if isinstance(e, RetroMatched)]
    assert (found.id, found.match.action) == ("a", Action.ALLOW)


def test_a_reference_that_was_disabled_on_arrival_searches_when_it_is_enabled_and_once() -> None:
    log = Log()
    off = ReferenceChanged(bank="blocked", id="r", disabled_until_ms=FOREVER_MS)
    on = ReferenceChanged(bank="blocked", id="r", disabled_until_ms=0)
    log.add(BLOCKED, picture("a", 0), off)
    assert retro(log.events(reference("r", 0))) == []
    assert retro(log.events(on)) == [("a", "r", Decision.DUPLICATE)]
    assert log.events(off, on) == [Changed(record=off), Changed(record=on)]


# -- what cannot be done ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        (BankChanged(bank="blocked", precision=2.0), Refusal.INVALID, "precision is 2"),
        (BankChanged(bank="nosuch", edit=BankEdit.DELETE), Refusal.NO_BANK, "there is no bank nosuch"),
        (BankChanged(bank="blocked", edit=BankEdit.CREATE), Refusal.BANK_EXISTS, "there is a bank blocked already"),
        (ReferenceChanged(bank="nosuch", id="a"), Refusal.NO_BANK, "there is no bank nosuch"),
        (
            ReferenceChanged(bank="blocked", id="a", edit=ReferenceEdit.REMOVE),
            Refusal.NO_REFERENCE,
            "has no reference 'a'",
        ),
        (ReferenceChanged(bank="blocked", id="zzz", edit=ReferenceEdit.ADD), Refusal.NO_ITEM, "there is no item 'zzz'"),
        (Calibrated(calibration=b"nonsense"), Refusal.CALIBRATION, "no calibration"),
        (
            Calibrated(calibration=msgspec.msgpack.encode(a_calibration(hash_weight=0.5))),
            Refusal.CALIBRATION,
            "weighs hash and cohort by",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason_and_changes_nothing(
    change: Record, reason: Refusal, words: str
) -> None:
    log = Log()
    log.add(BLOCKED, picture("a", 0))
    (event,) = log.events(change)
    assert isinstance(event, Changed)
    assert event.refusal is reason
    assert words in event.refused
    assert [bank.settings.name for bank in log.state.banks] == ["blocked"]


def test_a_calibration_takes_hold_from_its_record_on_for_one_bank_or_all() -> None:
    strict = msgspec.msgpack.encode(a_calibration(intercept=-294.0, evidence=(0.5, 0.97, 1.0)))
    log = Log()
    log.add(BLOCKED, BankChanged(bank="other"), reference("r", 0), reference("s", 0, bank="other"))
    log.add(Calibrated(bank="other", calibration=strict))
    assert matches(log.verdict(picture("a", 25))) == [("blocked", "r", Decision.DUPLICATE)]
    log.add(Calibrated(calibration=strict))
    assert matches(log.verdict(picture("b", -25))) == []


def test_a_takedown_that_says_who_asked_for_it_is_audited() -> None:
    log = Log()
    log.add(picture("a", 0))
    removed = Removed(id="a", by="jo", why="law")
    assert log.events(removed)[0] == Changed(record=removed)


def test_kind_of_a_reference_is_told() -> None:
    log = Log()
    (told,) = [e for e in log.events(*film("clip", 0.0, 6.0, bank="blocked")) if isinstance(e, Referenced)]
    assert told.kind is Kind.VIDEO


def test_what_would_be_said_of_an_item_is_what_is_said_of_it() -> None:
    log = Log()
    log.add(BLOCKED, ALLOWED, reference("r", 20), picture("a", 0), reference("logo", 90, bank="fine"))
    for query in (picture("b", 1), picture("c", 91)):
        asked = ask(log.state, query, now_ms=0)
        said = log.verdict(query)
        assert (asked.decision, asked.allowed, matches(asked)) == (said.decision, said.allowed, matches(said))


def test_what_is_asked_about_together_is_answered_as_alone_and_a_share_goes_by_content() -> None:
    log = Log()
    log.add(BLOCKED, reference("r", 20), picture("a", 0))
    queries = [picture("", angle, sha256=bytes([angle])) for angle in (1, 40, 80)]
    assert ask_all(log.state, queries, now_ms=0) == [ask(log.state, query, now_ms=0) for query in queries]
    log.add(BankChanged(bank="blocked", enable_ratio=0.5))
    many = [picture("", 20, sha256=bytes([n, n])) for n in range(64)]
    asked = [verdict.matches[0].bank == "blocked" for verdict in ask_all(log.state, many, now_ms=0)]
    assert 16 < sum(asked) < 48


def test_a_reference_that_was_given_up_keeps_no_version_away() -> None:
    log = Log()
    parts = msgspec.structs.replace(reference("r", 0, source_offset=5), source_partition=0, last=False)
    log.events(parts)
    log.now += MAX_PENDING_SECONDS + 1
    older = msgspec.structs.replace(reference("r", 30, sha256=b"older", source_offset=4), source_partition=0)
    assert [type(event) for event in log.events(older)] == [Referenced]


def test_a_new_leader_deletes_what_shared_engines_have_of_deleted_banks(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped: list[list[str]] = []
    monkeypatch.setattr(state, "drop_indexes", lambda *given: dropped.append(given[-1]))
    log = Log()
    for name in ("a", "b", "c"):
        log.add(BankChanged(bank=name, edit=BankEdit.CREATE), BankChanged(bank=name, edit=BankEdit.DELETE))
    log.add(BankChanged(bank="b", edit=BankEdit.CREATE))
    for leads in (False, True, True, False, True):
        log.state.settle(6, leads)
    assert dropped == [["bank-a", "bank-c"]] * 2
