"""What a content does to the process that decodes it costs this content alone."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from neardup.pipeline.describe import child, processes
from neardup.pipeline.describe.decode import Look
from neardup.pipeline.describe.observe import Observer, Stage
from neardup.pipeline.describe.orders import Setup
from neardup.pipeline.describe.processes import ProcessDescriber
from neardup.pipeline.describe.source import Done
from neardup.pipeline.describe.threads import ThreadDescriber
from neardup.pipeline.errors import DependencyError, Reason
from neardup.pipeline.types import Limits
from tests.pipeline.describe.build import ContentTask, FaultyTask, Item
from tests.pipeline.describe.stand_in_child import ABORT, DEVOUR, DIES_ONCE, HOLD, KILL, KILL_ONCE, LONG, SLEEP, SPIN
from tests.pipeline.describe.test_threads import picture
from tests.pipeline.scan.build import SIZE, StandIn, a_checkpoint
from tests.timing import LATE_SECONDS, until

Found = dict[str, Done[Item]]
Start = Callable[..., ProcessDescriber[Item]]
LIMITS = Limits(max_decode_seconds=1.0, max_picture_memory_bytes=2**26, max_video_memory_bytes=2**26)


class Counting(Observer):
    def __init__(self) -> None:
        self.stages: set[Stage] = set()
        self.frames = [0, 0]

    def took(self, stage: Stage, seconds: float) -> None:
        assert seconds >= 0
        self.stages.add(stage)

    def decoded(self, frames: int) -> None:
        self.frames[0] += frames

    def embedded(self, frames: int) -> None:
        self.frames[1] += frames


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Start]:
    """Return what starts processes with the stand-in, which each has, or which is here; none is left behind."""
    monkeypatch.setattr(processes, "CHILD", "tests.pipeline.describe.stand_in_child")
    started: list[ProcessDescriber[Item]] = []

    def start(
        count: int = 1, observer: Observer | None = None, fair: bool = False, name: str = "stand-in"
    ) -> ProcessDescriber[Item]:
        setup = Setup(a_checkpoint(name), Look(SIZE, LIMITS))
        share = StandIn if getattr(request, "param", "own") == "shared" else None
        started.append(ProcessDescriber(count, setup, observer or Observer(), fair, share))
        return started[-1]

    yield start
    for one in started:
        one.close()


both_networks = pytest.mark.parametrize("start", ["own", "shared"], indirect=True)


def item(name: str, content: bytes, **more: object) -> Item:
    return Item(name, ContentTask(content), **more)  # type: ignore[arg-type]


def step_until(one: ProcessDescriber[Item], condition: Callable[[Found], bool]) -> Found:
    found: Found = {}
    deadline = time.monotonic() + LATE_SECONDS
    while not condition(found):
        assert time.monotonic() < deadline, found
        found |= {done.source.name: done for done in one.step(0.05)}
    return found


def all_of(one: ProcessDescriber[Item]) -> Found:
    found = step_until(one, lambda _: not one.working)
    return found | {done.source.name: done for done in one.step(0)}


def told(done: Done[Item]) -> tuple[Reason, str]:
    assert done.error is not None
    return done.error.reason, done.error.detail


@both_networks
def test_items_come_out_as_threads_describe_them_and_are_counted(start: Start) -> None:
    observer = Counting()
    threads: ThreadDescriber[Item] = ThreadDescriber(StandIn(), Look(SIZE, LIMITS), 1, 8, 0.01)
    results = []
    for one in (start(2, observer), threads):
        for number in range(50):
            one.add(item(str(number), picture(number)))
        one.add(item("words", b"no picture"))
        found: Found = {}
        while one.working:
            found |= {done.source.name: done for done in one.step(0.1)}
        results.append({name: (done.result, str(done.error), done.sha256) for name, done in found.items()})
    threads.close()
    assert results[0] == results[1]
    assert len(results[0]) == 51
    assert observer.stages == {"fetch", "decode", "embed"}
    assert observer.frames == [50, 50]


@both_networks
@pytest.mark.parametrize(
    ("does", "reason", "detail"),
    [
        (KILL, Reason.KILLED, "the process that decoded it was ended by SIGSEGV"),
        (ABORT, Reason.KILLED, "the process that decoded it was ended by SIGABRT"),
        (SPIN, Reason.TOO_SLOW, "its decoder did not come back within 1 seconds of processor time"),
        (DEVOUR, Reason.KILLED, "decoding it takes more than 576 MiB of memory"),
    ],
)
def test_what_harms_its_process_costs_itself_alone_and_the_process_is_replaced(
    start: Start, does: bytes, reason: Reason, detail: str
) -> None:
    one = start()
    for number in range(20):
        one.add(item(f"before {number}", picture(number)))
    one.add(item("bad", does))
    for number in range(20):
        one.add(item(f"after {number}", picture(number)))
    found = all_of(one)
    assert told(found.pop("bad")) == (reason, detail)
    assert len(found) == 40
    assert not any(done.error for done in found.values())
    assert len(one.pids) == 1


@both_networks
def test_a_process_that_dies_by_chance_costs_nothing(start: Start, tmp_path: Path) -> None:
    one = start()
    one.add(item("unlucky", KILL_ONCE + os.fsencode(tmp_path / "mark")))
    one.add(item("good", picture(1)))
    found = all_of(one)
    assert told(found["unlucky"])[0] is Reason.FORMAT
    assert found["good"].error is None


@both_networks
def test_a_process_that_is_killed_from_outside_costs_nothing(start: Start, tmp_path: Path) -> None:
    one = start()
    one.add(item("asleep", SLEEP + os.fsencode(tmp_path / "begun")))
    step_until(one, lambda _: (tmp_path / "begun").exists())
    (tmp_path / "begun").unlink()
    os.kill(one.pids[0], signal.SIGKILL)
    step_until(one, lambda _: (tmp_path / "begun").exists())  # tried once more
    assert one.working == 1


def test_the_end_of_the_zygote_is_a_failure_outside(start: Start) -> None:
    one = start()
    one._launcher._process.kill()
    one.add(item("any", picture(1)))
    with pytest.raises(DependencyError, match="the process that starts those which describe items"):
        all_of(one)


@both_networks
def test_pictures_behind_films_come_out_before_them(start: Start, tmp_path: Path) -> None:
    one, mark = start(fair=True), tmp_path / "go on"
    for number in range(6):
        one.add(item(f"film {number}", LONG + os.fsencode(mark)))
        one.add(item(str(number), picture(number)))
    found = step_until(one, lambda found: len(found) == 6)
    assert sorted(found) == [str(number) for number in range(6)]
    until(lambda: one.step(0) == [] and len(one.pids) == 3, "two more processes have films")
    mark.touch()
    assert len(all_of(one)) == 6


def test_nobody_has_all_places_and_what_nobody_waits_for_ends(start: Start, tmp_path: Path) -> None:
    one = start(fair=True)
    hers = [item(f"hers {number}", LONG + os.fsencode(tmp_path / "never"), owner="ann") for number in range(3)]
    for sent in hers:
        one.add(sent)
    step_until(one, lambda _: len(one._long) == 2)
    one.add(item("his", LONG + os.fsencode(tmp_path / "his"), owner="bob"))
    step_until(one, lambda _: len([child for child in one._children if child.long and child.asked]) == 2)
    assert len(one._long) == 2
    for sent in hers:
        sent.left.set()
    (tmp_path / "his").touch()
    found = all_of(one)
    assert {str(found[sent.name].error) for sent in hers} == {"too-slow: given up: nobody waits for it any more"}
    assert told(found["his"])[0] is Reason.FORMAT


def test_what_no_process_has_can_be_dropped(start: Start, tmp_path: Path) -> None:
    one = start()
    one.add(item("asleep", SLEEP + os.fsencode(tmp_path / "begun"), small=False))
    for number in range(10):
        one.add(item(str(number), picture(number), small=False))
    step_until(one, lambda _: (tmp_path / "begun").exists())
    assert [source.name for source in one.drop_waiting()] == [str(number) for number in range(1, 10)]
    assert (one.working, one.waiting) == (2, 0)


def test_a_replacement_that_dies_before_it_begins_is_replaced_and_blames_no_item(start: Start, tmp_path: Path) -> None:
    one = start(name=f"{DIES_ONCE}{tmp_path / 'mark'}")
    step_until(one, lambda _: one.ready)
    os.kill(one.pids[0], signal.SIGKILL)
    one.add(item("good", picture(1)))
    assert all_of(one)["good"].error is None
    assert (tmp_path / "mark").exists()


def test_a_process_that_does_not_begin_is_ended(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_START_SECONDS", 0.5)
    one = start(name="asleep")
    with pytest.raises(DependencyError, match=r"before it began|was started within"):
        step_until(one, lambda _: False)


def test_nobody_waits_for_a_process_that_does_not_listen(start: Start, tmp_path: Path) -> None:
    one = start()
    one.add(item("holds", HOLD + os.fsencode(tmp_path / "begun")))
    step_until(one, lambda _: (tmp_path / "begun").exists())
    one.add(item("large", bytes(2**23)))
    began = time.monotonic()
    one.step(0)
    assert time.monotonic() - began < 8.0


def test_a_network_that_lacks_memory_costs_its_items_and_not_the_engine(start: Start) -> None:
    one = start(name="starving")
    one.add(item("any", picture(1)))
    assert told(all_of(one)["any"]) == (Reason.KILLED, "decoding it takes more than 576 MiB of memory")


def test_an_item_that_memory_does_not_suffice_to_embed_is_no_fault_of_the_network(start: Start) -> None:
    one = start(name="starving on white")
    for number in range(20):
        one.add(item(str(number), picture(number)))
    with io.BytesIO() as file:
        Image.new("RGB", (64, 64), "white").save(file, "PNG")
        one.add(item("white", file.getvalue()))
    found = all_of(one)
    assert told(found.pop("white")) == (Reason.KILLED, "decoding it takes more than 576 MiB of memory")
    assert not any(done.error for done in found.values())


def test_a_fault_of_ours_costs_its_item(start: Start) -> None:
    one = start()
    one.add(Item("faulty", FaultyTask(picture(1))))
    one.add(item("good", picture(2)))
    found = all_of(one)
    assert told(found["faulty"]) == (Reason.KILLED, "the process that decoded it ended with 1")
    assert found["good"].error is None


def test_what_nobody_waits_for_is_not_begun(start: Start) -> None:
    one = start()
    left = item("left", KILL)
    left.left.set()
    one.add(left)
    assert told(all_of(one)["left"])[0] is Reason.TOO_SLOW


@both_networks
def test_processes_end_with_their_owner_alone_and_are_gone_by_then(start: Start) -> None:
    one = start(2)
    step_until(one, lambda _: all(child.ready for child in one._children))
    pids = [*one.pids, one._launcher._process.pid]
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
    one.add(item("good", picture(1)))
    assert all_of(one)["good"].error is None
    assert [*one.pids, one._launcher._process.pid] == pids
    one.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_processes_need_no_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "find_spec", lambda _: None)
    monkeypatch.delattr("neardup.pipeline.embed.openvino_engine", raising=False)
    monkeypatch.setitem(sys.modules, "neardup.pipeline.embed.openvino_engine", None)
    child.preload()
