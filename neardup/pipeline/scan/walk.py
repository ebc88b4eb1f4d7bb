"""List the files to scan.

Symbolic links to folders are not followed and each folder is entered once, so a loop cannot trap the walk. Hidden
files and folders (name starting with a dot) are left out unless they are named by the user. Paths are bytes inside:
a file name need not be text.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from neardup.pipeline.errors import ConfigError, InvalidFrame, Reason


@dataclass(frozen=True, slots=True)
class Found:
    """A file as the walk saw it. `path` may hold surrogate escapes; `modified` is in nanoseconds."""

    path: str
    size: int
    modified: int


def walk(roots: Sequence[Path]) -> Iterator[Found | InvalidFrame]:
    """Yield each regular file below the roots once, and an InvalidFrame for a folder that cannot be listed.

    Raises:
        ConfigError: a root does not exist.
    """
    seen: set[tuple[int, int]] = set()
    named: set[str] = set()
    for root in roots:
        try:
            status = root.stat()
        except OSError as error:
            raise ConfigError(f"{root}: {error.strerror}; name a file or folder that exists") from error
        if stat.S_ISDIR(status.st_mode):
            yield from _below(os.fspath(root), seen, named)
        elif os.fspath(root) not in named:
            named.add(os.fspath(root))
            yield Found(os.fspath(root), status.st_size, status.st_mtime_ns)


def _below(folder: str, seen: set[tuple[int, int]], named: set[str]) -> Iterator[Found | InvalidFrame]:
    waiting = [folder]
    while waiting:
        folder = waiting.pop()
        try:
            status = os.stat(folder)  # noqa: PTH116 (a name need not be text)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            yield InvalidFrame(Reason.UNREADABLE, f"{folder}: {error.strerror}")
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif entry.path not in named:
                named.add(entry.path)
                yield from _file(entry)


def _file(entry: os.DirEntry[str]) -> Iterator[Found]:
    try:
        status = entry.stat()
    except OSError:  # a dangling link, or gone since it was listed: there is no file to speak of
        return
    if stat.S_ISREG(status.st_mode):
        yield Found(entry.path, status.st_size, status.st_mtime_ns)
