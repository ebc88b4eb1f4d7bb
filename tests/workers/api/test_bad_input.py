"""What is wrong with a request is told with the right status and a remedy, and nothing of it reaches the stream."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from neardup.workers.api.app import make_app
from neardup.workers.api.protocol import Impatient
from neardup.workers.api.server import Server
from tests.pipeline.match.build import picture
from tests.timing import LATE_SECONDS
from tests.workers.api.build import Api, an_api, an_image

THERE = {"id": "a", "bank": "blocked", "kind": "invalid"}
OPEN = ("/healthz", "/readyz", "/problems/")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with an_api(tmp_path_factory.mktemp("api"), [picture("a", 0), picture("a2", 5)], api_rate_per_second=0) as running:
        yield running


@pytest.fixture(scope="module")
def served(api: Api) -> Iterator[Server]:
    server = Server(make_app(api.context), "127.0.0.1", 0)
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _nothing_reaches_the_stream(api: Api) -> Iterator[None]:
    yield
    assert (len(api.log.records), api.log.published) == (2, [])


def operations(api: Api) -> list[tuple[str, str, Any]]:
    """Return method, path and description of all calls that ask for a token."""
    document = api.client.get("/openapi.json").json()
    return [
        (method.upper(), path.format(**THERE), call)
        for path, calls in document["paths"].items()
        for method, call in calls.items()
        if not path.startswith(OPEN)
    ]


def is_problem(answer: Any, *statuses: int) -> bool:
    assert answer.status_code in statuses, answer.text
    told = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert told["status"] == answer.status_code
    return bool(told["type"].startswith("/problems/") and told["detail"] and told["remedy"])


def test_every_call_asks_for_a_token(api: Api) -> None:
    calls = operations(api)
    assert len(calls) > 30
    for method, path, _ in calls:
        for token in ("Bearer nd_wrong", "Basic bmRfZXZl", "Bearer "):
            answer = api.client.request(method, path, headers={"Authorization": token})
            assert is_problem(answer, 401), (method, path)


def test_a_reader_changes_nothing(api: Api) -> None:
    looks = {"/v1/match", "/v1/search", "/v1/compare"}
    changing = [(m, path) for m, path, _ in operations(api) if m != "GET" and path not in looks]
    assert len(changing) > 12
    for method, path in changing:
        answer = api.client.request(method, path + "?id=x&item=a", headers=api.as_("ann"), json={})
        assert is_problem(answer, 403, 422), (method, path)


@pytest.mark.parametrize("body", [b'{"item": ', b"\xff\xfe\x00", b"[" * 100_000, b"null", b'"text"', b"[]", b"{}", b""])
def test_malformed_json_is_told_wherever_json_is_wanted(api: Api, body: bytes) -> None:
    wanting = [(m, path) for m, path, call in operations(api) if "application/json" in str(call.get("requestBody"))]
    assert len(wanting) > 10
    for method, path in wanting:
        if path == "/v1/reviews/claims" and body == b"{}":
            continue  # all of it has a default
        if method == "PATCH" and body == b"{}":
            continue  # sets nothing, which is a change of nothing
        answer = api.client.request(method, path + "?id=x", content=body, headers={"Content-Type": "application/json"})
        assert is_problem(answer, *((400, 413, 422) if len(body) > 64 * 2**10 else (400, 422))), (method, path)


def test_json_without_end_is_refused_before_it_is_read_whoever_sends_it(api: Api) -> None:
    large = b'{"why": "' + b"x" * 70_000 + b'"}'
    paths = [("POST", "/v1/banks"), ("POST", "/v1/reviews"), ("PATCH", "/v1/banks/a"), ("POST", "/v1/clusters/edits")]
    for method, path in (*paths, ("POST", "/v1/reviews/claims"), ("POST", "/login")):
        kind = "application/x-www-form-urlencoded" if path == "/login" else "application/json"
        for content in (large, iter([large[:60_000], large[60_000:]])):
            headers = {"Authorization": "Bearer nd_wrong", "Content-Type": kind}
            assert is_problem(api.client.request(method, path, content=content, headers=headers), 413), path


@pytest.mark.parametrize("id", ["nobody", "%F0%9F%90%88", "a%20b", "x" * 256, "..%2f..%2fetc", "%00", "x" * 257])
def test_an_unknown_id_is_not_found_and_an_impossible_one_is_invalid(api: Api, id: str) -> None:
    for path in (f"/v1/items/{id}", f"/v1/items/{id}/similar", f"/v1/items/{id}/thumbnail", f"/v1/clusters?item={id}"):
        assert is_problem(api.client.get(path), 404, 422), path
    for path in ("/v1/banks/nobody", f"/v1/banks/nobody/references/{id}", "/v1/banks/no%20name"):
        assert is_problem(api.client.get(path), 404, 422), path


def test_values_out_of_bounds_are_told(api: Api) -> None:
    for query in ("k=0", "k=1001", "k=x", "max_distance=-1", "max_distance=nan", "max_distance=4.1", "page=0", "k="):
        answer = api.client.get(f"/v1/items/a/similar?{query}")
        assert is_problem(answer, 422)
        assert answer.json()["errors"][0]["in"] == f"query.{query.partition('=')[0]}"
    for path in ("/v1/audit?before=x", "/v1/reviews?count=201", "/v1/feed?after=1", "/v1/search?cursor=%21"):
        assert is_problem(api.client.get(path), 422)


def test_another_method_or_path_is_told(api: Api) -> None:
    assert is_problem(api.client.put("/v1/match"), 405)
    assert is_problem(api.client.get("/v1/nothing"), 404)


def raw(server: Server, *pieces: bytes, wait: float = 0.0) -> bytes:
    """Send pieces to a server, wait after each, and return all that it answers until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=LATE_SECONDS) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(wait)
        except OSError:
            pass  # it has closed by now
        answer = b""
        try:
            while data := connection.recv(65536):
                answer += data
        except ConnectionError:
            pass
        return answer


def told(answer: bytes) -> Any:
    return json.loads(answer.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize(
    "request_",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n", b"\x00" * 100],
)
def test_what_is_no_http_is_told_as_a_problem(served: Server, request_: bytes) -> None:
    answer = raw(served, request_)
    assert answer.startswith(b"HTTP/1.1 400")
    assert told(answer)["type"] == "/problems/malformed"


@pytest.mark.parametrize(
    "pieces",
    [
        (b"",),
        (b"GET /v1/me HT",),
        (b"GET /v1/me HTTP/1.1\r\n", b"Host: localhost\r\n", b"X-A: b\r\n", b"X-B: c\r\n", b"X-C: d\r\n"),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /health"),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\r\n"),
    ],
)
def test_headers_that_come_slowly_or_never_end_the_connection(
    served: Server, monkeypatch: pytest.MonkeyPatch, pieces: tuple[bytes, ...]
) -> None:
    monkeypatch.setattr(Impatient, "head_seconds", 0.3)
    began = time.monotonic()
    answer = raw(served, *pieces, wait=0.1)
    assert pieces[-1] == b"\r\n" or (b"HTTP/1.1 408 Request Timeout" in answer and b"/problems/timeout" in answer)
    assert time.monotonic() - began < LATE_SECONDS


def test_headers_without_end_are_refused(served: Server) -> None:
    line = b"X-Long: " + b"x" * 1000 + b"\r\n"
    answer = raw(served, b"GET /v1/me HTTP/1.1\r\n", *[line] * 200)
    assert answer == b"" or told(answer)["type"] == "/problems/head-too-large"
    assert httpx2.get(f"http://127.0.0.1:{served.port}/healthz").status_code == 200


def test_a_large_body_is_no_large_head(api: Api, served: Server) -> None:
    image = an_image(1, side=700) + bytes(300_000)
    with httpx2.Client(base_url=f"http://127.0.0.1:{served.port}", headers=api.as_("ann")) as client:
        for _ in range(20):
            answer = client.post("/v1/match", content=image, headers={"Content-Type": "image/png"})
            assert answer.json()["original"] == "a"


def test_a_thousand_parallel_lookups_are_answered_or_told_to_come_again(api: Api, served: Server) -> None:
    limits = httpx2.Limits(max_connections=100)
    with httpx2.Client(
        base_url=f"http://127.0.0.1:{served.port}", headers=api.as_("ann"), timeout=LATE_SECONDS, limits=limits
    ) as client:

        def ask(n: int) -> int:
            if n % 2:
                return client.get("/v1/items/a/similar").status_code
            return client.post("/v1/match", content=an_image(1), headers={"Content-Type": "image/png"}).status_code

        with ThreadPoolExecutor(100) as pool:
            statuses = Counter(pool.map(ask, range(1000)))
    assert set(statuses) <= {200, 503}
    assert statuses[200] > 900


def test_beyond_the_limit_everyone_is_told_when_to_come_again(tmp_path: Path) -> None:
    with an_api(tmp_path, [picture("a", 0)], api_rate_per_second=0, api_max_requests=2) as api:
        with ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(lambda _: api.client.get("/v1/items/a/similar"), range(100)))
        busy = [answer for answer in answers if answer.status_code == 503]
        assert all(answer.headers["retry-after"] for answer in busy)
        assert {answer.status_code for answer in answers} <= {200, 503}
