from __future__ import annotations

import pytest

from neardup.pipeline.log.changes import (
    Action,
    BankChanged,
    ClusterEdit,
    ClusterEdited,
    Outcome,
    ReferenceChanged,
    Reviewed,
)
from neardup.pipeline.log.reasons import Refusal
from neardup.pipeline.log.records import Changed, Event, Record, ReHeaded, Removed, RetroMatched, Verdict
from neardup.pipeline.log.verdicts import as_of_now
from neardup.pipeline.types import Decision
from tests.pipeline.match.build import Film, Log, edited, live_frames, picture, times, video
from tests.pipeline.match.compare.test_banks import film, reference


def says(item: str, other: str, outcome: Outcome, bank: str = "seen") -> Reviewed:
    return Reviewed(item=item, reference=other, outcome=outcome, bank=bank, by="jo")


def no_match(item: str, other: str, bank: str = "seen") -> Reviewed:
    return says(item, other, Outcome.NOT_A_MATCH, bank)


def moved(events: list[Event]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(e.old, e.new, e.members) for e in events if isinstance(e, ReHeaded)]


def matched(verdict: Verdict) -> list[str]:
    return [match.reference for match in verdict.matches]


# -- not a match -----------------------------------------------------------------------------------------------------


def test_what_is_no_match_leaves_the_cluster() -> None:
    log = Log()
    log.add(picture("a", 0), picture("b", 10))
    review = no_match("b", "a")
    assert log.events(review) == [Changed(record=review), ReHeaded(old="a", new="b")]
    assert log.head_of("b") == "b"
    assert matched(log.verdict(picture("c", 12))) == ["b", "a"]


@pytest.mark.parametrize(("one", "other"), [("a", "b"), ("b", "a")])
def test_what_is_no_match_is_none_for_ever_in_both_directions(one: str, other: str) -> None:
    log = Log()
    log.add(picture("a", 0), picture("b", 35), no_match(one, other), Removed(id="a"))
    assert matched(log.verdict(picture("a again", 0, sha256=b"content of a"))) == []
    log.add(Removed(id="a again"), Removed(id="b"), picture("a third", 0, sha256=b"content of a"))
    assert matched(log.verdict(picture("b again", 35, sha256=b"content of b"))) == []


def test_a_new_version_with_another_picture_is_judged_afresh() -> None:
    log = Log()
    log.add(picture("a", 0), picture("b", 10), no_match("b", "a"))
    assert matched(log.verdict(picture("b", 12, sha256=b"other"))) == ["a"]


def test_a_new_version_of_what_was_judged_by_its_id_joins_clusters_afresh() -> None:
    """Two of one content were judged by their ids; another picture under one of these is another content."""
    log = Log()
    log.add(picture("a", 0), picture("b", 0, sha256=b"content of a"), no_match("b", "a"))
    assert log.verdict(picture("b", 10, sha256=b"other")).head == "a"


def test_the_same_pixels_in_another_file_are_the_same_content() -> None:
    log = Log()
    log.add(picture("a", 0), picture("b", 10, pixels=b"p"), no_match("b", "a"), Removed(id="b"))
    assert matched(log.verdict(picture("b2", 10, pixels=b"p", sha256=b"rewritten"))) == []


def test_of_identical_items_it_is_the_ids_that_are_remembered() -> None:
    log = Log()
    log.add(picture("a", 0, sha256=b"x"), picture("b", 0, sha256=b"x"), no_match("b", "a"))
    assert log.head_of("b") == "b"
    assert matched(log.verdict(picture("c", 0, sha256=b"x"))) == ["a", "b"]


def test_an_item_does_not_join_a_cluster_that_holds_what_it_does_not_match() -> None:
    log = Log()
    log.add(picture("a", 0), picture("b", 20), picture("c", -10), no_match("c", "b"))
    assert log.head_of("c") == "c"  # it had joined "a", as had "b"
    log.add(Removed(id="c"))
    verdict = log.verdict(picture("c2", -10, sha256=b"content of c"))
    assert (matched(verdict), verdict.head) == (["a"], "")
    assert log.head_of("c2") == "c2"


def test_a_cluster_that_loses_its_head_keeps_apart_what_does_not_match() -> None:
    log = Log()
    log.add(
        picture("a", 0), picture("b", 3), picture("c", 6), no_match("c", "b"), picture("d", 0, sha256=b"content of c")
    )
    log.add(ClusterEdited(item="c", edit=ClusterEdit.MERGE, into="a"))
    log.add(Removed(id="a"))
    assert log.head_of("c") != log.head_of("b")


def test_a_reference_of_a_bank_can_be_no_match() -> None:
    log = Log()
    log.add(BankChanged(bank="blocked"), reference("r", 0), picture("a", 10), no_match("a", "r", "blocked"))
    assert log.head_of("a") == "a"
    log.add(Removed(id="a"))
    assert matched(log.verdict(picture("a2", 10, sha256=b"content of a"))) == []
    assert [e.id for e in log.events(reference("r2", 1)) if isinstance(e, RetroMatched)] == ["a2"]
    again = log.events(reference("r3", 0, sha256=b"content of r"))
    assert [e.id for e in again if isinstance(e, RetroMatched)] == []


def test_a_live_video_is_not_told_of_what_it_does_not_match() -> None:
    log = Log()
    log.add(*film("clip", 0.0, 8.0))
    frames = live_frames("live", Film(3).at(times(20.0)), times(20.0))
    log.add(frames[0], no_match("live", "clip"))
    assert not [e for e in log.events(*frames[1:]) if getattr(e, "flagged", None)]


# -- a match, and undo -------------------------------------------------------------------------------------------------


def test_an_unsure_item_that_is_a_match_joins_the_cluster_and_is_sure_from_then_on() -> None:
    log = Log()
    log.add(picture("a", 0), picture("b", 36))
    assert log.head_of("b") == "b"
    assert moved(log.events(says("b", "a", Outcome.MATCH))) == [("b", "a", ("b",))]
    assert log.head_of("b") == "a"
    log.add(Removed(id="b"))
    again = log.verdict(picture("b2", 36, sha256=b"content of b"))
    assert [(m.reference, m.decision) for m in again.matches] == [("a", Decision.DUPLICATE)]


def test_members_of_an_item_that_joins_another_cluster_are_grouped_anew() -> None:
    log = Log()
    log.add(picture("a", 0), picture("b", 36), picture("c", 50), picture("d", 52))
    assert [log.head_of(one) for one in "cd"] == ["b", "b"]
    assert moved(log.events(says("b", "a", Outcome.MATCH))) == [("b", "c", ("d",)), ("b", "a", ("b",))]
    assert [log.head_of(one) for one in "bcd"] == ["a", "c", "c"]


@pytest.mark.parametrize("degrees", [10, 36])
@pytest.mark.parametrize("outcome", [Outcome.MATCH, Outcome.NOT_A_MATCH])
def test_undo_restores_what_was(degrees: float, outcome: Outcome) -> None:
    log = Log()
    log.add(picture("a", 0), picture("b", degrees))
    before = log.head_of("b")
    log.add(says("b", "a", outcome), says("b", "a", Outcome.UNDO))
    assert log.head_of("b") == before
    log.add(Removed(id="b"))
    assert matched(log.verdict(picture("b2", degrees, sha256=b"content of b"))) == ["a"]


def test_a_second_opinion_takes_the_place_of_the_first() -> None:
    log = Log()
    log.add(picture("a", 0), picture("b", 36), says("b", "a", Outcome.MATCH), no_match("b", "a"))
    assert log.head_of("b") == "b"
    log.add(says("b", "a", Outcome.MATCH))
    assert log.head_of("b") == "a"


def test_a_segment_that_is_a_match_moves_no_cluster() -> None:
    log = Log()
    log.add(*film("whole", 0.0, 20.0), *film("clip", 4.0, 5.0))
    assert moved(log.events(says("clip", "whole", Outcome.MATCH))) == []


# -- clusters by hand --------------------------------------------------------------------------------------------------


def test_an_item_is_split_out_of_its_cluster() -> None:
    log = Log()
    log.add(picture("a", 0), picture("b", 5), picture("c", 8))
    assert moved(log.events(ClusterEdited(item="b", edit=ClusterEdit.SPLIT))) == [("a", "b", ())]
    assert [log.head_of(one) for one in "abc"] == ["a", "b", "a"]


def test_a_head_that_is_split_out_leaves_its_members_to_the_earliest() -> None:
    log = Log()
    log.add(picture("a", 0), picture("b", 5), picture("c", 8))
    assert moved(log.events(ClusterEdited(item="a", edit=ClusterEdit.SPLIT))) == [("a", "b", ("c",))]
    assert [log.head_of(one) for one in "abc"] == ["a", "b", "b"]


def test_two_clusters_are_merged_whatever_the_distance() -> None:
    log = Log()
    log.add(picture("a", 0), picture("b", 5), picture("x", 90), picture("y", 92))
    merge = ClusterEdited(item="y", edit=ClusterEdit.MERGE, into="b")
    assert moved(log.events(merge)) == [("x", "a", ("x", "y"))]
    assert [log.head_of(one) for one in "abxy"] == ["a", "a", "a", "a"]
    assert matched(log.verdict(picture("z", 91))) == []  # only heads are compared with


def test_another_item_becomes_the_head() -> None:
    log = Log()
    log.add(picture("a", 0), picture("b", 20), picture("c", 5))
    assert moved(log.events(ClusterEdited(item="b", edit=ClusterEdit.HEAD))) == [("a", "b", ("a", "c"))]
    assert [log.head_of(one) for one in "abc"] == ["b", "b", "b"]
    assert matched(log.verdict(picture("d", 45))) == ["b"]
    assert log.head_of("d") == "b"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (ClusterEdited(item="x", edit=ClusterEdit.SPLIT), Refusal.ALONE),
        (ClusterEdited(item="b", edit=ClusterEdit.MERGE, into="a"), Refusal.SAME_CLUSTER),
        (ClusterEdited(item="b", edit=ClusterEdit.MERGE, into="zzz"), Refusal.NO_ITEM),
        (ClusterEdited(item="a", edit=ClusterEdit.HEAD), Refusal.IS_HEAD),
        (ClusterEdited(item="live", edit=ClusterEdit.MERGE, into="a"), Refusal.LIVE),
        (says("b", "b", Outcome.MATCH), Refusal.ITSELF),
        (says("b", "zzz", Outcome.MATCH), Refusal.NO_ITEM),
        (says("zzz", "b", Outcome.MATCH), Refusal.NO_ITEM),
        (says("b", "a", Outcome.UNDO), Refusal.NOT_JUDGED),
        (no_match("b", "r", "nosuch"), Refusal.NO_BANK),
        (ReferenceChanged(bank="nosuch", id="r"), Refusal.NO_BANK),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(change: Record, reason: Refusal) -> None:
    log = Log()
    log.add(picture("a", 0), picture("b", 5), picture("x", 90), *live_frames("live", Film(3).at([0.0]), [0.0]))
    before = {item.id: item.head for item in log.state.items}
    (event,) = log.events(change)
    assert isinstance(event, Changed)
    assert event.refusal is reason
    assert event.refused
    assert {item.id: item.head for item in log.state.items} == before
    assert not list(log.state.parts().judged)


def test_a_video_that_copies_another_as_a_whole_joins_when_it_is_confirmed() -> None:
    log = Log()
    vectors = Film(3).at(times(8.0))
    log.add(*video("v", vectors), *video("w", edited(vectors)))
    assert log.head_of("w") == "v"
    log.add(no_match("w", "v"))
    assert log.head_of("w") == "w"
    log.add(says("w", "v", Outcome.MATCH))
    assert log.head_of("w") == "v"


def test_a_match_has_the_same_probability_shown_and_in_later_verdicts() -> None:
    log = Log()
    log.add(picture("a", 0))
    before = log.verdict(picture("b", 35))
    log.add(says("b", "a", Outcome.MATCH))
    shown = as_of_now(before, outcomes={("seen", "a"): Outcome.MATCH})
    later = log.verdict(picture("b again", 35, sha256=b"content of b"))
    [match] = [one for one in later.matches if one.reference == "a"]
    assert [(one.decision, one.probability) for one in shown.matches] == [(match.decision, match.probability)]
    assert match.probability == 1.0


def test_what_is_no_match_with_an_allow_list_silences_no_later_reference() -> None:
    log = Log()
    log.add(BankChanged(bank="fine", action=Action.ALLOW), picture("a", 0), reference("logo", 5, bank="fine"))
    log.add(no_match("a", "logo", bank="fine"))
    (found,) = (event for event in log.events(reference("r", 2)) if isinstance(event, RetroMatched))
    assert not found.match.silenced
