from __future__ import annotations

import base64
import math
from typing import Any

import pytest

from tests.workers.api.build import Api, an_image


def data(colour: int) -> dict[str, str]:
    return {"data": base64.b64encode(an_image(colour)).decode()}


def test_two_files_of_a_form_are_compared(api: Api) -> None:
    told = api.client.post("/v1/compare", files={"a": an_image(0), "b": an_image(10)}).json()
    assert (told["decision"], told["model"], told["where"]["kind"]) == ("duplicate", "default", "whole")
    assert told["distance"] == pytest.approx(2 - 2 * math.cos(math.radians(10)), abs=1e-3)
    told = api.client.post("/v1/compare", files={"a": an_image(0), "b": an_image(90)}).json()
    assert told["decision"] == "distinct"


@pytest.mark.parametrize(
    ("b", "decision"), [({"id": "a2"}, "duplicate"), ({"id": "b"}, "distinct"), (data(5), "duplicate")]
)
def test_items_and_uploads_are_compared_with_each_other(api: Api, b: dict[str, str], decision: str) -> None:
    told = api.client.post("/v1/compare", json={"a": {"id": "a"}, "b": b}).json()
    assert told["decision"] == decision


def test_an_item_is_itself(api: Api) -> None:
    told = api.client.post("/v1/compare", json={"a": {"id": "a"}, "b": {"id": "a"}}).json()
    assert (told["decision"], told["exact"], told["distance"]) == ("duplicate", "bytes", 0.0)


def test_another_model_is_chosen_by_name_for_uploads(api: Api) -> None:
    told = api.client.post("/v1/compare", json={"a": data(0), "b": data(4), "model": "signatures"}).json()
    assert (told["model"], told["space"], told["decision"]) == ("signatures", "other", "duplicate")


def test_a_model_that_was_trained_on_classes_answers_yes_or_no(api: Api) -> None:
    for colour, decision in ((10, "duplicate"), (40, "distinct")):
        told = api.client.post("/v1/compare", json={"a": data(0), "b": data(colour), "model": "faces"}).json()
        assert (told["decision"], told["verified"]) == (decision, True)
        assert told["evidence"] == pytest.approx(math.cos(math.radians(colour)), abs=1e-3)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"a": {"id": "a"}, "b": {"id": "nobody"}}, 404, "no item 'nobody'"),
        ({"a": {"id": "a"}, "b": data(0), "model": "signatures"}, 422, "items are held as the model default"),
        ({"a": data(0), "b": data(0), "model": "../etc"}, 422, "there are default, broken, faces, signatures"),
        ({"a": data(0), "b": data(0), "model": "broken"}, 422, "cannot be used"),
        ({"a": data(0)}, 422, "b is missing"),
        ({"a": data(0), "b": {"data": "%%"}}, 422, "base64"),
        ({"a": data(0), "b": {"data": "¥"}}, 422, "base64"),
        ({"a": data(0), "b": {"data": "aGFsbG8="}}, 415, "no format read here"),
        ({"a": data(0), "b": {"id": "a", "uri": "x:y"}}, 422, "one of id, uri, data"),
        ({"a": data(0), "b": data(0), "c": 1}, 422, "nothing else"),
    ],
)
def test_what_cannot_be_compared_is_told(api: Api, body: dict[str, Any], status: int, words: str) -> None:
    answer = api.client.post("/v1/compare", json=body)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]
