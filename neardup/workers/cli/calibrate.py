"""Measure copies and strangers among pictures, and write down what evidence means; the model's space stays the same.

Of the pictures --held-out are edited and searched for among all; they are chosen as `neardup train` chooses those that
it does not train on, so calibrating with the training folders uses pictures that the network has not seen. Folders
below those named count as sources, and folders below those, or --labels, as kinds of pictures: the interval of the
precision allows for another source, and for references that are all of one kind, where look-alikes are many. --output
ending in .json makes a file for --calibration, anything else a checkpoint. Unlabelled look-alikes count as
false matches. Use --doubtful to list likely ones, review them, and pass the true ones with --lookalikes.

Example: [bold]neardup calibrate ~/Pictures --model mine.safetensors --output mine.safetensors[/bold]

With --decisions, reviewers' decisions correct the calibration that there is; `neardup export pairs` writes them.

Example: [bold]neardup calibrate --decisions decisions.csv --output calibration.json[/bold]
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neardup.pipeline.errors import ConfigError
from neardup.workers.cli.common import (
    Bar,
    CalibrationOption,
    DeviceOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    ThreadsOption,
    check_present,
    writable,
)

if TYPE_CHECKING:
    from neardup.pipeline.embed.checkpoint import Checkpoint
    from neardup.pipeline.match.decide.calibration import Calibration
    from neardup.pipeline.settings import Settings

SIZES = (2_000, 20_000, 200_000)


def run(
    output: Annotated[Path, typer.Option(help="File to write: a checkpoint, or calibrations if it ends in .json.")],
    pictures: Annotated[list[Path] | None, typer.Argument(help="Folders of pictures.", show_default=False)] = None,
    decisions: Annotated[
        Path | None, typer.Option(help="CSV of reviewers' decisions: evidence, relation (same, different), references.")
    ] = None,
    bank: Annotated[str, typer.Option(help="Only for this bank; the others in the .json stay as they are.")] = "",
    prior: Annotated[float, typer.Option(min=0.0001, max=0.9999, help="Share of queries that copy something.")] = 0.1,
    held_out: Annotated[int, typer.Option(min=100, help="Pictures that are edited and searched for.")] = 400,
    skip: Annotated[int, typer.Option(min=0, help="Other pictures left out: those that became the background.")] = 1000,
    distractors: Annotated[int, typer.Option(min=0, help="Cuts of pictures that fill up the references.")] = 10_000,
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps what distractors gave, for the next run.")
    ] = None,
    pages: Annotated[
        int, typer.Option(min=0, help="Rendered pages and charts added to the background, unless it has them already.")
    ] = 200,
    only: Annotated[Path | None, typer.Option(help="File with the sha1 of each picture to use.")] = None,
    alike: Annotated[
        Path | None, typer.Option(help="CSV of pairs that look alike, as in training: sha1_a, sha1_b, relation.")
    ] = None,
    lookalikes: Annotated[Path | None, typer.Option(help="CSV of more such pairs, found later.")] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="CSV of what pictures show: sha1, label. Else it is the folder they lie in."),
    ] = None,
    doubtful: Annotated[Path | None, typer.Option(help="CSV to write: strangers that look most alike.")] = None,
    source: Annotated[str, typer.Option(help="What the pictures are, to be shown with the calibration.")] = "",
    model: ModelOption = None,
    calibration: CalibrationOption = None,
    threshold_precision: PrecisionOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Calibrate a checkpoint."""
    from neardup.pipeline.embed.checkpoint import load_checkpoint
    from neardup.pipeline.learn.calibrate import decisions as decided
    from neardup.pipeline.learn.calibrate.calibrate import calibrate, collect, with_pages, write_doubtful
    from neardup.pipeline.match.decide.calibrations import read_calibrations
    from neardup.pipeline.settings import load

    if bool(pictures) == bool(decisions):
        raise ConfigError("calibrate wants folders of pictures, or --decisions FILE, and not both")
    settings = load(model=model, device=device, threads=threads, calibration=calibration, precision=threshold_precision)
    check_present(*(pictures or ()), only, alike, lookalikes, labels, decisions)
    target = writable(output)
    if bank and target.suffix != ".json":
        raise ConfigError(f"bank {bank!r} can be calibrated only in a file that ends in .json, not in {target.name}")
    checkpoint = load_checkpoint(settings.model)
    if decisions:
        before = read_calibrations(checkpoint, settings.calibration)
        own = before.banks[bank].calibration if bank in before.banks else None
        given = decided.read_decisions(decisions)
        words = f"{len(given.evidence)} decisions of {decisions.name} on {(own or before.calibration).version}"
        measured = decided.update(own or before.calibration, given, source or words)
    else:
        from neardup.pipeline.embed.embedder import make_embedder
        from neardup.pipeline.learn.shared.pictures import (
            kinds_of,
            load_pictures,
            read_labels,
            source_of,
            split_held_out,
            with_lookalikes,
        )

        folders = pictures or []
        labelled = read_labels(labels) if labels else None
        embedder = make_embedder(checkpoint, settings.device)
        checkpoint = with_pages(checkpoint, embedder, pages)
        loaded = load_pictures(folders, 256, only, alike, settings.worker_threads)
        others, held = split_held_out(loaded, held_out)
        loaded = with_lookalikes(loaded, lookalikes)
        sources = source_of(loaded, folders)
        kinds = kinds_of(loaded, sources, labelled)
        with Bar("calibrating") as bar:
            bar.start(len(held) + distractors)
            material = collect(
                embedder, loaded, held, others[skip:], sources, kinds, distractors, cache,
                report=lambda _what, done: bar.advance(done),
            )  # fmt: skip
        words = f"{len(held)} pictures of {', '.join(map(str, folders))}"
        measured = calibrate(material, checkpoint.background, source or words, prior, checkpoint.space)
        if doubtful:
            write_doubtful(writable(doubtful), loaded, material, checkpoint.background, measured)
    _write(checkpoint, measured, settings, target, bank)
    _print(measured, settings.precision, as_json)


def _write(checkpoint: Checkpoint, measured: Calibration, settings: Settings, target: Path, bank: str) -> None:
    from dataclasses import replace

    import msgspec

    from neardup.pipeline.embed.checkpoint import save_checkpoint
    from neardup.pipeline.match.decide.calibrations import Calibrations, OfBank, read_calibrations, write_calibrations

    if target.suffix != ".json":
        save_checkpoint(replace(checkpoint, calibration=msgspec.to_builtins(measured)), target)
        return
    known = str(target) if target.exists() else settings.calibration
    held = read_calibrations(checkpoint, known) if known or bank else Calibrations(calibration=measured)
    if bank:
        own = msgspec.structs.replace(held.banks.get(bank, OfBank()), calibration=measured)
        held = msgspec.structs.replace(held, banks={**held.banks, bank: own})
    else:
        held = msgspec.structs.replace(held, calibration=measured)
    write_calibrations(msgspec.structs.replace(held, space=checkpoint.space), target)


def _print(measured: Calibration, precision: float, as_json: bool) -> None:
    """Print what follows for some numbers of references."""
    rows = [_row(measured, precision, references) for references in SIZES]
    if as_json:
        head = {name: getattr(measured, name) for name in ("version", "source", "space", "prior", "hash_weight")}
        typer.echo(json.dumps({**head, "precision": precision, "sizes": rows}, indent=2))
        return
    typer.echo(f"{measured.version}: {measured.source}; prior {measured.prior}, hash weight {measured.hash_weight}")
    for row in rows:
        if row["min_duplicate"] is None:
            typer.echo(f"{row['references']:>9,} references: no evidence is enough for a precision of {precision}")
            continue
        low, high = row["interval"]
        typer.echo(
            f"{row['references']:>9,} references: duplicate from {row['min_duplicate']:.3f}, unsure from "
            f"{row['min_unsure']:.3f}; precision {100 * row['precision']:.1f} % ({100 * low:.1f} to {100 * high:.1f}), "
            f"recall {100 * row['recall']:.0f} %, {row['false_matches_per_1000_queries']:.2f} false matches in 1,000 "
            "queries"
        )


def _row(measured: Calibration, precision: float, references: int) -> dict[str, Any]:
    limits = measured.thresholds(precision, references)
    least = limits.min_duplicate
    if math.isinf(least):
        return {"references": references, "min_duplicate": None, "min_unsure": round(limits.min_unsure, 4)}
    low, high = measured.precision_interval(least, references)
    return {
        "references": references,
        "min_duplicate": round(least, 4),
        "min_unsure": round(limits.min_unsure, 4),
        "precision": round(float(measured.precision(least, references)), 5),
        "interval": [round(float(low), 5), round(float(high), 5)],
        "recall": round(float(measured.recall_at(least, references)), 4),
        "false_matches_per_1000_queries": round(
            1000 * math.exp(float(measured.log_false_match_rate(least, references))), 3
        ),
    }
