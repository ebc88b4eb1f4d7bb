"""Keep banks: named sets of references that uploads are matched against, with an action and a precision of their own.

Each change is a record of the log, so it takes hold at one place for all, and the audit trail says who asked for it.
References come by `neardup ingest --bank NAME`, or from what was uploaded, by `neardup bank add`.

Example: [bold]neardup bank create blocked --precision 0.999[/bold]
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from neardup.pipeline.errors import UsageError
from neardup.pipeline.log.changes import SEEN, Action, BankChanged, BankEdit
from neardup.pipeline.report.names import visible
from neardup.pipeline.settings import load
from neardup.workers.cli import bank_files, bank_references
from neardup.workers.cli.changes import (
    ByOption,
    MetadataOption,
    NameArgument,
    NoteOption,
    TimeoutOption,
    WhyOption,
    change,
    date_of,
    find_bank,
    open_rows,
    parse_metadata,
    references_of,
    tell,
    whoever,
)
from neardup.workers.cli.common import JsonOption, ModelOption, counted

if TYPE_CHECKING:
    from neardup.pipeline.store.interface import BankRow, ReferenceRow

app = typer.Typer(no_args_is_help=True)
ActionOption = Annotated[
    Action | None, typer.Option("--action", help="flag reports a match; allow lets it pass and silences the others.")
]
PrecisionOption = Annotated[
    float | None, typer.Option("--precision", help="Wanted of `duplicate`, between 0 and 1; default the stream's.")
]
RatioOption = Annotated[
    float | None, typer.Option("--enable-ratio", help="Share of uploads that the bank is asked about, 0 to 1.")
]


@app.command()
def create(
    bank: NameArgument,
    action: ActionOption = None,
    precision: PrecisionOption = None,
    enable_ratio: RatioOption = None,
    note: NoteOption = None,
    metadata: MetadataOption = None,
    by: ByOption = "",
    why: WhyOption = "",
    timeout: TimeoutOption = 30.0,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a bank that is not there yet.

    Example: [bold]neardup bank create blocked --precision 0.999[/bold]
    """
    record = BankChanged(
        bank=bank,
        edit=BankEdit.CREATE,
        action=action,
        precision=precision,
        enable_ratio=enable_ratio,
        note=note,
        metadata=parse_metadata(metadata),
        by=by or whoever(),
        why=why,
    )
    tell(change(load(model=model), [record], timeout), f"bank {bank} created", as_json)


@app.command("set")
def set_(
    bank: NameArgument,
    action: ActionOption = None,
    precision: PrecisionOption = None,
    enable_ratio: RatioOption = None,
    note: NoteOption = None,
    metadata: MetadataOption = None,
    by: ByOption = "",
    why: WhyOption = "",
    timeout: TimeoutOption = 30.0,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change what is given of a bank; of `seen`, the stream itself, its precision.

    Example: [bold]neardup bank set blocked --precision 0.9999 --note "fewer false alarms"[/bold]
    """
    given = parse_metadata(metadata)
    if all(one is None for one in (action, precision, enable_ratio, note, given)):
        raise UsageError("nothing to set; name what is to change, such as --precision 0.999")
    settings = load(model=model)
    if bank != SEEN:
        with closing(open_rows(settings)) as store:
            find_bank(store, bank)
    record = BankChanged(
        bank=bank,
        action=action,
        precision=precision,
        enable_ratio=enable_ratio,
        note=note,
        metadata=given,
        by=by or whoever(),
        why=why,
    )
    tell(change(settings, [record], timeout), f"bank {bank} changed", as_json)


@app.command()
def delete(
    bank: NameArgument,
    by: ByOption = "",
    why: WhyOption = "",
    timeout: TimeoutOption = 30.0,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a bank with all of its references; what comes late for it does not bring it back.

    Example: [bold]neardup bank delete blocked --why "replaced by blocked-2"[/bold]
    """
    record = BankChanged(bank=bank, edit=BankEdit.DELETE, by=by or whoever(), why=why)
    tell(change(load(model=model), [record], timeout), f"bank {bank} deleted", as_json)


@app.command("list")
def list_(
    bank: Annotated[str, typer.Argument(help="List the references of this bank.", metavar="[BANK]")] = "",
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the banks, or the references of one.

    Example: [bold]neardup bank list blocked --json[/bold]
    """
    import msgspec

    with closing(open_rows(load(model=model))) as store:
        rows: Sequence[BankRow | ReferenceRow]
        rows = list(references_of(store, find_bank(store, bank).name)) if bank else store.banks()
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(rows), indent=2))
        return
    for row in rows:
        typer.echo(_line(row))
    if not rows:
        typer.echo(f"bank {bank} is empty" if bank else "no banks; `neardup bank create NAME` makes one")


def _line(row: BankRow | ReferenceRow) -> str:
    """Return what a person reads of a bank or a reference."""
    from neardup.pipeline.store.interface import BankRow

    if isinstance(row, BankRow):
        precision = "as the stream" if row.precision is None else f"{row.precision:g}"
        share = "" if row.enable_ratio >= 1.0 else f"  share {row.enable_ratio:g}"
        return (
            f"{row.name:<20} {row.action.value:<6} precision {precision}{share}  {counted(row.references, 'reference')}"
            + _said(row.note)
        )
    disabled = f"  disabled until {date_of(row.disabled_until_ms)}" if row.disabled_until_ms else ""
    return f"{visible(row.id)}  {row.kind.value}{disabled}" + _said(row.note)


def _said(note: str) -> str:
    return f"  {visible(note)}" if note else ""


for function in (*bank_references.COMMANDS, *bank_files.COMMANDS):
    app.command(function.__name__.rstrip("_"))(function)
