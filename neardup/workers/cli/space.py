"""Change the model of a stream that runs: a second space beside the first, filled while the first serves.

`create` makes its topics; `fill` describes what stands with the new model, and copies what people decided; `compare`
shows which verdicts would change; `switch` lets it serve, and the old one again; `drop` removes one that does not.

Example: [bold]neardup space create new.safetensors && neardup space fill new.safetensors[/bold]
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.settings import Settings, load
from neardup.workers.cli.common import Bar, DeviceOption, JsonOption, ModelOption, ThreadsOption, counted, writable

if TYPE_CHECKING:
    from neardup.pipeline.describe.driver import Describer
    from neardup.workers.kafka.spaces import Spaces
    from neardup.workers.space.fill import Fill
    from neardup.workers.space.originals import FillItem

app = typer.Typer(no_args_is_help=True)
_SAY_SECONDS = 10.0
NewArgument = Annotated[str, typer.Argument(metavar="MODEL", help="The other model: a name, or a path.")]
MissingOption = Annotated[
    Path | None, typer.Option(help="CSV file of what has no original; default space-SPACE-missing.csv.")
]
ThumbnailsOption = Annotated[
    bool,
    typer.Option("--thumbnails", help="Describe an image without an original from its thumbnail: close, not the same."),
]


@app.command()
def create(new: NewArgument, model: ModelOption = None) -> None:
    """Make the topics of another model's space, which stands by from now on; --model names the one that serves.

    Example: [bold]neardup space create new.safetensors[/bold]
    """
    from neardup.pipeline.embed.checkpoint import load_checkpoint
    from neardup.pipeline.embed.embedder import make_embedder
    from neardup.workers.kafka.spaces import Spaces, SpacesTopic, Turn
    from neardup.workers.kafka.topics import check_topics, create_spaces_topic, create_topics, open_admin

    settings = load(model=model)
    serving, space = load_checkpoint(settings.model).space, _space(new)
    if serving == space:
        raise ConfigError(f"{new} has the space of {settings.model}, {space}: its descriptors are the same")
    make_embedder(load_checkpoint(new), "cpu", threads=1)  # which checks what the network says of known pictures
    with closing(SpacesTopic(settings)) as topic:
        spaces = topic.read() or Spaces(turns=(Turn(space=serving),))
        if spaces.serving != serving:
            raise ConfigError(f"space {spaces.serving} serves, and {settings.model} has {serving}: name it by --model")
        with open_admin(settings) as admin:
            check_topics(admin, serving, settings)
            create_topics(admin, space, settings)
            create_spaces_topic(admin, settings)
        topic.write(spaces.with_standby(space))
    typer.echo(f"space {space} of {new} stands by; {serving} of {settings.model} serves")
    for kind in ("match", "flag", *(("prove",) if settings.prove else ())):
        typer.echo(f"start: neardup worker {kind} --model {new}")
    typer.echo(f"then:  neardup space fill {new}")


@app.command()
def fill(
    new: NewArgument,
    missing: MissingOption = None,
    thumbnails: ThumbnailsOption = False,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes, until Ctrl-C.")] = False,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Describe with another model what stands in the space that serves; goes on where it stopped.

    Example: [bold]neardup space fill new.safetensors[/bold]
    """
    settings = load(model=new, device=device, threads=threads)
    with _opened(settings, new, missing, thumbnails) as filling:
        if filling.trimmed:
            typer.echo(f"the log was trimmed: its first {filling.trimmed:,} records cannot be carried over", err=True)
        end, said_at = filling.end, time.monotonic()
        with Bar("filling") as bar:
            bar.start(end)
            bar.advance(filling.done)
            while follow or filling.done < end or filling.step():
                before = filling.done
                filling.step()
                bar.advance(filling.done - before)
                if time.monotonic() - said_at > _SAY_SECONDS and filling.done < end:
                    said_at = time.monotonic()
                    waits = f", waits for {filling.why_waiting}" if filling.why_waiting else ""
                    typer.echo(f"{filling.done:,} of {end:,} records{waits}", err=True)
                if filling.done >= end and not follow and filling.end - filling.done > 0:
                    end = filling.end  # what came meanwhile
                    bar.start(end)
        count = filling.count
        typer.echo(
            f"{count.described:,} described ({count.small:,} from thumbnails), {count.copied:,} changes and takedowns "
            f"copied, {count.missing:,} without an original, {count.left_out:,} records left out"
        )
        if filling.missing.keys:
            typer.echo(f"no original: {len(filling.missing.keys):,} in {filling.missing.path}")
        if count.calibrations:
            typer.echo(
                f"{counted(count.calibrations, 'calibration')} of the old model left out: `neardup calibrate` makes one"
            )
        typer.echo(f"next: neardup space compare {new}; neardup space switch {new}")


@app.command()
def compare(
    new: NewArgument,
    items: Annotated[int, typer.Option(min=1, max=1_000_000, help="Newest items that are compared.")] = 10_000,
    output: Annotated[Path, typer.Option(help="Folder for the page and the table.")] = Path("space-comparison"),
    as_json: JsonOption = False,
) -> None:
    """Show which verdicts would change, with pictures: space.html and space.csv.

    Example: [bold]neardup space compare new.safetensors --items 1000[/bold]
    """
    from neardup.pipeline.media.blobs import Blobs
    from neardup.pipeline.store.redis import open_store
    from neardup.workers.kafka.log import Tail
    from neardup.workers.kafka.topics import kafka_errors, topic_names
    from neardup.workers.space import compare as comparing

    settings = load(model=new)
    spaces, space = _spaces(settings), _space(new)
    if spaces.serving == space:
        raise ConfigError(f"space {space} of {new} serves; name the model of one that stands by")
    page = writable(output / "space.html")
    with kafka_errors(), closing(Tail(settings, topic_names(settings.topic_root, spaces.serving).verdicts)) as verdicts:
        ids = comparing.newest_ids(verdicts, items)
    with closing(open_store(settings, spaces.serving)) as old, closing(open_store(settings, space)) as other:
        found = comparing.compare(old, other, ids)
    comparing.make_page(found, Blobs(settings.blobs_url), (spaces.serving, new), page)
    comparing.write_csv(found, page.with_suffix(".csv"))
    if as_json:
        counts = [{"now": one, "then": two, "items": count} for (one, two), count in sorted(found.counts.items())]
        whole = {"items": found.items, "changes": len(found.differences), "other_match": found.other_match}
        typer.echo(json.dumps({**whole, "counts": counts}, indent=2))
        return
    rows = comparing.table(found)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        typer.echo("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
    typer.echo(
        f"{len(found.differences):,} of {counted(found.items, 'item')} would change, {found.other_match:,} of them "
        f"copies of another item: {page}"
    )


@app.command()
def switch(
    new: NewArgument,
    wait: Annotated[float, typer.Option(min=1, help="Seconds that intake may pause before all goes on as it was.")] = (
        120.0
    ),
    missing: MissingOption = None,
    thumbnails: ThumbnailsOption = False,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Let the space of a model serve; what is not in it yet is filled first. The other then stands by.

    Example: [bold]neardup space switch new.safetensors[/bold]
    """
    from msgspec.structs import replace

    from neardup.workers.kafka.spaces import SpacesTopic
    from neardup.workers.space.switch import Switch

    settings = load(model=new, device=device, threads=threads)
    spaces, space = _spaces(settings), _space(new)
    with closing(SpacesTopic(settings)) as topic:
        if spaces.serving == space:
            if spaces.switching:
                topic.write(replace(spaces, switching=""))
            typer.echo(
                f"space {space} of {new} serves{'; the switch is called off' if spaces.switching else ' already'}"
            )
            return
        with _opened(settings, new, missing, thumbnails) as filling:
            say = lambda line: typer.echo(line, err=True)  # noqa: E731
            done = Switch(settings, topic, spaces, space, filling, wait, say).run()
    old, turn = done.turns[-2], done.turns[-1]
    typer.echo(f"space {space} of {new} serves from offset {turn.first} of its log on; {old.space} ended at {old.last}")
    typer.echo(
        f"set NEARDUP_MODEL={new} for API workers and commands; embed and webhook workers of it begin by themselves"
    )


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the spaces, and which one serves.

    Example: [bold]neardup space list --json[/bold]
    """
    from neardup.pipeline.embed.checkpoint import load_checkpoint
    from neardup.workers.kafka.spaces import Spaces, SpacesTopic, Turn

    settings = load()
    with closing(SpacesTopic(settings)) as topic:
        spaces = topic.read() or Spaces(turns=(Turn(space=load_checkpoint(settings.model).space),))
    if as_json:
        turns = [{"space": one.space, "first": one.first, "last": one.last, "shift": one.shift} for one in spaces.turns]
        whole = {"serving": spaces.serving, "standby": spaces.standby, "switching": spaces.switching, "turns": turns}
        typer.echo(json.dumps(whole, indent=2))
        return
    under_way = f", until the switch to {spaces.switching} is done" if spaces.switching else ""
    typer.echo(f"{spaces.serving}  serves from offset {spaces.turns[-1].first} of its log on{under_way}")
    for one in spaces.standby:
        typer.echo(f"{one}  stands by")


@app.command()
def drop(
    space: Annotated[str, typer.Argument(metavar="MODEL", help="Its model, or the space itself.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    state: Annotated[
        str | None, typer.Option(help="Folder of the match workers' state; default ~/.local/share/neardup/state.")
    ] = None,
    model: ModelOption = None,
) -> None:
    """Remove a space that does not serve, for good: topics, groups, keys in Redis, state, collections in Milvus.

    Originals, thumbnails and packs stay: they are the other space's, too. Where there is no second space, --model names
    the one that is kept.

    Example: [bold]neardup space drop old.safetensors[/bold]
    """
    from neardup.pipeline.embed.checkpoint import load_checkpoint
    from neardup.workers.kafka.spaces import SpacesTopic
    from neardup.workers.kafka.topics import list_topics, open_admin
    from neardup.workers.space.drop import drop as drop_all

    settings = load(state_folder=state, model=model)
    with open_admin(settings) as admin:
        known = {
            topic.name.rpartition(".")[2] for topic in list_topics(admin, settings.topic_root) if ".log." in topic.name
        }
    with closing(SpacesTopic(settings)) as topic:
        spaces = topic.read()
        name = space if space in known or (spaces and space in spaces.standby) else _space(space)
        serving = load_checkpoint(settings.model).space if spaces is None else spaces.serving
        if name in (serving, spaces.switching if spaces else ""):
            raise ConfigError(f"space {name} serves; switch to another first: neardup space switch MODEL")
        if not yes:
            typer.confirm(f"Remove space {name}: topics, keys in Redis, state, collections?", abort=True)
        for line in drop_all(settings, name):
            typer.echo(f"removed {line}")
        if spaces := topic.read():  # the last: it stands by until nothing is left, so that nothing works for it
            topic.write(spaces.without(name))


def _space(name: str) -> str:
    from neardup.pipeline.embed.checkpoint import load_checkpoint

    return load_checkpoint(name).space


def _spaces(settings: Settings) -> Spaces:
    """Return the spaces; raises ConfigError where no second one was made."""
    from neardup.workers.kafka.spaces import SpacesTopic

    with closing(SpacesTopic(settings)) as topic:
        spaces = topic.read()
    if spaces is None:
        raise ConfigError("there is one space only; `neardup space create MODEL` makes another")
    return spaces


@contextmanager
def _opened(settings: Settings, new: str, missing: Path | None, thumbnails: bool) -> Iterator[Fill]:
    """Open a fill of the space of the settings' model, from the one that serves."""
    from neardup.workers.embed.engine import open_engine
    from neardup.workers.kafka.topics import check_topics, open_admin
    from neardup.workers.space.fill import Fill

    spaces, space = _spaces(settings), _space(new)
    if space not in spaces.standby:
        raise ConfigError(
            f"space {space} of {new} does not stand by; {spaces.serving} serves; see `neardup space list`"
        )
    path = writable(missing or Path(f"space-{space}-missing.csv"))
    with open_admin(settings) as admin:
        for one in (space, spaces.serving):
            check_topics(admin, one, settings)
    engine = open_engine(settings)
    with closing(cast("Describer[FillItem]", engine.make())) as describer:
        filling = Fill(settings, spaces.serving, space, describer, engine.most_items, path, thumbnails)
        with closing(filling):
            yield filling
