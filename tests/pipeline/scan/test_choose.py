from __future__ import annotations

import pytest

from neardup.pipeline import devices
from neardup.pipeline.scan.choose import LEAST_FILES, MOST_PROCESSES, choose_processes
from neardup.pipeline.settings import Settings

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


def test_a_gpu_is_served_by_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "has_cuda", lambda **_: True)
    assert choose_processes(Settings(threads=4), MANY) == 1
    assert choose_processes(Settings(threads=4, processes=3), MANY) == 1
    assert choose_processes(Settings(threads=4, device="cpu"), MANY) == 4
    assert choose_processes(Settings(threads=4, device="cuda", processes=3), MANY) == 1
