"""Memory that this process did not allocate for a GPU, but that a GPU copies from by itself, as from pinned memory."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

logger = logging.getLogger(__name__)
_PORTABLE = 1
"""cudaHostRegisterPortable: pinned for all CUDA contexts of this process."""


def pin(memory: npt.NDArray[np.uint8]) -> Callable[[], None]:
    """Pin memory, and return what ends that, to be called before it is unmapped.

    Does nothing where this process uses no GPU; where the driver refuses, the memory serves as any other does.
    """
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return lambda: None
    api, address = torch.cuda.cudart(), memory.ctypes.data
    code = int(api.cudaHostRegister(address, memory.nbytes, _PORTABLE))
    if code:
        logger.warning("memory is not pinned, and copied once more bytes=%d cuda_error=%d", memory.nbytes, code)
        _forget_refusal(torch)
        return lambda: None

    def unpin() -> None:
        code = int(api.cudaHostUnregister(address))
        if code:
            logger.warning("memory stays pinned bytes=%d cuda_error=%d", memory.nbytes, code)
            _forget_refusal(torch)

    return unpin


def _forget_refusal(torch: Any) -> None:
    """Have a first kernel meet what the driver keeps of a refusal, which clears it: the network's would raise it."""
    with suppress(torch.AcceleratorError):
        torch.zeros(1, device="cuda")
