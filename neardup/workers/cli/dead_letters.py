"""Look at what could not be used, and try it again.

A dead letter is the record as it came, with the reason. `replay` sends it to `media` once more, or an event that a
webhook's receiver did not take (`webhook`) to the receiver; it stays in the list until its time is over.

Example: [bold]neardup dead-letters replay --reason fetch[/bold]
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neardup.pipeline.errors import Reason, UsageError
from neardup.pipeline.report.names import visible
from neardup.pipeline.settings import Settings, load
from neardup.workers.cli.common import JsonOption, counted, writable

if TYPE_CHECKING:
    from neardup.workers.dead_letters.letters import Letter

app = typer.Typer(no_args_is_help=True)
_MOST_SENDERS = 5
ReasonOption = Annotated[Reason | None, typer.Option(help="Only those with this reason.")]


@app.command("list")
def list_(
    reason: ReasonOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of dead letters to list: the latest.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List dead letters, the latest last, and how many there are by reason and by sender.

    A sender is what is before the first / or : of an item's id, with the partition that it came by.

    Example: [bold]neardup dead-letters list --reason decode --limit 20[/bold]
    """
    from collections import deque

    from neardup.workers.dead_letters.letters import read_letters

    kept: deque[dict[str, object]] = deque(maxlen=limit)
    reasons: Counter[str] = Counter()
    senders: Counter[str] = Counter()
    for letter in read_letters(load()):
        if reason is None or letter.reason == reason.value:
            reasons[letter.reason] += 1
            senders[letter.sender] += 1
            kept.append(_as_dict(letter))
    if as_json:
        typer.echo(json.dumps(list(kept), indent=2))
        return
    for one in kept:
        typer.echo(
            f"{one['offset']:>8}  {one['time']}  {one['reason']:<10}  {one['source']}  "
            f"attempts {one['attempts']}  {visible(str(one['key']))}  {visible(str(one['detail']))}"
        )
    by_reason = ", ".join(f"{name} {number:,}" for name, number in reasons.most_common())
    typer.echo(f"{counted(reasons.total(), 'dead letter')}{': ' if by_reason else ''}{by_reason}")
    if senders:
        most = ", ".join(f"{visible(name)} {number:,}" for name, number in senders.most_common(_MOST_SENDERS))
        typer.echo(f"most from: {most}")


@app.command()
def show(
    offset: Annotated[int, typer.Argument(min=0, help="Offset of the dead letter, as listed.")],
    output: Annotated[Path | None, typer.Option(help="Write the original bytes to this file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show one dead letter, and keep its bytes.

    Example: [bold]neardup dead-letters show 17 --output bad.jpg[/bold]
    """
    letter = _one(load(), offset)
    if output is not None:
        writable(output).write_bytes(letter.value or b"")
    fields = _as_dict(letter)
    if as_json:
        typer.echo(json.dumps(fields, indent=2))
        return
    for name, value in fields.items():
        typer.echo(f"{name:<12} {visible(str(value))}")


@app.command()
def replay(
    offsets: Annotated[list[int] | None, typer.Argument(help="Offsets of dead letters, as listed.")] = None,
    reason: ReasonOption = None,
    every: Annotated[bool, typer.Option("--all", help="Replay all dead letters.")] = False,
) -> None:
    """Send dead letters to `media`, or to the webhook's receiver, once more.

    Example: [bold]neardup dead-letters replay --reason fetch[/bold]
    """
    from neardup.workers.dead_letters.letters import read_letters, replay_letters

    settings = load()
    if not offsets and reason is None and not every:
        raise UsageError("name the numbers of dead letters, a --reason, or --all")
    wanted = set(offsets or ())
    chosen = (
        letter
        for letter in ([_one(settings, offset) for offset in sorted(wanted)] if wanted else read_letters(settings))
        if reason is None or letter.reason == reason.value
    )
    typer.echo(f"{replay_letters(settings, chosen):,} sent once more")


def _one(settings: Settings, offset: int) -> Letter:
    from neardup.workers.dead_letters.letters import read_letters

    for letter in read_letters(settings, offset):
        if letter.offset == offset:
            return letter
        break
    raise UsageError(f"there is no dead letter {offset}; `neardup dead-letters list` lists them")


def _as_dict(letter: Letter) -> dict[str, object]:
    when = datetime.fromtimestamp(letter.timestamp_ms / 1000, timezone.utc).isoformat(timespec="seconds")
    return {
        "offset": letter.offset,
        "time": when,
        "reason": letter.reason,
        "detail": letter.detail,
        "key": None if letter.key is None else letter.key.decode(errors="backslashreplace"),
        "source": letter.source,
        "attempts": letter.attempts,
        "bytes": None if letter.value is None else len(letter.value),
        "headers": {name: value.decode(errors="backslashreplace") for name, value in letter.original_headers},
    }
