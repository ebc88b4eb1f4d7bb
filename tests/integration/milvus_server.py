"""A Milvus of one's own, through `scripts/milvus`; the fixture `milvus` is in `tests/conftest.py`."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.timing import LATE_SECONDS

SCRIPT = Path(__file__).parents[2] / "scripts" / "milvus"


@contextmanager
def running_milvus(folder: Path) -> Iterator[str]:
    """Run one and yield its address. It ends with this process, however it ends: that closes its command's input."""
    tell = 'echo "$NEARDUP_MILVUS"; exec cat >/dev/null'
    command = [SCRIPT, "run", "--data", folder, "--", "sh", "-c", tell]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        uri = process.stdout.readline().strip()
        if not uri:
            pytest.fail("scripts/milvus did not start; its words are above")
        yield uri
        process.stdin.close()
        assert process.wait(timeout=LATE_SECONDS) == 0
