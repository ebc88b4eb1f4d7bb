from __future__ import annotations

import math

import pytest

from tests.workers.api.build import Api, an_image

PNG = {"Content-Type": "image/png"}


def test_a_copy_is_matched_with_its_original_and_not_taken_in(api: Api) -> None:
    for _ in range(2):
        answer = api.client.post("/v1/match", content=an_image(3), headers=PNG)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert (told["decision"], told["original"], told["bank"]) == ("duplicate", "a", "seen")
        assert told["distance"] == pytest.approx(2 - 2 * math.cos(math.radians(3)), abs=1e-3)
        assert told["media"]["kind"] == "image"
        assert told["offset"] == 3
    assert len(api.log.records) == 4
    assert api.log.published == []


def test_a_stranger_is_distinct_and_its_neighbours_are_told_when_asked_for(api: Api) -> None:
    image = an_image(200)
    told = api.client.post("/v1/match", content=image, headers=PNG).json()
    assert (told["decision"], told["original"], told["matches"], told["distance"]) == ("distinct", None, [], None)
    told = api.client.post("/v1/match?all=true", content=image, headers=PNG).json()
    assert [match["reference"] for match in told["matches"]] == ["c", "b", "a"]
    assert told["decision"] == "distinct"


def test_a_form_will_do(api: Api) -> None:
    answer = api.client.post("/v1/match", files={"file": ("a.png", an_image(0), "image/png")})
    assert answer.json()["original"] == "a"


@pytest.mark.parametrize(
    ("content", "headers", "status", "reason"),
    [
        (b"no picture", PNG, 415, "format"),
        (an_image(0)[:60], PNG, 422, "decode"),
        (b"", PNG, 422, "empty"),
        (b"x", {"Content-Type": "text/html"}, 415, None),
        (b"x", {}, 415, None),
        (b'{"uri": "file:///etc/passwd"}', {"Content-Type": "application/json"}, 422, "forbidden"),
        (b'{"uri": ', {"Content-Type": "application/json"}, 400, None),
        (b"[]", {"Content-Type": "application/json"}, 422, None),
        (b'{"uri": 3}', {"Content-Type": "application/json"}, 422, None),
        (b'{"url": "x"}', {"Content-Type": "application/json"}, 422, None),
        (b"--x", {"Content-Type": "multipart/form-data; boundary=y"}, 400, None),
        (b"", {"Content-Type": "multipart/form-data"}, 400, None),
    ],
)
def test_what_cannot_be_used_is_told_with_a_remedy(
    api: Api, content: bytes, headers: dict[str, str], status: int, reason: str | None
) -> None:
    answer = api.client.post("/v1/match", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["status"] == status
    assert told["detail"]
    assert told["remedy"]
    assert told.get("reason") == reason
    assert api.client.get(told["type"]).json()["title"] == told["title"]
