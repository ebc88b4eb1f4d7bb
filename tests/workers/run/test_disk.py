from __future__ import annotations

from pathlib import Path

from prometheus_client import REGISTRY

from neardup.workers.run.disk import watch_disk


def test_the_disk_of_a_folder_is_told_before_the_folder_is_made(tmp_path: Path) -> None:
    watch_disk("test", tmp_path / "not" / "yet")
    free, size = (
        REGISTRY.get_sample_value(f"neardup_disk_{name}", {"holds": "test"}) for name in ("free_bytes", "bytes")
    )
    assert free is not None
    assert size is not None
    assert 0 < free < size
