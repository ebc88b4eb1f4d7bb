"""Take items down: out of the state, so that nothing is compared with them, out of Redis and out of the blob store.

It goes straight to the log, past whatever waits in `media`, and into the audit trail. A late or repeated record of the
item does not bring it back. Taking down what is not there does no harm.

Example: [bold]neardup takedown cat-1 cat-2 --wait[/bold]
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import Annotated

import typer

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.settings import load
from neardup.workers.cli.changes import ByOption, EncodedOption, WhyOption, read_ids, whoever
from neardup.workers.cli.common import ModelOption, counted

_LOOK_SECONDS = 0.02


def run(
    ids: Annotated[list[str], typer.Argument(help="Ids of the items, as they were the keys in `media`.")],
    wait: Annotated[bool, typer.Option("--wait", help="Return when Redis has forgotten them.")] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds that --wait waits at most.")] = 60.0,
    by: ByOption = "",
    why: WhyOption = "",
    encoded: EncodedOption = False,
    model: ModelOption = None,
) -> None:
    """Write the takedowns to the log."""
    settings = load(model=model)
    ids = read_ids(ids, encoded)
    from neardup.pipeline.embed.checkpoint import load_checkpoint
    from neardup.pipeline.log.records import Removed
    from neardup.pipeline.media.blobs import Blobs
    from neardup.pipeline.store.redis import open_store
    from neardup.workers.flag.erase import Gone, erase
    from neardup.workers.kafka.changes import checked_topics
    from neardup.workers.kafka.log import Appender

    space = load_checkpoint(settings.model).space
    with closing(Appender(settings, checked_topics(settings, space).log)) as appender:
        started = time.monotonic()
        last = appender.append([Removed(id=one, by=by or whoever() or "unknown", why=why) for one in ids])[-1]
    # Whether an item was ever there, the log alone knows; a takedown holds for one that comes later, too.
    typer.echo(f"{counted(len(ids), 'takedown')} written to the log after {time.monotonic() - started:.2f} s")
    # The flag worker erases what was known of an item; an original that waits in `media` is known to its name alone.
    erased = erase(Blobs(settings.blobs_url), Gone(frozenset(ids)))
    typer.echo(f"{counted(erased, 'file')} erased from the blob store after {time.monotonic() - started:.2f} s")
    if wait:
        with closing(open_store(settings, space)) as store:
            while store.applied() < last:
                if time.monotonic() - started > timeout:
                    raise DependencyError(f"Redis has not forgotten them after {timeout:g} s; do match and flag run?")
                time.sleep(_LOOK_SECONDS)
        typer.echo(f"forgotten by Redis after {time.monotonic() - started:.2f} s")
