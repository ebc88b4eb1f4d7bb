from __future__ import annotations

import math

import pytest
import torch
from prometheus_client import REGISTRY

from neardup.workers.run import telemetry
from neardup.workers.run.gpu import watch_gpu


def told(name: str) -> float:
    value = REGISTRY.get_sample_value(name)
    assert value is not None
    return value


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for gauge in (telemetry.GPU_MEMORY_BYTES, telemetry.GPU_UTILIZATION):
        monkeypatch.setattr(gauge, "_child_samples", gauge._child_samples)


def test_memory_and_utilization_are_read_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    percent = [25]
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 2**30)
    monkeypatch.setattr(torch.cuda, "utilization", lambda: percent[0])
    watch_gpu()
    assert (told("neardup_gpu_memory_bytes"), told("neardup_gpu_utilization_ratio")) == (2**30, 0.25)
    percent[0] = 100
    assert told("neardup_gpu_utilization_ratio") == 1.0


def test_a_driver_that_does_not_tell_costs_only_that_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise RuntimeError("no NVML")

    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 2**30)
    monkeypatch.setattr(torch.cuda, "utilization", fail)
    watch_gpu()
    assert math.isnan(told("neardup_gpu_utilization_ratio"))
    assert told("neardup_gpu_memory_bytes") == 2**30
