"""Prove pairs of items whose pictures can be had again: from files, uploads or what was stored of them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeAlias

from neardup.pipeline.prove.finding import BoxPair, ProofSummary, Proved
from neardup.pipeline.types import Pixels

if TYPE_CHECKING:
    from neardup.pipeline.prove.keypoints import Keypoints
    from neardup.pipeline.prove.proof import Proof

CACHED_BYTES = 128 * 2**20
"""Key points that are kept: those of a thousand pictures at SIDE."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels of an item, uint8 (h, w, 3) or (h, w), and their longest side over that of the original."""

    pixels: Pixels
    scale: float = 1.0


class Pictures(Protocol):
    """Where pictures of items come from."""

    def __call__(self, item: str, second: float, side: int, /) -> Picture | None:
        """Return an image, or the frame of a video at a second, its longest side `side` or less; None: not to be had.

        It raises nothing: a picture that went away is one that is not to be had.
        """


Asked: TypeAlias = tuple[str, str, tuple[tuple[float, float], ...], tuple[BoxPair, ...]]
"""What `Prover.prove` is asked with."""


@dataclass
class Prover:
    """Proves items by their pictures, and keeps the key points of those that it met last.

    For one thread; with more `threads` it makes proofs of its own accord that `look_ahead` was asked for, and `close`
    ends these.
    """

    pictures: Pictures
    cached_bytes: int = CACHED_BYTES
    threads: int = 1
    _cache: OrderedDict[tuple[str, float, int], Keypoints] = field(default_factory=OrderedDict)
    _held: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _pool: ThreadPoolExecutor | None = None
    _ahead: dict[Asked, Future[Proved | None]] = field(default_factory=dict)

    @property
    def looks_ahead(self) -> bool:
        """Whether it is worth foreseeing what will be asked."""
        return self.threads > 1

    def look_ahead(self, asked: Sequence[Asked]) -> None:
        """Begin with proofs that will probably be asked for, in this order; those of earlier calls are given up."""
        for future in self._ahead.values():
            future.cancel()
        self._ahead = {}
        if self.looks_ahead and len(asked) > 1:
            self._pool = self._pool or ThreadPoolExecutor(self.threads, thread_name_prefix="prove")
            self._ahead = {one: self._pool.submit(self._prove, *one) for one in asked}

    def close(self) -> None:
        """End what `look_ahead` began."""
        self.look_ahead(())
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def prove(
        self,
        query: str,
        reference: str,
        moments: Sequence[tuple[float, float]] = (),
        boxes: Sequence[BoxPair] = (),
    ) -> Proved | None:
        """Return what can be proved of two items; None where a picture of either is not to be had.

        Args:
            query, reference: ids of the items.
            moments: seconds of frames that show the same in both; empty for two images.
            boxes: parts that may show the same.
        """
        future = self._ahead.pop((query, reference, tuple(moments), tuple(boxes)), None)
        if future is None or future.cancel():  # nobody has begun with it
            return self._prove(query, reference, moments, boxes)
        return future.result()

    def _prove(
        self, query: str, reference: str, moments: Sequence[tuple[float, float]], boxes: Sequence[BoxPair]
    ) -> Proved | None:
        from neardup.pipeline.prove.documents import prove_closely  # and OpenCV, which a repeated scan does without
        from neardup.pipeline.prove.keypoints import SIDE, use_one_thread
        from neardup.pipeline.prove.relation import summarize

        use_one_thread()
        if len(moments) > 1:
            return self._prove_moments(query, reference, moments, boxes)
        second, other = moments[0] if moments else (0.0, 0.0)
        load = partial(self._keypoints, query, second), partial(self._keypoints, reference, other)
        if load[0](SIDE) is None or load[1](SIDE) is None:
            return None
        proof, judged = prove_closely(*load, boxes)
        return _proved(proof, summarize(proof, judged, (second, other)))

    def _prove_moments(
        self, query: str, reference: str, moments: Sequence[tuple[float, float]], boxes: Sequence[BoxPair]
    ) -> Proved | None:
        from neardup.pipeline.prove.keypoints import SIDE
        from neardup.pipeline.prove.proof import prove_moments
        from neardup.pipeline.prove.relation import judge, judge_moments, summarize

        pairs = [
            (second, other, one, two)
            for second, other in moments
            if (one := self._keypoints(query, second, SIDE)) is not None
            and (two := self._keypoints(reference, other, SIDE)) is not None
        ]
        if not pairs:
            return None
        proofs = prove_moments([(one, two) for _, _, one, two in pairs], boxes)
        judged = judge_moments(proofs)
        place = next((n for n, proof in enumerate(proofs) if judge(proof) == judged), 0)
        return _proved(proofs[place], summarize(proofs[place], judged, pairs[place][:2]))

    def _keypoints(self, item: str, second: float, side: int) -> Keypoints | None:
        from neardup.pipeline.prove.keypoints import find_keypoints

        key = (item, second, side)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        if (picture := self.pictures(item, second, side)) is None:
            return None  # it may be there later, and what is not there takes no room
        found = find_keypoints(picture.pixels, side, picture.scale)
        with self._lock:
            if key in self._cache:  # another thread was faster; its key points may have been found by now
                return self._cache[key]
            self._cache[key] = found
            self._held += found.size_bytes
            while self._held > self.cached_bytes and len(self._cache) > 1:
                _, dropped = self._cache.popitem(last=False)
                self._held -= dropped.size_bytes
        return found


def _proved(proof: Proof | None, summary: ProofSummary) -> Proved:
    if proof is None:
        return Proved(summary)
    shares = proof.query_share, proof.reference_share
    return Proved(summary, proof.transform, proof.query_box, proof.reference_box, *shares, proof.bordered)
