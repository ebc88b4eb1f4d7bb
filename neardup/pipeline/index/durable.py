"""Writing so that a crash or a full disk leaves either the old or the new, and errors that name the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neardup.pipeline.errors import DependencyError


@contextmanager
def naming(path: Path, action: str) -> Iterator[None]:
    """Turn an OSError of the body into a DependencyError that names the file and what was being done."""
    try:
        yield
    except OSError as error:
        raise DependencyError(f"{path}: cannot {action}: {error.strerror or error}") from error


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


def replace_text(path: Path, text: str) -> None:
    """Write a small file in one step: beside it, fsync, rename."""
    beside = path.with_name(path.name + ".new")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    fsync_folder(path.parent)
