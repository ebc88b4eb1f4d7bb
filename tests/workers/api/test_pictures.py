from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import msgspec
import pytest

from neardup.pipeline.log.changes import BankChanged, ReferenceChanged, ReferenceEdit
from neardup.pipeline.log.records import Removed
from neardup.pipeline.settings import Settings
from neardup.workers.api.originals import Originals, WantedContent
from tests.pipeline.match.build import picture
from tests.pipeline.scan.build import a_picture, save, save_clip
from tests.workers.api.build import Api, an_api


class Kept(Originals):
    """Says which original it is asked for, if it holds it."""

    def __init__(self, *ids: str) -> None:
        self.ids = set(ids)
        self.asked: list[tuple[WantedContent, float, int]] = []

    def picture(self, place: WantedContent, seconds: float, side: int) -> Future[bytes | None]:
        self.asked.append((place, seconds, side))
        future: Future[bytes | None] = Future()
        future.set_result(b"original" if place.id in self.ids else None)
        return future

    def forget(self, id: str) -> None:
        self.ids.discard(id)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    records = [
        picture("a", 0, source_offset=7),
        picture("../b?", 60, source_offset=8),
        BankChanged(bank="blocked"),
        msgspec.structs.replace(picture("r", 120, source_offset=9), bank="blocked"),
        ReferenceChanged(bank="blocked", id="a", edit=ReferenceEdit.ADD),
    ]
    with an_api(tmp_path, records) as running:
        running.context.originals = Kept("a", "../b?", "r")
        for id in ("a", "r"):
            running.context.blobs.put_thumbnail(id, b"small", f"content of {id}".encode().hex())
        yield running


def asked(api: Api) -> list[tuple[WantedContent, float, int]]:
    assert isinstance(api.context.originals, Kept)
    return api.context.originals.asked


def test_a_small_picture_is_the_thumbnail_and_a_large_one_is_made(api: Api) -> None:
    small = api.client.get("/v1/pictures", params={"id": "a"})
    assert (small.content, small.headers["content-type"]) == (b"small", "image/jpeg")
    assert api.client.get("/v1/pictures", params={"id": "a", "side": 960}).content == b"original"
    assert asked(api) == [(WantedContent("a", b"content of a", ((-1, 7),)), 0.0, 960)]


def test_any_id_has_a_picture(api: Api) -> None:
    assert api.client.get("/v1/pictures", params={"id": "../b?"}).content == b"original"


def test_a_moment_is_made_at_any_size_and_never_the_thumbnail(api: Api) -> None:
    assert api.client.get("/v1/pictures", params={"id": "a", "at": 2.5}).content == b"original"
    assert asked(api)[0][1:] == (2.5, 320)
    assert isinstance(api.context.originals, Kept)
    api.context.originals.ids.clear()
    assert api.client.get("/v1/pictures", params={"id": "a", "at": 2.5}).status_code == 404
    assert api.client.get("/v1/pictures", params={"id": "a", "side": 960}).content == b"small"


def test_a_reference_of_a_bank_has_a_picture_from_its_own_record_or_its_uploads(api: Api) -> None:
    assert api.client.get("/v1/pictures", params={"id": "r"}).status_code == 404
    for id, source in (("r", (-1, 9)), ("a", (-1, 7))):
        answer = api.client.get("/v1/pictures", params={"id": id, "bank": "blocked", "side": 960})
        assert answer.content == b"original"
        assert source in asked(api)[-1][0].sources
    assert api.client.get("/v1/pictures", params={"id": "r", "bank": "nosuch"}).status_code == 404


def test_what_was_taken_down_is_forgotten(api: Api) -> None:
    api.log.append([Removed(id="a")])
    assert isinstance(api.context.originals, Kept)
    assert "a" not in api.context.originals.ids
    assert api.client.get("/v1/pictures", params={"id": "a"}).status_code == 404


def test_one_that_asks_for_what_is_not_there_does_not_fail_others(api: Api) -> None:
    view = api.context.view
    assert view is not None
    with_error, without = view.look(lambda state: state.items.named("a").nothing), view.look(lambda _: 1)  # type: ignore[union-attr]
    assert without.result() == 1
    assert isinstance(with_error.exception(), AttributeError)


def test_originals_of_the_blob_store_are_shown_at_a_size_and_a_time(tmp_path: Path) -> None:
    originals = Originals(Settings(blobs=str(tmp_path / "the blobs"), kafka="127.0.0.1:1"), "media")
    for path in (save(tmp_path, "x.png", 1, 200), save_clip(tmp_path / "x.mp4", [1, 2, 3])):
        digest = hashlib.sha256(path.read_bytes()).digest()
        originals._blobs.put(path.name, path, digest)
        made = originals.picture(WantedContent(path.name, digest), 1.5, 100).result()
        assert made is not None
        assert near(made, 2 if path.suffix == ".mp4" else 1)
        assert originals.picture(WantedContent(path.name, b"0" * 32), 0, 100).result() is None
    originals.close()


def near(jpeg: bytes, seed: int) -> bool:
    """Return whether a JPEG shows the picture of a seed."""
    import io

    import numpy as np
    from PIL import Image

    shown = Image.open(io.BytesIO(jpeg))
    wanted = a_picture(seed, 64)
    shades = (np.asarray(one.convert("L").resize((64, 64)), dtype=float) for one in (shown, wanted))
    a, b = shades
    return max(shown.size) <= 100 and float(abs(a - b).mean()) < 20
