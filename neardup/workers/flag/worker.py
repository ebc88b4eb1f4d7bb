"""The flag worker: writes verdicts and dead letters to Redis, and has the files of what was taken down erased.

    neardup worker flag

Where it stands is kept in Redis itself, written in the same step as the flags: a batch that is written twice changes
nothing, and a Redis that lost what it held is filled again from the first envelope on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing

from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.errors import ConfigError
from neardup.pipeline.log.changes import Reviewed
from neardup.pipeline.log.records import NOTHING, Changed, Envelope, Event, Redecided, RemovedEvent, Rolling, Verdict
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.interface import FlagStore, ReviewQueue
from neardup.pipeline.store.redis import RedisStore, open_store
from neardup.pipeline.types import Decision
from neardup.workers.dead_letters.letters import Noting
from neardup.workers.flag.erase import Gone, erase, gone
from neardup.workers.kafka.log import Tail, last_envelope, locate, read_envelopes
from neardup.workers.kafka.presence import Presence
from neardup.workers.kafka.spaces import Gate
from neardup.workers.kafka.topics import check_topics, open_admin, topic_names
from neardup.workers.run import telemetry, tracing
from neardup.workers.run.fault_points import reached
from neardup.workers.run.lag import Place, watch_lag

logger = logging.getLogger(__name__)
BATCH_ENVELOPES = 256
_WAIT_SECONDS = 0.2
_COUNT_SECONDS = 5.0


class FlagWorker:
    """See `runner.Worker`.

    Args:
        erase: removes the files of items that were taken down; called before the store notes it, maybe repeatedly.
        clock: seconds since 1970.
        letters: what notes dead letters, once what waited at the start is written: takedowns are among that.
        place: kept right, for others to see.
        presence: closed with the worker.
        serves: whether the space serves. One that stands by is filled with what came long ago: delays say nothing then.
    Raises:
        ConfigError: the store is ahead of the verdicts: it holds those of another log.
    """

    def __init__(
        self,
        verdicts: Tail,
        store: FlagStore,
        erase: Callable[[Gone], object] = lambda _gone: None,
        clock: Callable[[], float] = time.time,
        letters: Noting | None = None,
        place: Place | None = None,
        presence: Presence | None = None,
        serves: Callable[[], bool] = lambda: True,
    ) -> None:
        self._presence, self._serves = presence, serves
        self._verdicts = verdicts
        self._letters = letters
        self._place = place or Place()
        self._store = store
        self._erase = erase
        self._clock = clock
        self._after = NOTHING
        self._caught_up_at = 0
        self._counted_at = float("-inf")
        self._find_place()

    def step(self) -> None:
        """Write the next batch, or see whether Redis still holds the last."""
        fetched = self._verdicts.poll(_WAIT_SECONDS, BATCH_ENVELOPES)
        envelopes = read_envelopes(fetched)
        started = time.monotonic()
        if envelopes:
            reached("polled")
            self._erase(gone(envelopes))
        reviews = list(self._reviews(envelopes))  # before the store knows of them
        if envelopes:
            with tracing.span("flag", (one.traceparent for one in fetched), envelopes=len(envelopes)):
                applied = self._store.apply(envelopes, self._after)
        else:
            applied = self._store.apply(envelopes, self._after)
        if applied is None:
            logger.warning("the store lost what it held, it is filled again; was at offset=%d", self._after)
            telemetry.FLAG_REPLAYS.inc()
            self._find_place()
            if self._letters is not None:
                self._letters.begin()
        elif envelopes:
            reached("flagged")
            telemetry.STAGE_SECONDS.labels("flag").observe(time.monotonic() - started)
            self._after = max(self._after, envelopes[-1].offset)
            new = envelopes[len(envelopes) - applied :]
            self._count(new)
            for offset, decision, outcome in reviews:
                if new and offset >= new[0].offset:
                    telemetry.REVIEWS.labels(decision, outcome).inc()
            for one, envelope in zip(fetched, envelopes, strict=True):
                if one.traceparent:
                    trace_id = tracing.trace_id(one.traceparent)
                    logger.info("item is in Redis offset=%d trace_id=%s", envelope.offset, trace_id)
        if self._letters is not None and self._verdicts.position() >= self._caught_up_at:
            self._letters.step()
        self._place.next = self._verdicts.position()
        if time.monotonic() - self._counted_at >= _COUNT_SECONDS:
            self._counted_at = time.monotonic()
            for queue in ReviewQueue:
                telemetry.REVIEWS_WAITING.labels(queue.value).set(self._store.queued(queue))

    def ready(self) -> bool:
        """Return whether it is connected, which it is from the start."""
        return True

    def drain(self, seconds: float) -> None:
        """Do nothing: each step ends with all of its batch written."""

    def close(self) -> None:
        """Disconnect."""
        self._verdicts.close()
        if self._presence is not None:
            self._presence.close()
        if self._letters is not None:
            self._letters.close()
        if isinstance(self._store, RedisStore):
            self._store.close()

    def _find_place(self) -> None:
        self._after = self._store.applied()
        last = last_envelope(self._verdicts)
        if self._after > last:
            raise ConfigError(
                f"Redis stands for offset {self._after} and topic {self._verdicts.topic} ends with {last}: "
                "its flags are of another log; `neardup rebuild flags` replaces them"
            )
        self._caught_up_at = self._verdicts.end()
        self._verdicts.seek(locate(self._verdicts, self._after + 1))
        self._place.next = self._verdicts.position()

    def _reviews(self, envelopes: Sequence[Envelope]) -> Iterator[tuple[int, str, str]]:
        """Yield offset, what had been decided of the pair, and the outcome of each review that took effect."""
        said: dict[str, Verdict] = {}
        for envelope in envelopes:
            for event in envelope.events:
                if isinstance(event, Verdict | Rolling | Redecided):
                    verdict = event if isinstance(event, Verdict) else event.verdict
                    said[verdict.id] = verdict
                elif isinstance(event, Changed) and isinstance(event.record, Reviewed) and event.refused_for is None:
                    review = event.record
                    decision = _decided(said.get(review.item) or self._store.verdict(review.item), review)
                    yield envelope.offset, decision.value, review.outcome.value

    def _count(self, new: Sequence[Envelope]) -> None:
        telemetry.FLAG_APPLIED.set(self._after)
        for event in (event for envelope in new for event in envelope.events):
            if outcome := _outcome(event):
                telemetry.ITEMS_OUT.labels("flag", outcome).inc()
        if self._verdicts.position() <= self._caught_up_at or not self._serves():
            return  # what waited while this worker was down, or is written again
        now = self._clock()
        for envelope in new:
            since = envelope.produced_ms or envelope.timestamp_ms
            if since and any(_is_awaited(event) for event in envelope.events):
                telemetry.END_TO_END_SECONDS.observe(max(0.0, now - since / 1000))


def _is_awaited(event: Event) -> bool:
    return isinstance(event, Rolling) or (isinstance(event, Verdict) and not event.quiet)


def _decided(verdict: Verdict | None, review: Reviewed) -> Decision:
    """Return what a verdict says of the pair that was reviewed."""
    matches = verdict.matches if verdict is not None else ()
    pair = (m.decision for m in matches if (m.bank, m.reference) == (review.bank, review.reference))
    return next(pair, Decision.DISTINCT)


def _outcome(event: Event) -> str:
    """Return what an event makes of an item in Redis, "" if nothing new; of a live video what is flagged counts."""
    if isinstance(event, Verdict):
        return "history" if event.quiet else event.decision.value
    if isinstance(event, Rolling):
        return event.flagged.decision.value if event.flagged is not None else ""
    return "removed" if isinstance(event, RemovedEvent) else ""


def connector(settings: Settings) -> Callable[[], FlagWorker]:
    """Return what connects a flag worker, for `runner.run_worker`.

    Raises:
        ConfigError: the model cannot be used, or the topics.
    """
    space = load_checkpoint(settings.model).space
    names = topic_names(settings.topic_root, space)
    blobs, gate = Blobs(settings.blobs_url), Gate(settings, space).start()

    def erase_if_serving(what: Gone) -> None:
        """Erase; but a log that is being filled repeats what was long undone, such as the deletion of a bank."""
        if what != Gone() and gate.certainly_serves():
            erase(blobs, what)

    watch_lag(settings, names.verdicts, place := Place())

    def connect() -> FlagWorker:
        with open_admin(settings) as admin:
            check_topics(admin, space, settings)
        with ExitStack() as undo:
            verdicts = undo.enter_context(closing(Tail(settings, names.verdicts)))
            store = undo.enter_context(closing(open_store(settings, space)))
            letters = undo.enter_context(
                closing(Noting(settings, store, erase=lambda ids: erase_if_serving(Gone(ids))))
            )
            presence = undo.enter_context(closing(Presence(settings, names, "flag")))
            worker = FlagWorker(
                verdicts,
                store,
                erase_if_serving,
                letters=letters,
                place=place,
                presence=presence,
                serves=gate.seems_to_serve,
            )
            undo.pop_all()
            return worker

    return connect
