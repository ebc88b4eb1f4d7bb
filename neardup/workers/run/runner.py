"""The skeleton that every worker process shares: signals, retries, drain, exit code, health.

A worker is made, stepped until SIGTERM or SIGINT, drained and closed. A step that fails because something outside
failed costs that worker: it is closed without drain, and a new one is made after a pause, for as long as it takes: a
process that ends would be started again to meet the same. /readyz says what is waited for. All other errors end the
process. While a worker is made there is nothing to drain: SIGTERM then ends the process at once.

    class Copier:
        def step(self) -> None: ...                  # a bounded piece of work, at most about a second
        def ready(self) -> bool: ...
        def drain(self, seconds: float) -> None: ... # finish or drop what is under way, and confirm it
        def close(self) -> None: ...

    run_worker("copier", Copier, host="127.0.0.1", port=9103)
"""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Callable
from typing import Protocol

from neardup.pipeline.errors import DependencyError
from neardup.workers.run import telemetry, tracing
from neardup.workers.run.health import MAX_START_SECONDS, Health, HealthServer
from neardup.workers.run.kafka_probe import Watch
from neardup.workers.run.series import start_at_zero
from neardup.workers.run.stopping import Stop, Stopped, Stopping, nothing_to_drain, until_signalled

logger = logging.getLogger(__name__)
DRAIN_SECONDS = 7.0
"""Out of the 10 s in which a worker has to be gone: for the step that is under way, and the drain after it."""
LEAST_DRAIN_SECONDS = 1.0
"""What a drain has in any case."""
STEADY_SECONDS = 60.0
"""A worker that has lived so long ends a row of failures."""
MAX_PAUSE_SECONDS = 15.0


class Worker(Protocol):
    """One connected worker; used by one thread."""

    def step(self) -> None:
        """Do a bounded piece of work; wait at most about a second where there is none.

        Raises:
            DependencyError: something outside failed; this worker will be closed and replaced.
        """

    def ready(self) -> bool:
        """Return whether it is connected and has what it works with."""

    def drain(self, seconds: float) -> None:
        """Finish or drop what is under way and confirm what is done, within the time; nothing follows but `close`."""

    def close(self) -> None:
        """Let go of connections and threads; must not wait long and may be called after any failure."""


def run_worker(
    name: str,
    make: Callable[[], Worker],
    host: str,
    port: int,
    stop: Stopping | None = None,
    pause: Callable[[float], object] | None = None,
    kafka_away: Callable[[], str] | None = None,
) -> None:
    """Run workers one after the other until SIGTERM or SIGINT (or until `stop` is set), then return.

    Args:
        make: connects; raises DependencyError where that fails.
        port: of /healthz, /readyz and /metrics; 0 takes a free one.
        pause: waits between failures, for tests; by default until the time is over or `stop` is set.
        kafka_away: returns why Kafka does not answer, "" if it does; without, it is not watched.
    Raises:
        PipelineError: what a worker ended with, but for DependencyError.
    """
    stopping = stop or Stop()
    health = Health()
    start_at_zero(name)
    tracing.start(name)
    telemetry.WORKER_READY.set_function(lambda: float(health.not_ready is None))
    server = HealthServer(health, host, port)
    watch = Watch(kafka_away, health) if kafka_away else None
    try:
        with until_signalled(stopping):
            logger.info("worker started name=%s pid=%d port=%d", name, os.getpid(), server.port)
            _run(name, _after_asking(kafka_away, make), health, stopping, pause or stopping.wait)
            logger.info("worker ended name=%s", name)
    except Stopped:
        logger.info("worker ended before it began name=%s", name)
    finally:
        tracing.stop()
        server.close()
        if watch is not None:
            watch.close()


def _after_asking(away: Callable[[], str] | None, make: Callable[[], Worker]) -> Callable[[], Worker]:
    """Make a worker only if Kafka answers: a client that cannot connect leaves a thread behind."""

    def asked() -> Worker:
        if away is not None and (why := away()):
            raise DependencyError(why)
        return make()

    return asked


def _run(
    name: str,
    make: Callable[[], Worker],
    health: Health,
    stopping: Stopping,
    pause: Callable[[float], object],
) -> None:
    failures = 0
    while not stopping.is_set():
        started = time.monotonic()
        try:
            _live(make, health, stopping)
            return
        except Exception as error:
            failed = _as_dependency(error)
            if failed is None:
                raise
            failures = 1 if time.monotonic() - started > STEADY_SECONDS else failures + 1
            seconds = min(0.25 * 2 ** min(failures, 10), MAX_PAUSE_SECONDS)
            health.why, health.ready = " ".join(str(failed).split()), False
            telemetry.WORKER_FAILURES.inc()
            logger.warning(
                "worker failed, will start again name=%s failures=%d pause=%.1f error=%s",
                name, failures, seconds, failed,
                exc_info=not isinstance(error, DependencyError),
            )  # fmt: skip
            health.beat()
            pause(seconds)


def _live(make: Callable[[], Worker], health: Health, stopping: Stopping) -> None:
    health.beat(MAX_START_SECONDS)
    with nothing_to_drain(stopping):
        worker = make()
    gc.collect()
    gc.freeze()  # what it was made of stays: modules and clients, which each full collection would look through
    began = time.monotonic()
    try:
        while not stopping.is_set():
            health.beat()
            began = time.monotonic()
            worker.step()
            health.ready = worker.ready()
        health.ready = False
        health.beat()
        worker.drain(max(began + DRAIN_SECONDS - time.monotonic(), LEAST_DRAIN_SECONDS))
    finally:
        worker.close()
        gc.unfreeze()  # nor may what it was made of stay when another takes its place


def _as_dependency(error: Exception) -> DependencyError | None:
    """Return the error if it is one of the surroundings, also as a client library's own."""
    if isinstance(error, DependencyError):
        return error
    library = type(error).__module__.partition(".")[0]
    if library in ("kafka", "redis") or isinstance(error, ConnectionError):
        return DependencyError(f"{library}: {type(error).__name__}: {error}")
    return None
