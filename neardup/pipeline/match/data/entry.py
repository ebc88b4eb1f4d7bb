"""A record at its place in the log."""

from __future__ import annotations

from dataclasses import dataclass

from neardup.pipeline.log.records import Record


@dataclass(frozen=True, slots=True)
class Entry:
    """A record at its place in the log; the time is the log's, in milliseconds since 1970."""

    offset: int
    record: Record
    timestamp_ms: int = 0
