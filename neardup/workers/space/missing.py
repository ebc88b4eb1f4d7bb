"""The file of what could not be described anew, a line each: bank, id, offset in the other log, and why."""

from __future__ import annotations

import csv
from pathlib import Path

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.files import write_rows
from neardup.pipeline.log.records import Described
from neardup.workers.space.standing import Key

HEADINGS = ("bank", "id", "offset", "why")
Line = tuple[str, str, str, str]
_ERRORS = "surrogateescape"
"""Ids of before there were rules for them need not be UTF-8."""


class Missing:
    """Kept in memory, and written down by `save`.

    Args:
        before: lines from this offset on are dropped: they will be found again.
    Raises:
        ConfigError: there is a file of another kind.
    """

    def __init__(self, path: Path, before: int) -> None:
        self.path = path
        lines = _read(path)
        self._lines: dict[Key, Line] = {(one[0], one[1]): one for one in lines if int(one[2]) < before}

    @property
    def keys(self) -> dict[Key, Line]:
        """What has no original, by bank and id."""
        return self._lines

    def add(self, record: Described, offset: int, why: str) -> None:
        """Note that there is no original; of a live video once, whichever frames."""
        self._lines.setdefault((record.bank, record.id), (record.bank, record.id, str(offset), why))

    def found(self, record: Described) -> None:
        """Note that there is one after all."""
        self._lines.pop((record.bank, record.id), None)

    def save(self) -> None:
        """Write the file."""
        if self._lines or self.path.exists():
            write_rows(self.path, HEADINGS, self._lines.values(), _ERRORS)


def _read(path: Path) -> list[Line]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8", errors=_ERRORS) as file:
        lines = list(csv.reader(file))
    found = [(bank, id, offset, why) for bank, id, offset, why in (one for one in lines[1:] if len(one) == 4)]
    if lines and (tuple(lines[0]) != HEADINGS or not all(offset.isdecimal() for _, _, offset, _ in found)):
        raise ConfigError(f"{path} is another kind of file, and would be written over; name another by --missing")
    return found
