"""What each kind of record does to the state, and what is said of it."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from neardup.pipeline.errors import UsageError
from neardup.pipeline.log.changes import ClusterEdit, ClusterEdited
from neardup.pipeline.log.proofs import ProofExpired, ProofPending, answer
from neardup.pipeline.log.reasons import IgnoredReason
from neardup.pipeline.log.records import (
    ARCHIVE,
    Described,
    Entry,
    Ignored,
    Redecided,
    Redelivered,
    ReHeaded,
    Removed,
    RemovedEvent,
    Replaced,
    Verdict,
    ignored,
)
from neardup.pipeline.match.compare.compare import MOST_TWINS
from neardup.pipeline.match.data.pending import MAX_PENDING_SECONDS
from neardup.pipeline.match.query.lookup import compare_stored, lookup
from neardup.pipeline.types import Decision, Doubt, Exact, Extras
from neardup.pipeline.where import WHOLE
from tests.pipeline.match.build import (
    AGREES,
    BLANK,
    Film,
    Log,
    a_calibration,
    a_state,
    at,
    described,
    picture,
    times,
    video,
)


def kinds(events: list[object]) -> list[type]:
    return [type(event) for event in events]


# -- envelopes ---------------------------------------------------------------------------------------------------------


def test_every_offset_gets_one_envelope_also_where_nothing_happened() -> None:
    records = [
        picture("a", 0),
        picture("a", 0),
        Removed(id="never seen"),
        *video("v", Film(1).at(times(6)), part_size=4),
        Removed(id="a"),
    ]
    envelopes = a_state().apply([Entry(7 + i, record) for i, record in enumerate(records)])
    assert [envelope.offset for envelope in envelopes] == list(range(7, 7 + len(records)))
    assert [len(envelope.events) for envelope in envelopes] == [1, 1, 1, 0, 0, 0, 1, 1]


def test_no_records_give_no_envelopes() -> None:
    assert a_state().apply([]) == []


# -- images ------------------------------------------------------------------------------------------------------------


def test_first_item_is_distinct() -> None:
    assert Log().verdict(picture("a", 0)) == Verdict(id="a", decision=Decision.DISTINCT)


@pytest.mark.parametrize(
    ("degrees", "decision"), [(20, Decision.DUPLICATE), (35, Decision.UNSURE), (45, Decision.DISTINCT)]
)
def test_decision_follows_the_angle(degrees: float, decision: Decision) -> None:
    log = Log()
    log.add(picture("a", 0))
    verdict = log.verdict(picture("b", degrees))
    assert verdict.decision is decision
    if decision is Decision.DISTINCT:
        assert verdict.matches == ()
        return
    (match,) = verdict.matches
    assert (match.reference, match.bank, match.exact, match.where) == ("a", "seen", Exact.NO, WHOLE)
    assert match.distance == pytest.approx(2 - 2 * np.cos(np.radians(degrees)), abs=2e-3)
    assert match.evidence == pytest.approx(np.cos(np.radians(degrees)), abs=2e-3)
    assert (match.probability > 0.5) is True


def test_matches_are_listed_with_the_strongest_first() -> None:
    log = Log()
    log.add(picture("far", 0), picture("near", 45))
    assert [match.reference for match in log.verdict(picture("q", 25)).matches] == ["near", "far"]


def test_equal_matches_are_listed_with_the_earlier_first_and_the_earlier_is_joined() -> None:
    for order in (["left", "right"], ["right", "left"]):
        log = Log()
        log.add(*(picture(name, {"left": -20, "right": 20}[name]) for name in order))
        verdict = log.verdict(picture("q", 0))
        assert [match.reference for match in verdict.matches] == order
        assert log.head_of("q") == order[0]


def test_duplicates_of_an_angle_come_from_its_star_however_many_flood_in() -> None:
    flood = [picture(f"copy {n}", degrees) for n, degrees in enumerate(np.linspace(-10, 10, 300))]
    log = Log()
    log.add(picture("viral", 0))
    envelopes = log.add(*flood)
    for envelope in envelopes:
        (verdict,) = envelope.events
        assert isinstance(verdict, Verdict)
        assert [match.reference for match in verdict.matches] == ["viral"]
    head = log.state.items.named("viral")
    assert head is not None
    assert len(head.members) == 300


def test_more_copies_than_candidates_do_not_hide_another_match() -> None:
    log = Log()
    log.add(picture("viral", 0), picture("rare", 40), *(picture(f"copy {n}", 1 + n / 100) for n in range(200)))
    assert [match.reference for match in log.verdict(picture("q", 18)).matches] == ["viral", "rare"]


# -- identical content -------------------------------------------------------------------------------------------------


def test_identical_bytes_are_exact_whatever_the_descriptors_say() -> None:
    log = Log()
    log.add(picture("a", 0, sha256=b"same"))
    (match,) = log.verdict(picture("b", 90, sha256=b"same")).matches
    assert (match.reference, match.identical_to, match.exact) == ("a", "a", Exact.BYTES)
    assert (match.decision, match.probability, match.where.whole) == (Decision.DUPLICATE, 1.0, True)


def test_identical_pixels_are_exact_whatever_the_descriptors_say() -> None:
    log = Log()
    log.add(picture("a", 0, pixels=b"same"))
    (match,) = log.verdict(picture("b", 90, pixels=b"same")).matches
    assert (match.reference, match.identical_to, match.exact) == ("a", "a", Exact.PIXELS)


def test_identical_bytes_come_before_identical_pixels() -> None:
    log = Log()
    log.add(picture("pixels", 0, pixels=b"p"), picture("bytes", 90, sha256=b"b"))
    verdict = log.verdict(picture("q", 0, sha256=b"b", pixels=b"p"))
    assert (verdict.matches[0].reference, verdict.matches[0].exact) == ("bytes", Exact.BYTES)


def test_all_identical_references_are_exact() -> None:
    log = Log(a_state(stars=False))  # as `neardup match` has it
    log.add(picture("pixels", 0, pixels=b"p"), *(picture(f"bytes {n}", 90, sha256=b"b") for n in range(3)))
    log.add(picture("alike", 10), picture("p too", 0, sha256=b"other", pixels=b"p"))
    matches = log.verdict(picture("q", 0, sha256=b"b", pixels=b"p")).matches
    assert [(one.reference, one.identical_to, one.exact) for one in matches] == [
        ("bytes 0", "bytes 0", Exact.BYTES),
        ("bytes 1", "bytes 1", Exact.BYTES),
        ("bytes 2", "bytes 2", Exact.BYTES),
        ("pixels", "pixels", Exact.PIXELS),
        ("p too", "p too", Exact.PIXELS),
        ("alike", "", Exact.NO),
    ]


def test_of_very_many_identical_references_those_that_are_found_are_exact() -> None:
    log = Log(a_state(stars=False))
    log.add(*(picture(f"r{n}", 0, sha256=b"same") for n in range(MOST_TWINS + 6)))
    found = lookup(log.state, [picture("q", 0, sha256=b"same")], 2 * MOST_TWINS)[0]
    assert {one.reference for one in found} >= {f"r{n}" for n in range(MOST_TWINS)}
    assert {one.exact for one in found} == {Exact.BYTES}


def test_of_very_many_identical_references_those_with_the_same_bytes_come_first() -> None:
    log = Log(a_state(stars=False))
    log.add(picture("pixels", 0, sha256=b"other", pixels=b"p"))
    log.add(*(picture(f"r{n}", 0, sha256=b"same") for n in range(MOST_TWINS + 6)))
    found = lookup(log.state, [picture("q", 0, sha256=b"same", pixels=b"p")], MOST_TWINS + 2)[0]
    assert [one.exact for one in found] == [Exact.BYTES] * (MOST_TWINS + 2)


def test_stars_of_identical_items_are_all_exact() -> None:
    log = Log()
    log.add(picture("a", 0, sha256=b"same"), picture("b", 0, sha256=b"same"), picture("c", 0, sha256=b"same"))
    log.add(ClusterEdited(item="b", edit=ClusterEdit.SPLIT))
    verdict = log.verdict(picture("q", 0, sha256=b"same"))
    assert [(one.reference, one.exact) for one in verdict.matches] == [("a", Exact.BYTES), ("b", Exact.BYTES)]
    assert verdict.head == "a"


def test_held_items_that_are_identical_compare_as_exact() -> None:
    log = Log()
    log.add(picture("a", 0, sha256=b"same"), picture("b", 90, sha256=b"same"))
    match = compare_stored(log.state, "b", "a")
    assert (match.exact, match.probability, match.decision) == (Exact.BYTES, 1.0, Decision.DUPLICATE)


def test_twin_of_a_member_joins_the_member_s_head_and_names_the_member() -> None:
    log = Log()
    log.add(picture("head", 0), picture("member", 20, sha256=b"same"))
    (match,) = log.verdict(picture("twin", 40, sha256=b"same")).matches
    assert (match.reference, match.identical_to, match.exact) == ("head", "member", Exact.BYTES)
    # The twin's picture is the member's: what is told of head and twin was measured between head and member.
    assert match.evidence == pytest.approx(np.cos(np.radians(20)), abs=2e-3)
    assert log.head_of("twin") == "head"


def test_twin_within_one_batch_is_found() -> None:
    _first, second = Log().add(picture("a", 0, sha256=b"same"), picture("b", 90, sha256=b"same"))
    (verdict,) = second.events
    assert isinstance(verdict, Verdict)
    assert verdict.matches[0].exact is Exact.BYTES


def test_items_without_a_hash_are_not_taken_for_identical() -> None:
    log = Log()
    log.add(picture("a", 0, sha256=b""))
    assert log.verdict(picture("b", 90, sha256=b"")).decision is Decision.DISTINCT


# -- pictures that say nothing -----------------------------------------------------------------------------------------


def test_blank_pages_are_distinct_however_alike() -> None:
    log = Log()
    log.add(picture("a", 0, detail=BLANK))
    assert log.verdict(picture("b", 0, detail=BLANK)).decision is Decision.DISTINCT
    assert compare_stored(log.state, "b", "a").decision is Decision.DISTINCT


def test_blank_pages_of_one_batch_are_distinct() -> None:
    for envelope in Log().add(*(picture(f"page {n}", 0, detail=BLANK) for n in range(5))):
        (verdict,) = envelope.events
        assert isinstance(verdict, Verdict)
        assert verdict.decision is Decision.DISTINCT


def test_blank_page_matches_no_picture_and_no_picture_matches_it() -> None:
    log = Log()
    log.add(picture("blank", 0, detail=BLANK), picture("speaks", 60))
    assert log.verdict(picture("q", 0)).decision is Decision.DISTINCT
    assert log.verdict(picture("p", 60, detail=BLANK)).decision is Decision.DISTINCT


def test_identical_blank_pages_are_duplicates_with_finite_numbers() -> None:
    log = Log()
    log.add(picture("a", 0, detail=BLANK, sha256=b"page"), picture("b", 0, detail=BLANK, sha256=b"page"))
    (match,) = log.verdict(picture("c", 0, detail=BLANK, sha256=b"page")).matches
    assert (match.decision, match.exact, match.identical_to) == (Decision.DUPLICATE, Exact.BYTES, "a")
    assert (match.distance, match.evidence) == pytest.approx((0.0, 1.0), abs=1e-3)


def test_twin_of_a_blank_member_has_finite_numbers() -> None:
    log = Log()
    log.add(picture("head", 0, detail=BLANK, pixels=b"p"))
    log.add(picture("member", 10, detail=BLANK, pixels=b"p", sha256=b"s"))
    (match,) = log.verdict(picture("twin", 10, detail=BLANK, sha256=b"s")).matches
    assert (match.reference, match.identical_to) == ("head", "member")
    assert np.isfinite([match.distance, match.evidence]).all()


# -- the same id again -------------------------------------------------------------------------------------------------


def test_same_id_with_the_same_bytes_is_redelivered_and_changes_nothing() -> None:
    log = Log()
    log.add(picture("a", 0))
    assert log.events(picture("a", 0)) == [Redelivered(id="a")]
    assert len(log.state.items) == 1
    assert [m.reference for m in log.verdict(picture("b", 10)).matches] == ["a"]


def test_same_id_with_other_bytes_replaces_the_old_version() -> None:
    log = Log()
    log.add(picture("a", 0, sha256=b"old"))
    events = log.events(picture("a", 90, sha256=b"new"))
    assert events == [Replaced(id="a"), Verdict(id="a", decision=Decision.DISTINCT)]
    assert log.verdict(picture("like old", 0)).decision is Decision.DISTINCT
    assert [m.reference for m in log.verdict(picture("like new", 90)).matches] == ["a"]


def test_new_version_is_not_compared_with_the_old_one() -> None:
    log = Log()
    log.add(picture("a", 0, sha256=b"old"))
    assert log.events(picture("a", 5, sha256=b"new"))[1] == Verdict(id="a", decision=Decision.DISTINCT)


def test_older_source_offset_is_ignored() -> None:
    log = Log()
    log.add(picture("a", 0, sha256=b"new", source_offset=8))
    (event,) = log.events(picture("a", 90, sha256=b"old", source_offset=5))
    assert isinstance(event, Ignored)
    assert [m.reference for m in log.verdict(picture("b", 0)).matches] == ["a"]


def of_archive(record: Described, time_ms: int) -> Described:
    return msgspec.structs.replace(record, source_partition=ARCHIVE, source_offset=time_ms, quiet=True)


def test_history_never_replaces_what_the_stream_brought() -> None:
    log = Log()
    log.add(picture("a", 0, sha256=b"new", source_offset=8))
    assert kinds(log.events(of_archive(picture("a", 90, sha256=b"old"), 10**12))) == [Ignored]
    log.add(of_archive(picture("b", 45, sha256=b"old"), 10**12))
    assert kinds(log.events(picture("b", 90, sha256=b"new", source_offset=9))) == [Replaced, Verdict]


def test_of_two_versions_in_archives_the_later_one_stands() -> None:
    log = Log()
    log.add(of_archive(picture("a", 0, sha256=b"first"), 1000))
    assert kinds(log.events(of_archive(picture("a", 90, sha256=b"second"), 2000))) == [Replaced, Verdict]
    assert kinds(log.events(of_archive(picture("a", 0, sha256=b"first"), 1000))) == [Ignored]
    assert kinds(log.events(of_archive(picture("a", 90, sha256=b"second"), 2000))) == [Redelivered]


def test_a_live_copy_of_history_is_flagged_and_history_is_quiet() -> None:
    log = Log()
    assert log.verdict(of_archive(picture("a", 0), 1000)).quiet
    old, new = log.verdict(of_archive(picture("b", 5), 2000)), log.verdict(picture("c", 5))
    assert [(one.decision, one.quiet) for one in (old, new)] == [
        (Decision.DUPLICATE, True),
        (Decision.DUPLICATE, False),
    ]


def test_history_that_waits_for_proofs_stays_quiet() -> None:
    log = Log(a_state(asks=True))
    log.events(picture("a", 0))
    (pending,) = log.events(of_archive(picture("b", 30), 1000))
    assert isinstance(pending, ProofPending)
    assert pending.asked.later
    expired = ProofExpired(id="b", offset=pending.asked.offset)
    first, second = log.events(expired, answer(pending.asked, [AGREES]))
    assert isinstance(first, Verdict)
    assert isinstance(second, Redecided)
    assert (first.quiet, second.verdict.quiet, second.verdict.decision) == (True, True, Decision.DUPLICATE)


def test_redelivery_moves_on_the_source_offset_that_older_ones_are_told_by() -> None:
    log = Log()
    log.add(picture("a", 0, sha256=b"now", source_offset=5))
    log.add(picture("a", 0, sha256=b"now", source_offset=9))
    assert kinds(log.events(picture("a", 90, sha256=b"before", source_offset=7))) == [Ignored]


def test_offsets_of_another_source_partition_are_not_compared() -> None:
    log = Log()
    log.add(picture("a", 0, sha256=b"old", source_offset=8))
    other = described("a", at(90), sha256=b"new", source_offset=5)
    moved = type(other)(**{f: getattr(other, f) for f in other.__struct_fields__} | {"source_partition": 3})
    assert kinds(log.events(moved)) == [Replaced, Verdict]


def test_takedown_is_told_each_time_for_there_may_be_files_of_what_is_not_held() -> None:
    log = Log()
    log.add(picture("a", 0))
    assert log.events(Removed(id="a")) == [RemovedEvent(id="a")]
    assert log.events(Removed(id="a")) == [RemovedEvent(id="a")]
    assert log.events(Removed(id="nobody")) == [RemovedEvent(id="nobody")]
    assert kinds(log.events(picture("nobody", 0))) == [Ignored]


def test_removed_item_is_not_matched_any_more() -> None:
    log = Log()
    log.add(picture("a", 0, sha256=b"same"))
    log.add(Removed(id="a"))
    assert log.verdict(picture("b", 0, sha256=b"same")).decision is Decision.DISTINCT
    assert lookup(log.state, [picture("q", 0)], 5)[0][0].reference == "b"


def test_takedown_is_not_undone_by_a_late_or_a_new_record() -> None:
    log = Log()
    log.add(picture("a", 0, source_offset=5))
    log.add(Removed(id="a"))
    for late in (picture("a", 0, source_offset=4), picture("a", 0, source_offset=9), picture("a", 90, sha256=b"new")):
        assert kinds(log.events(late)) == [Ignored]
    assert log.verdict(picture("b", 0)).decision is Decision.DISTINCT


def test_takedown_before_the_first_record_holds() -> None:
    log = Log()
    log.add(Removed(id="a"))
    assert kinds(log.events(picture("a", 0))) == [Ignored]


# -- items of several parts --------------------------------------------------------------------------------------------

SCENE = Film(1).at(times(9))  # 19 frames


def test_item_in_parts_is_judged_once_with_its_last_part() -> None:
    parts = video("v", SCENE, part_size=5)
    events = [envelope.events for envelope in Log().add(*parts)]
    assert [len(one) for one in events] == [0, 0, 0, 1]


def test_item_is_not_matched_before_its_last_part() -> None:
    log = Log()
    parts = video("v", SCENE, part_size=5)
    log.add(*parts[:2])
    assert log.verdict(described("frame", SCENE[2:3])).decision is Decision.DISTINCT


def test_item_is_compared_with_what_came_between_its_parts() -> None:
    log = Log()
    parts = video("v", SCENE, part_size=5)
    log.add(parts[0])
    log.add(described("still", SCENE[2:3]))
    assert [match.reference for match in log.verdict(*parts[1:]).matches] == ["still"]


def test_part_out_of_sequence_is_ignored() -> None:
    log = Log()
    parts = video("v", SCENE, part_size=5)
    assert kinds(log.events(parts[1])) == [Ignored]
    assert log.events(parts[0]) == []
    assert kinds(log.events(parts[2])) == [Ignored]
    assert kinds(log.events(parts[1], parts[1], parts[2], parts[3])) == [Ignored, Verdict]


def test_part_zero_starts_afresh() -> None:
    log = Log()
    parts = video("v", SCENE, part_size=5)
    log.add(*parts[:3])
    assert kinds(log.events(*parts)) == [Verdict]
    item = log.state.items.named("v")
    assert item is not None
    assert len(item.rows) == len(SCENE)


def test_parts_of_two_items_may_be_mixed() -> None:
    log = Log()
    one, two = video("one", SCENE, part_size=5), video("two", Film(2).at(times(9)), part_size=5)
    log.add(*(part for pair in zip(one, two, strict=True) for part in pair))
    for name in ("one", "two"):
        item = log.state.items.named(name)
        assert item is not None
        assert log.state.rows.pts[item.rows].tolist() == times(9).tolist()


def test_parts_redelivered_are_told_once_with_the_last() -> None:
    log = Log()
    parts = video("v", SCENE, part_size=5)
    log.add(*parts)
    assert log.events(*parts) == [Redelivered(id="v")]


def test_stray_part_of_another_version_changes_nothing() -> None:
    log = Log()
    log.add(*video("v", SCENE, sha256=b"first"))
    stray = video("v", Film(2).at(times(9)), part_size=5, sha256=b"second")[1]
    assert kinds(log.events(stray)) == [Ignored]
    assert log.state.items.named("v") is not None


def test_part_of_another_version_does_not_continue_an_item() -> None:
    log = Log()
    new, old = (video("v", SCENE, part_size=5, sha256=name) for name in (b"new", b"old"))
    log.add(new[0])
    assert kinds(log.events(old[1])) == [Ignored]
    assert kinds(log.events(*new[1:])) == [Verdict]


def test_older_version_does_not_start_afresh_what_is_on_its_way() -> None:
    log = Log()
    new = video("v", SCENE, part_size=5, sha256=b"new", source_offset=9)
    old = video("v", Film(2).at(times(2)), sha256=b"old", source_offset=4)
    log.add(new[0])
    assert kinds(log.events(*old)) == [Ignored]
    assert kinds(log.events(*new[1:])) == [Verdict]


def test_takedown_between_parts_ends_the_item() -> None:
    log = Log()
    parts = video("v", SCENE, part_size=5)
    log.add(*parts[:2])
    log.add(Removed(id="v"))
    assert kinds(log.events(*parts[2:])) == [Ignored, Ignored]


def test_empty_last_part_closes_an_item() -> None:
    log = Log()
    first, last = video("v", SCENE, part_size=18)
    empty = described("v", SCENE[:0], kind=last.kind, part=1, last=True)
    log.add(first)
    assert kinds(log.events(empty)) == [Verdict]


def test_item_without_any_descriptor_is_distinct_and_a_twin_of_it_exact() -> None:
    log = Log()
    assert log.verdict(described("a", SCENE[:0], sha256=b"same")).decision is Decision.DISTINCT
    assert log.verdict(described("b", SCENE[:0], sha256=b"same")).matches[0].exact is Exact.BYTES
    assert lookup(log.state, [described("q", SCENE[:0])], 3) == [[]]


# -- lookup and compare ------------------------------------------------------------------------------------------------


def test_lookup_returns_the_nearest_whatever_the_decision() -> None:
    log = Log()
    log.add(picture("a", 0), picture("b", 50), picture("c", 120))
    (found,) = lookup(log.state, [picture("q", 10)], 2)
    assert [(match.reference, match.decision) for match in found] == [
        ("a", Decision.DUPLICATE),
        ("b", Decision.DISTINCT),
    ]


def test_lookup_in_an_empty_state_finds_nothing() -> None:
    assert lookup(a_state(), [picture("q", 0)], 3) == [[]]
    assert lookup(a_state(), [], 3) == []


def test_lookup_changes_nothing() -> None:
    scenes = [*video("v", SCENE), picture("a", 0), *video("w", SCENE[:8])]
    untouched, asked = Log(), Log()
    for log in (untouched, asked):
        log.add(*scenes)
    queries = [picture("q", 5), *video("x", SCENE[3:12]), picture("a", 0)]
    first = lookup(asked.state, queries, 5)
    assert lookup(asked.state, queries, 5) == first
    late = [*video("late", SCENE[2:15]), picture("b", 10)]
    assert asked.add(*late) == untouched.add(*late)


def test_lookup_says_of_an_item_what_apply_then_says() -> None:
    log = Log()
    log.add(picture("a", 0), *video("v", SCENE))
    for query in (picture("q", 25), video("x", SCENE[4:14])[0], described("still", SCENE[6:7])):
        (found,) = lookup(log.state, [query], 5)
        said = log.verdict(query).matches
        assert [m for m in found if m.decision is not Decision.DISTINCT] == list(said)


def test_lookups_of_one_call_do_not_touch_each_other() -> None:
    log = Log()
    log.add(picture("a", 0), *video("v", SCENE))
    queries = [picture("q", 10), *video("x", SCENE[4:14]), described("still", SCENE[6:7])]
    assert lookup(log.state, queries, 4) == [lookup(log.state, [query], 4)[0] for query in queries]


def test_compare_of_held_items_says_what_apply_said() -> None:
    log = Log()
    log.add(picture("a", 0))
    (match,) = log.verdict(picture("b", 20)).matches
    assert compare_stored(log.state, "b", "a") == match


def test_compare_with_an_unknown_item_is_the_caller_s_mistake() -> None:
    log = Log()
    log.add(picture("a", 0))
    with pytest.raises(UsageError, match="'b'"):
        compare_stored(log.state, "b", "a")
    with pytest.raises(UsageError, match="'c'"):
        compare_stored(log.state, "a", "c")


# -- evidence beyond the descriptor ------------------------------------------------------------------------------------


def test_hash_agreement_lifts_an_unsure_pair_to_a_duplicate() -> None:
    calibration = a_calibration(hash_weight=0.1)
    random = np.random.default_rng(1).integers(0, 256, size=(2, 32), dtype=np.uint8)
    for hashes, decision in ((random[:1], Decision.DUPLICATE), (random[1:], Decision.UNSURE)):
        log = Log(a_state(calibration))
        log.add(described("a", at(0), hashes=random[:1]))
        assert log.verdict(described("b", at(35), hashes=hashes)).decision is decision


def test_picture_that_resembles_the_background_needs_more_to_be_a_copy() -> None:
    background = np.repeat(at(0, plane=1), 3, axis=0)
    log = Log(a_state(a_calibration(cohort_weight=1.0), background))
    log.add(picture("a", 0))
    near = 0.9 * at(0) + np.sqrt(0.19) * at(90)
    also = 0.9 * at(0) + np.sqrt(0.19 - 0.09) * at(90) + 0.3 * at(0, plane=1)
    assert log.verdict(described("b", near)).decision is Decision.DUPLICATE
    assert log.verdict(described("c", also)).decision is Decision.DISTINCT


def test_item_of_which_no_part_comes_for_a_day_is_given_up() -> None:
    parts = video("slow", SCENE, part_size=3)
    log = Log()
    log.add(parts[0], video("other", SCENE, part_size=3)[0])
    log.now = MAX_PENDING_SECONDS
    assert [event for one in log.add(parts[1]) for event in one.events] == []
    log.now += 1
    (pending,) = (log.state.parts().pending[name] for name in ("slow",))
    assert pending.first.vectors == b""
    log.add(video("third", SCENE, part_size=3)[0])
    assert set(log.state.parts().pending) == {"slow", "third"}
    log.now += MAX_PENDING_SECONDS
    assert log.events(parts[2]) == [ignored("slow", IgnoredReason.PART_MISSING)]
    assert isinstance(log.events(*parts)[-1], Verdict)  # from the first part on it is taken again


def test_time_that_runs_backwards_gives_nothing_up_twice() -> None:
    late, other = video("late", SCENE, part_size=3), video("other", SCENE, part_size=3)
    entries = [
        Entry(0, late[0], 0),
        Entry(1, other[0], round(1000 * MAX_PENDING_SECONDS) + 1),  # by which `late` is given up
        Entry(2, late[1], 1000),
    ]
    together, alone = a_state(), a_state()
    said = together.apply(entries[:1]) + together.apply(entries[1:])
    assert said == [envelope for entry in entries for envelope in alone.apply([entry])]
    assert said[2].events == (ignored("late", IgnoredReason.PART_MISSING),)


def test_a_picture_that_is_pale_on_transparent_ground_is_unsure_at_most() -> None:
    state = a_state()
    pale = msgspec.structs.replace(picture("pale", 0), extras=Extras(dark_ground=True))
    same = msgspec.structs.replace(picture("same", 0, sha256=pale.sha256), extras=Extras(dark_ground=True))
    [_, alike, exact] = [
        verdict
        for envelope in state.apply([Entry(n, one) for n, one in enumerate((pale, picture("alike", 5), same))])
        for verdict in envelope.events
        if isinstance(verdict, Verdict)
    ]
    assert (alike.decision, alike.matches[0].doubt) == (Decision.UNSURE, Doubt.DARK_GROUND)
    assert (exact.decision, exact.matches[0].exact) == (Decision.DUPLICATE, Exact.BYTES)


def test_measurements_that_resemble_each_other_are_unsure_unless_they_are_close() -> None:
    state = a_state()
    slices = Extras(bits=16, stretched=True)
    records = [
        msgspec.structs.replace(picture(name, degrees), extras=slices)
        for name, degrees in (("slice", 0), ("next", 25), ("again", 5))
    ]
    [_, other, again] = [
        verdict
        for envelope in state.apply([Entry(n, one) for n, one in enumerate(records)])
        for verdict in envelope.events
        if isinstance(verdict, Verdict)
    ]
    assert (other.decision, other.matches[0].doubt) == (Decision.UNSURE, Doubt.STRETCHED)
    assert (again.decision, again.matches[0].doubt) == (Decision.DUPLICATE, Doubt.NO)


def test_members_stand_in_the_order_of_their_first_parts() -> None:
    log = Log()
    first, last = picture("early", 0, sha256=b"same"), picture("early", 0, sha256=b"same")
    log.add(picture("head", 0, sha256=b"same"))
    log.add(msgspec.structs.replace(first, last=False), picture("late", 0, sha256=b"same"))
    log.add(msgspec.structs.replace(last, part=1))
    assert log.events(Removed(id="head")) == [
        ReHeaded(old="head", new="early", members=("late",)),
        RemovedEvent(id="head"),
    ]
