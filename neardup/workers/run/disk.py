"""Metrics of free disk space where a worker writes; read at each scrape."""

from __future__ import annotations

import math
import os
import shutil
from functools import partial
from pathlib import Path

from neardup.workers.run.telemetry import DISK_BYTES, DISK_FREE_BYTES


def watch_disk(holds: str, folder: Path) -> None:
    """Have the metrics tell of the disk that a folder is on, or will be.

    Args:
        holds: what the worker keeps there: state, blobs.
    """
    DISK_FREE_BYTES.labels(holds).set_function(partial(_usage, folder, "free"))
    DISK_BYTES.labels(holds).set_function(partial(_usage, folder, "total"))


def _usage(folder: Path, what: str) -> float:
    """Return bytes, NaN where the system does not say."""
    existing = next((path for path in (folder, *folder.parents) if path.exists()), Path(os.sep))
    try:
        return float(getattr(shutil.disk_usage(existing), what))
    except OSError:
        return math.nan
