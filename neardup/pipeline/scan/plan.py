"""What there is to do: every file in order of time, and which of them have to be read."""

from __future__ import annotations

import os
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from neardup.pipeline.errors import Reason
from neardup.pipeline.scan.catalog import Catalog, Known
from neardup.pipeline.scan.walk import Found, Identity, PutAside, walk


@dataclass(frozen=True, slots=True)
class Plan:
    """The files of a scan.

    Attributes:
        files: all, in order of modification time, then path.
        put_aside: what the walk could not list as a file.
        todo: absolute paths of the files that have to be read, new or changed since the catalog met them.
        gone: absolute paths that the catalog knows below the roots and that are there no more.
        known: what the catalog knows, by absolute path; kept up to date as files are read.
        contents: hashes of the contents that are described already.
    """

    files: list[Found]
    put_aside: list[PutAside]
    todo: set[str]
    gone: list[str]
    known: dict[str, Known]
    contents: set[bytes]


def make_plan(roots: Sequence[Path], catalog: Catalog, ours: Set[Identity], skip_again: bool) -> Plan:
    """Walk the roots and compare them with the catalog.

    Args:
        ours: files that are no media of the user's.
        skip_again: what was skipped before still would be, the conditions being the same.
    Raises:
        ConfigError: a root does not exist.
    """
    files: list[Found] = []
    put_aside: list[PutAside] = []
    for one in walk(roots, ours):
        if isinstance(one, Found):
            files.append(one)
        else:
            put_aside.append(one)
    files.sort(key=lambda file: (file.modified, file.path))
    known, contents = catalog.files(), catalog.contents()

    def is_known(file: Found) -> bool:
        before = known.get(file.absolute)
        if before is None or (before.size, before.modified) != (file.size, file.modified):
            return False
        return before.sha256 in contents if before.sha256 is not None else skip_again and _is_final(before)

    todo = {file.absolute for file in files if not is_known(file)}
    return Plan(files, put_aside, todo, _gone(roots, files, put_aside, known), known, contents)


def _is_final(skipped: Known) -> bool:
    """Return whether a skipped file need not be tried again."""
    if skipped.reason == Reason.UNREADABLE.value:
        return not os.access(skipped.path, os.R_OK)
    return skipped.reason not in (Reason.VANISHED.value, Reason.CHANGED.value, Reason.KILLED.value)


def _gone(roots: Sequence[Path], files: list[Found], put_aside: list[PutAside], known: dict[str, Known]) -> list[str]:
    """Return the known paths below the roots that no longer are; a folder that cannot be listed is not empty."""
    present = {file.absolute for file in files}
    named = {os.path.abspath(root) for root in roots}  # noqa: PTH100
    below = tuple(f"{root.rstrip('/')}/" for root in named)
    hidden = tuple(f"{one.absolute}/" for one in put_aside if one.reason is Reason.UNREADABLE)
    return [
        path
        for path in known
        if path not in present and (path in named or path.startswith(below)) and not path.startswith(hidden)
    ]
