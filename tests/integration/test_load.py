"""An archive is loaded into a stream that goes on meanwhile, with the workers as their commands start them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from neardup.pipeline.archive.conditions import Conditions
from neardup.pipeline.archive.folder import Folder
from neardup.pipeline.archive.plan import Entry, Files, name_of, write_plan
from neardup.pipeline.archive.shard import writing
from neardup.pipeline.log.records import Described
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.interface import ReviewQueue
from neardup.pipeline.store.redis import RedisStore
from neardup.pipeline.types import Limits
from neardup.workers.kafka.log import Tail, read_envelopes
from tests.integration.test_embed_worker import count
from tests.integration.test_presence import members
from tests.integration.test_stream_end_to_end import CHECKPOINT, D, Stream, await_applied, record, store, vector
from tests.pipeline.archive.build import an_image
from tests.timing import LATE_SECONDS, until

pytestmark = pytest.mark.integration
__all__ = ["store"]  # a fixture
CONDITIONS = Conditions(
    space=CHECKPOINT.space,
    dimension=D,
    sample_fps=2.0,
    regions="boxes",
    limits=Limits(),
    thumbnail_side=320,
    packed=True,
)
PAIRS, SHARDS = 150, 3


def an_archive(folder: Path) -> Folder:
    """Write pairs of an original and a later copy, in an order that is not that of time."""
    archive = Folder(str(folder))
    rows = [an_image(f"old-{n}", n, vector(n)) for n in range(PAIRS)]
    rows += [an_image(f"old-copy-{n}", PAIRS + n, vector(n, 0.99)) for n in range(PAIRS)]
    rows = rows[::-1]
    parts = []
    for n in range(SHARDS):
        held = rows[n::SHARDS]
        part = Files(tuple(Entry(row.id, row.uri, row.path.encode()) for row in held))
        with writing(archive, name_of(part, CONDITIONS), CONDITIONS) as writer:
            for row in held:
                writer.add(row)
        parts.append(part)
    write_plan(archive, parts, ("/x",), CONDITIONS, lambda _: None)
    return archive


def decided(stream: Stream) -> list[str]:
    """Return the ids of all verdicts, in order."""
    with closing(Tail(stream.settings, stream.names.verdicts)) as tail:
        found: list[str] = []
        deadline, end = time.monotonic() + LATE_SECONDS, tail.end()
        while tail.position() < end:
            envelopes = read_envelopes(tail.poll(0.5, 1000))
            found += [event.id for one in envelopes for event in one.events if hasattr(event, "decision")]
            assert time.monotonic() < deadline
        return found


def test_history_is_known_and_quiet_and_the_stream_goes_on(
    settings: Settings, store: RedisStore, tmp_path: Path
) -> None:
    stream = Stream(settings, tmp_path)
    archive = an_archive(tmp_path / "archive")
    command = [sys.executable, "-m", "neardup.workers.cli.main", "backfill", "load", archive.url, "--json"]
    live: list[Described] = []
    environment = {**os.environ, **stream.environment, "NEARDUP_MAX_PENDING": "100"}
    with ExitStack() as running:
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as loading:
            until(lambda: members(settings, f"{stream.names.verdicts}.load"), "`space drop` sees it")
            until(lambda: count(settings, stream.names.log) == 50, "so many wait for a match worker, and no more")
            for name in ("match", "flag"):
                running.enter_context(stream.worker(name))
            while loading.poll() is None or len(live) < 20:
                n = len(live) // 2
                pair = [record(f"live-{n}", vector(5000 + n)), record(f"live-copy-{n}", vector(5000 + n, 0.99))]
                stream.append(*pair)
                live += pair
                assert len(live) < 100_000
            assert loading.stdout is not None
            said = json.loads(loading.stdout.read())
        assert loading.returncode == 0
        assert said == {
            "loaded": 2 * PAIRS,
            "without_description": 0,
            "outcomes": {"distinct": PAIRS, "duplicate": PAIRS},
            "waiting_for_proofs": 0,
        }
        copies = [record(f"copy of {n}", vector(n, 0.98)) for n in range(5)]
        stream.append(*copies)
        last = 2 * PAIRS + len(live) + len(copies) - 1
        await_applied(store, last)
        again = stream.command("backfill", "load", archive.url, "--json")
        assert json.loads(again)["loaded"] == 0
    assert stream.offsets_published() == list(range(last + 1))  # no gap, and the second run appended nothing
    old = {f"old-{n}" for n in range(PAIRS)} | {f"old-copy-{n}" for n in range(PAIRS)}
    assert sorted(decided(stream)) == sorted([*old, *(one.id for one in (*live, *copies))])
    assert [entry.verdict.id for entry in store.feed("", 10_000)] == [one.id for one in (*live[1::2], *copies)]
    assert {one.item for one in store.queue(0, 10_000, ReviewQueue.ALL)} == {one.id for one in (*live[1::2], *copies)}
    assert store.members("old-0") == {"old-copy-0", "copy of 0"}
    verdict = store.verdict("copy of 4")
    assert verdict is not None
    assert verdict.matches[0].reference == "old-4"
    blobs, version = Blobs((tmp_path / "blobs").as_uri()), hashlib.sha256(b"old-7").hexdigest()
    assert (blobs.thumbnail("old-7", version), blobs.pack("", "old-7", version)) == (
        b"jpeg of old-7",
        b"pack of old-7",
    )
