from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from kafka import KafkaProducer

from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.redis import RedisStore
from neardup.workers.dead_letters.letters import Noting
from neardup.workers.kafka.topics import TopicNames
from tests.integration.test_embed_worker import (
    SPACE,
    a_file,
    committed,
    count,
    embedding,
    environment,
    names,
    producer,
    read,
    until,
)
from tests.integration.test_ingest import neardup
from tests.timing import BUSY, LATE_SECONDS

pytestmark = pytest.mark.integration
__all__ = ["environment", "names", "neardup", "producer"]  # fixtures


@pytest.fixture
def store(settings: Settings) -> Iterator[RedisStore]:
    with closing(RedisStore(settings.redis.get_secret_value(), SPACE)) as made:
        yield made


@contextmanager
def running(environment: dict[str, str], name: str) -> Iterator[None]:
    command = [sys.executable, "-m", "neardup.workers.cli.main", "worker", name, "--port", "0"]
    with subprocess.Popen(command, env=environment) as process:
        try:
            yield
        finally:
            process.kill()


def files_of(blobs: Path, id: str) -> list[str]:
    start = hashlib.sha256(id.encode()).hexdigest()[:32]
    return sorted(path.relative_to(blobs).parts[0] for path in blobs.rglob(f"{start}-*"))


def test_a_takedown_passes_a_backlog_and_nothing_late_brings_the_item_back(
    settings: Settings,
    names: TopicNames,
    producer: KafkaProducer,
    environment: dict[str, str],
    store: RedisStore,
    neardup: Callable[..., str],
    tmp_path: Path,
) -> None:
    environment["NEARDUP_STATE_FOLDER"] = str(tmp_path / "state")
    folder = tmp_path / "blobs"
    blobs = Blobs(folder.as_uri())

    def send(id: str, seed: int) -> None:
        producer.send(names.media, a_file(seed, "PNG"), id.encode(), partition=0)

    def send_large(id: str, seed: int) -> None:
        (tmp_path / "original").write_bytes(a_file(seed, "BMP"))
        sha256 = hashlib.sha256(a_file(seed, "BMP")).digest()
        uri = blobs.put(id, tmp_path / "original", sha256)
        headers = [("content-type", b"text/uri-list"), ("sha256", sha256.hex().encode())]
        producer.send(names.media, uri.encode(), id.encode(), headers, partition=0)

    with ExitStack() as stack:
        for name in ("match", "flag"):
            stack.enter_context(running(environment, name))
        worker = stack.enter_context(embedding(environment, tmp_path, SLOW_SECONDS="0.7"))
        send("victim", 1)
        send("twin", 1)
        send_large("large", 2)
        send_large("large twin", 2)
        producer.flush()
        until(lambda: store.applied() == 3, "flagged")
        assert files_of(folder, "victim") == ["thumbnails"]
        assert files_of(folder, "large") == ["media", "thumbnails"]
        assert store.members("victim") | store.members("twin") in ({"victim"}, {"twin"})
        for number in range(400):
            send(f"p{number}", 100 + number)
        send("victim", 1)
        send("victim", 3)
        send_large("waiting", 4)
        producer.flush()
        until(lambda: count(settings, names.log) > 40, "at work on the backlog")
        in_flight = [f"p{number}" for number in range(60, 260)]
        began = time.monotonic()
        told = neardup("takedown", "victim", "large", "waiting", *in_flight, "--wait")
        seconds = re.search(r"forgotten by Redis after ([0-9.]+) s", told)
        assert seconds is not None
        assert float(seconds[1]) < 2 * BUSY, (told, time.monotonic() - began)
        assert committed(settings, names)[0] < 400, "there was no backlog"
        assert [files_of(folder, id) for id in ("victim", "large", "waiting")] == [[], [], []]
        assert store.verdict("victim") is None
        assert store.verdict("twin") is not None
        until(lambda: committed(settings, names)[0] == 407, "the backlog is done")
        until(lambda: store.applied() == count(settings, names.log) - 1, "all flagged")
        assert worker.stop()[0] == 0
    for id in ("victim", "large", "waiting", *in_flight):
        assert (id, files_of(folder, id), store.verdict(id)) == (id, [], None)
    assert files_of(folder, "twin") == ["thumbnails"]
    assert files_of(folder, "large twin") == ["media", "thumbnails"]
    assert files_of(folder, "p399") == ["thumbnails"]
    [letter] = read(settings, names.dead_letters)  # its original is gone before it could be described
    assert (letter.key, dict(letter.headers)["reason"]) == (b"waiting", b"fetch")


def test_a_null_value_takes_an_item_down_with_all_its_files(
    settings: Settings,
    names: TopicNames,
    producer: KafkaProducer,
    environment: dict[str, str],
    store: RedisStore,
    tmp_path: Path,
) -> None:
    environment["NEARDUP_STATE_FOLDER"] = str(tmp_path / "state")
    producer.send(names.media, a_file(1, "PNG"), b"known", partition=0)
    producer.flush()
    with ExitStack() as stack:
        for name in ("match", "flag"):
            stack.enter_context(running(environment, name))
        stack.enter_context(embedding(environment, tmp_path))
        until(lambda: store.applied() == 0, "flagged")
        began = time.monotonic()
        producer.send(names.media, None, b"known", partition=0)
        producer.send(names.media, a_file(2, "PNG"), b"in flight", partition=0)
        producer.send(names.media, None, b"in flight", partition=0)  # overtakes what is being decoded
        producer.flush()
        until(lambda: store.applied() == 3, "all flagged")
        assert time.monotonic() - began < 2 * BUSY
    assert count(settings, names.log) == 4
    for id in ("known", "in flight"):
        assert (store.verdict(id), files_of(tmp_path / "blobs", id)) == (None, [])


def test_a_dead_letter_is_noted_for_those_who_wait_until_the_takedown(
    settings: Settings,
    names: TopicNames,
    producer: KafkaProducer,
    environment: dict[str, str],
    store: RedisStore,
    neardup: Callable[..., str],
    tmp_path: Path,
) -> None:
    environment["NEARDUP_STATE_FOLDER"] = str(tmp_path / "state")
    bank = [("bank", b"blocked")]

    def send(id: bytes, headers: list[tuple[str, bytes]] | None = None) -> int:
        return int(producer.send(names.media, b"no picture", id, headers or [], partition=1).get(30).offset)

    early = send(b"early")
    with ExitStack() as stack:
        stack.enter_context(embedding(environment, tmp_path))
        until(lambda: count(settings, names.dead_letters) == 1, "put aside before the flag worker runs")
        for name in ("match", "flag"):
            stack.enter_context(running(environment, name))
        until(lambda: store.dead_letter("early") is not None, "noted")
        began = time.monotonic()
        send(b"late")
        until(lambda: store.dead_letter("late") is not None, "noted")
        assert time.monotonic() - began < 2 * BUSY
        send(b"early", bank)
        send(b"a\tb")
        until(lambda: store.dead_letters_at() == 4, "all noted")
        letter = store.dead_letter("early")
        assert letter is not None
        assert (letter.reason, letter.partition, letter.offset) == ("format", 1, early)
        assert store.dead_letter("early", "blocked") is not None
        odd = store.dead_letter("a\tb")
        assert odd is not None
        assert odd.reason == "schema"
        began = time.monotonic()
        told = neardup("takedown", "early", "--wait", "--by", "ann", "--why", "ticket 1")
        took = time.monotonic() - began
        assert "forgotten by Redis" in told
        neardup("takedown", "a%09b", "--encoded", "--wait", "--by", "ann")
        assert store.dead_letter("early") is None
        assert store.dead_letter("a\tb") is None
        assert store.dead_letter("late") is not None
        audited = [(one.changed.record.id, one.changed.record.by) for one in store.audit("", 9)]  # type: ignore[union-attr]
        assert audited == [("a\tb", "ann"), ("early", "ann")]
        producer.send(names.media, None, b"late", partition=1)
        producer.flush()
        until(lambda: store.dead_letter("late") is None, "taken down by its producer")
        assert store.audit("", 1)[0].changed.record.by == "producer"
        assert took < 20 * BUSY, told
        blobs = Blobs((tmp_path / "blobs").as_uri())
        for id in ("late", "other"):  # stored by whoever described it when it was taken down, and then failed
            blobs.put_thumbnail(id, b"jpeg", "1")
            blobs.put_pack("", id, b"pack", "1")
        last = send(b"other"), send(b"late")
        until(lambda: store.dead_letters_at() == 6, "noted")
        assert (files_of(tmp_path / "blobs", "late"), store.dead_letter("late")) == ([], None)
        found = store.dead_letter("other")
        assert (files_of(tmp_path / "blobs", "other"), found and found.offset) == (["packs", "thumbnails"], last[0])
    with closing(RedisStore(settings.redis.get_secret_value(), SPACE)) as other:
        assert other.dead_letters_at() == 6
        other.clear()
        noting = Noting(settings, other)  # as after a lost Redis: what it would still have is noted again
        try:
            deadline = time.monotonic() + LATE_SECONDS
            while other.dead_letters_at() != 6:
                noting.step()
                assert time.monotonic() < deadline, other.dead_letters_at()
        finally:
            noting.close()
        found = other.dead_letter("late")
        assert found is not None
        assert found.offset == last[1]
