"""A working folder that goes away with its owner, and at the next start where the owner was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
import weakref
from pathlib import Path

from neardup.pipeline.files import naming

_PREFIX = "neardup-index-"
_LOCK = "lock"
_YOUNG_SECONDS = 60.0
"""A folder younger than this may not be locked yet."""


class Scratch:
    """A folder held by a lock for as long as this object or `close` lets it live."""

    def __init__(self, parent: Path | None, name: str) -> None:
        """Make the folder, and delete those in the same place whose owners died.

        Args:
            parent: made where it is missing; None takes the system's temporary folder.
            name: what the folder's name has beside random characters.
        Raises:
            DependencyError: it cannot be made.
        """
        parent = Path(tempfile.gettempdir()) if parent is None else parent
        with naming(parent, "make a working folder"):
            parent.mkdir(parents=True, exist_ok=True)
            _sweep(parent)
            self.path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{name}-", dir=parent))
            lock = os.open(self.path / _LOCK, os.O_CREAT | os.O_RDWR)
            fcntl.flock(lock, fcntl.LOCK_EX)
        self._finalizer = weakref.finalize(self, _leave, self.path, lock)

    def close(self) -> None:
        """Delete the folder."""
        self._finalizer()


def _leave(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)


def _sweep(parent: Path) -> None:
    for lock_path in parent.glob(f"{_PREFIX}*/{_LOCK}"):
        try:
            if time.time() - lock_path.stat().st_mtime < _YOUNG_SECONDS:
                continue
            lock = os.open(lock_path, os.O_RDWR)
        except OSError:
            continue  # another user's, or just gone
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock_path.parent, ignore_errors=True)
        except BlockingIOError:
            pass  # its owner lives
        finally:
            os.close(lock)
