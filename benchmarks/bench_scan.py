"""How fast a scan is, beside what its parts would allow and beside its peers, on the same files in one run.

    make bench-scan            2,000 photographs of 500 × 400, rendered from bundled ones
    make bench-scan MEDIA=DIR  pictures of your own

CPU-seconds are those of all threads together. *Ideal* is what the cores could do if decoding and the network were all
there is and overlapped perfectly: cores ÷ (CPU-seconds per image of the bare decode loop + of the bare embed loop). The
bare loops run on all cores, as the scan does: two threads of one physical core slow each other down. The rate of the
whole scan counts from listing the files to the groups, with the network loaded; what starting the command costs on top
is in a row of its own. Where other work shares the machine it takes time from the scan and none from the ideal; the
rate of the two bare loops one after the other suffers as the scan does, and the ratio of CPU-seconds not at all.
The scan's processes have started before, as the network of its threads is loaded; their CPU-seconds are the scan's.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from benchmarks.photographs import render_photographs
from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.embedder import Embedder, make_embedder
from neardup.pipeline.errors import InvalidFrame
from neardup.pipeline.media.reader import open_media
from neardup.pipeline.media.regions import Mode
from neardup.pipeline.scan.catalog import Catalog
from neardup.pipeline.scan.choose import choose_processes
from neardup.pipeline.scan.describe import Processes, in_threads
from neardup.pipeline.scan.finished import Describe
from neardup.pipeline.scan.run import scan
from neardup.pipeline.settings import load, usable_cores
from neardup.pipeline.types import Pixels

BATCH = 32


class _Silent:
    def start(self, files: int) -> None: ...

    def advance(self, files: int) -> None: ...


@dataclass(frozen=True)
class Row:
    """One line of the table: seconds are per image."""

    name: str
    cpu_seconds: float
    images_per_second: float
    note: str = ""


@dataclass(frozen=True)
class Work:
    """Something done to `count` images."""

    name: str
    count: int
    do: Callable[[], object]
    note: str = ""


def timed(works: Sequence[Work], runs: int) -> list[Row]:
    """Do everything several times and take the medians: in turn, so that a machine that slows down slows all of it."""
    measured: list[list[tuple[float, float]]] = [[] for _ in works]
    for _ in range(runs):
        for work, seconds in zip(works, measured, strict=True):
            gc.collect()
            before, began = cpu_seconds(), time.perf_counter()
            work.do()
            seconds.append((cpu_seconds() - before, time.perf_counter() - began))
    medians = [
        (statistics.median(cpu), statistics.median(wall)) for cpu, wall in (zip(*one, strict=True) for one in measured)
    ]
    return [
        Row(work.name, cpu / work.count, work.count / wall, work.note)
        for work, (cpu, wall) in zip(works, medians, strict=True)
    ]


def cpu_seconds() -> float:
    """Return those of this process and of all that it started, and these, ended or not."""
    times = os.times()
    running = sum(
        float(child.user + child.system + child.children_user + child.children_system)
        for child in [one.cpu_times() for one in psutil.Process().children(recursive=True)]
    )
    return times.user + times.system + times.children_user + times.children_system + running


def decode_all(paths: Sequence[Path], threads: int, size: int, regions: Mode = "none") -> list[Pixels]:
    """Read and decode every file to tiles of a size."""
    with ThreadPoolExecutor(threads) as pool:
        return [tile for tiles in pool.map(partial(_decode, size=size, regions=regions), paths) for tile in tiles]


def _decode(path: Path, size: int, regions: Mode) -> list[Pixels]:
    try:
        return [frame.tile for frame in open_media(path.read_bytes(), size, regions=regions).frames]
    except InvalidFrame:
        return []


def embed_all(embedder: Embedder, tiles: Pixels) -> None:
    """Embed tiles in batches."""
    for start in range(0, len(tiles), BATCH):
        embedder.embed(tiles[start : start + BATCH])


def scan_once(folder: Path, describe: Describe, known: Catalog | None = None) -> None:
    """Scan a folder with nothing remembered; or with all descriptors known, which matches only."""
    settings = load()
    checkpoint = load_checkpoint(settings.model)
    catalog = known or Catalog(None, checkpoint.space)
    catalog.set_meta("fingerprint", b"")  # of the last result, which would be told again
    scan([folder], catalog, checkpoint, settings, describe, _Silent())
    if known is None:
        catalog.close()


@contextmanager
def started(files: int) -> Iterator[Describe | None]:
    """Yield the processes that would describe so many files; None where there would be none."""
    settings = load()
    count = choose_processes(settings, files)
    if count == 1:
        yield None
        return
    with closing(Processes(count, load_checkpoint(settings.model), settings)) as processes:
        yield processes.describe


def command_once(folder: Path) -> None:
    """Run the command as a user does."""
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, "-m", "neardup.workers.cli.main", "scan", str(folder), "--output", output]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def imagededup_row(name: str, folder: Path, count: int, environment: Mapping[str, str], note: str = "") -> Row:
    """Measure imagededup's CNN in a process of its own, which has started, with environment variables added."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_WAIT_POLICY")
    clean = {name: value for name, value in os.environ.items() if name not in names}
    script = (
        "import imagededup.methods, torchvision; from benchmarks.bench_scan import Work, imagededup, timed; "
        f"[row] = timed([Work('', {count}, lambda: imagededup({str(folder)!r}))], 1); "
        "print(row.cpu_seconds, row.images_per_second)"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, check=True, env={**clean, **environment}, capture_output=True, text=True)
    cpu, rate = map(float, done.stdout.split()[-2:])
    return Row(name, cpu, rate, note)


def imagededup(folder: str) -> None:
    """Encode with imagededup's CNN."""
    imagededup_cnn().encode_images(image_dir=folder, num_enc_workers=0)


def imagededup_cnn() -> Any:
    """Return imagededup's CNN: its class, data loader and transform; the weights are random, as they are downloaded at
    run time and do not change the speed."""
    import torch
    from imagededup.methods import CNN
    from imagededup.utils.models import CustomModel, MobilenetV3
    from torchvision.models import mobilenet_v3_small

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            network = mobilenet_v3_small(weights=None).eval()
            self.mobilenet_gap_op = torch.nn.Sequential(network.features, network.avgpool)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            features: torch.Tensor = self.mobilenet_gap_op(x)
            return features.squeeze(dim=3).squeeze(dim=2)

    model = CustomModel(name="mobilenet_v3_small", model=Encoder(), transform=MobilenetV3.transform)
    return CNN(verbose=False, model_config=model)


def pdq_once(paths: Sequence[Path]) -> None:
    """Decode with Pillow and hash with PDQ, as its Python package is used."""
    import pdqhash

    for path in paths:
        with Image.open(path) as image:
            pdqhash.compute(np.asarray(image.convert("RGB")))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, default=os.environ.get("MEDIA"))
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.media:
        folder = Path(arguments.media).expanduser()
        paths = sorted(path for path in folder.rglob("*") if path.is_file())[: arguments.count]
    else:
        folder = Path(f"demo/photographs-{arguments.count}")
        paths = render_photographs(folder, arguments.count)
    model = load().model
    cores, count, runs = usable_cores(), len(paths), arguments.runs
    embedder = make_embedder(model)
    tiles = np.stack(decode_all(paths, cores, embedder.size))
    embed_all(embedder, tiles[:BATCH])
    threads = in_threads(lambda: embedder, embedder.size, load())
    described = Catalog(None, load_checkpoint(model).space)
    scan_once(folder, threads, described)  # what is loaded once is loaded now
    works = [
        Work("decode alone", count, lambda: decode_all(paths, cores, embedder.size)),
        Work("embed alone", len(tiles), lambda: embed_all(embedder, tiles), embedder.engine),
        Work("decode, and find regions", count, lambda: decode_all(paths, cores, embedder.size, load().regions)),
        Work("match what is described, one thread", count, lambda: scan_once(folder, threads, described)),
        Work("whole scan, threads of one process", count, lambda: scan_once(folder, threads)),
    ]
    with started(count) as processes:
        if processes is not None:
            scan_once(folder, processes)
            works.append(Work("whole scan", count, lambda: scan_once(folder, processes)))
        rows = timed(works, runs)
    decode, embed, whole = rows[0], rows[1], rows[-1]
    ideal = cores / (decode.cpu_seconds + embed.cpu_seconds)
    rows += timed(
        [
            Work("the command, with its start", count, lambda: command_once(folder)),
            Work("PDQ (pdqhash, Pillow), one thread", count, lambda: pdq_once(paths)),
        ],
        1,
    )
    peer = imagededup_row("imagededup CNN, as it comes", folder, count, {}, "random weights")
    ours = {"OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    calm = imagededup_row("the same, its threads waiting as ours", folder, count, ours)
    print(f"{count} images of {folder}, {cores} cores, medians of {runs}\n")
    print("| | CPU-seconds per 1,000 images | images/s | |")
    print("|---|---|---|---|")
    for row in (*rows, peer, calm):
        print(f"| {row.name} | {1000 * row.cpu_seconds:.2f} | {row.images_per_second:,.0f} | {row.note} |")
    print(f"\nideal {ideal:,.0f} images/s; the whole scan reaches {whole.images_per_second / ideal:.2f} of it")
    apart = 1 / (1 / decode.images_per_second + 1 / embed.images_per_second)
    print(f"decode and embed alone, one after the other: {apart:,.0f}; {whole.images_per_second / apart:.2f} of that")
    bare = decode.cpu_seconds + embed.cpu_seconds
    print(f"CPU per image, decode and embed alone ÷ whole scan: {bare / whole.cpu_seconds:.2f}")
    times = f"{peer.cpu_seconds / whole.cpu_seconds:.1f}, {calm.cpu_seconds / whole.cpu_seconds:.1f}"
    print(f"CPU per image, imagededup ÷ whole scan: {times}")


if __name__ == "__main__":
    main()
