"""The columns of a table that say where a match is and what it is: the same wherever matches are written as CSV."""

from __future__ import annotations

from neardup.pipeline.log.records import Comparison
from neardup.pipeline.prove.finding import ProofSummary
from neardup.pipeline.types import Kind

COLUMNS = (
    *("relation", "where", "query_start", "query_end", "reference_start", "reference_end"),
    *("query_box", "reference_box", "transform", "doubt", "proof", "backwards"),
)


def rows(match: Comparison, query: Kind) -> list[list[str]]:
    """Return the cells of `COLUMNS`, a row for each span, or one without times.

    Seconds of an image are left empty; numbers of a box or a transform have spaces between. A stretch that the query
    shows backwards has a `yes`.

    Args:
        query: what the query is; a span does not say whether it is 0 to 0 of an image.
    """
    where = match.where
    boxes = [_numbers(box, ".4f") for box in (where.query_box, where.reference_box)]
    rest = [*boxes, _numbers(where.transform, ".6g"), match.doubt.value, proof_words(match.proof)]
    times = [
        [
            *([f"{span.query_start:.3f}", f"{span.query_end:.3f}"] if query is Kind.VIDEO else ["", ""]),
            *(f"{span.reference_start:.3f}", f"{span.reference_end:.3f}"),
        ]
        for span in where.spans
    ]
    ways = ["yes" if span.backwards else "" for span in where.spans] or [""]
    return [
        [match.relation.value, where.kind.value, *one, *rest, way]
        for one, way in zip(times or [[""] * 4], ways, strict=True)
    ]


def proof_words(proof: ProofSummary | None) -> str:
    """Return what a proof found, and why, such as `variant: other writing`; "" without one."""
    return "" if proof is None else f"{proof.finding.value}: {proof.ground.value.replace('-', ' ')}"


def _numbers(values: tuple[float, ...] | None, form: str) -> str:
    return " ".join(format(value, form) for value in values or ())
