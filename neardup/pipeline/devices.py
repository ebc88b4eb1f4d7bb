"""Where products can be computed."""

from __future__ import annotations

import os
import sys


def has_cuda(certain: bool) -> bool:
    """Return whether torch can use a GPU; unless `certain`, without importing torch where no NVIDIA driver shows."""
    drivers = ("/dev/nvidiactl", "/dev/nvhost-ctrl", "/dev/dxg")  # Linux, Jetson, Windows' Linux
    if not certain and sys.platform.startswith("linux") and not any(map(os.path.exists, drivers)):
        return False
    import torch

    return torch.cuda.is_available()
