"""Which devices this machine has: a GPU for torch, and the processor's name."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path


def has_cuda(certain: bool) -> bool:
    """Return whether torch can use a GPU; unless `certain`, without importing torch where no NVIDIA driver shows."""
    drivers = ("/dev/nvidiactl", "/dev/nvhost-ctrl", "/dev/dxg")  # Linux, Jetson, Windows' Linux
    if not certain and sys.platform.startswith("linux") and not any(map(os.path.exists, drivers)):
        return False
    import torch

    return torch.cuda.is_available()


def is_on_gpu(device: str) -> bool:
    """Return whether a GPU describes, by the setting `device`; see `has_cuda`."""
    return device == "cuda" or (device == "auto" and has_cuda(certain=False))


def name_processor() -> str:
    """Return the processor's name, for a person; its architecture where the system does not say more."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
