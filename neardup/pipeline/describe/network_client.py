"""A network that runs in another process: tiles go there and rows come back in memory that both share.

A process has a slot of its own, which nobody else but the server (`network_server.py`) sees, and a socket on which only
counts and errors pass. It waits for the answer, and makes hashes meanwhile; so a slot belongs to one of the two at any
moment.
"""

from __future__ import annotations

import mmap
import struct
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np

from neardup.pipeline.embed.checkpoint import Checkpoint
from neardup.pipeline.embed.embedder import check_tiles, put_together
from neardup.pipeline.embed.hash import dct_hash
from neardup.pipeline.errors import DependencyError
from neardup.pipeline.types import Embedded, Pixels

CAPACITY = 64
"""Tiles of a slot: a step of the network on a GPU."""
REQUEST = struct.Struct("<I")
"""How many tiles lie in the slot; the answer is b"" once their rows do, or what the network failed with, in UTF-8."""
_FLOAT_BYTES = 4


class Shape(NamedTuple):
    """What a process has to know of a network that runs elsewhere.

    Attributes:
        width: d + s, of the rows. others: see `embedder.Embedder`.
    """

    space: str
    similar_space: str
    dimension: int
    width: int
    size: int

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Shape:
        """Return that of a checkpoint's network."""
        dimension, size = checkpoint.architecture.dimension, checkpoint.architecture.size
        similar = checkpoint.similar.dimension if checkpoint.similar else 0
        return cls(checkpoint.space, checkpoint.similar_space, dimension, dimension + similar, size)


class Slot:
    """The shared memory of one process and the server.

    Attributes:
        memory: all of it, uint8. tiles: uint8 (CAPACITY, size, size, 3). rows: float32 (CAPACITY, d + s).
    """

    def __init__(self, descriptor: int, shape: Shape) -> None:
        """Map a file of `count_bytes`; it stays mapped until the last array on it is gone."""
        tiles_bytes, bytes_all = CAPACITY * shape.size**2 * 3, self.count_bytes(shape)
        self.memory = np.frombuffer(mmap.mmap(descriptor, bytes_all), np.uint8)
        self.tiles = self.memory[:tiles_bytes].reshape(CAPACITY, shape.size, shape.size, 3)
        self.rows = self.memory[tiles_bytes:].view(np.float32).reshape(CAPACITY, shape.width)

    @staticmethod
    def count_bytes(shape: Shape) -> int:
        """Return how many bytes the file has."""
        return CAPACITY * (shape.size**2 * 3 + shape.width * _FLOAT_BYTES)


class RemoteNetwork:
    """See `embedder.Embedder`. For one thread."""

    engine = "of another process"

    def __init__(self, connection: Connection, slot: Slot, shape: Shape) -> None:
        """Ask through a connection."""
        self._connection, self._slot, self._width = connection, slot, shape.width
        self.space, self.similar_space = shape.space, shape.similar_space
        self.dimension, self.size = shape.dimension, shape.size

    def embed(self, tiles: Pixels) -> Embedded:
        """See `embedder.Embedder.embed`.

        Raises:
            DependencyError: the other process has gone.
            RuntimeError: its network fails on these tiles.
        """
        check_tiles(tiles, self.size)
        rows = np.empty((len(tiles), self._width), np.float32)
        starts = range(0, len(tiles), CAPACITY)
        self._ask(tiles[:CAPACITY])
        try:
            hashes, detail = dct_hash(tiles)
        except BaseException:  # for want of memory: the next batch must not get the rows of this one
            if len(tiles):
                self._hear()
            raise
        for start in starts:
            if start:
                self._ask(tiles[start : start + CAPACITY])
            self._hear()
            part = rows[start : start + CAPACITY]
            part[:] = self._slot.rows[: len(part)]
        return put_together(rows, self.dimension, hashes, detail)

    def _ask(self, tiles: Pixels) -> None:
        if len(tiles):
            self._slot.tiles[: len(tiles)] = tiles
            try:
                self._connection.send_bytes(REQUEST.pack(len(tiles)))
            except OSError as error:
                raise _gone() from error

    def _hear(self) -> None:
        try:
            failure = self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise _gone() from error
        if failure:
            raise RuntimeError(failure.decode("utf-8"))


def _gone() -> DependencyError:
    return DependencyError("the process with the network has gone")
