from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from neardup.pipeline.describe.description import Description
from neardup.pipeline.log.records import ARCHIVE, Described, Record
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.media.fetch import Rules
from neardup.pipeline.types import PLAIN, Kind
from neardup.workers.kafka.media_record import MediaItem
from neardup.workers.space.originals import FillTask

DECODE = msgspec.msgpack.Decoder(Record).decode


@pytest.mark.parametrize("quiet", [False, True])
def test_history_is_history_in_the_new_space(tmp_path: Path, quiet: bool) -> None:
    before = Described(id="a", quiet=quiet, sha256=b"s" * 32)
    item = MediaItem("a", "seen", b"picture")
    task = FillTask(item, Rules(()), Blobs(str(tmp_path)), ARCHIVE, 5, 0, False, before=before)
    unit = np.full(4, 0.5, np.float32)
    description = Description(
        Kind.IMAGE, "png", b"s" * 32, b"p" * 16, 64, 48, 0.0, PLAIN, "", np.zeros(1), np.eye(4, dtype=np.float16)[:1],
        np.ones((1, 32), np.uint8), np.array([50], np.uint8), (None,), unit, "s", "new",
    )  # fmt: skip
    (record,) = map(DECODE, task.result(description))
    assert isinstance(record, Described)
    assert (record.source_partition, record.source_offset, record.quiet, record.space) == (ARCHIVE, 5, quiet, "new")
    assert task.recall(b"s" * 32) is None
