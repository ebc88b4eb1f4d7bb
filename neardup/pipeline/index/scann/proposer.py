"""The engine for many descriptors: ScaNN over most rows, and a comparison with the newest ones.

Rows that came after a build are its *tail*. They are handed to ScaNN's process, which compares with the newest and lets
the others join the tree that was built; what it does not know yet is compared here. Removed rows are skipped. When the
tail has grown, another process builds anew over all rows, a further one loads the result, has the rows join that came
meanwhile, and takes over between two calls. Until the first build everything is tail, compared here: slower, and exact.
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
import numpy.typing as npt

from neardup.pipeline.errors import DependencyError, PipelineError
from neardup.pipeline.index.distances import distances_to_rows
from neardup.pipeline.index.exact import Exact, Products
from neardup.pipeline.index.proposer import Private, Proposed, Status
from neardup.pipeline.index.rows import RowNumbers
from neardup.pipeline.index.scann.build import Build
from neardup.pipeline.index.scann.generation import Generation, import_scann, restore
from neardup.pipeline.index.scratch import Scratch
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.types import Descriptors

logger = logging.getLogger(__name__)

LEAST_ROWS = 256
"""ScaNN needs rows to train on."""
_LONGEST_RETRY_SECONDS = 3600.0
_SPARE = 8
"""Neighbours beyond k that `Index.search` may be asked for."""
_SCORE_ERROR = np.float32(1e-4)
"""More than an inner product that is computed from a distance is out."""
_MOST_NEWEST = 1024
"""Rows that are compared here where nothing is asked ahead."""
_MOST_HERE = 16_384
"""Rows that wait here for the next question; more of them, as at a start, are handed over and join at once."""


@dataclass(frozen=True, slots=True)
class Policy:
    """When to build anew.

    A build over n rows takes about n · 25 µs of another core (256 dimensions). Rows that join a tree cost 0.03 ms each,
    once, and every query the share by which its leaves have grown. Compared one by one, where vectors are in memory, a
    tail of t rows costs each query t · 15 ns, and the sum of tail and builds is least near t = 40 √n.

    Attributes:
        min_rows: below, everything is compared; `LEAST_ROWS` or more.
        tail_factor: build when the tail is longer than this × √n,
        tail_share: or, where it joins the tree, than this × n, if that is more.
        newest: rows of the tail that are compared one by one in any case.
        removed_share: build when this share of the searcher's rows was removed.
        removed_seconds: build so long after the first of them was, for the searcher still holds their vectors.
        threads: of the building process, which runs at low priority.
        retry_seconds: wait after a failed build, doubled for each further one.
    """

    min_rows: int = 100_000
    tail_factor: float = 50.0
    tail_share: float = 0.25
    newest: int = 2048
    removed_share: float = 0.2
    removed_seconds: float = 3600.0
    threads: int = 1
    retry_seconds: float = 30.0


class ScannProposer(Private):
    """Implements `Proposer`. Above `Policy.min_rows` a neighbour may be missing."""

    def __init__(
        self,
        vectors: VectorFile,
        name: str,
        folder: Path | None,
        products: Products,
        policy: Policy = Policy(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make an empty one.

        Args:
            name: see `factory.make_index`.
            folder: where working files live while this object does; None takes the system's temporary folder.
            products: what the tail is compared by.
            clock: seconds, for waiting after a failed build and a removal.
        Raises:
            ConfigError: ScaNN is not installed.
        """
        import_scann()
        self._vectors = vectors
        self._name = name
        self._folder = folder
        self._policy = policy
        self._clock = clock
        self._scratch: Scratch | None = None
        self._paths = 0
        self._generation: Generation | None = None
        self._tail = Exact(vectors, products)
        self._build: Build | None = None
        self._next: Generation | None = None  # what was built, until it takes over
        self._removed: list[RowNumbers] = []  # since the build began
        self._builds, self._failed, self._build_seconds = 0, 0, 0.0
        self._leaving: threading.Thread | None = None
        self._failures = 0
        self._retry_at = -np.inf
        self._erase_at = np.inf

    @property
    def tail_rows(self) -> int:
        """How many rows came after the build."""
        return len(self._tail) + (0 if self._generation is None else self._generation.newer_count)

    @property
    def is_building(self) -> bool:
        """Whether a build is under way, or done and not yet taken over."""
        return self._build is not None

    @property
    def is_exact(self) -> bool:
        """See `Proposer.is_exact`: without a searcher everything is tail."""
        return self._generation is None

    def add(self, rows: RowNumbers) -> None:
        """See `Proposer.add`."""
        self._tail.add(rows)
        if self._generation is not None and len(self._tail) > _MOST_HERE:
            try:
                self._hand_over(self._generation)
                self._generation.join()
            except DependencyError as error:  # which the next search will make good
                logger.warning("searcher takes no rows name=%s error=%s", self._name, error)
        self.poll()

    def remove(self, rows: RowNumbers) -> None:
        """See `Proposer.remove`."""
        if self._build is not None:
            self._removed.append(rows)
        if self._generation is not None:
            known = self._generation.holds(rows)
            self._generation.remove(rows[known])
            self._plan_erasure(self._generation)
            rows = rows[~known]
        self._tail.remove(rows)
        self.poll()

    def ask(self, queries: Descriptors, k: int, effort: int = 1) -> None:
        """See `Proposer.ask`: the searcher begins; what joins the tail until then is compared when it is asked."""
        if self._generation is not None and len(queries):
            try:
                self._hand_over(self._generation)
                self._generation.ask_ahead(queries, k, effort)
            except DependencyError as error:  # which the search itself will make good
                logger.warning("searcher does not take a question ahead name=%s error=%s", self._name, error)

    def propose(self, queries: Descriptors, k: int, effort: int = 1) -> RowNumbers | Proposed:
        """See `Proposer.propose`."""
        self.poll()
        if self._generation is not None and len(queries):
            try:
                return self._of_both(self._generation, queries, k, effort)
            except DependencyError as error:
                logger.error("searcher lost, will start it again name=%s error=%s", self._name, error)
            try:
                self._generation = self._generation.again()
                return self._of_both(self._generation, queries, k, effort)
            except DependencyError as error:
                logger.error("searcher lost, will build it again name=%s error=%s", self._name, error)
            lost, self._generation = self._generation, None
            self._tail.add(lost.rows)
            lost.discard()
        return self._tail.propose(queries, k)

    def read(self, rows: RowNumbers) -> Descriptors | None:
        """See `Proposer.read`: the tail alone holds vectors."""
        return self._tail.read(rows) if self._generation is None else None

    def poll(self) -> None:
        """Take over a build that is done, or start one that is due. Never waits; every other call does this too."""
        if self._build is None:
            if self._is_due():
                self.rebuild()
        elif self._build.is_done():
            try:
                if self._next is None:
                    self._next = self._build.result()
                    self._bring_up_to_date(self._next)
                    if self._next.newer_count:
                        self._next.join()
                if self._next.newer_count and not self._next.has_joined():
                    return
                build, self._build = self._build, None
                self._take_over(self._next)
            except PipelineError as error:
                failed, self._next, self._build = self._next, None, None
                if failed is not None and failed is not self._generation:
                    failed.discard()
                self._put_off(error)
                return
            self._next = None
            self._builds, self._build_seconds = self._builds + 1, build.seconds

    def rebuild(self) -> None:
        """Start a build over all rows now, unless one is under way or there are too few rows to train on."""
        if self._build is not None or self._live < min(LEAST_ROWS, self._policy.min_rows):
            return
        self._removed = []
        try:
            self._build = Build(
                self._vectors,
                np.sort(self._all_rows()),
                self._new_path(),
                self._policy.threads,
                self._name,
                self._policy.newest,
            )
        except PipelineError as error:
            self._put_off(error)

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait for the build that is under way and take it over; return whether none is left."""
        if self._build is not None and self._build.wait(timeout_seconds):
            self.poll()
            if self._next is not None and self._next.has_joined(timeout_seconds):
                self.poll()
        return self._build is None

    def save(self, folder: Path) -> None:
        """See `Proposer.save`. Vectors that were removed since the build are in the searcher still."""
        if self._generation is None:
            return
        try:
            self._generation.copy(folder)
        except OSError as error:  # replaced while a copy of this process writes, for instance
            logger.warning("searcher not saved, will be built again name=%s error=%s", self._name, error)
            for path in folder.iterdir():
                shutil.rmtree(path, ignore_errors=True)
                path.unlink(missing_ok=True)

    def load(self, folder: Path) -> RowNumbers:
        """See `Proposer.load`."""
        try:
            self._generation = restore(folder, self._new_path(), self._vectors, self._policy.newest)
        except DependencyError as error:  # of another version of ScaNN, for instance: it can be built again
            logger.warning("saved searcher dropped name=%s error=%s", self._name, error)
        if self._generation is None:
            return np.empty(0, np.int64)
        self._plan_erasure(self._generation)
        return self._generation.rows

    def status(self) -> Status:
        """See `Proposer.status`."""
        generation = self._generation
        return Status(
            searcher=0 if generation is None else generation.live,
            tail=self.tail_rows,
            bytes=self._tail.status().bytes + (0 if generation is None else generation.bytes_in_all),
            builds=self._builds,
            failed=self._failed,
            build_seconds=self._build_seconds,
        )

    def close(self) -> None:
        """See `Proposer.close`."""
        if self._build is not None:
            self._build.cancel()
        if self._generation is not None:
            self._generation.discard()
        if self._leaving is not None:
            self._leaving.join()
        if self._scratch is not None:
            self._scratch.close()

    @property
    def _live(self) -> int:
        return self.tail_rows + (0 if self._generation is None else self._generation.live)

    def _of_both(self, generation: Generation, queries: Descriptors, k: int, effort: int) -> Proposed:
        if len(self._tail) > _MOST_NEWEST:
            self._hand_over(generation)
        generation.ask(queries, k, effort)
        newer, at_most = self._tail.propose_with_scores(queries, k)
        older = generation.candidates()
        if older.distances is not None:
            newer = np.where(at_most >= _least_score(queries, older, k + _SPARE)[:, None], newer, -1)
        rows = np.concatenate([newer, older.rows], axis=1)
        if older.distances is None:
            return Proposed(rows)
        return Proposed(
            rows, np.concatenate([distances_to_rows(self._tail.read, queries, newer), older.distances], axis=1)
        )

    def _hand_over(self, generation: Generation) -> None:
        """Have the searcher's process search among the newest rows, too, from its next question on."""
        if generation.takes_newer and len(self._tail):
            rows = self._tail.rows.copy()
            generation.hand_over(rows)
            self._tail.remove(rows)

    def _is_due(self) -> bool:
        if self._live < self._policy.min_rows or self._clock() < self._retry_at:
            return False
        if self._generation is None:
            return True
        generation, covered = self._generation, len(self._generation)
        longest = max(self._policy.tail_factor * covered**0.5, self._policy.tail_share * covered * generation.joins)
        return (
            self.tail_rows > longest
            or generation.live < (1 - self._policy.removed_share) * covered
            or self._clock() >= self._erase_at
        )

    def _plan_erasure(self, generation: Generation) -> None:
        if not generation.has_gone:
            self._erase_at = np.inf
        elif self._erase_at == np.inf:
            self._erase_at = self._clock() + self._policy.removed_seconds

    def _all_rows(self) -> RowNumbers:
        """Return all rows that are held, in any order."""
        older = [] if self._generation is None else [self._generation.rows]
        return np.concatenate([*older, self._tail.rows])

    def _bring_up_to_date(self, generation: Generation) -> None:
        """Have a generation hold what is held now, as far as it takes newer rows.

        Rows that were removed during the build and added again count as newer.
        """
        generation.remove(np.concatenate([np.empty(0, np.int64), *self._removed]))
        self._removed = []
        if generation.takes_newer:
            rows = self._all_rows()
            generation.hand_over(rows[~generation.holds(rows)])

    def _take_over(self, generation: Generation) -> None:
        """Search with another generation from now on; the one before goes away in a thread, for it takes its time."""
        self._bring_up_to_date(generation)
        if self._generation is not None:
            rows = self._generation.rows
            self._tail.add(rows[~generation.holds(rows)])
            self._leaving = threading.Thread(target=self._generation.discard, name="index-discard")
            self._leaving.start()
        self._generation = generation
        self._erase_at = np.inf
        self._plan_erasure(generation)
        tail = self._tail.rows
        self._tail.remove(tail[generation.holds(tail)])
        self._failures = 0

    def _put_off(self, error: PipelineError) -> None:
        wait = min(_LONGEST_RETRY_SECONDS, self._policy.retry_seconds * 2.0**self._failures)
        self._failures += 1
        self._failed += 1
        self._retry_at = self._clock() + wait
        logger.warning("index build failed, name=%s retry_seconds=%.0f error=%s", self._name, wait, error)

    def _new_path(self) -> Path:
        """Return a free name in the working folder, which is in the temporary one where its place cannot be written."""
        if self._scratch is None:
            try:
                self._scratch = Scratch(self._folder, self._name)
            except DependencyError as error:
                if self._folder is None:
                    raise
                logger.warning("working files are in the system's temporary folder error=%s", error)
                self._scratch = Scratch(None, self._name)
        self._paths += 1
        return self._scratch.path / f"searcher-{self._paths}"


def _least_score(queries: Descriptors, found: Proposed, count: int) -> npt.NDArray[np.float32]:
    """Return the inner product below which a row is farther from a query than `count` rows that were found, (n,)."""
    assert found.distances is not None
    distances = np.where(found.rows >= 0, found.distances, np.float32(np.inf))
    if distances.shape[1] < count:
        return np.full(len(queries), -np.inf, np.float32)
    farthest = np.partition(distances, count - 1, axis=1)[:, count - 1]
    least: npt.NDArray[np.float32] = (np.einsum("nd,nd->n", queries, queries) + 1 - farthest) / 2 - _SCORE_ERROR
    return least
