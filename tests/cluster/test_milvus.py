from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deploy.local.milvus_server import AGAIN_SECONDS
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
STEP = 60


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
def test_the_kill_of_query_nodes_in_the_middle_of_a_stream_changes_no_verdict(
    cluster: Cluster, settings: Settings, tmp_path: Path, most_tail: int
) -> None:
    """KILLS in the environment says how often, by turns."""
    settings = settings.model_copy(update={"index": "milvus", "milvus": cluster.uri, "milvus_from": 1})
    stream.make_topics(settings)
    kills = int(os.environ.get("KILLS", "1"))
    log = stream.a_log(30 + most_tail % 7, (6 + 4 * kills) * STEP)
    refused, restarts, back_after = 0, 0, []
    worker = a_worker(settings, tmp_path / "state", most_tail)

    def go_on(done: Callable[[], bool]) -> None:
        """Step; a worker that fails is begun anew, as `runner` does."""
        nonlocal worker, restarts, refused
        deadline = time.monotonic() + 240
        while not done():
            assert time.monotonic() < deadline
            try:
                worker.step()
            except DependencyError as error:
                logger.warning("begun anew error=%s", error)
                restarts, refused = restarts + 1, refused + engine(worker).status().refused
                worker.close()
                worker = a_worker(settings, tmp_path / "state", most_tail)

    def searches() -> bool:
        return worker.leads and engine(worker).status().searcher > 100 and engine(worker)._suspect_since is None

    killed_at = None
    try:
        for number, start in enumerate(range(0, len(log), STEP)):
            stream.append(settings, log[start : start + STEP])
            if number >= 4 and number % 4 == 0 and len(back_after) < kills:
                go_on(searches)
                cluster.kill_query_node(len(back_after) % 2)
                killed_at = time.monotonic()
            end = min(start + STEP, len(log)) - 1
            go_on(lambda end=end: worker.applied >= end)  # type: ignore[misc]
            if killed_at is not None and number % 4 == 3:
                go_on(searches)
                back_after.append(time.monotonic() - killed_at)
                killed_at = None
                time.sleep(AGAIN_SECONDS)
        refused += engine(worker).status().refused
    finally:
        worker.close()
    logger.warning("refused=%d restarts=%d back_after_seconds=%s", refused, restarts, np.round(back_after, 1))
    assert len(back_after) == kills
    assert refused >= kills, "nobody noticed"
    assert stream.said(stream.published(settings)) == stream.said(stream.oracle(tmp_path / "oracle", log))
