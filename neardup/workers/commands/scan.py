"""Find near-duplicates in folders of images and videos, and write a report.

Nothing is ever deleted or moved. With --index the next run embeds only what is new or changed.

Example: [bold]neardup scan ~/Pictures --index ~/.neardup --output report[/bold]
"""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from neardup.pipeline.embed.checkpoint import Checkpoint, load_checkpoint
from neardup.pipeline.errors import ConfigError
from neardup.pipeline.report.names import visible
from neardup.pipeline.report.result import ScanResult
from neardup.pipeline.scan.catalog import Catalog
from neardup.pipeline.scan.run import scan
from neardup.pipeline.scan.thumbnails import Thumbnailer
from neardup.pipeline.settings import load
from neardup.pipeline.types import Decision
from neardup.workers.commands.common import (
    Bar,
    DeviceOption,
    FpsOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    ThreadsOption,
    open_embedder,
    writable_folder,
)


def run(
    paths: Annotated[list[Path], typer.Argument(help="Folders and files to compare with each other.")],
    index: Annotated[Path | None, typer.Option(help="Folder that remembers descriptors between runs.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("neardup-report"),
    plan: Annotated[
        str | None, typer.Option(help="Also write plan.sh, what could go: keep=oldest, keep=largest, keep=newest, …")
    ] = None,
    model: ModelOption = None,
    threshold_precision: PrecisionOption = None,
    sample_fps: FpsOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Scan folders and write the report."""
    settings = load(model=model, precision=threshold_precision, sample_fps=sample_fps, device=device, threads=threads)
    keep = _keep(plan)
    checkpoint = load_checkpoint(settings.model)
    writable_folder(output)
    catalog = Catalog(index, f"{checkpoint.space} at {settings.sample_fps:g} frames per second")
    try:
        with Bar("comparing") as bar:
            result = scan(paths, catalog, checkpoint, settings, lambda: open_embedder(settings), bar)
        _write(result, output, keep, Thumbnailer(catalog, settings.limits, settings.worker_threads))
    finally:
        catalog.close()
    if as_json:
        typer.echo((output / "duplicates.json").read_text())
    else:
        _tell(result, output, checkpoint)


def _keep(plan: str | None) -> Enum | None:
    if plan is None:
        return None
    from neardup.pipeline.report.plan import Keep

    name, _, value = plan.partition("=")
    values = [one.value for one in Keep]
    if name != "keep" or value not in values:
        raise ConfigError(f"--plan is {plan!r}; write keep= and one of {', '.join(values)}")
    return Keep(value)


def _write(result: ScanResult, output: Path, keep: Enum | None, thumbnails: Thumbnailer) -> None:
    from neardup.pipeline.report.html import write_html
    from neardup.pipeline.report.plan import Keep, write_plan
    from neardup.pipeline.report.tables import write_csv, write_json, write_skipped

    write_json(result, output / "duplicates.json")
    write_csv(result, output / "duplicates.csv")
    write_skipped(result, output / "skipped.csv")
    if isinstance(keep, Keep):
        write_plan(result, keep, output / "plan.sh")
    with Bar("thumbnails") as bar:
        thumbnails.prepare(result, bar)
    write_html(result, thumbnails, output / "report.html")


def _tell(result: ScanResult, output: Path, checkpoint: Checkpoint) -> None:
    matches = [match for group in result.groups for match in group.matches]
    sure = sum(match.decision is Decision.DUPLICATE for match in matches)
    rate = (result.images + result.videos) / max(result.seconds, 1e-3)
    typer.echo(
        f"{result.images:,} images and {result.videos:,} videos in {result.seconds:.1f} s ({rate:,.0f}/s), "
        f"{result.embedded:,} embedded with model {checkpoint.name}"
    )
    typer.echo(
        f"{sure:,} duplicates and {len(matches) - sure:,} unsure in {len(result.groups):,} groups; "
        f"{len(result.skipped):,} files skipped"
    )
    typer.echo(f"report: {visible(os.fspath((output / 'report.html').absolute()))}")
