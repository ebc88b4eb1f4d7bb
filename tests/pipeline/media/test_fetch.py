from __future__ import annotations

import hashlib
import http.server
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.media.fetch import IN_MEMORY_BYTES, Rules, check, check_readable, fetch

BIG = bytes(IN_MEMORY_BYTES + 1)
DRIPS = 1200
"""Bytes of an answer that takes two minutes."""


class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/media/away":
            self.send_response(302)
            self.send_header("Location", "/media/picture")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path == "/media/missing":
            self.send_error(404)
            return
        if self.path.startswith("/media/stra"):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.path.encode())
            return
        if self.path.startswith(
            "/media/endless"
        ):  # a part of the content, and nothing more until the other side leaves
            chunks = self.path.endswith("chunks")
            self.send_response(200)
            if chunks:
                self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"7\r\npicture\r\n" if chunks else b"picture")
            self.rfile.read(1)
            return
        body = BIG if self.path == "/media/big" else bytes(DRIPS) if self.path == "/media/slow" else b"picture"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + (5 if self.path == "/media/short" else 0)))
        self.end_headers()
        if self.path == "/media/slow":
            with suppress(OSError):  # the other side has had enough
                for _ in range(DRIPS):
                    self.wfile.write(b"x")
                    time.sleep(0.1)
            return
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.handle_error = lambda *_arguments: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def refused(uri: str, rules: Rules, sha256: bytes | None = None) -> Reason:
    with pytest.raises(InvalidFrame) as caught, fetch(uri, sha256, rules):
        pass
    return caught.value.reason


@pytest.mark.parametrize(
    "uri",
    [
        "http://example.org/media/a.jpg",
        "https://example.org/mediax/a.jpg",
        "https://example.org:8443/media/a.jpg",
        "https://example.org.evil.net/media/a.jpg",
        "https://example.org@evil.net/media/a.jpg",
        "https://user:secret@example.org/media/a.jpg",
        "https://example.org/media/../private/a.jpg",
        "https://example.org/media/%2e%2e/private/a.jpg",
        "https://example.org/media/..%2fprivate/a.jpg",
        "https://example.org/media/..%5cprivate",
        "https://example.org/media/a.jpg#b",
        "file:///media/a.jpg",
        "file:///etc/passwd",
        "s3://bucket/a.jpg",
    ],
)
def test_what_no_prefix_allows_is_forbidden(uri: str) -> None:
    assert refused(uri, Rules(("https://example.org/media", "file:///srv/media/"))) is Reason.FORBIDDEN


def test_a_prefix_allows_what_lies_below_it() -> None:
    rules = Rules(("https://example.org/media/", "https://cdn.example.org", "s3://bucket/in"))
    for uri in (
        "https://example.org/media/a%20b.jpg",
        "https://EXAMPLE.org:443/media/a.jpg?width=1",
        "https://cdn.example.org/anything",
        "s3://bucket/in/a.jpg",
    ):
        check(uri, rules)


@pytest.mark.parametrize("uri", ["", "cat.jpg", "http://[::1/", "http://h:port/", "x" * 5000])
def test_what_is_no_uri_is_told_apart(uri: str) -> None:
    assert refused(uri, Rules(("http://h",))) is Reason.SCHEMA


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]"]
)
def test_private_addresses_are_forbidden_also_on_allowed_hosts(host: str) -> None:
    assert refused(f"http://{host}/a", Rules((f"http://{host}",), seconds=5)) is Reason.FORBIDDEN


@pytest.mark.parametrize(
    "address",
    [
        "64:ff9b::7f00:1",  # NAT64 of 127.0.0.1
        "64:ff9b::808:808",  # of 8.8.8.8: where a translator leads is not known
        "64:ff9b:1::a00:1",
        "::7f00:1",  # IPv4-compatible
        "::808:808",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::ffff:0:127.0.0.1",  # IPv4-translated
        "2002:7f00:1::1",  # 6to4 of 127.0.0.1
        "2001:0:7f00:1:0:0:f7f7:f7f7",  # Teredo by the server 127.0.0.1
        "2a00:1450::5efe:a00:1",  # ISATAP of 10.0.0.1
        "fec0::1",
        "fe80::1%eth0",
        "fc00::1",
        "ff0e::1",
        "::",
        "0.0.0.0",
        "100.64.0.1",
        "192.88.99.1",
        "224.0.0.1",
        "255.255.255.255",
    ],
)
def test_addresses_that_lead_elsewhere_are_not_public(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", (address, 80))])
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("connected"))
    assert refused("http://a.example/x", Rules(("http://a.example",), seconds=5)) is Reason.FORBIDDEN


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e"])
def test_public_addresses_are_connected_to(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    def connect(*_: object, **__: object) -> socket.socket:
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", (address, 80))])
    monkeypatch.setattr(socket, "create_connection", connect)
    assert refused("http://a.example/x", Rules(("http://a.example",), seconds=5)) is Reason.FETCH


@pytest.mark.parametrize("host", ["2130706433", "0177.0.0.1", "0x7f.1", "127.1", "localhost.", "１２７.０.０.１"])
def test_other_spellings_of_a_private_address_are_forbidden(host: str) -> None:
    assert refused(f"http://{host}/a", Rules((f"http://{host}",), seconds=5)) in (Reason.FORBIDDEN, Reason.FETCH)


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example", "ä" * 80])
def test_a_host_that_can_be_none_is_told(host: str) -> None:
    assert refused(f"http://{host}/a", Rules((f"http://{host}",), seconds=5)) is Reason.SCHEMA


def test_a_lone_surrogate_is_no_uri() -> None:
    assert refused("http://h/\ud800", Rules(("http://h",))) is Reason.SCHEMA


def test_a_path_that_is_no_ascii_is_asked_for_as_utf_8(site: str) -> None:
    rules = Rules((site,), private=True, seconds=10)
    with fetch(f"{site}/media/straße %41?ü=1", None, rules) as fetched:
        assert fetched.source == b"/media/stra%C3%9Fe%20%41?%C3%BC=1"


@pytest.mark.parametrize("path", ["endless", "endless-chunks"])
def test_an_answer_that_the_time_limit_cuts_off_is_no_file(site: str, path: str) -> None:
    assert refused(f"{site}/media/{path}", Rules((site,), private=True, seconds=0.3)) is Reason.FETCH


def test_a_file_name_that_is_too_long_is_told(tmp_path: Path) -> None:
    assert refused(f"{tmp_path.as_uri()}/{'x' * 300}", Rules((tmp_path.as_uri(),))) is Reason.FETCH


def test_a_host_is_connected_to_at_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["8.8.8.8", "127.0.0.1"])  # a name server that changes its mind

    def resolve(_host: str, port: int, **_options: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    asked = list[object]()

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        asked.append((address, timeout))
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    assert refused("http://rebinding.example/a", Rules(("http://rebinding.example",), seconds=5)) is Reason.FETCH
    assert asked == [(("8.8.8.8", 80), 5)]


def test_content_comes_with_its_hash_in_memory_or_as_a_file(site: str) -> None:
    rules = Rules((f"{site}/media",), private=True, seconds=10)
    with fetch(f"{site}/media/picture", None, rules) as fetched:
        assert fetched.source == b"picture"
        assert fetched.sha256 == hashlib.sha256(b"picture").digest()
    with fetch(f"{site}/media/big", hashlib.sha256(BIG).digest(), rules) as fetched:
        assert isinstance(fetched.source, Path)
        kept = fetched.source
        assert kept.read_bytes() == BIG
    assert not kept.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a file without a name has no path")
def test_a_process_that_is_killed_leaves_no_content_behind(site: str, tmp_path: Path) -> None:
    code = f"""
import os, sys
sys.path[:] = {sys.path!r}
from neardup.pipeline.media.fetch import Rules, fetch
with fetch("{site}/media/big", None, Rules(("{site}",), private=True)) as fetched:
    assert len(fetched.source.read_bytes()) == {len(BIG)}
    os.kill(os.getpid(), 9)
"""
    ended = subprocess.run([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path)}, check=False)
    assert ended.returncode == -9
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_reader_is_not_taken_for_one_of_the_host(site: str) -> None:
    with pytest.raises(OSError, match="mine"), fetch(f"{site}/media/picture", None, Rules((site,), private=True)):
        raise OSError("mine")


@pytest.mark.parametrize(
    ("path", "reason"),
    [("away", Reason.FORBIDDEN), ("missing", Reason.FETCH), ("short", Reason.FETCH), ("big", Reason.TOO_LARGE)],
)
def test_redirects_errors_and_sizes(site: str, path: str, reason: Reason) -> None:
    assert refused(f"{site}/media/{path}", Rules((site,), private=True, max_bytes=2**20, seconds=10)) is reason


def test_other_bytes_than_announced_are_refused(site: str) -> None:
    assert refused(f"{site}/media/picture", Rules((site,), private=True), bytes(32)) is Reason.FETCH


def test_a_host_that_drips_is_cut_off(site: str) -> None:
    began = time.monotonic()
    assert refused(f"{site}/media/slow", Rules((site,), private=True, seconds=0.3)) is Reason.FETCH
    assert time.monotonic() - began < 0.1 * DRIPS / 2


def test_files_are_read_below_allowed_folders_only(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in side", tmp_path / "outside"
    inside.mkdir()
    outside.write_bytes(b"secret")
    (inside / "a.jpg").write_bytes(b"picture")
    (inside / "link").symlink_to(outside)
    os.mkfifo(inside / "pipe")
    rules = Rules((inside.as_uri(),))
    with fetch((inside / "a.jpg").as_uri(), None, rules) as fetched:
        assert fetched.source == b"picture"
    assert refused((inside / "link").as_uri(), rules) is Reason.FORBIDDEN
    assert refused(outside.as_uri(), rules) is Reason.FORBIDDEN
    assert refused((inside / "pipe").as_uri(), rules) is Reason.FETCH
    assert refused((inside / "missing").as_uri(), rules) is Reason.FETCH


def test_a_blob_is_whole_and_found_by_its_uri(tmp_path: Path) -> None:
    blobs = Blobs((tmp_path / "my blobs").as_uri())
    file = tmp_path / "a.mp4"
    file.write_bytes(b"video")
    sha256 = hashlib.sha256(b"video").digest()
    uri = blobs.put("a", file, sha256)
    assert blobs.put("a", file, sha256) == uri
    with fetch(uri, sha256, Rules((blobs.url,))) as fetched:
        assert fetched.source == b"video"
    assert [path.name for path in (tmp_path / "my blobs").rglob("*") if path.is_file()] == [uri.rpartition("/")[2]]


def test_a_file_whose_name_is_not_utf_8_is_read(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.jpg")
    path.write_bytes(b"picture")
    rules = Rules((tmp_path.as_uri(),))
    check_readable(path.as_uri(), rules)
    with fetch(path.as_uri(), None, rules) as fetched:
        assert fetched.source == b"picture"
