"""Write the descriptors of all images and videos below a folder to one .npz file.

Arrays: names (n,), vectors (n, d) float32 with rows of unit length, pts (n,) seconds, region (n,) int32, 0 the whole
picture. A name repeats where an item has several descriptors.

Example: [bold]neardup embed ~/Pictures --output descriptors.npz[/bold]
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from neardup.pipeline.messages import join_parts
from neardup.pipeline.report.atomic import atomic
from neardup.pipeline.report.names import readable, visible
from neardup.pipeline.settings import load
from neardup.workers.commands.common import (
    Bar,
    DeviceOption,
    FpsOption,
    ModelOption,
    ThreadsOption,
    describe,
    open_embedder,
    writable,
)


def run(
    path: Annotated[Path, typer.Argument(help="Folder or file.")],
    output: Annotated[Path, typer.Option(help="The .npz file to write.")],
    model: ModelOption = None,
    sample_fps: FpsOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Embed everything below a folder."""
    settings = load(model=model, sample_fps=sample_fps, device=device, threads=threads)
    target = writable(output)
    embedder = open_embedder(settings)
    names: list[str] = []
    pts: list[float] = []
    vectors = [np.zeros((0, embedder.dimension), dtype=np.float32)]
    with Bar("embedding") as bar:
        described = list(describe([path], settings, embedder, bar))
    for name, finished in sorted(described, key=lambda one: one[0]):
        if finished.content is None:
            typer.echo(f"skipped {visible(name)}: {finished.error}", err=True)
            continue
        item = join_parts(finished.content.parts)
        names += [readable(name)] * len(item.pts)
        pts += item.pts
        vectors.append(item.embedded().vectors)
    region = np.zeros(len(names), dtype=np.int32)
    with atomic(target) as file:
        np.savez(
            file,
            names=np.array(names, dtype=np.str_),
            vectors=np.concatenate(vectors),
            pts=np.array(pts),
            region=region,
        )
    typer.echo(f"{len(names):,} descriptors of {len(vectors) - 1:,} items with model {settings.model}: {target}")
