"""Write a file completely or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.report.names import visible


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`, which takes its name once everything is on the disk.

    Whoever looks sees the old content or the new, never a part; after an error the old content stands.

    Raises:
        DependencyError: the disk is full, or the folder cannot be written; it names the file.
    """
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".neardup-", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise _failed(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), 0o666 & ~_umask())  # mkstemp's files are for their owner alone
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _failed(path, error) from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def _failed(path: Path, error: OSError) -> DependencyError:
    return DependencyError(f"cannot write {visible(str(path))}: {error.strerror or error}")


def _umask() -> int:
    """Return the process's umask, which the system tells only by setting it."""
    current = os.umask(0o077)
    os.umask(current)
    return current


def _sync_folder(folder: Path) -> None:
    """Make the new name itself durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
