from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

from neardup.pipeline.errors import DependencyError
from neardup.workers.ingest.journal import Journal


def test_a_full_disk_ends_the_run_with_the_files_name_and_what_was_noted_stands(tmp_path: Path) -> None:
    path, limits = tmp_path / "journal", resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill() -> None:
        with Journal(path) as journal:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
            for number in range(100):
                journal.add(f"item-{number}", number, 0)

    try:
        with pytest.raises(DependencyError, match=rf"journal {path}: {os.strerror(errno.EFBIG)}"):
            fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with Journal(path) as journal:
        assert journal.has("item-0", 0, 0)
        assert not journal.has("item-99", 99, 0)
