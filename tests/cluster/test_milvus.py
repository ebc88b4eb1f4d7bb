from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.index.milvus.proposer import MilvusProposer
from neardup.pipeline.settings import Settings
from neardup.workers.match.saver import SnapshotPolicy
from neardup.workers.match.worker import MatchWorker
from tests.cluster.conftest import Cluster
from tests.integration import stream

logger = logging.getLogger(__name__)
pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(600),
    pytest.mark.skipif("MILVUS_CLUSTER" not in os.environ, reason="make test-cluster starts a cluster"),
]
ITEMS, STEP = 900, 60
BACK_SECONDS = 60.0


def a_worker(settings: Settings, folder: Path, most_tail: int) -> MatchWorker:
    """A match worker over Milvus that compares at most so many rows by itself."""
    policy = SnapshotPolicy(records=120, seconds=3600, background=False)
    worker = stream.a_match_worker(settings, folder, policy=policy)
    proposer = engine(worker)
    proposer._policy = dataclasses.replace(proposer._policy, most_tail=most_tail, visible_seconds=0.2)
    return worker


def engine(worker: MatchWorker) -> MilvusProposer:
    proposer = worker._state.parts().index.proposer
    assert isinstance(proposer, MilvusProposer)
    return proposer


@pytest.mark.parametrize("most_tail", [100, 300_000], ids=["waiting", "comparing"])
def test_the_kill_of_a_query_node_in_the_middle_of_a_stream_changes_no_verdict(
    cluster: Cluster, settings: Settings, tmp_path: Path, most_tail: int
) -> None:
    settings = settings.model_copy(update={"index": "milvus", "milvus": cluster.uri, "milvus_from": 1})
    stream.make_topics(settings)
    log = stream.a_log(30 + most_tail % 7, ITEMS)
    kill_at = len(log) // 2 // STEP * STEP
    worker = a_worker(settings, tmp_path / "state", most_tail)
    killed_at = back_after = 0.0
    refused, restarts = 0, 0

    def go_on(done: Callable[[MatchWorker], bool]) -> None:
        """Step; one that fails is begun anew, as `runner` does."""
        nonlocal worker, restarts, refused
        deadline = time.monotonic() + 300
        while not done(worker):
            assert time.monotonic() < deadline
            try:
                worker.step()
            except DependencyError as error:
                logger.warning("begun anew error=%s", error)
                restarts, refused = restarts + 1, refused + engine(worker).status().refused
                worker.close()
                worker = a_worker(settings, tmp_path / "state", most_tail)

    with closing(_Last(lambda: worker)):
        for start in range(0, len(log), STEP):
            stream.append(settings, log[start : start + STEP])
            end = min(start + STEP, len(log)) - 1
            if start == kill_at:
                go_on(lambda one: engine(one).status().searcher > 0 and one.leads)
                cluster.kill(cluster.query_nodes[0])
                killed_at = time.monotonic()
            go_on(lambda one, end=end: one.applied >= end)  # type: ignore[misc]
        refused += engine(worker).status().refused
        go_on(lambda one: engine(one).status().searcher > 0 and engine(one)._suspect_since is None)
        back_after = time.monotonic() - killed_at
    logger.warning("refused=%d restarts=%d back_after_seconds=%.0f", refused, restarts, back_after)
    assert refused > 0, "nobody noticed"
    assert stream.said(stream.published(settings)) == stream.said(stream.oracle(tmp_path / "oracle", log))


class _Last:
    """Closes what there is at the end."""

    def __init__(self, last: Callable[[], MatchWorker]) -> None:
        self._last = last

    def close(self) -> None:
        self._last().close()
