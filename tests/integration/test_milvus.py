"""Milvus as the engine, with a real server of one process: the contract of all engines, and what may go wrong."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.index import Index
from neardup.pipeline.index.exact import NumpyProducts
from neardup.pipeline.index.milvus.names import RowsAsOffsets, ids_of
from neardup.pipeline.index.milvus.options import MilvusOptions
from neardup.pipeline.index.milvus.proposer import MilvusProposer, Policy
from neardup.pipeline.index.milvus.server import Server
from neardup.pipeline.index.rows import RowNumbers
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.settings import Settings
from neardup.workers.match.fork import Background
from tests.contract import test_index as contract
from tests.integration import stream
from tests.integration.stream import SPACE
from tests.integration.tls import TlsProxy, make_authority, make_certificate
from tests.timing import LATE_SECONDS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
QUICK = Policy(
    visible_seconds=0.0,
    again_seconds=0.0,
    marker_seconds=0.0,
    patience_seconds=20.0,
    slice_seconds=0.2,
    audit_seconds=0.2,
    healed_seconds=0.1,
    lost_seconds=1.0,
)
_OFFSETS = itertools.count(1)

for _name, _test in vars(contract).items():
    if _name.startswith("test_") and "kind" not in _name and "history" not in _name:
        globals()[_name] = _test


class Shifted(RowsAsOffsets):
    """Names that no other test has, so that tests may share a collection, which takes three seconds to make."""

    def __init__(self) -> None:
        self._shift = next(_OFFSETS) << 20

    def names(self, rows: RowNumbers) -> tuple[RowNumbers, RowNumbers]:
        return rows + self._shift, np.zeros_like(rows)

    def named(self, offsets: RowNumbers, numbers: RowNumbers) -> RowNumbers:  # noqa: ARG002
        rows = offsets - self._shift
        return np.where((rows >= 0) & (rows < 1 << 20), rows, -1)


class Emptied(MilvusProposer):
    """Takes its rows out of the collection in place of the collection."""

    def drop(self) -> None:
        rows = self._rows_in(1, 2, 3)
        if len(rows) and self._joined:
            self.remove(rows)
            assert self.wait(30)
        self.close()


def new_index(uri: str, policy: Policy = QUICK, kind: type[MilvusProposer] = Emptied) -> Callable[[VectorFile], Index]:
    names = Shifted()

    def new(vectors: VectorFile) -> Index:
        options = MilvusOptions(uri, min_rows=1, shards=2)
        server = Server(options, "contract", "s", vectors.dimension)
        return Index(vectors, kind(vectors, server, NumpyProducts(), options, names, policy=policy))

    return new


@pytest.fixture
def make(milvus: str, tmp_path: Path) -> Iterator[contract.Make]:
    maker = contract.Make("milvus-built", tmp_path, lambda _, __: new_index(milvus))
    yield maker
    maker.close()


@examples(max_examples=6, **contract.HISTORIES)
@given(steps=contract.STEPS, seed=st.integers(0, 2**31))
def test_any_history_gives_what_brute_force_gives(
    milvus: str, steps: contract.Steps, seed: int, tmp_path: Path
) -> None:
    contract.check_history(new_index(milvus), steps, seed, tmp_path)


# -- what may go wrong ------------------------------------------------------------------------------------------------


D = 16
SETTLING = 30.0


class Searched:
    """A file of rows and those who search it, over a collection of one test."""

    def __init__(self, uri: str, name: str, rows: int) -> None:
        self.uri = uri
        self.vectors = VectorFile(None, D, "s")
        self.vectors.append(np.arange(rows), contract.random_units(rows, 7, D))
        self.options = MilvusOptions(uri, prefix=f"test-{name}", min_rows=1)
        self.indexes: list[Index] = []

    def index(self, policy: Policy = QUICK) -> Index:
        server = Server(self.options, "seen", "s", D)
        proposer = MilvusProposer(self.vectors, server, NumpyProducts(), self.options, RowsAsOffsets(), policy=policy)
        self.indexes.append(Index(self.vectors, proposer, None))
        return self.indexes[-1]

    def close(self) -> None:
        for one in self.indexes[1:]:
            one.close()
        self.indexes[0].drop()


def engine(index: Index) -> MilvusProposer:
    assert isinstance(index.proposer, MilvusProposer)
    return index.proposer


@pytest.fixture
def searched(milvus: str, request: pytest.FixtureRequest) -> Iterator[Searched]:
    one = Searched(milvus, request.node.name, 2000)
    yield one
    one.close()


def leading(searched: Searched, rows: RowNumbers, policy: Policy = QUICK) -> Index:
    """An index whose rows Milvus has, all of them."""
    index = searched.index(policy)
    index.settle(-1, leads=False)
    index.add(rows)
    index.settle(int(rows.max()), leads=True)
    assert engine(index).wait(SETTLING)
    assert index.status().searcher == len(rows)
    return index


def lose(server: Server, ids: RowNumbers) -> None:
    """Delete rows and wait until no search sees them: a search may answer from before a deletion, a strong read not."""
    server.delete(ids)
    end = time.monotonic() + LATE_SECONDS
    while server.read(ids):
        assert time.monotonic() < end


def finds(index: Index, searched: Searched, rows: RowNumbers) -> bool:
    """Whether each of the rows is the nearest to its own vector."""
    found = index.search(searched.vectors.read(rows), 1)
    return bool((found.ids[:, 0] == rows).all())


def until(index: Index, done: Callable[[], bool], seconds: float = SETTLING) -> bool:
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        index.settle(engine(index)._settled or 0, leads=True)
        index.ready()
        time.sleep(0.02)
    return done()


@pytest.fixture
def encrypted(milvus: str, tmp_path: Path) -> Iterator[tuple[TlsProxy, Path]]:
    """TLS before Milvus, by a certificate for localhost, and the folder of the authorities."""
    make_authority(tmp_path, "ca")
    make_authority(tmp_path, "stranger")
    make_certificate(tmp_path, "server", "subjectAltName=DNS:localhost")
    with TlsProxy(milvus, tmp_path / "server.pem", tmp_path / "server.key").running() as proxy:
        yield proxy, tmp_path


def test_milvus_is_written_and_searched_over_tls(searched: Searched, encrypted: tuple[TlsProxy, Path]) -> None:
    proxy, folder = encrypted
    searched.options = dataclasses.replace(searched.options, uri=proxy.uri, ca_file=str(folder / "ca.pem"))
    rows = np.arange(1000)
    index = leading(searched, rows)
    assert finds(index, searched, rows[:100])
    status = index.status()
    assert (status.searcher, status.tail, status.refused) == (1000, 0, 0)
    assert set(proxy.agreed) == {"h2"}


def test_a_certificate_of_strangers_is_refused(searched: Searched, encrypted: tuple[TlsProxy, Path]) -> None:
    proxy, folder = encrypted
    options = dataclasses.replace(searched.options, uri=proxy.uri, ca_file=str(folder / "stranger.pem"))
    with pytest.raises(DependencyError, match=r"or its certificate is not signed by .*stranger\.pem"):
        Server(options, "seen", "s", D).open()
    assert proxy.agreed == []
    searched.index()  # which the fixture drops


def test_an_answer_without_a_sentinel_is_refused_and_everything_is_compared_until_it_is_back(
    searched: Searched,
) -> None:
    rows = np.arange(1000)
    index = leading(searched, rows)
    server, turns = engine(index)._server, engine(index)._turns
    lose(server, turns.take(np.arange(3, 4))[0])
    assert finds(index, searched, rows[:200])
    status = index.status()
    assert (status.searcher, status.tail) == (0, 1000)
    assert status.refused >= 1
    server.write(*turns.take(np.arange(3, 4)))
    assert until(index, lambda: index.status().searcher == 1000)
    assert finds(index, searched, rows)


def test_with_too_many_rows_to_compare_a_refused_answer_is_waited_for_and_never_taken(searched: Searched) -> None:
    rows = np.arange(1000)
    policy = dataclasses.replace(QUICK, most_tail=500, patience_seconds=2.0, lost_seconds=3600.0)
    index = leading(searched, rows, policy)
    server, turns = engine(index)._server, engine(index)._turns
    lose(server, turns.take(np.arange(3, 4))[0])
    with pytest.raises(DependencyError, match=r"lacks 1 of 16 sentinels|not been whole"):
        finds(index, searched, rows[:200])
    assert not index.ready()
    server.write(*turns.take(np.arange(3, 4)))
    assert until(index, index.ready)
    assert finds(index, searched, rows)


def test_rows_that_come_while_milvus_is_away_are_compared_and_verdicts_wait_once_they_are_too_many(
    searched: Searched,
) -> None:
    searched.options = dataclasses.replace(searched.options, uri="http://127.0.0.1:1")
    index = searched.index(dataclasses.replace(QUICK, most_tail=500))
    for start in range(0, 600, 100):
        index.settle(start, leads=True)
        assert index.ready()
        index.add(np.arange(start, start + 100))
        assert finds(index, searched, np.arange(start + 100))
    index.settle(600, leads=True)
    assert not index.ready()
    searched.options = dataclasses.replace(searched.options, uri=searched.uri)


def test_a_sentinel_that_stays_away_is_written_again(searched: Searched) -> None:
    rows = np.arange(1000)
    index = leading(searched, rows)
    lose(engine(index)._server, engine(index)._turns.take(np.arange(5, 6))[0])
    assert finds(index, searched, rows[:50])
    assert until(index, lambda: index.status().searcher == 1000)


def test_rows_that_milvus_lost_are_found_by_the_audit_and_written_again(searched: Searched) -> None:
    rows = np.arange(1000)
    index = leading(searched, rows)
    lost = rows[100:108]
    lose(engine(index)._server, ids_of(RowsAsOffsets(), lost))
    assert until(index, lambda: index.status().repaired == 8)
    assert finds(index, searched, rows)
    assert engine(index).wait(SETTLING)
    assert finds(index, searched, rows)
    assert len(engine(index)._server.read(ids_of(RowsAsOffsets(), lost))) == 8


@pytest.mark.parametrize("how", ["dropped", "made anew", "emptied"])
def test_a_collection_that_is_lost_is_filled_again_and_nothing_is_missed_meanwhile(
    searched: Searched, how: str
) -> None:
    rows = np.arange(1000)
    index = leading(searched, rows)
    other = Server(searched.options, "seen", "s", D)
    if how == "dropped":
        other.drop()
    elif how == "made anew":
        other.make()
    else:
        ids = np.concatenate([ids_of(RowsAsOffsets(), rows), -1 - np.arange(20)])
        lose(other, ids)
    for _ in range(5):
        assert finds(index, searched, rows[::7])
    assert until(index, lambda: index.status().builds == 2 and index.status().searcher == 1000)
    assert finds(index, searched, rows)
    assert engine(index)._server.read(ids_of(RowsAsOffsets(), rows)).keys() == set(
        ids_of(RowsAsOffsets(), rows).tolist()
    )
    other.close()


def test_who_takes_over_writes_what_was_not_confirmed_and_nothing_else(searched: Searched) -> None:
    first = leading(searched, np.arange(1000))
    second = searched.index()
    second.settle(-1, leads=False)
    for start in range(0, 1000, 100):
        second.add(np.arange(start, start + 100))
        second.settle(start + 99, leads=False)
    assert until_follows(second, lambda: second.status().searcher >= 900)
    first.add(np.arange(1000, 1100))  # published, and never written
    second.add(np.arange(1000, 1100))
    second.remove(np.arange(10))
    second.add(np.arange(3))
    second.settle(1099, leads=False)
    assert finds(second, searched, np.arange(10, 1100))
    written = engine(second)._marker.rows
    second.settle(1099, leads=True)
    assert engine(second).wait(SETTLING)
    assert finds(second, searched, np.setdiff1d(np.arange(1100), np.arange(3, 10)))
    assert engine(second)._marker.rows - written <= 103 + 100
    there = engine(second)._server.read(ids_of(RowsAsOffsets(), np.arange(1100)))
    assert len(there) == 1093


def until_follows(index: Index, done: Callable[[], bool]) -> bool:
    end = time.monotonic() + SETTLING
    while not done() and time.monotonic() < end:
        index.settle(engine(index)._settled or 0, leads=False)
        time.sleep(0.02)
    return done()


def test_a_start_from_a_snapshot_writes_what_that_says_is_missing(searched: Searched, tmp_path: Path) -> None:
    index = leading(searched, np.arange(1000))
    server = engine(index)._server
    index.remove(np.arange(10))
    index.settle(1000, leads=True)
    assert engine(index).wait(SETTLING)
    assert engine(index)._marker.applied == 1000
    index.add(np.arange(10))  # heads again, at an offset that Milvus never confirmed
    index.save(tmp_path / "saved")
    again = searched.index()
    assert len(again.load(tmp_path / "saved")) == 0
    again.add(np.arange(1000))
    again.settle(1001, leads=True)
    assert until(again, lambda: again.status().searcher >= 990)
    assert finds(again, searched, np.arange(1000))
    assert engine(again).wait(SETTLING)
    assert finds(again, searched, np.arange(1000))
    assert len(server.read(ids_of(RowsAsOffsets(), np.arange(10)))) == 10


def test_a_collection_of_another_log_is_made_anew(searched: Searched) -> None:
    leading(searched, np.arange(1000))
    other = VectorFile(None, D, "s")
    other.append(np.arange(1000), contract.random_units(1000, 8, D))
    searched.vectors, before = other, searched.vectors
    index = searched.index()
    index.settle(-1, leads=False)
    index.add(np.arange(1000))
    index.settle(999, leads=True)
    assert engine(index).wait(SETTLING)
    assert index.status().builds == 1
    assert finds(index, searched, np.arange(1000))
    before.close()


def test_who_follows_does_not_see_rows_that_the_leader_has_and_it_has_not(searched: Searched) -> None:
    leading(searched, np.arange(2000))
    follower = searched.index()
    follower.settle(499, leads=False)
    follower.add(np.arange(500, 600))
    follower.settle(599, leads=False)
    assert until_follows(follower, lambda: follower.status().searcher > 0)
    found = follower.search(searched.vectors.read(np.arange(1500, 1600)), 3)
    assert set(found.ids.ravel().tolist()) <= set(range(500, 600))


def test_removed_rows_are_gone_at_once_and_leave_milvus_once_that_is_published(searched: Searched) -> None:
    index = leading(searched, np.arange(1000))
    index.remove(np.arange(50))
    found = index.search(searched.vectors.read(np.arange(50)), 5)
    assert not np.isin(found.ids, np.arange(50)).any()
    ids, server = ids_of(RowsAsOffsets(), np.arange(50)), engine(index)._server
    time.sleep(0.3)
    assert len(server.read(ids)) == 50
    index.settle(1000, leads=True)
    assert engine(index).wait(SETTLING)
    assert len(server.read(ids)) == 0


def test_milvus_that_is_away_costs_nothing_where_everything_can_be_compared(searched: Searched) -> None:
    searched.options = dataclasses.replace(searched.options, uri="http://127.0.0.1:1")
    index = searched.index()
    index.add(np.arange(1000))
    index.settle(999, leads=True)
    assert index.ready()
    assert finds(index, searched, np.arange(1000))
    assert index.status().tail == 1000


def test_a_copy_of_the_process_saves_while_milvus_is_written(searched: Searched, tmp_path: Path) -> None:
    index = leading(searched, np.arange(1000))
    for number in range(10):
        index.add(np.arange(1000 + 100 * number, 1100 + 100 * number))
        index.settle(1099 + 100 * number, leads=True)
        index.ask(searched.vectors.read(np.arange(100)), 8)
        saving = Background(lambda folder=tmp_path / f"saved-{number}": index.save(folder))  # type: ignore[misc]
        assert saving.wait(10), saving.error
    assert engine(index).wait(SETTLING)
    assert finds(index, searched, np.arange(2000))


# -- in the stream -----------------------------------------------------------------------------------------------------


@pytest.fixture
def through_milvus(settings: Settings, milvus: str) -> Iterator[Settings]:
    found = settings.model_copy(update={"index": "milvus", "milvus": milvus, "milvus_from": 1})
    yield found
    with closing(Server(found.milvus_options, "seen", SPACE, stream.D)) as server:
        server.drop()


def process(settings: Settings, folder: Path, point: str = "", count: int = 0) -> AbstractContextManager[Any]:
    more = {"NEARDUP_INDEX": "milvus", "NEARDUP_MILVUS": settings.milvus, "NEARDUP_MILVUS_FROM": "1"}
    return stream.match_process(settings, folder, point, count, **more)


def test_the_stream_says_what_the_exact_engine_says_whenever_the_leader_is_killed(
    through_milvus: Settings, tmp_path: Path
) -> None:
    settings = through_milvus
    stream.make_topics(settings)
    log = stream.a_log(21, 240)
    stream.append(settings, log[:60])
    with process(settings, tmp_path / "first", "published", 1) as first:
        assert first.wait(LATE_SECONDS) == -9
    stream.append(settings, log[60:120])
    with process(settings, tmp_path / "first") as first, process(settings, tmp_path / "second"):
        stream.await_envelopes(settings, 120)
        stream.append(settings, log[120:180])
        stream.await_envelopes(settings, 180)
        first.kill()
        stream.append(settings, log[180:])
        stream.await_envelopes(settings, len(log))
    assert stream.said(stream.published(settings)) == stream.said(stream.oracle(tmp_path / "oracle", log))


def test_a_collection_that_is_dropped_in_the_middle_of_the_stream_costs_no_verdict(
    through_milvus: Settings, tmp_path: Path
) -> None:
    settings = through_milvus
    stream.make_topics(settings)
    log = stream.a_log(22, 300)
    with closing(stream.a_match_worker(settings, tmp_path / "state")) as worker:
        index = worker._state.parts().index
        for start in range(0, len(log), 60):
            stream.append(settings, log[start : start + 60])
            deadline = time.monotonic() + LATE_SECONDS
            while worker.applied < min(start + 60, len(log)) - 1 or (
                start in (60, 240) and not index.status().searcher
            ):
                worker.step()
                assert time.monotonic() < deadline
            if start == 60:
                engine(index)._server.drop()
        assert index.status().builds == 2
        assert index.status().refused > 0
    assert stream.said(stream.published(settings)) == stream.said(stream.oracle(tmp_path / "oracle", log))
