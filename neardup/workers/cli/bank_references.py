"""The references of a bank: `neardup bank add`, `disable`, `enable` and `remove`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer

from neardup.pipeline.log.changes import ReferenceChanged, ReferenceEdit
from neardup.pipeline.settings import Settings, load
from neardup.workers.cli.changes import (
    ByOption,
    EncodedOption,
    MetadataOption,
    NameArgument,
    NoteOption,
    TimeoutOption,
    WhyOption,
    change,
    parse_date,
    parse_metadata,
    read_ids,
    tell,
    whoever,
)
from neardup.workers.cli.common import JsonOption, ModelOption

IdsArgument = Annotated[list[str], typer.Argument(help="Ids of references.", metavar="ID...")]


def add(
    bank: NameArgument,
    ids: Annotated[list[str], typer.Argument(help="Ids of uploads that are held.", metavar="ID...")],
    note: NoteOption = None,
    metadata: MetadataOption = None,
    by: ByOption = "",
    why: WhyOption = "",
    timeout: TimeoutOption = 30.0,
    encoded: EncodedOption = False,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make uploads references too, and print which other earlier uploads match them.

    Example: [bold]neardup bank add blocked cat-1 cat-2[/bold]
    """
    given = ReferenceChanged(
        bank=bank,
        id="",
        edit=ReferenceEdit.ADD,
        note=note,
        metadata=parse_metadata(metadata),
        by=by or whoever(),
        why=why,
    )
    _change_references(load(model=model), given, read_ids(ids, encoded), timeout, f"added to {bank}", as_json)


def disable(
    bank: NameArgument,
    ids: IdsArgument,
    until: Annotated[str, typer.Option(help="Date, or date and time; without, until it is enabled.")] = "",
    by: ByOption = "",
    why: WhyOption = "",
    timeout: TimeoutOption = 30.0,
    encoded: EncodedOption = False,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let references match nothing, at once.

    Example: [bold]neardup bank disable blocked cat-1 --until 2027-01-31[/bold]
    """
    given = ReferenceChanged(bank=bank, id="", disabled_until_ms=parse_date(until), by=by or whoever(), why=why)
    done = f"disabled in {bank}" + (f" until {until}" if until else "")
    _change_references(load(model=model), given, read_ids(ids, encoded), timeout, done, as_json)


def enable(
    bank: NameArgument,
    ids: IdsArgument,
    by: ByOption = "",
    why: WhyOption = "",
    timeout: TimeoutOption = 30.0,
    encoded: EncodedOption = False,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let references match again.

    Example: [bold]neardup bank enable blocked cat-1[/bold]
    """
    given = ReferenceChanged(bank=bank, id="", disabled_until_ms=0, by=by or whoever(), why=why)
    _change_references(load(model=model), given, read_ids(ids, encoded), timeout, f"enabled in {bank}", as_json)


def remove(
    bank: NameArgument,
    ids: IdsArgument,
    by: ByOption = "",
    why: WhyOption = "",
    timeout: TimeoutOption = 30.0,
    encoded: EncodedOption = False,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take references out of a bank; uploads of the same ids stay.

    Example: [bold]neardup bank remove blocked cat-1[/bold]
    """
    given = ReferenceChanged(bank=bank, id="", edit=ReferenceEdit.REMOVE, by=by or whoever(), why=why)
    _change_references(load(model=model), given, read_ids(ids, encoded), timeout, f"removed from {bank}", as_json)


def _change_references(
    settings: Settings, given: ReferenceChanged, ids: Sequence[str], seconds: float, done: str, as_json: bool
) -> None:
    records = [msgspec.structs.replace(given, id=one) for one in ids]
    tell(change(settings, records, seconds), f"{len(ids):,} {done}", as_json)


COMMANDS = (add, disable, enable, remove)
