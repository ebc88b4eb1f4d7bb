"""What a search engine has to do, so that another one is one module and one entry in `factory.PROPOSERS`.

A proposer names rows of the one vector file that may be the nearest of a query. It never decides: `Index` computes the
distances of what it names from the stored vectors, and orders them. So an engine may be approximate, late or of another
precision, and a verdict still rests on the same numbers. How to add one: `docs/new-index.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from neardup.pipeline.index.rows import RowNumbers
from neardup.pipeline.types import Descriptors

if TYPE_CHECKING:
    from neardup.pipeline.index.milvus.names import Names
    from neardup.pipeline.index.milvus.options import MilvusOptions


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """What all indexes of a process have in common.

    Attributes:
        kind: a name in `factory.PROPOSERS`, or "auto".
        folder: where an engine keeps working files while it is open; None takes the system's temporary folder. They are
            no snapshot.
        device: "auto", "cpu" or "cuda", where products are computed.
        scann_from: descriptors from which ScaNN is used, 256 or more; 0 leaves that to the engine.
        owner: whether this process answers for the index: it checks how well an engine searches, and writes one that
            several processes share. An engine of the process's own is written by everyone.
        milvus: how Milvus is reached, for that kind.
        names: what the log calls the rows, for an engine that several processes share.
    """

    kind: str = "auto"
    folder: Path | None = None
    device: str = "auto"
    scann_from: int = 0
    owner: bool = True
    milvus: MilvusOptions | None = None
    names: Names | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """Searches checked against all rows, and those of them whose nearest neighbour had been missed.

    Attributes:
        near, near_missed: where that neighbour may be a copy. far, far_missed: where it is none.
    """

    near: int = 0
    near_missed: int = 0
    far: int = 0
    far_missed: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """What there is to know of an index.

    Attributes:
        searcher, tail: descriptors that an approximate searcher was built over, and those that came since.
        bytes: of what the engine holds beside the vector file, in memory and in working files.
        builds, failed: searchers built since the start, and attempts that failed. build_seconds: of the last one built.
        checked: see `canary`.
        engine: what searches, as metrics call it.
        waiting: descriptors that a shared engine has yet to take before anything can be searched.
        refused: answers of it that failed, or lacked what is known to be there. repaired: descriptors that it had lost.
    """

    searcher: int = 0
    tail: int = 0
    bytes: int = 0
    builds: int = 0
    failed: int = 0
    build_seconds: float = 0.0
    checked: Checked = Checked()
    engine: str = "scann"
    waiting: int = 0
    refused: int = 0
    repaired: int = 0


@dataclass(frozen=True, slots=True)
class Proposed:
    """What an engine names that knows distances.

    Attributes:
        rows: see `Proposer.propose`.
        distances: float32 (n, m), those of the stored vectors as `distances.distances_to_rows` computes them; NaN where
            the row is -1. None if they are to be computed.
    """

    rows: RowNumbers
    distances: npt.NDArray[np.float32] | None = None


class Proposer(Protocol):
    """Names candidates among rows of a vector file, which it is made with and reads from; one thread at a time.

    Rows come checked: int64, each once, in any order, not negative, in the file.
    """

    def add(self, rows: RowNumbers) -> None:
        """Propose rows (n,), none of them held, from now on.

        Raises:
            DependencyError: the engine failed; then nothing was added.
        """

    def remove(self, rows: RowNumbers) -> None:
        """Let go of rows (n,), all of them held. `Index` drops those that are still proposed."""

    def ask(self, queries: Descriptors, k: int, effort: int) -> None:
        """Begin a search for queries that `propose` will be asked about, where an engine can do that by the way.

        What is added and removed until then counts all the same. An engine that cannot does nothing.
        """

    def propose(self, queries: Descriptors, k: int, effort: int) -> RowNumbers | Proposed:
        """Return rows that nearly always hold the k nearest of each query, each at most once per query.

        Args:
            queries: float32 (n, d), rows of unit length; n may be 0.
            k: 1 or more, also more than there are.
            effort: how many times as much an approximate engine looks at, 1 or more.
        Returns:
            int64 (n, m), in any order, padded with -1; m may be above k. All rows, where k is as many or more.
        """

    def read(self, rows: RowNumbers) -> Descriptors | None:
        """Return the vectors of held rows from memory, bit for bit what the file gives; None has the file read."""

    @property
    def is_exact(self) -> bool:
        """Whether what is proposed now always holds the k nearest, however ties are resolved."""

    def save(self, folder: Path) -> None:
        """Write into an empty folder what takes long to make from the vectors again; in a copy of the process, too.

        Raises:
            DependencyError: the disk is full or failed.
        """

    def load(self, folder: Path) -> RowNumbers:
        """Take over, while empty, what `save` wrote; return the rows that it holds now, each once, perhaps none.

        What another kind of engine wrote, or another version, is passed over.
        """

    def settle(self, offset: int, leads: bool) -> None:
        """Take it that all that was added and removed stands for what is published up to an offset of the log.

        An engine that several processes share is written from here on, by the one that leads; never waits.
        """

    def ready(self) -> bool:
        """Work for a moment on what a search would have to wait for; return whether there is nothing left of it."""

    def status(self) -> Status:
        """Return what there is to know, without `checked`."""

    def drop(self) -> None:
        """Close, and delete what a shared engine has: what was searched is gone for good."""

    def close(self) -> None:
        """Release files, processes and connections. The engine cannot be used afterwards."""


class Private:
    """What an engine of the process's own does where only one that several share has something to do."""

    def settle(self, offset: int, leads: bool) -> None:
        """See `Proposer.settle`: nothing."""

    def ready(self) -> bool:
        """See `Proposer.ready`."""
        return True

    def drop(self) -> None:
        """See `Proposer.drop`."""
        self.close()

    def close(self) -> None:
        """See `Proposer.close`."""
