"""One network of this process, which processes feed: what each of the two does to the other."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neardup.pipeline.describe import network_client, network_server, processes
from neardup.pipeline.describe.decode import Look
from neardup.pipeline.describe.network_client import CAPACITY, REQUEST, RemoteNetwork, Shape, Slot
from neardup.pipeline.describe.network_server import NetworkServer
from neardup.pipeline.describe.orders import Setup
from neardup.pipeline.describe.processes import ProcessDescriber
from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.embedder import make_embedder
from neardup.pipeline.errors import ConfigError, DependencyError, PipelineError, Reason
from neardup.pipeline.types import Descriptors, Embedded, Limits, Pixels
from tests.pipeline.describe.build import Item
from tests.pipeline.describe.stand_in_child import ABORT, SLEEP
from tests.pipeline.describe.test_processes import all_of, item, step_until, told
from tests.pipeline.describe.test_threads import picture
from tests.pipeline.scan.build import SIZE, StandIn, a_checkpoint
from tests.timing import LATE_SECONDS, until

Start = Callable[..., ProcessDescriber[Item]]
Serve = Callable[[Callable[[], StandIn]], NetworkServer]
SHAPE = Shape.of(a_checkpoint())


class Gated(StandIn):
    """Waits at each batch until it may go on, and notes how many tiles of how many processes came."""

    def __init__(self) -> None:
        super().__init__()
        self.go, self.asked = threading.Event(), list[list[int]]()

    def rows(self, batches: Sequence[Pixels]) -> list[Descriptors]:
        self.asked.append([len(batch) for batch in batches])
        assert self.go.wait(LATE_SECONDS)
        return super().rows(batches)


class Picky(StandIn):
    """Fails on batches with a white tile."""

    def rows(self, batches: Sequence[Pixels]) -> list[Descriptors]:
        if any((batch == 255).all(axis=(1, 2, 3)).any() for batch in batches):
            raise RuntimeError("no luck")
        return super().rows(batches)


class Failing(StandIn):
    """Fails on all batches."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def rows(self, batches: Sequence[Pixels]) -> list[Descriptors]:
        raise self.error from RuntimeError(f"{len(batches)} batches")


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Return what starts processes that feed a network; none is left behind."""
    monkeypatch.setattr(processes, "CHILD", "tests.pipeline.describe.stand_in_child")
    started: list[ProcessDescriber[Item]] = []

    def start(network: Callable[[], StandIn], count: int = 1) -> ProcessDescriber[Item]:
        limits = Limits(max_decode_seconds=1.0, max_picture_memory_bytes=2**26, max_video_memory_bytes=2**26)
        setup = Setup(a_checkpoint(), Look(SIZE, limits))
        started.append(ProcessDescriber(count, setup, share=network))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return what starts servers; none is left behind."""
    started: list[NetworkServer] = []

    def serve(make: Callable[[], StandIn]) -> NetworkServer:
        started.append(NetworkServer(make, SHAPE))
        return started[-1]

    yield serve
    for one in started:
        one.close()


def client(server: NetworkServer, shape: Shape = SHAPE) -> tuple[RemoteNetwork, Connection]:
    """Return a client in this process."""
    socket, slot = server.admit()
    connection = Connection(socket)
    network = RemoteNetwork(connection, Slot(slot, shape), shape)
    os.close(slot)
    return network, connection


def tiles(count: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def white() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(file, "PNG")
    return file.getvalue()


def files() -> int:
    """Return how many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def slots() -> int:
    """Return how many slots this process has mapped."""
    return Path("/proc/self/maps").read_text().count("neardup-slot")


def same(one: Embedded, other: Embedded) -> bool:
    parts = ((one.vectors, other.vectors), (one.hashes, other.hashes), (one.detail, other.detail))
    return all(np.array_equal(a, b) for a, b in parts)


def test_a_frame_that_the_network_fails_on_costs_its_item(start: Start) -> None:
    one = start(Picky, 2)
    for number in range(40):
        one.add(item(str(number), picture(number)))
    one.add(item("white", white()))
    found = all_of(one)
    assert told(found.pop("white")) == (Reason.MODEL, "RuntimeError: RuntimeError: no luck")
    assert len(found) == 40
    assert not any(done.error for done in found.values())


@pytest.mark.parametrize("count", [1, CAPACITY, 2 * CAPACITY + 3])
def test_what_comes_back_is_what_the_network_says(serve: Serve, count: int) -> None:
    network, _ = client(serve(StandIn))
    some = tiles(count)
    assert same(network.embed(some), StandIn().embed(some))
    assert network.embed(some[:0]).vectors.shape == (0, SHAPE.dimension)


def test_where_hashes_fail_the_next_batch_gets_its_own_rows(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    gated = Gated()
    network, connection = client(serve(lambda: gated))
    gated.go.set()

    def starve(_tiles: Pixels) -> None:
        until(connection.poll, "the network has answered")
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(network_client, "dct_hash", starve)
        with pytest.raises(MemoryError):
            network.embed(tiles(3, 1))
    gated.go.clear()
    threading.Timer(0.3, gated.go.set).start()
    assert same(network.embed(tiles(3, 2)), StandIn().embed(tiles(3, 2)))


def test_the_real_network_says_the_same_from_afar() -> None:
    checkpoint = load_checkpoint("default")
    embedder = make_embedder(checkpoint, "cpu", threads=1)
    shape = Shape.of(checkpoint)
    server = NetworkServer(lambda: embedder, shape)
    try:
        network, _ = client(server, shape)
        some = np.random.default_rng(0).integers(0, 256, (9, shape.size, shape.size, 3), np.uint8)
        far, near = network.embed(some), embedder.embed(some)
    finally:
        server.close()
    assert same(far, near)
    assert far.similar is not None
    assert near.similar is not None
    assert np.array_equal(far.similar, near.similar)


def test_slots_that_are_filled_meanwhile_go_together(serve: Serve) -> None:
    gated = Gated()
    server = serve(lambda: gated)
    results: dict[int, Embedded] = {}

    def ask(number: int, network: RemoteNetwork) -> None:
        results[number] = network.embed(tiles(number, number))

    clients = [client(server)[0] for _ in range(4)]
    threads = [threading.Thread(target=ask, args=(number, one)) for number, one in enumerate(clients, 1)]
    threads[0].start()
    until(lambda: gated.asked == [[1]], "the first asks")
    for thread in threads[1:]:
        thread.start()
    until(lambda: sum(connection.poll() for connection in server._clients) == 3, "the others have asked")
    gated.go.set()
    for thread in threads:
        thread.join(LATE_SECONDS)
    assert sorted(gated.asked[1]) == [2, 3, 4]
    for number, result in results.items():
        assert same(result, StandIn().embed(tiles(number, number)))


def test_more_than_the_network_is_given_at_once_is_given_in_turn(serve: Serve) -> None:
    gated = Gated()
    server = serve(lambda: gated)
    connections = [client(server)[1] for _ in range(7)]
    connections[0].send_bytes(REQUEST.pack(1))
    until(lambda: len(gated.asked) == 1, "the first asks")
    for connection in connections[1:]:
        connection.send_bytes(REQUEST.pack(CAPACITY))
    gated.go.set()
    assert [connection.recv_bytes() for connection in connections] == [b""] * 7
    assert gated.asked == [[1], [CAPACITY] * 4, [CAPACITY] * 2]


@pytest.mark.parametrize("message", [REQUEST.pack(CAPACITY + 1), REQUEST.pack(2**31), b"", b"a", bytes(1000)])
def test_who_asks_for_what_cannot_be_is_cut_off_alone(serve: Serve, message: bytes) -> None:
    server = serve(StandIn)
    good, bad = client(server)[0], client(server)[1]
    bad.send_bytes(message)
    with pytest.raises((EOFError, ConnectionResetError)):
        bad.recv_bytes()
    assert same(good.embed(tiles(1)), StandIn().embed(tiles(1)))
    server.check()


def test_who_dies_before_the_answer_costs_nothing_and_leaves_nothing(serve: Serve) -> None:
    gated, before = Gated(), slots()
    server = serve(lambda: gated)
    connections = [client(server)[1] for _ in range(2)]
    for connection in connections:
        connection.send_bytes(REQUEST.pack(1))
    until(lambda: bool(gated.asked), "they ask")
    connections[0].close()
    gated.go.set()
    assert connections[1].recv_bytes() == b""
    until(lambda: slots() == before + 1, "the slot of the dead one is unmapped")
    server.check()


def test_the_end_of_the_server_is_seen_by_who_asks(serve: Serve) -> None:
    server = serve(StandIn)
    network, _ = client(server)
    network.embed(tiles(1))
    server.close()
    with pytest.raises(DependencyError, match="the process with the network has gone"):
        network.embed(tiles(1))


def test_a_network_that_cannot_be_made_is_a_failure_of_the_engine(start: Start) -> None:
    def fail() -> StandIn:
        raise ConfigError("no such device")

    one = start(fail)
    one.add(item("any", picture(1)))
    with pytest.raises(ConfigError, match="no such device"):
        all_of(one)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PipelineError("the GPU failed"), "the GPU failed"),
        (RuntimeError("no luck"), "the network is broken: a picture that is known to be good fails, too"),
    ],
)
def test_a_network_that_is_broken_ends_the_engine_and_no_item(start: Start, error: Exception, message: str) -> None:
    one = start(lambda: Failing(error), 2)
    for number in range(20):
        one.add(item(str(number), picture(number)))
    with pytest.raises(PipelineError, match=message):
        all_of(one)


def test_a_network_that_does_not_answer_ends_the_engine(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    gated = Gated()
    one = start(lambda: gated)
    one.add(item("any", picture(1)))
    step_until(one, lambda _: bool(gated.asked))
    monkeypatch.setattr(network_server, "NETWORK_SECONDS", 0.1)
    with pytest.raises(DependencyError, match="the network did not answer within"):
        step_until(one, lambda _: False)
    gated.go.set()


def test_waiting_for_the_network_is_no_fault_of_an_item(start: Start) -> None:
    """A process that is at an item may sleep for 32 seconds here; at the network it may for longer."""
    gated = Gated()
    one = start(lambda: gated)
    one.add(item("any", picture(1)))
    step_until(one, lambda _: bool(gated.asked))
    [child] = one._children
    assert child.launched.signs.item == 0
    assert child.patience._asleep_seconds > network_server.NETWORK_SECONDS
    gated.go.set()
    assert all_of(one)["any"].error is None


def test_dead_processes_leave_no_slot_behind(start: Start) -> None:
    before = slots()
    one = start(StandIn, 2)
    step_until(one, lambda _: one.ready and all(child.ready for child in one._children))
    usual = files()
    for number in range(3):
        one.add(item(f"bad {number}", ABORT))
    assert {done.error.reason for done in all_of(one).values() if done.error} == {Reason.KILLED}
    until(lambda: one.step(0) == [] and slots() == before + 2, "as many slots as processes")
    until(lambda: one.step(0) == [] and files() == usual, "as many files as before")
    one.close()
    until(lambda: slots() == before, "no slot is left")


def test_nothing_is_left_of_an_owner_that_is_killed(tmp_path: Path) -> None:
    mark = tmp_path / "begun"
    script = f"""
from neardup.pipeline.describe import processes
from neardup.pipeline.describe.decode import Look
from neardup.pipeline.describe.orders import Setup
from tests.pipeline.describe.build import ContentTask, Item
from tests.pipeline.scan.build import SIZE, StandIn, a_checkpoint
processes.CHILD = "tests.pipeline.describe.stand_in_child"
one = processes.ProcessDescriber(2, Setup(a_checkpoint(), Look(SIZE)), share=StandIn)
while len(one.pids) < 2:
    one.step(0.1)
print(*one.pids, one._launcher._process.pid, flush=True)
one.add(Item("asleep", ContentTask({SLEEP + os.fsencode(mark)!r})))
while True:
    one.step(1)
"""
    command = [sys.executable, "-c", script]
    owner = subprocess.Popen(command, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout is not None
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        until(mark.exists, "a process describes")
        maps = Path(f"/proc/{pids[0]}/maps").read_text()
        assert maps.count("/memfd:neardup-slot (deleted)") == 1  # no name, and of no other process
    finally:
        owner.kill()
        owner.communicate()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "all processes have gone")
