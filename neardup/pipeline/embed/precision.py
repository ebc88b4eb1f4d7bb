"""Which floating-point numbers OpenVINO computes with on this processor.

That a processor has bfloat16 does not say that it is faster in it: an AMD EPYC is, an Intel Xeon without AMX takes half
as long again. So both are tried once, and the choice is kept for the next process.
"""

from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np

from neardup.pipeline.embed.checkpoint import write_whole
from neardup.pipeline.embed.openvino_core import ov

logger = logging.getLogger(__name__)
CHOICES = ("f32", "bf16")
TILES, RUNS = 8, 5
WORTH = 0.9
"""bfloat16 is chosen if it needs no more than this share of float32's time: it is less precise."""


def choose_precision(core: Any, model: Any, size: int, cache: Path) -> str:
    """Return "f32" or "bf16", the kept choice for this processor or a new one."""
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return "f32"
    path = cache / f"precision-{identify_processor(core)}"
    try:
        kept = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        kept = ""
    if kept in CHOICES:
        return kept
    f32, bf16 = (measure_seconds(core, model, size, choice) for choice in CHOICES)
    choice = "bf16" if bf16 <= WORTH * f32 else "f32"
    logger.info("precision chosen precision=%s f32_seconds=%.4f bf16_seconds=%.4f", choice, f32, bf16)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        write_whole(path, choice.encode())
    except OSError as error:
        logger.info("precision not kept path=%s error=%s", path, error)
    return choice


def measure_seconds(core: Any, model: Any, size: int, precision: str) -> float:
    """Return the processor time of a batch on one thread, the least of some runs."""
    settings = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": precision}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    tiles = np.random.default_rng(0).integers(0, 256, (TILES, size, size, 3), dtype=np.uint8)
    times = []
    for _ in range(1 + RUNS):
        began = time.process_time()  # busy neighbours do not count
        request.infer({0: tiles})
        times.append(time.process_time() - began)
    return min(times)


def identify_processor(core: Any) -> str:
    """Return hex digits that differ between processors: a home may be shared, and virtual machines share names."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        flags = ""
    name = core.get_property("CPU", "FULL_DEVICE_NAME")
    return hashlib.sha256(f"{name} {flags} {ov.get_version()}".encode()).hexdigest()[:12]
