"""Items that copy one another stand in stars around their heads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from neardup.pipeline.log.changes import BankChanged
from neardup.pipeline.log.records import ReHeaded, Removed, RemovedEvent, Replaced, RetroMatched, Verdict
from neardup.pipeline.log.verdicts import star_head
from neardup.pipeline.match.data.items import Items, Rows
from neardup.pipeline.match.decide.decide import Judgement, PairOutcome, compare_items, compare_wholes
from neardup.pipeline.match.query.lookup import ask_all
from neardup.pipeline.types import Decision
from neardup.pipeline.where import Relation
from tests.pipeline.match.build import BLANK, Film, Log, a_state, picture, times, video


def test_stars_do_not_chain() -> None:
    # 20 degrees from one to the next are a copy, 40 are none.
    log = Log()
    log.add(picture("a", 0), picture("b", 20))
    assert log.head_of("b") == "a"
    verdict = log.verdict(picture("c", 40))
    assert verdict.decision is not Decision.DUPLICATE
    assert log.head_of("c") == "c"
    assert log.verdict(picture("d", 60)).matches[0].reference == "c"


def test_item_joins_the_nearest_head() -> None:
    log = Log()
    log.add(picture("a", 0), picture("b", 50))
    log.add(picture("c", 27))
    assert log.head_of("c") == "b"


def test_one_more_copy_asks_for_none_of_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that goes round has very many."""
    log = Log()
    log.add(picture("head", 0))
    log.add(*(picture(f"copy {number}", 10) for number in range(200)))
    asked: list[int] = []
    get = Items.get

    def count(self: Items, number: int) -> object:
        asked.append(number)
        return get(self, number)

    monkeypatch.setattr(Items, "get", count)
    log.add(picture("one more", 10))
    assert len(asked) < 20
    monkeypatch.undo()
    assert log.head_of("one more") == "head"


def test_unsure_match_joins_no_star() -> None:
    log = Log()
    log.add(picture("a", 0))
    assert log.verdict(picture("b", 35)).decision is Decision.UNSURE
    assert log.head_of("b") == "b"


def test_a_variant_is_listed_and_joins_no_star(monkeypatch: pytest.MonkeyPatch) -> None:
    def prove(compare: Callable[..., PairOutcome], *given: Any) -> PairOutcome:
        """Find other content wherever two look alike, as a proof could."""
        return replace(compare(*given), judgement=Judgement(Decision.DISTINCT, 0.5), relation=Relation.VARIANT)

    for compare in (compare_items, compare_wholes):
        name = f"neardup.pipeline.match.compare.compare.{compare.__name__}"
        monkeypatch.setattr(name, partial(prove, compare))
    log = Log()
    log.add(picture("a", 0), BankChanged(bank="blocked", precision=0.99))
    log.add(msgspec.structs.replace(picture("banned", 1), bank="blocked"))
    verdict = log.verdict(picture("b", 5))
    assert (verdict.decision, log.head_of("b")) == (Decision.DISTINCT, "b")
    listed = [("blocked", "banned", Relation.VARIANT), ("seen", "a", Relation.VARIANT)]
    assert [(match.bank, match.reference, match.relation) for match in verdict.matches] == listed
    (asked,) = ask_all(log.state, [picture("", 5)], 0)
    assert {match.reference for match in asked.matches} == {"a", "b", "banned"}
    assert (asked.decision, star_head(asked)) == (Decision.DISTINCT, None)
    found = log.events(msgspec.structs.replace(picture("later", 2), bank="blocked"))
    retro = [event for event in found if isinstance(event, RetroMatched)]
    assert [(event.id, event.match.relation) for event in retro] == [("a", Relation.VARIANT), ("b", Relation.VARIANT)]


def test_without_stars_every_copy_stays_a_reference() -> None:
    log = Log(a_state(stars=False))
    log.add(picture("a", 0), picture("b", 20))
    assert {m.reference for m in log.verdict(picture("c", 40)).matches} == {"b"}
    assert log.head_of("c") == "c"


def test_removed_head_s_members_stand_under_the_earliest_of_them() -> None:
    log = Log()
    log.add(picture("head", 0), picture("b", 20), picture("c", 10))
    events = log.events(Removed(id="head"))
    assert events == [ReHeaded(old="head", new="b", members=("c",)), RemovedEvent(id="head")]
    assert (log.head_of("b"), log.head_of("c")) == ("b", "b")


def test_member_that_is_far_from_the_new_head_becomes_a_head_of_its_own() -> None:
    log = Log()
    log.add(picture("head", 0), picture("left", -25), picture("right", 25), picture("more right", 27))
    events = log.events(Removed(id="head"))
    assert events[:2] == [
        ReHeaded(old="head", new="left", members=()),
        ReHeaded(old="head", new="right", members=("more right",)),
    ]
    assert log.verdict(picture("q", 40)).matches[0].reference == "right"


def test_removed_head_is_not_matched_and_its_heirs_are() -> None:
    log = Log()
    log.add(picture("head", 0), picture("b", 20))
    log.add(Removed(id="head"))
    (match,) = log.verdict(picture("q", 0)).matches
    assert match.reference == "b"


def test_head_that_is_replaced_leaves_its_members() -> None:
    log = Log()
    log.add(picture("head", 0, sha256=b"old"), picture("b", 20))
    events = log.events(picture("head", 20, sha256=b"new"))
    assert events[:2] == [Replaced(id="head"), ReHeaded(old="head", new="b", members=())]
    assert isinstance(events[2], Verdict)
    assert log.head_of("head") == "b"


def test_removed_member_leaves_its_star_and_no_more_happens() -> None:
    log = Log()
    log.add(picture("head", 0), picture("b", 20), picture("c", 10))
    assert log.events(Removed(id="b")) == [RemovedEvent(id="b")]
    assert log.events(Removed(id="head"))[0] == ReHeaded(old="head", new="c", members=())


def test_head_may_be_lost_again_and_again() -> None:
    log = Log()
    names = [f"item {n}" for n in range(6)]
    log.add(*(picture(name, n) for n, name in enumerate(names)))
    for old, new in pairwise(names):
        assert log.events(Removed(id=old))[0] == ReHeaded(
            old=old, new=new, members=tuple(names[names.index(new) + 1 :])
        )
    assert log.events(Removed(id=names[-1])) == [RemovedEvent(id=names[-1])]
    assert len(log.state.items) == 0
    assert log.verdict(picture("q", 0)).decision is Decision.DISTINCT


def test_members_with_identical_bytes_stay_together_whatever_their_descriptors_say() -> None:
    log = Log()
    log.add(*(picture(name, 0, detail=BLANK, sha256=b"page") for name in "abc"))
    assert log.events(Removed(id="a"))[0] == ReHeaded(old="a", new="b", members=("c",))


def test_removal_and_arrival_in_one_batch_are_seen_in_order() -> None:
    log = Log()
    envelopes = log.add(picture("a", 0), picture("b", 10), Removed(id="a"), picture("c", 5), Removed(id="b"))
    (said,) = envelopes[3].events
    assert isinstance(said, Verdict)
    assert [m.reference for m in said.matches] == ["b"]
    assert envelopes[4].events == (ReHeaded(old="b", new="c", members=()), RemovedEvent(id="b"))


def test_copy_of_a_video_as_a_whole_joins_its_star_and_an_excerpt_does_not() -> None:
    film = Film(1)
    log = Log()
    log.add(*video("film", film.at(times(20))))
    assert log.verdict(*video("copy", film.at(times(20, phase=0.2)), times(20, phase=0.2))).matches[0].where.whole
    assert not log.verdict(*video("excerpt", film.at(times(8) + 5))).matches[0].where.whole
    assert (log.head_of("copy"), log.head_of("excerpt")) == ("film", "excerpt")


def test_picture_out_of_a_video_joins_no_star() -> None:
    film = Film(1)
    log = Log()
    log.add(*video("film", film.at(times(20))))
    still = video("still", film.at(np.array([7.0])))[0]
    assert log.verdict(still).decision is Decision.DUPLICATE
    assert log.head_of("still") == "still"


def test_identical_items_are_found_earliest_first_after_removals() -> None:
    log = Log()
    log.add(*(picture(name, n * 60, sha256=b"same", pixels=b"p") for n, name in enumerate("abc")))
    log.add(Removed(id="a"))
    assert log.verdict(picture("d", 200, sha256=b"same")).matches[0].identical_to == "b"


def test_tables_of_a_state_forget_what_was_removed() -> None:
    items = Items()
    log = Log()
    log.add(picture("a", 0, sha256=b"x", pixels=b"p"), Removed(id="a"))
    assert [list(found) for found in log.state.items.identical(b"x", b"p")] == [[], []]
    assert "a" not in log.state.items
    assert (len(items), list(items), items.next_number(), items.next_number()) == (0, [], 0, 1)


@pytest.mark.parametrize("steps", [[1, 2, 3], [1500, 1, 3000]])
def test_rows_keep_their_values_as_they_grow(steps: list[int]) -> None:
    rows = Rows()
    for step, count in enumerate(steps):
        added = rows.append(count, item=step, pts=np.arange(count), hash=np.full((count, 32), step))
        assert added.tolist() == list(range(sum(steps[:step]), sum(steps[: step + 1])))
    assert len(rows) == sum(steps)
    assert rows.item[: len(rows)].tolist() == np.repeat(np.arange(len(steps)), steps).tolist()
    assert rows.pts[: len(rows)].tolist() == np.concatenate([np.arange(n) for n in steps]).tolist()
    assert rows.shared[: len(rows)].tolist() == [0] * len(rows)
