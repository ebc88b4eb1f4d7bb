"""Train the Siamese network on folders of pictures, without labels: two edited copies of a picture are a pair.

Killed at any moment, the same command goes on from the last saved state. Afterwards run `neardup calibrate`.

Example: [bold]neardup train ~/Pictures --minutes 15 --output mine.safetensors[/bold]
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neardup.workers.commands.common import DeviceOption, ThreadsOption, check_present, writable

if TYPE_CHECKING:
    from neardup.pipeline.train.loop import Progress


def run(
    pictures: Annotated[list[Path], typer.Argument(help="Folders of pictures to train on.")],
    output: Annotated[Path, typer.Option(help="Checkpoint to write.")],
    init: Annotated[
        str,
        typer.Option(help="Start weights: a checkpoint, by name or path; or a torchvision trunk's state dict."),
    ] = "default",
    licence: Annotated[str, typer.Option(help="Licence of the start weights, kept in the checkpoint.")] = "",
    minutes: Annotated[float, typer.Option(min=0.1, help="Budget of training time, over all restarts.")] = 15.0,
    pairs: Annotated[int, typer.Option(min=4, help="Pictures per batch.")] = 64,
    seed: Annotated[int, typer.Option(help="Of batches and edits.")] = 0,
    only: Annotated[Path | None, typer.Option(help="File with the sha1 of each picture to use.")] = None,
    alike: Annotated[Path | None, typer.Option(help="CSV of look-alikes: sha1_a, sha1_b, relation.")] = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Train a checkpoint."""
    from neardup.pipeline.settings import load
    from neardup.pipeline.train.loop import TrainSettings, train

    settings = load(device=device, threads=threads)
    check_present(*pictures, only, alike)
    target = writable(output)
    train(
        TrainSettings(
            pictures=tuple(pictures),
            output=target,
            state=target.with_suffix(".state"),
            init=init,
            licence=licence,
            minutes=minutes,
            pairs=pairs,
            seed=seed,
            only=only,
            alike=alike,
            threads=settings.worker_threads,
            device="cpu" if settings.device == "auto" else settings.device,
        ),
        _tell,
    )
    typer.echo(f"{target}: calibrate it next: neardup calibrate … --model {target} --output {target}")


def _tell(progress: Progress) -> None:
    line = f"{progress.done:6.1%}  step {progress.step:,}  {progress.seconds / 60:.1f} min  loss {progress.loss:.3f}"
    line += f"  {progress.pictures_per_second:.0f} pictures/s, {progress.waited:.0%} waiting for edits"
    if progress.quality is not None:
        line += f"  held-out micro-AP {progress.quality.micro_ap:.3f}, recall@1 {progress.quality.recall_at_1:.3f}"
    typer.echo(line, err=True)
