from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.pipeline.media.fetch import Rules
from neardup.workers.ingest import ingest as module
from neardup.workers.ingest import objects
from neardup.workers.ingest.ingest import Ingest, check_sources
from neardup.workers.ingest.names import split
from neardup.workers.ingest.objects import Objects
from neardup.workers.kafka.media_record import read_item
from tests.workers.ingest.test_ingest import FakeOutbox, make

__all__ = ["make"]  # a fixture

JPEG = b"\xff\xd8\xff\xe0"
BUCKET = "memory://bucket/media"
RULES = Rules((BUCKET,))


class Flat(MemoryFileSystem):
    """Objects as S3 and Google Cloud Storage list them: two a page, all in one list, and never folder by folder."""

    store: ClassVar[dict[str, Any]] = {}
    protocol = ("s3", "gs")
    asked: ClassVar[list[str]] = []

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.removeprefix("s3://").removeprefix("gs://").strip("/")

    def info(self, path: str, **_options: Any) -> dict[str, Any]:
        if path in self.store:
            return {"name": path, "type": "file", "size": len(self.store[path]), "ETag": '"0"'}
        if any(name.startswith(f"{path}/") for name in self.store):
            return {"name": path, "type": "directory", "size": 0}
        raise FileNotFoundError(path)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_options: Any) -> bytes:
        return bytes(self.store[path][start:end])

    def ls(self, path: str, **_options: Any) -> Any:
        raise AssertionError(path)

    def call_s3(self, method: str, *, Bucket: str, Prefix: str, MaxKeys: int, **more: str) -> dict[str, Any]:  # noqa: N803
        assert (method, MaxKeys) == ("list_objects_v2", objects.PAGE_OBJECTS)
        names, following = self._page(Bucket, Prefix, more.get("ContinuationToken"))
        found = [{"Key": name, "Size": len(self.store[f"{Bucket}/{name}"]), "ETag": f'"{name}-1"'} for name in names]
        return {"Contents": found, "IsTruncated": following is not None, "NextContinuationToken": following}

    def call(self, method: str, path: str, bucket: str, **query: Any) -> dict[str, Any]:
        assert (method, path, query["json_out"]) == ("GET", "b/{}/o", True)
        assert query["maxResults"] == objects.PAGE_OBJECTS
        names, following = self._page(bucket, query["prefix"] or "", query["pageToken"])
        found = [
            {"name": name, "size": str(len(self.store[f"{bucket}/{name}"])), "etag": f"{name}-1"} for name in names
        ]
        return ({"items": found} if found else {}) | ({} if following is None else {"nextPageToken": following})

    def _page(self, bucket: str, prefix: str, token: str | None) -> tuple[list[str], str | None]:
        self.asked.append(token or "first")
        names = sorted(name.removeprefix(f"{bucket}/") for name in self.store if name.startswith(f"{bucket}/{prefix}"))
        start = int(token or 0)
        return names[start : start + 2], str(start + 2) if len(names) > start + 2 else None


@pytest.fixture(autouse=True)
def memory() -> Iterator[Any]:
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield files
    files.store.clear()


@pytest.fixture
def flat(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    for scheme in ("s3", "gs"):
        monkeypatch.setitem(_registry, scheme, Flat)
    monkeypatch.setattr(Flat, "store", {})
    monkeypatch.setattr(Flat, "asked", [])
    return Flat.store


def put(memory: Any, **contents: bytes) -> None:
    for name, content in contents.items():
        memory.pipe_file(f"/bucket/media/{name.replace('__', '/')}", content)


def keys(outbox: FakeOutbox) -> list[str]:
    return sorted((message.key or b"").decode() for message in outbox.sent)


def run(ingest: Ingest, *urls: str) -> tuple[int, int, int]:
    """Return how many were sent, delivered before and skipped."""
    assert split(urls) == ([], [*urls], [])
    stores = [Objects(url) for url in urls]
    check_sources([], stores, ingest._rules)
    steps = sum(1 for _ in ingest.run([], [], stores))
    count = ingest.count
    assert steps == count.sent + count.before + count.skipped
    return count.sent, count.before, count.skipped


def test_objects_are_sent_by_uri_or_by_content_with_the_same_ids_and_once(
    make: Callable[..., Ingest], memory: Any
) -> None:
    put(memory, a=JPEG + b"a", sub__b=JPEG + b"b", sub__deep__c=JPEG + b"c", notes=b"no picture", empty=b"")
    memory.pipe_file("/bucket/media/.hidden/d", JPEG)
    memory.pipe_file("/bucket/media/cafe\u0301", JPEG)
    memory.pipe_file("/bucket/media2/e", JPEG)
    by_uri = FakeOutbox()
    assert run(make(by_uri, rules=RULES, bank="licensed"), BUCKET) == (4, 0, 2)
    assert keys(by_uri) == ["a", "caf\u00e9", "sub/b", "sub/deep/c"]
    contents = {}
    for message in by_uri.sent:
        item = read_item(message.key, message.value or b"", message.headers)
        assert unicodedata.normalize("NFC", str(item.content)) == f"{BUCKET}/{item.id}"
        with item.opened(RULES) as fetched:
            contents[item.id] = fetched.source
    assert contents["sub/b"] == JPEG + b"b"
    again = FakeOutbox()
    assert run(make(again), BUCKET) == (0, 4, 2)  # the other way: it was delivered
    put(memory, a=JPEG + b"other")
    assert run(make(again), f"{BUCKET}/") == (1, 3, 2)
    assert [(message.key, message.value, message.headers) for message in again.sent] == [(b"a", JPEG + b"other", [])]


def test_a_run_that_was_cut_off_lists_again_and_sends_the_rest(
    make: Callable[..., Ingest], memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OBJECTS_AT_ONCE", 3)
    put(memory, **{f"p{number}": JPEG for number in range(8)})
    steps = make(first := FakeOutbox(), rules=RULES).run([], [], [Objects(BUCKET)])
    for _ in range(5):
        next(steps)
    rest = FakeOutbox()
    assert run(make(rest, rules=RULES), BUCKET) == (3, 5, 0)
    assert keys(first) + keys(rest) == [f"p{number}" for number in range(8)]


def test_a_large_object_goes_by_way_of_the_blob_store_when_content_is_sent(
    make: Callable[..., Ingest], memory: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "MAX_INLINE_BYTES", 100)
    content = JPEG.ljust(101, b"x")
    put(memory, large=content)
    outbox = FakeOutbox()
    assert run(make(outbox), BUCKET) == (1, 0, 0)
    [message] = outbox.sent
    item = read_item(message.key, message.value or b"", message.headers)
    assert item.sha256 == hashlib.sha256(content).digest()
    with item.opened(Rules(((tmp_path / "blobs").as_uri(),))) as fetched:
        assert fetched.source == content


def test_an_object_named_by_itself_has_its_uri_for_an_id(make: Callable[..., Ingest], memory: Any) -> None:
    put(memory, a=JPEG, b=JPEG)
    outbox = FakeOutbox()
    assert run(make(outbox, id_prefix="shop/"), f"{BUCKET}/a", f"{BUCKET}/b") == (2, 0, 0)
    assert keys(outbox) == [f"shop/{BUCKET}/a", f"shop/{BUCKET}/b"]


def test_several_prefixes_begin_ids_with_their_names(make: Callable[..., Ingest], memory: Any) -> None:
    put(memory, x__a=JPEG, y__a=JPEG, z__x__a=JPEG)
    run(make(outbox := FakeOutbox()), f"{BUCKET}/x", f"{BUCKET}/y")
    assert keys(outbox) == ["x/a", "y/a"]
    with pytest.raises(ConfigError, match="two paths end in x;"):
        check_sources([], [Objects(f"{BUCKET}/x"), Objects(f"{BUCKET}/z/x")], None)


@pytest.mark.parametrize("name", ["a#b", "a ", "a::b", "a\\b", "%2e%2e/a"])
def test_an_object_that_no_worker_could_read_by_its_uri_is_skipped(
    make: Callable[..., Ingest], flat: dict[str, Any], name: str
) -> None:
    flat |= {f"bucket/media/{name}": JPEG, "bucket/media/good": JPEG}
    outbox = FakeOutbox()
    assert run(make(outbox, rules=Rules(("s3://bucket",))), "s3://bucket/media") == (1, 0, 1)
    assert keys(outbox) == ["good"]


@pytest.mark.parametrize("scheme", ["s3", "gs"])
@pytest.mark.parametrize("below", ["", "/media"])
def test_a_flat_bucket_is_listed_page_by_page(flat: dict[str, Any], scheme: str, below: str) -> None:
    flat |= {f"bucket{below}/{name}": JPEG for name in ("a", "b/c", "b/d", "e", "f/g", ".h/i", "j/.k", "folder/")}
    flat |= {"bucket2/x": JPEG, f"bucket{below}2/x": JPEG} if below else {"bucket2/x": JPEG}
    listed = iter(Objects(f"{scheme}://bucket{below}"))
    first = next(listed)
    assert Flat.asked == ["first"]  # no more was asked for than was needed
    found = [first, *listed]
    assert Flat.asked == ["first", "2", "4", "6"]
    assert [one.name for one in found] == ["a", "b/c", "b/d", "e", "f/g"]
    assert (found[1].uri, found[1].path) == (f"{scheme}://bucket{below}/b/c", f"bucket{below}/b/c")
    assert (found[1].size, found[1].stamp) == (4, f"{below}/b/c-1".lstrip("/"))


def test_what_workers_would_refuse_is_refused_before_anything_is_sent(memory: Any) -> None:
    put(memory, a=JPEG)
    with pytest.raises(ConfigError, match=f"add {BUCKET} to NEARDUP_FETCH_ALLOW"):
        check_sources([], [Objects(BUCKET)], Rules(("memory://bucket/other",)))


@pytest.mark.parametrize("url", ["memory://bucket/nothing", "memory://", "s3://a::file:///etc"])
def test_a_url_that_leads_nowhere_is_named(url: str) -> None:
    with pytest.raises(ConfigError, match=url):
        Objects(url)


def test_one_object_that_may_not_be_read_is_skipped_and_a_store_that_fails_ends_the_run(
    make: Callable[..., Ingest], flat: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    flat |= {"bucket/a": JPEG, "bucket/b": JPEG}

    def cat_file(_files: Flat, path: str, *_range: int) -> bytes:
        if path == "bucket/a":
            raise PermissionError(path)
        return JPEG

    monkeypatch.setattr(Flat, "cat_file", cat_file)
    outbox = FakeOutbox()
    assert run(make(outbox), "s3://bucket") == (1, 0, 1)
    assert keys(outbox) == ["b"]

    def away(*_arguments: Any, **_options: Any) -> bytes:
        raise ConnectionError("reset")

    monkeypatch.setattr(Flat, "cat_file", away)
    with pytest.raises(DependencyError, match="object store s3://bucket: ConnectionError: reset"):
        list(make(outbox, id_prefix="x/").run([], [], [Objects("s3://bucket")]))
    monkeypatch.setattr(Flat, "call_s3", away)
    with pytest.raises(DependencyError, match="object store s3://bucket: ConnectionError: reset"):
        list(Objects("s3://bucket"))
