"""Nobody takes all places, and who leaves gives theirs back, by real sockets against the real server."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from neardup.pipeline.log.records import Described
from neardup.workers.api.app import make_app
from neardup.workers.api.protocol import Impatient
from neardup.workers.api.server import Server
from tests.pipeline.match.build import picture
from tests.workers.api.build import TOKENS, Api, an_api, an_image

SECONDS = 60


@dataclass(frozen=True)
class Site:
    api: Api
    server: Server

    @property
    def connections(self) -> int:
        return len(self.server._server.server_state.connections)

    def get(self, path: str, name: str = "eve", **options: Any) -> httpx2.Response:
        url = f"http://127.0.0.1:{self.server.port}{path}"
        return httpx2.get(url, headers=self.api.as_(name), timeout=SECONDS, **options)

    def match(self, name: str, content: bytes) -> httpx2.Response:
        headers = {**self.api.as_(name), "Content-Type": "image/png"}
        url = f"http://127.0.0.1:{self.server.port}/v1/match"
        return httpx2.post(url, content=content, headers=headers, timeout=SECONDS)

    def open(self, head: str, name: str | None, body: bytes = b"", length: int = 0) -> socket.socket:
        """Send a request, whose body may be incomplete, and keep the connection."""
        token = f"Authorization: Bearer {TOKENS[name][1]}\r\n" if name else ""
        fields = f"Content-Type: image/png\r\nContent-Length: {length}\r\n" if length else ""
        connection = socket.create_connection(("127.0.0.1", self.server.port), timeout=SECONDS)
        connection.sendall(f"{head} HTTP/1.1\r\nHost: localhost\r\n{token}{fields}\r\n".encode() + body)
        return connection

    def feed(self, name: str) -> socket.socket:
        """Watch the feed; return once it has begun, or was refused."""
        connection = self.open("GET /v1/feed", name)
        answered = b""
        while b"\r\n\r\n" not in answered:
            received = connection.recv(65536)
            assert received, f"closed after {answered!r}"
            answered += received
        if not answered.startswith(b"HTTP/1.1 200"):
            connection.close()
            raise Refused(int(answered.split()[1]))
        return connection


class Refused(Exception):
    """Carries the status."""


@contextmanager
def a_site(folder: Path, connections: int = Impatient.most, **settings: object) -> Iterator[Site]:
    with an_api(folder, [picture("a", 0)], api_rate_per_second=0, **settings) as api:
        server = Server(make_app(api.context), "127.0.0.1", 0, connections)
        try:
            yield Site(api, server)
        finally:
            server.close()


@pytest.fixture(autouse=True)
def _nothing_is_an_error(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def refused(call: Callable[[], object]) -> int:
    with pytest.raises(Refused) as caught:
        call()
    return int(caught.value.args[0])


def told(answer: httpx2.Response) -> tuple[int, str]:
    if answer.status_code in (429, 503):
        assert int(answer.headers["retry-after"]) >= 1
    return answer.status_code, answer.json().get("type", "")  # none as long as there is still room


def test_feeds_are_shared_and_some_are_for_administrators(tmp_path: Path) -> None:
    with a_site(tmp_path, api_max_feeds=4, api_admin_reserve=0.25) as site, ExitStack() as open_:
        hers = [open_.enter_context(site.feed("ann")) for _ in range(2)]
        assert refused(lambda: site.feed("ann")) == 429
        open_.enter_context(site.feed("bob"))
        assert refused(lambda: site.feed("bob")) == 503
        open_.enter_context(site.feed("eve"))
        assert refused(lambda: site.feed("eve")) == 503
        assert [site.get(path).status_code for path in ("/healthz", "/readyz", "/v1/me")] == [200] * 3
        hers[0].close()

        def has_place() -> bool:
            try:
                open_.enter_context(site.feed("bob"))
            except Refused:
                return False
            return True

        until(has_place)


def test_bytes_of_uploads_are_shared_and_some_are_for_administrators(tmp_path: Path) -> None:
    image = an_image(1).ljust(2077, b"\0")
    with a_site(tmp_path, api_max_upload_bytes=10_000, api_admin_reserve=0.3, api_max_bytes=8000) as site:
        with site.open("POST /v1/match", "ann", bytes(3900), 4000) as hers:
            until(lambda: told(site.match("ann", image)) == (429, "/problems/too-many"))
            assert site.match("bob", image).status_code == 200
            with site.open("POST /v1/match", "bob", bytes(2900), 3000):
                until(lambda: told(site.match("bob", image)) == (503, "/problems/busy"))
                assert site.match("eve", image).status_code == 200
                assert told(site.match("eve", bytes(5000))) == (503, "/problems/busy")
            hers.sendall(bytes(100))
            assert hers.recv(12) == b"HTTP/1.1 415"
        until(lambda: site.match("ann", image).status_code == 200)


def test_what_is_announced_is_not_counted_but_what_comes(tmp_path: Path) -> None:
    with (
        a_site(tmp_path, api_max_upload_bytes=10_000, api_max_bytes=8000) as site,
        site.open("POST /v1/match", "ann", b"", 8000),
        site.open("POST /v1/match", "ann", b"", 8000),
    ):
        assert site.match("ann", an_image(1)).status_code == 200


@pytest.mark.parametrize(("who", "path"), [("ann", "/v1/match"), (None, "/v1/banks"), (None, "/login")])
def test_slow_bodies_of_one_take_no_place_of_others(tmp_path: Path, who: str | None, path: str) -> None:
    with a_site(tmp_path, api_max_requests=8) as site, ExitStack() as open_:
        for _ in range(12):
            open_.enter_context(site.open(f"POST {path}", who, b"x", 100))
        url = f"http://127.0.0.1:{site.server.port}{path}"
        headers = site.api.as_(who) if who else {}
        until(lambda: httpx2.post(url, headers={**headers, "Content-Type": "image/png"}).status_code == 429)
        assert site.get("/v1/me", "bob").status_code == 200
        assert site.get("/v1/me", "eve").status_code == 200
        assert site.get("/healthz").status_code == 200


def test_silent_connections_make_room_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Impatient, "head_seconds", 10 * SECONDS)  # a busy machine ends none for its own slowness
    with a_site(tmp_path, connections=8) as site, ExitStack() as open_:
        silent = [
            open_.enter_context(socket.create_connection(("127.0.0.1", site.server.port), timeout=SECONDS))
            for _ in range(40)
        ]
        assert site.match("ann", an_image(1)).status_code == 200
        assert site.get("/healthz").status_code == 200
        assert site.connections <= 8
        assert silent[0].recv(1) == b""  # it was closed
        silent[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")  # the newest is there
        assert silent[-1].recv(12) == b"HTTP/1.1 200"


def test_where_all_connections_are_busy_health_and_administrators_are_answered(tmp_path: Path) -> None:
    with a_site(tmp_path, connections=4) as site, ExitStack() as open_:
        for _ in range(4):
            open_.enter_context(site.feed("ann"))
        assert told(site.get("/v1/me", "bob")) == (503, "/problems/busy")
        assert site.get("/healthz").status_code == 200
        assert site.get("/v1/me", "eve").status_code == 200


def test_who_does_not_read_the_answer_loses_the_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Impatient, "stall_seconds", 0.2)
    with a_site(tmp_path) as site, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(SECONDS)
        connection.connect(("127.0.0.1", site.server.port))
        with suppress(OSError):
            while True:
                connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        until(lambda: site.connections == 0)
        assert site.get("/healthz").status_code == 200


def test_who_leaves_within_the_body_or_the_feed_is_no_error(tmp_path: Path) -> None:
    with a_site(tmp_path, api_max_requests=1, api_max_feeds=1) as site:
        for _ in range(3):  # each has the one place, so those before have given it back
            until(lambda: site.get("/v1/me").status_code == 200)
            site.open("POST /v1/match", "eve", b"x", 100).close()
            until(lambda: site.get("/v1/me").status_code == 200)
            until(lambda: site.connections == 0)
            site.feed("eve").close()


class Endless:
    """Describes nothing, ever."""

    def __init__(self) -> None:
        self.asked: list[Future[list[Described]]] = []

    def describe(self, content: bytes | str, owner: str = "") -> Future[list[Described]]:
        del content, owner
        self.asked.append(Future())
        return self.asked[-1]


def endless(site: Site) -> Endless:
    """Have the uploads of a site never end."""
    networks, uploads = site.api.context.networks, Endless()
    networks.own = replace(networks.own, uploads=uploads)
    return uploads


@pytest.mark.parametrize("path", ["/v1/match", "/v1/search", "/v1/compare"])
def test_the_work_of_a_request_ends_with_it(tmp_path: Path, path: str) -> None:
    with a_site(tmp_path, api_max_requests=1) as site:
        uploads = endless(site)
        if path == "/v1/compare":
            body = json.dumps({"a": {"data": "AAAA"}, "b": {"id": "a"}}).encode()
            kind = "application/json"
        else:
            body, kind = an_image(1), "image/png"
        connection = site.open(
            f"POST {path} HTTP/1.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nX-Rest:", "eve", body
        )
        until(lambda: uploads.asked)
        assert told(site.get("/v1/me")) == (503, "/problems/busy")
        assert not uploads.asked[0].cancelled()
        connection.close()
        until(uploads.asked[0].cancelled)
        until(lambda: site.get("/v1/me").status_code == 200)


def test_the_work_of_a_request_ends_with_its_time(tmp_path: Path) -> None:
    with a_site(tmp_path, api_request_seconds=0.2) as site:
        uploads = endless(site)
        assert told(site.match("ann", an_image(1))) == (503, "/problems/busy")
        assert uploads.asked[0].cancelled()


def test_who_leaves_while_an_item_is_waited_for_leaves_it_published(tmp_path: Path) -> None:
    with a_site(tmp_path, api_max_requests=1) as site:
        site.api.log.held = True
        image = an_image(3)
        connection = site.open("POST /v1/items?id=new&wait=10", "eve", image, len(image))
        until(lambda: site.api.log.published)
        connection.close()
        until(lambda: site.get("/v1/me").status_code == 200)
        assert [item for item, _, _ in site.api.log.published] == ["new"]


def test_a_change_is_made_whole_though_its_client_leaves(tmp_path: Path) -> None:
    with a_site(tmp_path) as site:
        site.open("DELETE /v1/items/a?wait=0", "eve").close()
        until(lambda: len(site.api.log.records) == 2)
        until(lambda: site.get("/v1/items/a").status_code == 404)
