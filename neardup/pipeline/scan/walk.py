"""List the files to scan.

A file counts once, by whatever names it can be reached: a second name would look like a duplicate that could go. Links
to folders are not followed and each folder is entered once, so a loop cannot trap the walk. Hidden files and folders
(name starting with a dot) are left out unless the user named them, and so is what a plan put into quarantine. A name
need not be text.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import msgspec

from neardup.pipeline.cleanup.plan import QUARANTINE
from neardup.pipeline.errors import ConfigError, Reason

Identity: TypeAlias = tuple[int, int]
"""Device and inode: what a file or folder is, whatever it is called."""


class Found(msgspec.Struct, frozen=True):
    """A file as the walk saw it.

    Attributes:
        path: as the user named the root, joined with what was found below; may hold surrogate escapes.
        absolute: the same from the file system's root on.
        size: bytes. modified: nanoseconds.
    """

    path: str
    absolute: str
    size: int
    modified: int


@dataclass(frozen=True, slots=True)
class PutAside:
    """What the walk came across and cannot list as a file, and why; `path` and `absolute` as in `Found`."""

    path: str
    absolute: str
    reason: Reason
    detail: str


def identities(paths: Iterable[Path]) -> set[Identity]:
    """Return what those of the paths are that exist."""
    statuses = (path.stat() for path in paths if path.exists())
    return {(status.st_dev, status.st_ino) for status in statuses}


def walk(roots: Sequence[Path], leave_out: Set[Identity] = frozenset()) -> Iterator[Found | PutAside]:
    """Yield every file below the roots once.

    Args:
        leave_out: files that are ours, such as an earlier report.
    Raises:
        ConfigError: a root does not exist.
    """
    walker = _Walker(set(leave_out))
    for root in roots:
        try:
            status = root.stat()
        except OSError as error:
            raise ConfigError(f"{root}: {error.strerror}; name a file or folder that exists") from error
        path = os.fspath(root)
        if stat.S_ISDIR(status.st_mode):
            yield from walker.below(path)
        else:
            yield from walker.file(path, os.path.abspath(path), status)  # noqa: PTH100 (links are left as they are)
    yield from walker.linked()


class _Walker:
    def __init__(self, seen: set[Identity]) -> None:
        self._seen = seen
        self._links: list[tuple[str, str]] = []

    def below(self, root: str) -> Iterator[Found | PutAside]:
        start = os.path.abspath(root)  # noqa: PTH100
        waiting = [root]
        while waiting:
            folder = waiting.pop()
            try:
                if self._is_new(os.stat(folder)):  # noqa: PTH116 (a string is a third of the time)
                    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
                else:
                    continue
            except OSError as error:
                yield PutAside(folder, start + folder[len(root) :], Reason.UNREADABLE, _words(error))
                continue
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                absolute = start + entry.path[len(root) :]
                if entry.is_symlink():
                    self._links.append((entry.path, absolute))
                elif entry.is_dir(follow_symlinks=False):
                    if entry.name == QUARANTINE:
                        continue
                    waiting.append(entry.path)
                else:
                    yield from self._entry(entry.path, absolute)

    def linked(self) -> Iterator[Found | PutAside]:
        """Yield what links lead to, if it was not found by its own name."""
        for path, absolute in self._links:
            yield from self._entry(path, absolute)

    def _entry(self, path: str, absolute: str) -> Iterator[Found | PutAside]:
        try:
            status = os.stat(path)  # noqa: PTH116
        except OSError as error:
            yield PutAside(path, absolute, _reason(path, error), _words(error))
            return
        yield from self.file(path, absolute, status)

    def file(self, path: str, absolute: str, status: os.stat_result) -> Iterator[Found | PutAside]:
        if stat.S_ISDIR(status.st_mode):
            yield PutAside(path, absolute, Reason.NOT_A_FILE, "a link to a folder is not followed")
        elif not stat.S_ISREG(status.st_mode):
            yield PutAside(path, absolute, Reason.NOT_A_FILE, "a pipe, a socket or a device")
        elif self._is_new(status):
            yield Found(path, absolute, status.st_size, status.st_mtime_ns)

    def _is_new(self, status: os.stat_result) -> bool:
        """Note a file or folder; return whether it was not met before. Where there are no inodes, all are new."""
        identity = (status.st_dev, status.st_ino)
        if status.st_ino and identity in self._seen:
            return False
        self._seen.add(identity)
        return True


def _reason(path: str, error: OSError) -> Reason:
    if os.path.islink(path):  # noqa: PTH114
        return Reason.NOT_A_FILE
    return Reason.VANISHED if isinstance(error, FileNotFoundError) else Reason.UNREADABLE


def _words(error: OSError) -> str:
    return error.strerror or type(error).__name__
