"""Prove workers against a real broker: asks in, answers in the log, each at least once whatever ends a worker."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from kafka import KafkaProducer

from neardup.pipeline.log.proofs import Ask, Asked, ItemProved
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.settings import Settings
from neardup.workers.kafka.log import Appender, encode
from neardup.workers.kafka.topics import TopicNames
from neardup.workers.prove.asks import AskGroup, join
from neardup.workers.prove.pairs import pair_prover
from neardup.workers.prove.worker import ProveWorker
from neardup.workers.run import fault_points
from neardup.workers.run.telemetry import ASKS_PASSED_OVER
from tests.integration.test_embed_worker import DECODE, environment, names, producer, read
from tests.pipeline.prove.test_pack import SHA, pack_of
from tests.pipeline.prove.test_prover import a_scene
from tests.timing import LATE_SECONDS, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
__all__ = ["environment", "names", "producer"]  # fixtures
PARTITIONS = 3


@pytest.fixture
def stored(settings: Settings, tmp_path: Path) -> Settings:
    """Settings whose blob store has packs of a reference, and of a copy of it."""
    made = settings.model_copy(update={"blobs": str(tmp_path / "blobs"), "threads": 2})
    blobs, scene = Blobs(made.blobs_url), a_scene(height=240, width=320)
    blobs.put_pack("", "reference", pack_of(scene), SHA.hex())
    blobs.put_pack("", "copy", pack_of(scene[:, 80:]), SHA.hex())
    return made


def asked(number: int, later: bool = False) -> Asked:
    ask = Ask(bank="seen", reference="reference" if number % 5 else "gone", offset=0, sha256=SHA)
    return Asked(id="copy", offset=number, sha256=SHA, asks=(ask,), later=later)


def send(producer: KafkaProducer, topic: str, *messages: Asked | bytes, partition: int | None = None) -> None:
    for number, one in enumerate(messages):
        value = one if isinstance(one, bytes) else encode(one)
        producer.send(topic, value, partition=number % PARTITIONS if partition is None else partition)
    producer.flush()


def answers(settings: Settings, names: TopicNames) -> list[ItemProved]:
    records = [DECODE(record.value) for record in read(settings, names.log)]
    return [record for record in records if isinstance(record, ItemProved)]


@contextmanager
def a_worker(settings: Settings, names: TopicNames, clock: Callable[[], float] = time.time) -> Iterator[ProveWorker]:
    group = join(settings, names.asks)
    group._clock = clock
    worker = ProveWorker(group, Appender(settings, names.log), pair_prover(settings), 2)
    with closing(worker):
        yield worker


def step_until(worker: ProveWorker, reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LATE_SECONDS
    while not reached() and time.monotonic() < deadline:
        worker.step()
    assert reached()


def test_asks_are_answered_in_the_log_and_what_is_no_ask_is_passed_over(
    stored: Settings, names: TopicNames, producer: KafkaProducer
) -> None:
    malformed = ASKS_PASSED_OVER.labels("malformed")._value.get()
    send(producer, names.asks, *(asked(number) for number in range(20)), b"no ask", encode(Asked(id="a", offset=0)))
    with a_worker(stored, names) as worker:
        step_until(worker, lambda: len(answers(stored, names)) >= 20)
        worker.drain(1)
    found = {one.offset: one.pairs[0].proved for one in answers(stored, names)}
    assert sorted(found) == list(range(20))
    assert {number for number, proved in found.items() if proved is None} == {0, 5, 10, 15}
    assert all(proved is None or proved.finding.value == "copy" for proved in found.values())
    assert ASKS_PASSED_OVER.labels("malformed")._value.get() == malformed + 2
    with a_worker(stored, names) as again:  # all of it is committed, and so is what was passed over
        step_until(again, again.ready)
        for _ in range(10):
            again.step()
    assert len(answers(stored, names)) == 20


def test_what_was_asked_a_day_ago_is_passed_over(stored: Settings, names: TopicNames, producer: KafkaProducer) -> None:
    expired = ASKS_PASSED_OVER.labels("expired")._value.get()
    send(producer, names.asks, asked(1))
    with a_worker(stored, names, lambda: time.time() + 24 * 3600) as worker:
        step_until(worker, lambda: ASKS_PASSED_OVER.labels("expired")._value.get() == expired + 1)
    assert answers(stored, names) == []


def test_later_work_goes_after_other_work(stored: Settings, names: TopicNames, producer: KafkaProducer) -> None:
    send(producer, names.asks, *(asked(n, later=True) for n in range(3)), *(asked(n) for n in (8, 9)), partition=0)
    with closing(join(stored, names.asks)) as group:
        taken: list[int] = []
        deadline = time.monotonic() + LATE_SECONDS
        while len(taken) < 5 and time.monotonic() < deadline:
            taken += [one.asked.offset for one in group.take(5, 0.2)]
    assert taken == [8, 9, 0, 1, 2]


class Killed(BaseException):
    """What ends a worker at a point, with nothing after it."""


@pytest.mark.parametrize(("point", "twice"), [("proved", False), ("appended", True)])
def test_a_worker_that_is_killed_leaves_nothing_unanswered(
    stored: Settings,
    names: TopicNames,
    producer: KafkaProducer,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
    twice: bool,
) -> None:
    def kill(reached: str) -> None:
        if reached == point:
            raise Killed

    send(producer, names.asks, *(asked(number) for number in range(5)), partition=0)
    with a_worker(stored, names) as worker:
        monkeypatch.setattr(fault_points, "_listeners", [kill])
        with pytest.raises(Killed):
            step_until(worker, lambda: False)
    before = {one.offset for one in answers(stored, names)}
    assert bool(before) is twice
    monkeypatch.setattr(fault_points, "_listeners", [])
    with a_worker(stored, names) as worker:
        step_until(worker, lambda: {one.offset for one in answers(stored, names)[len(before) :]} == set(range(5)))
    counted = Counter(one.offset for one in answers(stored, names))
    assert counted == {number: 1 + (number in before) for number in range(5)}


@contextmanager
def proving(environment: dict[str, str], folder: Path, name: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "neardup.workers.cli.main", "--verbose", "worker", "prove", "--port", "0"]
    with (
        (folder / f"{name}.log").open("wb") as file,
        subprocess.Popen(command, env=environment, stderr=file) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def assigned(folder: Path, name: str) -> str:
    lines = (folder / f"{name}.log").read_text().splitlines()
    return next((line for line in reversed(lines) if "partitions assigned partitions=[" in line), "")


def test_two_workers_share_the_work_and_sigterm_drains(
    stored: Settings, names: TopicNames, producer: KafkaProducer, environment: dict[str, str], tmp_path: Path
) -> None:
    environment |= {"NEARDUP_BLOBS": stored.blobs, "NEARDUP_LOG_FORMAT": "text"}
    with proving(environment, tmp_path, "one") as one, proving(environment, tmp_path, "two") as two:
        until(lambda: "=[]" not in (assigned(tmp_path, "one") or "=[]"))
        until(lambda: "=[]" not in (assigned(tmp_path, "two") or "=[]"))
        send(producer, names.asks, *(asked(number) for number in range(40)))
        until(lambda: len({each.offset for each in answers(stored, names)}) == 40)
        for process in (one, two):
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(LATE_SECONDS) == 0
            assert time.monotonic() - began < LATE_SECONDS / 2
    for name in ("one", "two"):
        assert "prove worker drained" in (tmp_path / f"{name}.log").read_text()
    assert Counter(each.offset for each in answers(stored, names)) == Counter(range(40))


def test_a_group_that_is_not_asked_anything_is_ready(stored: Settings, names: TopicNames) -> None:
    with closing(join(stored, names.asks)) as group:
        assert isinstance(group, AskGroup)

        def joined() -> bool:
            group.take(1, 0.1)
            return group.ready()

        until(joined)
