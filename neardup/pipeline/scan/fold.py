"""Compare files that were described, in order of time, and sum up: the same for a scan and for an archive.

A file's place in that order is its id, its offset and its age: a copy is later than its original.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from neardup import __version__
from neardup.pipeline.embed.checkpoint import Checkpoint
from neardup.pipeline.errors import Reason
from neardup.pipeline.log.records import Described, Entry, Verdict
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.report.result import File, ScanResult, Skipped
from neardup.pipeline.scan.groups import make_groups, make_stacks
from neardup.pipeline.types import Kind

APPLY_BATCH = 128
"""Records applied at once. Where a batch ends depends on the files alone, not on what was described when."""
_PARTIAL = "the file ends before the picture does; it was compared by what is there, copy or download it again"


@dataclass(slots=True)
class Tally:
    """What a summary says of all files together.

    Attributes:
        images, videos: that were compared. unchanged: of these, what was described before. embedded: by this run.
        skipped: not compared, and why. partial: compared by what is there of them.
    """

    skipped: list[Skipped]
    partial: list[Skipped]
    images: int = 0
    videos: int = 0
    unchanged: int = 0
    embedded: int = 0

    def count(self, path: str, record: Described) -> None:
        """Count a file that was compared, by one of its records."""
        self.images += record.kind is Kind.IMAGE
        self.videos += record.kind is Kind.VIDEO
        if not record.extras.complete:
            self.partial.append(Skipped(path=path, reason=Reason.TRUNCATED.value, detail=_PARTIAL))


class Fold:
    """Applies files to a state.

    Attributes:
        verdicts: those that list a match.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.verdicts: list[Verdict] = []
        self._entries: list[Entry] = []
        self._offset = 0

    def take(self, number: int, parts: Sequence[Described]) -> None:
        """Take in a file; `finish` follows the last one.

        Args:
            number: its place in order of time. parts: its records, in order.
        """
        for part in parts:
            record = msgspec.structs.replace(part, id=str(number), source_offset=number)
            self._entries.append(Entry(self._offset, record))
            self._offset += 1
            if len(self._entries) == APPLY_BATCH:
                self.finish()

    def finish(self) -> None:
        """Apply what is left of the last batch."""
        for envelope in self.state.apply(self._entries):
            self.verdicts += (event for event in envelope.events if isinstance(event, Verdict) and event.matches)
        self._entries = []


def sum_up(
    fold: Fold, files: Mapping[int, File], tally: Tally, roots: Sequence[str], checkpoint: Checkpoint, precision: float
) -> ScanResult:
    """Return what was found.

    Args:
        files: at least those that the verdicts name, by number.
        roots: what was compared, as the user named it.
    """
    return ScanResult(
        roots=tuple(roots),
        groups=make_groups(fold.verdicts, files, fold.state),
        stacks=make_stacks(fold.verdicts, files),
        skipped=tuple(sorted(tally.skipped, key=lambda one: one.path)),
        images=tally.images,
        videos=tally.videos,
        unchanged=tally.unchanged,
        embedded=tally.embedded,
        seconds=0.0,
        created=0.0,
        version=__version__,
        model=checkpoint.name,
        space=checkpoint.space,
        precision=precision,
        partial=tuple(sorted(tally.partial, key=lambda one: one.path)),
    )
