"""From records in the log to flags in Redis, with the workers as their commands start them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from neardup.pipeline.embed.checkpoint import save_checkpoint
from neardup.pipeline.log.records import Described, pack_hashes, pack_vectors
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.redis import RedisStore
from neardup.pipeline.types import Descriptors
from neardup.workers.kafka.log import Appender, Tail, read_envelopes
from neardup.workers.kafka.topics import create_topics, open_admin, topic_names
from neardup.workers.up.status import look
from tests.integration.test_flag_worker import dump
from tests.pipeline.scan.build import a_checkpoint
from tests.ports import free_port
from tests.timing import BUSY, LATE_SECONDS, until

pytestmark = pytest.mark.integration
CHECKPOINT = a_checkpoint()
D = CHECKPOINT.architecture.dimension


class Stream:
    """Workers as processes over topics of the test's own."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self._folder = settings, folder
        self.names = topic_names(settings.topic_prefix, CHECKPOINT.space)
        save_checkpoint(CHECKPOINT, folder / "model.safetensors")
        self.environment = {
            **os.environ,
            "NEARDUP_MODEL": str(folder / "model.safetensors"),
            "NEARDUP_KAFKA": settings.kafka,
            "NEARDUP_REDIS": settings.redis.get_secret_value(),
            "NEARDUP_TOPIC_PREFIX": settings.topic_prefix,
            "NEARDUP_PROVE": "false",
            "NEARDUP_STATE_FOLDER": str(folder / "state"),
            "NEARDUP_BLOBS": str(folder / "blobs"),
            "NEARDUP_SNAPSHOT_RECORDS": "10",
            "OMP_NUM_THREADS": "1",
        }
        with open_admin(settings) as admin:
            create_topics(admin, CHECKPOINT.space, settings)

    @contextmanager
    def worker(self, name: str, port: int = 0) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "neardup.workers.cli.main", "worker", name, "--port", str(port)]
        with subprocess.Popen(command, env=self.environment) as process:
            try:
                yield process
            finally:
                process.kill()

    def command(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "neardup.workers.cli.main", *arguments]
        return subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True).stdout

    def append(self, *records: Described) -> None:
        with closing(Appender(self.settings, self.names.log)) as appender:
            appender.append(records)

    def offsets_published(self) -> list[int]:
        with closing(Tail(self.settings, self.names.verdicts)) as tail:
            offsets: list[int] = []
            deadline, end = time.monotonic() + LATE_SECONDS, tail.end()
            while tail.position() < end:
                offsets += [one.offset for one in read_envelopes(tail.poll(0.5, 1000))]
                assert time.monotonic() < deadline, f"{tail.position()} of {end} after {LATE_SECONDS} s"
            return offsets


@pytest.fixture
def stream(settings: Settings, tmp_path: Path) -> Stream:
    return Stream(settings, tmp_path)


@pytest.fixture
def store(settings: Settings) -> Iterator[RedisStore]:
    with closing(RedisStore(settings.redis.get_secret_value(), CHECKPOINT.space)) as made:
        yield made


def vector(seed: int, cosine: float = 1.0) -> Descriptors:
    """Return one unit vector; with a cosine, another one at that angle to it."""
    random = np.random.default_rng(seed)
    first, other = np.linalg.qr(random.normal(size=(D, 2)))[0].T
    return np.asarray([cosine * first + np.sqrt(1 - cosine**2) * other], dtype=np.float32)


def record(item: str, vectors: Descriptors) -> Described:
    return Described(
        id=item,
        sha256=item.encode().ljust(32),
        dimension=D,
        pts=(0.0,),
        vectors=pack_vectors(vectors),
        hashes=pack_hashes(np.zeros((1, 32), np.uint8)),
        detail=b"\x32",
    )


def await_applied(store: RedisStore, offset: int) -> float:
    started = time.monotonic()
    until(lambda: store.applied() >= offset, lambda: f"stands at {store.applied()}, wanted {offset}")
    return time.monotonic() - started


def is_ready(port: int) -> bool:
    seen = look("127.0.0.1", port)
    return seen is not None and seen.ready


def test_each_copy_is_flagged_once_whatever_is_killed(stream: Stream, store: RedisStore, tmp_path: Path) -> None:
    originals = [record(f"original-{n}", vector(n)) for n in range(20)]
    copies = [record(f"copy-{n}", vector(n, 0.99)) for n in range(20)]
    with ExitStack() as running:
        matcher, flagger = (running.enter_context(stream.worker(name)) for name in ("match", "flag"))
        stream.append(*originals, *copies[:10])
        await_applied(store, 29)
        running.enter_context(stream.worker("match", port := free_port()))
        until(lambda: is_ready(port), "the second follows")
        matcher.kill()
        flagger.kill()
        running.enter_context(stream.worker("flag"))
        stream.append(*copies[10:], *originals[:5])
        assert await_applied(store, 44) < 15 * BUSY
        # what is taken down is forgotten, and is not what a later copy is a copy of
        told = stream.command("takedown", "original-3", "copy-3", "unheard-of", "--wait")
        seconds = re.search(r"forgotten by Redis after ([0-9.]+) s", told)
        assert seconds is not None
        assert float(seconds[1]) < 2 * BUSY
        assert store.verdict("original-3") is None
        assert store.members("original-3") == frozenset()
        stream.append(originals[3], record("late copy", vector(3, 0.98)))
        await_applied(store, 49)
        assert store.verdict("original-3") is None
    late = store.verdict("late copy")
    assert late is not None
    assert late.matches == ()
    feed = store.feed("", 1000)
    assert [entry.verdict.id for entry in feed] == [copy.id for copy in copies]
    assert [entry.verdict.matches[0].reference for entry in feed] == [one.id for one in originals]
    assert stream.offsets_published() == list(range(50))
    assert [path for path in tmp_path.rglob("manifest.json") if "index" not in path.parts]
    held = dump(stream.settings.redis.get_secret_value())
    assert len(held) > 40
    assert "50 envelopes written to Redis" in stream.command("rebuild", "flags")
    assert dump(stream.settings.redis.get_secret_value()) == held


@pytest.mark.parametrize("name", ["match", "flag"])
def test_a_worker_drains_and_exits_0_on_sigterm(stream: Stream, store: RedisStore, name: str) -> None:
    stream.append(record("a", vector(1)))
    with stream.worker("match") as matcher, stream.worker("flag") as flagger:
        await_applied(store, 0)
        process = matcher if name == "match" else flagger
        started = time.monotonic()
        process.terminate()
        assert process.wait(LATE_SECONDS) == 0
        assert time.monotonic() - started < 10 * BUSY
