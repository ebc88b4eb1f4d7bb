"""Compare two items with each other and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from neardup.pipeline.log.records import Described, Entry, Matched, join_parts
from neardup.pipeline.log.verdicts import RANK
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.query.lookup import lookup
from neardup.pipeline.types import Box, Decision, Doubt, Exact, Span


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What two items have in common; see `messages.Matched` for the words. Spans are A's and B's."""

    decision: Decision
    exact: Exact
    distance: float
    evidence: float
    probability: float
    whole: bool
    spans: tuple[Span, ...] = ()
    query_box: Box | None = None
    reference_box: Box | None = None
    doubt: Doubt = Doubt.NO


NOTHING = Matched(
    reference="", bank="seen", decision=Decision.DISTINCT, distance=4.0, evidence=0.0, probability=0.0, whole=False
)
"""No frames of the two resemble each other."""


def compare_both_ways(a: Sequence[Described], b: Sequence[Described], make: Callable[[], State]) -> Comparison:
    """Compare A as a query with B and the other way round.

    Evidence depends on which one is the query (see `evidence`), a comparison of two should not: evidence and
    probability are averaged, and where the two decisions differ the answer is unsure.

    Args:
        a, b: the parts of each item.
        make: returns an empty state.
    """
    forth, back = _one_way(a, b, make), _one_way(b, a, make)
    better = max(forth, back, key=lambda match: RANK[match.decision])
    worse = min(forth, back, key=lambda match: RANK[match.decision])
    agreed = better.decision is worse.decision
    return Comparison(
        decision=better.decision if agreed else Decision.UNSURE,
        exact=forth.exact,
        distance=min(forth.distance, back.distance),
        evidence=(forth.evidence + back.evidence) / 2.0,
        probability=(forth.probability + back.probability) / 2.0,
        whole=forth.whole,
        spans=forth.spans,
        query_box=forth.query_box,
        reference_box=forth.reference_box,
        doubt=max(forth.doubt, back.doubt),
    )


def _one_way(query: Sequence[Described], reference: Sequence[Described], make: Callable[[], State]) -> Matched:
    state = make()
    state.apply([Entry(0, msgspec.structs.replace(part, id="reference")) for part in reference])
    found = lookup(state, [msgspec.structs.replace(join_parts(query), id="query")], 1)[0]
    return found[0] if found else NOTHING
