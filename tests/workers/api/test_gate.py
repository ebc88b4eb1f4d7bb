from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from neardup.workers.api.app import make_app
from neardup.workers.api.auth import ANYONE, COOKIE, Tokens
from neardup.workers.api.gate import Gate, Rates, RequestLimits
from tests.workers.api.build import Api, an_api, an_image


def test_a_bucket_fills_with_time() -> None:
    now = [0.0]
    rates = Rates(2.0, lambda: now[0])
    assert [rates.wait("ann") for _ in range(5)] == [0, 0, 0, 0, 0.5]
    assert rates.wait("bob") == 0
    now[0] = 0.5
    assert (rates.wait("ann"), rates.wait("ann")) == (0, 0.5)


def test_too_many_requests_of_one_token_are_told_when_to_come_again(tmp_path: Path) -> None:
    with an_api(tmp_path, api_rate_per_second=1.0) as api:
        answers = [api.client.get("/v1/me") for _ in range(4)]
        assert [one.status_code for one in answers] == [200, 200, 429, 429]
        assert answers[-1].headers["retry-after"] == "1"
        assert api.client.get("/v1/me", headers=api.as_("ann")).status_code == 200
        assert api.client.get("/readyz").status_code == 200


def test_headers_that_browsers_heed_go_with_every_answer(api: Api) -> None:
    for path in ("/v1/me", "/nowhere", "/login", "/static/base.css"):
        headers = api.client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers


def test_without_tokens_only_this_machine_is_answered(api: Api) -> None:
    api.context.tokens = Tokens()
    client = TestClient(make_app(api.context))
    assert client.get("/v1/me").json() == {"name": "anonymous", "role": "admin"}
    answer = client.get("/v1/me", headers={"Host": "rebound.example:8630"})
    assert answer.status_code == 403
    for host in ("127.0.0.1:8630", "localhost", "[::1]:8630"):
        assert client.get("/v1/me", headers={"Host": host}).status_code == 200


def test_a_page_of_another_site_can_change_nothing(api: Api) -> None:
    foreign = {"Origin": "https://evil.example"}
    assert api.client.delete("/v1/items/a", headers=foreign).status_code == 403
    assert api.client.post("/login", data={"token": "nd_eve"}, headers=foreign).status_code == 403
    assert api.client.delete("/v1/items/a", headers={"Origin": "http://testserver"}).status_code == 200


def test_a_site_that_is_named_can(tmp_path: Path) -> None:
    with an_api(tmp_path, api_origins="https://shop.example") as api:
        answer = api.client.get("/v1/me", headers={"Origin": "https://shop.example"})
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        asked = {"Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "authorization"}
        told = api.client.options("/v1/items/a", headers={"Origin": "https://shop.example", **asked})
        assert told.status_code == 204
        assert "DELETE" in told.headers["access-control-allow-methods"]
        other = api.client.options("/v1/items/a", headers={"Origin": "https://evil.example", **asked})
        assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize("path", ["/v1/match", "/v1/search", "/v1/items?id=x"])
def test_an_upload_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path, path: str) -> None:
    with an_api(tmp_path, api_max_bytes=100) as api:
        for content in (bytes(200), iter([bytes(60)] * 3)):  # told beforehand, and found out
            answer = api.client.post(path, content=content, headers={"Content-Type": "image/png"})
            assert (answer.status_code, answer.json()["type"]) == (413, "/problems/too-large")
        assert api.log.published == []


def raw(gate: Gate, receive: object, path: str = "/") -> int:
    """Return the status of a request to a gate, given what the client sends."""
    status: list[int] = []

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            status.append(int(str(message["status"])))

    scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"host", b"localhost")], "query_string": b""}
    asyncio.run(gate(scope, receive, send))  # type: ignore[arg-type]
    return status[0]


def test_a_client_that_sends_slowly_is_given_up(tmp_path: Path) -> None:
    async def receive() -> dict[str, object]:
        await asyncio.sleep(0.03)
        return {"type": "http.request", "body": b"x", "more_body": True}

    with an_api(tmp_path, api_body_seconds=0.1) as api:
        app = make_app(api.context)
        headers = [(b"host", b"localhost"), (b"content-type", b"image/png"), (b"authorization", b"Bearer nd_eve")]
        status: list[int] = []

        async def send(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                status.append(int(str(message["status"])))

        scope = {"type": "http", "method": "POST", "path": "/v1/match", "query_string": b"", "headers": headers}
        asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
        assert status == [408]


def test_a_request_that_takes_too_long_and_one_too_many_are_told_to_come_again() -> None:
    async def slow(_scope: object, _receive: object, _send: object) -> None:
        await asyncio.sleep(10)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b""}

    assert raw(Gate(slow, Tokens(), RequestLimits(seconds=0.05)), receive) == 503
    full = Gate(slow, Tokens(), RequestLimits(at_once=1))
    full._requests.take(ANYONE)
    assert raw(full, receive) == 503


def test_a_person_logs_in_by_a_cookie_and_out(api: Api) -> None:
    api.client.headers.pop("Authorization")
    assert api.client.get("/v1/me").status_code == 401
    wrong = api.client.post("/login", data={"token": "nd_no"})
    assert (wrong.status_code, COOKIE in api.client.cookies) == (401, False)
    told = api.client.post("/login", data={"token": "nd_bob", "next": "//evil.example"}, follow_redirects=False)
    assert (told.status_code, told.headers["location"]) == (303, "/")
    cookie = told.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert api.client.get("/v1/me").json()["name"] == "bob"
    api.client.post("/logout")
    assert api.client.get("/v1/me").status_code == 401


def test_many_parallel_lookups_are_answered_or_told_to_come_again(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with an_api(tmp_path, api_rate_per_second=0, api_max_requests=4) as api:
        image = an_image(1)

        def post(_: int) -> int:
            return api.client.post("/v1/match", content=image, headers={"Content-Type": "image/png"}).status_code

        with ThreadPoolExecutor(32) as pool:
            statuses = set(pool.map(post, range(200)))
        assert statuses <= {200, 503}
        assert 200 in statuses
        assert api.log.records == []
