from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from neardup.pipeline.log.changes import BankChanged
from neardup.pipeline.log.records import Envelope
from neardup.pipeline.store.interface import ReviewQueue
from neardup.workers.api.pages import review
from tests.pipeline.match.build import picture
from tests.timing import when
from tests.workers.api.build import Api, an_api

ANN, BOB = "annsfirstseat", "bobsfirstseat"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """Three copies of `a` wait; `a2` is like a reference of a bank, too."""
    records = [
        picture("a", 0),
        BankChanged(bank="blocked"),
        msgspec.structs.replace(picture("r", 10), bank="blocked"),
        *(picture(f"a{n}", n) for n in (1, 2, 3)),
    ]
    with an_api(tmp_path, records) as running:
        yield running


def take(api: Api, seat: str, count: int = 1, passed: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    answer = api.client.post("/review/tasks", json={"seat": seat, "count": count, "passed": passed, "queue": "all"})
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def ids(tasks: list[dict[str, Any]]) -> list[str]:
    return [task["item"]["id"] for task in tasks]


def test_a_task_has_all_that_is_shown(api: Api) -> None:
    [task] = [one for one in take(api, ANN, 8) if one["item"]["id"] == "a1"]
    assert task["item"] == {"id": "a1", "kind": "image", "seconds": 0.0, "original": "a", "members": 4}
    assert (task["claimed_by"], task["mine"]) == ("eve", True)
    by_bank = {match["bank"]: match for match in task["matches"]}
    assert by_bank["blocked"]["facts"] == {"id": "r", "kind": "image", "seconds": 0.0, "original": "r", "members": 1}
    assert by_bank["seen"]["reference"] == "a"
    assert all(match["open"] for match in task["matches"])


def test_what_redis_tells_of_before_the_view_has_it_is_waited_for_a_moment(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    [known] = api.store.queue(0, 1, queue=ReviewQueue.ALL)
    api.log.held = True
    api.log.append([picture("a4", 4)])
    verdict = msgspec.structs.replace(known.verdict, id="a4")
    api.store.apply([Envelope(offset=api.context.applied + 1, events=(verdict,))])
    [unknown] = [one for one in take(api, ANN, 8) if one["item"]["id"] == "a4"]
    assert unknown["item"]["kind"] is None  # shown all the same
    monkeypatch.setattr(review, "_CATCH_UP_SECONDS", 60.0)
    with when(lambda: api.context.waiting._offsets, api.log.follow):
        [task] = [one for one in take(api, ANN, 8) if one["item"]["id"] == "a4"]
    assert task["item"]["kind"] == "image"


def test_two_seats_of_one_token_get_different_items(api: Api) -> None:
    mine, others = take(api, ANN, 2), take(api, BOB, 2)
    assert not set(ids(mine)) & set(ids(others))
    assert ids(take(api, ANN, 2)) == ids(mine)
    waiting = api.client.get(f"/review/waiting?seat={BOB}&queue=all").json()
    assert [one["mine"] for one in waiting["results"]].count(True) == len(others)
    assert waiting["waiting"]["all"] == len(mine) + len(others)


def test_what_is_released_goes_to_another_and_what_is_skipped_does_not_come_back(api: Api) -> None:
    [first] = ids(take(api, ANN))
    assert first not in ids(take(api, BOB, 8))
    assert api.client.post("/review/releases", json={"seat": ANN, "items": [first]}).status_code == 204
    assert ids(take(api, ANN, passed=(first,))) == []
    assert first in ids(take(api, BOB, 8))


def test_a_decision_of_a_seat_is_its_reviewers_and_no_other_may_decide_meanwhile(api: Api) -> None:
    [task] = take(api, ANN, passed=("a",))
    body = {"item": task["item"]["id"], "reference": "a", "outcome": "not-a-match"}
    assert api.client.post("/v1/reviews", json=body, headers=api.as_("bob")).status_code == 409
    assert api.client.post("/v1/reviews", json=body).status_code == 200
    assert api.store.audit("", 1)[0].changed.record.by == "eve"
    [again] = take(api, ANN, passed=("a",))
    assert [(match["bank"], match["open"]) for match in again["matches"]] == [("blocked", True)]


def test_claims_of_the_api_may_name_a_seat(api: Api) -> None:
    first, second = (
        api.client.post("/v1/reviews/claims", json={"seat": seat, "queue": "all"}).json()["items"]
        for seat in ("x", "y")
    )
    assert first[0]["item"] != second[0]["item"]
    assert first[0]["claimed_by"] == "eve"
    api.client.delete(f"/v1/reviews/claims?item={first[0]['item']}&seat=x")
    assert first[0]["item"] in ids(take(api, BOB, 8))


def test_only_reviewers_take_tasks(api: Api) -> None:
    body = {"seat": ANN, "count": 1}
    assert api.client.post("/review/tasks", json=body, headers=api.as_("ann")).status_code == 403
    assert api.client.get("/review", headers=api.as_("ann"), follow_redirects=False).status_code == 303
    assert api.client.post("/review/tasks", json={"seat": "no/slash", "count": 1}).status_code == 422
