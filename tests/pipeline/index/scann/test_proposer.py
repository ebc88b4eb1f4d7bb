"""What the contract cannot see: builds under way, builds that fail, recall at a size that matters."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.pipeline.index import Index, IndexOptions, make_index, scratch
from neardup.pipeline.index.exact import NumpyProducts
from neardup.pipeline.index.scann import build, build_process, generation, searcher
from neardup.pipeline.index.scann.proposer import Policy, ScannProposer
from neardup.pipeline.index.scratch import Scratch
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.types import Descriptors
from tests.pipeline.index.filled import Filled
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


def scann(folder: Path, policy: Policy, clock: Callable[[], float] = time.monotonic) -> Callable[[VectorFile], Index]:
    return lambda vectors: Index(vectors, ScannProposer(vectors, "seen", folder, NumpyProducts(), policy, clock), None)


def exact(vectors: VectorFile) -> Index:
    return make_index(vectors, "seen", IndexOptions("exact", device="cpu"))


def engine(index: Filled) -> ScannProposer:
    assert isinstance(index.index.proposer, ScannProposer)
    return index.index.proposer


@pytest.fixture(params=["file", "memory"])
def index(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Filled]:
    """An index over a vector file, or over vectors in memory."""
    path = tmp_path / "vectors" if request.param == "file" else None
    made = Filled(path, scann(tmp_path, Policy(min_rows=300, tail_factor=5.0), clock), D)
    yield made
    made.close()


def units(n: int, seed: int, d: int = D) -> Descriptors:
    vectors = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_nothing_is_built_below_the_least_number_of_rows(index: Filled) -> None:
    index.add(np.arange(299), units(299, 0))
    assert not engine(index).is_building
    index.add(np.array([299]), units(1, 1))
    assert engine(index).is_building


def test_a_build_takes_over_and_leaves_no_tail(index: Filled) -> None:
    index.add(np.arange(400), units(400, 0))
    assert engine(index).tail_rows == 400
    assert engine(index).wait(LATE)
    assert engine(index).tail_rows == 0
    assert index.search(units(400, 0), 1).ids[:, 0].tolist() == list(range(400))


def test_what_comes_and_goes_during_a_build_is_respected_before_and_after_it(index: Filled) -> None:
    vectors = units(500, 0)
    index.add(np.arange(400), vectors[:400])
    assert engine(index).is_building
    index.add(np.arange(400, 500), vectors[400:])
    index.remove(np.array([0, 1, 450]))
    index.add(np.array([1]), vectors[:1])  # id 1 returns with the vector of id 0
    for _ in range(2):
        found = index.search(vectors, 5)
        assert not np.isin(found.ids, [0, 450]).any()
        assert found.ids[:, 0].tolist()[2:450] == list(range(2, 450))
        assert (found.ids[0, 0], found.ids[1, 0] == 1) == (1, False)
        assert engine(index).wait(LATE)
    assert engine(index).tail_rows == 100
    assert engine(index)._generation is not None
    assert engine(index)._generation.live == 398


def test_searches_go_on_while_a_build_runs(index: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    started = slow_builder(monkeypatch)
    index.add(np.arange(400), units(400, 0))
    for _ in range(20):
        assert index.search(units(3, 0), 1).ids[:, 0].tolist() == [0, 1, 2]
    assert engine(index).is_building
    assert started[0].poll() is None


def test_the_next_build_starts_when_the_tail_has_grown(index: Filled) -> None:
    index.add(np.arange(400), units(400, 0))
    engine(index).wait(LATE)
    index.add(np.arange(400, 500), units(100, 1))  # 5 × √400
    assert not engine(index).is_building
    index.add(np.array([500]), units(1, 2))
    assert engine(index).is_building
    engine(index).wait(LATE)
    assert engine(index).tail_rows == 0
    assert searchers(index) == 1


def test_the_next_build_starts_when_a_fifth_was_removed(index: Filled) -> None:
    index.add(np.arange(1000), units(1000, 0))
    engine(index).wait(LATE)
    index.remove(np.arange(200))
    assert not engine(index).is_building
    index.remove(np.array([200]))
    assert engine(index).is_building


def test_what_was_removed_leaves_the_searcher_within_an_hour(index: Filled, clock: Clock) -> None:
    index.add(np.arange(400), units(400, 0))
    index.settle()
    index.remove(np.array([7]))
    clock.seconds += 3599
    engine(index).poll()
    assert not engine(index).is_building
    clock.seconds += 1
    engine(index).poll()
    index.settle()
    assert searchers(index) == 1
    built = engine(index)._generation
    assert built is not None
    assert len(built) == 399
    clock.seconds += 3600
    engine(index).poll()
    assert not engine(index).is_building


def test_no_vector_is_written_a_second_time(index: Filled, tmp_path: Path) -> None:
    vectors = units(400, 0)
    mark = vectors[7].astype(np.float16).tobytes()
    index.add(np.arange(400), vectors)
    index.settle()
    index.vectors.sync()
    files = [path for path in tmp_path.rglob("*") if path.is_file() and mark in path.read_bytes()]
    assert files == [path for path in [index.vectors.path] if path]


def test_a_row_that_comes_back_during_a_build_is_found_once(index: Filled) -> None:
    vectors = units(400, 0)
    index.add(np.arange(400), vectors)
    assert engine(index).is_building
    for _ in range(2):
        index.index.remove(index.rows(np.arange(30)))
        index.index.add(index.rows(np.arange(20)))
        index.index.remove(index.rows(np.arange(10)))
        index.settle()
        assert engine(index).tail_rows == (10 if index.vectors.path is None else 0)  # they are points of the searcher
        found = index.search(vectors, 3).ids
        assert not np.isin(found, [*range(10), *range(20, 30)]).any()
        assert found[10:20, 0].tolist() == list(range(10, 20))
        assert all(len(set(some)) == 3 for some in found.tolist())
        index.index.add(index.rows(np.array([*range(10), *range(20, 30)])))
        engine(index).rebuild()
    index.settle()
    assert index.search(vectors, 1).ids[:, 0].tolist() == list(range(400))


def test_a_killed_builder_is_tried_again_later_and_later(
    index: Filled, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    started = slow_builder(monkeypatch)
    index.add(np.arange(400), units(400, 0))
    for attempt, wait in enumerate((30, 60, 120)):
        started[attempt].kill()
        with caplog.at_level(logging.WARNING):
            assert engine(index).wait(LATE)
        assert f"retry_seconds={wait} error=the index builder ended with -9" in caplog.text
        assert index.search(units(1, 0), 1).ids.tolist() == [[0]]
        clock.seconds += wait - 1
        engine(index).poll()
        assert not engine(index).is_building
        clock.seconds += 1
        engine(index).poll()
        assert engine(index).is_building
    monkeypatch.undo()


def test_after_a_killed_builder_the_old_searcher_goes_on_and_the_next_build_takes_over(
    index: Filled, clock: Clock
) -> None:
    vectors = units(600, 0)
    index.add(np.arange(400), vectors[:400])
    engine(index).wait(LATE)
    with pytest.MonkeyPatch.context() as patch:
        started = slow_builder(patch)
        index.add(np.arange(400, 600), vectors[400:])
        started[0].kill()
        engine(index).wait(LATE)
    assert engine(index).tail_rows == 200
    assert index.search(vectors, 1).ids[:, 0].tolist() == list(range(600))
    clock.seconds += 30
    engine(index).poll()
    engine(index).wait(LATE)
    assert engine(index).tail_rows == 0
    assert index.search(vectors, 1).ids[:, 0].tolist() == list(range(600))


def test_a_builder_that_cannot_build_says_why(
    index: Filled, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(build, "tree_for", lambda _: build.Tree(leaves=10**6, searched=1))
    index.add(np.arange(400), units(400, 0))
    assert engine(index).wait(LATE)
    assert "index builder ended with 1" in caplog.text
    assert engine(index).tail_rows == 400


def test_a_full_disk_at_the_start_of_a_build_is_no_error_of_the_caller(
    index: Filled, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.save", full)
    index.add(np.arange(400), units(400, 0))
    assert not engine(index).is_building
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
    index = Filled(None, scann(tmp_path, Policy(min_rows=300)), D)
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
kept = Scratch(Path({str(tmp_path)!r}), "seen")
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    (dead,) = tmp_path.iterdir()
    alive = Scratch(tmp_path, "seen")
    assert dead.exists()  # too young to be sure
    monkeypatch.setattr(scratch, "_YOUNG_SECONDS", -1.0)
    new = Scratch(tmp_path, "bank-news")
    assert new.path.name.startswith("neardup-index-bank-news-")
    assert sorted(tmp_path.iterdir()) == sorted([alive.path, new.path])
    alive.close()
    new.close()
    assert list(tmp_path.iterdir()) == []


def test_a_saved_searcher_that_scann_cannot_load_is_built_again(
    index: Filled, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    vectors = units(400, 0)
    index.add(np.arange(400), vectors)
    engine(index).wait(LATE)
    index.index.save(tmp_path / "saved")
    (tmp_path / "saved" / "scann" / "hashed_dataset.npy").unlink()
    again = scann(tmp_path, Policy(min_rows=300))(index.vectors)
    assert again.load(tmp_path / "saved").tolist() == []
    assert "saved searcher dropped" in caplog.text
    again.add(index.rows(np.arange(400)))
    assert again.search(vectors, 1).ids[:, 0].tolist() == list(range(400))
    assert again.proposer.wait(LATE)  # type: ignore[attr-defined]
    assert again.status().searcher == 400
    again.close()


def test_a_killed_searcher_is_started_again_and_finds_the_same(index: Filled, caplog: pytest.LogCaptureFixture) -> None:
    index.add(np.arange(400), units(400, 0))
    engine(index).wait(LATE)
    index.add(np.arange(400, 450), units(50, 1))
    index.remove(np.array([7]))
    before = index.search(units(400, 0), 3)
    assert engine(index)._generation is not None
    engine(index)._generation._searcher.process.kill()
    after = index.search(units(400, 0), 3)
    assert after.ids.tolist() == before.ids.tolist()
    assert "searcher lost, will start it again" in caplog.text
    assert engine(index).tail_rows == 50
    index.remove(np.array([8]))
    assert engine(index)._generation.live == 398


def test_without_a_searcher_that_starts_everything_is_compared_until_the_next_build(
    index: Filled, caplog: pytest.LogCaptureFixture
) -> None:
    index.add(np.arange(400), units(400, 0))
    engine(index).wait(LATE)
    assert engine(index)._generation is not None
    (engine(index)._generation.folder / "hashed_dataset.npy").unlink()
    engine(index)._generation._searcher.process.kill()
    assert index.search(units(400, 0), 1).ids[:, 0].tolist() == list(range(400))
    assert "searcher lost, will build it again" in caplog.text
    assert engine(index).tail_rows == 400
    engine(index).poll()
    assert engine(index).wait(LATE)
    assert engine(index).tail_rows == 0
    assert index.search(units(400, 0), 1).ids[:, 0].tolist() == list(range(400))


def test_the_searcher_minds_no_interrupt_and_ends_with_its_owner(tmp_path: Path) -> None:
    script = f"""
import os, signal, sys
from pathlib import Path
import numpy as np
from neardup.pipeline.index import IndexOptions, make_index
from neardup.pipeline.index.vectors import VectorFile
vectors = VectorFile(None, {D}, "s")
vectors.append(np.arange(30 * {D}), np.eye({D}, dtype=np.float32).repeat(30, axis=0))
index = make_index(vectors, "seen", IndexOptions("scann", Path({str(tmp_path)!r}), "cpu", scann_from=300))
index.add(np.arange(len(vectors)))
assert index.proposer.wait({LATE})
process = index.proposer._generation._searcher.process
process.send_signal(signal.SIGINT)
assert index.search(vectors.read(np.array([0])), 1).ids.tolist() == [[0]] and process.poll() is None
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


def test_an_answer_that_nobody_came_for_is_not_taken_for_the_next(index: Filled) -> None:
    index.add(np.arange(400), units(400, 0))
    engine(index).wait(LATE)
    assert engine(index)._generation is not None
    engine(index)._generation.ask(units(400, 0)[200:], 3)
    assert index.search(units(400, 0), 1).ids[:, 0].tolist() == list(range(400))


def test_what_is_asked_ahead_is_answered_as_things_are_by_then(index: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = units(400, 0)
    index.add(np.arange(400), vectors)
    engine(index).wait(LATE)
    sent: list[int] = []
    ask = searcher.Searcher.ask
    monkeypatch.setattr(searcher.Searcher, "ask", lambda self, q, *rest: (sent.append(len(q)), ask(self, q, *rest)))
    index.index.ask(vectors[:50], 3)
    index.remove(np.arange(10))
    index.add(np.array([400, 401]), vectors[20:22])
    assert index.search(vectors[60:63], 3).ids[:, 0].tolist() == [60, 61, 62]  # another question, between
    found = index.search(vectors[5:55], 3)
    assert sent == [50, 3, 5]  # the five that were not asked, and no other
    assert not np.isin(found.ids, np.arange(10)).any()
    assert found.ids[5:, 0].tolist() == list(range(10, 55))
    assert found.ids[15:17, :2].tolist() == [[20, 400], [21, 401]]
    again = index.search(vectors[5:55] + np.float32(0), 3)
    assert np.array_equal(found.ids, again.ids)
    assert np.array_equal(found.distances, again.distances)


def handed_over(index: Filled) -> int:
    """Return how many rows the searcher's process compares with."""
    generation = engine(index)._generation
    return 0 if generation is None else generation.newer_count


@pytest.mark.parametrize(("most_newest", "one_by_one"), [(0, 2048), (1024, 2048), (0, 0), (0, 60)])
def test_the_searchers_process_finds_newer_rows_as_the_exact_index_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_newest: int, one_by_one: int
) -> None:
    monkeypatch.setattr("neardup.pipeline.index.scann.proposer._MOST_NEWEST", most_newest)
    policy = Policy(min_rows=300, tail_factor=15.0, newest=one_by_one)
    random, vectors = np.random.default_rng(3), units(1000, 3)
    index = Filled(tmp_path / "vectors", scann(tmp_path, policy), D)
    right = Filled(None, exact, D)
    held: list[int] = []
    most_handed, builds = 0, 0
    for number, start in enumerate(range(0, 1000, 25)):
        if number == 30:  # the newer rows are handed over to its successor
            generation = engine(index)._generation
            assert generation is not None
            generation._searcher.process.kill()
        new = np.arange(start, start + 25)
        queries = vectors[random.integers(0, start + 25, 40)]
        if number % 3:
            index.index.ask(queries[:30], 20)
        near = right.search(queries[:1], 12 * (number % 2) or 1).ids[0].tolist()  # more than there are spare ones
        gone = np.array([one for one in near if one in held], np.int64)
        held = sorted({*held, *new.tolist()} - {*gone.tolist()})
        for one in (index, right):
            one.add(new, vectors[new])
            one.remove(gone)
        for _ in range(2):
            found, wanted = index.search(queries, 20), right.search(queries, 20)
            generation = engine(index)._generation  # which may miss rows of its own, and the rows are the ids here
            newer = np.ones_like(wanted.ids, np.bool_) if generation is None else ~generation.holds(wanted.ids)
            is_found = (wanted.ids[:, :, None] == found.ids[:, None]).any(axis=2)
            assert is_found[newer & (wanted.ids >= 0)].all()
            assert is_found[:, 0].mean() > 0.95
            assert not np.isin(found.ids, gone).any()
            assert np.isclose(found.distances[:, 0], wanted.distances[:, 0], atol=0).mean() > 0.95
        assert engine(index).tail_rows == handed_over(index) + len(engine(index)._tail)
        most_handed = max(most_handed, handed_over(index))
        engine(index).wait(LATE)
        builds = engine(index).status().builds
    assert most_handed > 100
    assert builds > 1
    index.close()
    right.close()


def test_more_neighbours_than_the_searcher_has_points_come_from_newer_rows(tmp_path: Path) -> None:
    vectors = units(1200, 5)
    with closing(Filled(tmp_path / "vectors", scann(tmp_path, Policy(min_rows=300, tail_factor=80.0)), D)) as index:
        index.add(np.arange(300), vectors[:300])
        engine(index).wait(LATE)
        index.add(np.arange(300, 1200), vectors[300:])
        queries = vectors[1000:1003]
        nearest = np.argsort(((queries[:, None] - vectors[None, 300:]) ** 2).sum(axis=2), axis=1)[:, :650] + 300
        index.index.ask(queries, 900)
        assert handed_over(index) == 900
        for _ in range(2):  # what was asked ahead, and what was not
            found = index.search(queries, 900).ids
            assert (nearest[:, :, None] == found[:, None]).any(axis=2).all()


def test_newer_rows_are_asked_for_again_where_those_found_ahead_have_gone(tmp_path: Path) -> None:
    """More of them than there are spare ones, so that others are the nearest that the answer does not have."""
    vectors, query = units(380, 5), units(1, 6)
    vectors[300:] = query + np.linspace(0.1, 0.3, 80)[:, None] * units(1, 7)
    vectors[300:] /= np.linalg.norm(vectors[300:], axis=1, keepdims=True)
    with closing(Filled(tmp_path / "vectors", scann(tmp_path, Policy(min_rows=300)), D)) as index:
        index.add(np.arange(300), vectors[:300])
        engine(index).wait(LATE)
        index.add(np.arange(300, 380), vectors[300:])
        index.index.ask(query, 3)
        assert handed_over(index) == 80
        index.remove(np.arange(300, 330))
        assert index.search(query, 3).ids.tolist() == [[330, 331, 332]]
        index.remove(np.arange(330, 378))
        assert index.search(query, 3).ids[0, :2].tolist() == [378, 379]


def joined(index: Filled) -> None:
    """Wait until newer rows have joined ScaNN's tree."""
    generation = engine(index)._generation
    assert generation is not None
    generation.join()
    assert generation.has_joined(LATE)


def test_rows_that_joined_the_tree_are_found_removed_and_found_again_once(tmp_path: Path) -> None:
    vectors = units(600, 5)
    policy = Policy(min_rows=300, tail_factor=80.0, newest=0)
    with closing(Filled(tmp_path / "vectors", scann(tmp_path, policy), D)) as index:
        index.add(np.arange(300), vectors[:300])
        engine(index).wait(LATE)
        index.add(np.arange(300, 600), vectors[300:])
        index.index.ask(vectors[:1], 1)
        assert handed_over(index) == 300
        joined(index)
        assert index.search(vectors, 1).ids[:, 0].tolist() == list(range(600))
        gone = np.array([5, 7, *range(400, 450)])
        index.index.remove(index.rows(gone))
        assert not np.isin(index.search(vectors, 40).ids, gone).any()
        joined(index)
        index.index.add(index.rows(gone))
        found = index.search(vectors, 40).ids
        assert found[:, 0].tolist() == list(range(600))
        assert all(len(set(some)) == 40 for some in found.tolist())
        index.index.ask(vectors[:1], 1)
        assert engine(index).tail_rows == 300  # the points of the searcher among them are no tail
        assert index.search(vectors, 1).ids[:, 0].tolist() == list(range(600))
        assert sorted(index.search(vectors[:1], 600).ids[0].tolist()) == list(range(600))


def test_a_searcher_whose_tail_joined_is_saved_as_it_was_built(tmp_path: Path) -> None:
    vectors = units(600, 5)
    policy = Policy(min_rows=300, tail_factor=80.0, newest=0)
    with closing(Filled(tmp_path / "vectors", scann(tmp_path, policy), D)) as index:
        index.add(np.arange(300), vectors[:300])
        engine(index).wait(LATE)
        index.add(np.arange(300, 600), vectors[300:])
        index.index.ask(vectors[:1], 1)
        joined(index)
        loaded = index.restart(tmp_path / "saved", np.arange(600), scann(tmp_path, policy))
        assert loaded.tolist() == list(range(300))
        index.index.ask(vectors[:1], 1)
        joined(index)
        assert index.search(vectors, 1).ids[:, 0].tolist() == list(range(600))


def test_a_searcher_that_died_of_rows_that_joined_compares_with_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    vectors = units(600, 5)
    policy = Policy(min_rows=300, tail_factor=80.0, newest=0)
    with closing(Filled(tmp_path / "vectors", scann(tmp_path, policy), D)) as index:
        index.add(np.arange(300), vectors[:300])
        engine(index).wait(LATE)
        index.add(np.arange(300, 600), vectors[300:])
        index.index.ask(vectors[:1], 1)
        joined(index)
        index.remove(np.array([350]))
        generation = engine(index)._generation
        assert generation is not None
        generation._searcher.process.kill()
        found = index.search(vectors, 1).ids[:, 0]
        assert np.delete(found, 350).tolist() == [*range(350), *range(351, 600)]
        assert "will start it again" in caplog.text
        again = engine(index)._generation
        assert again is not None
        assert (again.joins, again.takes_newer, engine(index).tail_rows) == (False, True, 299)
        engine(index).rebuild()
        engine(index).wait(LATE)
        assert engine(index)._generation.joins  # type: ignore[union-attr]


def test_what_came_during_a_build_has_joined_when_its_searcher_takes_over(tmp_path: Path) -> None:
    vectors = units(900, 5)
    policy = Policy(min_rows=300, tail_factor=80.0, newest=0)
    with closing(Filled(tmp_path / "vectors", scann(tmp_path, policy), D)) as index:
        index.add(np.arange(300), vectors[:300])
        index.add(np.arange(300, 600), vectors[300:600])
        engine(index).wait(LATE)
        assert handed_over(index) == 300
        engine(index).rebuild()
        index.add(np.arange(600, 900), vectors[600:])
        index.index.ask(vectors[:1], 1)
        index.remove(np.array([20, 320, 620]))
        engine(index).wait(LATE)
        assert (handed_over(index), engine(index).tail_rows) == (299, 299)
        found = index.search(vectors, 1).ids[:, 0]
        kept = np.delete(np.arange(900), [20, 320, 620])
        assert found[kept].tolist() == kept.tolist()
        assert engine(index).status().builds == 2


def test_a_long_tail_joins_without_being_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neardup.pipeline.index.scann.proposer._MOST_HERE", 200)
    vectors = units(600, 5)
    policy = Policy(min_rows=300, tail_factor=80.0)
    with closing(Filled(tmp_path / "vectors", scann(tmp_path, policy), D)) as index:
        index.add(np.arange(300), vectors[:300])
        engine(index).wait(LATE)
        index.add(np.arange(300, 600), vectors[300:])
        assert (handed_over(index), engine(index).tail_rows) == (300, 300)
        assert index.search(vectors, 1).ids[:, 0].tolist() == list(range(600))


def test_rows_that_the_disk_did_not_take_stay_with_the_caller(index: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    index.add(np.arange(400), units(400, 0))
    engine(index).wait(LATE)
    monkeypatch.setattr(VectorFile, "unwritten_bytes", property(lambda _: 1))
    index.add(np.arange(400, 420), units(20, 1))
    index.index.ask(units(20, 1), 1)
    assert index.search(units(20, 1), 1).ids[:, 0].tolist() == list(range(400, 420))
    assert (handed_over(index), engine(index).tail_rows) == (0, 20)
    monkeypatch.undo()
    index.index.ask(units(20, 1), 1)
    assert index.search(units(20, 1), 1).ids[:, 0].tolist() == list(range(400, 420))
    assert handed_over(index) == (0 if index.vectors.path is None else 20)


def test_distances_are_those_of_the_stored_vectors_whoever_computes_them(index: Filled) -> None:
    index.add(np.arange(500), units(500, 0))
    engine(index).wait(LATE)
    index.add(np.arange(500, 520), units(20, 1))
    queries = units(40, 2)
    found = index.search(queries, 4)
    stored = index.vectors.read(index.rows(found.ids.ravel()))
    expected = ((stored.reshape(40, 4, D) - queries[:, None]) ** 2).sum(axis=2)
    assert np.abs(found.distances - expected).max() < 1e-6
    assert np.array_equal(found.distances, exact_distances(index, queries, found.ids))


def test_newest_rows_that_are_too_far_away_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = units(540, 0)
    vectors[500] = vectors[7]
    compared: list[int] = []
    with closing(Filled(tmp_path / "vectors", scann(tmp_path, Policy(min_rows=300, tail_factor=15.0)), D)) as index:
        index.add(np.arange(500), vectors[:500])
        engine(index).wait(LATE)
        index.add(np.arange(500, 540), vectors[500:])
        tail = engine(index)._tail
        read = tail.read
        monkeypatch.setattr(tail, "read", lambda rows: (compared.append(len(rows)), read(rows))[1])
        some = index.index.search(vectors[:20], 4, spare=8)
        monkeypatch.setattr("neardup.pipeline.index.scann.proposer._SCORE_ERROR", np.float32(9))
        all_of_them = index.index.search(vectors[:20], 4, spare=8)
    assert compared[0] < compared[1] / 4
    assert np.array_equal(some.ids, all_of_them.ids)
    assert np.array_equal(some.distances, all_of_them.distances)
    assert some.ids[7, :2].tolist() == [7, 500]


def exact_distances(index: Filled, queries: Descriptors, ids: np.ndarray) -> np.ndarray:
    """Return what the index that compares with everything says of the same pairs."""
    everything = exact(index.vectors)
    everything.add(index.rows(np.arange(520)))
    all_of_them = everything.search(queries, 520)
    everything.close()
    by_id = np.take_along_axis(all_of_them.distances, np.argsort(all_of_them.ids, axis=1), 1)
    return np.take_along_axis(by_id, ids, 1)


def test_a_searcher_comes_back_with_what_it_stands_for(index: Filled, tmp_path: Path) -> None:
    vectors = units(500, 0)
    index.add(np.arange(400), vectors[:400])
    engine(index).wait(LATE)
    index.add(np.arange(400, 450), vectors[400:450])
    index.remove(np.array([0, 7, 420]))
    held = np.delete(np.arange(450), [0, 7, 420])
    loaded = index.restart(tmp_path / "saved", held, scann(tmp_path, Policy(min_rows=300)))
    assert sorted(loaded.tolist()) == index.rows(held[held < 400]).tolist()
    index.add(np.array([7]), vectors[:1])
    status = index.index.status()
    assert (status.searcher, status.tail) == (398, 50)
    found = index.search(vectors[:450], 1).ids[:, 0]
    assert found[[*range(7), *range(8, 420)]].tolist() == [7, *range(1, 7), *range(8, 420)]
    assert found[7] not in (0, 7)
    assert not engine(index).is_building


def test_a_searcher_over_more_rows_than_the_file_has_is_refused(index: Filled, tmp_path: Path) -> None:
    index.add(np.arange(400), units(400, 0))
    index.settle()
    index.index.save(tmp_path / "saved")
    shorter = Filled(None, scann(tmp_path, Policy(min_rows=10**9)), D)
    shorter.vectors.append(np.arange(399), units(399, 0))
    with pytest.raises(ConfigError, match="holds row 399 of 399"):
        shorter.index.load(tmp_path / "saved")
    shorter.close()


def test_without_a_searcher_there_is_nothing_to_save(index: Filled, tmp_path: Path) -> None:
    index.add(np.arange(200), units(200, 0))
    assert index.restart(tmp_path / "saved", np.arange(0)).tolist() == []
    assert len(index) == 0
    assert list((tmp_path / "saved").iterdir()) == []


def test_a_searcher_that_goes_while_it_is_saved_is_left_out(
    index: Filled, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index.add(np.arange(400), units(400, 0))
    engine(index).wait(LATE)
    assert engine(index)._generation is not None
    shutil.rmtree(engine(index)._generation.folder)
    index.index.save(tmp_path / "saved")
    assert list((tmp_path / "saved").iterdir()) == []
    assert "searcher not saved" in caplog.text


def test_every_neighbour_removed_makes_the_search_look_further(index: Filled) -> None:
    cluster = units(1, 5) + 0.02 * units(900, 6)
    cluster = (cluster / np.linalg.norm(cluster, axis=1, keepdims=True)).astype(np.float32)
    index.add(np.arange(5000), units(5000, 7))
    index.add(np.arange(5000, 5900), cluster)
    engine(index).wait(LATE)
    engine(index).rebuild()
    engine(index).wait(LATE)
    assert engine(index).tail_rows == 0
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
    approximate, truth = Filled(None, scann(tmp_path, Policy(min_rows=n)), d), Filled(None, exact, d)
    for one in (approximate, truth):
        one.add(np.arange(n), vectors)
        one.settle()
    assert engine(approximate).tail_rows == 0
    found, expected = approximate.search(queries, 10), truth.search(queries, 10)
    assert np.mean(found.ids[:, 0] == expected.ids[:, 0]) >= 0.99
    same = found.ids == expected.ids
    np.testing.assert_array_equal(found.distances[same], expected.distances[same])
    approximate.close()


def test_recall_of_rows_that_joined_is_99_percent_of_exact(tmp_path: Path) -> None:
    d, n = 64, 20_000
    rng = np.random.default_rng(0)
    vectors = units(200, 1, d)[rng.integers(0, 200, n)] + 0.8 * units(n, 2, d)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    queries = vectors[-2000:] + rng.uniform(0.05, 0.45, (2000, 1)) * units(2000, 3, d)
    queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
    with closing(Filled(tmp_path / "vectors", scann(tmp_path, Policy(min_rows=16_000, newest=0)), d)) as index:
        index.add(np.arange(16_000), vectors[:16_000])
        engine(index).wait(LATE)
        index.add(np.arange(16_000, n), vectors[16_000:])
        index.index.ask(queries[:1], 1)
        joined(index)
        assert engine(index).tail_rows == 4000
        truth = Filled(None, exact, d)
        truth.add(np.arange(n), vectors)
        found, expected = index.search(queries, 10), truth.search(queries, 10)
        assert np.mean(found.ids[:, 0] == expected.ids[:, 0]) >= 0.99
        truth.close()


def test_with_more_effort_the_nearest_of_strangers_are_found_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_LEAST_LEAVES_SEARCHED", 32)  # of 141
    rows = units(20_000, 7, 64)
    index, truth = Filled(None, scann(tmp_path, Policy(min_rows=256)), 64), Filled(None, exact, 64)
    for one in (index, truth):
        one.add(np.arange(len(rows)), rows)
        one.settle()
    wanted = truth.search(rows[:200], 11).ids[:, 1:]

    def recall(effort: int) -> float:
        found = index.search(rows[:200], 11, effort).ids[:, 1:]
        return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), wanted.tolist(), strict=True)]))

    assert recall(1) < recall(4) < recall(1000)
    assert recall(1000) > 0.9  # all leaves, by their codes
    index.close()


def test_a_searcher_that_cannot_be_loaded_or_has_other_rows_is_refused(index: Filled) -> None:
    index.add(np.arange(400), units(400, 0))
    index.settle()
    built = engine(index)._generation
    assert built is not None
    with pytest.raises(DependencyError, match="holds 400 points, expected 399"):
        generation.Generation(built.folder, np.arange(399), built.tree)
    (built.folder / "hashed_dataset.npy").unlink()
    with pytest.raises(DependencyError, match="the searcher ended with 1: RuntimeError: Error loading"):
        generation.Generation(built.folder, np.arange(400), built.tree)


def slow_builder(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Let builds start a process that never ends by itself; returns the list that they are entered into."""
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(_: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(popen([sys.executable, "-c", "import sys; sys.stdin.read()"], **options))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(build.subprocess, "Popen", start)  # type: ignore[attr-defined]
    return started


def searchers(index: Filled) -> int:
    """Return how many searchers lie in the working folder, once those that were replaced have gone."""
    if engine(index)._leaving is not None:
        engine(index)._leaving.join()
    return sum(path.is_dir() for path in engine(index)._scratch.path.iterdir())
