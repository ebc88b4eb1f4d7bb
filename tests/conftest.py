"""Tests marked `gpu` run wherever there is a CUDA device, and say so where there is none."""

from __future__ import annotations

import pytest

from neardup.pipeline.devices import has_cuda


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not has_cuda(certain=False):
        pytest.skip("no CUDA device")
