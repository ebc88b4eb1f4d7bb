"""What an embed worker's table of known content costs: bytes an entry, and microseconds to fill it and to look it up.

    python -m benchmarks.known_content

CPU time; records as those of pictures of one descriptor each, and the log in memory.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

from neardup.pipeline.describe.decode import Look
from neardup.pipeline.log.records import Described
from neardup.workers.embed.known_content import KnownContent, KnownTable, look_digest
from neardup.workers.embed.known_filler import Filler
from neardup.workers.kafka.log import Fetched, encode

COUNT, LOOKED_UP = 20_000, 5000
DIMENSION = 256
MOST_BYTES = 2**28
LOOK = look_digest(Look(128))


class Log:
    """Records in memory, as `known_filler.Filler` reads them."""

    def __init__(self, records: list[bytes]) -> None:
        self._records, self._next = records, 0

    def begin(self) -> int:
        return 0

    def end(self) -> int:
        return len(self._records)

    def lag(self) -> int:
        return self.end() - self._next

    def seek(self, offset: int) -> None:
        self._next = offset

    def poll(self, timeout_seconds: float, max_records: int) -> list[Fetched]:  # noqa: ARG002
        start, self._next = self._next, min(self._next + max_records, self.end())
        return [Fetched(offset, 0, self._records[offset]) for offset in range(start, self._next)]


def record(number: int, vector: bytes) -> bytes:
    """Return a picture as the log has it."""
    return encode(
        Described(
            id=f"uploads/picture-{number}.jpg", sha256=hashlib.sha256(b"%d" % number).digest(), pixels_digest=bytes(16),
            source_partition=3, source_offset=number, produced_ms=1_796_000_000_000, width=640, height=480,
            dimension=DIMENSION, pts=(0.0,), vectors=vector, hashes=bytes(32), detail=b"2", look=LOOK,
            thumbnail=f"thumbnails/ab/{64 * 'a'}-{32 * 'b'}.jpg",
        )
    )  # fmt: skip


def microseconds(count: int, do: Callable[[], object]) -> float:
    """Return the CPU time of each of so many."""
    began = time.process_time()
    do()
    return 1e6 * (time.process_time() - began) / count


def main() -> None:
    """Print the table."""
    random = np.random.default_rng(0)
    records = [record(number, random.normal(size=DIMENSION).astype("<f2").tobytes()) for number in range(COUNT)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "known.sqlite")
        with closing(KnownTable(path, "benchmark", MOST_BYTES)) as table:
            filler = Filler(table, Log(records), LOOK, MOST_BYTES)
            fill = microseconds(COUNT, lambda: [None for _ in iter(lambda: filler.step(0.0), 0)])
            known = KnownContent(path, 1)
            known.find(b"")
            hits = [hashlib.sha256(b"%d" % number).digest() for number in random.integers(0, COUNT, LOOKED_UP).tolist()]
            misses = [hashlib.sha256(one).digest() for one in hits]
            found, missed = (
                microseconds(LOOKED_UP, lambda some=some: [known.find(one) for one in some])  # type: ignore[misc]
                for some in (hits, misses)
            )
            print("| records of bytes | bytes an entry | fill, µs | found, µs | not found, µs |\n|---|---|---|---|---|")
            print(f"| {len(records[0])} | {table.size / COUNT:,.0f} | {fill:.0f} | {found:.0f} | {missed:.0f} |")


if __name__ == "__main__":
    main()
