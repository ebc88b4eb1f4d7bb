"""Write so that a crash or a full disk leaves either the old or the new, with errors that name the file.

Blobs alone are written otherwise (`media/blobs.py`): there may be thousands a second, and one that a crash takes is
made again from its record.
"""

from __future__ import annotations

import csv
import io
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.report.names import visible

BESIDE = ".neardup-*.tmp"
"""Names of unfinished files; a killed process leaves them."""


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`, which takes its name once everything is on the disk.

    Whoever looks sees the old content or the new, never a part; after an error the old content stands.

    Raises:
        DependencyError: the disk is full, or the folder cannot be written; it names the file.
    """
    beside = path.parent / BESIDE.replace("*", secrets.token_hex(8))
    try:
        with naming(path, "write"), beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with naming(path, "write"):
            beside.replace(path)
            fsync_folder(path.parent)
    finally:
        with suppress(OSError):
            beside.unlink()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is either complete or as it was.

    Raises:
        DependencyError: see `atomic`.
    """
    with atomic(path) as file:
        file.write(data)


def write_rows(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]], errors: str = "strict") -> None:
    """Write a CSV file that is either complete or as it was, UTF-8.

    Args:
        errors: what becomes of a lone surrogate, see `str.encode`.
    Raises:
        DependencyError: see `atomic`.
    """
    with atomic(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", errors=errors, newline="")
        writer = csv.writer(text)  # RFC 4180: its line ends are what makes it quote a name with \r
        writer.writerow(header)
        writer.writerows(rows)
        text.detach()  # flushes, and leaves the file open


@contextmanager
def naming(path: Path, action: str) -> Iterator[None]:
    """Turn an OSError of the body into a DependencyError that names the file and what was being done."""
    try:
        yield
    except OSError as error:
        raise DependencyError(f"{visible(str(path))}: cannot {action}: {error.strerror or error}") from error


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable; does nothing where the system cannot open a folder (Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_file(path: Path) -> None:
    """Make the content of a finished file durable."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
