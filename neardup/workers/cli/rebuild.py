"""Build anew what can be built from the topics.

Example: [bold]neardup rebuild flags[/bold]
"""

from __future__ import annotations

import time
from contextlib import closing

import typer

from neardup.pipeline.settings import load
from neardup.workers.cli.common import ModelOption

app = typer.Typer(no_args_is_help=True)


@app.callback()
def root() -> None:
    """Stand before the name of what is rebuilt."""


@app.command()
def flags(model: ModelOption = None) -> None:
    """Empty Redis, of this model's space only, and write all verdicts again; a flag worker may go on meanwhile.

    Example: [bold]neardup rebuild flags[/bold]
    """
    from neardup.pipeline.embed.checkpoint import load_checkpoint
    from neardup.pipeline.store.redis import open_store
    from neardup.workers.flag.worker import FlagWorker
    from neardup.workers.kafka.log import Patience, Tail, last_envelope
    from neardup.workers.kafka.topics import check_topics, open_admin, topic_names

    settings = load(model=model)
    space = load_checkpoint(settings.model).space
    with open_admin(settings) as admin:
        check_topics(admin, space, settings)
    started = time.monotonic()
    names = topic_names(settings.topic_root, space)
    with closing(Tail(settings, names.verdicts)) as verdicts, closing(open_store(settings, space)) as store:
        last = last_envelope(verdicts)
        store.clear()
        worker = FlagWorker(verdicts, store)
        patience = Patience(verdicts)
        while store.applied() < last:
            worker.step()
            patience.check()
    typer.echo(f"{last + 1} envelopes written to Redis in {time.monotonic() - started:.1f} s")
