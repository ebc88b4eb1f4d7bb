"""Compare Milvus as the engine with the index's own: recall, time of a batch, and processor time on both sides.

    scripts/milvus run -- .venv/bin/python -m benchmarks.bench_milvus --rows 100000

Needs the extras `milvus` and `bench`, and a Milvus of one process on this machine (NEARDUP_MILVUS), whose processor
time is counted as that of all processes named milvus. The data are those of `bench_index`. Rows come in batches of 256,
each settled as the leader settles it; written is when Milvus has them all. Then its segments are sealed, and searched
again once their indexes are built. A search is one of a match worker: 256 queries, near-duplicates, 64 neighbours.
Recall@1: the true nearest is the first answer; recall@64: the share of the 64 nearest.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks.bench_index import synthesise
from benchmarks.descriptors import near
from neardup.pipeline.index import Index, IndexOptions, make_index
from neardup.pipeline.index.milvus.options import MilvusOptions
from neardup.pipeline.index.milvus.proposer import MilvusProposer
from neardup.pipeline.index.scann.proposer import ScannProposer
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.types import Descriptors, Ids

K, BATCH, BATCHES = 64, 256, 20
COLUMNS = ("engine", "vectors", "written s", "recall@1", "recall@64", "ms a batch", "own CPU ms", "Milvus CPU ms")
PATIENCE_SECONDS = 300.0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--indexes", nargs="+", default=["SCANN", "HNSW", "IVF_SQ8"], help="types of Milvus's index")
    parser.add_argument("--effort", type=int, default=0, help="see NEARDUP_MILVUS_EFFORT")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    vectors = synthesise(options.rows, options.dimension, rng)
    queries = near(vectors[rng.integers(0, len(vectors), BATCH * BATCHES)], rng)
    print("| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        truth = measure("exact", make(path, "exact", vectors, options), vectors, queries, None)
        measure("scann", make(path, "scann", vectors, options), vectors, queries, truth)
        for kind in options.indexes:
            measure(f"milvus {kind}", make(path, f"milvus {kind}", vectors, options), vectors, queries, truth)


def make(folder: Path, name: str, vectors: Descriptors, options: argparse.Namespace) -> Index:
    """Return an empty index over a file of the vectors."""
    kind, _, index = name.partition(" ")
    file = VectorFile(folder / name, vectors.shape[1], "bench")
    file.append(np.arange(len(vectors)), vectors)
    uri, prefix = os.environ["NEARDUP_MILVUS"], f"bench-{index or kind}"
    milvus = MilvusOptions(uri, prefix=prefix, index=index or "SCANN", effort=options.effort, min_rows=1)
    return make_index(file, "bench", IndexOptions(kind, folder, "cpu", scann_from=256, milvus=milvus))


def measure(name: str, index: Index, vectors: Descriptors, queries: Descriptors, truth: Ids | None) -> Ids:
    """Print the rows of one engine and return what it found at the end."""
    begin = time.monotonic()
    for start in range(0, len(vectors), BATCH):
        index.add(np.arange(start, min(start + BATCH, len(vectors))))
        index.settle(start, leads=True)
        while not index.ready():
            pass
    engine = index.proposer
    if isinstance(engine, ScannProposer | MilvusProposer):
        engine.wait(PATIENCE_SECONDS)
    written = time.monotonic() - begin
    found = search(name, index, queries, truth, len(vectors), written)
    if isinstance(engine, MilvusProposer):
        begin = time.monotonic()
        seal(engine)
        found = search(f"{name}, sealed", index, queries, truth, len(vectors), time.monotonic() - begin)
    index.drop()
    return found


def search(name: str, index: Index, queries: Descriptors, truth: Ids | None, rows: int, written: float) -> Ids:
    """Search in batches, print a row, and return the ids found."""
    wall, own, theirs, found = [], [], [], []
    for start in range(0, len(queries), BATCH):
        index.settle(rows, leads=True)
        before = time.monotonic(), time.process_time(), milvus_seconds()
        found.append(index.search(queries[start : start + BATCH], K).ids)
        wall.append(time.monotonic() - before[0])
        own.append(time.process_time() - before[1])
        theirs.append(milvus_seconds() - before[2])
    ids = np.concatenate(found)
    true = ids if truth is None else truth
    recall = np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(ids, true, strict=True)])
    cells = [name, f"{rows:,}", f"{written:.1f}", f"{np.mean(ids[:, 0] == true[:, 0]):.4f}", f"{recall:.4f}"]
    cells += [f"{1000 * statistics.median(one):.0f}" for one in (wall, own)] + [f"{1000 * np.mean(theirs):.0f}"]
    print("| " + " | ".join(cells) + " |", flush=True)
    return ids


def seal(engine: MilvusProposer) -> None:
    """Have Milvus end its growing segments, and wait until their indexes are built and are searched."""
    client, name = engine._server._connected(), engine._server.collection
    client.flush(name)
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        state = client.describe_index(name, "vector")
        if int(state["pending_index_rows"]) == 0:
            break
        time.sleep(0.5)
    time.sleep(10.0)  # until query nodes have taken them over


def milvus_seconds() -> float:
    """Return the processor time of all processes of Milvus on this machine."""
    names = psutil.process_iter(["name"])
    times = [one.cpu_times() for one in names if one.info["name"] == "milvus"]
    return float(sum(one.user + one.system for one in times))


if __name__ == "__main__":
    main()
