"""What OpenVINO can do on this processor: compute in bfloat16 to advantage, add up 8-bit products without a loss.

Both are tried and not read off the processor, once, and kept for the next process. That a processor has bfloat16 does
not say that it is faster in it: an AMD EPYC is, an Intel Xeon without AMX takes half as long again. Nor that a network
bears it: one whose descriptors of the check pictures differ by more than they may stays in float32. And which
instructions multiply 8-bit integers depends on OpenVINO, on ONEDNN_MAX_CPU_ISA and on what a virtual machine shows.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from neardup.pipeline.embed.openvino_core import op, ov
from neardup.pipeline.embed.selfcheck import LEAST, decode_pictures, render_pictures
from neardup.pipeline.errors import DependencyError
from neardup.pipeline.files import write_whole
from neardup.pipeline.types import Descriptors

logger = logging.getLogger(__name__)
CHOICES = ("f32", "bf16")
ISA_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Environment variables that limit the instructions of OpenVINO's kernels."""
TILES, RUNS = 8, 5
CHANNELS = 64
PRODUCTS = CHANNELS * 127.0 * 255
"""Sum of the largest products of an 8-bit convolution of this many input channels."""
WORTH = 0.9
"""bfloat16 is chosen if it needs no more than this share of float32's time: it is less precise."""


def choose_precision(core: Any, model: Any, size: int, dimension: int, kept: Path) -> str:
    """Return "f32" or "bf16" for a network on this processor: the choice in the file `kept`, or a new one.

    Args:
        size: of the tiles. dimension: of the descriptor's head; what follows it in a row is of the similar one.
        kept: file of this network and this processor; another network may be slower, or round otherwise.
    """
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return "f32"

    def measure() -> str:
        (f32, right), (bf16, found) = (measure_run(core, model, size, choice) for choice in CHOICES)
        parts = np.s_[:dimension], np.s_[dimension:]
        lowest = float(np.min([_lowest_cosine(right[:, part], found[:, part]) for part in parts]))  # NaN if one is
        choice = "bf16" if bf16 <= WORTH * f32 and lowest >= LEAST["float"] else "f32"
        logger.info(
            "precision chosen precision=%s f32_seconds=%.4f bf16_seconds=%.4f lowest_cosine=%.4f",
            choice, f32, bf16, lowest,
        )  # fmt: skip
        return choice

    return _kept(kept, CHOICES, measure)


def _lowest_cosine(one: Descriptors, other: Descriptors) -> float:
    """Return the lowest cosine of rows (n, d), of any length; 1.0 if they have no columns."""
    if not one.shape[1]:
        return 1.0
    return float(((one * other).sum(axis=1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1))).min())


def saturates(core: Any, cache: Path) -> bool:
    """Return whether sums of 8-bit products are cut off on this processor, so that large weights compute wrong."""

    def measure() -> str:
        found = "exact" if multiply_largest(core) == PRODUCTS else "saturates"
        logger.info("8-bit products tried found=%s", found)
        return found

    return _kept(cache / f"products-{identify_processor(core)}", ("exact", "saturates"), measure) == "saturates"


def multiply_largest(core: Any) -> float:
    """Return what an 8-bit convolution makes of the largest activations and weights; PRODUCTS if it is right."""
    tiles = op.parameter([1, CHANNELS, 1, 1], np.float32)
    low, high, weight = np.float32(0), np.float32(255), np.float32(127)
    rounded = op.fake_quantize(tiles, low, high, low, high, 256)
    largest = op.constant(np.full((CHANNELS, CHANNELS, 1, 1), weight))
    weights = op.fake_quantize(largest, -weight, weight, -weight, weight, 255)
    model = ov.Model([op.convolution(rounded, weights, [1, 1], [0, 0], [0, 0], [1, 1])], [tiles])
    settings = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return float(request.infer({0: np.full((1, CHANNELS, 1, 1), high)})[0].min())


def _kept(path: Path, known: tuple[str, ...], find: Callable[[], str]) -> str:
    """Return the word in a file if it is known, else what `find` finds, which is then kept there."""
    try:
        kept = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        kept = ""
    if kept in known:
        return kept
    found = find()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, found.encode())
    except (OSError, DependencyError) as error:
        logger.info("finding not kept path=%s error=%s", path, error)
    return found


def measure_run(core: Any, model: Any, size: int, precision: str) -> tuple[float, Descriptors]:
    """Return the processor time in seconds of a batch on one thread, the least of some runs, and its rows."""
    settings = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": precision}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    tiles = np.concatenate([decode_pictures(render_pictures(size))] * (TILES // 4))
    times = []
    for _ in range(1 + RUNS):
        began = time.process_time()  # busy neighbours do not count
        request.infer({0: tiles})
        times.append(time.process_time() - began)
    rows: Descriptors = request.get_output_tensor().data.astype(np.float32)
    return min(times), rows


def identify_processor(core: Any) -> str:
    """Return hex digits that differ between processors: a home may be shared, and virtual machines share names.

    A processor whose instructions are limited by the environment counts as another.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        flags = ""
    name = core.get_property("CPU", "FULL_DEVICE_NAME")
    limits = [os.environ.get(variable, "") for variable in ISA_VARIABLES]
    return hashlib.sha256(f"{name} {flags} {limits} {ov.get_version()}".encode()).hexdigest()[:12]
