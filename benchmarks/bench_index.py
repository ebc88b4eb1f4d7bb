"""Compare the indexes with each other and with FAISS: recall, speed, and memory, in one run.

    python -m benchmarks.bench_index --rows 1000000 --dimension 256
    python -m benchmarks.bench_index --vectors descriptors.npz

Needs the extra `bench`. Each index runs in a process of its own, one after the other, on one thread; speeds are per
second of CPU time, so that other work on the machine counts little. Memory is what the process holds for itself
(anonymous pages) after building, less what it held before; files that are mapped are counted beside it. ScaNN's own
process, interpreter and all, is counted in both.

The data, unless `--vectors` gives real ones: 2,000 cluster centres, and 70 % items around them, both normal with
standard deviation i^-0.5 in dimension i (0.7 of that around the centre); 30 % near-duplicates of those items: noise of
length 0.05 to 0.45 added. Queries are further near-duplicates of items; with `--vectors`, of the given rows.
Recall@1: the true nearest is the first answer. Recall@10: share of the ten nearest that are among the ten answers.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import torch

from benchmarks.descriptors import near, unit
from neardup.pipeline.index import IndexOptions, make_index
from neardup.pipeline.index.scann.generation import import_scann
from neardup.pipeline.index.scann.proposer import Policy, ScannProposer
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.types import Descriptors

K = 10
BATCH = 256
CENTRES = 2000
CHUNK = 65536
SINGLE_QUERIES = 300
MOST_BATCHES = 40
LEAVES_SEARCHED = 0.03
COLUMNS = (
    *("index", "vectors", "recall@1", "recall@10", "queries/s by 256", "queries/s by 1"),
    *("inserts/s", "build s", "memory B/vector", "file B/vector"),
)
Points = npt.NDArray[np.int64]
RIVALS = ("exact", "scann", "scann, longest tail", "FAISS HNSW32", "FAISS IVF-PQ64x4fs, refined")


@dataclass(frozen=True)
class Measured:
    """One row of the table; None where it does not apply."""

    name: str
    rows: int
    recall_1: float
    recall_10: float
    batch_per_second: float
    single_per_second: float
    insert_per_second: float
    build_seconds: float
    memory_bytes_per_vector: float
    file_bytes_per_vector: float


class Rival(ABC):
    """An index as the benchmark uses it. Rows are numbered from 0."""

    trained_seconds = 0.0
    """CPU time within `add` that was no insertion."""
    built_seconds = 0.0
    """CPU time of another process."""
    file_bytes = 0
    process: int | None = None
    """Another process that takes part in searches."""

    @abstractmethod
    def add(self, vectors: Descriptors) -> None:
        """Make, train where needed, and add in batches."""

    @abstractmethod
    def search(self, queries: Descriptors) -> Points:
        """Return (n, K) row numbers."""


class Ours(Rival):
    """The exact index, or ScaNN's after one build, or with the longest tail that its policy allows.

    The vector file lies on the disk, as a worker's does; appending to it counts as insertion.
    """

    def __init__(self, kind: str) -> None:
        import_scann()
        self._kind = kind

    def add(self, vectors: Descriptors) -> None:
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        self._vectors = VectorFile(folder / "vectors", vectors.shape[1], "bench")
        options = IndexOptions("exact" if self._kind == "exact" else "scann", folder, "cpu", scann_from=sys.maxsize)
        self._index = make_index(self._vectors, "bench", options)
        engine = self._index.proposer
        tail = int(len(vectors) * Policy().tail_share / (1 + Policy().tail_share)) if "tail" in self._kind else 0
        self._insert(vectors[: len(vectors) - tail])
        if isinstance(engine, ScannProposer):
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            engine.rebuild()
            engine.wait()
            self.built_seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
            if engine.tail_rows:
                raise SystemExit("the build failed; see the log")
            self._insert(vectors[len(vectors) - tail :])
            assert engine._generation is not None
            engine._hand_over(engine._generation)
            engine._generation.join()
            engine._generation.has_joined(None)
            self.process = engine._generation._searcher.process.pid
        self.file_bytes = self._vectors.bytes

    def _insert(self, vectors: Descriptors) -> None:
        for start in range(0, len(vectors), BATCH):
            batch = np.ascontiguousarray(vectors[start : start + BATCH])
            rows = np.arange(len(self._vectors), len(self._vectors) + len(batch))
            self._vectors.append(rows, batch)
            self._index.add(rows)

    def search(self, queries: Descriptors) -> Points:
        ids: Points = self._index.search(queries, K).ids
        return ids


class Faiss(Rival):
    """An index of FAISS by its factory string, searched as widely as ours where the notion is the same."""

    def __init__(self, description: str) -> None:
        faiss.omp_set_num_threads(1)
        self._description = description

    def add(self, vectors: Descriptors) -> None:
        leaves = int(2 * len(vectors) ** 0.5)
        index: Any = faiss.index_factory(vectors.shape[1], self._description.format(leaves=leaves))
        if "HNSW" in self._description:
            index.hnsw.efConstruction, index.hnsw.efSearch = 80, 64
        else:
            begin = time.process_time()
            sample = np.random.default_rng(0).choice(len(vectors), min(len(vectors), 250_000), replace=False)
            index.train(np.ascontiguousarray(vectors[np.sort(sample)]))
            self.trained_seconds = time.process_time() - begin
            faiss.extract_index_ivf(index.base_index).nprobe = max(1, round(LEAVES_SEARCHED * leaves))
            index.k_factor = 10
        for start in range(0, len(vectors), BATCH):
            index.add(np.ascontiguousarray(vectors[start : start + BATCH]))
        self._index = index

    def search(self, queries: Descriptors) -> Points:
        rows: Points = self._index.search(queries, K)[1]
        return rows


def rival(name: str) -> Rival:
    """Return the index of one row of the table."""
    if name.startswith("FAISS HNSW"):
        return Faiss("HNSW32,Flat")
    if name.startswith("FAISS"):
        return Faiss("IVF{leaves},PQ64x4fs,RFlat")
    return Ours(name)


def measure(name: str, folder: Path, rows: int) -> Measured:
    """Measure one index over the first `rows` rows of the data in a folder; the truth is for all of them."""
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")[:rows]
    queries = np.load(folder / "queries.npy")
    truth = np.load(folder / f"truth-{rows}.npy")
    index = rival(name)
    before = own_bytes()
    begin = time.process_time()
    index.add(vectors)
    inserting = time.process_time() - begin - index.trained_seconds
    held = own_bytes() - before + (0 if index.process is None else own_bytes(index.process))
    found = np.concatenate([index.search(queries[start : start + BATCH]) for start in range(0, len(queries), BATCH)])
    return Measured(
        name=name,
        rows=rows,
        recall_1=float(np.mean(found[:, 0] == truth[:, 0])),
        recall_10=float(np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(found, truth, strict=True)])),
        batch_per_second=BATCH / seconds_each(index, queries, BATCH, MOST_BATCHES),
        single_per_second=1 / seconds_each(index, queries, 1, SINGLE_QUERIES),
        insert_per_second=rows / inserting,
        build_seconds=index.trained_seconds + index.built_seconds + (inserting if name.startswith("FAISS") else 0.0),
        memory_bytes_per_vector=held / rows,
        file_bytes_per_vector=index.file_bytes / rows,
    )


def seconds_each(index: Rival, queries: Descriptors, batch: int, most: int) -> float:
    """Return the median CPU seconds of one search of `batch` queries."""
    taken = []
    for start in range(0, min(len(queries) - batch + 1, batch * most), batch):
        begin = busy_seconds(index)
        index.search(queries[start : start + batch])
        taken.append(busy_seconds(index) - begin)
    return statistics.median(taken)


def busy_seconds(index: Rival) -> float:
    """Return the CPU time of this process and of the one that takes part in searches."""
    elsewhere = 0 if index.process is None else int(Path(f"/proc/{index.process}/schedstat").read_text().split()[0])
    return time.process_time() + elsewhere / 1e9


def own_bytes(process: int | str = "self") -> int:
    """Return the anonymous memory of a process, after giving back to the system what is free in this one."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    (line,) = (line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def synthesise(rows: int, dimension: int, rng: np.random.Generator) -> Descriptors:
    """Return the data that the module describes."""
    deviation = np.arange(1, dimension + 1, dtype=np.float32) ** -0.5
    centres = rng.standard_normal((CENTRES, dimension), dtype=np.float32) * deviation
    vectors = np.empty((rows, dimension), np.float32)
    items = int(0.7 * rows)
    for start in range(0, items, CHUNK):
        part = vectors[start : min(start + CHUNK, items)]
        around = centres[rng.integers(0, CENTRES, len(part))]
        part[:] = unit(around + 0.7 * deviation * rng.standard_normal(part.shape, dtype=np.float32))
    for start in range(items, rows, CHUNK):
        part = vectors[start : start + CHUNK]
        part[:] = near(vectors[rng.integers(0, items, len(part))], rng)
    return vectors


def nearest(vectors: Descriptors, queries: Descriptors) -> Points:
    """Return the K nearest rows of each query, (n, K), by comparing with all."""
    best = torch.full((len(queries), K), -2.0)
    rows = torch.zeros((len(queries), K), dtype=torch.int64)
    for start in range(0, len(vectors), CHUNK):
        for first in range(0, len(queries), BATCH):
            some = slice(first, first + BATCH)
            scores = torch.from_numpy(queries[some]) @ torch.from_numpy(vectors[start : start + CHUNK]).T
            score, place = scores.topk(min(K, scores.shape[1]), dim=1)
            both, both_rows = torch.cat([best[some], score], 1), torch.cat([rows[some], place + start], 1)
            best[some], order = both.topk(K, dim=1)
            rows[some] = both_rows.gather(1, order)
    return rows.numpy()


def prepare(folder: Path, arguments: argparse.Namespace) -> dict[str, int]:
    """Write vectors, queries and truths into a folder, and return how many rows each index gets."""
    rng = np.random.default_rng(0)
    if arguments.vectors is None:
        vectors = synthesise(arguments.rows, arguments.dimension, rng)
    else:
        vectors = unit(np.load(arguments.vectors, allow_pickle=False)["vectors"])
    hnsw_rows = min(arguments.hnsw_rows or len(vectors), len(vectors))
    sources = rng.integers(0, min(hnsw_rows, int(0.7 * len(vectors))), arguments.queries)
    queries = near(vectors[sources], rng)
    np.save(folder / "vectors.npy", vectors)
    np.save(folder / "queries.npy", queries)
    rows = {name: hnsw_rows if "HNSW" in name else len(vectors) for name in RIVALS}
    for count in set(rows.values()):
        np.save(folder / f"truth-{count}.npy", nearest(vectors[:count], queries))
    return rows


def in_own_process(name: str, folder: Path, rows: int) -> Measured:
    """Run `measure` in a new process with one thread."""
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    command = [sys.executable, "-m", "benchmarks.bench_index", "--one", name, "--folder", str(folder)]
    run = subprocess.run(
        [*command, "--rows", str(rows)], stdout=subprocess.PIPE, text=True, check=True, env=os.environ | threads
    )
    return Measured(**json.loads(run.stdout.splitlines()[-1]))


def table(results: list[Measured]) -> str:
    """Return the results as markdown."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "| --- |" + " ---: |" * (len(COLUMNS) - 1)]
    lines += [f"| {r.name} | {r.rows:,} | {r.recall_1:.4f} | {r.recall_10:.3f} | {numbers(r)} |" for r in results]
    return "\n".join(lines)


def numbers(r: Measured) -> str:
    """Return the cells that need no decimals."""
    speeds = (r.batch_per_second, r.single_per_second, r.insert_per_second)
    costs = (r.build_seconds, r.memory_bytes_per_vector, r.file_bytes_per_vector)
    return " | ".join(f"{value:,.0f}" for value in speeds + costs)


def about(arguments: argparse.Namespace) -> str:
    """Return what the table stands on."""
    processor = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":")[1].strip() for line in processor if line.startswith("model name")]
    versions = ", ".join(f"{package} {version(package)}" for package in ("scann", "faiss-cpu", "torch", "numpy"))
    data = arguments.vectors or f"synthetic, {arguments.dimension} dimensions"
    return (
        f"Data: {data}; {arguments.queries:,} near-duplicate queries. One thread of {models[0] if models else '?'}; "
        f"{versions}."
    )


def main() -> None:
    """Print the table, or with `--one` the measures of one index as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="descriptors to generate (%(default)s)")
    parser.add_argument("--dimension", type=int, default=256, help="their length (%(default)s)")
    parser.add_argument("--queries", type=int, default=2048, help="near-duplicate queries (%(default)s)")
    parser.add_argument("--hnsw-rows", type=int, help="give HNSW, slow to build, only the first so many")
    parser.add_argument("--vectors", type=Path, help="an .npz with `vectors`, as `neardup embed` writes, instead")
    parser.add_argument("--only", nargs="+", choices=RIVALS, default=list(RIVALS), help="some of the indexes")
    parser.add_argument("--one", choices=RIVALS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.one:
        print(json.dumps(asdict(measure(arguments.one, arguments.folder, arguments.rows))))
        return
    with tempfile.TemporaryDirectory() as name:
        rows = prepare(Path(name), arguments)
        results = []
        for one in arguments.only:
            results.append(in_own_process(one, Path(name), rows[one]))
            print(table(results[-1:]).splitlines()[-1], file=sys.stderr)
    print(about(arguments) + "\n\n" + table(results))


if __name__ == "__main__":
    main()
