"""Make or list the topics in Kafka.

`create` makes what is missing and refuses a topic that could lose data; it may run again at any time.

Example: [bold]neardup topics create --partitions 16 --replication-factor 3[/bold]
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated

import typer

from neardup.pipeline.settings import load
from neardup.workers.cli.common import JsonOption, ModelOption, counted
from neardup.workers.kafka.topics import Made, Topic

app = typer.Typer(no_args_is_help=True)


@app.command()
def create(
    partitions: Annotated[int | None, typer.Option(help="Partitions of `media` if it is made; default 8.")] = None,
    replication_factor: Annotated[
        int | None, typer.Option(help="Brokers that hold each topic that is made; default 1.")
    ] = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the topics that are missing; refuse one that could lose data.

    Example: [bold]neardup topics create --partitions 16 --replication-factor 3[/bold]
    """
    from neardup.pipeline.embed.checkpoint import load_checkpoint
    from neardup.workers.kafka.topics import create_topics, open_admin

    settings = load(model=model, media_partitions=partitions, replication_factor=replication_factor)
    space = load_checkpoint(settings.model).space
    with open_admin(settings) as admin:
        made = create_topics(admin, space, settings)
    if as_json:
        typer.echo(json.dumps([{"created": one.created, **_as_dict(one.topic)} for one in made], indent=2))
        return
    for one in made:
        typer.echo(_told(one))
    media = made[0].topic
    if media.partitions != settings.media_partitions:
        typer.echo(
            f"{media.name} stays at {counted(media.partitions, 'partition')}, not {settings.media_partitions}", err=True
        )


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the topics of every space.

    Example: [bold]neardup topics list --json[/bold]
    """
    from neardup.workers.kafka.topics import list_topics, open_admin

    settings = load()
    with open_admin(settings) as admin:
        topics = list_topics(admin, settings.topic_root)
    if as_json:
        typer.echo(json.dumps([_as_dict(topic) for topic in topics], indent=2))
        return
    for line in _table(topics):
        typer.echo(line)


@app.command()
def trim(
    before: Annotated[
        int | None, typer.Option(min=0, help="Offset to delete up to; by default what this machine's snapshots allow.")
    ] = None,
    state: Annotated[
        str | None, typer.Option(help="Folder of the match workers' state; default ~/.local/share/neardup/state.")
    ] = None,
    model: ModelOption = None,
) -> None:
    """Delete the beginning of the log, for good: what was taken down before is then gone from Kafka too.

    A match worker without a newer snapshot, on another machine for instance, cannot start any more; copy the state
    folder of one that runs.

    Example: [bold]neardup topics trim --before 1000000[/bold]
    """
    from contextlib import closing

    from neardup.pipeline.embed.checkpoint import load_checkpoint
    from neardup.workers.kafka.log import Tail
    from neardup.workers.kafka.topics import check_topics, open_admin, topic_names
    from neardup.workers.match.trim import needed_from
    from neardup.workers.match.trim import trim as delete

    settings = load(model=model, state_folder=state)
    space = load_checkpoint(settings.model).space
    log = topic_names(settings.topic_root, space).log
    up_to = needed_from(settings.state_path / log) if before is None else before
    with open_admin(settings) as admin, closing(Tail(settings, log)) as tail:
        check_topics(admin, space, settings)
        begin = tail.begin()
        if up_to > begin:
            delete(admin, log, up_to)
        typer.echo(f"{log}: {counted(max(0, up_to - begin), 'record')} deleted, the first is now {max(begin, up_to)}")


def _as_dict(topic: Topic) -> dict[str, object]:
    return {
        "name": topic.name,
        "partitions": topic.partitions,
        "replication_factor": topic.replication_factor,
        "retention_ms": int(topic.configs["retention.ms"]),
        "max_message_bytes": int(topic.configs["max.message.bytes"]),
    }


def _told(one: Made) -> str:
    partitions = counted(one.topic.partitions, "partition")
    return f"{one.topic.name}: {'created' if one.created else 'exists'}, {partitions}, kept {_kept(one.topic)}"


def _table(topics: Sequence[Topic]) -> list[str]:
    width = max((len(topic.name) for topic in topics), default=0)
    return [
        f"{topic.name:{width}}  {counted(topic.partitions, 'partition'):>16}  "
        f"{_copies(topic.replication_factor)}  kept {_kept(topic)}"
        for topic in topics
    ]


def _copies(factor: int) -> str:
    return "1 copy" if factor == 1 else f"{factor} copies"


def _kept(topic: Topic) -> str:
    retention = int(topic.configs["retention.ms"])
    days = f"{retention / 86_400_000:g}"
    return "for ever" if retention == -1 else f"{days} day{'' if days == '1' else 's'}"
