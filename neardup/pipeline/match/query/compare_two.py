"""Compare two items with each other and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from neardup.pipeline.log.records import Comparison, Described, Entry, join_parts
from neardup.pipeline.log.verdicts import RANK
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.query.lookup import lookup
from neardup.pipeline.types import Decision
from neardup.pipeline.where import NOWHERE

A, B = "a", "b"
NOTHING = Comparison(decision=Decision.DISTINCT, distance=4.0, evidence=0.0, probability=0.0, where=NOWHERE)
"""No frames of the two resemble each other."""


def compare_both_ways(a: Sequence[Described], b: Sequence[Described], make: Callable[[], State]) -> Comparison:
    """Compare A as a query with B and the other way round.

    Evidence depends on which one is the query (see `evidence`), a comparison of two should not: evidence and
    probability are averaged, and where the two decisions differ the answer is unsure. The proof is of A laid over B.

    Args:
        a, b: the parts of each item, which are called A and B here.
        make: returns an empty state; its prover, if it has one, finds their pictures by these names.
    """
    one, other = _named(a, A), _named(b, B)
    forth, back = _one_way(one, other, make), _one_way(other, one, make)
    better = max(forth, back, key=lambda match: RANK[match.decision])
    worse = min(forth, back, key=lambda match: RANK[match.decision])
    agreed = better.decision is worse.decision
    both = {
        "decision": better.decision if agreed else Decision.UNSURE,
        "distance": min(forth.distance, back.distance),
        "evidence": (forth.evidence + back.evidence) / 2.0,
        "probability": (forth.probability + back.probability) / 2.0,
        "relation": min(forth.relation, back.relation),
        "doubt": max(forth.doubt, back.doubt),
        "proof": forth.proof,
    }
    return Comparison(**forth.common() | both)


def _one_way(query: Sequence[Described], reference: Sequence[Described], make: Callable[[], State]) -> Comparison:
    state = make()
    state.apply([Entry(0, part) for part in reference])
    found = lookup(state, [join_parts(query)], 1)[0]
    return found[0] if found else NOTHING


def _named(parts: Sequence[Described], name: str) -> list[Described]:
    return [msgspec.structs.replace(part, id=name) for part in parts]
