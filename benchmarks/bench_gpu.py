"""How fast a GPU decodes, embeds, and does both at once; ends with code 2 where there is none.

    make bench-gpu            4,000 photographs of 500 × 400, rendered from bundled ones
    make bench-gpu MEDIA=DIR  pictures of your own

Files lie in memory before anything is measured. *Decode* goes from bytes to tiles in the embed worker's threads and
batches: by nvJPEG, and by the CPU what is left to it; *embed* from tiles to vectors and hashes, in the worker's
batches; *both* is the two at the same time. GPU busy is the mean of what the driver told meanwhile: the share of time
in which any kernel ran, to which hardware decoding does not count. A row by the CPU alone stands beside.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from benchmarks.photographs import render_photographs
from neardup.pipeline.describe.threads import GPU_TOGETHER, TOGETHER
from neardup.pipeline.embed.embedder import Embedder, make_embedder
from neardup.pipeline.errors import InvalidFrame
from neardup.pipeline.media.image import DEFAULT_LIMITS
from neardup.pipeline.media.nvjpeg import GpuJpegs, open_gpu_jpegs
from neardup.pipeline.media.reader import open_media
from neardup.pipeline.settings import load, usable_cores
from neardup.pipeline.types import Pixels
from neardup.workers.embed.engine import GPU_BATCH
from neardup.workers.run.gpu import utilization

_NO_GPU = 2
_TICK_SECONDS = 0.05


@dataclass
class Busy:
    """The GPU's utilisation while a block runs; NaN values are those that the driver could not tell."""

    seen: list[float] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Busy:
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_TICK_SECONDS):
            self.seen.append(utilization())


@dataclass(frozen=True)
class Row:
    """One line of the table; the GPU's utilisation from 0 to 1, NaN where it is not known."""

    name: str
    images_per_second: float
    cpu_seconds: float
    gpu_busy: float


def measure(name: str, count: int, work: Callable[[], object], runs: int) -> Row:
    """Run something over `count` images, once to warm up and then some times, and take the median."""
    work()
    wall, cpu = [], []
    with Busy() as watch:
        for _ in range(runs):
            before, began = time.process_time(), time.perf_counter()
            work()
            wall.append(time.perf_counter() - began)
            cpu.append(time.process_time() - before)
    gpu = statistics.fmean(watch.seen) if watch.seen else math.nan
    return Row(name, count / statistics.median(wall), statistics.median(cpu) / count, gpu)


def decode(files: Sequence[bytes], jpegs: GpuJpegs | None, size: int, threads: int) -> Iterator[Pixels]:
    """Yield the tile of each picture that can be decoded."""

    def tiles(some: Sequence[bytes]) -> list[Pixels]:
        pictures = [None] * len(some) if jpegs is None else jpegs.open(some, size, DEFAULT_LIMITS)
        found: list[Pixels] = []
        for data, picture in zip(some, pictures, strict=True):
            with suppress(InvalidFrame):
                found.extend(frame.tile for frame in open_media(data, size, decoded=picture).frames)
        return found

    with ThreadPoolExecutor(threads) as pool:
        for found in pool.map(tiles, batched(files, TOGETHER if jpegs is None else GPU_TOGETHER)):
            yield from found


def embed(tiles: Iterable[Pixels], embedder: Embedder, batch: int) -> int:
    """Embed tiles in batches as they come, and return how many there were."""
    count, waiting = 0, list[Pixels]()
    for tile in tiles:
        waiting.append(tile)
        if len(waiting) == batch:
            count += len(embedder.embed(np.stack(waiting)).vectors)
            waiting.clear()
    return count + len(embedder.embed(np.stack(waiting)).vectors) if waiting else count


def batched(files: Sequence[bytes], count: int) -> list[Sequence[bytes]]:
    """Return the files so many at a time."""
    return [files[start : start + count] for start in range(0, len(files), count)]


def share_by_gpu(files: Sequence[bytes], jpegs: GpuJpegs, size: int, threads: int) -> float:
    """Return which share of the files is not left to the CPU."""
    with ThreadPoolExecutor(threads) as pool:
        opened = pool.map(lambda some: jpegs.open(some, size, DEFAULT_LIMITS), batched(files, GPU_TOGETHER))
        return sum(picture is not None for pictures in opened for picture in pictures) / len(files)


def measure_all(
    files: Sequence[bytes], jpegs: GpuJpegs | None, embedder: Embedder, threads: int, runs: int
) -> list[Row]:
    """Return the rows of the table."""
    size = embedder.size
    tiles = list(decode(files, jpegs, size, threads))
    count = len(tiles)
    return [
        measure("decode, CPU alone", count, lambda: list(decode(files, None, size, threads)), 1),
        measure("decode", count, lambda: list(decode(files, jpegs, size, threads)), runs),
        measure("embed", count, lambda: embed(tiles, embedder, GPU_BATCH), runs),
        measure("both", count, lambda: embed(decode(files, jpegs, size, threads), embedder, GPU_BATCH), runs),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, default=os.environ.get("MEDIA"))
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=usable_cores(), help="that open pictures")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("bench-gpu: torch finds no usable CUDA device here, so there is nothing to measure", file=sys.stderr)
        return _NO_GPU
    if options.media:
        paths = sorted(path for path in Path(options.media).expanduser().rglob("*") if path.is_file())[: options.count]
    else:
        paths = render_photographs(Path(f"demo/photographs-{options.count}"), options.count)
    files = [path.read_bytes() for path in paths]
    embedder, jpegs = make_embedder(load().model, "cuda"), open_gpu_jpegs()
    versions = f"torch {torch.__version__}, {embedder.engine}"
    print(f"{len(files)} files, {torch.cuda.get_device_name()}, {usable_cores()} cores, {versions}")
    share = 0.0 if jpegs is None else share_by_gpu(files, jpegs, embedder.size, options.threads)
    print(f"nvJPEG decodes {share:.1%} of the files, the CPU the others")
    print_table(measure_all(files, jpegs, embedder, options.threads, options.runs))
    return 0


def print_table(rows: Sequence[Row]) -> None:
    """Print the rows."""
    print("\n| | images/s | CPU-seconds per 1,000 images | GPU busy |")
    print("|---|---:|---:|---:|")
    for row in rows:
        busy = "not told" if math.isnan(row.gpu_busy) else f"{row.gpu_busy:.0%}"
        print(f"| {row.name} | {row.images_per_second:,.0f} | {1000 * row.cpu_seconds:.2f} | {busy} |")


if __name__ == "__main__":
    sys.exit(main())
