from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import fsspec
import pytest

from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.pipeline.media.blobs import Blobs


@pytest.fixture(params=["file", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Blobs]:
    """A folder with a space in its name, and a store that is no folder."""
    if request.param == "file":
        yield Blobs((tmp_path / "the blobs").as_uri())
    else:
        yield Blobs("memory://blobs")
        fsspec.filesystem("memory").store.clear()


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"a film")
    return path


def content(blobs: Blobs, place: str) -> bytes:
    files, root = fsspec.core.url_to_fs(blobs.url.replace("%20", " "))
    return bytes(files.cat_file(f"{root}/{place}"))


def holds(blobs: Blobs, place: str) -> bool:
    files, root = fsspec.core.url_to_fs(blobs.url.replace("%20", " "))
    return bool(files.exists(f"{root}/{place}"))


def place_of(blobs: Blobs, uri: str) -> str:
    assert uri.startswith(blobs.url + "/media/")
    return uri[len(blobs.url) + 1 :]


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def test_what_was_put_is_there_and_the_same_again_is_one_file(blobs: Blobs, original: Path) -> None:
    uri = blobs.put("cat", original, sha(b"a film"))
    assert content(blobs, place_of(blobs, uri)) == b"a film"
    assert blobs.put("cat", original, sha(b"a film")) == uri
    assert blobs.erase("cat") == 1


def test_erasing_takes_all_of_an_item_and_nothing_of_its_twin(blobs: Blobs, original: Path) -> None:
    digest = sha(b"a film")
    mine = [place_of(blobs, blobs.put("cat", original, digest)), blobs.put_thumbnail("cat", b"1", digest.hex())]
    mine.append(blobs.put_thumbnail("cat", b"2", "live"))
    twin = [place_of(blobs, blobs.put("cat-2", original, digest)), blobs.put_thumbnail("cat-2", b"1", digest.hex())]
    assert blobs.erase("cat") == 3
    assert not any(holds(blobs, place) for place in mine)
    assert all(holds(blobs, place) for place in twin)
    assert blobs.erase("cat") == 0
    assert blobs.erase("never there") == 0


def test_an_old_version_written_late_does_not_replace_the_new_one(blobs: Blobs) -> None:
    new = blobs.put_thumbnail("cat", b"new", sha(b"new").hex())
    old = blobs.put_thumbnail("cat", b"old", sha(b"old").hex())
    assert new != old
    assert content(blobs, new) == b"new"


def test_a_reader_never_finds_half_a_file(tmp_path: Path) -> None:
    blobs, size = Blobs(tmp_path.as_uri()), 2**20
    place = tmp_path / blobs.put_thumbnail("cat", bytes(size), "live")
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            blobs.put_thumbnail("cat", bytes(size), "live")

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    sizes = {len(place.read_bytes()) for _ in range(200)}
    stop.set()
    for writer in writers:
        writer.join()
    assert sizes == {size}
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_erasing_does_not_trip_whoever_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = Blobs(tmp_path.as_uri())
    rename, erased = os.replace, list[int]()

    def erase_before(part: str, target: str) -> None:
        if not erased:
            erased.append(blobs.erase("cat"))
        rename(part, target)

    monkeypatch.setattr(os, "replace", erase_before)
    place = blobs.put_thumbnail("cat", b"jpeg", "1")
    assert erased == [1]
    assert (tmp_path / place).read_bytes() == b"jpeg"


def test_a_store_that_fails_is_a_failure_outside(tmp_path: Path, original: Path) -> None:
    (tmp_path / "blobs").write_text("a file where the folder should be")
    blobs = Blobs((tmp_path / "blobs").as_uri())
    with pytest.raises(DependencyError, match="blob store"):
        blobs.put("cat", original, bytes(32))
    with pytest.raises(DependencyError, match="blob store"):
        blobs.put_thumbnail("cat", b"1", "live")

    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError("no")

    blobs = Blobs((tmp_path / "other").as_uri())
    blobs._files = cast(Any, SimpleNamespace(makedirs=refuse))
    with pytest.raises(DependencyError, match="PermissionError"):
        blobs.put_thumbnail("cat", b"1", "live")
    with pytest.raises(ConfigError, match="NEARDUP_BLOBS"):
        Blobs("nowhere://blobs")


def test_packs_are_found_by_bank_id_and_version_and_erased_by_each(blobs: Blobs) -> None:
    places = [("", "a", "1"), ("", "a", "2"), ("news", "a", "1"), ("news", "b", "1")]
    for bank, id, version in places:
        blobs.put_pack(bank, id, f"{bank}/{id}/{version}".encode(), version)
    assert [blobs.pack(*place) for place in places] == [b"/a/1", b"/a/2", b"news/a/1", b"news/b/1"]
    assert blobs.pack("news", "a", "2") is None
    assert blobs.erase("a") == 2
    assert [blobs.pack(*place) is not None for place in places] == [False, False, True, True]
    assert blobs.erase_reference("news", "a") == 1
    assert [blobs.pack(*place) is not None for place in places] == [False, False, False, True]
    blobs.erase_bank("news")
    blobs.erase_bank("never heard of")
    assert blobs.pack("news", "b", "1") is None
    blobs.put_pack("news", "b", b"again", "1")
    assert blobs.pack("news", "b", "1") == b"again"
