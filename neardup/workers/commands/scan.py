"""Find near-duplicates in folders of images and videos, and write a report.

The report is a folder: report.html, duplicates.json, duplicates.csv, and skipped.csv with every file that could not be
used and why. Nothing is ever deleted or moved. With --index the next run embeds only what is new or changed.

Example: [bold]neardup scan ~/Pictures --index ~/.neardup --output report[/bold]
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.report.names import visible
from neardup.workers.commands.common import (
    Bar,
    CalibrationOption,
    DeviceOption,
    FpsOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    RegionsOption,
    ThreadsOption,
    check_present,
    writable_folder,
)
from neardup.workers.commands.reader import lazy_embedder

if TYPE_CHECKING:
    from neardup.pipeline.report.plan import Keep
    from neardup.pipeline.report.result import ScanResult
    from neardup.pipeline.scan.thumbnails import Thumbnailer

FILES = ("report.html", "duplicates.json", "duplicates.csv", "skipped.csv", "plan.sh")
CATALOG_FILES = ("catalog.sqlite", "catalog.sqlite-wal")


def run(
    paths: Annotated[list[Path], typer.Argument(help="Folders and files to compare with each other.")],
    index: Annotated[Path | None, typer.Option(help="Folder that remembers descriptors between runs.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("neardup-report"),
    plan: Annotated[
        str | None, typer.Option(help="Also write plan.sh, what could go: keep=oldest, keep=largest, keep=newest, …")
    ] = None,
    model: ModelOption = None,
    threshold_precision: PrecisionOption = None,
    regions: RegionsOption = None,
    calibration: CalibrationOption = None,
    sample_fps: FpsOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Scan folders and write the report."""
    from neardup.pipeline.embed.checkpoint import load_checkpoint
    from neardup.pipeline.scan.catalog import Catalog
    from neardup.pipeline.scan.describing import describing
    from neardup.pipeline.scan.run import scan
    from neardup.pipeline.scan.thumbnails import Thumbnailer
    from neardup.pipeline.scan.walk import identities
    from neardup.pipeline.settings import load

    settings = load(
        model=model,
        precision=threshold_precision,
        calibration=calibration,
        sample_fps=sample_fps,
        regions=regions,
        device=device,
        threads=threads,
    )
    keep = None if plan is None else _keep(plan)
    check_present(*paths)
    checkpoint = load_checkpoint(settings.model)
    output = writable_folder(output)
    index = None if index is None else index.expanduser()
    with closing(
        Catalog(index, f"{checkpoint.space} at {settings.sample_fps:g} frames per second, regions {settings.regions}")
    ) as catalog:
        ours = identities([output / name for name in FILES])
        ours |= set() if index is None else identities([index / name for name in CATALOG_FILES])
        describe = describing(checkpoint, settings, lazy_embedder(checkpoint, settings))
        with Bar("comparing") as bar:
            result = scan(paths, catalog, checkpoint, settings, describe, bar, ours)
        _write(result, output, keep, Thumbnailer(catalog, settings.scan_limits, settings.worker_threads))
    if as_json:
        typer.echo((output / "duplicates.json").read_bytes(), nl=False)
    else:
        _tell(result, output)


def _keep(plan: str) -> Keep:
    from neardup.pipeline.report.plan import Keep

    name, _, value = plan.partition("=")
    values = [one.value for one in Keep]
    if name != "keep" or value not in values:
        raise ConfigError(f"--plan is {plan!r}; write keep= and one of {', '.join(values)}")
    return Keep(value)


def _write(result: ScanResult, output: Path, keep: Keep | None, thumbnails: Thumbnailer) -> None:
    from neardup.pipeline.report.html import write_html
    from neardup.pipeline.report.plan import write_plan
    from neardup.pipeline.report.tables import write_csv, write_json, write_skipped

    write_json(result, output / "duplicates.json")
    write_csv(result, output / "duplicates.csv")
    write_skipped(result, output / "skipped.csv")
    if keep is not None:
        write_plan(result, keep, output / "plan.sh")
    with Bar("thumbnails") as bar:
        thumbnails.prepare(result, bar)
    write_html(result, thumbnails, output / "report.html")


def _tell(result: ScanResult, output: Path) -> None:
    copies, sure = result.copies, result.duplicates
    items = result.images + result.videos
    if items:
        rate = items / max(result.seconds, 1e-3)
        typer.echo(
            f"{result.images:,} images and {result.videos:,} videos in {result.seconds:.1f} s ({rate:,.0f}/s), "
            f"{result.embedded:,} embedded with model {visible(result.model)}"
        )
        typer.echo(
            f"{len(sure):,} duplicates and {len(copies - sure):,} unsure in {len(result.groups):,} groups; "
            f"{len(result.skipped):,} files skipped"
        )
    else:
        roots = ", ".join(visible(root) for root in result.roots)
        typer.echo(f"no images or videos in {roots}; {len(result.skipped):,} files skipped, see skipped.csv")
    typer.echo(f"report: {visible(os.fspath((output / 'report.html').absolute()))}")
