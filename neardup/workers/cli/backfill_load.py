"""Load an archive into the stream, as history: items are known from then on, and nobody is notified of old pairs.

Records go to the log in order of time, where the match worker decides them while the stream goes on; pictures go to the
blob store. A live copy of an archived item is flagged as any other. What the stream brought is never replaced by an
older version. An interrupted run goes on where it stopped, and a second one has nothing to do.

Example: [bold]neardup backfill load s3://bucket/archive[/bold]
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Annotated

import typer

from neardup.workers.cli.backfill_match import ArchiveArgument
from neardup.workers.cli.common import Bar, JsonOption, ModelOption, check_parquet, counted

if TYPE_CHECKING:
    from neardup.pipeline.settings import Settings
    from neardup.workers.backfill.load import Load
    from neardup.workers.kafka.topics import TopicNames

logger = logging.getLogger(__name__)


def run(
    archive: ArchiveArgument,
    announce: Annotated[
        bool, typer.Option("--announce", help="Flag what is found, as for live items: feed, review queue, webhooks.")
    ] = False,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Load all that the stream does not have yet, and wait until it is decided."""
    check_parquet()
    from contextlib import closing

    from neardup.pipeline.archive.folder import Folder
    from neardup.pipeline.archive.plan import finished
    from neardup.pipeline.embed.checkpoint import load_checkpoint
    from neardup.pipeline.media.blobs import Blobs
    from neardup.pipeline.settings import load
    from neardup.workers.backfill.load import Journal, Load
    from neardup.workers.kafka.log import Appender, Tail, read_envelopes
    from neardup.workers.kafka.presence import Presence
    from neardup.workers.kafka.spaces import Gate, SteadyAppender
    from neardup.workers.kafka.topics import kafka_errors, topic_names

    settings = load(model=model)
    folder = Folder(archive)
    plan, names = finished(folder)
    space = load_checkpoint(settings.model).space
    plan.conditions.check_space(space, folder.url)
    if settings.prove and not plan.conditions.packed:
        logger.warning("the archive has no pictures for proofs, so its items are decided by evidence alone")
    topics = topic_names(settings.topic_root, space)
    with kafka_errors():
        journal = Journal(folder, _log_id(settings, topics, space))
        with (
            closing(Gate(settings, space)) as gate,
            closing(Appender(settings, topics.log)) as appender,
            closing(Tail(settings, topics.verdicts)) as verdicts,
            closing(Presence(settings, topics, "load")),
        ):
            verdicts.seek(verdicts.end())
            with Bar("loading") as bar:
                bar.start(None)
                load_all = Load(
                    folder,
                    names,
                    space,
                    journal,
                    Blobs(settings.blobs_url),
                    SteadyAppender(gate, appender),
                    lambda seconds: read_envelopes(verdicts.poll(seconds, 1000)),
                    announce,
                    bar.advance,
                    max_pending=settings.max_pending,
                )
                load_all.run()
    _print(load_all, as_json)


def _log_id(settings: Settings, topics: TopicNames, space: str) -> str:
    from neardup.workers.kafka.topics import check_topics, open_admin

    with open_admin(settings) as admin:
        check_topics(admin, space, settings)
        [found] = admin.describe_topics([topics.log])
    return str(found["topic_id"])


def _print(loaded: Load, as_json: bool) -> None:
    awaited = loaded.awaited
    if as_json:
        counts = {"loaded": loaded.items, "without_description": loaded.without_description}
        typer.echo(json.dumps(counts | {"outcomes": dict(awaited.outcomes), "waiting_for_proofs": awaited.pending}))
        return
    typer.echo(f"{counted(loaded.items, 'item')} loaded; {loaded.without_description:,} without a description")
    outcomes = ", ".join(f"{number:,} {name}" for name, number in awaited.outcomes.most_common())
    if outcomes or awaited.pending:
        waiting = f"{awaited.pending:,} wait for proofs" if awaited.pending else ""
        typer.echo("; ".join(part for part in (outcomes, waiting) if part))
