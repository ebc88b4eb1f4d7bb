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
from neardup.workers.cli.common import JsonOption, ModelOption

if TYPE_CHECKING:
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
    rows = [row for queued in waiting for row in _rows(queued)]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        typer.echo(
            f"{visible(str(row['item']))}  {visible(str(row['reference']))}  --bank {row['bank']}  {row['decision']}  "
            f"probability {row['probability']:.3f}"
        )
    typer.echo(f"{total:,} uploads wait for a review")


def _rows(queued: Queued) -> list[dict[str, object]]:
    return [
        {
            "item": queued.item,
            "reference": match.reference,
            "bank": match.bank,
            "decision": match.decision.value,
            "probability": match.probability,
            "distance": match.distance,
            "claimed_by": queued.claimed_by,
        }
        for match in queued.verdict.matches
        if (match.bank, match.reference) in queued.open
    ]
