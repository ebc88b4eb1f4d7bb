"""One bank's references, with what searches, compares and judges them.

The bank `seen` and each curated bank is one. They share the rows and the vectors; each has items, an index and
thresholds of its own, so an id stands for different things in different banks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from neardup.pipeline.index import Index, IndexOptions, make_index
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.log.changes import Action
from neardup.pipeline.match.compare.candidates import Candidates
from neardup.pipeline.match.compare.compare import Comparer
from neardup.pipeline.match.data.items import Item
from neardup.pipeline.match.data.tables import Heads, Tables
from neardup.pipeline.match.decide.decide import Judge
from neardup.pipeline.match.decide.evidence import Evidence

if TYPE_CHECKING:
    from neardup.pipeline.prove.prover import Prover


@dataclass(slots=True)
class Collection:
    """See above. `action` is what a match means."""

    name: str
    tables: Tables
    heads: Heads
    judge: Judge
    candidates: Candidates
    comparer: Comparer
    action: Action = Action.FLAG

    def of(self, number: int) -> Item | None:
        """Return the item of this number."""
        return self.tables.items.get(number)


def make_collection(
    name: str, tables: Tables, index: Index, evidence: Evidence, judge: Judge, prover: Prover | None = None
) -> Collection:
    """Return an empty collection; with a prover, what is proposed is proved before it is decided."""
    heads = Heads(index, tables)
    candidates = Candidates(tables, heads, evidence, judge)
    comparer = Comparer(tables, heads, evidence, judge, candidates, name, prover)
    return Collection(name, tables, heads, judge, candidates, comparer)


def index_name(bank: str) -> str:
    """Return what the index of a curated bank is called; see `index.make_index`."""
    return f"bank-{bank}"


def make_bank_collection(
    seen: Collection,
    vectors: VectorFile,
    options: IndexOptions,
    evidence: Evidence,
    prover: Prover | None,
    name: str,
) -> Collection:
    """Return an empty collection beside that of the stream, for a bank."""
    tables = Tables(vectors)
    tables.rows, tables.live = seen.tables.rows, seen.tables.live
    index = make_index(vectors, index_name(name), options)
    judge = Judge(seen.judge.calibration, seen.judge.precision, seen.judge.proves)
    return make_collection(name, tables, index, evidence, judge, prover)
