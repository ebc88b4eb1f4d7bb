"""The GPU in the metrics: its memory and how busy it is, read when they are asked for."""

from __future__ import annotations

import logging
import math

from neardup.workers.run import telemetry

logger = logging.getLogger(__name__)


def watch_gpu() -> None:
    """Have the metrics tell of the GPU that torch uses."""
    import torch

    telemetry.GPU_MEMORY_BYTES.set_function(torch.cuda.memory_reserved)
    telemetry.GPU_UTILIZATION.set_function(utilization)
    if math.isnan(utilization()):
        logger.warning("GPU utilization unknown: the driver's NVML does not answer")


def utilization() -> float:
    """Return the share of the last moment in which the GPU was busy, NaN where that is not known."""
    import torch

    try:
        return torch.cuda.utilization() / 100
    except Exception:  # no driver, no NVML, one that cannot tell: of many kinds, and metrics must not fail
        return math.nan
