"""What the contract cannot see: builds under way, builds that fail, recall at a size that matters."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.pipeline.index import make_index, scratch
from neardup.pipeline.index.exact import ExactIndex
from neardup.pipeline.index.scann import build, build_process, generation
from neardup.pipeline.index.scann.index import Policy, ScannIndex
from neardup.pipeline.index.scratch import Scratch
from neardup.pipeline.types import Descriptors, Ids
from tests.timing import LATE_SECONDS, until

D = 16
LATE = LATE_SECONDS


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def index(tmp_path: Path, clock: Clock) -> Iterator[ScannIndex]:
    made = ScannIndex(D, "s", tmp_path, "cpu", Policy(min_rows=300, tail_factor=5.0), clock)
    yield made
    made.close()


def units(n: int, seed: int, d: int = D) -> Descriptors:
    vectors = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_nothing_is_built_below_the_least_number_of_rows(index: ScannIndex) -> None:
    index.add(np.arange(299), units(299, 0))
    assert not index.is_building
    index.add(np.array([299]), units(1, 1))
    assert index.is_building


def test_a_build_takes_over_and_leaves_no_tail(index: ScannIndex) -> None:
    index.add(np.arange(400), units(400, 0))
    assert index.tail_rows == 400
    assert index.wait(LATE)
    assert index.tail_rows == 0
    assert index.search(units(400, 0), 1).ids[:, 0].tolist() == list(range(400))


def test_what_comes_and_goes_during_a_build_is_respected_before_and_after_it(index: ScannIndex) -> None:
    vectors = units(500, 0)
    index.add(np.arange(400), vectors[:400])
    assert index.is_building
    index.add(np.arange(400, 500), vectors[400:])
    index.remove(np.array([0, 1, 450]))
    index.add(np.array([1]), vectors[:1])  # id 1 returns with the vector of id 0
    for _ in range(2):
        found = index.search(vectors, 5)
        assert not np.isin(found.ids, [0, 450]).any()
        assert found.ids[:, 0].tolist()[2:450] == list(range(2, 450))
        assert (found.ids[0, 0], found.ids[1, 0] == 1) == (1, False)
        assert index.wait(LATE)
    assert index.tail_rows == 100
    assert index._generation is not None
    assert index._generation.live == 398


def test_searches_go_on_while_a_build_runs(index: ScannIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    started = slow_builder(monkeypatch)
    index.add(np.arange(400), units(400, 0))
    for _ in range(20):
        assert index.search(units(3, 0), 1).ids[:, 0].tolist() == [0, 1, 2]
    assert index.is_building
    assert started[0].poll() is None


def test_the_next_build_starts_when_the_tail_has_grown(index: ScannIndex) -> None:
    index.add(np.arange(400), units(400, 0))
    index.wait(LATE)
    index.add(np.arange(400, 500), units(100, 1))  # 5 × √400
    assert not index.is_building
    index.add(np.array([500]), units(1, 2))
    assert index.is_building
    index.wait(LATE)
    assert index.tail_rows == 0
    assert searchers(index) == 1


def test_the_next_build_starts_when_a_fifth_was_removed(index: ScannIndex) -> None:
    index.add(np.arange(1000), units(1000, 0))
    index.wait(LATE)
    index.remove(np.arange(200))
    assert not index.is_building
    index.remove(np.array([200]))
    assert index.is_building


def test_what_was_removed_leaves_the_working_files_within_an_hour(
    index: ScannIndex, clock: Clock, tmp_path: Path
) -> None:
    vectors = units(400, 0)
    mark = vectors[7].astype(np.float16).tobytes()
    index.add(np.arange(400), vectors)
    index.wait(LATE)
    (file,) = tmp_path.glob("*/vectors-*")
    assert mark in file.read_bytes()
    index.remove(np.array([7]))
    assert mark not in file.read_bytes()
    clock.seconds += 3599
    index.poll()
    assert not index.is_building
    clock.seconds += 1
    index.poll()
    assert index.wait(LATE)
    assert searchers(index) == 1
    assert index._generation is not None
    assert (len(index._generation), index._generation._searcher.size) == (399, 399)
    clock.seconds += 3600
    index.poll()
    assert not index.is_building


def test_a_killed_builder_is_tried_again_later_and_later(
    index: ScannIndex, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    started = slow_builder(monkeypatch)
    index.add(np.arange(400), units(400, 0))
    for attempt, wait in enumerate((30, 60, 120)):
        started[attempt].kill()
        with caplog.at_level(logging.WARNING):
            assert index.wait(LATE)
        assert f"retry_seconds={wait} error=the index builder ended with -9" in caplog.text
        assert index.search(units(1, 0), 1).ids.tolist() == [[0]]
        clock.seconds += wait - 1
        index.poll()
        assert not index.is_building
        clock.seconds += 1
        index.poll()
        assert index.is_building
    monkeypatch.undo()


def test_after_a_killed_builder_the_old_searcher_goes_on_and_the_next_build_takes_over(
    index: ScannIndex, clock: Clock
) -> None:
    vectors = units(600, 0)
    index.add(np.arange(400), vectors[:400])
    index.wait(LATE)
    with pytest.MonkeyPatch.context() as patch:
        started = slow_builder(patch)
        index.add(np.arange(400, 600), vectors[400:])
        started[0].kill()
        index.wait(LATE)
    assert index.tail_rows == 200
    assert index.search(vectors, 1).ids[:, 0].tolist() == list(range(600))
    clock.seconds += 30
    index.poll()
    index.wait(LATE)
    assert index.tail_rows == 0
    assert index.search(vectors, 1).ids[:, 0].tolist() == list(range(600))


def test_a_builder_that_cannot_build_says_why(
    index: ScannIndex, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(build, "tree_for", lambda _: build.Tree(leaves=10**6, searched=1))
    index.add(np.arange(400), units(400, 0))
    assert index.wait(LATE)
    assert "index builder ended with 1" in caplog.text
    assert index.tail_rows == 400


def test_a_full_disk_at_the_start_of_a_build_is_no_error_of_the_caller(
    index: ScannIndex, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.save", full)
    index.add(np.arange(400), units(400, 0))
    assert not index.is_building
    assert "No space left" in caplog.text
    assert len(index) == 400


def test_the_builder_ends_when_its_parent_is_gone(tmp_path: Path) -> None:
    job = tmp_path / "job"
    os.mkfifo(job)  # reading it waits for ever
    builder = subprocess.Popen([sys.executable, "-m", build_process.__name__, str(job)], stdin=subprocess.PIPE)
    assert builder.stdin is not None
    builder.stdin.close()  # as the system does when the parent dies
    assert builder.wait(LATE) == 3


def test_closing_ends_the_builder_and_deletes_the_working_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = slow_builder(monkeypatch)
    index = ScannIndex(D, "s", tmp_path, "cpu", Policy(min_rows=300))
    index.add(np.arange(400), units(400, 0))
    assert list(tmp_path.iterdir())
    index.close()
    assert started[0].poll() is not None
    assert list(tmp_path.iterdir()) == []


def test_working_files_of_a_killed_owner_are_deleted_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"""
import os
from pathlib import Path
from neardup.pipeline.index.scratch import Scratch
kept = Scratch(Path({str(tmp_path)!r}))
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    (dead,) = tmp_path.iterdir()
    alive = Scratch(tmp_path)
    assert dead.exists()  # too young to be sure
    monkeypatch.setattr(scratch, "_YOUNG_SECONDS", -1.0)
    new = Scratch(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([alive.path, new.path])
    alive.close()
    new.close()
    assert list(tmp_path.iterdir()) == []


def test_a_saved_searcher_that_scann_cannot_load_is_built_again(
    index: ScannIndex, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    vectors = units(400, 0)
    index.add(np.arange(400), vectors)
    index.wait(LATE)
    index.save_searcher(tmp_path / "saved")
    (tmp_path / "saved" / "scann" / "hashed_dataset.npy").unlink()
    again = ScannIndex(D, "s", tmp_path, "cpu", Policy(min_rows=300))
    assert len(again.load_searcher(tmp_path / "saved", lambda ids: vectors[ids])) == 400
    assert "saved searcher dropped" in caplog.text
    assert again.tail_rows == 400
    assert again.search(vectors, 1).ids[:, 0].tolist() == list(range(400))
    assert again.wait(LATE)
    assert again.tail_rows == 0
    again.close()


def test_a_killed_searcher_is_started_again_and_finds_the_same(
    index: ScannIndex, caplog: pytest.LogCaptureFixture
) -> None:
    index.add(np.arange(400), units(400, 0))
    index.wait(LATE)
    index.add(np.arange(400, 450), units(50, 1))
    index.remove(np.array([7]))
    before = index.search(units(400, 0), 3)
    assert index._generation is not None
    index._generation._searcher.process.kill()
    after = index.search(units(400, 0), 3)
    assert after.ids.tolist() == before.ids.tolist()
    assert "searcher lost, will start it again" in caplog.text
    assert index.tail_rows == 50
    index.remove(np.array([8]))
    assert index._generation.live == 398


def test_without_a_searcher_that_starts_everything_is_compared_until_the_next_build(
    index: ScannIndex, caplog: pytest.LogCaptureFixture
) -> None:
    index.add(np.arange(400), units(400, 0))
    index.wait(LATE)
    assert index._generation is not None
    (index._generation.folder / "hashed_dataset.npy").unlink()
    index._generation._searcher.process.kill()
    assert index.search(units(400, 0), 1).ids[:, 0].tolist() == list(range(400))
    assert "searcher lost, will build it again" in caplog.text
    assert index.tail_rows == 400
    index.poll()
    assert index.wait(LATE)
    assert index.tail_rows == 0
    assert index.search(units(400, 0), 1).ids[:, 0].tolist() == list(range(400))


def test_the_searcher_minds_no_interrupt_and_ends_with_its_owner(tmp_path: Path) -> None:
    script = f"""
import os, signal, sys
from pathlib import Path
import numpy as np
from neardup.pipeline.index.scann.index import Policy, ScannIndex
vectors = np.eye({D}, dtype=np.float32).repeat(30, axis=0)
index = ScannIndex({D}, "s", Path({str(tmp_path)!r}), "cpu", Policy(min_rows=300))
index.add(np.arange(len(vectors)), vectors)
assert index.wait({LATE})
process = index._generation._searcher.process
process.send_signal(signal.SIGINT)
assert index.search(vectors[:1], 1).ids.tolist() == [[0]] and process.poll() is None
print(process.pid, flush=True)
os._exit(9)
"""
    run = subprocess.run([sys.executable, "-c", script], check=False, stdout=subprocess.PIPE, text=True)
    assert run.returncode == 9
    until(lambda: b"scann.serve_process" not in cmdline(run.stdout.strip()), "it ends")


def cmdline(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_an_answer_that_nobody_came_for_is_not_taken_for_the_next(index: ScannIndex) -> None:
    index.add(np.arange(400), units(400, 0))
    index.wait(LATE)
    assert index._generation is not None
    index._generation.ask(units(400, 0)[200:], 3)
    assert index.search(units(400, 0), 1).ids[:, 0].tolist() == list(range(400))


def test_a_searcher_comes_back_with_what_it_stands_for(index: ScannIndex, tmp_path: Path) -> None:
    vectors = units(500, 0)
    index.add(np.arange(400), vectors[:400])
    index.wait(LATE)
    index.add(np.arange(400, 450), vectors[400:450])
    index.remove(np.array([0, 7, 420]))
    index.save_searcher(tmp_path / "saved")
    asked = []

    def read(ids: Ids) -> Descriptors:
        asked.append(ids)
        return vectors[ids]

    again = ScannIndex(D, "s", tmp_path, "cpu", Policy(min_rows=300))
    assert again.load_searcher(tmp_path / "saved", read).tolist() == np.delete(np.arange(400), [0, 7]).tolist()
    again.add(np.arange(400, 450), vectors[400:450])
    again.add(np.array([7]), vectors[:1])
    assert (again.status().searcher, again.status().tail, len(asked)) == (398, 51, 1)
    found = again.search(vectors[:450], 1).ids[:, 0]
    assert found.tolist() == [7, *range(1, 7), found[7], *range(8, 450)]
    assert found[7] not in (0, 7)
    assert not again.is_building
    again.close()


def test_without_a_searcher_there_is_nothing_to_save(index: ScannIndex, tmp_path: Path) -> None:
    index.add(np.arange(200), units(200, 0))
    index.save_searcher(tmp_path / "saved")
    again = ScannIndex(D, "s", tmp_path, "cpu", Policy(min_rows=300))
    assert again.load_searcher(tmp_path / "saved", lambda _: units(0, 0)).tolist() == []
    assert len(again) == 0
    again.close()


def test_a_searcher_that_goes_while_it_is_saved_is_left_out(
    index: ScannIndex, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index.add(np.arange(400), units(400, 0))
    index.wait(LATE)
    assert index._generation is not None
    shutil.rmtree(index._generation.folder)
    index.save_searcher(tmp_path / "saved")
    assert list((tmp_path / "saved").iterdir()) == []
    assert "searcher not saved" in caplog.text


def test_every_neighbour_removed_makes_the_search_look_further(index: ScannIndex) -> None:
    cluster = units(1, 5) + 0.02 * units(900, 6)
    cluster = (cluster / np.linalg.norm(cluster, axis=1, keepdims=True)).astype(np.float32)
    index.add(np.arange(5000), units(5000, 7))
    index.add(np.arange(5000, 5900), cluster)
    index.wait(LATE)
    index.rebuild()
    index.wait(LATE)
    assert index.tail_rows == 0
    index.remove(np.arange(5000, 5900))
    found = index.search(units(1, 5), 10)
    assert (found.ids >= 0).all()
    assert (found.ids < 5000).all()


def test_recall_of_near_duplicates_is_99_percent_of_exact(tmp_path: Path) -> None:
    d, n = 64, 20_000
    rng = np.random.default_rng(0)
    vectors = units(200, 1, d)[rng.integers(0, 200, n)] + 0.8 * units(n, 2, d)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    queries = vectors[:2000] + rng.uniform(0.05, 0.45, (2000, 1)) * units(2000, 3, d)
    queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
    approximate = ScannIndex(d, "s", tmp_path, "cpu", Policy(min_rows=n))
    exact = ExactIndex(d, "s", "cpu")
    for index in (approximate, exact):
        index.add(np.arange(n), vectors)
    assert approximate.wait(LATE)
    assert approximate.tail_rows == 0
    found, truth = approximate.search(queries, 10), exact.search(queries, 10)
    assert np.mean(found.ids[:, 0] == truth.ids[:, 0]) >= 0.99
    same = found.ids == truth.ids
    np.testing.assert_allclose(found.distances[same], truth.distances[same], atol=1e-6)
    approximate.close()


def test_with_more_effort_the_nearest_of_strangers_are_found_too(tmp_path: Path) -> None:
    rows = units(20_000, 7, 64)
    index, exact = ScannIndex(64, "s", tmp_path, "cpu", Policy(min_rows=256)), ExactIndex(64, "s", device="cpu")
    for one in (index, exact):
        one.add(np.arange(len(rows)), rows)
    assert index.wait(LATE)
    wanted = exact.search(rows[:200], 11).ids[:, 1:]

    def recall(effort: int) -> float:
        found = index.search(rows[:200], 11, effort).ids[:, 1:]
        return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), wanted.tolist(), strict=True)]))

    assert recall(1) < recall(4) < recall(1000)
    assert recall(1000) > 0.9  # all leaves, by their codes
    index.close()
    exact.close()


def test_without_scann_its_kind_is_refused_and_auto_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scann.scann_ops.py", None)
    with pytest.raises(ConfigError, match="Linux only"):
        make_index(D, "s", "scann")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "scann" else object())
    assert isinstance(make_index(D, "s"), ExactIndex)


def test_the_kind_is_chosen_by_name(tmp_path: Path) -> None:
    assert isinstance(make_index(D, "s", "exact"), ExactIndex)
    for kind in ("auto", "scann"):
        made = make_index(D, "s", kind, tmp_path)  # type: ignore[arg-type]
        assert isinstance(made, ScannIndex)
        made.close()
    with pytest.raises(ConfigError, match="'hnsw': expected auto, exact or scann"):
        make_index(D, "s", "hnsw")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="device 'gpu': expected auto, cpu, or cuda"):
        make_index(D, "s", "exact", device="gpu")


def test_the_size_from_which_scann_is_used_can_be_set(tmp_path: Path) -> None:
    made = make_index(D, "s", "auto", tmp_path, "cpu", scann_from=300)
    made.add(np.arange(299), units(299, 0))
    assert isinstance(made, ScannIndex)
    assert not made.is_building
    made.add(np.array([299]), units(1, 1))
    assert made.is_building
    made.close()
    with pytest.raises(ConfigError, match="scann_from is 255: ScaNN needs 256"):
        make_index(D, "s", scann_from=255)


def test_importing_the_package_loads_neither_torch_nor_scann() -> None:
    code = "import sys, neardup.pipeline.index; sys.exit(any(m in sys.modules for m in ('torch', 'scann')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_searcher_that_cannot_be_loaded_or_has_other_rows_is_refused(index: ScannIndex) -> None:
    index.add(np.arange(400), units(400, 0))
    index.wait(LATE)
    assert index._generation is not None
    folder, tree = index._generation.folder, index._generation.tree
    with pytest.raises(DependencyError, match="holds 400 points, expected 399"):
        generation.Generation(folder, np.arange(399), 400, tree)
    (folder / "hashed_dataset.npy").unlink()
    with pytest.raises(DependencyError, match="the searcher ended with 1: RuntimeError: Error loading"):
        generation.Generation(folder, np.arange(400), 400, tree)


def slow_builder(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Let builds start a process that never ends by itself; returns the list that they are entered into."""
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(_: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(popen([sys.executable, "-c", "import sys; sys.stdin.read()"], **options))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(build.subprocess, "Popen", start)  # type: ignore[attr-defined]
    return started


def searchers(index: ScannIndex) -> int:
    """Return how many searchers lie in the working folder, once those that were replaced have gone."""
    if index._leaving is not None:
        index._leaving.join()
    return sum(path.is_dir() for path in index._scratch.path.iterdir())
