"""Write the descriptors of all images and videos below a folder to one .npz file.

Arrays: names (n,), vectors (n, d) float32 with rows of unit length, pts (n,) seconds, region (n,) int32, 0 the whole
picture; boxes (n, 4) float32, the part of the picture: left, top, right, bottom as shares. A name repeats where an item
has several descriptors.

With --head similar: one vector for each item, the mean over a video's frames, close for items with like content.
Arrays: names (n,), vectors (n, s).

Example: [bold]neardup embed ~/Pictures --output descriptors.npz[/bold]
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from neardup.pipeline.report.names import readable
from neardup.workers.cli.common import (
    Bar,
    DeviceOption,
    FpsOption,
    ModelOption,
    RegionsOption,
    ThreadsOption,
    check_present,
    counted,
    writable,
)
from neardup.workers.cli.reader import Reader

if TYPE_CHECKING:
    from neardup.pipeline.embed.checkpoint import Checkpoint
    from neardup.pipeline.settings import Settings


def run(
    path: Annotated[Path, typer.Argument(help="Folder or file.")],
    output: Annotated[Path, typer.Option(help="The .npz file to write.")],
    model: ModelOption = None,
    head: Annotated[
        Literal["copy", "similar"], typer.Option(help="Descriptors for copies, or vectors for similar items.")
    ] = "copy",
    regions: RegionsOption = None,
    sample_fps: FpsOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Embed everything below a folder."""
    import numpy as np

    from neardup.pipeline.embed.checkpoint import load_checkpoint
    from neardup.pipeline.files import atomic
    from neardup.pipeline.log.records import FULL, join_parts, unpack_boxes
    from neardup.pipeline.settings import load
    from neardup.pipeline.types import Kind

    similar = head == "similar"
    settings = load(
        model=model, sample_fps=sample_fps, regions="none" if similar else regions, device=device, threads=threads
    )
    check_present(path)
    target = writable(output)
    checkpoint = load_checkpoint(settings.model)
    if similar:
        _embed_similar(path, checkpoint, settings, target)
        return
    names: list[str] = []
    pts: list[float] = []
    region: list[int] = []
    boxes = [np.zeros((0, 4), dtype=np.float32)]
    vectors = [np.zeros((0, checkpoint.architecture.dimension), dtype=np.float32)]
    reader = Reader(checkpoint, settings)
    with Bar("embedding") as bar:
        for name, parts in reader.usable(path, bar):
            item = join_parts(parts)
            names += [readable(name)] * len(item.pts)
            pts += item.pts
            vectors.append(item.embedded().vectors)
            region += range(len(item.pts)) if item.kind is Kind.IMAGE else [0] * len(item.pts)
            boxes.append((unpack_boxes(item.boxes, len(item.pts)) / FULL).astype(np.float32))
    with atomic(target) as file:
        np.savez(
            file,
            names=np.array(names, dtype=np.str_),
            vectors=np.concatenate(vectors),
            pts=np.array(pts, dtype=np.float64),
            region=np.array(region, dtype=np.int32),
            boxes=np.concatenate(boxes),
        )
    described = f"{counted(len(names), 'descriptor')} of {counted(len(vectors) - 1, 'item')}"
    typer.echo(f"{described} with model {settings.model}: {target}")


def _embed_similar(path: Path, checkpoint: Checkpoint, settings: Settings, target: Path) -> None:
    import numpy as np

    from neardup.pipeline.errors import ConfigError
    from neardup.pipeline.files import atomic
    from neardup.pipeline.log.records import join_parts

    if checkpoint.similar is None:
        raise ConfigError(f"model {settings.model!r} has no similar head; train one: neardup train --head similar")
    names: list[str] = []
    vectors = [np.zeros((0, checkpoint.similar.dimension), dtype=np.float32)]
    with Bar("embedding") as bar:
        for name, parts in Reader(checkpoint, settings).usable(path, bar):
            vector = join_parts(parts).similar_vector(checkpoint.similar_space)
            if len(vector):
                names.append(readable(name))
                vectors.append(vector)
    with atomic(target) as file:
        np.savez(file, names=np.array(names, dtype=np.str_), vectors=np.concatenate(vectors))
    typer.echo(f"{counted(len(names), 'similar vector')} with model {settings.model}: {target}")
