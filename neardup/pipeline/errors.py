"""Errors, one branch for each way in which a caller can react.

PipelineError
  ConfigError        stop at start-up, naming the setting, the value and what was expected
  InvalidFrame       dead-letter (or skip) this item with its reason; go on with the next
  Backpressure       slow down and retry after `retry_after_seconds`; nothing is lost
  DependencyError    a service, the disk or the GPU failed; a worker connects again, a command gives up
  UsageError         the caller's mistake; fix the call
    ShapeError         an array has the wrong shape or dtype
    EmptyIndexError    a search in an index that holds nothing
    SpaceError         vectors of two different spaces would be mixed
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path


class Reason(str, Enum):
    """Why an item was put aside. A closed list: it labels metrics and the `skipped.csv` column."""

    EMPTY = "empty"
    """The file or message holds no bytes."""
    FORMAT = "format"
    """The content is no image or video format that is read here."""
    DECODE = "decode"
    """The content claims a known format and cannot be decoded."""
    TRUNCATED = "truncated"
    """The content ends before the picture does."""
    BOMB = "bomb"
    """Pixels, frames or seconds beyond the limits, found before they were decoded."""
    TOO_LARGE = "too-large"
    """More bytes than the limit."""
    TOO_SLOW = "too-slow"
    """Decoding took more processor time, or gave more pixels, than the limits allow; it was given up."""
    UNREADABLE = "unreadable"
    """The operating system refused to read the file."""
    NOT_A_FILE = "not-a-file"
    """A link to a folder or to nothing, a pipe, a socket, a device."""
    VANISHED = "vanished"
    """The file was there when listed and gone when opened."""
    CHANGED = "changed"
    """The file changed while it was being read."""
    KILLED = "killed"
    """The process that decoded the file died of it, or for want of memory."""
    SCHEMA = "schema"
    """A message is not formed as it should be: its key, a header, its URI."""
    FETCH = "fetch"
    """What a URI leads to could not be had, or is not what was announced."""
    FORBIDDEN = "forbidden"
    """A URI leads where this process may not go."""
    MODEL = "model"
    """The network fails on this content, and not on others."""
    WEBHOOK = "webhook"
    """A webhook's receiver did not take an event for as long as it was tried."""


class PipelineError(Exception):
    """Root of all errors that this package raises on purpose."""


class ConfigError(PipelineError):
    """A setting, option or file of ours is unusable; the process must not start with it."""


class InvalidFrame(PipelineError):
    """One item cannot be used.

    Args:
        reason: the closed-list label.
        detail: what was found and what was wanted, for a person.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[InvalidFrame], tuple[Reason, str]]:
        return InvalidFrame, (self.reason, self.detail)  # what one process hands to another


class Backpressure(PipelineError):
    """The receiver is full; come back later."""

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class DependencyError(PipelineError):
    """Something outside this process failed: a service, the disk, the GPU."""


class NoRoom(DependencyError):
    """The disk for temporary files has no room now; it may have some once other work is done."""


class UsageError(PipelineError):
    """The caller's mistake."""


class ShapeError(UsageError):
    """An array has the wrong shape or dtype."""


class EmptyIndexError(UsageError):
    """The index holds no vectors."""


class SpaceError(UsageError):
    """Vectors of two spaces (two models, or two ways of preprocessing) would be mixed."""


def for_want_of_memory(error: BaseException | None) -> bool:
    """Return whether an error, or one that led to it, says that memory did not suffice."""
    return error is not None and (
        isinstance(error, MemoryError) or for_want_of_memory(error.__cause__ or error.__context__)
    )


def install_command(extra: str) -> str:
    """Return the command that installs an extra of this package: in a clone its script, with the tested versions."""
    script = Path(__file__).parents[2] / "scripts" / "environment"
    return f"scripts/environment {extra}" if script.is_file() else f"pip install 'neardup[{extra}]'"
