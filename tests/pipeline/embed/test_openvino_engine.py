from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage import data

from neardup.pipeline.embed import openvino_engine
from neardup.pipeline.embed.checkpoint import Checkpoint, load_checkpoint
from neardup.pipeline.embed.openvino_core import get_core
from neardup.pipeline.embed.openvino_engine import BATCH, LEAST, OpenVinoEmbedder, default_cache
from neardup.pipeline.types import Pixels
from tests.timing import LATE_SECONDS


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint("default")


@pytest.fixture(scope="module")
def cache(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the converted network in it."""
    folder = tmp_path_factory.mktemp("cache")
    OpenVinoEmbedder(checkpoint, 1, folder)
    return folder


@pytest.fixture(scope="module")
def tiles(checkpoint: Checkpoint) -> Pixels:
    """45 different tiles, from windows of a photograph."""
    size = checkpoint.architecture.size
    picture = data.astronaut()
    windows = [(y, x) for y in range(0, 350, 50) for x in range(0, 350, 50)][:45]
    return np.stack([picture[y : y + size, x : x + size] for y, x in windows])


def test_the_converted_network_is_cached_and_comes_back(checkpoint: Checkpoint, tiles: Pixels, tmp_path: Path) -> None:
    first = OpenVinoEmbedder(checkpoint, 1, tmp_path).embed(tiles).vectors
    (cached,) = tmp_path.glob("*.bin")
    assert cached.name.startswith(checkpoint.space)
    written = cached.stat().st_mtime_ns
    np.testing.assert_array_equal(OpenVinoEmbedder(checkpoint, 1, tmp_path).embed(tiles).vectors, first)
    assert cached.stat().st_mtime_ns == written


@pytest.mark.parametrize("damage", ["empty", "short", "one bit"])
def test_a_torn_cache_is_made_anew(checkpoint: Checkpoint, cache: Path, tmp_path: Path, damage: str) -> None:
    (good,) = cache.glob("*.bin")
    whole = good.read_bytes()
    torn = {"empty": b"", "short": whole[:-100], "one bit": whole[:-1] + bytes([whole[-1] ^ 1])}[damage]
    (tmp_path / good.name).write_bytes(torn)
    OpenVinoEmbedder(checkpoint, 1, tmp_path)
    made = (tmp_path / good.name).read_bytes()
    assert made != torn
    assert hashlib.sha256(made[32:]).digest() == made[:32]


def compiled_of(converted: Path, folder: Path) -> Path:
    """Return the one file of what was compiled of a converted network."""
    (found,) = [path for path in folder.glob(f"{converted.stem}.*") if path.suffix not in (".bin", ".lock")]
    return found


def test_what_was_compiled_is_cached_and_computes_the_same(
    checkpoint: Checkpoint, cache: Path, tiles: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (converted,) = cache.glob("*.bin")
    shutil.copy(converted, tmp_path)
    first = OpenVinoEmbedder(checkpoint, 1, tmp_path).embed(tiles)
    kept = compiled_of(converted, tmp_path)
    (tmp_path / converted.name).unlink()  # no other process needs it
    monkeypatch.setattr(openvino_engine, "_convert", None)
    again = OpenVinoEmbedder(checkpoint, 1, tmp_path).embed(tiles)
    np.testing.assert_array_equal(again.vectors, first.vectors)
    assert kept.stat().st_size > 10_000


@pytest.mark.parametrize("damage", ["short", "one bit", "whole, and nothing that OpenVINO knows"])
def test_a_damaged_cache_of_what_was_compiled_is_made_anew(
    checkpoint: Checkpoint, cache: Path, tiles: Pixels, tmp_path: Path, damage: str
) -> None:
    for path in cache.iterdir():
        shutil.copy(path, tmp_path)
    (converted,) = tmp_path.glob("*.bin")
    kept = compiled_of(converted, tmp_path)
    whole = kept.read_bytes()
    garbage = b"garbage" * 1000
    torn = {"short": whole[:-100], "one bit": whole[:-1] + bytes([whole[-1] ^ 1])}
    kept.write_bytes(torn.get(damage, hashlib.sha256(garbage).digest() + garbage))
    made = OpenVinoEmbedder(checkpoint, 1, tmp_path).embed(tiles).vectors
    np.testing.assert_array_equal(made, OpenVinoEmbedder(checkpoint, 1, cache).embed(tiles).vectors)
    rest = kept.read_bytes()[32:]
    assert hashlib.sha256(rest).digest() == kept.read_bytes()[:32]
    assert len(rest) > 10_000


def test_what_comes_back_from_an_export_as_another_network_is_never_cached(
    checkpoint: Checkpoint, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (converted,) = cache.glob("*.bin")
    shutil.copy(converted, tmp_path)
    tried: list[bool] = []
    monkeypatch.setattr(openvino_engine.np, "array_equal", lambda *_: bool(tried.append(True)))
    for _ in range(2):
        OpenVinoEmbedder(checkpoint, 1, tmp_path)
    kept = compiled_of(converted, tmp_path)
    assert kept.read_bytes() == hashlib.sha256(b"").digest()
    assert tried == [True]


def test_those_that_start_together_convert_once(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted: list[Checkpoint] = []
    convert = openvino_engine._convert

    def count(one: Checkpoint, narrow: bool) -> Any:
        converted.append(one)
        return convert(one, narrow)

    monkeypatch.setattr(openvino_engine, "_convert", count)
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda _: openvino_engine.load_model(get_core(), checkpoint, tmp_path), range(3)))
    assert len(made) == 3
    assert len(converted) == 1


def test_a_cache_that_cannot_be_written_is_no_error(checkpoint: Checkpoint, tiles: Pixels, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    assert len(OpenVinoEmbedder(checkpoint, 1, blocked / "cache").embed(tiles[:3]).vectors) == 3


def test_several_streams_keep_the_order(checkpoint: Checkpoint, cache: Path, tiles: Pixels) -> None:
    one = OpenVinoEmbedder(checkpoint, 1, cache).embed(tiles).vectors
    three = OpenVinoEmbedder(checkpoint, 3, cache).embed(tiles).vectors
    np.testing.assert_allclose(three, one, atol=1e-3)
    assert ((one @ one.T).argmax(axis=1) == np.arange(45)).all()


@pytest.mark.parametrize("threads", [1, 4])
def test_requests_are_even_and_leave_no_thread_idle(cache: Path, checkpoint: Checkpoint, threads: int) -> None:
    embedder = OpenVinoEmbedder(checkpoint, threads, cache)
    for count in (0, 1, 7, 20, 33, 64, 1000):
        parts = embedder._parts(count)
        lengths = [part.stop - part.start for part in parts]
        assert [row for part in parts for row in range(part.start, part.stop)] == list(range(count))
        assert all(length <= 1.5 * BATCH for length in lengths)
        assert max(lengths, default=0) - min(lengths, default=0) <= 1
        assert len(parts) >= min(threads, count // LEAST)


def test_the_cache_folder_follows_the_users_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "neardup" / "openvino"


def test_the_second_process_needs_no_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code = """
import sys
from neardup.pipeline.embed.embedder import make_embedder
assert make_embedder("default", device="cpu", engine="openvino", threads=1).size
print("torch" in sys.modules)
"""
    runs = [subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
            for _ in range(2)]  # fmt: skip
    assert [run.stdout.strip() for run in runs] == ["True", "False"]
    assert [run.stderr for run in runs] == ["", ""]


def test_openvino_tells_nobody_that_it_is_used(tmp_path: Path) -> None:
    """Neither where it is imported nor where it converts a network."""
    code = """
import os, sys
sys.addaudithook(lambda event, _: event in ("os.fork", "socket.connect") and print(event))
from neardup.pipeline.embed.embedder import make_embedder
make_embedder("fast", device="cpu", engine="openvino", threads=1)
print([name for name in sys.modules if "telemetry" in name and name.startswith("openvino_")], os.listdir("."))
"""
    home = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home" / ".cache")}
    environment = {**os.environ, **home, "PYTHONPATH": str(Path(__file__).parents[3])}
    (tmp_path / "home").mkdir()
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "home", env=environment, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout) == (0, "[] ['.cache']\n"), ended.stderr


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="asks Linux where threads may run")
def test_threads_are_tied_to_no_core(cache: Path) -> None:
    """Otherwise two processes tie theirs to the same cores, and others stay idle."""
    code = f"""
import os
from pathlib import Path
import numpy as np
from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.openvino_engine import OpenVinoEmbedder
embedder = OpenVinoEmbedder(load_checkpoint("default"), 2, Path({str(cache)!r}))
embedder.embed(np.zeros((32, embedder.size, embedder.size, 3), np.uint8))
everywhere = os.sched_getaffinity(0)
print(all(os.sched_getaffinity(int(task)) == everywhere for task in os.listdir("/proc/self/task")))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LATE_SECONDS)
    assert (ended.returncode, ended.stdout) == (0, "True\n"), ended.stderr


def test_an_interrupted_call_leaves_the_engine_usable(
    checkpoint: Checkpoint, cache: Path, tiles: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = OpenVinoEmbedder(checkpoint, 2, cache)
    expected = embedder.embed(tiles).vectors

    def interrupt(_: Pixels) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(openvino_engine, "dct_hash", interrupt)
        with pytest.raises(KeyboardInterrupt):
            embedder.embed(tiles)
    np.testing.assert_array_equal(embedder.embed(tiles).vectors, expected)


def test_a_signal_after_engines_have_gone_is_handled(cache: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.openvino_engine import OpenVinoEmbedder
checkpoint = load_checkpoint("default")
first = OpenVinoEmbedder(checkpoint, 1, Path({str(cache)!r}))
second = OpenVinoEmbedder(checkpoint, 1, Path({str(cache)!r}))
del first
del second
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LATE_SECONDS)
    assert (ended.returncode, ended.stdout) == (0, "handled\n"), ended.stderr
