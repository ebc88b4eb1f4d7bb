"""What Kafka and Redis hold when a run is over: everything that the checks look at, read with nothing running."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from neardup.pipeline.log.records import Described, Entry, Envelope, Verdict
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.interface import (
    AuditEntry,
    BankRow,
    FeedEntry,
    FlagStore,
    Queued,
    ReferenceRow,
    ReviewQueue,
)
from neardup.pipeline.store.redis import RedisStore
from neardup.workers.dead_letters.letters import Letter, read_letters
from neardup.workers.kafka.log import Fetched, Tail, read_entry, read_envelopes
from neardup.workers.kafka.topics import topic_names
from tests.faults.cluster import SPACE, Cluster, Sent
from tests.faults.schedule import Event
from tests.pipeline.scan.build import CELLS
from tests.timing import LATE_SECONDS

_MANY = 1_000_000
_BEGINNINGS: Mapping[Event, int] = {"replayed": 1, "kafka-killed": 2, "kafka-stopped": 2}
"""A worker that lost the broker connects anew, and may be given its partitions once more."""


@dataclass(frozen=True)
class People:
    """What people did, as a store shows it."""

    banks: Sequence[BankRow] = ()
    references: Sequence[ReferenceRow] = ()
    audit: Sequence[AuditEntry] = ()
    queue: Sequence[Sequence[Queued]] = ()


@dataclass(frozen=True)
class Flags:
    """What Redis holds.

    Attributes:
        verdicts: by item. members: by head, of those that have any.
    """

    applied: int
    feed: Sequence[FeedEntry]
    verdicts: Mapping[str, Verdict]
    members: Mapping[str, frozenset[str]]
    people: People = People()


@dataclass(frozen=True)
class Observed:
    """The end of a run.

    Attributes:
        sent: what the schedule put into `media`, with its place. rows: content by offset of the log.
        times: of the records of the log, by the broker, in milliseconds.
        files: names of what lies in the blob store.
        chances: how often a partition may have begun anew, by a worker that joined or left, by a replay or a lost
            broker: so often more may a dead letter stand there.
        died_describing: processes that describe which were killed; an item by which two of them died is put aside.
        wrong: what ended otherwise than it should.
        proves: whether verdicts waited for proofs.
    """

    sent: Sequence[Sent]
    rows: Mapping[int, str]
    log: Sequence[Entry]
    times: Sequence[int]
    envelopes: Sequence[Envelope]
    letters: Sequence[Letter]
    flags: Flags
    state_folder: Path
    files: frozenset[str]
    chances: int
    wrong: Sequence[str]
    proves: bool = False
    died_describing: int = 0


def observe(cluster: Cluster, events: Sequence[Event]) -> Observed:
    """Read what a cluster that was stopped has left, after these events."""
    settings = cluster.settings
    names = topic_names(settings.topic_prefix, SPACE)
    fetched = _read(settings, names.log)
    entries = [read_entry(one, CELLS * CELLS) for one in fetched]
    return Observed(
        sent=cluster.sent,
        rows=cluster.rows,
        log=[one for one in entries if isinstance(one, Entry)],
        times=[one.timestamp_ms for one in fetched],
        envelopes=read_envelopes(_read(settings, names.verdicts)),
        letters=list(read_letters(settings)),
        flags=_read_flags(settings.redis.get_secret_value()),
        state_folder=cluster.state_folder,
        files=frozenset(path.name for path in cluster.blobs.rglob("*") if path.is_file()),
        chances=cluster.hand_overs("embed")
        + 2 * sum(fault.whom == "all" for fault in cluster.died_describing)  # its worker starts again
        + sum(_BEGINNINGS.get(event, 0) for event in events),
        wrong=[*cluster.wrong, *(f"the log holds what is no record: {one}" for one in entries if isinstance(one, str))],
        proves=cluster.proves,
        died_describing=len(cluster.died_describing),
    )


def source(record: Described) -> tuple[int, int]:
    """Return where in `media` a record came from."""
    return record.source_partition, record.source_offset


def _read(settings: Settings, topic: str) -> list[Fetched]:
    """Return everything that is committed."""
    found: list[Fetched] = []
    with closing(Tail(settings, topic)) as tail:
        deadline, end = time.monotonic() + LATE_SECONDS, tail.end()
        while tail.position() < end:
            found += tail.poll(0.3, 5000)
            assert time.monotonic() < deadline, f"{topic}: {tail.position()} of {end} after {LATE_SECONDS:.0f} s"
    return found


def _read_flags(url: str) -> Flags:
    prefix = f"nd:{{{SPACE}}}:"
    with Redis.from_url(url, decode_responses=True) as client, closing(RedisStore(url, SPACE)) as store:
        keys = [key.removeprefix(prefix) for key in client.scan_iter(match=prefix + "*", count=1000)]
        items = [key.removeprefix("v:") for key in keys if key.startswith("v:")]
        heads = [key.removeprefix("members:") for key in keys if key.startswith("members:")]
        verdicts = {item: store.verdict(item) for item in items}
        return Flags(
            applied=store.applied(),
            feed=store.feed("", _MANY),
            verdicts={item: verdict for item, verdict in verdicts.items() if verdict is not None},
            members={head: store.members(head) for head in heads},
            people=of_people(store),
        )


def of_people(store: FlagStore) -> People:
    """Return what a store shows of banks, decisions and what waits for them."""
    banks = store.banks()
    references = [row for bank in banks for row in store.references(bank.name, 0, _MANY)]
    return People(
        tuple(banks),
        tuple(references),
        tuple(store.audit("", _MANY)),
        tuple(tuple(store.queue(0, _MANY, queue)) for queue in ReviewQueue),
    )
