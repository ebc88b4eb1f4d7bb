"""Pictures of originals that lie in `media`."""

from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path

import pytest

from neardup.pipeline.settings import Settings
from neardup.workers.api.originals import Originals, WantedContent
from neardup.workers.kafka.changes import KafkaWrites
from neardup.workers.kafka.topics import create_topics, open_admin, topic_names
from tests.pipeline.scan.build import save

pytestmark = pytest.mark.integration


def test_an_original_is_read_from_its_record_or_from_where_that_leads(settings: Settings, tmp_path: Path) -> None:
    allowed = settings.model_copy(
        update={"blobs": str(tmp_path / "blobs"), "fetch_allow": (tmp_path / "far").as_uri(), "media_partitions": 1}
    )
    with open_admin(allowed) as admin:
        create_topics(admin, "f00d", allowed)
    names = topic_names(allowed.topic_prefix, "f00d")
    writes = KafkaWrites(allowed, names)
    near, far = save(tmp_path / "near", "a.png", 1), save(tmp_path / "far", "b.png", 2)
    writes.publish("a", near.read_bytes(), [])
    writes.publish("b", far.as_uri().encode(), [("content-type", b"text/uri-list")])
    digests = {path.stem: hashlib.sha256(path.read_bytes()).digest() for path in (near, far)}

    def shown(id: str, offset: int, sha256: bytes) -> bool:
        return originals.picture(WantedContent(id, sha256, ((-1, -1), (0, offset))), 0.0, 64).result() is not None

    with closing(Originals(allowed, names.media)) as originals:
        assert shown("a", 0, digests["a"])
        assert shown("b", 1, digests["b"])
        far.unlink()
        assert shown("b", 1, digests["b"])  # it is kept for a while
        originals.forget("b")
        assert not shown("b", 1, digests["b"])
        assert not shown("a", 0, digests["b"])  # another version of the item
        originals.forget("a")
        assert not shown("a", 1, digests["a"])  # another item's record
        assert not shown("a", 99, digests["a"])
