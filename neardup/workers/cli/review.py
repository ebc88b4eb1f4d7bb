"""Decide whether an upload and what it was matched with show the same; without arguments, list what waits for it.
What waits only for want of a proof, and certain duplicates, are in queues of their own.

It is remembered for ever, of the two contents: `not-a-match` is respected by every later verdict, `match` makes the
upload a duplicate, `undo` takes back what was said. Refused while another reviewer has claimed the upload.

Example: [bold]neardup review cat-7 cat-1 not-a-match --why "another cat"[/bold]
"""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from neardup.pipeline.errors import UsageError
from neardup.pipeline.log.changes import SEEN, Outcome, Reviewed
from neardup.pipeline.report.columns import proof_words
from neardup.pipeline.report.names import visible
from neardup.pipeline.settings import Settings, load
from neardup.pipeline.store.interface import ReviewQueue
from neardup.workers.cli.changes import (
    ByOption,
    EncodedOption,
    TimeoutOption,
    WhyOption,
    change,
    open_rows,
    read_ids,
    tell,
    whoever,
)
from neardup.workers.cli.common import JsonOption, ModelOption, counted
from neardup.workers.cli.compare import DOUBTS

if TYPE_CHECKING:
    from neardup.pipeline.log.records import Matched
    from neardup.pipeline.store.interface import Queued


def run(
    item: Annotated[str, typer.Argument(help="Id of the upload.")] = "",
    reference: Annotated[str, typer.Argument(help="Id of what it was matched with.")] = "",
    outcome: Annotated[Outcome | None, typer.Argument(help="Your decision on the pair.", show_default=False)] = None,
    bank: Annotated[str, typer.Option(help="Bank of the reference.")] = SEEN,
    limit: Annotated[int, typer.Option(min=1, help="Number of waiting uploads to list.")] = 20,
    queue: Annotated[
        ReviewQueue,
        typer.Option(help="Queue to list; unproved: unsure for want of a proof; all: certain duplicates as well."),
    ] = ReviewQueue.UNSURE,
    by: ByOption = "",
    why: WhyOption = "",
    encoded: EncodedOption = False,
    timeout: TimeoutOption = 30.0,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decide on a pair."""
    settings = load(model=model)
    if not item:
        _list(settings, limit, queue, as_json)
        return
    if not reference or outcome is None:
        raise UsageError("wanted ITEM REFERENCE and match, not-a-match or undo; without any, what waits is listed")
    item, reference = read_ids([item, reference], encoded)
    by = by or whoever()
    _check_claim(settings, item, by)
    record = Reviewed(item=item, reference=reference, outcome=outcome, bank=bank, by=by, why=why)
    done = {Outcome.MATCH: "are a match", Outcome.NOT_A_MATCH: "are no match", Outcome.UNDO: "are undecided again"}
    tell(change(settings, [record], timeout), f"{visible(item)} and {visible(reference)} {done[outcome]}", as_json)


def _check_claim(settings: Settings, item: str, by: str) -> None:
    """Refuse while another reviewer looks at the item, as the API does."""
    from neardup.pipeline.store.interface import reviewer_of

    with closing(open_rows(settings)) as store:
        claimer = reviewer_of(store.claimer(item))
    if claimer not in ("", by):
        raise UsageError(
            f"{visible(claimer)} has claimed {visible(item)}; go on with another, or wait until it is free"
        )


def _list(settings: Settings, limit: int, queue: ReviewQueue, as_json: bool) -> None:
    with closing(open_rows(settings)) as store:
        total, waiting = store.queued(queue), store.queue(0, limit, queue)
    if as_json:
        typer.echo(json.dumps([_row(queued, match) for queued in waiting for match in _open(queued)], indent=2))
        return
    for queued in waiting:
        for match in _open(queued):
            typer.echo(line(queued.item, match))
    typer.echo(f"{counted(total, 'upload')} {'waits' if total == 1 else 'wait'} for a review")


def line(item: str, match: Matched) -> str:
    """Return what a person reads of a match that waits: what it is, and why it is not certain."""
    probability = f"{match.probability:.3f}" if match.probability < 0.9995 else "above 0.999"
    why = DOUBTS.get(match.doubt, "") or ("" if match.proof is None else proof_words(match.proof))
    return (
        f"{visible(item)}  {visible(match.reference)}  --bank {match.bank}  {match.decision.value}  "
        f"probability {probability}" + (f"  {why}" if why else "")
    )


def _open(queued: Queued) -> list[Matched]:
    return [match for match in queued.verdict.matches if (match.bank, match.reference) in queued.open]


def _row(queued: Queued, match: Matched) -> dict[str, object]:
    return {
        "item": queued.item,
        "reference": match.reference,
        "bank": match.bank,
        "decision": match.decision.value,
        "probability": match.probability,
        "distance": match.distance,
        "claimed_by": queued.claimed_by,
    }
