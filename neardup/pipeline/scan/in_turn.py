"""Files described without threads: some are decoded, then embedded."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from neardup.pipeline.embed.description import embed_each
from neardup.pipeline.embed.embedder import Embedder
from neardup.pipeline.scan.decode import Decoder, Job, Piece
from neardup.pipeline.scan.finished import Finished
from neardup.pipeline.scan.processes import Setup
from neardup.pipeline.scan.twins import Twins
from neardup.pipeline.scan.walk import Found

BATCH = 64
"""Most frames given to the network at once."""


class InTurn:
    """What a process of a scan does."""

    def __init__(self, embedder: Embedder, setup: Setup, known: Container[bytes]) -> None:
        """Take the network, and the hashes of contents that need no description."""
        self._embedder = embedder
        self._decoder = Decoder(embedder.size, known, setup.limits, setup.sample_fps, setup.regions)
        self._again: list[Job] = []
        self._twins = Twins(self._decoder, known, self._again.append)

    def describe(self, files: Sequence[Found]) -> list[Finished]:
        """Return every file, in the order in which they ended; a frame that the network fails on costs its file."""
        finished: list[Finished] = []
        jobs = [Job(file) for file in files]
        while jobs:
            for pieces in self._batches(jobs):
                embed_each(self._embedder, [(piece.job.description, piece.frame) for piece in pieces if piece.frame])
                for piece in pieces:
                    if piece.end is not None:
                        finished.extend(self._twins.settle(piece.job, piece.end))
            jobs = self._again.copy()
            self._again.clear()
        return finished

    def _batches(self, jobs: Sequence[Job]) -> Iterator[list[Piece]]:
        """Yield all pieces, with at most a full batch of frames at once."""
        pieces: list[Piece] = []
        frames = 0
        for piece in self._decoder.pieces(jobs):
            pieces.append(piece)
            frames += piece.frame is not None
            if frames == BATCH:
                yield pieces
                pieces, frames = [], 0
        if pieces:
            yield pieces
