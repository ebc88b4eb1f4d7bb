from __future__ import annotations

from collections.abc import Iterator

import pytest

from neardup.pipeline import devices
from neardup.pipeline.describe.choose import shares_network
from neardup.pipeline.scan import describe
from neardup.pipeline.scan.choose import LEAST_FILES, MOST_PROCESSES, choose_processes, describing
from neardup.pipeline.scan.finished import Finished
from neardup.pipeline.settings import Settings
from tests.pipeline.scan.build import StandIn, a_checkpoint

MANY = 10 * LEAST_FILES


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "has_cuda", lambda **_: False)


def test_few_files_start_no_process() -> None:
    assert choose_processes(Settings(threads=4), LEAST_FILES - 1) == 1
    assert choose_processes(Settings(threads=4), LEAST_FILES) == 4


def test_processes_are_as_many_as_threads_and_not_too_many() -> None:
    assert choose_processes(Settings(threads=1), MANY) == 1
    assert choose_processes(Settings(threads=64), MANY) == MOST_PROCESSES


def test_the_setting_says_how_many() -> None:
    assert choose_processes(Settings(threads=4, processes=1), MANY) == 1
    assert choose_processes(Settings(threads=4, processes=20), 3) == 20


def test_processes_feed_a_gpu_and_share_a_network_on_a_cpu_where_the_setting_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not shares_network(Settings())
    assert shares_network(Settings(shared_network=True))
    monkeypatch.setattr(devices, "has_cuda", lambda **_: True)
    assert choose_processes(Settings(threads=4), MANY) == 4
    assert choose_processes(Settings(threads=4, processes=1), MANY) == 1
    assert choose_processes(Settings(threads=4), LEAST_FILES - 1) == 1
    assert shares_network(Settings())
    assert not shares_network(Settings(device="cpu"))


@pytest.mark.parametrize("shared", [False, True])
def test_a_scan_hands_its_network_to_processes_that_share_it(monkeypatch: pytest.MonkeyPatch, shared: bool) -> None:
    made: list[tuple[object, ...]] = []

    class Recorded:
        def __init__(self, *arguments: object) -> None:
            made.append(arguments)

        def describe(self, *_: object) -> Iterator[list[Finished]]:
            return iter([])

        def close(self) -> None: ...

    monkeypatch.setattr(describe, "Processes", Recorded)
    checkpoint, settings = a_checkpoint(), Settings(processes=2, shared_network=shared)
    assert list(describing(checkpoint, settings, StandIn)([], frozenset())) == []
    assert made == [(2, checkpoint, settings, StandIn if shared else None)]
