"""Dead letters: what could not be used, as it came, with the reason, where it came from and how often it was tried.

A dead letter is never tried again by itself; `neardup dead-letters replay` sends it to `media` once more, and counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from neardup.pipeline.errors import InvalidFrame
from neardup.workers.outbox import Headers, Message

OWN_HEADERS = ("reason", "detail", "source-topic", "source-partition", "source-offset", "attempts")
MAX_DETAIL_BYTES = 2000


def dead_letter(
    topic: str,
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes]],
    source: tuple[str, int, int],
    error: InvalidFrame,
    attempts: int,
) -> Message:
    """Return the record for the dead-letter topic.

    Args:
        source: topic, partition and offset.
        attempts: how often it was tried, this time included.
    """
    told = {
        "reason": error.reason.value,
        "detail": error.detail,
        "source-topic": source[0],
        "source-partition": str(source[1]),
        "source-offset": str(source[2]),
        "attempts": str(attempts),
    }
    own = [(name, text.encode(errors="replace")[:MAX_DETAIL_BYTES]) for name, text in told.items()]
    if key is None and value is None:  # Kafka wants one of them
        key = b""
    return Message(topic, key, value, original_headers(headers) + own)


def original_headers(headers: Sequence[tuple[str, bytes]]) -> Headers:
    """Return the headers that are not a dead letter's own."""
    return [(name, value or b"") for name, value in headers if name not in OWN_HEADERS]
