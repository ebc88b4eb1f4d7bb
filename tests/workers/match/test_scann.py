"""The match worker over an index that passes from comparing everything to ScaNN while records flow."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import numpy as np

from neardup.pipeline.index import IndexOptions
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.log.records import Envelope, Event, Record, Removed, Verdict
from neardup.pipeline.match.apply.snapshot import VECTORS, Snapshots
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.decide.evidence import Evidence
from neardup.pipeline.types import Decision, Descriptors
from neardup.workers.match.saver import SnapshotPolicy
from neardup.workers.match.worker import Connections, MatchWorker
from tests.integration.stream import SPACE, oracle
from tests.pipeline.match.build import D, a_calibration, described
from tests.workers.broker import Broker, FakeLeadership, FakePublisher, FakeTail

LATE_SECONDS = 120.0
FLOW = 40
"""Records that come between two steps of the worker."""


class Flow:
    """Pictures without end: four in ten copy an earlier one, one in twenty is taken down or sent again."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self._vectors: list[Descriptors] = []
        self.log: list[Record] = []

    def more(self, count: int) -> list[Record]:
        before = len(self.log)
        for _ in range(count):
            self.log.append(self._next())
        return self.log[before:]

    def _next(self) -> Record:
        earlier = int(self._random.integers(0, len(self._vectors))) if self._vectors else 0
        if self._vectors and self._random.random() < 0.05:
            return Removed(id=f"item-{earlier}") if self._random.random() < 0.5 else self._picture(earlier)
        vector = self._random.normal(size=(1, D))
        if self._vectors and self._random.random() < 0.4:
            vector = self._vectors[earlier] + 0.03 * vector
        self._vectors.append((vector / np.linalg.norm(vector)).astype(np.float32))
        return self._picture(len(self._vectors) - 1)

    def _picture(self, number: int) -> Record:
        return described(f"item-{number}", self._vectors[number], source_offset=number)


def a_worker(broker: Broker, folder: Path) -> MatchWorker:
    calibration = a_calibration()
    folder.mkdir(parents=True, exist_ok=True)
    state = State(
        IndexOptions("auto", folder, "cpu", scann_from=400),
        VectorFile(folder / VECTORS, D, SPACE),
        Evidence(np.zeros((0, D), dtype=np.float32), *calibration.weights),
        calibration,
    )
    return MatchWorker(
        Connections(
            FakeTail(broker, "log"),  # type: ignore[arg-type]
            FakeTail(broker, "verdicts"),  # type: ignore[arg-type]
            FakeLeadership,
            lambda: FakePublisher(broker),
        ),
        state,
        Snapshots(folder),
        D,
        SnapshotPolicy(records=500),
    )


def step_to_end(worker: MatchWorker, broker: Broker) -> None:
    while not (worker.leads and worker.applied == len(broker.log) - 1):
        worker.step()


def test_verdicts_stay_the_same_while_searchers_are_built_and_swapped_in(tmp_path: Path) -> None:
    broker, flow, deadline = Broker(), Flow(), time.monotonic() + LATE_SECONDS
    swapped_in_at: list[int] = []
    with closing(a_worker(broker, tmp_path / "state")) as worker:
        index = worker._state.parts().index
        while len(swapped_in_at) < 2:
            assert time.monotonic() < deadline
            broker.append(*flow.more(FLOW))
            step_to_end(worker, broker)
            if index.status().builds > len(swapped_in_at):
                swapped_in_at.append(len(broker.log))
            time.sleep(0.05)
        broker.append(*flow.more(400))
        step_to_end(worker, broker)
        status = index.status()
        assert 0 < status.searcher < len(index) == status.searcher + status.tail
        worker.drain(LATE_SECONDS)
    with closing(a_worker(broker, tmp_path / "state")) as again:  # from the snapshot, the searcher with it
        broker.append(*flow.more(400))
        step_to_end(again, broker)
        assert again._state.parts().index.status().searcher > 0
    assert swapped_in_at[0] < swapped_in_at[1] < len(flow.log)
    told, truth = broker.published(), oracle(tmp_path / "oracle", flow.log)
    assert [one.offset for one in told] == list(range(len(flow.log)))
    assert np.mean([alike(a, b) for a, b in zip(told, truth, strict=True)]) >= 0.99
    after = slice(swapped_in_at[0], None)
    duplicates = [is_duplicate(one) for one in truth[after]]
    assert np.sum(duplicates) > 300
    found = [is_duplicate(one) for one in told[after]]
    assert np.mean([a for a, b in zip(found, duplicates, strict=True) if b]) >= 0.99


def alike(a: Envelope, b: Envelope) -> bool:
    """Whether two envelopes say the same, up to rounding."""
    return [plain(event) for event in a.events] == [plain(event) for event in b.events]


def plain(event: Event) -> object:
    if not isinstance(event, Verdict):
        return event
    return event.decision, [match.reference for match in event.matches]


def is_duplicate(envelope: Envelope) -> bool:
    return any(isinstance(one, Verdict) and one.decision is Decision.DUPLICATE for one in envelope.events)
