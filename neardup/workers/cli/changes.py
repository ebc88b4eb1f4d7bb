"""What commands that change something share: who asks and why, the wait for the answer, and how it is printed."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote

import typer

from neardup.pipeline.errors import UsageError
from neardup.pipeline.log.changes import FOREVER_MS, check_changes
from neardup.pipeline.log.ids import fault_of_id, fault_of_key
from neardup.pipeline.report.names import visible
from neardup.pipeline.settings import Settings

if TYPE_CHECKING:
    from neardup.pipeline.log.answers import Answer
    from neardup.pipeline.log.changes import Change
    from neardup.pipeline.store.interface import BankRow, FlagStore, ReferenceRow
    from neardup.pipeline.store.redis import RedisStore

_PAGE = 1000
NameArgument = Annotated[str, typer.Argument(help="The bank's name.", metavar="BANK")]
ByOption = Annotated[str, typer.Option("--by", help="Who asks, for the audit trail; default the user's name.")]
WhyOption = Annotated[str, typer.Option("--why", help="In your words, for the audit trail.")]
EncodedOption = Annotated[
    bool, typer.Option("--encoded", help="The ids are percent-encoded: a%09b is a, a tabulator, b.")
]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=0, help="Seconds that the answer may take.")]
NoteOption = Annotated[str | None, typer.Option("--note", help="A note, for people.")]
MetadataOption = Annotated[
    list[str] | None, typer.Option("--metadata", help="NAME=VALUE, for programs; those given replace all there were.")
]


def change(settings: Settings, records: Sequence[Change], seconds: float) -> list[Answer]:
    """Have changes made and return what came of each.

    Raises:
        UsageError: one is wrong in itself; nothing was written.
        DependencyError: Kafka failed, or no answer came in time.
    """
    from neardup.pipeline.embed.checkpoint import load_checkpoint
    from neardup.workers.kafka.changes import change_client

    check_changes(records)
    with change_client(settings, load_checkpoint(settings.model).space) as client:
        return client.ask(records, seconds)


def tell(answers: Sequence[Answer], done: str, as_json: bool) -> None:
    """Print what became of changes.

    Args:
        done: says it in words where nothing was refused.
    Raises:
        UsageError: one was refused; the others were sent.
    """
    refused = [answer.refused.words for answer in answers if answer.refused]
    if as_json:
        typer.echo(json.dumps([_as_json(answer) for answer in answers], indent=2))
    elif len(refused) < len(answers):
        typer.echo(done)
        for answer in answers:
            tell_matches(answer)
    if refused:
        more = f" (and {len(refused) - 1:,} more)" if len(refused) > 1 else ""
        raise UsageError(refused[0] + more)


def tell_matches(answer: Answer) -> None:
    """Print the earlier items that a new reference matches."""
    for event in answer.earlier:
        match = event.match
        silenced = ", silenced by an allow-list" if match.silenced else ""
        typer.echo(
            f"  earlier: {visible(event.id)} is {match.decision.value} of {match.bank}/{visible(match.reference)}, "
            f"probability {match.probability:.3f}{silenced}"
        )
    if answer.left_out:
        typer.echo(f"  and {answer.left_out:,} more earlier items")
    if answer.asked:
        typer.echo(f"  {answer.asked:,} earlier originals are being proved: what matches comes in the feed")
    if answer.waits:
        typer.echo(f"  {visible(answer.id)} is not there yet: this holds from its arrival on")


def _as_json(answer: Answer) -> dict[str, Any]:
    refused = answer.refused
    return {
        "offset": answer.offset,
        "id": answer.id,
        "applied": refused is None,
        "refused": refused.words if refused else "",
        "reason": refused.reason.value if refused else "",
        "waits": answer.waits,
        "earlier": earlier_as_json(answer),
        "left_out": answer.left_out,
        "asked": answer.asked,
    }


def earlier_as_json(answer: Answer) -> list[dict[str, object]]:
    """Return the earlier items that a new reference matches, as JSON has them."""
    return [
        {
            "item": event.id,
            "bank": event.match.bank,
            "reference": event.match.reference,
            "decision": event.match.decision.value,
            "probability": event.match.probability,
            "distance": event.match.distance,
            "silenced": event.match.silenced,
        }
        for event in answer.earlier
    ]


def parse_metadata(pairs: Sequence[str] | None) -> dict[str, str] | None:
    """Return names and values; None where none are given.

    Raises:
        UsageError: one has no `=`.
    """
    if not pairs:
        return None
    for pair in pairs:
        if not pair.partition("=")[0] or "=" not in pair:
            raise UsageError(f"--metadata {visible(pair)!r}: wanted NAME=VALUE")
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def parse_date(text: str) -> int:
    """Return the moment of a date, or of a date and time with its zone, in milliseconds since 1970.

    Raises:
        UsageError: it is none.
    """
    if not text:
        return FOREVER_MS
    try:
        when = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise UsageError(f"--until {visible(text)!r}: wanted a date such as 2027-01-31 or 2027-01-31T12:00Z") from None
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    return max(0, int(when.timestamp() * 1000))


def date_of(milliseconds: int) -> str:
    """Return a moment in words."""
    if milliseconds >= FOREVER_MS:
        return "further notice"
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc).isoformat(timespec="minutes")


def whoever() -> str:
    """Return the name of the user who runs this process; "" if the system knows none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def open_rows(settings: Settings) -> RedisStore:
    """Return the store that knows banks, references and the queue, to be closed."""
    from neardup.pipeline.embed.checkpoint import load_checkpoint
    from neardup.pipeline.store.redis import open_store

    return open_store(settings, load_checkpoint(settings.model).space)


def find_bank(store: FlagStore, name: str) -> BankRow:
    """Return a bank.

    Raises:
        UsageError: there is none of this name.
    """
    banks = {bank.name: bank for bank in store.banks()}
    if name not in banks:
        known = ", ".join(sorted(banks)) or "none"
        raise UsageError(f"there is no bank {visible(name)}; there is {known}; `neardup bank create NAME` makes one")
    return banks[name]


def references_of(store: FlagStore, bank: str) -> Iterator[ReferenceRow]:
    """Yield all references of a bank, in order of arrival."""
    start = 0
    while page := store.references(bank, start, _PAGE):
        yield from page
        start += len(page)


def read_ids(texts: Sequence[str], encoded: bool = False) -> list[str]:
    """Return the ids of items that are named.

    Args:
        encoded: they are percent-encoded, so that those of before there were rules for ids can be named, too.
    Raises:
        UsageError: one can be no id.
    """
    fault_of = fault_of_key if encoded else fault_of_id
    ids = [unquote(text, errors="surrogateescape") for text in texts] if encoded else list(texts)
    for id in ids:
        if fault := fault_of(id):
            more = "" if encoded or fault_of_key(id) else "; an id from before that rule is named by --encoded"
            raise UsageError(f"id '{visible(id)[:80]}': {fault}{more}")
    return ids
