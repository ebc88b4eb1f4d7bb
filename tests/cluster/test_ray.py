"""A backfill on three nodes of Ray, one of which goes away in the middle, against one on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deploy.local.ray_nodes import ON_LOOPBACK
from neardup.pipeline.archive.folder import Folder
from neardup.pipeline.archive.plan import read_plan
from neardup.pipeline.archive.row import to_columns
from neardup.pipeline.archive.shard import reading, shard_names

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif("RAY_CLUSTER" not in os.environ, reason="run by make test-cluster"),
]
ITEMS, PART_ITEMS, PARTS = 120, 6, 21


class Nodes:
    """See `deploy.local.ray_nodes`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.address = self._said()

    def kill(self, number: int) -> int:
        """End a node, and return how many processes it had."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"kill {number}\n")
        self._process.stdin.flush()
        return int(self._said())

    def _said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    command = [sys.executable, "-m", "deploy.local.ray_nodes", "3"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as process:
        found = Nodes(process)
        assert found.address, "no node came up; its words are above"
        yield found
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=60) == 0


def test_a_node_that_dies_costs_its_shards_in_work_only(tmp_path: Path, nodes: Nodes) -> None:
    pictures = some_pictures(tmp_path / "pictures")
    here, there = Folder(str(tmp_path / "here")), Folder(str(tmp_path / "there"))
    with backfill(pictures, here) as process:
        assert process.wait(timeout=300) == 0
    with backfill(pictures, there, "--ray", nodes.address) as process:
        until = time.monotonic() + 300
        while len(shard_names(there)) < 3:
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        before = {name: rows(there, name) for name in shard_names(there)}
        assert nodes.kill(2) > 1
        assert len(before) < PARTS
        assert process.wait(timeout=300) == 0
    plan = read_plan(there)
    assert plan is not None
    assert plan.parts == PARTS
    assert shard_names(there) == shard_names(here)
    for name in shard_names(here):
        assert rows(there, name) == rows(here, name)
    assert before == {name: rows(there, name) for name in before}
    assert sum(len(rows(there, name)) for name in shard_names(there)) == ITEMS + 2
    assert not list((tmp_path / "there").rglob(".neardup-*"))


def backfill(pictures: Path, output: Folder, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "neardup.workers.cli.main", "backfill", "describe", str(pictures)]
    command += ["--output", output.url, "--part-items", str(PART_ITEMS), "--model", "fast", *options]
    return subprocess.Popen(command, text=True, env={**os.environ, **ON_LOOPBACK})


def rows(folder: Folder, name: str) -> list[dict[str, Any]]:
    with reading(folder, name) as shard:
        return [to_columns(row) for row in shard.rows(pictures=True)]


def some_pictures(folder: Path) -> Path:
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(ITEMS):
        small = random.integers(0, 256, (9, 12, 3)).astype(np.uint8)
        Image.fromarray(small).resize((320, 240), Image.Resampling.BICUBIC).save(folder / f"{number:04}.jpg")
    (folder / "cut.jpg").write_bytes((folder / "0000.jpg").read_bytes()[:100])
    (folder / "empty.png").write_bytes(b"")
    return folder
