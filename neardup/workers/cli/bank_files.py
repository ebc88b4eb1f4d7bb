"""A bank into a file and out of one: `neardup bank export` and `import`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neardup.pipeline.report.names import visible
from neardup.pipeline.settings import Settings, load
from neardup.workers.cli.changes import (
    ByOption,
    NameArgument,
    TimeoutOption,
    WhyOption,
    change,
    find_bank,
    open_rows,
    references_of,
    tell,
    whoever,
)
from neardup.workers.cli.common import JsonOption, ModelOption, check_present, counted, writable

if TYPE_CHECKING:
    from neardup.workers.bank_file import ReferenceLine


def export(
    bank: NameArgument,
    output: Annotated[Path | None, typer.Option(help="File to write; without, print it.")] = None,
    model: ModelOption = None,
) -> None:
    """Write down what people said of a bank and its references, as JSON Lines; pictures are not in it.

    Example: [bold]neardup bank export blocked --output blocked.jsonl[/bold]
    """
    from neardup.workers.bank_file import lines_of

    with closing(open_rows(load(model=model))) as store:
        lines = lines_of(find_bank(store, bank), references_of(store, bank))
        if output is None:
            sys.stdout.buffer.writelines(lines)
            sys.stdout.buffer.flush()
            return
        with writable(output).open("wb") as file:
            count = sum(1 for line in lines if file.write(line))
    typer.echo(f"{visible(str(output))}: bank {bank}, {counted(count - 1, 'reference')}")


def import_(
    bank: NameArgument,
    file: Annotated[Path, typer.Argument(help="JSON Lines, as `neardup bank export` writes them.", metavar="FILE")],
    by: ByOption = "",
    why: WhyOption = "",
    timeout: TimeoutOption = 60.0,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make or change a bank as a file says, and fetch the references that it gives URIs of.

    What it says of references that are not there yet holds from their arrival on, by `neardup ingest --bank`.

    Example: [bold]neardup bank import blocked blocked.jsonl[/bold]
    """
    from neardup.workers.bank_file import changes, read_bank

    check_present(file)
    settings = load(model=model)
    told, references = read_bank(file)
    records = changes(bank, told, references, by or whoever(), why)
    answers = change(settings, records, timeout)
    sent = _send(settings, bank, [line for line in references if line.uri])
    said = f"bank {bank}: {counted(len(records) - 1, 'reference')} described"
    tell(answers, said + (f", {sent:,} sent to be fetched" if sent else ""), as_json)


def _send(settings: Settings, bank: str, lines: Sequence[ReferenceLine]) -> int:
    """Send URIs to `media` and wait until Kafka has them."""
    if not lines:
        return 0
    from neardup.workers.kafka.media_record import URI_LIST
    from neardup.workers.kafka.outbox import Message, Outbox, make_producer
    from neardup.workers.kafka.topics import topic_names

    topic = topic_names(settings.topic_root, "").media
    outbox = Outbox(make_producer(settings))
    try:
        for line in lines:
            headers = [("bank", bank.encode()), ("content-type", URI_LIST.encode())]
            if line.sha256:
                headers.append(("sha256", line.sha256.encode()))
            outbox.send([Message(topic, line.id.encode(), line.uri.encode(), headers)], lambda: None)
        outbox.wait_below(0, 90.0)
    finally:
        outbox.close(1.0)
    return len(lines)


COMMANDS = (export, import_)
