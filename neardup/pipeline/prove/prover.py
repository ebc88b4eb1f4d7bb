"""Prove pairs of items whose pictures can be had again: from files, uploads or what was stored of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol

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


@dataclass
class Prover:
    """Proves items by their pictures, and keeps the key points of those that it met last.

    Not for several threads at once.
    """

    pictures: Pictures
    cached_bytes: int = CACHED_BYTES
    _cache: OrderedDict[tuple[str, float, int], Keypoints] = field(default_factory=OrderedDict)
    _held: int = 0

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
        from neardup.pipeline.prove.documents import prove_closely  # and OpenCV, which a repeated scan does without
        from neardup.pipeline.prove.keypoints import SIDE, use_one_thread
        from neardup.pipeline.prove.relation import summarize

        use_one_thread()
        if len(moments) > 1:
            return self._prove_moments(query, reference, moments)
        second, other = moments[0] if moments else (0.0, 0.0)
        load = partial(self._keypoints, query, second), partial(self._keypoints, reference, other)
        if load[0](SIDE) is None or load[1](SIDE) is None:
            return None
        proof, judged = prove_closely(*load, boxes)
        return _proved(proof, summarize(proof, judged, (second, other)))

    def _prove_moments(self, query: str, reference: str, moments: Sequence[tuple[float, float]]) -> Proved | None:
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
        proofs = prove_moments([(one, two) for _, _, one, two in pairs])
        judged = judge_moments(proofs)
        place = next((n for n, proof in enumerate(proofs) if judge(proof) == judged), 0)
        return _proved(proofs[place], summarize(proofs[place], judged, pairs[place][:2]))

    def _keypoints(self, item: str, second: float, side: int) -> Keypoints | None:
        from neardup.pipeline.prove.keypoints import find_keypoints

        key = (item, second, side)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        if (picture := self.pictures(item, second, side)) is None:
            return None  # it may be there later, and what is not there takes no room
        found = find_keypoints(picture.pixels, side, picture.scale)
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
    return Proved(summary, proof.transform, proof.query_box, proof.reference_box, *shares)
