"""What a process that describes costs before its first item, with what OpenVINO compiled in the cache and without.

    python -m benchmarks.process_start

Forked as the engine's processes are, so imports are not counted. CPU-seconds, which neighbours do not change, and the
memory (PSS) after a batch.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from neardup.pipeline.describe.child import preload
from neardup.pipeline.embed.checkpoint import Checkpoint, load_checkpoint
from neardup.pipeline.settings import load

RUNS = 5


def main() -> None:
    """Print the table."""
    preload()
    checkpoint = load_checkpoint(load().model)
    with tempfile.TemporaryDirectory() as folder:
        full = Path(folder, "full")
        measure(checkpoint, full)  # converts, compiles and keeps both
        print("| | CPU-seconds | MiB |\n|---|---|---|")
        rows: dict[str, list[tuple[float, float]]] = {"compiled": [], "from the cache": []}
        bare = Path(folder, "bare")
        shutil.copytree(full, bare)
        [converted] = bare.glob("*.bin")
        for path in bare.glob(f"{converted.stem}.*"):
            if path.suffix not in (".bin", ".lock"):
                path.write_bytes(hashlib.sha256().digest())  # tried in vain, so nothing is kept
        for _ in range(RUNS):
            rows["compiled"].append(measure(checkpoint, bare))
            rows["from the cache"].append(measure(checkpoint, full))
        for name, found in rows.items():
            seconds, mebibytes = (statistics.median(one) for one in zip(*found, strict=True))
            print(f"| {name} | {seconds:.2f} | {mebibytes:.0f} |")


def measure(checkpoint: Checkpoint, cache: Path) -> tuple[float, float]:
    """Return the CPU-seconds to load the network in a process of its own, and its MiB after a batch."""
    reads, writes = os.pipe()
    if not os.fork():
        os.close(reads)
        from neardup.pipeline.embed.openvino_engine import OpenVinoEmbedder

        began = time.process_time()
        embedder = OpenVinoEmbedder(checkpoint, 1, cache)
        seconds = time.process_time() - began
        embedder.embed(np.zeros((16, embedder.size, embedder.size, 3), np.uint8))
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        mebibytes = next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 2**10
        os.write(writes, f"{seconds} {mebibytes}".encode())
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as answer:
        found = answer.read().split()
    os.wait()
    return float(found[0]), float(found[1])


if __name__ == "__main__":
    main()
