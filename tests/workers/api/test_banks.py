from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.log.changes import BankChanged, BankEdit, ReferenceChanged, ReferenceEdit
from tests.pipeline.match.build import a_state, picture
from tests.workers.api.build import Api, an_api, an_image

PNG = {"Content-Type": "image/png"}
LINES = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
def blocked(api: Api) -> Api:
    """A bank `blocked` with the item b, at 60 degrees, as a reference."""
    assert api.client.post("/v1/banks", json={"bank": "blocked", "precision": 0.999}).status_code == 201
    assert api.client.post("/v1/banks/blocked/references", json={"item": "b"}).status_code == 201
    return api


def match(api: Api, degrees: int) -> Any:
    return api.client.post("/v1/match", content=an_image(degrees), headers=PNG).json()


def test_a_bank_is_made_once_changed_and_removed(api: Api) -> None:
    made = api.client.post("/v1/banks", json={"bank": "blocked", "note": "known", "why": "4711"})
    assert (made.status_code, made.json()) == (
        201,
        {"event": "4.0", "applied": True, "by": "eve", "waits": False, "earlier": [], "left_out": 0, "asked": 0},
    )
    assert api.log.records[-1] == BankChanged(bank="blocked", edit=BankEdit.CREATE, note="known", by="eve", why="4711")
    again = api.client.post("/v1/banks", json={"bank": "blocked"})
    assert (again.status_code, again.json()["type"]) == (409, "/problems/conflict")

    api.client.patch("/v1/banks/blocked", json={"precision": 0.9, "metadata": {"owner": "trust"}})
    told = api.client.get("/v1/banks/blocked").json()
    assert told == {
        "bank": "blocked", "action": "flag", "precision": 0.9, "enable_ratio": 1.0, "note": "known",
        "metadata": {"owner": "trust"}, "references": 0,
    }  # fmt: skip
    assert [bank["bank"] for bank in api.client.get("/v1/banks").json()["banks"]] == ["seen", "blocked"]

    assert api.client.delete("/v1/banks/blocked?why=done").status_code == 200
    for answer in (
        api.client.get("/v1/banks/blocked"),
        api.client.patch("/v1/banks/blocked", json={"note": "x"}),
        api.client.delete("/v1/banks/blocked"),
        api.client.get("/v1/banks/blocked/references"),
        api.client.post("/v1/banks/blocked/references", json={"item": "a"}),
        api.client.put("/v1/banks/blocked/references/r", content=an_image(1), headers=PNG),
        api.client.get("/v1/banks/blocked/export"),
    ):
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")
    assert api.log.published == []


def test_of_the_stream_only_some_can_be_set(api: Api) -> None:
    assert api.client.patch("/v1/banks/seen", json={"precision": 0.95}).status_code == 200
    assert api.client.get("/v1/banks/seen").json()["precision"] == 0.95
    for refused in (
        api.client.patch("/v1/banks/seen", json={"action": "allow"}),
        api.client.delete("/v1/banks/seen"),
        api.client.post("/v1/banks", json={"bank": "seen"}),
        api.client.post("/v1/banks", json={"bank": "no spaces"}),
        api.client.post("/v1/banks", json={"bank": "ok", "precision": 1.0}),
        api.client.post("/v1/banks", json={"bank": "ok", "unknown": 1}),
    ):
        assert (refused.status_code, refused.json()["type"]) == (422, "/problems/invalid")


def test_a_held_item_becomes_a_reference_and_earlier_copies_are_told(api: Api) -> None:
    api.client.post("/v1/banks", json={"bank": "blocked"})
    body = {"item": "a", "note": "4711", "metadata": {"case": "17"}, "why": "asked"}
    added = api.client.post("/v1/banks/blocked/references", json=body)
    assert added.status_code == 201
    found = {one["item"]: one["decision"] for one in added.json()["earlier"]}
    assert found == {"a": "duplicate", "a2": "duplicate"}
    told = api.client.get("/v1/banks/blocked/references/a").json()
    assert (told["here"], told["note"], told["metadata"]) == (True, "4711", {"case": "17"})
    assert api.client.get("/v1/items/a").json()["banks"] == ["blocked"]
    assert api.client.post("/v1/banks/blocked/references", json={"item": "nobody"}).status_code == 404


def test_an_upload_becomes_a_reference_and_the_audit_trail_knows_who_sent_it(api: Api) -> None:
    api.client.post("/v1/banks", json={"bank": "blocked"})
    path = "/v1/banks/blocked/references/shop/r%201?note=4711&why=asked"
    answer = api.client.put(path, content=an_image(61), headers=PNG)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["id"], told["status"], [one["item"] for one in told["earlier"]]) == ("shop/r 1", "referenced", ["b"])
    assert api.log.records[5] == ReferenceChanged(bank="blocked", id="shop/r 1", note="4711", by="eve", why="asked")
    assert match(api, 61)["bank"] == "blocked"
    assert api.client.get("/v1/banks/blocked/references/shop/r%201").json()["note"] == "4711"
    again = api.client.put(path, content=an_image(61), headers=PNG)
    assert (again.status_code, again.json()["status"]) == (200, "redelivered")


def test_an_upload_that_cannot_be_used_leaves_no_trace(api: Api) -> None:
    api.client.post("/v1/banks", json={"bank": "blocked"})
    before = len(api.log.records)
    for content, kind, status in ((b"text", PNG, 415), (an_image(1)[:60], PNG, 422), (b"x", {}, 415)):
        answer = api.client.put("/v1/banks/blocked/references/r", content=content, headers=kind)
        assert answer.status_code == status
    assert (len(api.log.records), api.log.published) == (before, [])


def test_references_are_listed_disabled_until_a_date_and_removed(blocked: Api) -> None:
    client = blocked.client
    listed = client.get("/v1/banks/blocked/references").json()
    assert (listed["total"], [one["id"] for one in listed["references"]]) == (1, ["b"])
    assert client.get("/v1/banks/blocked/references?start=1").json()["references"] == []
    assert match(blocked, 61)["bank"] == "blocked"

    tomorrow = round(1000 * time.time()) + 86_400_000
    client.patch("/v1/banks/blocked/references/b", json={"disabled_until_ms": tomorrow})
    assert client.get("/v1/banks/blocked/references/b").json()["disabled_until_ms"] == tomorrow
    assert match(blocked, 61)["bank"] == "seen"
    client.patch("/v1/banks/blocked/references/b", json={"disabled_until_ms": 1})
    assert match(blocked, 61)["bank"] == "blocked"

    waits = client.patch("/v1/banks/blocked/references/later", json={"note": "x"}).json()
    assert (waits["applied"], waits["waits"]) == (True, True)
    assert client.get("/v1/banks/blocked/references/later").json()["here"] is False
    assert client.get("/v1/banks/blocked/references/never").status_code == 404

    assert client.delete("/v1/banks/blocked/references/b?why=appeal").status_code == 200
    assert blocked.log.records[-1] == ReferenceChanged(
        bank="blocked", id="b", edit=ReferenceEdit.REMOVE, by="eve", why="appeal"
    )
    assert client.delete("/v1/banks/blocked/references/b").status_code == 404
    assert match(blocked, 61)["bank"] == "seen"


def test_an_allow_list_silences(blocked: Api) -> None:
    blocked.client.post("/v1/banks", json={"bank": "fine", "action": "allow"})
    blocked.client.put("/v1/banks/fine/references/logo", content=an_image(62), headers=PNG)
    told = match(blocked, 61)
    assert (told["decision"], told["original"], told["allowed"]) == ("distinct", None, "fine")
    assert {one["bank"]: (one["action"], one["silenced"]) for one in told["matches"]} == {
        "blocked": ("flag", True), "fine": ("allow", False), "seen": ("flag", True)
    }  # fmt: skip


def test_a_share_of_uploads_is_asked_about_by_content(blocked: Api) -> None:
    blocked.client.patch("/v1/banks/blocked", json={"enable_ratio": 0.0})
    assert match(blocked, 61)["bank"] == "seen"
    blocked.client.patch("/v1/banks/blocked", json={"enable_ratio": 1.0})
    assert match(blocked, 61)["bank"] == "blocked"


def test_similar_references_of_a_bank(blocked: Api) -> None:
    answer = blocked.client.get("/v1/items/a/similar?bank=blocked").json()
    assert [one["id"] for one in answer["results"]] == ["b"]
    searched = blocked.client.post("/v1/search?bank=blocked", content=an_image(58), headers=PNG).json()
    assert [one["id"] for one in searched["results"]] == ["b"]
    blocked.client.patch("/v1/banks/blocked/references/b", json={"disabled_until_ms": 2**53 - 1})
    assert blocked.client.get("/v1/items/a/similar?bank=blocked").json()["results"] == []
    assert blocked.client.get("/v1/items/a/similar?bank=nobody").status_code == 404


def test_a_bank_goes_out_and_in_again(blocked: Api, tmp_path: Path) -> None:
    blocked.client.patch("/v1/banks/blocked/references/b", json={"note": "x", "metadata": {"case": "17"}})
    told = blocked.client.get("/v1/banks/blocked/export")
    assert told.headers["content-type"].startswith("application/x-ndjson")
    settings, reference = (json.loads(line) for line in told.text.splitlines())
    assert (settings["bank"], settings["precision"]) == ("blocked", 0.999)
    assert (reference["id"], reference["note"], reference["metadata"]) == ("b", "x", {"case": "17"})

    with an_api(tmp_path / "other", [picture("b", 60)]) as other:
        done = other.client.post("/v1/banks/blocked/import?why=moved", content=told.content, headers=LINES)
        assert done.json() == {
            "bank": "blocked", "references": 1, "changed": 1, "sent": 0, "refused": [], "applied": True
        }  # fmt: skip
        assert other.client.get("/v1/banks/blocked").json()["precision"] == 0.999
        added = other.client.post("/v1/banks/blocked/references", json={"item": "b"})
        assert added.status_code == 201
        assert other.client.get("/v1/banks/blocked/references/b").json()["metadata"] == {"case": "17"}


@pytest.mark.parametrize(
    ("lines", "status", "words"),
    [
        (b'{"id": "a"}\n{"id": ', 400, "line 2"),
        (b'{"id": "a", "colour": 1}', 400, "colour"),
        (b'{"id": ""}', 422, "1 to 256 bytes"),
        (b'{"id": "a", "uri": "http://x/", "sha256": "xyz"}', 422, "hexadecimal"),
        (b'{"id": "a", "uri": "http://169.254.169.254/x"}', 422, "a"),
        (b'{"bank": "b", "precision": 2.0}', 422, "precision"),
        (b"\xff\xfe", 400, "line 1"),
    ],
)
def test_a_file_with_a_fault_changes_nothing(api: Api, lines: bytes, status: int, words: str) -> None:
    answer = api.client.post("/v1/banks/blocked/import", content=lines, headers=LINES)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]
    assert answer.json()["remedy"]
    assert (len(api.log.records), api.log.published) == (4, [])


def test_an_import_is_bounded_and_of_lines(api: Api) -> None:
    many = b'{"id":"a"}\n' * 10_001
    assert api.client.post("/v1/banks/blocked/import", content=many, headers=LINES).status_code == 413
    assert api.client.post("/v1/banks/blocked/import", content=b"{}", headers=PNG).status_code == 415
    assert api.client.post("/v1/banks/seen/import", content=b'{"id":"a"}', headers=LINES).status_code == 409


def test_an_import_of_many_is_told_as_a_whole(api: Api) -> None:
    lines = b"\n".join(json.dumps({"id": f"r{n}", "note": "x"}).encode() for n in range(1200))
    done = api.client.post("/v1/banks/blocked/import", content=lines, headers=LINES).json()
    assert (done["references"], done["changed"], done["refused"], done["applied"]) == (1200, 1200, [], True)


def test_a_change_that_is_not_applied_yet_is_accepted(api: Api) -> None:
    api.log.held = True
    answer = api.client.post("/v1/banks?wait=0.05", json={"bank": "blocked"})
    assert (answer.status_code, answer.json()["applied"]) == (202, False)


def test_without_redis_banks_are_read_and_changed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> int:
        raise DependencyError("Redis: no answer")

    monkeypatch.setattr(api.store, "applied", away)
    assert api.client.post("/v1/banks", json={"bank": "blocked"}).json()["applied"] is True
    assert api.client.get("/v1/banks/blocked").status_code == 200
    gone = api.client.delete("/v1/items/c")
    assert (gone.status_code, gone.json()["left_in"]) == (202, ["redis"])


@pytest.mark.parametrize("name", ["ann", "bob"])
def test_who_may_not_change_banks(blocked: Api, name: str) -> None:
    before, who = len(blocked.log.records), blocked.as_(name)
    for answer in (
        blocked.client.post("/v1/banks", json={"bank": "mine"}, headers=who),
        blocked.client.patch("/v1/banks/blocked", json={"note": "x"}, headers=who),
        blocked.client.delete("/v1/banks/blocked", headers=who),
        blocked.client.post("/v1/banks/blocked/references", json={"item": "a"}, headers=who),
        blocked.client.put("/v1/banks/blocked/references/r", content=an_image(1), headers={**PNG, **who}),
        blocked.client.delete("/v1/banks/blocked/references/b", headers=who),
        blocked.client.post("/v1/banks/blocked/import", content=b'{"id":"a"}', headers={**LINES, **who}),
    ):
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/forbidden")
    assert blocked.client.get("/v1/banks", headers=who).status_code == 200
    assert (len(blocked.log.records), blocked.log.published) == (before, [])


def test_earlier_items_that_are_to_be_proved_are_counted(tmp_path: Path) -> None:
    records = [picture("a", 0), picture("c", 0, plane=1), BankChanged(bank="blocked")]
    with an_api(tmp_path, records, state=a_state(asks=True)) as api:
        body = {"item": "c"}
        assert api.client.post("/v1/banks/blocked/references", json=body).json()["asked"] == 0  # itself, identical
        answer = api.client.put("/v1/references?bank=blocked&id=r", content=an_image(20), headers=PNG)
        assert (answer.json()["asked"], answer.json()["earlier"]) == (1, [])
