from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.pipeline.index import Index
from neardup.pipeline.index.proposer import Checked, Status
from neardup.pipeline.log.records import Entry, Envelope, Ignored, Record, Removed, Verdict
from neardup.pipeline.match.apply import findings
from neardup.pipeline.match.apply.snapshot import VECTORS, Snapshots
from neardup.pipeline.types import Decision, Descriptors, Neighbours
from neardup.workers.kafka.log import Tail, last_envelope, locate
from neardup.workers.match.index_metrics import IndexMetrics
from neardup.workers.match.saver import SnapshotPolicy
from neardup.workers.match.worker import BATCH_RECORDS, Connections, MatchWorker
from neardup.workers.run.claim import claim_folder
from tests.integration.stream import a_log, a_state_in, oracle, said
from tests.pipeline.match.build import D, at, described, picture
from tests.timing import LATE_SECONDS, until
from tests.workers.broker import Broker, FakeLeadership, FakePublisher, FakeTail


def tail(broker: Broker, topic: str) -> Tail:
    return FakeTail(broker, topic)  # type: ignore[return-value]


def a_worker(
    broker: Broker,
    folder: Path,
    *,
    leadership: FakeLeadership | None = None,
    policy: SnapshotPolicy | None = None,
    clock: Callable[[], float] = lambda: 0.0,
    reached: Callable[[str], object] = lambda _: None,
) -> MatchWorker:
    connections = Connections(
        tail(broker, "log"),
        tail(broker, "verdicts"),
        lambda: leadership or FakeLeadership(),
        lambda: FakePublisher(broker),
    )
    state = a_state_in(folder)
    try:
        return MatchWorker(
            connections,
            state,
            Snapshots(folder, reached),
            D,
            policy or SnapshotPolicy(background=False),
            clock,
            reached,
        )
    except BaseException:
        state.close()
        raise


def run(worker: MatchWorker, broker: Broker) -> None:
    for _ in range(1000):
        if worker.leads and worker.applied == len(broker.log) - 1:
            return
        worker.step()
    pytest.fail(f"stands at {worker.applied} of {len(broker.log)}")


def test_each_offset_has_one_envelope_with_the_times_of_its_record(tmp_path: Path) -> None:
    broker, log = (
        Broker(),
        [picture("a", 0), msgspec.structs.replace(picture("b", 10), produced_ms=77), Removed(id="a")],
    )
    broker.append(*log)
    worker = a_worker(broker, tmp_path / "state")
    run(worker, broker)
    assert said(broker.published()) == said(oracle(tmp_path / "oracle", log))
    assert [(one.timestamp_ms, one.produced_ms) for one in broker.published()] == [(1000, 0), (1001, 77), (1002, 0)]
    worker.close()


def test_verdicts_on_archives_are_counted_apart(tmp_path: Path) -> None:
    def counted() -> list[float]:
        names = ("neardup_verdicts_total", "neardup_history_verdicts_total")
        return [REGISTRY.get_sample_value(name, {"decision": "distinct"}) or 0.0 for name in names]

    broker, before = Broker(), counted()
    old = (msgspec.structs.replace(picture(name, degrees), quiet=True) for name, degrees in (("a", 0), ("b", 90)))
    broker.append(*old, picture("c", 170))
    worker = a_worker(broker, tmp_path)
    run(worker, broker)
    worker.close()
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [1, 2]


def test_the_index_is_asked_about_a_batch_while_the_one_before_is_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, bytes]] = []
    ask, search = Index.ask, Index.search

    def noting_ask(index: Index, queries: Descriptors, k: int, effort: int = 1) -> None:
        calls.append(("ask", queries.tobytes()))
        ask(index, queries, k, effort)

    def noting_search(index: Index, queries: Descriptors, *how: int, **more: int) -> Neighbours:
        calls.append(("search", queries.tobytes()))
        return search(index, queries, *how, **more)

    monkeypatch.setattr(Index, "ask", noting_ask)
    monkeypatch.setattr(Index, "search", noting_search)
    broker = Broker()
    log = [picture(f"p{n}", n / 7, plane=n % 32, detail=0 if n % 50 == 0 else 60) for n in range(2 * BATCH_RECORDS + 9)]
    broker.append(*log)
    worker = a_worker(broker, tmp_path / "state")
    run(worker, broker)
    asked = [place for place, (what, _) in enumerate(calls) if what == "ask"]
    assert len(asked) == 2  # of three batches
    for place in asked:
        assert ("search", calls[place][1]) in calls[place + 1 :]
    assert said(broker.published()) == said(oracle(tmp_path / "oracle", log))
    worker.close()


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"", "no record"),
        (b"\xff\xd8\xff", "no record"),
        (msgspec.structs.replace(picture("bad", 0), dimension=8), "1 descriptors of 8 dimensions"),
        (msgspec.structs.replace(picture("bad", 0), pts=()), "0 descriptors"),
        (msgspec.structs.replace(picture("bad", 0), hashes=b"short"), "do not belong to 1 descriptors"),
        (msgspec.structs.replace(picture("bad", 0), vectors=bytes(2 * D)), "unit length"),
        (msgspec.structs.replace(picture("bad", 0), vectors=b"\xff" * (2 * D)), "unit length"),
    ],
)
def test_what_is_no_record_is_passed_over(tmp_path: Path, bad: Record | bytes, why: str) -> None:
    broker = Broker()
    broker.append(picture("a", 0), bad, picture("b", 10))
    worker = a_worker(broker, tmp_path)
    run(worker, broker)
    first, ignored, last = broker.published()
    assert isinstance(ignored.events[0], Ignored)
    assert why in ignored.events[0].why
    assert isinstance(last.events[0], Verdict)
    assert last.events[0].decision is Decision.DUPLICATE
    assert first.offset == 0
    worker.close()


def test_who_does_not_lead_follows_what_is_published_and_says_nothing(tmp_path: Path) -> None:
    broker, log = Broker(), a_log(1, 60)
    broker.append(*log)
    envelopes = oracle(tmp_path / "oracle", log)
    broker.publish(*envelopes[:40])
    leadership = FakeLeadership(granted=False)
    worker = a_worker(broker, tmp_path / "state", leadership=leadership)
    for _ in range(10):
        worker.step()
    assert (worker.applied, worker.leads, worker.ready()) == (39, False, True)
    assert len(broker.published()) == 40
    broker.publish(*envelopes[40:50])  # the last words of the leader before
    leadership.granted = True
    run(worker, broker)
    assert said(broker.published()) == said(envelopes)
    worker.close()


def test_who_follows_does_not_search(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broker, log = Broker(), a_log(1, 60)
    broker.append(*log)
    leader = a_worker(broker, tmp_path / "leader")
    run(leader, broker)
    leader.close()
    assert any(isinstance(one.candidates, bytes) for one in broker.published())
    follower = a_worker(broker, tmp_path / "follower", leadership=FakeLeadership(granted=False))

    def search(*_: object) -> None:
        pytest.fail("searched")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Index, "search", search)
        for _ in range(10):
            follower.step()
    assert (follower.applied, follower.leads) == (len(log) - 1, False)
    assert "published otherwise" not in caplog.text
    follower.close()


def test_envelopes_without_candidates_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "MAX_BYTES", 0)
    broker = Broker()
    broker.append(picture("a", 0), Removed(id="a"), picture("b", 0))
    before = REGISTRY.get_sample_value("neardup_match_candidates_left_out_total") or 0.0
    worker = a_worker(broker, tmp_path)
    run(worker, broker)
    assert REGISTRY.get_sample_value("neardup_match_candidates_left_out_total") == before + 2
    worker.close()


def test_a_deposed_leader_follows(tmp_path: Path) -> None:
    broker, log = Broker(), a_log(2, 60)
    broker.append(*log[:20])
    grants = [FakeLeadership(), FakeLeadership(granted=False)]
    one, other = (a_worker(broker, tmp_path / str(n), leadership=grants[n]) for n in range(2))
    run(one, broker)
    grants[0].granted, grants[1].granted = False, True
    broker.append(*log[20:])
    one.step()
    run(other, broker)
    for _ in range(5):
        one.step()
    assert (one.applied, one.leads) == (len(log) - 1, False)
    grants[0].granted, grants[1].granted = True, False
    other.step()
    broker.append(picture("more", 0))
    run(one, broker)
    assert said(broker.published()) == said(oracle(tmp_path / "oracle", [*log, picture("more", 0)]))
    one.close()
    other.close()


def test_a_zombie_cannot_publish_and_its_successor_can(tmp_path: Path) -> None:
    broker, log = Broker(), a_log(3, 40)
    broker.append(*log[:10])
    zombie = a_worker(broker, tmp_path / "zombie")
    run(zombie, broker)
    successor = a_worker(broker, tmp_path / "successor")
    run(successor, broker)
    broker.append(*log[10:])
    with pytest.raises(DependencyError, match="another match worker has taken over"):
        zombie.step()
    zombie.close()
    run(successor, broker)
    assert said(broker.published()) == said(oracle(tmp_path / "oracle", log))
    successor.close()


def test_a_published_verdict_stands_where_its_own_would_differ(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Broker()
    broker.append(picture("a", 0), picture("b", 10))
    missed = Verdict(id="b", decision=Decision.DISTINCT)
    broker.publish(Envelope(offset=0, events=(Verdict(id="a", decision=Decision.DISTINCT),)))
    broker.publish(Envelope(offset=1, events=(missed,)))
    worker = a_worker(broker, tmp_path)
    broker.append(picture("c", 11))
    run(worker, broker)
    last = broker.published()[-1].events[0]
    assert isinstance(last, Verdict)
    assert [match.reference for match in last.matches] == ["b", "a"]  # b became a head of its own
    assert len(broker.published()) == 3
    worker.close()
    assert "published otherwise" not in caplog.text  # what was taken over is the same


def test_a_log_that_begins_after_the_snapshot_is_refused(tmp_path: Path) -> None:
    broker = Broker()
    broker.append(*a_log(4, 30))
    worker = a_worker(broker, tmp_path)
    run(worker, broker)
    worker.drain(LATE_SECONDS)
    worker.close()
    end = len(broker.log)
    broker.begin = end
    a_worker(broker, tmp_path).close()
    broker.append(picture("x", 0), picture("y", 0))
    broker.begin = end + 1
    with pytest.raises(ConfigError, match=f"begins at offset {end + 1} and the newest snapshot ends before {end}"):
        a_worker(broker, tmp_path)


def test_another_log_than_the_snapshots_is_refused(tmp_path: Path) -> None:
    broker = Broker()
    broker.append(*a_log(4, 30))
    worker = a_worker(broker, tmp_path / "state")
    run(worker, broker)
    worker.drain(LATE_SECONDS)
    worker.close()
    broker.log = broker.log[:10]
    with pytest.raises(ConfigError, match="this is not the log that it was taken of"):
        a_worker(broker, tmp_path / "state")
    fresh = a_worker(broker, tmp_path / "fresh")
    with pytest.raises(ConfigError, match="they are not of this log"):
        run(fresh, broker)
    fresh.close()


def age() -> float | None:
    return REGISTRY.get_sample_value("neardup_snapshot_age_seconds")


def test_a_snapshot_is_due_after_records_or_seconds(tmp_path: Path) -> None:
    broker, now, seen = Broker(), [0.0], list[str]()
    worker = a_worker(
        broker,
        tmp_path,
        policy=SnapshotPolicy(records=5, seconds=60, background=False),
        clock=lambda: now[0],
        reached=seen.append,
    )
    worker.step()
    log = a_log(5, 30)
    broker.append(*log[:4])
    run(worker, broker)
    assert "saved" not in seen
    now[0] = 59.0
    worker.step()
    assert "saved" not in seen
    assert age() == 59
    now[0] = 60.0
    worker.step()
    assert seen.count("saved") == 1
    now[0] = 200.0
    worker.step()
    assert seen.count("saved") == 1  # nothing is new
    assert age() == 0
    broker.append(*log[4:9])
    worker.step()
    assert seen[-2:] == ["snapshot-named", "saved"]
    assert seen.index("published") < seen.index("vectors-flushed")
    assert Snapshots(tmp_path).offsets() == [8, 3]
    worker.close()


def test_a_drain_lets_another_lead_before_it_saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broker, leadership, seen = Broker(), FakeLeadership(), list[str]()
    worker = a_worker(broker, tmp_path, leadership=leadership, reached=seen.append)
    monkeypatch.setattr(leadership, "close", lambda: seen.append("left"))
    broker.append(*a_log(5, 30))
    run(worker, broker)
    worker.drain(LATE_SECONDS)
    assert [name for name in seen if name in ("left", "saved")] == ["left", "saved"]
    worker.close()


def test_a_drain_gives_up_a_snapshot_that_takes_too_long(tmp_path: Path) -> None:
    def reached(name: str) -> None:
        while name == "snapshot-half-written":  # in the copy that writes, which is killed
            time.sleep(0.01)

    broker, log = Broker(), a_log(5, 30)
    broker.append(*log)
    worker = a_worker(broker, tmp_path, policy=SnapshotPolicy(), clock=time.monotonic, reached=reached)
    run(worker, broker)
    began = time.monotonic()
    worker.drain(0.5)
    worker.close()
    assert time.monotonic() - began < 30.0  # it never would be written
    assert Snapshots(tmp_path).offsets() == []
    again = a_worker(broker, tmp_path)
    run(again, broker)
    assert again.applied == len(log) - 1
    again.close()


def test_a_snapshot_that_fails_does_not_stop_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[float] = []

    def full(*_: object) -> None:
        tried.append(now[0])
        raise DependencyError("no space left on device")

    broker, log, now = Broker(), a_log(6, 40), [0.0]
    policy = SnapshotPolicy(records=1, background=False)
    worker = a_worker(broker, tmp_path / "state", policy=policy, clock=lambda: now[0])
    monkeypatch.setattr(Snapshots, "save", full)
    for record in log:  # a batch each
        broker.append(record)
        run(worker, broker)
    assert tried == [0.0]  # not with each batch
    for now[0] in (9.0, 10.0, 29.0):
        worker.step()
    assert tried == [0.0, 10.0]
    assert said(broker.published()) == said(oracle(tmp_path / "oracle", log))
    now[0] = 30.0
    worker.step()
    assert age() == 30
    worker.close()


def test_a_snapshot_is_written_while_the_worker_goes_on(tmp_path: Path) -> None:
    gate, broker, log = tmp_path / "gate", Broker(), a_log(8, 60)

    def reached(name: str) -> None:
        while name == "snapshot-half-written" and not gate.exists():
            time.sleep(0.01)

    worker = a_worker(broker, tmp_path / "state", policy=SnapshotPolicy(records=20), reached=reached)
    broker.append(*log[:20])
    run(worker, broker)
    broker.append(*log[20:])
    run(worker, broker)
    assert Snapshots(tmp_path / "state").offsets() == []  # not yet whole
    gate.touch()
    worker.drain(LATE_SECONDS)
    first = Snapshots(tmp_path / "state").offsets()[1]
    assert Snapshots(tmp_path / "state").offsets()[0] == len(log) - 1
    assert 19 <= first < len(log) - 1  # as late as the disk took
    worker.close()
    again = a_state_in(tmp_path / "state")
    (tmp_path / "state" / f"snapshot-{len(log) - 1:020d}" / "manifest.json").unlink()
    assert Snapshots(tmp_path / "state").load(again) == first  # without an index, which is made anew
    envelopes = again.apply([Entry(offset, log[offset]) for offset in range(first + 1, len(log))])
    assert said(envelopes) == said(oracle(tmp_path / "oracle", log)[first + 1 :])
    again.close()


def test_a_slow_disk_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, broker, log = threading.Event(), Broker(), a_log(8, 60)
    monkeypatch.setattr(Snapshots, "sync", lambda *_: disk.wait(120))
    worker = a_worker(broker, tmp_path, policy=SnapshotPolicy(records=20))
    for start in range(0, len(log), 20):
        broker.append(*log[start : start + 20])
        run(worker, broker)
    assert len(broker.published()) == len(log)
    assert Snapshots(tmp_path).offsets() == []
    disk.set()
    until(lambda: (worker.step(), Snapshots(tmp_path).offsets())[1], "a snapshot is there")  # type: ignore[func-returns-value]
    assert Snapshots(tmp_path).offsets() == [len(log) - 1]
    worker.close()


def test_a_snapshot_that_fails_in_the_background_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(name: str) -> None:
        if name == "snapshot-half-written":
            raise DependencyError("no space left on device")

    now, broker = [0.0], Broker()
    worker = a_worker(broker, tmp_path, policy=SnapshotPolicy(seconds=60), clock=lambda: now[0], reached=fail)
    broker.append(*a_log(8, 20))
    run(worker, broker)
    for _ in range(2):
        now[0] += 60
        worker.step()
        while "snapshot failed" not in caplog.text:
            worker.step()
        assert Snapshots(tmp_path).offsets() == []
        caplog.clear()
    worker.close()


def test_a_snapshot_that_hangs_is_given_up_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def hang(name: str) -> None:
        if name == "snapshot-half-written":
            time.sleep(600)

    now, broker = [0.0], Broker()
    policy = SnapshotPolicy(seconds=60, most_seconds=900)
    worker = a_worker(broker, tmp_path, policy=policy, clock=lambda: now[0], reached=hang)
    broker.append(*a_log(8, 20))
    run(worker, broker)
    now[0] += 60
    until(lambda: (worker.step(), worker._saver._writing)[1], "a snapshot is begun")  # type: ignore[func-returns-value]
    now[0] += 899
    worker.step()
    assert "snapshot failed" not in caplog.text
    now[0] += 2
    worker.step()
    assert "snapshot failed" in caplog.text
    assert "it was not done within 901.0 s and is given up" in caplog.text
    worker.close()


class Crash(BaseException):
    """Stands for kill -9."""


POINTS = ["took-over", "applied", "published", "vectors-flushed", "snapshot-half-written", "snapshot-named", "saved"]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    cuts=st.lists(st.integers(0, 50), max_size=5),
    crashes=st.lists(st.tuples(st.sampled_from(POINTS), st.integers(1, 3)), max_size=5),
)
def test_crashes_anywhere_leave_one_envelope_for_each_offset(
    seed: int, cuts: Sequence[int], crashes: list[tuple[str, int]]
) -> None:
    log = a_log(seed, 50)
    with TemporaryDirectory() as name:
        folder, broker = Path(name), Broker()
        borders = [0, *sorted(min(cut, len(log)) for cut in cuts), len(log)]
        for start, stop in pairwise(borders):
            broker.append(*log[start:stop])
            run_with(crashes.pop() if crashes else ("", 0), broker, folder)
        run_with(("", 0), broker, folder)
        assert said(broker.published()) == said(oracle(folder / "oracle", log))


def run_with(crash: tuple[str, int], broker: Broker, folder: Path) -> None:
    left = [crash[1]]

    def reached(name: str) -> None:
        left[0] -= name == crash[0]
        if name == crash[0] and left[0] == 0:
            raise Crash

    worker = a_worker(broker, folder, policy=SnapshotPolicy(records=7, background=False), reached=reached)
    try:
        run(worker, broker)
    except Crash:
        pass
    finally:
        worker.close()


@settings(deadline=None)
@given(st.lists(st.integers(1, 90), max_size=12), st.integers(0, 400))
def test_the_place_of_an_envelope_is_found(transactions: list[int], wanted: int) -> None:
    broker, offset = Broker(), 0
    for size in transactions:
        broker.publish(*(Envelope(offset=offset + n) for n in range(size)))
        offset += size
    verdicts = tail(broker, "verdicts")
    assert last_envelope(verdicts) == offset - 1
    place = locate(verdicts, wanted)
    before = [one for one in broker.verdicts[:place] if one is not None]
    assert len(before) <= wanted  # envelope n is the n-th
    assert min(wanted, offset) - len(before) <= 64


def test_match_workers_of_one_machine_have_folders_of_their_own(tmp_path: Path) -> None:
    assert [claim_folder(tmp_path).name for _ in range(3)] == ["match-0", "match-1", "match-2"]
    assert not (tmp_path / "match-0" / VECTORS).exists()


def test_a_wide_item_is_followed_and_led_alike(tmp_path: Path) -> None:
    broker = Broker()
    broker.append(described("wide", at(*range(0, 180, 2))), picture("one of them", 90))
    worker = a_worker(broker, tmp_path)
    run(worker, broker)
    assert [one.offset for one in broker.published()] == [0, 1]
    worker.close()


def test_what_the_index_does_can_be_seen(tmp_path: Path) -> None:
    metrics, before = IndexMetrics(), sample("neardup_index_builds_total", outcome="swapped-in")
    metrics.update(Status(searcher=5, tail=2, builds=1, checked=Checked(near=3, near_missed=1)))
    missed = sample("neardup_index_canary_misses_total", nearest="near")
    metrics.update(Status(searcher=7, tail=0, builds=2, checked=Checked(near=9, near_missed=3)))
    assert sample("neardup_index_descriptors", part="scann") == 7
    assert sample("neardup_index_builds_total", outcome="swapped-in") == before + 2
    assert sample("neardup_index_canary_misses_total", nearest="near") == missed + 2
    broker = Broker()
    broker.append(picture("a", 0), picture("b", 90))
    worker = a_worker(broker, tmp_path)
    run(worker, broker)
    assert sample("neardup_match_items") == sample("neardup_index_descriptors", part="tail") == 2
    worker.close()


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0
