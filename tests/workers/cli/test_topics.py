"""How topics are listed."""

from __future__ import annotations

import pytest

from neardup.workers.cli.topics import _table
from neardup.workers.kafka.topics import Topic


@pytest.mark.parametrize(
    ("partitions", "copies", "days", "words"),
    [
        (1, 1, 1.0, ["1 partition", "1 copy", "kept 1 day"]),
        (8, 3, 7.0, ["8 partitions", "3 copies", "kept 7 days"]),
        (2, 2, 0.5, ["2 partitions", "2 copies", "kept 0.5 days"]),
    ],
)
def test_one_is_no_plural(partitions: int, copies: int, days: float, words: list[str]) -> None:
    configs = {"retention.ms": f"{days * 86_400_000:.0f}", "max.message.bytes": "1"}
    [line] = _table([Topic("neardup.media", partitions, copies, configs)])
    assert [cell.strip() for cell in line.split("  ")][-3:] == words
