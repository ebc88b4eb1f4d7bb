"""Train the Siamese network on folders of pictures; write a checkpoint, a record of the run (JSON) and a page (HTML).

Without more, two edited copies of a picture are a pair. --classes: each folder below DIR is a class (a person, a
product; a folder `forged` inside it holds imitations). --pairs: a CSV with the columns a, b (a file's sha1, or its path
from the CSV's folder or from a DIR) and relation (same, different, unknown), as `neardup export pairs` writes it.

--precision int8 turns a trained float checkpoint into one that a CPU runs about twice as fast: ranges are measured,
then the weights learn to live with the rounding. Give it a low --learning-rate, such as 3e-5.

--head similar leaves the network as it is and adds a head that finds pictures with like content, not only copies. From
--teacher, a classifier's state dict (a torchvision trunk), it learns which pictures are alike; from --classes, which
are of one class. It takes minutes, and starts anew when killed. Of the options it takes --init, --trunk, --only,
--alike, --classes, --held-out, --seed, --licence, --device and --threads.

Killed at any moment, the same command goes on from the last saved state. Afterwards run `neardup calibrate`.

Example: [bold]neardup train ~/Pictures --minutes 15 --output mine.safetensors[/bold]
[bold]neardup train ~/Pictures --head similar --teacher mobilenet_v2.pth --output mine.safetensors[/bold]
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from neardup.workers.cli.common import DeviceOption, ThreadsOption, check_present, writable

if TYPE_CHECKING:
    from neardup.pipeline.learn.train.loop import Progress
    from neardup.pipeline.learn.train.options import TrainSettings
    from neardup.pipeline.learn.train.similar import SimilarProgress


_OF_COPIES = (
    "precision", "size", "loss", "distance", "margin", "mining", "memory", "pairs", "edits", "minutes", "patience",
    "batch", "learning_rate",
)  # fmt: skip
"""Options that a similar head does not take."""


def run(
    context: typer.Context,
    pictures: Annotated[list[Path], typer.Argument(help="Folders of pictures to train on.")],
    output: Annotated[Path, typer.Option(help="Checkpoint to write.")] = Path("trained.safetensors"),
    init: Annotated[
        str,
        typer.Option(help="Start weights: a checkpoint, by name or path; or a torchvision trunk's state dict."),
    ] = "default",
    trunk: Annotated[
        str | None,
        typer.Option(help="Trunk of a state dict that --init or --teacher names; default mobilenet_v2."),
    ] = None,
    head: Annotated[
        Literal["copy", "similar"],
        typer.Option(help="What is trained: the network, for copies; or a head of it for similar items."),
    ] = "copy",
    teacher: Annotated[
        Path | None, typer.Option(help="For --head similar: a torchvision classifier's state dict to learn from.")
    ] = None,
    precision: Annotated[
        Literal["float", "int8"] | None,
        typer.Option(help="int8 makes a network that rounds to 8-bit integers; default that of --init."),
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=32, help="Side of the tiles in pixels, a multiple of 32; default that of --init.")
    ] = None,
    licence: Annotated[str, typer.Option(help="Licence of the start weights, kept in the checkpoint.")] = "",
    loss: Annotated[
        Literal["contrastive", "triplet", "bce", "infonce"], typer.Option(help="Loss to minimise.")
    ] = "infonce",
    distance: Annotated[
        Literal["euclidean", "cosine"] | None,
        typer.Option(help="Distance in the loss; default cosine for bce and infonce, else euclidean."),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(min=0.0, help="Margin of the contrastive (default 1) or triplet loss (0.3)."),
    ] = None,
    mining: Annotated[Literal["batch-hard", "semi-hard"], typer.Option(help="How triplets are chosen.")] = "batch-hard",
    memory: Annotated[int, typer.Option(min=0, help="Descriptors of earlier batches to compare with as well.")] = 0,
    classes: Annotated[bool, typer.Option("--classes", help="Each folder below DIR is a class.")] = False,
    pairs: Annotated[Path | None, typer.Option(help="CSV of pairs: a, b, relation.")] = None,
    edits: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="How hard copies are edited; default 1, with --classes 0.3.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.1, help="Training time over all restarts; default one for 75 pictures, from 5 to 60."),
    ] = None,
    patience: Annotated[
        int, typer.Option(min=0, help="Measurements without gain after which training ends early; 0 for never.")
    ] = 5,
    batch: Annotated[int, typer.Option(min=4, help="Pictures per batch.")] = 64,
    learning_rate: Annotated[
        float, typer.Option(min=1e-6, max=1e-2, help="AdamW's highest; less for a checkpoint that is trained already.")
    ] = 1.5e-4,
    held_out: Annotated[int, typer.Option(min=3, help="Pictures, a third at most, to measure with.")] = 400,
    seed: Annotated[int, typer.Option(help="Seed of the random choice of batches and edits.")] = 0,
    only: Annotated[Path | None, typer.Option(help="File with the sha1 of each picture to use.")] = None,
    alike: Annotated[Path | None, typer.Option(help="CSV of look-alikes: sha1_a, sha1_b, relation.")] = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Train a checkpoint."""
    from neardup.pipeline.devices import has_cuda
    from neardup.pipeline.embed.checkpoint import Architecture
    from neardup.pipeline.errors import ConfigError
    from neardup.pipeline.learn.train.loop import train
    from neardup.pipeline.learn.train.options import TrainSettings
    from neardup.pipeline.learn.train.report import write_report
    from neardup.pipeline.learn.train.start import find_state_dict
    from neardup.pipeline.match.query.verify import read_verifier
    from neardup.pipeline.settings import load

    settings = load(device=device, threads=threads)
    check_present(*pictures, only, alike, pairs, teacher)
    target = writable(output)
    where = ("cuda" if has_cuda(certain=False) else "cpu") if settings.device == "auto" else settings.device
    others = _OF_COPIES if head == "similar" else ("teacher",)
    for name in others:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise ConfigError(f"--{name.replace('_', '-')} is not for --head {head}")
    architecture = Architecture() if trunk is None else Architecture.of(trunk)
    if trunk is not None and teacher is None and find_state_dict(init) is None:
        raise ConfigError(f"--trunk is for a state dict; --init {init} is a checkpoint, which names its trunk itself")
    if head == "similar":
        _train_similar(
            TrainSettings(
                pictures=tuple(pictures),
                output=target,
                state=target.with_suffix(".state"),
                init=init,
                architecture=architecture,
                licence=licence,
                classes=classes,
                held_out=held_out,
                seed=seed,
                only=only,
                alike=alike,
                teacher=teacher,
                threads=settings.worker_threads,
                device=where,
            )
        )
        return
    trained = train(
        TrainSettings(
            pictures=tuple(pictures),
            output=target,
            state=target.with_suffix(".state"),
            init=init,
            architecture=architecture,
            precision=precision,
            size=size,
            licence=licence,
            loss=loss,
            distance=distance,
            margin=margin,
            mining=mining,
            memory=memory,
            classes=classes,
            named_pairs=pairs,
            edits=edits,
            minutes=minutes,
            patience=patience,
            batch=batch,
            learning_rate=learning_rate,
            held_out=held_out,
            seed=seed,
            only=only,
            alike=alike,
            threads=settings.worker_threads,
            device=where,
        ),
        _print,
    )
    page = write_report(trained, target)
    record = trained.checkpoint.training
    typer.echo(f"held-out micro-AP {record['start']['micro_ap']:.3f} before, {record['best']['micro_ap']:.3f} after")
    if verifier := read_verifier(trained.checkpoint):
        typer.echo(
            f"held-out classes: equal error rate {verifier.equal_error:.1%} over {verifier.classes} classes; a yes at "
            f"{verifier.threshold:.3f} accepts {verifier.false_accept:.1%} of the impostor pairs and rejects "
            f"{verifier.false_reject:.1%} of the genuine ones"
        )
        typer.echo(f"{target}: see {page}; then neardup compare --model {target} A B")
        return
    typer.echo(f"{target}: see {page}; calibrate it next: neardup calibrate … --model {target} --output {target}")


def _train_similar(settings: TrainSettings) -> None:
    from neardup.pipeline.learn.train.similar import train_similar

    def report(progress: SimilarProgress) -> None:
        line = f"{progress.stage} {progress.done:6.1%}  {progress.seconds / 60:.1f} min"
        typer.echo(line if progress.loss is None else f"{line}  loss {progress.loss:.3f}", err=True)

    checkpoint = train_similar(settings, report)
    assert checkpoint.similar is not None
    for name, value in checkpoint.similar.training.items():
        typer.echo(f"{name}: {value}")
    typer.echo(f"{settings.output}: descriptors of copies as before, similar items in space {checkpoint.similar_space}")


def _print(progress: Progress) -> None:
    line = f"{progress.done:6.1%}  step {progress.step:,}  {progress.seconds / 60:.1f} min  loss {progress.loss:.3f}"
    line += f"  {progress.pictures_per_second:.0f} pictures/s, {progress.waited:.0%} waiting for edits"
    if progress.quality is not None:
        line += f"  held-out micro-AP {progress.quality.micro_ap:.3f}, recall@1 {progress.quality.recall_at_1:.3f}"
        line += ", best so far" if progress.best else ""
    typer.echo(line, err=True)
