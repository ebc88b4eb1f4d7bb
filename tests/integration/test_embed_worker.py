from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from PIL import Image

from neardup.pipeline.embed.checkpoint import save_checkpoint
from neardup.pipeline.log.records import Described, Record, Removed
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.settings import Settings
from neardup.pipeline.types import Kind
from neardup.workers.embed.known_content import KnownContent
from neardup.workers.embed.known_filler import NAME
from neardup.workers.kafka.topics import TopicNames, create_topics, topic_names
from tests.pipeline.scan.build import a_checkpoint, a_picture, save_clip
from tests.ports import free_port
from tests.timing import BUSY, LATE_SECONDS, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

DECODE = msgspec.msgpack.Decoder(Record).decode


@pytest.fixture
def names(admin: KafkaAdminClient, settings: Settings) -> TopicNames:
    space = a_checkpoint().space
    create_topics(admin, space, settings.model_copy(update={"media_partitions": 3}))
    return topic_names(settings.topic_prefix, space)


@pytest.fixture
def producer(settings: Settings) -> Iterator[KafkaProducer]:
    with KafkaProducer(bootstrap_servers=settings.kafka, max_request_size=2**24) as made:
        yield made


@pytest.fixture
def environment(settings: Settings, tmp_path: Path) -> dict[str, str]:
    save_checkpoint(a_checkpoint(), tmp_path / "model.safetensors")
    ours = {name: value for name, value in os.environ.items() if not name.startswith("NEARDUP_")}
    return {
        **ours,
        "NEARDUP_KAFKA": settings.kafka,
        "NEARDUP_REDIS": settings.redis.get_secret_value(),
        "NEARDUP_TOPIC_PREFIX": settings.topic_prefix,
        "NEARDUP_PROVE": "false",
        "NEARDUP_MODEL": str(tmp_path / "model.safetensors"),
        "NEARDUP_THREADS": "2",
        "NEARDUP_PROCESSES": "1",
        "NEARDUP_BLOBS": str(tmp_path / "blobs"),
        "NEARDUP_STATE_FOLDER": str(tmp_path / "state"),
        "OMP_NUM_THREADS": "1",
    }


class Running:
    """An embed worker as a process."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.port, self.log = process, port, log

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=LATE_SECONDS) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, ""
        except OSError:
            return 0, ""

    def stop(self) -> tuple[int, float]:
        """End it by SIGTERM; return its exit code and how long it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=LATE_SECONDS), time.monotonic() - began


@contextmanager
def embedding(environment: Mapping[str, str], folder: Path, **more: str) -> Iterator[Running]:
    """Run a worker; SIGKILL it at the end if it still runs."""
    port = free_port()
    command = [sys.executable, "-m", "tests.integration.stand_in", "--verbose", "worker", "embed", "--port", str(port)]
    log = folder / f"worker-{port}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, env={**environment, **more}, stderr=file, cwd=Path(__file__).parents[2])
    try:
        yield Running(process, port, log)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()


def read(settings: Settings, topic: str, partitions: int = 1) -> list[Any]:
    """Return everything that a topic holds."""
    consumer = KafkaConsumer(bootstrap_servers=settings.kafka, auto_offset_reset="earliest")
    places = [TopicPartition(topic, number) for number in range(partitions)]
    consumer.assign(places)
    ends = consumer.end_offsets(places)
    records: list[Any] = []
    deadline = time.monotonic() + LATE_SECONDS
    while any(consumer.position(place) < ends[place] for place in places) and time.monotonic() < deadline:
        for polled in consumer.poll(timeout_ms=200).values():
            records += polled
    consumer.close()
    return records


def count(settings: Settings, topic: str, partitions: int = 1) -> int:
    consumer = KafkaConsumer(bootstrap_servers=settings.kafka)
    ends = consumer.end_offsets([TopicPartition(topic, number) for number in range(partitions)])
    consumer.close()
    return sum(ends.values())


def committed(settings: Settings, names: TopicNames) -> dict[int, int]:
    consumer = KafkaConsumer(bootstrap_servers=settings.kafka, group_id=f"{settings.topic_prefix}.embed.{SPACE}")
    found = {number: consumer.committed(TopicPartition(names.media, number)) or 0 for number in range(3)}
    consumer.close(autocommit=False)
    return found


SPACE = a_checkpoint().space


ALL_THREE = pytest.mark.parametrize("either", ["threads", "processes", "shared"], indirect=True)


@pytest.fixture(params=["threads", "processes"])
def either(request: pytest.FixtureRequest, environment: dict[str, str]) -> dict[str, str]:
    """The environment of a worker that describes in threads of its own, or in processes with a network each or its."""
    environment["NEARDUP_PROCESSES"] = "1" if request.param == "threads" else "2"
    environment["NEARDUP_SHARED_NETWORK"] = str(request.param == "shared")
    return environment


def a_file(seed: int, format: str) -> bytes:
    file = io.BytesIO()
    a_picture(seed).save(file, format)
    return file.getvalue()


def described(settings: Settings, names: TopicNames) -> list[Described]:
    records = [DECODE(record.value) for record in read(settings, names.log)]
    return [record for record in records if isinstance(record, Described)]


@ALL_THREE
def test_every_kind_of_record_ends_where_it_belongs(
    settings: Settings,
    names: TopicNames,
    producer: KafkaProducer,
    either: dict[str, str],
    tmp_path: Path,
) -> None:
    good = {"jpeg": a_file(1, "JPEG"), "png": a_file(2, "PNG"), "webp": a_file(3, "WEBP"), "gif": a_file(4, "GIF")}
    good["clip"] = save_clip(tmp_path / "clip.mp4", [5, 6, 7]).read_bytes()
    inside = tmp_path / "blobs" / "picture.png"
    inside.parent.mkdir()
    inside.write_bytes(good["png"])
    uris = [("content-type", b"text/uri-list")]
    bad: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]], str]] = [
        (b"empty", b"", [], "empty"),
        (b"text", b"these are words, no picture at all", [], "format"),
        (b"short", good["jpeg"][:300], [], "truncated"),
        (b"\xff\xfe", good["png"], [], "schema"),
        (b"k" * 257, good["png"], [], "schema"),
        (None, good["png"], [], "schema"),
        (b"\xff", None, [], "schema"),
        (b"bank", good["png"], [("bank", b"a b")], "schema"),
        (b"passwd", b"file:///etc/passwd", uris, "forbidden"),
        (b"lan", b"http://10.0.0.1/a.jpg", uris, "forbidden"),
        (b"gone", (tmp_path / "blobs" / "none").as_uri().encode(), uris, "fetch"),
        (b"other", inside.as_uri().encode(), [*uris, ("sha256", b"0" * 64)], "fetch"),
    ]
    for (name, data), one in zip(good.items(), [*bad[:4], bad[4]], strict=True):
        producer.send(names.media, one[1], one[0], one[2], partition=0)
        producer.send(names.media, data, name.encode(), partition=0)
    for key, value, headers, _ in bad[5:]:
        producer.send(names.media, value, key, headers, partition=1)
    sha256 = hashlib.sha256(good["png"]).hexdigest().encode()
    producer.send(names.media, inside.as_uri().encode(), b"by uri", [*uris, ("sha256", sha256)], partition=2)
    producer.send(names.media, a_file(8, "BMP"), b"banked", [("bank", b"blocked"), ("attempts", b"2")], partition=2)
    producer.send(names.media, None, b"gone", partition=2)
    producer.flush()
    with embedding(either, tmp_path) as worker:
        until(lambda: count(settings, names.log) >= 8, "all good records in the log")
        until(lambda: count(settings, names.dead_letters) >= len(bad), "all bad records among the dead letters")
        until(lambda: sum(committed(settings, names).values()) == len(good) + len(bad) + 3, "everything committed")
        assert worker.get("/readyz")[0] == 200
        metrics = worker.get("/metrics")[1]
        assert 'neardup_items_total{outcome="described",stage="embed"} 7.0' in metrics
        assert 'neardup_items_dead_lettered_total{reason="schema"} 5.0' in metrics
        assert "neardup_in_flight_bytes 0.0" in metrics
        code, seconds = worker.stop()
        assert (code, seconds < 10 * BUSY) == (0, True), worker.log.read_text()
    records = [DECODE(record.value) for record in read(settings, names.log)]
    found = {record.id: record for record in records if isinstance(record, Described)}
    assert set(found) == {*good, "by uri", "banked"}
    assert [record.id for record in records if isinstance(record, Removed)] == ["gone"]
    assert found["by uri"].vectors == found["png"].vectors
    assert found["banked"].bank == "blocked"
    assert (found["clip"].kind, found["clip"].last) == (Kind.VIDEO, True)
    assert len(found["clip"].pts) >= 6
    assert found["jpeg"].sha256 == hashlib.sha256(good["jpeg"]).digest()
    assert (found["jpeg"].source_partition, found["jpeg"].source_offset) == (0, 1)
    assert abs(found["jpeg"].produced_ms / 1000 - time.time()) < 120
    letters = {letter.key: letter for letter in read(settings, names.dead_letters)}
    for key, value, headers, reason in bad:
        letter = letters[key]
        told = dict(letter.headers)
        assert letter.value == value
        assert told["reason"].decode() == reason, (key, told)
        assert told["attempts"] == b"1"
        assert told["source-topic"].decode() == names.media
        assert {name: told[name] for name, _ in headers} == dict(headers)


def test_content_that_comes_again_is_not_described_again_and_enters_the_log_all_the_same(
    settings: Settings,
    names: TopicNames,
    producer: KafkaProducer,
    either: dict[str, str],
    tmp_path: Path,
) -> None:
    pictures = [a_file(number, "PNG") for number in range(3)]
    clip = save_clip(tmp_path / "clip.mp4", [5, 6, 7]).read_bytes()
    blobs = Blobs((tmp_path / "blobs").as_uri())
    either = {**either, "NEARDUP_PROVE": "true"}
    erased = {"first0", "second0"}

    def send(round: str, contents: Iterable[bytes]) -> None:
        for number, content in enumerate(contents):
            producer.send(names.media, content, f"{round}{number}".encode(), partition=number % 3)
        producer.flush()

    def metric(worker: Running, name: str) -> float:
        found = [line for line in worker.get("/metrics")[1].splitlines() if line.startswith(name)]
        return float(found[0].split()[1]) if found else 0.0

    def recalled(worker: Running) -> int:
        return int(metric(worker, "neardup_known_contents_total"))

    def frames(worker: Running) -> float:
        return metric(worker, 'neardup_frames_total{stage="embed"}')

    with embedding(either, tmp_path) as worker:
        send("first", [*pictures, clip])
        until(lambda: count(settings, names.log) == 4, "described")
        before = frames(worker)
        known = KnownContent(tmp_path / "state" / names.log / "embed-0" / NAME, 0)
        until(lambda: all(known.find(hashlib.sha256(one).digest()) for one in (*pictures, clip)), "the log followed")
        send("second", [*pictures, clip])
        until(lambda: count(settings, names.log) == 8, "in the log")
        assert (recalled(worker), frames(worker)) == (4, before)
        for id in erased:  # as takedowns do, of which the worker has not heard
            blobs.erase(id)
        send("third", [pictures[0]])
        until(lambda: count(settings, names.log) == 9, "described anew")
        assert (recalled(worker), frames(worker) > before) == (4, True)
        assert worker.stop()[0] == 0, worker.log.read_text()
    with embedding(either, tmp_path) as worker:  # the table is there when it starts
        send("fourth", [clip])
        until(lambda: count(settings, names.log) == 10, "in the log")
        assert (recalled(worker), frames(worker) <= 1) == (1, True)  # one of a picture that is known to be good
    found = {record.id: record for record in described(settings, names)}
    for number in range(4):
        first, second = found[f"first{number}"], found[f"second{number}"]
        changed = {"id": second.id, "thumbnail": second.thumbnail, "source_offset": second.source_offset}
        assert msgspec.structs.replace(first, **changed, produced_ms=second.produced_ms) == second
    for id, record in found.items():
        version = record.sha256.hex()
        there = blobs.thumbnail(id, version) is not None, blobs.pack("", id, version) is not None
        assert there == (id not in erased, id not in erased), id
        assert record.thumbnail


def test_a_killed_worker_leaves_nothing_undescribed(
    settings: Settings,
    names: TopicNames,
    producer: KafkaProducer,
    either: dict[str, str],
    tmp_path: Path,
) -> None:
    pictures = {f"p{number}": a_file(number, "PNG") for number in range(200)}
    for name, data in pictures.items():
        producer.send(names.media, data, name.encode())
    producer.flush()
    for goal in (20, 80):
        with embedding(either, tmp_path, SLOW_SECONDS="0.2") as worker:
            until(lambda goal=goal: count(settings, names.log) >= goal, "some records in the log")
            worker.process.kill()
    with embedding(either, tmp_path) as worker:
        until(lambda: sum(committed(settings, names).values()) == len(pictures), "everything committed")
        assert worker.stop()[0] == 0, worker.log.read_text()
    times = Counter(record.id for record in described(settings, names))
    assert set(times) == set(pictures)
    assert max(times.values()) <= 3
    assert count(settings, names.dead_letters) == 0


def test_a_second_worker_takes_partitions_over_and_gives_them_back(
    settings: Settings, names: TopicNames, producer: KafkaProducer, environment: dict[str, str], tmp_path: Path
) -> None:
    def send(start: int) -> None:
        for number in range(start, start + 60):
            producer.send(names.media, a_file(number, "PNG"), f"p{number}".encode(), partition=number % 3)
        producer.flush()

    send(0)
    with embedding(environment, tmp_path, SLOW_SECONDS="0.05") as first:
        until(lambda: count(settings, names.log) >= 20, "the first at work")
        with embedding(environment, tmp_path, SLOW_SECONDS="0.05") as second:
            until(lambda: second.get("/readyz")[0] == 200, "the second in the group")
            send(60)
            until(lambda: sum(committed(settings, names).values()) == 120, "everything committed by two")
            send(120)
            until(lambda: 'outcome="described"' in second.get("/metrics")[1], "the second at work")
            assert second.stop()[0] == 0, second.log.read_text()
        until(lambda: sum(committed(settings, names).values()) == 180, "everything committed")
        assert first.stop()[0] == 0, first.log.read_text()
    times = Counter(record.id for record in described(settings, names))
    assert set(times) == {f"p{number}" for number in range(180)}


def test_sigterm_in_the_midst_of_work_ends_in_time_and_the_rest_is_done_by_the_next(
    settings: Settings,
    names: TopicNames,
    producer: KafkaProducer,
    either: dict[str, str],
    tmp_path: Path,
) -> None:
    for number in range(120):
        producer.send(names.media, a_file(number, "PNG"), f"p{number}".encode(), partition=0)
    producer.flush()
    with embedding(either, tmp_path, SLOW_SECONDS="0.5") as worker:
        until(lambda: count(settings, names.log) >= 1, "at work")
        code, seconds = worker.stop()
        assert (code, seconds < 10 * BUSY) == (0, True), worker.log.read_text()
    assert committed(settings, names)[0] == count(settings, names.log)  # what was drained is not done again
    with embedding(either, tmp_path) as worker:
        until(lambda: committed(settings, names)[0] == 120, "everything committed")
    assert Counter(record.id for record in described(settings, names)) == {f"p{number}": 1 for number in range(120)}


@ALL_THREE
def test_a_worker_whose_network_fails_on_everything_ends_and_another_describes_what_it_did_not_commit(
    settings: Settings,
    names: TopicNames,
    producer: KafkaProducer,
    either: dict[str, str],
    tmp_path: Path,
) -> None:
    for number in range(100):
        producer.send(names.media, a_file(number, "PNG"), f"p{number}".encode(), partition=0)
    producer.flush()
    with embedding(either, tmp_path, NEARDUP_MAX_DEAD_LETTERS="10", BREAKS_AFTER="1") as worker:
        assert worker.process.wait(timeout=LATE_SECONDS) == 1
        assert "a picture that is known to be good fails" in worker.log.read_text()
    assert count(settings, names.dead_letters) < 10
    with embedding(either, tmp_path) as worker:
        until(lambda: sum(committed(settings, names).values()) == 100, "everything committed")
    assert len({record.id for record in described(settings, names)}) > 90


def test_a_record_that_kills_the_process_is_put_aside_and_no_other(
    settings: Settings, names: TopicNames, producer: KafkaProducer, environment: dict[str, str], tmp_path: Path
) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(file, "PNG")
    for number in range(30):
        data = file.getvalue() if number == 0 else a_file(number, "PNG")
        producer.send(names.media, data, f"p{number}".encode(), partition=number % 2)
    producer.flush()
    lives = 0
    group = KafkaConsumer(bootstrap_servers=settings.kafka, group_id=f"{settings.topic_prefix}.embed.{SPACE}")
    died = OffsetAndMetadata(0, f"died=3 by={12 * '0'}", -1)  # three processes before the first of this test
    group.commit({TopicPartition(names.media, 0): died})
    group.close(autocommit=False)
    while sum(committed(settings, names).values()) < 30:
        lives += 1
        assert lives <= 3
        with embedding(environment, tmp_path, WHITE_KILLS="1") as worker:
            until(
                lambda worker=worker: (  # type: ignore[misc]
                    worker.process.poll() is not None or sum(committed(settings, names).values()) == 30
                ),
                "dead or done",
            )
    [letter] = read(settings, names.dead_letters)
    assert letter.key == b"p0"
    assert dict(letter.headers)["detail"] == b"6 processes died at this record"
    found = {record.id for record in described(settings, names)}
    assert found == {f"p{number}" for number in range(1, 30)}


def test_a_record_that_kills_a_process_that_describes_costs_itself_and_the_worker_goes_on(
    settings: Settings, names: TopicNames, producer: KafkaProducer, environment: dict[str, str], tmp_path: Path
) -> None:
    environment["NEARDUP_PROCESSES"] = "2"
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(file, "PNG")
    for number in range(60):
        data = file.getvalue() if number == 7 else a_file(number, "PNG")
        producer.send(names.media, data, f"p{number}".encode(), partition=number % 3)
    producer.flush()
    with embedding(environment, tmp_path, WHITE_KILLS="1") as worker:
        until(lambda: sum(committed(settings, names).values()) == 60, "everything committed")
        assert worker.stop()[0] == 0, worker.log.read_text()
    [letter] = read(settings, names.dead_letters)
    assert letter.key == b"p7"
    assert dict(letter.headers)["reason"] == b"killed"
    assert dict(letter.headers)["detail"] == b"the process that decoded it was ended by SIGKILL"
    assert Counter(record.id for record in described(settings, names)) == {
        f"p{number}": 1 for number in range(60) if number != 7
    }


def test_no_bound_is_too_small_to_get_on(
    settings: Settings, names: TopicNames, producer: KafkaProducer, environment: dict[str, str], tmp_path: Path
) -> None:
    for number in range(20):
        producer.send(names.media, a_file(number, "PNG"), f"p{number}".encode(), partition=number % 3)
    producer.flush()
    with embedding(environment, tmp_path, NEARDUP_MAX_IN_FLIGHT_BYTES="1") as worker:
        until(lambda: sum(committed(settings, names).values()) == 20, "everything committed")
        assert worker.stop()[0] == 0, worker.log.read_text()


def test_a_worker_without_topics_says_so(environment: dict[str, str], tmp_path: Path) -> None:
    with embedding(environment, tmp_path, NEARDUP_TOPIC_PREFIX="nobody-made-these") as worker:
        assert worker.process.wait(timeout=LATE_SECONDS) == 2
        assert "`neardup topics create` makes it" in worker.log.read_text()
