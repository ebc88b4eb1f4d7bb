"""Find near-duplicates in folders of images and videos, and write a report.

The report is a folder: report.html, duplicates.json, duplicates.csv, variants.csv with what shows the same template or
scene with other content, and skipped.csv with every file that could not be used and why. Nothing is ever deleted or
moved. With --index the next run embeds only what is new or changed.

Example: [bold]neardup scan ~/Pictures --index ~/.neardup --output report[/bold]
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from enum import Enum
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.report.names import visible
from neardup.workers.cli.common import (
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
    counted,
    writable_folder,
)
from neardup.workers.cli.reader import lazy_embedder, noticed

if TYPE_CHECKING:
    from neardup.pipeline.cleanup.plan import Options, Plan
    from neardup.pipeline.cleanup.quality import Look
    from neardup.pipeline.report.result import ScanResult
    from neardup.pipeline.scan.thumbnails import Thumbnailer

FILES = ("report.html", "duplicates.json", "duplicates.csv", "variants.csv", "skipped.csv", "plan.sh", "plan.json")
DEFAULT_PLAN = "keep=best"
CATALOG_FILES = ("catalog.sqlite", "catalog.sqlite-wal")


def run(
    paths: Annotated[list[Path], typer.Argument(help="Folders and files to compare with each other.")],
    index: Annotated[Path | None, typer.Option(help="Folder that remembers descriptors between runs.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("neardup-report"),
    plan: Annotated[
        str | None,
        typer.Option(
            help="Also write plan.sh and plan.json, what could go, and keep of several files the best one, or "
            "keep=oldest, keep=newest, keep=largest, keep=shortest."
        ),
    ] = None,
    plan_include: Annotated[
        str | None,
        typer.Option(
            help="What the plan lists: exact (default), or duplicate, which adds copies that differ and says in what."
        ),
    ] = None,
    plan_action: Annotated[
        str | None,
        typer.Option(
            help="What plan.sh does: quarantine (the default; it can be undone), trash, hardlink, reflink or delete."
        ),
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
    from neardup.pipeline.cleanup.quality import Looker
    from neardup.pipeline.embed.checkpoint import load_checkpoint
    from neardup.pipeline.scan.catalog import Catalog
    from neardup.pipeline.scan.choose import describing
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
    options = _options(plan, plan_include, plan_action)
    check_present(*paths)
    checkpoint = load_checkpoint(settings.model)
    output = writable_folder(output)
    index = None if index is None else index.expanduser()
    with closing(
        Catalog(
            index,
            f"{checkpoint.space} at {settings.sample_fps:g} frames per second, regions of all {settings.regions}",
        )
    ) as catalog:
        ours = identities([*(output / name for name in FILES), *output.glob("plan.*.old*")])
        ours |= set() if index is None else identities([index / name for name in CATALOG_FILES])
        describe = describing(checkpoint, settings, lazy_embedder(checkpoint, settings))
        with Bar("comparing") as bar:
            describe = noticed(describe, checkpoint, settings, bar)
            result = scan(paths, catalog, checkpoint, settings, describe, bar, ours)
        _write(
            result,
            output,
            options,
            Looker(settings.scan_limits),
            Thumbnailer(catalog, settings.scan_limits, settings.worker_threads),
        )
    if as_json:
        typer.echo((output / "duplicates.json").read_bytes(), nl=False)
    else:
        print_summary(result, output)
        if options is not None:
            typer.echo(f"plan: {visible(os.fspath((output / 'plan.sh').absolute()))}")


def spelled_out(arguments: list[str]) -> list[str]:
    """Return a command line in which a `--plan` that stands alone has its value; the next word is a path then."""
    return [
        f"--plan={DEFAULT_PLAN}" if word == "--plan" and not after.startswith("keep") and "scan" in arguments else word
        for word, after in zip_longest(arguments, arguments[1:], fillvalue="")
    ]


def _options(plan: str | None, include: str | None, action: str | None) -> Options | None:
    from neardup.pipeline.cleanup.plan import Action, Include, Keep, Options

    if plan is None:
        if include is not None or action is not None:
            raise ConfigError("--plan-include and --plan-action say what a plan holds; add --plan")
        return None
    name, _, keep = plan.partition("=")
    if name != "keep":
        raise ConfigError(f"--plan is {plan!r}; write keep= and one of {_choices(Keep)}")
    options = Options(
        keep=_one_of(Keep, keep, "--plan keep"),
        include=_one_of(Include, include or Include.EXACT.value, "--plan-include"),
        action=_one_of(Action, action or Action.QUARANTINE.value, "--plan-action"),
    )
    if options.action.needs_bytes and options.include is not Include.EXACT:
        raise ConfigError(f"--plan-action {options.action.value} needs identical bytes; leave out --plan-include")
    return options


Choice = TypeVar("Choice", bound=Enum)


def _one_of(choices: type[Choice], value: str, option: str) -> Choice:
    try:
        return choices(value)
    except ValueError as error:
        raise ConfigError(f"{option} is {value!r}; choose one of {_choices(choices)}") from error


def _choices(choices: type[Enum]) -> str:
    return ", ".join(one.value for one in choices)


def _write(result: ScanResult, output: Path, options: Options | None, look: Look, thumbnails: Thumbnailer) -> None:
    from neardup.pipeline.report.html import write_html
    from neardup.pipeline.report.tables import write_tables

    if options is None:
        forget_plan(output)
    notes = {} if options is None else _plan(result, output, options, look).notes
    write_tables(result, output, notes)
    with Bar("thumbnails") as bar:
        thumbnails.prepare(result, bar)
    write_html(result, thumbnails, output / "report.html", notes=notes)


def _plan(result: ScanResult, output: Path, options: Options, look: Look) -> Plan:
    from neardup.pipeline.cleanup.choose import make_plan
    from neardup.pipeline.cleanup.script import write_plan_json, write_script

    plan = make_plan(result, options, look)
    write_script(plan, result, output / "plan.sh")
    write_plan_json(plan, result, output / "plan.json")
    return plan


def forget_plan(output: Path) -> None:
    """Set aside the plan of an earlier scan and say so: the report that follows has none, and may call less a copy."""
    from neardup.pipeline.cleanup.script import set_aside

    for place in set_aside(output):
        typer.echo(f"a plan of an earlier scan is now {visible(os.fspath(place))}; --plan writes a new one", err=True)


def print_summary(result: ScanResult, output: Path) -> None:
    """Print how much was compared, what was found, and where the report is."""
    copies, sure = result.copies, result.duplicates
    items = result.images + result.videos
    skipped = f"{counted(len(result.skipped), 'file')} skipped"
    if items:
        rate = f" ({items / max(result.seconds, 1e-3):,.0f}/s)" if result.embedded else ""
        typer.echo(f"{result.compared} in {result.seconds:.1f} s{rate}, " + ", ".join(_seen(result, items)))
        matches = sum(len(group.matches) for group in result.groups)
        matched = f"; {matches:,} matches" if matches != len(copies) else ""  # a collage copies several originals
        variants = sum(len(stack.files) for stack in result.stacks)
        stacked = f"{counted(variants, 'variant')} in {counted(len(result.stacks), 'stack')}; " if variants else ""
        typer.echo(
            f"{counted(len(sure), 'duplicate')} and {len(copies - sure):,} unsure{matched} in "
            f"{counted(len(result.groups), 'group')}; {stacked}{skipped}"
        )
    else:
        roots = ", ".join(visible(root) for root in result.roots)
        typer.echo(f"no images or videos in {roots}; {skipped}, see skipped.csv")
    typer.echo(f"report: {visible(os.fspath((output / 'report.html').absolute()))}")


def _seen(result: ScanResult, items: int) -> Iterator[str]:
    """Yield where descriptors come from, with the number of files."""
    yield f"{result.embedded:,} embedded with model {visible(result.model)}"
    if result.unchanged:
        yield f"{result.unchanged:,} known from before"
    if same := items - result.embedded - result.unchanged:
        yield f"{same:,} identical to one of these"
