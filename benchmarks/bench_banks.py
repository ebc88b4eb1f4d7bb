"""Measure what a curated bank costs the match worker: for each reference that comes, and for each upload after that.

    python -m benchmarks.bench_banks --rows 100000 --references 1000 10000 30000

The worker is that of `bench_match`, with as many made-up descriptors seen. References are made up too, a tenth of them
near-duplicates of what was seen, so that earlier items are found and told.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.bench_match import Bench, about, resident
from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.log.records import Described

BANK = "blocked"


def add_references(bench: Bench, count: int) -> None:
    """Have so many references come, a batch at a time."""
    while count > 0:
        records = [one for one in bench.records()[0] if isinstance(one, Described)][:count]
        bench.log.offer([msgspec.structs.replace(one, bank=BANK, id=f"r-{one.id}") for one in records])
        bench.worker.step()
        count -= len(records)


def per_upload(bench: Bench, batches: int) -> tuple[float, float]:
    """Return milliseconds of processor time, of this process, and of the clock for each upload."""
    uploads = 0.0
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(batches):
        uploads += bench.step().items / 1000
    return (time.process_time() - cpu) / uploads, (time.perf_counter() - wall) / uploads


def run(rows: int, sizes: Sequence[int], batches: int, folder: Path) -> None:
    """Print the table."""
    bench = Bench(load_checkpoint("default"), rows, folder)
    print(f"{rows:,} descriptors seen; {about()}\n")
    print("| references | ms for each that came | processor ms for an upload | ms for an upload | MiB |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    per_upload(bench, 20)  # warm-up
    held = 0
    for size in (0, *sizes):
        started = time.perf_counter()
        add_references(bench, size - held)
        came = (time.perf_counter() - started) * 1000 / (size - held) if size > held else 0.0
        held = size
        cpu, wall = per_upload(bench, batches)
        print(f"| {size:,} | {came:.1f} | {cpu:.2f} | {wall:.2f} | {resident():,} |", flush=True)
    bench.worker.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="descriptors seen (%(default)s)")
    parser.add_argument("--references", type=int, nargs="+", default=[1000, 10_000, 30_000], help="sizes of the bank")
    parser.add_argument("--batches", type=int, default=20, help="batches of uploads for each size (%(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        run(arguments.rows, sorted(arguments.references), arguments.batches, Path(name))


if __name__ == "__main__":
    main()
