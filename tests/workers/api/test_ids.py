"""Ids at the API's doors: what can be none is refused, and what a log of before has is still moderated."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest

from neardup.pipeline.log.changes import BankChanged, Reviewed
from neardup.pipeline.log.records import Entry, Record, Removed
from tests.pipeline.match.build import a_state, picture
from tests.workers.api.build import Api, an_api, an_image

PNG = {"Content-Type": "image/png"}
OLD = ["a\tb", "nul\0", "line\nbreak", "../banks/victim", "x//y", "e\u0301", "\u202ecat", "back\\slash", " a "]
BAD = [*OLD, "%2e%2e/banks/victim", "..", "x" * 257]


def old_records() -> list[Record]:
    pictures = [picture(id, 3 * number) for number, id in enumerate(OLD)]
    return [
        BankChanged(bank="victim"),
        picture("good", 120),
        *pictures,
        msgspec.structs.replace(picture(OLD[0], 120), bank="victim"),
    ]


@pytest.mark.parametrize("id", BAD)
def test_nothing_new_is_named_so(api: Api, id: str) -> None:
    one, before = quote(id, safe=""), len(api.log.records)
    image = an_image(40)
    refused = [
        api.client.post(f"/v1/items?id={one}", content=image, headers=PNG),
        api.client.put(f"/v1/references?bank=blocked&id={one}", content=image, headers=PNG),
        api.client.get(f"/v1/items?id={one}"),
        api.client.delete(f"/v1/items?id={one}"),
        api.client.get(f"/v1/similar?id={one}"),
        api.client.get(f"/v1/status?id={one}"),
        api.client.get(f"/v1/thumbnails?id={one}"),
        api.client.get(f"/v1/pictures?id={one}"),
        api.client.get(f"/v1/clusters?item={one}"),
        api.client.delete(f"/v1/references?bank=blocked&id={one}"),
        api.client.post("/v1/banks/blocked/references", json={"item": id}),
        api.client.post("/v1/reviews", json={"item": id, "reference": "a", "outcome": "match"}),
        api.client.post("/v1/clusters/edits", json={"item": id, "edit": "split"}),
        api.client.post("/v1/banks/blocked/import", json={"id": id}, headers={"Content-Type": "application/x-ndjson"}),
    ]
    assert [answer.status_code for answer in refused] == [422] * len(refused)
    by_path = [  # a client or the router may have another path by then
        api.client.put(f"/v1/banks/blocked/references/{one}", content=image, headers=PNG),
        api.client.get(f"/v1/items/{one}"),
        api.client.delete(f"/v1/items/{one}"),
    ]
    assert {answer.status_code for answer in by_path} <= {422, 404, 405}
    assert (len(api.log.records), api.log.published) == (before, [])


def test_a_path_that_leads_up_removes_no_bank(api: Api) -> None:
    api.client.post("/v1/banks", json={"bank": "victim"})
    answer = api.client.post("/v1/items?id=../banks/victim", content=an_image(40), headers=PNG)
    assert answer.status_code == 422
    assert "victim" in [bank["bank"] for bank in api.client.get("/v1/banks").json()["banks"]]


def test_a_log_of_before_replays_as_it_was(tmp_path: Path) -> None:
    records = [*old_records(), Reviewed(item=OLD[1], reference=OLD[0], outcome="match"), Removed(id=OLD[2])]  # type: ignore[arg-type]
    entries = [Entry(number, record, 1000 + number) for number, record in enumerate(records)]
    at_once, one_by_one = a_state(), a_state()
    envelopes = at_once.apply(entries)
    assert [one_by_one.apply([entry])[0] for entry in entries] == envelopes
    assert {item.id for item in at_once.items} == {"good", *OLD} - {OLD[2]}
    replayed = a_state()
    assert replayed.apply(entries, {one.offset: one for one in envelopes}) == envelopes
    with an_api(tmp_path, records) as api:
        assert all(api.client.get("/v1/items", params={"id": id}).status_code == 200 for id in set(OLD) - {OLD[2]})


@pytest.mark.parametrize("id", OLD)
def test_what_a_log_of_before_has_is_moderated_by_parameter(tmp_path: Path, id: str) -> None:
    with an_api(tmp_path, old_records()) as api:
        other = next(one for one in OLD if one != id)
        assert api.client.get("/v1/items", params={"id": id}).json()["id"] == id
        assert api.client.get("/v1/similar", params={"id": id}).status_code == 200
        assert api.client.get("/v1/clusters", params={"item": id}).status_code == 200
        review = {"item": id, "reference": other, "outcome": "not-a-match"}
        assert api.client.post("/v1/reviews", json=review).status_code == 200
        assert api.client.post("/v1/banks/victim/references", json={"item": id}).status_code == 201
        assert api.client.get("/v1/references", params={"bank": "victim", "id": id}).json()["id"] == id
        assert api.client.delete("/v1/references", params={"bank": "victim", "id": id}).status_code == 200
        gone = api.client.delete("/v1/items", params={"id": id})
        assert (gone.status_code, gone.json()["gone"], gone.json()["was_held"]) == (200, True, True)
        assert api.log.records[-1] == Removed(id=id, by="eve")
        assert api.client.get("/v1/items", params={"id": id}).status_code == 404
        assert api.client.get("/v1/status", params={"id": id}).json()["status"] == "taken-down"
        assert api.client.delete("/v1/items", params={"id": id}).status_code == 200


def test_an_item_whose_id_ends_like_a_call_is_named_by_parameter(tmp_path: Path) -> None:
    with an_api(tmp_path, [picture("a", 0), picture("a/similar", 60), picture("b?c#d%2Fe", 120)]) as api:
        assert api.client.get("/v1/items?id=a/similar").json()["id"] == "a/similar"
        assert api.client.get("/v1/items", params={"id": "b?c#d%2Fe"}).json()["id"] == "b?c#d%2Fe"


def test_banks_are_named_by_parameter_too(api: Api) -> None:
    api.client.post("/v1/banks", json={"bank": "blocked"})
    assert api.client.patch("/v1/banks?bank=blocked", json={"note": "x"}).status_code == 200
    assert [one["note"] for one in api.client.get("/v1/banks?bank=blocked").json()["banks"]] == ["x"]
    assert api.client.delete("/v1/banks?bank=blocked").status_code == 200
    assert api.client.get("/v1/banks?bank=blocked").status_code == 404
    assert api.client.delete("/v1/banks?bank=..").status_code == 422
    assert api.client.delete("/v1/banks").status_code == 422
