"""Which processes `neardup space drop` sees."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.settings import Settings
from neardup.workers.kafka.presence import Presence
from neardup.workers.kafka.topics import open_admin
from neardup.workers.space.drop import drop
from tests.integration.test_embed_worker import embedding
from tests.integration.test_stream_end_to_end import CHECKPOINT, Stream, is_ready
from tests.ports import free_port
from tests.timing import until

pytestmark = pytest.mark.integration


def members(settings: Settings, group: str) -> int:
    with open_admin(settings) as admin:
        return len(admin.describe_groups([group])[group]["members"])


def test_a_space_that_workers_or_a_load_use_is_not_dropped(settings: Settings, tmp_path: Path) -> None:
    stream = Stream(settings, tmp_path)
    stream.environment["NEARDUP_API_PORT"] = "0"
    groups = [f"{stream.names.verdicts}.{kind}" for kind in ("api", "flag", "embed", "load")]
    with ExitStack() as running:
        ports = [free_port(), free_port()]
        processes: list[subprocess.Popen[bytes]] = [
            running.enter_context(stream.worker(kind, port)) for kind, port in zip(("api", "flag"), ports, strict=True)
        ]
        processes.append(running.enter_context(embedding(stream.environment, tmp_path)).process)
        running.enter_context(closing(Presence(settings, stream.names, "load")))
        until(lambda: all(map(is_ready, ports)), "the workers are ready")
        until(lambda: all(members(settings, group) for group in groups), "they are members")
        with pytest.raises(ConfigError) as refused:
            drop(settings, CHECKPOINT.space)
        assert all(f"{group} on 127.0.0.1" in str(refused.value) for group in groups)
        for process in processes:
            process.terminate()
            assert process.wait(30) == 0
        assert [members(settings, group) for group in groups[:3]] == [0, 0, 0]  # at once
    assert {f"group {group}" for group in groups} <= set(drop(settings, CHECKPOINT.space))
