"""The matching, which follows behind the describing in order of the files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from neardup.pipeline.log.records import Described
from neardup.pipeline.prove.files import FilePictures
from neardup.pipeline.scan.catalog import Catalog
from neardup.pipeline.scan.fold import Fold
from neardup.pipeline.scan.plan import Plan

REPORT_FILES = 64


@dataclass(frozen=True, slots=True)
class Compared:
    """What a summary needs of a file that took part: its first record without descriptors, and its format."""

    record: Described
    format: str


class Follower:
    """Applies every file, its place in the plan being its id."""

    def __init__(
        self, fold: Fold, plan: Plan, catalog: Catalog, pictures: FilePictures, report: Callable[[int], object]
    ) -> None:
        """Take a plan of which the catalog holds all contents but those still to be described.

        Args:
            pictures: noted where each file is, for proofs.
            report: called with numbers of files that were applied and had not to be described.
        """
        self.compared: dict[int, Compared] = {}
        self._fold = fold
        self._plan = plan
        self._catalog = catalog
        self._pictures = pictures
        self._report = report
        self._waiting_for = set(plan.todo)
        self._unreported = 0
        self._next = 0

    def described(self, paths: Iterable[str]) -> None:
        """Note that the catalog holds files, each with its content or the reason for which it has none."""
        self._waiting_for.difference_update(paths)
        self.advance()

    def advance(self) -> None:
        """Apply all files up to the first that is still to be described."""
        files = self._plan.files
        while self._next < len(files) and (path := files[self._next].absolute) not in self._waiting_for:
            self._take(path)
            self._unreported += path not in self._plan.todo
            self._next += 1
            if self._unreported >= REPORT_FILES:
                self._report_progress()
        self._report_progress()

    def _report_progress(self) -> None:
        if self._unreported:
            self._report(self._unreported)
            self._unreported = 0

    def finish(self) -> None:
        """Apply what is left of the last batch."""
        self._fold.finish()

    def _take(self, path: str) -> None:
        sha256 = self._plan.known[path].sha256
        if sha256 is None:
            return
        content = self._catalog.content(sha256)
        record = msgspec.structs.replace(content.parts[0], vectors=b"", hashes=b"", detail=b"", boxes=b"", pts=())
        self.compared[self._next] = Compared(record, content.format)
        self._pictures.add(msgspec.structs.replace(record, id=str(self._next)), Path(path))
        self._fold.take(self._next, content.parts)
