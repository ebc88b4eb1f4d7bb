"""Measure copies and strangers among pictures and write the calibration into a checkpoint; its space stays the same.

Of the pictures --held-out are edited and searched for among all; they are chosen as `neardup train` chooses those that
it does not train on, so calibrating with the training folders uses pictures that the network has not seen.

Example: [bold]neardup calibrate ~/Pictures --model mine.safetensors --output mine.safetensors[/bold]
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from neardup.workers.commands.common import Bar, DeviceOption, ModelOption, ThreadsOption, check_present, writable


def run(
    pictures: Annotated[list[Path], typer.Argument(help="Folders of pictures.")],
    output: Annotated[Path, typer.Option(help="Checkpoint to write; may be the one that is read.")],
    held_out: Annotated[int, typer.Option(min=100, help="Pictures that are edited and searched for.")] = 400,
    skip: Annotated[int, typer.Option(min=0, help="Other pictures left out: those that became the background.")] = 1000,
    pages: Annotated[
        int, typer.Option(min=0, help="Rendered pages and charts added to the background, unless it has them already.")
    ] = 200,
    only: Annotated[Path | None, typer.Option(help="File with the sha1 of each picture to use.")] = None,
    alike: Annotated[Path | None, typer.Option(help="CSV of pairs that look alike: sha1_a, sha1_b, relation.")] = None,
    source: Annotated[str, typer.Option(help="What the pictures are, to be shown with the calibration.")] = "",
    model: ModelOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Calibrate a checkpoint."""
    import msgspec

    from neardup.pipeline.embed.checkpoint import load_checkpoint, save_checkpoint
    from neardup.pipeline.embed.embedder import make_embedder
    from neardup.pipeline.settings import load
    from neardup.pipeline.train.calibrate import calibrate_checkpoint, with_pages
    from neardup.pipeline.train.pictures import load_pictures, split_held_out

    settings = load(model=model, device=device, threads=threads)
    check_present(*pictures, only, alike)
    target = writable(output)
    checkpoint = load_checkpoint(settings.model)
    embedder = make_embedder(checkpoint, settings.device)
    checkpoint = with_pages(checkpoint, embedder, pages)
    loaded = load_pictures(pictures, 200, only, alike, settings.worker_threads)
    others, held = split_held_out(loaded, held_out)
    with Bar("calibrating") as bar:
        bar.start(len(held))
        calibration = calibrate_checkpoint(
            checkpoint,
            embedder,
            loaded,
            held,
            others[skip:],
            source or f"{len(held)} pictures of {', '.join(map(str, pictures))}",
            report=lambda _done, _all: bar.advance(1),
        )
    save_checkpoint(replace(checkpoint, calibration=msgspec.to_builtins(calibration)), target)
    for references in (2_000, 20_000, 200_000):
        limits = calibration.thresholds(settings.precision, references)
        typer.echo(
            f"{references:>9,} references: duplicate from {limits.min_duplicate:.3f}, unsure from "
            f"{limits.min_unsure:.3f}; hash weight {calibration.hash_weight}"
        )
