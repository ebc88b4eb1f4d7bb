"""Whatever the OpenAPI document allows, and much that it forbids, is answered as it says, and never with a 5xx.

Schemathesis makes the requests. The feed is left out, since it does not end; it has tests of its own.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import booleans

from tests.pipeline.match.build import picture
from tests.workers.api.build import Api, an_api, an_image

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )


@schemathesis.serializer("application/x-ndjson")
def _lines(_context: Any, value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


BOUNDED = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
THERE = {"bank": "blocked", "id": "b", "item": "a2", "reference": "a", "into": "b"}
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    records = [picture("a", 0), picture("a2", 5), picture("b", 60)]
    with an_api(tmp_path_factory.mktemp("api"), records, api_rate_per_second=0) as api:
        api.client.post("/v1/banks", json={"bank": "blocked"})
        yield api


@pytest.fixture(scope="module")
def document(running: Api) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", running.client.app)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_call_is_answered_as_the_document_says(document: Any, mode: GenerationMode) -> None:
    seen = 0
    for found in document.get_all_operations():
        operation = found.ok()
        if operation.path == "/v1/feed":
            continue
        cases = operation.as_strategy(generation_mode=mode)

        @BOUNDED
        @given(case=cases, known=booleans())
        def check(case: Any, known: bool) -> None:
            if known:
                name_what_is_there(case)
            answer = case.call(headers={"Authorization": "Bearer nd_eve"})
            case.validate_response(answer, checks=CHECKS)

        try:
            check()
        except Unsatisfiable:  # a call that can be made in one way only
            assert mode is GenerationMode.NEGATIVE
            continue
        seen += 1
    assert seen >= (30 if mode is GenerationMode.POSITIVE else 25)


def name_what_is_there(case: Any) -> None:
    """Have a call name a bank and items that are there, since chance would hardly ever."""
    for names in (case.path_parameters, case.query, case.body):
        if isinstance(names, dict):
            names.update({name: value for name, value in THERE.items() if name in names})


def test_the_document_is_of_version_3_1_and_complete(running: Api) -> None:
    told = running.client.get("/openapi.json").json()
    assert told["openapi"].startswith("3.1")
    for path, calls in told["paths"].items():
        for method, call in calls.items():
            where = f"{method} {path}"
            assert call["description"], where
            if path.startswith("/v1/"):
                assert {"401", "403", "429", "503"} <= set(call["responses"]), where
            for status, answer in call["responses"].items():
                if int(status) >= 400 and path != "/readyz":
                    assert list(answer["content"]) == ["application/problem+json"], f"{where} {status}"
    for name, model in told["components"]["schemas"].items():
        assert "description" in model or "enum" in model, name


def test_examples_fit_their_schemas(running: Api) -> None:
    import jsonschema_rs

    told = running.client.get("/openapi.json").json()
    seen = 0
    for name, model in told["components"]["schemas"].items():
        if "example" in model:
            jsonschema_rs.validate({**model, "components": told["components"]}, model["example"])
            seen += 1
        assert name
    assert seen > 8


def test_an_upload_goes_the_whole_way(api: Api) -> None:
    answer = api.client.post("/v1/match", content=an_image(1), headers={"Content-Type": "image/png"})
    assert answer.json()["original"] in ("a", "a2")
