"""Tests marked `gpu` run wherever there is a CUDA device, and say so where there is none.

Hypothesis gives no example a deadline: the machine may be busy with something else.

Kafka and Redis are started once for all tests that ask for `services`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as examples

from neardup.pipeline.devices import has_cuda

if TYPE_CHECKING:
    from tests.integration.conftest import Services


examples.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
examples.load_profile("busy")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not has_cuda(certain=False):
        pytest.skip("no CUDA device")


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    from tests.integration.conftest import Services
    from tests.integration.servers import running

    kafka, redis = os.environ.get("NEARDUP_KAFKA"), os.environ.get("NEARDUP_REDIS")
    if kafka and redis:
        yield Services(kafka, redis.rpartition("/")[0])
        return
    with running("services", tmp_path_factory.mktemp("services"), ["NEARDUP_KAFKA", "NEARDUP_REDIS"]) as found:
        yield Services(found[0], found[1].rpartition("/")[0])


@pytest.fixture(scope="module")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Milvus of one process; NEARDUP_MILVUS in the environment is taken instead.

    It ends with the file that uses it: an idle Milvus takes a third of a core.
    """
    from tests.integration.servers import running

    if uri := os.environ.get("NEARDUP_MILVUS"):
        yield uri
        return
    with running("milvus", tmp_path_factory.mktemp("milvus"), ["NEARDUP_MILVUS"]) as [uri]:
        yield uri
