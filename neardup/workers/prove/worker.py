"""The prove worker: pairs that the match worker asks about in, proofs out to the log.

    neardup worker prove --port 9406

Stateless; as many as one likes share the partitions of `asks`. An offset is committed once the log has the answer, so
after a crash some are answered twice, and the second answer has no effect. Each ask gets an answer, "none" where a
picture is not stored or the proof fails: an item waits for nothing that never comes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Protocol

from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.log.proofs import Asked, answer
from neardup.pipeline.log.records import Record
from neardup.pipeline.prove.finding import Proved
from neardup.pipeline.settings import Settings, usable_cores
from neardup.workers.kafka.log import Appender
from neardup.workers.kafka.topics import check_topics, open_admin, topic_names
from neardup.workers.prove.asks import Asks, Taken, group_of, join
from neardup.workers.prove.pairs import pair_prover
from neardup.workers.run import tracing
from neardup.workers.run.fault_points import reached
from neardup.workers.run.lag import watch_lag
from neardup.workers.run.telemetry import PROOFS

logger = logging.getLogger(__name__)
_EACH = 4
"""Items that each thread is given at once: then few wait for one that takes long."""
_WAIT_SECONDS = 0.2
_STEP_SECONDS = 1.0
"""Items that were not begun by then are for the next step."""


class Log(Protocol):
    """As `kafka.log.Appender`."""

    def append(self, records: Sequence[Record], traces: Sequence[str] = ()) -> list[int]: ...

    def close(self) -> None: ...


class ProveWorker:
    """See `runner.Worker`.

    Args:
        prove: returns a proof and its finding for each ask of an item; called in threads.
    """

    def __init__(
        self, asks: Asks, log: Log, prove: Callable[[Asked], list[tuple[Proved | None, str]]], threads: int
    ) -> None:
        self._asks = asks
        self._log = log
        self._prove = prove
        self._most = _EACH * threads
        self._left: list[Taken] = []
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="prove")

    def step(self) -> None:
        """Prove some items for about a second, and commit them once the log has the answers."""
        work = [*self._left, *self._asks.take(self._most - len(self._left), 0.0 if self._left else _WAIT_SECONDS)]
        if not work:
            return
        until = time.monotonic() + _STEP_SECONDS

        def prove(taken: Taken) -> list[tuple[Proved | None, str]] | None:
            return None if time.monotonic() > until else self._prove(taken.asked)

        with tracing.span("prove", (one.traceparent for one in work), items=len(work)):
            found = list(zip(work, self._pool.map(prove, work), strict=True))
        self._left = [one for one, proofs in found if proofs is None]
        answered = [(one, proofs) for one, proofs in found if proofs is not None]
        reached("proved")
        records = [answer(one.asked, [proved for proved, _ in proofs]) for one, proofs in answered]
        offsets = self._log.append(records, [one.traceparent for one, _ in answered])
        reached("appended")
        for (one, _), offset in zip(answered, offsets, strict=True):
            if one.traceparent:
                logger.info("item proved offset=%d trace_id=%s", offset, tracing.trace_id(one.traceparent))
        for _, finding in (pair for _, proofs in answered for pair in proofs):
            PROOFS.labels(finding).inc()
        self._asks.done([one for one, _ in answered])

    def ready(self) -> bool:
        """Return whether the group has taken this worker in."""
        return self._asks.ready()

    def drain(self, seconds: float) -> None:  # noqa: ARG002
        """Commit what is answered; each step ends with all of it in the log, and what waits is for others."""
        self._asks.commit()
        logger.info("prove worker drained")

    def close(self) -> None:
        """Let go of everything; what is not committed will be answered again."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._asks.close()
        self._log.close()


def connector(settings: Settings) -> Callable[[], ProveWorker]:
    """Return what connects a prove worker, for `runner.run_worker`.

    Raises:
        ConfigError: the model cannot be used, or the blob store, or the topics.
    """
    space = load_checkpoint(settings.model).space
    names = topic_names(settings.topic_root, space)
    threads = min(settings.worker_threads, usable_cores())
    prove = pair_prover(settings)
    watch_lag(settings, names.asks, group_of(names.asks))

    def connect() -> ProveWorker:
        with open_admin(settings) as admin:
            check_topics(admin, space, settings)
        with ExitStack() as undo:
            asks = undo.enter_context(closing(join(settings, names.asks)))
            log = undo.enter_context(closing(Appender(settings, names.log)))
            worker = ProveWorker(asks, log, prove, threads)
            undo.pop_all()
            return worker

    return connect
