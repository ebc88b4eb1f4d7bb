"""Folders in which workers of one machine keep state, each worker in one of its own."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from neardup.pipeline.errors import ConfigError, DependencyError

_MOST_FOLDERS = 16


def claim_folder(parent: Path, kind: str = "match") -> Path:
    """Return the first folder of a kind of workers that no running one has; it is this process's until its end.

    Raises:
        ConfigError: it cannot be made or written.
        DependencyError: the disk is full.
    """
    for number in range(_MOST_FOLDERS):
        folder = parent / f"{kind}-{number}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DependencyError(f"state_folder: {folder}: {error.strerror}") from error
            raise ConfigError(f"state_folder: {folder}: {error.strerror}; name a folder that can be written") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            continue
        return folder
    raise ConfigError(f"state_folder: {parent}: {_MOST_FOLDERS} {kind} workers use it already")
