from __future__ import annotations

import time
from pathlib import Path

import pytest

from neardup.pipeline.log.records import Removed
from tests.pipeline.match.build import picture
from tests.workers.api.build import Api, an_api, an_image

PNG = {"Content-Type": "image/png"}
BROKEN = an_image(2)[:40]
"""Begins as a PNG does."""


def test_an_item_is_told_with_its_cluster_and_verdict(api: Api) -> None:
    told = api.client.get("/v1/items/a2").json()
    assert (told["original"], told["is_original"], told["members"], told["frames"]) == ("a", False, 2, 1)
    assert told["verdict"]["matches"][0]["reference"] == "a"
    assert api.client.get("/v1/items/a").json()["is_original"] is True


def test_an_id_may_hold_slashes_and_spaces(tmp_path: Path) -> None:
    with an_api(tmp_path, [picture("shop/a cat/1", 0)]) as api:
        assert api.client.get("/v1/items/shop/a%20cat/1").json()["id"] == "shop/a cat/1"
        assert api.client.get("/v1/items/shop/a%20cat/1/similar").status_code == 200


def test_an_unknown_id_is_not_found(api: Api) -> None:
    for path in ("/v1/items/nobody", "/v1/items/nobody/similar", "/v1/items/nobody/thumbnail", "/v1/items/a/thumbnail"):
        answer = api.client.get(path)
        assert answer.status_code == 404, path
        assert answer.json()["type"] == "/problems/not-found"


def test_a_thumbnail_is_the_one_that_was_stored(api: Api) -> None:
    sha256 = b"content of a"
    api.context.blobs.put_thumbnail("a", b"jpeg", sha256.hex())
    answer = api.client.get("/v1/items/a/thumbnail")
    assert (answer.content, answer.headers["content-type"]) == (b"jpeg", "image/jpeg")


def test_a_published_item_is_sent_to_media_and_its_verdict_awaited(api: Api) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    image = an_image(2)
    answer = api.client.post("/v1/items?id=new&wait=5", content=image, headers={**PNG, "traceparent": parent})
    assert answer.status_code == 200
    assert answer.json()["status"] == "decided"
    assert answer.json()["verdict"]["matches"][0]["reference"] == "a"
    assert api.log.published == [("new", image, [("bank", b"seen"), ("traceparent", parent.encode())])]
    again = api.client.post("/v1/items?id=new&wait=5", content=image, headers=PNG)
    assert again.json()["status"] == "redelivered"


def test_without_wait_it_is_accepted(api: Api) -> None:
    answer = api.client.post("/v1/items?id=new", content=an_image(2), headers=PNG)
    assert (answer.status_code, answer.json()["status"]) == (202, "accepted")


def test_what_no_worker_could_read_is_not_sent(api: Api) -> None:
    assert api.client.post("/v1/items?id=new", content=b"text", headers=PNG).status_code == 415
    uri = api.client.post("/v1/items?id=new", json={"uri": "http://169.254.169.254/latest"})
    assert (uri.status_code, uri.json()["reason"]) == (422, "forbidden")
    assert api.client.post(f"/v1/items?id={'é' * 200}", content=an_image(2), headers=PNG).status_code == 422
    assert api.log.published == []


def test_a_large_one_goes_by_way_of_the_blob_store(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neardup.workers.api.sending.MAX_INLINE_BYTES", 10)
    monkeypatch.setattr(api.log, "publish", lambda *sent: api.log.published.append(sent))
    image = an_image(2)
    assert api.client.post("/v1/items?id=new", content=image, headers=PNG).status_code == 202
    [(_, value, headers)] = api.log.published
    assert Path(value.decode().removeprefix("file://")).read_bytes() == image
    assert dict(headers)["content-type"] == b"text/uri-list"


def test_a_takedown_is_confirmed_when_it_is_gone_everywhere(api: Api) -> None:
    api.context.blobs.put_thumbnail("a", b"jpeg", "v")
    answer = api.client.delete("/v1/items/a")
    assert answer.status_code == 200, answer.text
    assert answer.json() | {"seconds": 0} == {
        "id": "a", "gone": True, "was_held": True, "left_in": [], "offset": 4, "seconds": 0
    }  # fmt: skip
    assert api.log.records[-1] == Removed(id="a", by="eve")  # the log is the audit trail
    assert api.client.get("/v1/items/a").status_code == 404
    assert api.context.blobs.erase("a") == 0
    assert api.client.delete("/v1/items/a").json()["was_held"] is False


def test_a_takedown_that_is_not_yet_confirmed_says_so(api: Api) -> None:
    api.log.held = True
    answer = api.client.delete("/v1/items/a?wait=0.05")
    assert (answer.status_code, answer.json()["left_in"]) == (202, ["lookups", "redis"])


def test_without_kafka_nothing_is_pretended(api: Api) -> None:
    api.log.away = True
    for answer in (
        api.client.delete("/v1/items/a"),
        api.client.post("/v1/items?id=new", content=an_image(2), headers=PNG),
    ):
        assert answer.status_code == 503
        assert "Kafka" in answer.json()["detail"]
        assert int(answer.headers["retry-after"]) > 0
    assert api.client.get("/v1/items/a").status_code == 200


def test_a_repeat_brings_the_verdict_again(api: Api) -> None:
    image = an_image(2)
    first = api.client.post("/v1/items?id=new&wait=5", content=image, headers=PNG).json()
    again = api.client.post("/v1/items?id=new&wait=5", content=image, headers=PNG).json()
    assert (again["status"], again["verdict"]) == ("redelivered", first["verdict"])
    strange = an_image(90)
    api.client.post("/v1/items?id=alone&wait=5", content=strange, headers=PNG)
    api.store._items.pop("alone")  # as Redis does with what is distinct, after a time
    again = api.client.post("/v1/items?id=alone&wait=5", content=strange, headers=PNG).json()
    assert again["verdict"] == {"id": "alone", "decision": "distinct", "running": False, "allowed": "", "matches": []}


def test_what_becomes_a_dead_letter_is_told_at_once(api: Api) -> None:
    began = time.monotonic()
    answer = api.client.post("/v1/items?id=broken&wait=20", content=BROKEN, headers=PNG)
    assert time.monotonic() - began < 5
    told = answer.json()
    assert (answer.status_code, told["status"], told["reason"]) == (200, "dead-letter", "decode")
    assert told["detail"]
    for path in ("/v1/items/broken", "/v1/items?id=broken"):
        answer = api.client.get(path)
        assert (answer.status_code, answer.json()["type"], answer.json()["reason"]) == (
            404, "/problems/dead-letter", "decode",
        )  # fmt: skip
    for path in ("/v1/items/broken/status", "/v1/status?id=broken"):
        told = api.client.get(path).json()
        assert (told["status"], told["reason"], told["at_ms"] > 0) == ("dead-letter", "decode", True)
    assert api.client.get("/v1/status?id=a").json()["status"] == "decided"
    assert api.client.get("/v1/status?id=nobody").status_code == 404


def test_an_earlier_dead_letter_of_the_id_is_not_taken_for_this_one(api: Api) -> None:
    api.client.post("/v1/items?id=x&wait=5", content=BROKEN, headers=PNG)
    told = api.client.post("/v1/items?id=x&wait=5", content=an_image(40), headers=PNG).json()
    assert told["status"] == "decided"
    assert api.client.get("/v1/status?id=x").json()["status"] == "decided"
    assert api.client.get("/v1/items?id=x").json()["dead_letter"] is None
    api.client.post("/v1/items?id=x&wait=5", content=BROKEN, headers=PNG)
    known = api.client.get("/v1/items?id=x").json()  # what is known stays, and that a newer version failed is told
    assert (known["id"], known["dead_letter"]["reason"]) == ("x", "decode")
    assert api.client.get("/v1/status?id=x").json()["status"] == "dead-letter"


def test_a_takedown_ends_what_is_known_of_a_dead_letter(tmp_path: Path) -> None:
    with an_api(tmp_path) as api:
        api.client.post("/v1/items?id=x&wait=5", content=BROKEN, headers=PNG)
        api.client.delete("/v1/items?id=x")
        assert api.client.get("/v1/items?id=x").json()["type"] == "/problems/not-found"
        assert api.client.get("/v1/status?id=x").json()["status"] == "taken-down"


def test_a_reference_that_becomes_a_dead_letter_is_told(api: Api) -> None:
    told = api.client.post("/v1/items?id=r&bank=blocked&wait=20", content=BROKEN, headers=PNG).json()
    assert (told["status"], told["reason"]) == ("dead-letter", "decode")
    assert api.client.get("/v1/status?id=r").status_code == 404
    assert api.client.get("/v1/status?id=r&bank=blocked").json()["status"] == "dead-letter"
