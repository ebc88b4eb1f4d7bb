"""Write down what is in the stream for use elsewhere.

`pairs` are the decisions of reviewers. `neardup train --pairs` learns from them where the ids are paths below its
folders, as `neardup ingest` makes them; `neardup calibrate --decisions` corrects thresholds by them.

Example: [bold]neardup export pairs --output pairs.csv[/bold]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neardup.pipeline.report.names import visible
from neardup.pipeline.settings import Settings, load
from neardup.workers.cli.common import ModelOption, counted, writable

if TYPE_CHECKING:
    from neardup.pipeline.log.records import Envelope

app = typer.Typer(no_args_is_help=True)


@app.callback()
def root() -> None:
    """Stand before the name of what is written down."""


@app.command()
def pairs(
    output: Annotated[Path | None, typer.Option(help="File to write; without, print it.")] = None,
    bank: Annotated[str, typer.Option(help="Only decisions on matches of this bank, such as seen.")] = "",
    model: ModelOption = None,
) -> None:
    """Write a CSV of pairs that reviewers decided on: a, b, relation, bank, evidence, references, time, by.

    Example: [bold]neardup export pairs --output pairs.csv[/bold]
    """
    from functools import partial

    from neardup.pipeline.learn.shared.reviewed import decided_pairs, write_pairs

    target = None if output is None else writable(output)
    found = decided_pairs(partial(_envelopes, load(model=model)), bank)
    if target is None:
        write_pairs(found, sys.stdout)
        return
    with target.open("w", newline="", encoding="utf-8") as file:
        count = write_pairs(found, file)
    typer.echo(f"{visible(str(target))}: {counted(count, 'pair')}")


def _envelopes(settings: Settings) -> Iterator[Envelope]:
    """Yield all envelopes that are committed by now."""
    from neardup.pipeline.embed.checkpoint import load_checkpoint
    from neardup.workers.kafka.log import Patience, Tail, last_envelope, read_envelopes
    from neardup.workers.kafka.topics import check_topics, open_admin, topic_names

    space = load_checkpoint(settings.model).space
    with open_admin(settings) as admin:
        check_topics(admin, space, settings)
    with closing(Tail(settings, topic_names(settings.topic_root, space).verdicts)) as verdicts:
        last, at = last_envelope(verdicts), -1
        verdicts.seek(verdicts.begin())
        patience = Patience(verdicts)
        while at < last:
            for envelope in read_envelopes(verdicts.poll(0.5, 1000)):
                at = envelope.offset
                yield envelope
            patience.check()
