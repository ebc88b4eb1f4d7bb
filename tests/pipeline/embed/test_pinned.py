"""The driver's calls, with a stand-in for it; `pytest -m gpu` runs the real one."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from neardup.pipeline.embed.pinned import pin


def a_torch(calls: list[tuple[object, ...]], registered: int = 0, on_gpu: bool = True) -> SimpleNamespace:
    def register(*arguments: int) -> int:
        calls.append(("register", *arguments))
        return registered

    def unregister(*arguments: int) -> int:
        calls.append(("unregister", *arguments))
        return 0

    def zeros(*_size: int, device: str) -> None:
        calls.append(("kernel", device))
        raise ArithmeticError("what was refused before")

    api = SimpleNamespace(cudaHostRegister=register, cudaHostUnregister=unregister)
    cuda = SimpleNamespace(is_initialized=lambda: on_gpu, cudart=lambda: api)
    return SimpleNamespace(cuda=cuda, zeros=zeros, AcceleratorError=ArithmeticError)


def test_memory_is_pinned_and_unpinned_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setitem(sys.modules, "torch", a_torch(calls))
    memory = np.zeros(4096, np.uint8)
    pin(memory)()
    assert calls == [("register", memory.ctypes.data, 4096, 1), ("unregister", memory.ctypes.data)]


@pytest.mark.parametrize("on_gpu", [False, True])
def test_memory_serves_where_it_cannot_be_pinned(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, on_gpu: bool
) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setitem(sys.modules, "torch", a_torch(calls, registered=801, on_gpu=on_gpu))
    with caplog.at_level(logging.WARNING):
        pin(np.zeros(4096, np.uint8))()
    assert [call[0] for call in calls] == ["register", "kernel"] * on_gpu  # which takes the refusal to itself
    assert ("cuda_error=801" in caplog.text) == on_gpu


def test_no_torch_is_imported_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    pin(np.zeros(4096, np.uint8))()
    assert "torch" not in sys.modules
