"""The prove worker with work from memory, and what it makes of pairs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kafka import TopicPartition

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.log.proofs import Ask, Asked, ItemProved
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.media.tile import squeeze
from neardup.pipeline.prove.finding import Finding, Ground, ProofSummary, Proved
from neardup.pipeline.prove.pack import LIVE_SECONDS, LIVE_SLOTS, Packer, PackPictures, live_frame, live_slot
from neardup.workers.kafka.offsets import Ticket
from neardup.workers.prove.asks import Taken
from neardup.workers.prove.pairs import PairProver
from neardup.workers.prove.worker import ProveWorker
from neardup.workers.run import fault_points
from tests.pipeline.prove.test_pack import SHA, a_walk, pack_of
from tests.pipeline.prove.test_prover import a_scene

COPY = Proved(ProofSummary(finding=Finding.COPY, ground=Ground.AGREES))


def asked(id: str, *references: str, bank: str = "seen") -> Asked:
    asks = tuple(Ask(bank=bank, reference=one, offset=1, sha256=SHA) for one in references or ("r",))
    return Asked(id=id, offset=7, sha256=SHA, asks=asks)


@dataclass
class Work:
    """Gives what is left of a list, until it is done."""

    left: list[Asked]
    order: list[str] = field(default_factory=list)

    def take(self, most: int, seconds: float) -> Sequence[Taken]:  # noqa: ARG002
        taken, self.left = self.left[:most], self.left[most:]
        return [Taken(one, Ticket(TopicPartition("asks", 0), 0, 0)) for one in taken]

    def done(self, taken: Sequence[Taken]) -> None:
        self.order += [f"done {one.asked.id}" for one in taken]

    def ready(self) -> bool:
        return True

    def commit(self) -> None:
        self.order.append("committed")

    def close(self) -> None:
        pass


@dataclass
class Log:
    records: list[Any] = field(default_factory=list)
    away: bool = False

    def append(self, records: Sequence[Any], traces: Sequence[str] = ()) -> list[int]:
        del traces
        if self.away:
            raise DependencyError("Kafka is away")
        self.records += records
        return list(range(len(records)))

    def close(self) -> None:
        pass


def found(_asked: Asked) -> list[tuple[Proved | None, str]]:
    return [(COPY, "copy") for _ in _asked.asks]


def test_each_item_is_answered_and_then_done() -> None:
    work, log = Work([asked("a", "r", "s"), asked("b")]), Log()
    worker = ProveWorker(work, log, found, 2)
    worker.step()
    worker.drain(1)
    worker.close()
    assert [(one.id, one.offset, len(one.pairs)) for one in log.records] == [("a", 7, 2), ("b", 7, 1)]
    assert all(isinstance(one, ItemProved) for one in log.records)
    assert log.records[0].pairs[1].reference == "s"
    assert log.records[0].pairs[1].proved == COPY
    assert work.order == ["done a", "done b", "committed"]


def test_what_the_log_does_not_have_is_not_done() -> None:
    work, log = Work([asked("a")]), Log(away=True)
    worker = ProveWorker(work, log, found, 1)
    with pytest.raises(DependencyError):
        worker.step()
    worker.close()
    assert work.order == []


def test_points_at_which_a_crash_matters_are_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(fault_points, "_listeners", [seen.append])
    worker = ProveWorker(Work([asked("a")]), Log(), found, 1)
    worker.step()
    worker.close()
    assert tuple(seen) == fault_points.PROVE


def test_a_step_ends_with_what_was_begun_and_the_next_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neardup.workers.prove.worker._STEP_SECONDS", 0.05)
    begun, gate = threading.Event(), threading.Event()

    def slow(one: Asked) -> list[tuple[Proved | None, str]]:
        if one.id == "slow":
            begun.set()
            gate.wait(0.2)
        return found(one)

    work, log = Work([asked("slow"), asked("b"), asked("c")]), Log()
    worker = ProveWorker(work, log, slow, 1)
    worker.step()
    assert begun.is_set()
    assert work.order == ["done slow"]
    worker.step()
    worker.close()
    assert work.order == ["done slow", "done b", "done c"]


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path.as_uri())


def test_pairs_are_proved_by_packs_and_what_has_none_is_unavailable(blobs: Blobs) -> None:
    scene = a_scene(height=480, width=640)
    blobs.put_pack("", "copy", pack_of(scene[:, 160:]), SHA.hex())
    blobs.put_pack("known", "r", pack_of(scene), SHA.hex())
    prove = PairProver(lambda: PackPictures(blobs))
    [(proved, finding), (none, why)] = prove(asked("copy", "r", "gone", bank="known"))
    assert proved is not None
    assert (proved.finding, finding) == (Finding.COPY, "copy")
    assert (none, why) == (None, "unavailable")
    assert prove(asked("gone", "r", bank="known")) == [(None, "unavailable")]


def test_a_spare_candidate_is_proved_only_where_no_other_is_a_copy(blobs: Blobs) -> None:
    scene = a_scene(height=480, width=640)
    for name, shown in (("copy", scene[:, 160:]), ("r", scene), ("s", scene[60:]), ("other", a_scene(5))):
        blobs.put_pack("", name, pack_of(shown), SHA.hex())
    prove = PairProver(lambda: PackPictures(blobs))
    spare, first, other = (
        Ask(bank="seen", reference=name, offset=1, sha256=SHA, spare=name == "s") for name in ("s", "r", "other")
    )

    def found(*asks: Ask) -> list[str]:
        return [what for _, what in prove(Asked(id="copy", offset=7, sha256=SHA, asks=asks))]

    assert found(spare, first) == ["lapsed", "copy"]
    assert found(other, spare) == ["unproved", "copy"]


def test_a_live_video_is_proved_by_the_frames_of_its_window(blobs: Blobs) -> None:
    packer = Packer()
    for second, rgb in a_walk(0.0, 2.0, 30):
        if packer.wants(squeeze(rgb, 32), second):
            packer.take(rgb, second)
    blobs.put_pack("known", "film", packer.packed(320, 240), SHA.hex())
    blobs.put_pack("known", "picture", pack_of(a_scene(9, 240, 440)[:, :320]), SHA.hex())
    for begin, film in ((0.0, 100.0), (LIVE_SECONDS * LIVE_SLOTS, 8.0)):  # the second lap takes the places of the first
        for second, rgb in a_walk(film, 2.1, 14):
            at = begin + second
            blobs.put_pack("", "live", live_frame(pack_of(rgb, 640, 480), at), live_slot(at))
    prove = PairProver(lambda: PackPictures(blobs))

    def found(reference: str, *moments: tuple[float, float]) -> str:
        ask = Ask(bank="known", reference=reference, offset=1, sha256=SHA, moments=moments)
        [(_, what)] = prove(Asked(id="live", offset=7, asks=(ask,)))
        return what

    assert found("film", *((128.0 + second, 8.0 + second) for second in (2.0, 6.0, 10.0))) == "copy"
    assert found("film", *((128.0 + second, 1.0 + second) for second in (2.0, 6.0, 10.0))) == "unproved"
    assert found("film", *((second, 8.0 + second) for second in (2.0, 6.0, 10.0))) == "unavailable"  # of the first lap
    assert found("picture", (129.4, 0.0)) == "copy"
    assert blobs.erase("live") > 20
    assert found("picture", (129.4, 0.0)) == "unavailable"


def test_a_proof_that_fails_is_answered_and_logged_with_its_ids(
    blobs: Blobs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_given: object) -> None:
        raise ValueError("a fault")

    monkeypatch.setattr("neardup.workers.prove.pairs.moments_at", fail)
    for id in ("a", "r"):
        blobs.put_pack("", id, pack_of(a_scene()), SHA.hex())
    with caplog.at_level(logging.ERROR):
        assert PairProver(lambda: PackPictures(blobs))(asked("a")) == [(None, "failed")]
    assert "item='a' offset=7 bank=seen reference='r'" in caplog.text


def test_where_the_store_is_away_nothing_is_answered(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_given: object) -> bytes:
        raise DependencyError("away")

    monkeypatch.setattr(blobs, "pack", away)
    log = Log()
    worker = ProveWorker(Work([asked("a")]), log, PairProver(lambda: PackPictures(blobs)), 1)
    with pytest.raises(DependencyError):
        worker.step()
    worker.close()
    assert log.records == []
