"""How fast a machine with a GPU decodes, embeds, scans and streams, in under five minutes; code 2 where there is none.

    make bench-gpu            2,000 photographs of 500 × 400, rendered from bundled ones
    make bench-gpu MEDIA=DIR  pictures of your own
    python -m benchmarks.bench_gpu --device cpu --count 60 --repeat 2 --runs 1 --workers 1    a rehearsal without a GPU

*Decode* goes from bytes in memory to tiles in threads: by nvJPEG, and by the CPU what is left to it; *embed* from tiles
to vectors and hashes, in the worker's batches; *both* is the two at the same time. A row by the CPU alone stands
beside. *Processes, no network* is all that processes which feed a network do, from files to descriptions, with one that
answers with zeros: the most that they could feed. *Scan* is the whole scan, by threads that decode on the GPU, and by
processes that feed it. CPU-seconds are those of all processes. GPU busy is the mean of what the driver reports
meanwhile: the share of time in which any kernel ran, to which hardware decoding does not count.

The *embed stage* goes from records in Kafka to descriptions in the log: Kafka has all media, some times over, before
embed workers start, and the rate counts from when all of them work. The *whole stream* is that of `bench_stream`.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from kafka import TopicPartition

from benchmarks.bench_scan import cpu_seconds, scan_once
from benchmarks.bench_stream import PATIENCE_SECONDS, WAYS, Stream, running_stream
from benchmarks.bench_stream import measure as measure_stream
from benchmarks.photographs import render_photographs
from neardup.pipeline.describe.threads import GPU_TOGETHER, TOGETHER
from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.embedder import BatchEmbedder, Embedder, make_embedder, put_together
from neardup.pipeline.embed.hash import dct_hash
from neardup.pipeline.errors import InvalidFrame
from neardup.pipeline.media.image import DEFAULT_LIMITS
from neardup.pipeline.media.nvjpeg import GpuJpegs, open_gpu_jpegs
from neardup.pipeline.media.reader import open_media
from neardup.pipeline.scan.describe import Processes, in_threads
from neardup.pipeline.scan.finished import Describe
from neardup.pipeline.scan.walk import Found, walk
from neardup.pipeline.settings import load, usable_cores
from neardup.pipeline.types import Descriptors, Embedded, Pixels
from neardup.workers.embed.engine import GPU_BATCH
from neardup.workers.kafka.clients import connect_consumer
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
            before, began = cpu_seconds(), time.perf_counter()
            work()
            wall.append(time.perf_counter() - began)
            cpu.append(cpu_seconds() - before)
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


class NoNetwork:
    """Answers as a `BatchEmbedder`, with nothing."""

    engine = "none"

    def __init__(self, like: BatchEmbedder) -> None:
        self.space, self.similar_space = like.space, like.similar_space
        self.dimension, self.size = like.dimension, like.size
        self._width = like.rows([np.zeros((1, like.size, like.size, 3), np.uint8)])[0].shape[1]

    def rows(self, batches: Sequence[Pixels]) -> list[Descriptors]:
        """Return rows of zeros."""
        return [np.zeros((len(tiles), self._width), np.float32) for tiles in batches]

    def embed(self, tiles: Pixels) -> Embedded:
        """Return vectors of zeros."""
        [rows] = self.rows([tiles])
        return put_together(rows, self.dimension, *dct_hash(tiles))


def measure_scans(folder: Path, embedder: BatchEmbedder, processes: int, runs: int) -> list[Row]:
    """Return the rows of scans of a folder."""
    settings = load()
    checkpoint = load_checkpoint(settings.model)
    threads = in_threads(lambda: embedder, embedder.size, settings, "cuda" in embedder.engine)
    files = [found for found in walk([folder]) if isinstance(found, Found)]
    count = len(files)

    def describe_all(describe: Describe) -> None:
        done = sum(len(some) for some in describe(files, frozenset()))
        assert done == len(files), (done, len(files))

    rows = [measure("scan, threads", count, lambda: scan_once(folder, threads), runs)]
    with closing(Processes(processes, checkpoint, settings, lambda: NoNetwork(embedder))) as unfed:
        rows.append(measure("processes, no network", count, lambda: describe_all(unfed.describe), runs))
    with closing(Processes(processes, checkpoint, settings, lambda: embedder)) as feeding:
        rows.append(measure("processes that feed, described", count, lambda: describe_all(feeding.describe), runs))
        rows.append(measure("scan, processes that feed", count, lambda: scan_once(folder, feeding.describe), runs))
    return rows


class LogGrowth:
    """Watches the end of the log, in a thread, until it has `count` records."""

    def __init__(self, stream: Stream, count: int) -> None:
        self._consumer = connect_consumer(stream.settings)
        self._partition = TopicPartition(stream.topics.log, 0)
        self._count = count
        self.seen: list[tuple[float, int]] = []
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        end, deadline = 0, time.monotonic() + PATIENCE_SECONDS
        while end < self._count and time.monotonic() < deadline:
            [end] = self._consumer.end_offsets([self._partition]).values()
            self.seen.append((time.perf_counter(), end))
            time.sleep(_TICK_SECONDS)

    def rate(self, begun: float) -> float:
        """Return records a second since a moment, once all are there; raises TimeoutError.

        If all came before, since the last look that found none.
        """
        self._thread.join()
        self._consumer.close()
        last, end = self.seen[-1]
        if end < self._count:
            raise TimeoutError(f"{end} of {self._count} descriptions after {PATIENCE_SECONDS:.0f} s")
        later = [one for one in self.seen if one[0] >= begun and 0 < one[1] < end]
        first, start = later[0] if later else max(one for one in self.seen if one[1] == 0)
        return (end - start) / (last - first)


def embed_stage(folder: Path, contents: Sequence[bytes], workers: int, environment: Mapping[str, str]) -> float:
    """Return the images/s of embed workers alone, from Kafka to the log."""
    growth: list[LogGrowth] = []

    def fill(stream: Stream) -> None:
        for number, content in enumerate(contents):
            stream.produce(f"item-{number}", content)
        stream.producer.flush()
        growth.append(LogGrowth(stream, len(contents)))

    with running_stream(folder, workers, environment, ("embed",), fill):
        return growth[0].rate(time.perf_counter())


def measure_streams(
    contents: Sequence[bytes], repeat: int, device: str, workers: Sequence[int], processes: int
) -> None:
    """Print the embed stage and the stream, by way and number of embed workers.

    Args:
        repeat: how often the embed stage is given each picture.
    """
    print("\n| embed workers, way | embed stage, images/s | whole stream | CPU-ms: embed | match | p50, p99 ms |")
    print("|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as scratch:
        for way in ("threads", "shared"):
            for count in workers:
                share = str(max(processes // count, 1))
                environment = {**WAYS[way], "NEARDUP_DEVICE": device, "NEARDUP_THREADS": share}
                stage = embed_stage(_made(scratch, f"{way}-{count}-stage"), [*contents] * repeat, count, environment)
                with running_stream(_made(scratch, f"{way}-{count}"), count, environment) as stream:
                    whole = measure_stream(stream, contents)
                embed = sum(seconds for name, seconds in whole.cpu_seconds.items() if name.startswith("embed"))
                cpu = [f"{1000 * one / len(contents):.2f}" for one in (embed, whole.cpu_seconds["match"])]
                p50, p99 = (1000 * float(np.quantile(whole.delays["again"], q)) for q in (0.5, 0.99))
                print(
                    f"| {count}, {way} | {stage:,.0f} | {whole.images_per_second:,.0f} | {' | '.join(cpu)} "
                    f"| {p50:.0f}, {p99:.0f} |",
                    flush=True,
                )


def _made(scratch: str, name: str) -> Path:
    folder = Path(scratch, name)
    folder.mkdir()
    return folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, default=os.environ.get("MEDIA"))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu is a rehearsal")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--repeat", type=int, default=10, help="times that the embed stage is given each picture")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=usable_cores(), help="that decode, or processes")
    parser.add_argument("--workers", default="1,2,4", help="embed workers at once, one stream after the other")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("bench-gpu: torch finds no usable CUDA device here, so there is nothing to measure", file=sys.stderr)
        return _NO_GPU
    began = time.perf_counter()
    folder = Path(options.media or f"demo/photographs-{options.count}").expanduser()
    if options.media:
        paths = sorted(path for path in folder.rglob("*") if path.is_file())[: options.count]
    else:
        paths = render_photographs(folder, options.count)
    files = [path.read_bytes() for path in paths]
    embedder = make_embedder(load().model, options.device)
    jpegs = open_gpu_jpegs() if options.device == "cuda" else None
    name = torch.cuda.get_device_name() if options.device == "cuda" else "no GPU: a rehearsal"
    print(f"{len(files)} files, {name}, {usable_cores()} cores, torch {torch.__version__}, {embedder.engine}")
    share = 0.0 if jpegs is None else share_by_gpu(files, jpegs, embedder.size, options.threads)
    print(f"nvJPEG decodes {share:.1%} of the files, the CPU the others")
    print_table(
        measure_all(files, jpegs, embedder, options.threads, options.runs)
        + measure_scans(folder, embedder, options.threads, options.runs)
    )
    del embedder, jpegs  # workers have networks of their own
    workers = [int(count) for count in options.workers.split(",")]
    measure_streams(files, options.repeat, options.device, workers, options.threads)
    print(f"\nall of it in {time.perf_counter() - began:.0f} s")
    return 0


def print_table(rows: Sequence[Row]) -> None:
    """Print the rows."""
    print("\n| | images/s | CPU-seconds per 1,000 images | GPU busy |")
    print("|---|---:|---:|---:|")
    for row in rows:
        busy = "–" if math.isnan(row.gpu_busy) else f"{row.gpu_busy:.0%}"
        print(f"| {row.name} | {row.images_per_second:,.0f} | {1000 * row.cpu_seconds:.2f} | {busy} |")


if __name__ == "__main__":
    sys.exit(main())
