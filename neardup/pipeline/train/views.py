"""Batches of training pairs: two edited views of each picture, made ahead of need in threads.

A batch depends only on the seed and its step, so a resumed run sees the same batches. Half of each batch are pictures
drawn at random, half are drawn with their nearest neighbours: the negatives that teach most.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from neardup.pipeline.train.edits import Draw, chain, draw_steps
from neardup.pipeline.train.pictures import Pictures
from neardup.pipeline.types import Pixels

OTHERS = 32
"""Pictures outside the batch that an edit may paste: one in the batch would be positive and negative at once."""


@dataclass(frozen=True, slots=True)
class Batch:
    """n pairs.

    Attributes:
        left, right: uint8 (n, size, size, 3): a lightly and a heavily edited view of the same pictures.
        allowed: bool (n, n), False where two pictures are known look-alikes.
    """

    left: Pixels
    right: Pixels
    allowed: npt.NDArray[np.bool_]


class Batches:
    """Makes the batches of a training run."""

    def __init__(self, pictures: Pictures, members: list[int], pairs: int, seed: int) -> None:
        """Draw `pairs` pictures a batch from those whose indices are `members`."""
        self.pictures, self.members, self.seed = pictures, members, seed
        self.pairs = min(pairs, len(members))
        self.neighbours: npt.NDArray[np.int64] | None = None
        """(n, k) positions in `members` of the nearest neighbours of each; random batches without it."""

    def make(self, step: int, size: int) -> Batch:
        """Return the batch of this step, with views of `size` pixels."""
        random = np.random.default_rng((self.seed, step))
        chosen = [self.members[position] for position in self._choose(random)]
        outside = random.choice(len(self.pictures.pixels), OTHERS)
        others = [self.pictures.pixels[i] for i in outside if i not in set(chosen)]
        draw = Draw(random, others)
        left = [self._view(index, draw, random.choice((0.0, 0.35)), size) for index in chosen]
        right = [self._view(index, draw, random.choice((0.7, 1.0)), size) for index in chosen]
        similar = self.pictures.similar
        allowed = np.array([[(a, b) not in similar and (b, a) not in similar for b in chosen] for a in chosen])
        return Batch(np.stack(left), np.stack(right), allowed)

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
        order: list[int] = random.permutation(len(self.members)).tolist()
        if self.neighbours is None:
            return order[: self.pairs]
        chosen = dict.fromkeys(order[: self.pairs // 2])
        for seed in order[self.pairs // 2 :]:
            near = random.permutation(self.neighbours[seed])[:3]
            chosen.update(dict.fromkeys((seed, *near.tolist())))
            if len(chosen) >= self.pairs:
                break
        return list(chosen)[: self.pairs]

    def _view(self, index: int, draw: Draw, hardness: float, size: int) -> Pixels:
        pixels = self.pictures.pixels[index]
        return squeeze(chain(pixels, draw_steps(draw, hardness), draw), size)


def squeeze(pixels: Pixels, size: int) -> Pixels:
    """Return the whole picture as a tile of size × size, aspect ratio not kept."""
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))
