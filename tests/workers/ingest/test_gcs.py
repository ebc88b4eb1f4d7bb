"""Objects of Google Cloud Storage, by the package of the extra `gs` and a server that answers as theirs does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from neardup.pipeline.media.fetch import Rules, fetch
from neardup.workers.ingest import objects
from neardup.workers.ingest.objects import Objects

pytest.importorskip("gcsfs")
CONTENTS = {"media/a b.jpg": b"one", "media/d/2.jpg": b"two", "media/d/3.jpg": b"three", "other/4.jpg": b"four"}


class Google(BaseHTTPRequestHandler):
    """The JSON API of one bucket, as far as reading needs it."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        _, _, name = parts.path.partition("/b/bucket/o")
        name = unquote(name.strip("/"))
        if not name:
            self._answer(_page(asked))
        elif name not in CONTENTS:
            self._answer({"error": {"code": 404, "message": "Not Found"}}, 404)
        elif asked.get("alt") == "media" or parts.path.startswith("/download"):
            self._answer(CONTENTS[name])
        else:
            self._answer(_described(name))

    def _answer(self, body: object, status: int = 200) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", "application/octet-stream" if isinstance(body, bytes) else "application/json")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _described(name: str) -> dict[str, str]:
    return {
        "bucket": "bucket",
        "name": name,
        "size": str(len(CONTENTS[name])),
        "etag": f"{name}-1",
        "updated": "2020-09-13T12:26:40.5Z",
    }


def _page(asked: dict[str, str]) -> dict[str, object]:
    names = sorted(name for name in CONTENTS if name.startswith(asked.get("prefix", "")))
    start, most = int(asked.get("pageToken", 0)), int(asked.get("maxResults", 1000))
    page: dict[str, object] = {"items": [_described(name) for name in names[start : start + most]]}
    return page | ({"nextPageToken": str(start + most)} if len(names) > start + most else {})


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Google) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(objects, "PAGE_OBJECTS", 2)
        yield
        server.shutdown()


@pytest.mark.usefixtures("google")
def test_a_bucket_is_listed_page_by_page_and_read() -> None:
    source = Objects("gs://bucket/media")
    found = list(source)
    assert [(one.name, one.size, one.time_ns) for one in found] == [
        ("a b.jpg", 3, 1_600_000_000_500_000_000),
        ("d/2.jpg", 3, 1_600_000_000_500_000_000),
        ("d/3.jpg", 5, 1_600_000_000_500_000_000),
    ]
    assert source.heads(found) == [b"one", b"two", b"three"]
    with fetch(found[2].uri, None, Rules(("gs://bucket",))) as fetched:
        assert fetched.source == b"three"
