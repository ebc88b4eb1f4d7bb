from __future__ import annotations

import io
import math
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import bench_gpu
from benchmarks.photographs import photograph
from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.torch_engine import TorchEmbedder
from neardup.pipeline.media.nvjpeg import GpuJpegs
from tests.timing import until

pytestmark = pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")


def files() -> list[bytes]:
    """Three pictures, one of which is no plain JPEG, and a file that is none."""
    written = []
    for name, options in (("chelsea", {}), ("coffee", {"progressive": True}), ("rocket", {})):
        file = io.BytesIO()
        photograph(name).resize((300, 240)).save(file, "JPEG", **options)
        written.append(file.getvalue())
    return [*written, b"no picture"]


def test_without_a_gpu_it_says_so_and_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert bench_gpu.main([]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_all_three_are_measured_and_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_gpu, "utilization", lambda: math.nan)
    embedder = TorchEmbedder(load_checkpoint("default"), "cpu", 1)
    rows = bench_gpu.measure_all(files(), GpuJpegs("cpu"), embedder, threads=2, runs=1)
    assert all(row.images_per_second > 0 for row in rows)
    assert sum(row.cpu_seconds for row in rows) > 0  # in ticks of 10 ms, less than which decoding may take
    bench_gpu.print_table(rows)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[3:]] == ["decode, CPU alone", "decode", "embed", "both"]


def test_pictures_that_cannot_be_decoded_are_left_out() -> None:
    embedder = TorchEmbedder(load_checkpoint("default"), "cpu", 1)
    tiles = list(bench_gpu.decode(files(), GpuJpegs("cpu"), embedder.size, 2))
    assert len(tiles) == 3
    assert bench_gpu.embed(tiles, embedder, 2) == 3


def test_the_share_of_nvjpeg_is_counted() -> None:
    assert bench_gpu.share_by_gpu(files(), GpuJpegs("cpu"), 160, 2) == 0.5


def test_utilisation_is_sampled_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_gpu, "_TICK_SECONDS", 0.001)
    monkeypatch.setattr(bench_gpu, "utilization", lambda: 0.25)
    with bench_gpu.Busy() as watch:
        until(lambda: len(watch.seen) >= 2, "nothing is sampled")
    assert set(watch.seen) == {0.25}


@pytest.mark.parametrize(
    ("begun", "seen", "expected"),
    [
        (2.5, [(2, 10), (3, 150), (4, 160), (6, 300)], 50.0),
        (0.0, [(1, 0), (4, 100), (6, 300)], 100.0),
        (9.0, [(0, 0), (1, 0), (4, 100), (6, 300)], 60.0),  # all came before, so since the last look without one
    ],
)
def test_the_rate_of_the_log_counts_from_when_all_work(
    begun: float, seen: list[tuple[float, int]], expected: float
) -> None:
    growth = object.__new__(bench_gpu.LogGrowth)
    growth._count, growth._thread, growth._consumer = 300, threading.Thread(), SimpleNamespace(close=lambda: None)
    growth._thread.start()
    growth.seen = seen
    assert growth.rate(begun) == expected


def test_a_network_that_says_nothing_has_the_shape_of_another() -> None:
    like = TorchEmbedder(load_checkpoint("default"), "cpu", 1)
    tiles = np.zeros((3, like.size, like.size, 3), np.uint8)
    none, batches = bench_gpu.NoNetwork(like), [tiles, tiles[:1]]
    assert [rows.shape for rows in none.rows(batches)] == [rows.shape for rows in like.rows(batches)]
    assert none.embed(tiles).vectors.shape == (3, like.dimension)
