from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from neardup.pipeline.log.changes import ClusterEdit, ClusterEdited, Outcome, Reviewed
from tests.pipeline.match.build import picture
from tests.workers.api.build import Api, an_api


@pytest.fixture
def queued(tmp_path: Path) -> Iterator[Api]:
    """Three items, in planes of their own, of which each has one copy that waits for a review."""
    records = [picture(f"{name}{n}", 20 * n, plane=plane) for plane, name in enumerate("abc") for n in range(2)]
    with an_api(tmp_path, records) as api:
        yield api


def claimed(api: Api, name: str, **body: Any) -> list[str]:
    answer = api.client.post("/v1/reviews/claims", json={"queue": "all", **body}, headers=api.as_(name))
    assert answer.status_code == 200, answer.text
    return [one["item"] for one in answer.json()["items"]]


def decide(api: Api, name: str, item: str, outcome: str) -> Any:
    body = {"item": f"{item}1", "reference": f"{item}0", "outcome": outcome}
    return api.client.post("/v1/reviews", json=body, headers=api.as_(name))


def test_the_queue_tells_what_there_is_to_decide(queued: Api) -> None:
    told = queued.client.get("/v1/reviews?count=2&queue=all").json()
    assert (told["total"], [one["item"] for one in told["items"]]) == (3, ["a1", "b1"])
    first = told["items"][0]
    assert first["open"] == [{"bank": "seen", "reference": "a0"}]
    assert (first["offset"], first["claimed_by"], first["verdict"]["decision"]) == (1, "", "duplicate")
    assert [one["item"] for one in queued.client.get("/v1/reviews?start=2&queue=all").json()["items"]] == ["c1"]


def test_certain_duplicates_are_told_only_to_who_asks_for_them(queued: Api) -> None:
    assert queued.client.get("/v1/reviews").json() == {"items": [], "total": 0}
    assert claimed(queued, "bob", queue="unsure") == []
    assert queued.client.get("/v1/reviews?queue=unproved").json() == {"items": [], "total": 0}
    assert queued.client.get("/v1/reviews?queue=other").status_code == 422
    assert claimed(queued, "bob", queue="all") == ["a1"]


def test_two_reviewers_never_get_the_same_item(queued: Api) -> None:
    assert claimed(queued, "bob") == ["a1"]
    assert claimed(queued, "eve") == ["b1"]
    assert claimed(queued, "bob") == ["a1"]
    assert claimed(queued, "bob", passed=["a1"]) == ["c1"]
    assert claimed(queued, "eve", count=5) == ["b1"]
    assert queued.client.get("/v1/reviews?queue=all").json()["items"][0]["claimed_by"] == "bob"
    gone = queued.client.delete("/v1/reviews/claims", params={"item": "a1"}, headers=queued.as_("eve"))
    assert (gone.status_code, claimed(queued, "eve", count=5)) == (200, ["b1"])  # it was not eve's to give
    queued.client.delete("/v1/reviews/claims", params={"item": "a1"}, headers=queued.as_("bob"))
    assert claimed(queued, "eve", count=5) == ["a1", "b1"]


def test_a_decision_is_a_record_and_ends_the_wait(queued: Api) -> None:
    assert claimed(queued, "bob") == ["a1"]
    assert decide(queued, "bob", "a", "not-a-match").status_code == 200
    assert queued.log.records[-1] == Reviewed(item="a1", reference="a0", outcome=Outcome.NOT_A_MATCH, by="bob")
    assert queued.client.get("/v1/reviews?queue=all").json()["total"] == 2
    assert queued.client.get("/v1/items/a1").json()["verdict"]["matches"] == []
    assert queued.client.get("/v1/clusters?item=a1").json()["total"] == 0
    assert decide(queued, "bob", "a", "undo").status_code == 200
    assert claimed(queued, "bob") == ["a1"]
    assert decide(queued, "bob", "b", "match").status_code == 200
    assert queued.client.get("/v1/reviews?queue=all").json()["total"] == 2


def test_what_another_has_claimed_is_not_decided(queued: Api) -> None:
    assert claimed(queued, "bob") == ["a1"]
    refused = decide(queued, "eve", "a", "match")
    assert (refused.status_code, "bob has claimed 'a1'" in refused.json()["detail"]) == (409, True)
    assert len(queued.log.records) == 6


def test_what_cannot_be_decided_is_told_and_is_in_the_audit_trail(queued: Api) -> None:
    for body, status, reason in (
        ({"item": "nobody", "reference": "a0", "outcome": "match"}, 404, "no-item"),
        ({"item": "a1", "reference": "a0", "outcome": "match", "bank": "none"}, 404, "no-bank"),
        ({"item": "a1", "reference": "a1", "outcome": "match"}, 409, "itself"),
        ({"item": "a1", "reference": "a0", "outcome": "undo"}, 409, "not-judged"),
        ({"item": "a1", "reference": "a0", "outcome": "perhaps"}, 422, None),
        ({"item": "a1", "outcome": "match"}, 422, None),
        ({"item": "é" * 200, "reference": "a0", "outcome": "match"}, 422, None),
    ):
        answer = queued.client.post("/v1/reviews", json=body)
        assert (answer.status_code, bool(answer.json()["remedy"])) == (status, True), body
        assert answer.json().get("reason") == reason
    entries = queued.client.get("/v1/audit").json()["entries"]
    assert [bool(entry["refused"]) for entry in entries] == [True] * 4
    assert [entry["reason"] for entry in entries] == ["not-judged", "itself", "no-bank", "no-item"]


def test_a_cluster_is_listed_split_merged_and_given_another_original(queued: Api) -> None:
    client = queued.client

    def edit(**body: str) -> int:
        return client.post("/v1/clusters/edits", json=body, headers=queued.as_("bob")).status_code

    told = client.get("/v1/clusters?item=a1").json()
    assert (told["original"]["id"], [one["id"] for one in told["members"]]) == ("a0", ["a1"])
    assert told["members"][0]["distance"] == pytest.approx(0.1206, abs=1e-3)  # 2 - 2 cos 20°
    assert edit(item="a1", edit="merge", into="b1") == 200
    told = client.get("/v1/clusters?item=a0&count=2").json()
    assert (told["original"]["id"], told["total"], [one["id"] for one in told["members"]]) == ("b0", 3, ["a0", "a1"])
    assert edit(item="a1", edit="split") == 200
    assert edit(item="a0", edit="head") == 200
    assert client.get("/v1/items/b1").json()["original"] == "a0"
    assert queued.log.records[-1] == ClusterEdited(item="a0", edit=ClusterEdit.HEAD, by="bob")
    assert edit(item="a0", edit="head") == 409
    assert edit(item="nobody", edit="split") == 404
    assert edit(item="a0", edit="merge") == 422
    assert edit(item="a0", edit="split", into="b0") == 422
    assert client.get("/v1/clusters?item=nobody").status_code == 404


def test_the_audit_trail_tells_who_did_what_and_why(queued: Api) -> None:
    queued.client.post("/v1/banks", json={"bank": "blocked", "why": "4711"})
    decide(queued, "bob", "a", "not-a-match")
    queued.client.delete("/v1/items/c0?why=law")
    first = queued.client.get("/v1/audit?count=2").json()
    assert [(one["kind"], one["about"], one["by"], one["why"]) for one in first["entries"]] == [
        ("removed", "c0", "eve", "law"),
        ("reviewed", "a1", "bob", ""),
    ]
    assert first["entries"][1]["change"] == {"item": "a1", "reference": "a0", "outcome": "not-a-match"}
    assert first["entries"][1]["at_ms"] == 1007
    second = queued.client.get("/v1/audit", params={"count": 2, "before": first["next"]}).json()
    assert [one["kind"] for one in second["entries"]] == ["bank-changed"]
    assert second["next"] is None


def test_who_may_not_review(queued: Api) -> None:
    ann = queued.as_("ann")
    for answer in (
        queued.client.get("/v1/reviews", headers=ann),
        queued.client.post("/v1/reviews/claims", json={}, headers=ann),
        decide(queued, "ann", "a", "match"),
        queued.client.post("/v1/clusters/edits", json={"item": "a1", "edit": "split"}, headers=ann),
        queued.client.get("/v1/audit", headers=ann),
    ):
        assert answer.status_code == 403
    assert queued.client.get("/v1/clusters?item=a1", headers=ann).status_code == 200
    assert len(queued.log.records) == 6
