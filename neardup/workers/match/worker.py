"""The match worker: applies the log to the state, and publishes one envelope for each of its offsets.

    neardup worker match

Every match worker *follows*: it applies the log as far as verdicts are published, with the verdicts that were given
where its own differ. One of them leads: having followed to the last envelope, it applies on and publishes. So a
restart, a standby and a deposed leader are the same thing, and nothing is published twice: whoever leads first shuts
out its predecessor and only then looks for the last envelope.
"""

from __future__ import annotations

import gc
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from prometheus_client import Counter as PrometheusCounter

from neardup.pipeline.embed.checkpoint import Checkpoint, load_checkpoint
from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.log.records import NOTHING, Envelope, Event, Record, Rolling, Verdict
from neardup.pipeline.match.apply.make import make_state, read_calibration
from neardup.pipeline.match.apply.snapshot import VECTORS, Snapshots
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.decide.calibration import Calibration
from neardup.pipeline.match.live.videos import LiveRules
from neardup.pipeline.settings import Settings
from neardup.pipeline.types import Decision
from neardup.workers.kafka.leader import Leadership, Publisher
from neardup.workers.kafka.log import Appender, Tail
from neardup.workers.kafka.topics import check_topics, open_admin, topic_names
from neardup.workers.match import saver
from neardup.workers.match.expiry import Expiry
from neardup.workers.match.follower import Batch, Follower
from neardup.workers.match.index_metrics import IndexMetrics
from neardup.workers.match.saver import Saver, SnapshotPolicy
from neardup.workers.run import fault_points, telemetry, tracing
from neardup.workers.run.claim import claim_folder
from neardup.workers.run.closing import close_all
from neardup.workers.run.disk import watch_disk
from neardup.workers.run.lag import Place, watch_lag

logger = logging.getLogger(__name__)
BATCH_RECORDS = 256
CLOSE_SECONDS = 2.0
"""For leaving the group and disconnecting, altogether."""
_SET_ASIDE_ROWS = 16_384


class Leads(Protocol):
    """See `leader.Leadership`."""

    def held(self) -> bool: ...

    def close(self) -> None: ...


class Publishes(Protocol):
    """See `leader.Publisher`."""

    def publish(self, envelopes: Sequence[Envelope], traces: Mapping[int, str]) -> None: ...

    def close(self) -> None: ...


class Appends(Protocol):
    """See `log.Appender`."""

    def append(self, records: Sequence[Record]) -> list[int]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Connections:
    """What a match worker talks to.

    Attributes:
        join: joins the group of those who may lead. publisher: shuts out the one before.
        appender: what writes to the log that proofs did not come; None if nothing waits for proofs.
    """

    log: Tail
    verdicts: Tail
    join: Callable[[], Leads]
    publisher: Callable[[], Publishes]
    appender: Callable[[], Appends] | None = None


class MatchWorker:
    """One match worker; see `runner.Worker`.

    Args:
        state: empty, over the vector file of the snapshots' folder; closed with the worker.
        dimension, space: of the descriptors in the log.
        place: kept right, for others to see.
        prove_seconds, prove_outage_seconds: see `expiry.Expiry`.
        max_unwritten_bytes: of vectors that a full disk did not take; beyond, another had better lead.
        reached: called with the name of each point where a crash leaves things differently, for tests.
    Raises:
        ConfigError: the log does not fit the snapshot: it begins after it, or ends before it.
    """

    def __init__(
        self,
        connections: Connections,
        state: State,
        snapshots: Snapshots,
        dimension: int,
        policy: SnapshotPolicy = saver.DEFAULT,
        clock: Callable[[], float] = time.monotonic,
        reached: Callable[[str], object] = fault_points.reached,
        max_unwritten_bytes: int = 2**30,
        place: Place | None = None,
        prove_seconds: float = 30.0,
        prove_outage_seconds: float = 900.0,
        space: str = "",
    ) -> None:
        self._connections = connections
        self._state = state
        self._clock = clock
        self._reached = reached
        self._max_unwritten_bytes = max_unwritten_bytes
        self._leadership: Leads | None = None
        self._publisher: Publishes | None = None
        self._appender: Appends | None = None
        self._expiry = Expiry(state, self._append, prove_seconds, prove_outage_seconds, clock)
        self._last_before = NOTHING
        self._saver = Saver(state, snapshots, policy, clock, reached)
        self._applied = self._saver.saved
        self._place = place or Place()
        self._place.next = self._applied + 1
        self._index_metrics = IndexMetrics()
        self._set_aside = -_SET_ASIDE_ROWS  # at the start, all that was imported
        self._spare_collector()
        self._check_log()
        tails = connections.log, connections.verdicts
        self._follower = Follower(*tails, self._applied, dimension, BATCH_RECORDS, space)

    @property
    def applied(self) -> int:
        """The offset that the state stands for."""
        return self._applied

    @property
    def leads(self) -> bool:
        """Whether it publishes."""
        return self._publisher is not None and self._applied >= self._last_before

    def step(self) -> None:
        """Follow or lead for up to a batch of records.

        Raises:
            DependencyError: Kafka failed, or the disk has been full for so long that memory would be next.
        """
        self._check_disk()
        self._take_or_leave()
        self._state.settle(self._applied, self.leads)
        if self.leads:
            self._lead_if_ready()
        else:
            self._follow()
        self._saver.step(self._applied)
        self._place.next = self._applied + 1
        self._spare_collector()

    def ready(self) -> bool:
        """Return whether it leads, or could at once."""
        return self._leadership is not None

    def drain(self, seconds: float) -> None:
        """Let another lead, then write down the state, so that the next start is quick; all of it is published."""
        end = self._clock() + seconds
        self._leave(min(seconds / 4, CLOSE_SECONDS))
        self._saver.finish((end - self._clock()) / 2)
        if self._applied > self._saver.saved:
            self._saver.save_within(self._applied, end - self._clock())

    def close(self) -> None:
        """Leave the group and disconnect, in a bounded time."""
        self._saver.finish(0)
        connections = self._connections.log, self._connections.verdicts
        close_all((self._publisher, self._leadership, self._appender, *connections), CLOSE_SECONDS)
        self._state.close()
        telemetry.MATCH_LEADS.set(0)

    def _check_disk(self) -> None:
        unwritten = self._state.unwritten_bytes
        telemetry.UNWRITTEN_BYTES.set(unwritten)
        if unwritten > self._max_unwritten_bytes:
            raise DependencyError(
                f"the disk with the state is full, and memory holds {unwritten} bytes that it should take "
                f"(NEARDUP_MAX_UNWRITTEN_BYTES is {self._max_unwritten_bytes})"
            )

    def _leave(self, seconds: float) -> None:
        """Leave the group, so that another takes over at once."""
        leaving = self._publisher, self._leadership
        self._publisher = self._leadership = None
        close_all(leaving, seconds)

    # -- who leads -----------------------------------------------------------------------------------------------

    def _take_or_leave(self) -> None:
        if self._leadership is None:
            return
        held = self._leadership.held()
        if held and self._publisher is None:
            self._publisher = self._connections.publisher()
            self._last_before = self._follower.last_published()
            self._reached("took-over")
            logger.info("leads applied=%d last_envelope=%d", self._applied, self._last_before)
        elif not held and self._publisher is not None:
            logger.warning("leads no more applied=%d", self._applied)
            self._publisher.close()
            self._publisher = None
            self._follower.find_verdicts()
        telemetry.MATCH_LEADS.set(self.leads)

    def _check_log(self) -> None:
        log, following = self._connections.log, self._applied + 1
        begin, end = log.begin(), log.end()
        if begin > following:
            raise ConfigError(
                f"topic {log.topic} begins at offset {begin} and the newest snapshot ends before {following}: "
                "the records between them are lost; restore a newer snapshot"
            )
        if end < following:
            raise ConfigError(
                f"topic {log.topic} ends before offset {end} and the newest snapshot before {following}: "
                "this is not the log that it was taken of; name another folder in NEARDUP_STATE_FOLDER"
            )

    # -- following -----------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Apply what is published; with nothing left of it, be ready to lead."""
        batch = self._follower.published()
        if self._leadership is None and self._follower.caught_up:
            self._leadership = self._connections.join()
            logger.info("follows applied=%d", self._applied)
        if batch is not None:
            batch.compare(self._apply(batch))

    # -- leading -------------------------------------------------------------------------------------------------

    def _lead_if_ready(self) -> None:
        """Lead, unless a search would have to wait: then verdicts wait, and this stays the leader."""
        if self._state.ready():
            self._expiry.step()
            self._lead()
        else:
            self._index_metrics.update(self._state.parts().index.status())

    def _lead(self) -> None:
        assert self._publisher is not None
        batch = self._follower.records()
        if batch is None:
            return
        if (following := self._follower.following()) is not None:
            self._state.look_ahead(following.entries)
        envelopes = batch.envelopes(self._apply(batch))
        self._reached("applied")
        started = self._clock()
        traces = {one.offset: one.traceparent for one in batch.records if one.traceparent}
        with tracing.span("publish", traces.values(), envelopes=len(envelopes)):
            self._publisher.publish(envelopes, traces)
        telemetry.STAGE_SECONDS.labels("publish").observe(self._clock() - started)
        decisions = Counter((_counter(event), _decision(event)) for one in envelopes for event in one.events)
        for (counter, decision), count in decisions.items():
            if decision is not None:
                counter.labels(decision.value).inc(count)
        for offset, traceparent in traces.items():
            logger.info("item decided offset=%d trace_id=%s", offset, tracing.trace_id(traceparent))
        self._reached("published")

    def _append(self, records: Sequence[Record]) -> None:
        if self._connections.appender is not None:
            self._appender = self._appender or self._connections.appender()
            self._appender.append(records)

    # -- both ----------------------------------------------------------------------------------------------------

    def _apply(self, batch: Batch) -> list[Envelope]:
        """Apply records, passing over those that are none, and return the envelopes of the others."""
        started = self._clock()
        entries, too_long = batch.entries, self._state.findings.too_long
        with tracing.span("match", (one.traceparent for one in batch.records), records=len(batch.records)):
            envelopes = self._state.apply(entries, batch.published)
        self._applied = batch.records[-1].offset
        telemetry.STAGE_SECONDS.labels("match").observe(self._clock() - started)
        telemetry.MATCH_APPLIED.set(self._applied)
        telemetry.MATCH_CANDIDATES_LEFT_OUT.inc(self._state.findings.too_long - too_long)
        telemetry.MATCH_ROWS.set(len(self._state.rows))
        telemetry.MATCH_ITEMS.set(len(self._state.items))
        telemetry.MATCH_PENDING.set(self._state.undecided.waiting)
        telemetry.MATCH_PENDING_HISTORY.set(self._state.undecided.waiting_later)
        telemetry.MATCH_LATER_ASKS.set(self._state.later.waiting)
        telemetry.MATCH_PENDING_SECONDS.set(self._expiry.oldest_seconds)
        self._index_metrics.update(self._state.parts().index.status())
        return envelopes

    def _spare_collector(self) -> None:
        """Keep Python's collector from looking through all items, which takes a second at a million of them."""
        if len(self._state.rows) - self._set_aside >= _SET_ASIDE_ROWS:
            gc.collect()
            gc.freeze()
            self._set_aside = len(self._state.rows)


def connector(settings: Settings) -> Callable[[], MatchWorker]:
    """Return what connects a match worker, for `runner.run_worker`.

    Raises:
        ConfigError: the model cannot be used, or the topics.
    """
    checkpoint = load_checkpoint(settings.model)
    calibration = read_calibration(checkpoint, settings.calibration)
    names = topic_names(settings.topic_root, checkpoint.space)
    folder = claim_folder(settings.state_path / names.log)
    watch_disk("state", folder)
    watch_lag(settings, names.log, place := Place())

    def connect() -> MatchWorker:
        with open_admin(settings) as admin:
            check_topics(admin, checkpoint.space, settings)
        with ExitStack() as undo:
            log = undo.enter_context(closing(Tail(settings, names.log)))
            verdicts = undo.enter_context(closing(Tail(settings, names.verdicts)))
            state = undo.enter_context(closing(open_state(checkpoint, calibration, settings, folder)))
            worker = MatchWorker(
                Connections(
                    log,
                    verdicts,
                    lambda: Leadership(settings, names),
                    lambda: Publisher(settings, names),
                    lambda: Appender(settings, names.log),
                ),
                state,
                Snapshots(folder, fault_points.reached),
                checkpoint.architecture.dimension,
                SnapshotPolicy(settings.snapshot_records, settings.snapshot_seconds),
                max_unwritten_bytes=settings.max_unwritten_bytes,
                place=place,
                prove_seconds=settings.prove_seconds,
                prove_outage_seconds=settings.prove_outage_seconds,
                space=checkpoint.space,
            )
            undo.pop_all()
            return worker

    return connect


def open_state(
    checkpoint: Checkpoint,
    calibration: Calibration,
    settings: Settings,
    folder: Path,
    similar: Literal["kept", "searched"] = "kept",
    owner: bool = True,
) -> State:
    """Return an empty state over the vector file of a folder; a damaged file is put aside, the log holds it all.

    Args:
        similar, owner: see `make_state`.
    """
    live = LiveRules(
        settings.live_idle_seconds,
        settings.live_max_frames,
        settings.live_growth_seconds,
        settings.live_unsure_seconds,
    )
    path = folder / VECTORS
    try:
        VectorFile(path, checkpoint.architecture.dimension, checkpoint.space).close()
    except ConfigError as error:  # of the file alone: a wrong setting is no reason to put it aside
        if not path.exists():
            raise
        logger.error("vector file put aside path=%s error=%s", path, error)
        path.replace(path.with_name("vectors.damaged"))
    return make_state(
        checkpoint,
        calibration,
        settings.precision,
        live=live,
        folder=folder,
        kind=settings.index,
        scann_from=settings.scann_from,
        owner=owner,
        milvus=settings.milvus_options,
        similar=similar,
        asks=settings.prove,
        max_pending=settings.max_pending,
    )


def _counter(event: Event) -> PrometheusCounter:
    """Return what counts a verdict."""
    return telemetry.HISTORY_VERDICTS if isinstance(event, Verdict) and event.quiet else telemetry.VERDICTS


def _decision(event: Event) -> Decision | None:
    """Return what an event decides, of a live video what it flags."""
    if isinstance(event, Rolling):
        return event.flagged.decision if event.flagged is not None else None
    return event.decision if isinstance(event, Verdict) else None
