"""Why a record of the log had no effect: reasons for programs, and their words for people.

What a program does follows from the reason alone; words may change at any time. A value that a later version adds reads
as OTHER here. Envelopes of a time before reasons carry words only: `ignored_for` and `refused_for` know those.
"""

from __future__ import annotations

import re
from enum import Enum


class IgnoredReason(str, Enum):
    """Why a record was passed over."""

    TAKEN_DOWN = "taken-down"
    OLDER_VERSION = "older-version"
    PART_MISSING = "part-missing"
    UNKNOWN_LIVE = "unknown-live"
    LIVE_ENDED = "live-ended"
    FRAME_TOO_OLD = "frame-too-old"
    LIVE_REFERENCE = "live-reference"
    BANK_DELETED = "bank-deleted"
    BANK_NAME = "bank-name"
    REFERENCE_REMOVED = "reference-removed"
    MALFORMED = "malformed"
    OTHER = "other"

    @classmethod
    def _missing_(cls, _value: object) -> IgnoredReason:
        return cls.OTHER


IGNORED_WORDS = {
    IgnoredReason.TAKEN_DOWN: "was taken down",
    IgnoredReason.OLDER_VERSION: "older than the version that is known",
    IgnoredReason.PART_MISSING: "a part without the parts before it",
    IgnoredReason.UNKNOWN_LIVE: "the end of a live video that is not known",
    IgnoredReason.LIVE_ENDED: "after the end of the live video",
    IgnoredReason.FRAME_TOO_OLD: "older than the frames that are kept",
    IgnoredReason.LIVE_REFERENCE: "a live video can be no reference",
}
"""For those that say the same of every record."""


class Refusal(str, Enum):
    """Why a change that somebody asked for was not made."""

    NO_BANK = "no-bank"
    NO_ITEM = "no-item"
    NO_REFERENCE = "no-reference"
    BANK_EXISTS = "bank-exists"
    INVALID = "invalid"
    LIVE = "live"
    ITSELF = "itself"
    NOT_JUDGED = "not-judged"
    ALONE = "alone"
    SAME_CLUSTER = "same-cluster"
    IS_HEAD = "is-head"
    CALIBRATION = "calibration"
    OTHER = "other"

    @classmethod
    def _missing_(cls, _value: object) -> Refusal:
        return cls.OTHER


MISSING = frozenset({Refusal.NO_BANK, Refusal.NO_ITEM, Refusal.NO_REFERENCE})
"""What the change is about is not there."""

_OLD_IGNORED = {
    "was taken down": IgnoredReason.TAKEN_DOWN,
    "older than the version that is known": IgnoredReason.OLDER_VERSION,
    "a part without the parts before it": IgnoredReason.PART_MISSING,
    "the end of a live video that is not known": IgnoredReason.UNKNOWN_LIVE,
    "after the end of the live video": IgnoredReason.LIVE_ENDED,
    "older than the frames that are kept": IgnoredReason.FRAME_TOO_OLD,
    "a live video can be no reference": IgnoredReason.LIVE_REFERENCE,
}
_OLD_IGNORED_PATTERNS = (
    (re.compile(r"bank \S+ was deleted"), IgnoredReason.BANK_DELETED),
    (re.compile(r"was removed from bank \S+"), IgnoredReason.REFERENCE_REMOVED),
)
_OLD_REFUSALS = (
    (re.compile(r"there is no bank "), Refusal.NO_BANK),
    (re.compile(r"there is no item "), Refusal.NO_ITEM),
    (re.compile(r"bank \S+ has no reference "), Refusal.NO_REFERENCE),
)
"""As versions before reasons worded them; never to be changed, as such envelopes do not change either."""


def ignored_for(reason: IgnoredReason | None, words: str) -> IgnoredReason:
    """Return why a record was passed over, by the words where an envelope has no reason."""
    if reason is not None:
        return reason
    matching = (known for pattern, known in _OLD_IGNORED_PATTERNS if pattern.fullmatch(words))
    return _OLD_IGNORED.get(words) or next(matching, IgnoredReason.OTHER)


def refused_for(reason: Refusal | None, words: str) -> Refusal | None:
    """Return why a change was not made, by the words where an envelope has no reason; None where it was made."""
    if reason is not None or not words:
        return reason
    return next((known for pattern, known in _OLD_REFUSALS if pattern.match(words)), Refusal.OTHER)
