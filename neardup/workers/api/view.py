"""The worker's own view: a state that follows the verdicts, and answers lookups in batches.

The loop of the worker applies records; a thread of the view's own answers. A lock is between the two, held for one
batch. What waits together is answered together: the search of the index costs little more for many than for one.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from neardup.pipeline.errors import Backpressure, DependencyError
from neardup.pipeline.log.records import Entry, Envelope
from neardup.pipeline.match.apply.state import State
from neardup.workers.run import telemetry

A = TypeVar("A")
R = TypeVar("R")
MOST_TOGETHER = 64
MOST_WAITING = 512
_POLITE_SECONDS = 0.002
Answer = Callable[[State, Sequence[A]], Sequence[R]]
"""Answers several requests at once, one result for each; an exception among them is raised where it was asked."""


@dataclass(slots=True, eq=False)
class _Job:
    answer: Answer[Any, Any]
    request: Any
    future: Future[Any] = field(default_factory=Future)


class View:
    """A state behind a lock. `apply` is called by one thread, `ask` by any.

    Args:
        state: closed with the view.
        applied: the offset that it stands for.
    """

    def __init__(self, state: State, applied: int) -> None:
        self._state = state
        state.settle(applied, leads=False)
        self._lock = threading.Lock()
        self._jobs: queue.Queue[_Job | None] = queue.Queue(MOST_WAITING)
        self.applied = applied
        self.broken = False
        """Whether a record failed half way, so that the state is of no use any more."""
        self._thread = threading.Thread(target=self._answer_all, name="lookups", daemon=True)
        self._thread.start()

    def apply(self, entries: Sequence[Entry], published: Mapping[int, Envelope], applied: int) -> list[Envelope]:
        """Take in records, and the offset that the state then stands for."""
        if not self._jobs.empty():  # who asks goes first, since a batch is long beside a lookup
            time.sleep(_POLITE_SECONDS)
        with self._lock:
            self.broken = True
            envelopes = self._state.apply(entries, published)
            self._state.settle(applied, leads=False)
            self.applied = applied
            self.broken = False
        return envelopes

    def ask(self, answer: Answer[A, R], request: A) -> Future[R]:
        """Have a request answered; those that wait for the same `answer` are given to it together.

        Raises:
            Backpressure: too many wait.
        """
        job = _Job(answer, request)
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise Backpressure(f"{MOST_WAITING} lookups wait", 1.0) from None
        return job.future

    def look(self, read: Callable[[State], R]) -> Future[R]:
        """Have a function read the state."""
        return self.ask(_each, read)

    def alone(self, work: Callable[[State], R]) -> R:
        """Do something with the state in this thread while nobody else does."""
        with self._lock:
            return work(self._state)

    def close(self) -> None:
        """Answer no more."""
        self._jobs.put(None)
        self._thread.join(5)
        self._state.close()

    def _answer_all(self) -> None:
        while (job := self._jobs.get()) is not None:
            jobs = [job]
            while len(jobs) < MOST_TOGETHER and not self._jobs.empty():
                more = self._jobs.get()
                if more is None:
                    self._jobs.put(None)
                    break
                jobs.append(more)
            kinds: dict[Answer[Any, Any], list[_Job]] = {}
            for one in jobs:
                kinds.setdefault(one.answer, []).append(one)
            for answer, same in kinds.items():
                self._answer(answer, same)

    def _answer(self, answer: Answer[Any, Any], jobs: Sequence[_Job]) -> None:
        jobs = [job for job in jobs if job.future.set_running_or_notify_cancel()]
        if not jobs:
            return
        started = time.perf_counter()
        with self._lock:
            try:
                if self.broken:
                    raise DependencyError("the view is being made anew")
                results = answer(self._state, [job.request for job in jobs])
            except Exception as error:
                results = [error] * len(jobs)
        telemetry.STAGE_SECONDS.labels("lookup").observe(time.perf_counter() - started)
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, Exception):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)


def _each(state: State, reads: Sequence[Callable[[State], Any]]) -> list[Any]:
    results: list[Any] = []
    for read in reads:
        try:
            results.append(read(state))
        except Exception as error:  # raised where it was asked, and nowhere else
            results.append(error)
    return results
