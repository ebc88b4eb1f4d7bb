"""The workers of one schedule, as real processes.

They kill themselves, at the points that the schedule names, and are started again here with what faults are left.
Everything else that ends a worker is noted.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError
from redis import Redis

from neardup.pipeline.log.records import Record, Removed, key_of
from neardup.pipeline.settings import Settings
from neardup.workers.kafka.log import Tail, encode, last_envelope
from neardup.workers.kafka.topics import create_topics, open_admin, topic_names
from neardup.workers.prove.asks import group_of
from tests.faults.child import ChildOrder
from tests.faults.content import READABLE, payload, row
from tests.faults.lane import Lane
from tests.faults.schedule import SCANN_ROWS, Action, Edit, Event, Fault, Put, Row, Schedule
from tests.faults.worker import PARTITIONS, Order
from tests.faults.zygote import Start, Told
from tests.pipeline.scan.build import a_checkpoint
from tests.timing import BUSY, LATE_SECONDS, until

SPACE = a_checkpoint().space
DRAIN_SECONDS = 10.0 * BUSY
SETTLE_SECONDS = 2 * LATE_SECONDS
MOST_STARTS = 15
PAUSED_SECONDS = 2.5
"""Longer than a session: a leader so long paused is replaced."""


class NotSettled(Exception):
    """The workers did not get to the end of what there is."""


@dataclass(frozen=True)
class Sent:
    """A record of `media` and where it is."""

    action: Put
    partition: int
    offset: int


@dataclass
class _Worker:
    name: str
    pid: int = 0
    starts: int = 0
    started_at: float = 0.0
    faults_done: int = 0
    wanted: bool = True
    """It is started again when it ends."""
    asked_at: float | None = None
    """When it was told to end."""
    ended: threading.Event = field(default_factory=threading.Event)


class Cluster:
    """The workers of one schedule, with topics, a state folder and an empty Redis of their own."""

    def __init__(self, lane: Lane, schedule: Schedule, folder: Path, mutation: str = "") -> None:
        self._lane, self._schedule, self._folder, self._mutation = lane, schedule, folder, mutation
        folder.mkdir(parents=True)
        self.settings = Settings(
            kafka=lane.kafka,
            redis=lane.redis,  # type: ignore[arg-type]
            topic_prefix=f"{schedule.mode}-{schedule.seed}-{uuid.uuid4().hex[:8]}",
            media_partitions=PARTITIONS,
        )
        self.names = topic_names(self.settings.topic_prefix, SPACE)
        self.sent: list[Sent] = []
        self.rows: dict[int, str] = {}
        """Content of the rows that were written to the log, by offset."""
        self.wrong: list[str] = []
        """What ended otherwise than it should."""
        self._workers = {name: _Worker(name) for name in schedule.workers}
        self._given_up = False
        self._lock = threading.RLock()
        self._group = f"{self.settings.topic_prefix}.embed.{SPACE}"
        self._media = [TopicPartition(self.names.media, number) for number in range(PARTITIONS)]
        self._asks = [TopicPartition(self.names.asks, number) for number in range(PARTITIONS)]
        with open_admin(self.settings) as admin:
            create_topics(admin, SPACE, self.settings)
        with Redis.from_url(lane.redis) as redis:
            redis.flushdb()
        self._producer = KafkaProducer(bootstrap_servers=lane.kafka, acks="all", linger_ms=2)
        lane.heard_by(self._hear)
        for worker in self._workers.values():
            self._start(worker)

    @property
    def proves(self) -> bool:
        """Whether verdicts wait for proofs."""
        return self._schedule.proves

    @property
    def state_folder(self) -> Path:
        """Where match workers keep their state."""
        return self._folder / "state" / self.names.log

    @property
    def blobs(self) -> Path:
        """The folder of the blob store."""
        return self._folder / "blobs"

    @property
    def died_at(self) -> list[str]:
        """The points of the schedule's faults that have happened, each with whom it took."""
        happened = [
            fault
            for worker in self._workers.values()
            for fault in self._schedule.workers[worker.name][: self._fired(worker)]
        ]
        named = [fault.point if fault.whom == "worker" else f"{fault.point} ({fault.whom})" for fault in happened]
        return [
            *named,
            *(f"{one.point} ({'forks' if one.whom == 'all' else 'describes'})" for one in self.died_describing),
        ]

    @property
    def died_describing(self) -> list[Fault]:
        """The faults of processes that describe, or fork such, that have happened."""
        return [
            fault
            for name, faults in self._schedule.children.items()
            for fault in faults[: self._fired(self._workers[name], ".children")]
        ]

    def hand_overs(self, kind: str) -> int:
        """Return how often a worker of this kind may have given its partitions to another, or got them from one.

        That is, when one dies, and when one joins beside those that run.
        """
        starts = [worker.starts for worker in self._workers.values() if worker.name.startswith(kind)]
        return 2 * sum(starts) - len(starts) - 1 if starts else 0

    # -- what the schedule asks for --------------------------------------------------------------------------------

    def send(self, actions: Sequence[Action]) -> None:
        """Write records, and return when the broker has them."""
        futures = [(action, self._write(action)) for action in actions]
        self._producer.flush(timeout=60)
        for action, future in futures:
            told = future.get(timeout=60)
            if isinstance(action, Put):
                self.sent.append(Sent(action, told.partition, told.offset))
            elif isinstance(action, Row):
                self.rows[told.offset] = action.content

    def happen(self, event: Event) -> None:
        """Do something to the services, or to workers, and return when it is over."""
        what: Mapping[str, Callable[[], None]] = {
            "kafka-killed": lambda: self._restart("kafka", signal.SIGKILL),
            "kafka-stopped": lambda: self._restart("kafka", signal.SIGTERM),
            "redis-killed": lambda: self._restart("redis", signal.SIGKILL),
            "redis-lost": self._lose_redis,
            "replayed": self._replay,
            "match-paused": self._pause_match,
            "searcher-killed": self._kill_searchers,
        }
        if event:
            what[event]()

    def settle(self) -> None:
        """Return when everything that was sent has gone all the way.

        Raises:
            NotSettled: that takes too long.
        """
        deadline = time.monotonic() + SETTLE_SECONDS
        with (
            closing(KafkaConsumer(bootstrap_servers=self._lane.kafka, group_id=self._group)) as group,
            closing(KafkaConsumer(bootstrap_servers=self._lane.kafka, group_id=group_of(self.names.asks))) as provers,
            closing(Tail(self.settings, self.names.log)) as log,
            closing(Tail(self.settings, self.names.verdicts)) as verdicts,
            Redis.from_url(self._lane.redis) as redis,
        ):
            ends = group.end_offsets(self._media)
            while True:
                committed = {place: group.committed(place) or 0 for place in self._media}
                end = log.end() - 1
                applied = int(redis.get(f"nd:{{{SPACE}}}:applied") or -1)
                asked, answered = self._asked(provers)
                applied_all = committed == ends and applied == end == last_envelope(verdicts)
                if applied_all and asked == answered and (asked, end) == (self._asked(provers)[0], log.end() - 1):
                    return
                if self._lane.broken is not None:
                    raise NotSettled("nothing is heard of workers") from self._lane.broken
                if self._given_up or time.monotonic() > deadline:
                    raise NotSettled(
                        f"in {SETTLE_SECONDS:.0f} s: `media` is committed up to {sorted(committed.values())} of "
                        f"{sorted(ends.values())}, the last envelope is {last_envelope(verdicts)} of {end}, Redis "
                        f"stands at {applied}, and asks are answered up to {answered} of {asked}"
                    )
                time.sleep(0.05)

    def _asked(self, provers: KafkaConsumer) -> tuple[list[int], list[int]]:
        """Return where `asks` ends and up to where it is answered; both nothing if nobody proves."""
        if not self._schedule.proves:
            return [], []
        ends = provers.end_offsets(self._asks)
        return [ends[place] for place in self._asks], [provers.committed(place) or 0 for place in self._asks]

    def await_index(self, seconds: float = LATE_SECONDS) -> None:
        """Return when a match worker searches with ScaNN."""
        deadline = time.monotonic() + seconds
        while not any("index built" in path.read_text() for path in self._folder.glob("match-*.log")):
            if self._lane.broken is not None:
                raise NotSettled("nobody waits for an index") from self._lane.broken
            if time.monotonic() > deadline:
                raise NotSettled(f"no index was built in {seconds:.0f} s")
            time.sleep(0.1)

    def stop(self) -> None:
        """Ask all workers to end, which they must with 0 and in time."""
        self._end(list(self._workers.values()))
        self._producer.close(timeout=2)

    def kill(self) -> None:
        """End what is left, at once, and return when it has ended: workers of the next schedule have the same names."""
        with self._lock:
            for worker in self._workers.values():
                worker.wanted = False
        for worker in self._workers.values():
            if not worker.ended.is_set():
                with suppress(NotSettled):
                    self._await_start(worker)
                    _signal_group(worker.pid, signal.SIGKILL)
                    worker.ended.wait(LATE_SECONDS if self._lane.alive else 0.0)
        self._producer.close(timeout=0)

    # -- workers ---------------------------------------------------------------------------------------------------

    def _start(self, worker: _Worker) -> None:
        faults = self._schedule.workers[worker.name]
        worker.pid = 0
        worker.starts += 1
        worker.started_at = time.monotonic()
        worker.ended.clear()
        worker.asked_at = None
        kind = worker.name.partition("-")[0]
        order = Order(
            kind=kind,
            batches=self._schedule.batches,
            faults=faults[worker.faults_done :],
            first=worker.faults_done,
            fired=str(self._folder / f"{worker.name}.fired"),
            mutation=self._mutation,
            children=self._children(worker),
        )
        environment = {
            "NEARDUP_KAFKA": self._lane.kafka,
            "NEARDUP_REDIS": self._lane.redis,
            "NEARDUP_TOPIC_PREFIX": self.settings.topic_prefix,
            "NEARDUP_PROVE": str(self._schedule.proves).lower(),
            "NEARDUP_PROVE_SECONDS": str(self._schedule.prove_seconds),
            "NEARDUP_PROVE_OUTAGE_SECONDS": str(self._schedule.prove_seconds),
            "NEARDUP_MODEL": str(self._lane.folder / "model.safetensors"),
            "NEARDUP_THREADS": "2",
            "NEARDUP_STATE_FOLDER": str(self._folder / "state"),
            "NEARDUP_BLOBS": str(self.blobs),
            "NEARDUP_FETCH_ALLOW": f"file://{READABLE}",
            "NEARDUP_SNAPSHOT_RECORDS": str(self._schedule.snapshot_records),
            "NEARDUP_INDEX": self._schedule.mode,
            "NEARDUP_SCANN_FROM": str(SCANN_ROWS),
        }
        self._lane.start_worker(Start(worker.name, order, environment, str(self._folder / f"{worker.name}.log")))

    def _children(self, worker: _Worker) -> ChildOrder | None:
        faults = self._schedule.children.get(worker.name)
        return None if faults is None else ChildOrder(faults, str(self._folder / f"{worker.name}.children"))

    def _hear(self, told: Told) -> None:
        with self._lock:
            worker = self._workers.get(told.name)
            if worker is None:
                return
            if told.code is None:
                worker.pid = told.pid
            elif told.pid == worker.pid:
                self._ended(worker, told.code)

    def _ended(self, worker: _Worker, code: int) -> None:
        fired = self._fired(worker)
        by_fault = code == -signal.SIGKILL and fired > worker.faults_done
        worker.faults_done = fired
        if worker.wanted:
            if not by_fault:
                self.wrong.append(f"{worker.name} ended by itself with {code}")
            if worker.starts < MOST_STARTS:
                self._start(worker)
                return
            self.wrong.append(f"{worker.name} is not started again")
            self._given_up = True
        elif worker.asked_at is not None and not by_fault:
            seconds = time.monotonic() - worker.asked_at
            if code != 0 or seconds > DRAIN_SECONDS:
                self.wrong.append(
                    f"{worker.name} ended with {code} {seconds:.1f} s after SIGTERM, which came "
                    f"{worker.asked_at - worker.started_at:.1f} s after its start"
                )
        worker.ended.set()

    def _fired(self, worker: _Worker, suffix: str = ".fired") -> int:
        path = self._folder / (worker.name + suffix)
        return len(path.read_text().split()) if path.exists() else 0

    def _end(self, workers: Sequence[_Worker]) -> None:
        for worker in workers:
            with self._lock:  # from here on nobody starts it again
                worker.wanted = False
            self._await_start(worker)
            with self._lock:
                worker.asked_at = time.monotonic()
                if not worker.ended.is_set():
                    with suppress(ProcessLookupError):
                        os.kill(worker.pid, signal.SIGTERM)
        for worker in workers:
            if not self._await_end(worker, 2 * DRAIN_SECONDS):
                self.wrong.append(f"{worker.name} has not ended {2 * DRAIN_SECONDS:.0f} s after SIGTERM")
                _signal_group(worker.pid, signal.SIGKILL)

    def _await_end(self, worker: _Worker, seconds: float) -> bool:
        """Return whether it ended in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if worker.ended.wait(0.2):
                return True
            if self._lane.broken is not None:
                raise NotSettled(f"nobody waits for the end of {worker.name}") from self._lane.broken
        return False

    def _await_start(self, worker: _Worker) -> None:
        deadline = time.monotonic() + LATE_SECONDS
        while not worker.pid:
            if self._lane.broken is not None:
                raise NotSettled(f"nothing is heard of {worker.name}") from self._lane.broken
            if time.monotonic() > deadline:
                raise NotSettled(f"{worker.name} has not started in {LATE_SECONDS:.0f} s")
            time.sleep(0.01)

    # -- events ----------------------------------------------------------------------------------------------------

    def _write(self, action: Action) -> Any:
        if isinstance(action, Put):
            value, headers = payload(action.content) if action.content else (None, [])
            return self._producer.send(self.names.media, value, action.key, headers)
        record: Record
        if isinstance(action, Edit):
            record = action.change
        else:
            record = row(action.content, action.item) if isinstance(action, Row) else Removed(id=action.item)
        return self._producer.send(self.names.log, encode(record), key_of(record).encode(), partition=0)

    def _restart(self, name: str, number: signal.Signals) -> None:
        process = self._lane.services.running[name]
        os.kill(process.pid, number)
        until(  # the last thread to go closes the port
            lambda: not process.alive and _threads(process.pid) <= 1, f"{name} has not ended by {number.name}"
        )
        self._lane.services.start()

    def _lose_redis(self) -> None:
        with Redis.from_url(self._lane.redis) as redis:
            redis.flushdb()

    def _replay(self) -> None:
        """Have all of `media` read again, from its first offset on."""
        embedders = [worker for worker in self._workers.values() if worker.name.startswith("embed")]
        self._end(embedders)
        beginning = {place: OffsetAndMetadata(0, "", -1) for place in self._media}
        deadline = time.monotonic() + 15
        with closing(KafkaConsumer(bootstrap_servers=self._lane.kafka, group_id=self._group)) as group:
            while True:
                try:
                    group.commit(beginning)
                    break
                except KafkaError:  # while members that were killed still count
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)
        with self._lock:
            for worker in embedders:
                worker.wanted = True
                self._start(worker)

    def _pause_match(self) -> None:
        worker = self._workers["match-0"]
        with self._lock:
            pid = worker.pid
            if not pid or worker.ended.is_set():
                return
            _signal_group(pid, signal.SIGSTOP)
        time.sleep(PAUSED_SECONDS)
        _signal_group(pid, signal.SIGCONT)

    def _kill_searchers(self) -> None:
        """Kill the processes that search with ScaNN, or build, for a match worker."""
        workers = {str(worker.pid) for worker in self._workers.values() if worker.name.startswith("match")}
        for status in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                parent = status.read_text().rpartition(")")[2].split()[1]
                if parent in workers and b"scann_" in status.with_name("cmdline").read_bytes():
                    os.kill(int(status.parent.name), signal.SIGKILL)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)


def _threads(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/task").iterdir()))
    except FileNotFoundError:
        return 0
