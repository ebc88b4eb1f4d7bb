"""The commands for `kcat` that the documents print, run as they are printed."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from neardup.pipeline.settings import Settings
from neardup.workers.kafka.media_record import is_end, read_item
from tests.integration.test_embed_worker import a_file, read
from tests.timing import LATE_SECONDS

pytestmark = pytest.mark.integration
STREAM = Path(__file__).parents[2] / "docs" / "stream.md"


def printed() -> list[str]:
    """Return the blocks of shell commands that send with kcat."""
    blocks = re.findall(r"```sh\n(.*?)```", STREAM.read_text(), re.DOTALL)
    return [block for block in blocks if "kcat -P" in block]


def test_what_is_printed_sends_what_is_said(settings: Settings, admin: KafkaAdminClient, tmp_path: Path) -> None:
    media = f"{settings.topic_prefix}.media"
    admin.create_topics({media: {"num_partitions": 1}}, wait_for_metadata=True)
    for name in ("cat.jpg", "frame.jpg"):
        (tmp_path / name).write_bytes(a_file(1, "JPEG"))
    script = "\n".join(printed()).replace("neardup.media", media)
    environment = {**os.environ, "NEARDUP_KAFKA": settings.kafka}
    subprocess.run(["sh", "-eu", "-c", script], cwd=tmp_path, env=environment, check=True, timeout=LATE_SECONDS)
    records = read(settings, media)
    found = [(record.key.decode(), record.value, dict(record.headers)) for record in records]
    jpeg = (tmp_path / "cat.jpg").read_bytes()
    assert found == [
        ("cam-1", jpeg, {"pts": b"12.5"}),
        ("cam-1", b"", {"pts": b"end"}),
        ("cat-1", jpeg, {}),
        ("cat-2", jpeg, {"bank": b"licensed"}),
        ("camera-7", jpeg, {"pts": b"12.5"}),
        ("camera-7", b"", {"pts": b"end"}),
        ("cat-1", None, {}),
    ]
    ends = [record for record in records if is_end(record.headers)]
    assert all(read_item(record.key, record.value, record.headers).ends for record in ends)
