"""Batches of training pairs: two edited views of each picture, made ahead of need in threads.

A batch depends only on the seed and its step, so a resumed run sees the same batches. A picture comes with some of its
companions (of its class, of named pairs) where it has any; half of the others come with their nearest neighbours: the
negatives that teach most.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neardup.pipeline.learn.edits import Draw, chain, draw_steps
from neardup.pipeline.learn.shared.pictures import Pictures, squeeze
from neardup.pipeline.types import Pixels

OTHERS = 32
"""Pictures outside the batch that an edit may paste: one in the batch would be positive and negative at once."""
LIGHT, HARD = (0.0, 0.35), (0.7, 1.0)
"""Hardness of the edits of the first and the second view, one of two at random."""
COMPANY = 3
"""Companions or neighbours that a picture brings at most."""


@dataclass(frozen=True, slots=True)
class Batch:
    """n pairs.

    Attributes:
        left, right: uint8 (n, size, size, 3): a lightly and a heavily edited view of the same pictures.
        pictures: int64 (n,), which pictures.
    """

    left: Pixels
    right: Pixels
    pictures: npt.NDArray[np.int64]


class Batches:
    """Makes the batches of a training run."""

    def __init__(
        self,
        pictures: Pictures,
        members: list[int],
        size: int,
        seed: int,
        companions: Sequence[Sequence[int]] = (),
        edits: float = 1.0,
    ) -> None:
        """Draw `size` pictures a batch from those whose indices are `members`.

        Args:
            companions: for each member, positions in `members` to draw with it.
            edits: from 0, no edits, to 1, the hardness of LIGHT and HARD.
        """
        self.pictures, self.members, self.seed, self.edits = pictures, members, seed, edits
        self.size = min(size, len(members))
        self.companions = companions or [()] * len(members)
        self.neighbours: npt.NDArray[np.int64] | None = None
        """(n, k) positions in `members` of the nearest neighbours of each; random batches without it."""

    def make(self, step: int, size: int) -> Batch:
        """Return the batch of this step, with views of `size` pixels."""
        random = np.random.default_rng((self.seed, step))
        chosen = [self.members[position] for position in self._choose(random)]
        outside = random.choice(self.members, OTHERS)
        others = [self.pictures.pixels[i] for i in outside if i not in set(chosen)]
        draw = Draw(random, others)
        left = [self._view(index, draw, random.choice(LIGHT), size) for index in chosen]
        right = [self._view(index, draw, random.choice(HARD), size) for index in chosen]
        return Batch(np.stack(left), np.stack(right), np.array(chosen, dtype=np.int64))

    def stream(self, first: int, size: int, threads: int, ahead: int = 3) -> Generator[Batch, None, None]:
        """Yield the batches from step `first` on, made by `threads` threads up to `ahead` steps ahead."""
        with ThreadPoolExecutor(threads) as pool:
            waiting: deque[Future[Batch]] = deque(pool.submit(self.make, first + i, size) for i in range(ahead))
            try:
                while True:
                    yield waiting.popleft().result()
                    first += 1
                    waiting.append(pool.submit(self.make, first + ahead - 1, size))
            finally:
                for future in waiting:
                    future.cancel()

    def _choose(self, random: np.random.Generator) -> list[int]:
        """Return distinct positions in `members`."""
        chosen: dict[int, None] = {}
        for seed in random.permutation(len(self.members)).tolist():
            company: Sequence[int] = self.companions[seed]
            if not company and self.neighbours is not None and len(chosen) >= self.size // 2:
                company = self.neighbours[seed].tolist()
            chosen.update(dict.fromkeys((seed, *random.permutation(np.array(company, dtype=int))[:COMPANY].tolist())))
            if len(chosen) >= self.size:
                break
        return list(chosen)[: self.size]

    def _view(self, index: int, draw: Draw, hardness: float, size: int) -> Pixels:
        pixels = self.pictures.pixels[index]
        return squeeze(chain(pixels, draw_steps(draw, hardness * self.edits), draw), size)
