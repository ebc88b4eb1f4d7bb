"""List the sources, describe them, and write a shard for each part; what is there already is not done again.

The first run writes the plan, which later ones follow. `neardup backfill match` and `load` take the archive from there.

Example: [bold]neardup backfill describe ~/Pictures --output described[/bold]
"""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from neardup.pipeline.errors import ConfigError
from neardup.workers.cli.common import (
    Bar,
    DeviceOption,
    FpsOption,
    JsonOption,
    ModelOption,
    RegionsOption,
    ThreadsOption,
    check_parquet,
    counted,
    writable_folder,
)

if TYPE_CHECKING:
    from neardup.pipeline.archive.conditions import Conditions
    from neardup.pipeline.archive.folder import Folder
    from neardup.pipeline.archive.plan import Plan
    from neardup.pipeline.settings import Settings
    from neardup.workers.backfill.sources import Sources


def run(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Folders, files, s3://bucket/prefix, URIs; .tar and .parquet files stand for what is in them.",
            metavar="SOURCE...",
        ),
    ],
    output: Annotated[str, typer.Option(help="Folder or URL for the plan and the shards.")],
    ray: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Ray cluster, host:port of its head or `auto`; default this machine.")
    ] = "",
    pictures: Annotated[
        bool,
        typer.Option(
            "--pictures/--no-pictures",
            help="With thumbnails and pictures for proofs, which `load` needs, or as small as can be.",
        ),
    ] = True,
    part_items: Annotated[
        int, typer.Option(min=1, help="Files of a part: what an interrupt may cost, and a shard holds.")
    ] = 1000,
    content_column: Annotated[
        str, typer.Option(help="Column of Parquet files with bytes or URIs; default content, bytes, image, uri or url.")
    ] = "",
    id_column: Annotated[str, typer.Option(help="Their column with ids; default `id`, or path and number.")] = "",
    time_column: Annotated[str, typer.Option(help="Their column with times; default the time of the file.")] = "",
    processes: Annotated[
        int, typer.Option(min=1, help="With --ray, processes of a task, and processors that Ray reserves for it.")
    ] = 1,
    model: ModelOption = None,
    regions: RegionsOption = None,
    sample_fps: FpsOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the sources, describe them, and write a shard for each part; what is there already is not done again."""
    check_parquet()
    from neardup.pipeline.archive.folder import Folder
    from neardup.pipeline.archive.plan import unfinished
    from neardup.pipeline.archive.shard import SHARDS, Counts
    from neardup.pipeline.embed.checkpoint import load_checkpoint
    from neardup.pipeline.scan.walk import identities
    from neardup.pipeline.settings import load
    from neardup.workers.backfill.cluster import describe_on
    from neardup.workers.backfill.describe import describe_here, make_conditions, make_job
    from neardup.workers.backfill.sources import Columns, Sources

    settings: Settings = load(model=model, regions=regions, sample_fps=sample_fps, device=device, threads=threads)
    folder = Folder(output)
    ours = frozenset() if folder.local is None else identities([writable_folder(folder.local)])
    named = Sources(sources, Columns(content_column, id_column, time_column), ours, folder.url)
    conditions = make_conditions(load_checkpoint(settings.model), settings, pictures)
    plan = _planned(folder, named, conditions, part_items)
    todo = unfinished(folder)
    job = make_job(folder, conditions, settings, named.names, processes if ray else 0)
    counts, shards = Counts(), 0
    with Bar("describing parts") as bar:
        bar.start(len(todo))
        finished = describe_on(ray, job, todo) if ray and todo else describe_here(job, todo) if todo else None
        if finished is not None:
            with closing(finished):
                for one in finished:
                    bar.advance(one is not None)
                    if one is not None:
                        counts, shards = counts + one.counts, shards + 1
    folder.sweep(SHARDS)
    before = plan.parts - shards
    if as_json:
        said = {"parts": plan.parts, "before": before, "items": counts.items, "failed": counts.failed}
        typer.echo(json.dumps(said | {"output": folder.url}))
        return
    if shards or not before:
        failed = f"{counts.failed:,} of them could not be described" if counts.failed else "all described"
        typer.echo(f"{counted(counts.items, 'item')} in {counted(shards, 'shard')}, {failed}")
    if before:
        typer.echo(f"there before: {before:,} of {counted(plan.parts, 'shard')}")
    typer.echo(f"archive: {folder.url}")


def _planned(folder: Folder, sources: Sources, conditions: Conditions, part_items: int) -> Plan:
    """Return the plan of an archive, made now where there is none."""
    from neardup.pipeline.archive.plan import PLAN, read_plan, write_plan

    plan = read_plan(folder)
    if plan is None:
        with Bar("listing") as bar:
            bar.start(None)
            return write_plan(
                folder, sources.parts(part_items), sources.names, conditions, bar.advance, sources.columns
            )
    plan.conditions.check_same(conditions, folder.url)
    if plan.sources != sources.names:
        before, now = ", ".join(plan.sources), ", ".join(sources.names)
        raise ConfigError(f"{folder.url}/{PLAN} is of {before}, and not of {now}; name another output")
    if plan.columns != sources.columns:
        raise ConfigError(
            f"{folder.url}/{PLAN} is of the columns {plan.columns}, and not of {sources.columns}; name another output"
        )
    return plan
