"""Compare all items of an archive with each other, and write the report of a scan.

The report is that of `neardup scan` on the same files: report.html, duplicates.json, duplicates.csv, variants.csv and
skipped.csv; from a million rows on duplicates-2.csv and so on follow, and the page shows the 10,000 largest groups.
Proofs are made from the originals where they are files that can be opened here, else from the small pictures in the
archive.

Example: [bold]neardup backfill match s3://bucket/archive --output report[/bold]
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from neardup.workers.cli.common import (
    Bar,
    CalibrationOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    ThreadsOption,
    check_parquet,
    writable_folder,
)
from neardup.workers.cli.scan import forget_plan, print_summary

MOST_ROWS = 1_000_000
"""Of one table: spreadsheets take 1,048,576."""
MOST_GROUPS = 10_000
"""On the page; the tables have all."""
ArchiveArgument = Annotated[str, typer.Argument(help="Folder or URL of the archive.", metavar="ARCHIVE")]


def run(
    archive: ArchiveArgument,
    output: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("neardup-report"),
    model: ModelOption = None,
    threshold_precision: PrecisionOption = None,
    calibration: CalibrationOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare and write the report."""
    check_parquet()
    from neardup.pipeline.archive.compare import compare
    from neardup.pipeline.archive.folder import Folder
    from neardup.pipeline.archive.pictures import local_path
    from neardup.pipeline.archive.plan import finished
    from neardup.pipeline.embed.checkpoint import load_checkpoint
    from neardup.pipeline.report.html import write_html
    from neardup.pipeline.report.tables import write_tables
    from neardup.pipeline.settings import load

    settings = load(model=model, precision=threshold_precision, calibration=calibration, threads=threads)
    folder = Folder(archive)
    plan, names = finished(folder)
    checkpoint = load_checkpoint(settings.model)
    output = writable_folder(output)
    roots = [os.fspath(local_path(source) or source) for source in plan.sources]
    with Bar("comparing") as bar, compare(folder, names, roots, checkpoint, settings, bar) as (result, places):
        forget_plan(output)
        write_tables(result, output, most_rows=MOST_ROWS)
        write_html(result, places.thumbnail, output / "report.html", max_groups=MOST_GROUPS)
    if as_json:
        typer.echo((output / "duplicates.json").read_bytes(), nl=False)
    else:
        print_summary(result, output)
