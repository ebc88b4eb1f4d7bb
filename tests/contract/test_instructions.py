"""The embedder's contract again, with fewer of the processor's instructions: a descriptor may not depend on them.

Each limit runs in a process of its own, as OpenVINO reads ONEDNN_MAX_CPU_ISA once. One that takes nothing away from
this processor is skipped: with VNNI there are two to run, on a processor that has only AVX2 there is SSE4.1.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

CONTRACT = Path(__file__).with_name("test_embedder.py")
ONLY = "not [float and not thread"
"""Tests to run: not those of float networks, and not those that measure time."""
TAKEN = {
    "AVX512_CORE": {"avx512_vnni"},
    "AVX2": {"avx512f", "avx_vnni"},
    "SSE41": {"avx2"},
}
"""By limit, the flags of which a processor must have one for the limit to take something away."""


def flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


@pytest.fixture(params=TAKEN)
def limited(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """An environment in which OpenVINO has fewer instructions."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("limits are those of x86")
    if not TAKEN[request.param] & flags():
        pytest.skip(f"{request.param} takes nothing away from this processor")
    if request.param == "SSE41" and (TAKEN["AVX512_CORE"] | TAKEN["AVX2"]) & flags():
        pytest.skip("AVX2 is limit enough for this processor")
    return {**os.environ, "ONEDNN_MAX_CPU_ISA": request.param, "XDG_CACHE_HOME": str(tmp_path)}


def test_the_limit_changes_kernels_and_is_noticed(limited: dict[str, str]) -> None:
    code = """
import json, os, tempfile
from pathlib import Path
from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.openvino_core import get_core
from neardup.pipeline.embed.openvino_engine import load_model
from neardup.pipeline.embed.precision import saturates
core, cache = get_core(), Path(tempfile.mkdtemp(dir=os.environ["XDG_CACHE_HOME"]))
model = load_model(core, load_checkpoint("fast"), cache)
model.reshape([-1, 96, 96, 3])
operations = core.compile_model(model, "CPU").get_runtime_model().get_ordered_ops()
told = [{key: str(value.astype(str) if hasattr(value, "astype") else value) for key, value in one.get_rt_info().items()
         if key in ("layerType", "primitiveType")} for one in operations]
print(json.dumps([saturates(core, cache), sorted({one["primitiveType"] for one in told
                                                  if "Convolution" in one["layerType"]})]))
"""
    ended = subprocess.run([sys.executable, "-c", code], env=limited, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    saturated, kernels = json.loads(ended.stdout.splitlines()[-1])
    assert saturated
    assert any("I8" in kernel for kernel in kernels), kernels
    name, *beyond = {
        "AVX512_CORE": ("avx512", "vnni", "amx"),
        "AVX2": ("avx2", "avx512", "vnni", "amx"),
        "SSE41": ("sse4", "avx", "vnni", "amx"),
    }[limited["ONEDNN_MAX_CPU_ISA"]]
    assert any(name in kernel for kernel in kernels), kernels
    # some processors are given a product of matrices for a convolution (jit_gemm_I8), which names no instructions
    assert not [kernel for kernel in kernels if any(one in kernel for one in beyond)], kernels


@pytest.mark.timeout(1000)  # more than its process has
def test_the_contract_holds_with_fewer_instructions(limited: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(CONTRACT), "-k", ONLY]
    ended = subprocess.run(command, env=limited, capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-2000:]
