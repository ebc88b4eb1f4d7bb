"""The index for many descriptors: ScaNN over most rows, and a comparison with all newer ones.

ScaNN is never changed once built. Rows that came later are the *tail*, compared exactly; removed rows are skipped; when
the tail has grown, another process builds anew over all rows, a further one loads the result and answers, and takes
over between two calls. Until the first build, and whenever builds fail, everything is tail: slower, never wrong.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neardup.pipeline.errors import DependencyError, PipelineError
from neardup.pipeline.files import naming
from neardup.pipeline.index.canary import DEFAULT, Canary, CanaryPolicy
from neardup.pipeline.index.checks import check_k, check_vectors
from neardup.pipeline.index.flat import Flat
from neardup.pipeline.index.interface import Status
from neardup.pipeline.index.products import make_products, pick_device
from neardup.pipeline.index.scann.build import Build
from neardup.pipeline.index.scann.generation import Generation, import_scann, restore
from neardup.pipeline.index.scratch import Scratch
from neardup.pipeline.index.store import RowNumbers, Store
from neardup.pipeline.types import Descriptors, Ids, Neighbours

logger = logging.getLogger(__name__)

_LONGEST_RETRY_SECONDS = 3600.0
_COPY_ROWS = 65536


@dataclass(frozen=True, slots=True)
class Policy:
    """When to build anew.

    A tail of t rows costs each query about t · 7 ns, a build over n rows about n · 25 µs on another core (256
    dimensions). For one query per added row their sum is least near t = 80 √n, flat around it, and a shorter tail
    answers sooner.

    Attributes:
        min_rows: below, everything is compared; 256 or more, for ScaNN needs rows to train on.
        tail_factor: build when the tail is longer than this × √n.
        removed_share: build when this share of the searcher's rows was removed.
        removed_seconds: build so long after the first of them was, for the searcher still holds their vectors.
        threads: of the building process, which runs at low priority.
        retry_seconds: wait after a failed build, doubled for each further one.
    """

    min_rows: int = 100_000
    tail_factor: float = 50.0
    removed_share: float = 0.2
    removed_seconds: float = 3600.0
    threads: int = 1
    retry_seconds: float = 30.0


def _make_scratch(folder: Path | None) -> Scratch:
    """Return a working folder, in the system's temporary folder where the wanted place cannot be written."""
    try:
        return Scratch(folder)
    except DependencyError as error:
        if folder is None:
            raise
        logger.warning("working files are in the system's temporary folder error=%s", error)
        return Scratch(None)


class ScannIndex:
    """Implements `Index`. Above `Policy.min_rows` a neighbour may be missing, but a distance is never wrong."""

    def __init__(
        self,
        dimension: int,
        space: str,
        folder: Path | None = None,
        device: str = "auto",
        policy: Policy = Policy(),
        clock: Callable[[], float] = time.monotonic,
        canary: CanaryPolicy = DEFAULT,
    ) -> None:
        """Make an empty index.

        Args:
            dimension: d. space: id of the model and preprocessing that make the descriptors.
            folder: where working files live while this object does; None takes the system's temporary folder.
            device: "auto", "cpu" or "cuda", where the tail is compared.
            clock: seconds, for waiting after a failed build and a removal.
            canary: how many searches are checked for what they missed.
        Raises:
            ConfigError: ScaNN is not installed.
            DependencyError: the folder cannot be written.
        """
        import_scann()
        self._products = make_products(pick_device(device))
        self._policy = policy
        self._clock = clock
        self._scratch = _make_scratch(folder)
        self._names = 0
        self._store = Store(dimension, space, self._new_path("vectors"))
        self._generation: Generation | None = None
        self._tail = Flat(dimension, self._products)
        self._canary = Canary(canary, clock)
        self._build: Build | None = None
        self._builds, self._failed, self._build_seconds = 0, 0, 0.0
        self._leaving: threading.Thread | None = None
        self._failures = 0
        self._retry_at = -np.inf
        self._erase_at = np.inf

    @property
    def dimension(self) -> int:
        """d."""
        return self._store.vectors.dimension

    @property
    def space(self) -> str:
        """Whose descriptors these are."""
        return self._store.vectors.space

    @property
    def tail_rows(self) -> int:
        """How many descriptors ScaNN does not cover yet."""
        return len(self._tail)

    @property
    def is_building(self) -> bool:
        """Whether a build is under way, or done and not yet taken over."""
        return self._build is not None

    def __len__(self) -> int:
        return len(self._store)

    def __contains__(self, item: int) -> bool:
        return item in self._store

    def add(self, ids: Ids, vectors: Descriptors) -> None:
        """See `Index.add`."""
        rows = self._store.add(ids, vectors)
        self._tail.add(rows, self._store.vectors.read(rows))
        self.poll()

    def remove(self, ids: Ids) -> None:
        """See `Index.remove`."""
        rows = self._store.remove(ids)
        end = 0 if self._generation is None else self._generation.end
        self._tail.remove(rows[rows >= end])
        if self._generation is not None:
            self._generation.forget(rows)
            self._plan_erasure(self._generation)
        self.poll()

    def search(self, queries: Descriptors, k: int, effort: int = 1) -> Neighbours:
        """See `Index.search`. Among many rows at equal distance, ScaNN may propose some that are not the lowest ids."""
        check_k(k)
        check_vectors(queries, self.dimension)
        self.poll()
        candidates = self._candidates(queries, k, effort)
        # without a searcher the tail holds every row, as float32
        found = self._store.rank(queries, candidates, k, self._tail.read if self._generation is None else None)
        if self._generation is not None:
            self._canary.note(queries, found, len(self._store.vectors))
        return found

    def poll(self) -> None:
        """Take over a build that is done, or start one that is due. Never waits; every other call does this too."""
        self._canary.poll(self._store)
        if self._build is None:
            if self._is_due():
                self.rebuild()
        elif self._build.is_done():
            build, self._build = self._build, None
            try:
                self._take_over(build.result())
                self._builds, self._build_seconds = self._builds + 1, build.seconds
            except PipelineError as error:
                self._put_off(error)

    def rebuild(self) -> None:
        """Start a build over all rows now, unless one is under way or there are too few rows to train on."""
        rows = self._store.live_rows()
        if self._build is not None or len(rows) < min(256, self._policy.min_rows):
            return
        try:
            self._build = Build(self._store.vectors, rows, self._new_path("searcher"), self._policy.threads)
        except PipelineError as error:
            self._put_off(error)

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait for the build that is under way and take it over; return whether none is left."""
        if self._build is not None and self._build.wait(timeout_seconds):
            self.poll()
        return self._build is None

    def save_searcher(self, folder: Path) -> None:
        """See `Index.save_searcher`. Vectors that were removed since the build are in the searcher still."""
        with naming(folder, "write a searcher"):
            folder.mkdir()
            if self._generation is None:
                return
            try:
                self._generation.copy(folder, self._store)
            except OSError as error:  # replaced while a copy of this process writes, for instance
                logger.warning("searcher not saved, will be built again error=%s", error)
                shutil.rmtree(folder)
                folder.mkdir()

    def load_searcher(self, folder: Path, read: Callable[[Ids], Descriptors]) -> Ids:
        """See `Index.load_searcher`."""
        taken_in: list[Ids] = []

        def take_in(ids: Ids) -> RowNumbers:
            for start in range(0, len(ids), _COPY_ROWS):
                some = ids[start : start + _COPY_ROWS]
                self._store.add(some, read(some))
            taken_in.append(ids)
            return np.arange(len(ids))

        try:
            generation = restore(folder, self._new_path("searcher"), take_in)
        except DependencyError as error:  # of another version of ScaNN, for instance: it can be built again
            logger.warning("saved searcher dropped, error=%s", error)
            generation = None
        if generation is not None:
            generation.count_live(self._store)
            self._plan_erasure(generation)
        self._generation = generation
        self._fill_tail()
        return np.concatenate([np.empty(0, np.int64), *taken_in])

    def status(self) -> Status:
        """See `Index.status`."""
        vectors, generation = self._store.vectors, self._generation
        return Status(
            searcher=0 if generation is None else generation.live,
            tail=len(self._tail),
            bytes=vectors.bytes + self._tail.bytes + (0 if generation is None else generation.bytes),
            unwritten_bytes=vectors.unwritten_bytes,
            builds=self._builds,
            failed=self._failed,
            build_seconds=self._build_seconds,
            checked=self._canary.checked,
        )

    def close(self) -> None:
        """See `Index.close`."""
        self._canary.close()
        if self._build is not None:
            self._build.cancel()
        if self._generation is not None:
            self._generation.discard()
        if self._leaving is not None:
            self._leaving.join()
        self._store.delete()
        self._scratch.close()

    def _candidates(self, queries: Descriptors, k: int, effort: int) -> RowNumbers:
        if self._generation is not None and len(queries):
            try:
                return self._of_both(self._generation, queries, k, effort)
            except DependencyError as error:
                logger.error("searcher lost, will start it again error=%s", error)
            try:
                self._generation = self._generation.again(self._store)
                return self._of_both(self._generation, queries, k, effort)
            except DependencyError as error:
                logger.error("searcher lost, will build it again error=%s", error)
            self._generation.discard()
            self._generation = None
            self._fill_tail()
        return self._tail.candidates(queries, k)

    def _of_both(self, generation: Generation, queries: Descriptors, k: int, effort: int) -> RowNumbers:
        generation.ask(queries, k, effort)
        newer = self._tail.candidates(queries, k)
        return np.concatenate([newer, generation.candidates(self._store)], axis=1)

    def _is_due(self) -> bool:
        if len(self._store) < self._policy.min_rows or self._clock() < self._retry_at:
            return False
        if self._generation is None:
            return True
        covered, live = len(self._generation), self._generation.live
        return (
            len(self._tail) > self._policy.tail_factor * covered**0.5
            or live < (1 - self._policy.removed_share) * covered
            or self._clock() >= self._erase_at
        )

    def _plan_erasure(self, generation: Generation) -> None:
        if generation.live == len(generation):
            self._erase_at = np.inf
        elif self._erase_at == np.inf:
            self._erase_at = self._clock() + self._policy.removed_seconds

    def _take_over(self, generation: Generation) -> None:
        """Search with another generation from now on; the one before goes away in a thread, for it takes its time."""
        generation.count_live(self._store)
        if self._generation is not None:
            self._leaving = threading.Thread(target=self._generation.discard, name="index-discard")
            self._leaving.start()
        self._generation = generation
        self._erase_at = np.inf
        self._plan_erasure(generation)
        self._tail = self._tail.since(generation.end)
        self._failures = 0

    def _fill_tail(self) -> None:
        self._tail = Flat(self.dimension, self._products)
        self._tail.fill(self._store, 0 if self._generation is None else self._generation.end)

    def _put_off(self, error: PipelineError) -> None:
        wait = min(_LONGEST_RETRY_SECONDS, self._policy.retry_seconds * 2.0**self._failures)
        self._failures += 1
        self._failed += 1
        self._retry_at = self._clock() + wait
        logger.warning("index build failed, retry_seconds=%.0f error=%s", wait, error)

    def _new_path(self, what: str) -> Path:
        self._names += 1
        return self._scratch.path / f"{what}-{self._names}"
