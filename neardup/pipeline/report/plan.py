"""A list of what could go, as a shell script: `sh plan.sh` only tells, `sh plan.sh --delete` removes.

Nothing is ever removed by us. The list holds whole copies that were called `duplicate`, never an `unsure` one and never
a match of a part. Each line removes a copy only while the file that is kept in its place is there and not empty.
"""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path

from neardup.pipeline.report.atomic import atomic
from neardup.pipeline.report.names import absolute, raw, visible
from neardup.pipeline.report.result import File, Group, ScanResult
from neardup.pipeline.types import Decision

_HEAD = b"""\
#!/bin/sh
# What could go: @COUNT@ files, @BYTES@ bytes. Kept of each group: the @KEEP@ file.
# Written by `neardup scan --plan`. Remove the lines of whatever should stay, then run: sh @NAME@ --delete
if [ "${1-}" != --delete ]; then
  echo 'Nothing was removed. Read this script first; then run it with --delete to remove @COUNT@ files.'
  exit 0
fi
"""


class Keep(str, Enum):
    """Which file of a group stays."""

    LARGEST = "largest"
    """Most pixels among the files that have the original's shape, then most seconds. Another shape
    tells of an edit, a border or a screenshot, which may be larger and is not the better picture."""
    OLDEST = "oldest"
    """Earliest modification time."""
    NEWEST = "newest"
    """Latest modification time."""
    SHORTEST = "shortest"
    """Shortest path."""


_SAME_SHAPE = 0.01
"""How far two aspect ratios may be apart, of the original's."""


def write_plan(result: ScanResult, keep: Keep, path: Path) -> int:
    """Write the script and return how many files it would remove.

    Args:
        result: what the scan found.
        keep: which file of each group stays; ties go to the original, then to the first in the group's order.
        path: where the script goes.
    Raises:
        DependencyError: the file cannot be written.
    """
    plan = _plan(result, Keep(keep))
    gone = [file for _, files in plan for file in files]
    values = {
        b"@COUNT@": b"%d" % len(gone),
        b"@BYTES@": b"%d" % sum(file.bytes for file in gone),
        b"@KEEP@": Keep(keep).value.encode(),
        b"@NAME@": _comment(path.name),
    }
    head = _HEAD
    for mark, value in values.items():
        head = head.replace(mark, value)
    with atomic(path) as file:
        file.write(head)
        for kept, files in plan:
            file.write(b"\n# keep " + _comment(kept.path) + b"\n")
            file.writelines(_line(kept, copy) for copy in files)
    return len(gone)


def _plan(result: ScanResult, keep: Keep) -> list[tuple[File, list[File]]]:
    """Return for each group the file that stays and those that could go.

    A file that stays in one group goes in none, by whatever path or link it is called.
    """
    chosen = [(_kept(copies, keep), copies) for copies in map(_copies, result.groups) if len(copies) > 1]
    settled = {_identity(kept) for kept, _ in chosen}
    plan = []
    for kept, copies in chosen:
        gone = []
        for file in copies:
            if (identity := _identity(file)) not in settled:
                settled.add(identity)  # listed once
                gone.append(file)
        if gone:
            plan.append((kept, gone))
    return plan


def _kept(copies: list[File], keep: Keep) -> File:
    """Return the file that stays; the original is the first and wins a tie."""
    original = copies[0]
    if keep is Keep.OLDEST:
        return min(copies, key=lambda file: file.modified)
    if keep is Keep.NEWEST:
        return max(copies, key=lambda file: file.modified)
    if keep is Keep.SHORTEST:
        return min(copies, key=lambda file: len(raw(file.path)))
    alike = [original, *(file for file in copies[1:] if _has_shape(file, original))]
    return max(alike, key=lambda file: (file.width * file.height, file.seconds))


def _has_shape(file: File, original: File) -> bool:
    difference = file.width * original.height - original.width * file.height
    return abs(difference) <= _SAME_SHAPE * original.width * file.height


def _copies(group: Group) -> list[File]:
    """Return the original and its whole copies."""
    matches = (match for match in group.matches if match.whole and match.decision is Decision.DUPLICATE)
    return [group.original, *(match.file for match in matches if match.file.kind is group.original.kind)]


def _identity(file: File) -> bytes:
    """Return the path with every link followed: removing `b/x.jpg` would lose `a/x.jpg` where b is a link to a."""
    return os.path.realpath(absolute(file.path))


def _line(kept: File, copy: File) -> bytes:
    return b"[ -s %s ] && rm -- %s\n" % (_quoted(kept.path), _quoted(copy.path))


def _quoted(path: str) -> bytes:
    """Return the absolute path as one word of a POSIX shell, whatever bytes it holds."""
    return b"'" + absolute(path).replace(b"'", b"'\\''") + b"'"


def _comment(path: str) -> bytes:
    """Return the path on one line: a newline in a comment would start a command."""
    return visible(path).encode()
