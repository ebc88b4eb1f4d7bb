"""Prove that one picture shows what another one does: pictures in, a `Proof` out.

Stage 0 lays them over each other as they are, mirrored, and by boxes that are given; that settles what was re-encoded
or resized. Stage 1 finds a transform by key points. What is laid over each other is compared block by block. Whether
a proof makes a copy of it is another question: see `relation.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from neardup.pipeline.prove.beside import count_written, find_beside, is_bordered
from neardup.pipeline.prove.changes import MAX_ON_BOTH, Changes, find_again, find_changes
from neardup.pipeline.prove.colours import count_recoloured
from neardup.pipeline.prove.compare import (
    Agreement,
    Differences,
    correlate,
    count_differences,
    count_ink,
    is_covered,
    measure_repetition,
)
from neardup.pipeline.prove.finding import Block, BoxPair
from neardup.pipeline.prove.keypoints import DOCUMENT_SIDE, GLANCE, Keypoints, Points
from neardup.pipeline.prove.motion import Motion, follow
from neardup.pipeline.prove.overlap import lay_over
from neardup.pipeline.prove.same import look_the_same
from neardup.pipeline.prove.transform import Fit, Matrix, fit, match, may_fit, warp
from neardup.pipeline.types import Box, Pixels

_Way: TypeAlias = tuple[bool, bool, bool]
"""Whether rows and columns change places, then whether left and right, and whether top and bottom do: mirrored, upside
down, transposed."""
_WAYS: tuple[_Way, ...] = (
    (False, False, False), (True, False, False), (False, True, False), (True, True, False),
    (False, False, True), (True, False, True), (False, True, True), (True, True, True),
)  # fmt: skip
_GLANCES = 0.5
"""Least correlation, seen small, of pictures that are worth laying over each other as they are."""
_SETTLED = 0.9
"""Share of agreeing blocks at which stage 0 is enough."""
_PLENTY = 20
"""Inliers at which the mirrored query is not tried."""
_CONFINED = 0.65
"""Below this share the agreeing part is looked for."""
_MARGIN = 8
"""Pixels around the inliers that are taken to belong to the part."""
_MANY = 12
"""Blocks that are enough to go by."""
_CERTAINLY = 0.85
"""Share of agreeing blocks that a part of both pictures must reach."""
_KEEPS = 0.95
_IN_PLACE = 0.03
_NEARLY_ALL, _UNLIKE_ITSELF = 0.9, 0.6
_FEW_OF_SIDE = 0.05
"""Share of blocks that a side may have to itself beside the part that agrees, if only the other has something there."""
_ROUNDS = 2
_STILL = 0.05
_WORTH_CHANGES = 0.5
_WORTH_FOLLOWING = 0.25
"""Share of blocks that agree from which corners are followed where no key points say that the two show the same."""
_CHROMA = 6.0
"""Least standard deviation of colours, in levels, that say anything of a hue."""
_REPETITIVE = 0.9
"""Repetition from which pictures that look the same are asked for."""
_ONE_HUE, _SURELY_SWAPPED = 0.05, 0.9
_NOTHING = Changes()
_WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Proof:
    """What was found when the query was laid over the reference.

    Attributes:
        stage: 0 if they were laid over each other as they are or by boxes, 1 if by key points.
        transform: nine numbers, the rows of a 3 × 3 homography from the query to the reference, both in shares of width
            and height.
        inliers: key points that it explains; 0 in stage 0.
        query_box, reference_box: what encloses the part of each that was compared.
        query_share, reference_share: how much of each picture was compared, 0 to 1.
        agreeing: of the blocks with texture in either, the share that shows the same. agreed: how many these are.
        agreeing_of_one: the same without what one side alone has beyond the other, as a caption over the sky; see
            `Agreement.share_of_one`.
        query_extra, reference_extra: of those blocks, the share where a side has what the other lacks, be there
            nothing in the other or something else.
        differences: blocks that do not agree, by what stands in them.
        covered: whether what does not agree is one rectangle, as where something was put over a picture.
        confined: whether only a part was compared, as the rest of the overlap differs. one_sided: whether only one of
            the two has something in that rest, as where captions were put around a picture.
        motion: residual motion that neighbouring corners share, in pixels at a longest side of 320: 0 for a copy.
            moving: corners that share a pixel or more.
        gain, offset: reference ≈ gain × query + offset in grey levels.
        saturation: the reference's over the query's; None where either is not known or grey.
        repetition: 0 to 1, how alike what is seen is to itself when shifted; stripes and lattices are near 1.
        document: whether either is a page with writing. legible: whether small writing can be distinguished.
        blocks: uint8 (rows, columns) of `Block`, which divide `reference_box`, or `query_box` if `of_query`.
        changes: what only one side has, by pixels.
        hue: how alike the colours of blocks that agree are to each other, -1 to 1, whatever their saturation; None
            where either side has hardly any.
        recoloured: pixels at SIDE that have another colour, and did not change in grey.
        written_beside: squares with writing on plain ground that the query, and the reference, have beside what was
            compared: captions above or below a picture.
        ink: pixels of the query and of the reference that are bold strokes where something changed, as many as at SIDE;
            asked only where a larger side would show more.
        same: whether the two hardly differ in any pixel as they are; asked only where there is little else to go by.
        bordered: whether the query, and the reference, has nothing beside what was compared but a plain border.
    """

    stage: int
    transform: tuple[float, ...]
    inliers: int
    query_box: Box
    reference_box: Box
    query_share: float
    reference_share: float
    agreeing: float
    agreed: int
    query_extra: float
    reference_extra: float
    differences: Differences
    covered: bool
    confined: bool
    motion: float
    moving: int
    gain: float
    offset: float
    saturation: float | None
    repetition: float
    document: bool
    legible: bool
    of_query: bool
    blocks: npt.NDArray[np.uint8] = field(compare=False)
    agreeing_of_one: float = 0.0
    changes: Changes = _NOTHING
    hue: float | None = None
    same: bool = False
    one_sided: bool = False
    recoloured: float = 0.0
    written_beside: tuple[int, int] = (0, 0)
    ink: tuple[float, float] = (0.0, 0.0)
    bordered: tuple[bool, bool] = (False, False)

    @property
    def in_place(self) -> bool:
        """Whether what was compared is at the same place in both, of the same size."""
        sides = zip(self.query_box, self.reference_box, strict=True)
        return not self.mirrored and max(abs(one - other) for one, other in sides) < _IN_PLACE

    @property
    def mirrored(self) -> bool:
        """Whether the transform swaps left and right, turned or not."""
        a, b, _, d, e = self.transform[:5]
        return a * e < b * d


@dataclass(frozen=True, eq=False)
class _Laid:
    """An agreement, the key points behind it (0 in stage 0), the part of the reference that it is of where it is not of
    all, and the motion that it leaves, where corners were followed."""

    agreement: Agreement
    motion: Motion
    inliers: int = 0
    part: Box | None = None
    followed: bool = False
    one_sided: bool = False

    @property
    def rank(self) -> float:
        """How much it shows: what agrees, less where there are few blocks of it."""
        return self.agreement.share * min(1.0, self.agreement.agreed / _MANY)

    @property
    def settled(self) -> bool:
        """Whether nothing else needs to be tried."""
        return self.rank >= _SETTLED or self.agreement.in_register


def prove(
    query: Keypoints, reference: Keypoints, boxes: Sequence[BoxPair] = (), closer_to: Proof | None = None
) -> Proof | None:
    """Return the best that can be shown for two pictures; None if nothing lays one over the other.

    Args:
        boxes: parts that may show the same, tried as they are and mirrored.
        closer_to: what a smaller side proved of them; its transform is tried first.
    """
    if closer_to is not None:
        laid = _lay_closer(query, reference, closer_to)
        if laid is not None and laid.settled:
            return _conclude(query, reference, laid, closer_to.document)
        proof = prove(query, reference, boxes)
        return proof and replace(proof, document=proof.document or closer_to.document)
    first = _lay_as_they_are(query, reference, boxes)
    if first is not None and first.settled:
        return _or_same(query, reference, _conclude(query, reference, first))
    found = _fit([(query, reference)])
    second = None if found is None else _lay(query, reference, found.matrix, found)
    return _or_same(query, reference, _best(query, reference, first, second))


def _or_same(query: Keypoints, reference: Keypoints, proof: Proof | None) -> Proof | None:
    """Return a proof, or where there is little or the same everywhere to go by, that the two look the same."""
    if proof is not None and proof.agreed >= _MANY and proof.repetition < _REPETITIVE:
        return proof
    if not look_the_same(query, reference):
        return proof
    laid = _measure(query, reference, _box_to_box(query, reference, _WHOLE, _WHOLE, _WAYS[0]), 0)
    return proof if laid is None else replace(_conclude(query, reference, laid), same=True)


def _lay_closer(query: Keypoints, reference: Keypoints, before: Proof) -> _Laid | None:
    """Return what the transform of a smaller side lays over each other, with the key points that supported it."""
    shares = np.array(before.transform).reshape(3, 3)
    matrix = np.linalg.inv(_to_shares(reference)) @ shares @ _to_shares(query)
    part = before.reference_box if before.confined else None
    laid = _measure(query, reference, matrix, before.inliers, part)
    if laid is None or not laid.followed:
        return laid
    # A pixel at the smaller side is three here: what lies beside it is corrected once more.
    return _correct(query, reference, replace(laid, motion=Motion(), followed=False))


def prove_moments(moments: Sequence[tuple[Keypoints, Keypoints]], boxes: Sequence[BoxPair] = ()) -> list[Proof | None]:
    """Return the proof of each of a few moments of two videos, all by one transform.

    Matches of all moments are put together, so that they find a transform which none of them would support alone.

    Args:
        moments: frames of the query and of the reference that show the same moment; an image may stand for a frame. All
            frames of a side are of one shape; others are left unproved.
        boxes: parts of all of them that may show the same.
    """
    first = [_lay_as_they_are(query, reference, boxes) for query, reference in moments]
    if all(one is not None and one.settled for one in first):
        return [
            _or_same(query, reference, _best(query, reference, one))
            for (query, reference), one in zip(moments, first, strict=True)
        ]
    shapes = moments[0][0].grey.shape, moments[0][1].grey.shape
    alike = [(one, other) for one, other in moments if (one.grey.shape, other.grey.shape) == shapes]
    found = _fit(alike)
    proofs = []
    for (query, reference), as_is in zip(moments, first, strict=True):
        fits = found is not None and (query.grey.shape, reference.grey.shape) == shapes
        laid = _lay(query, reference, found.matrix, found) if found is not None and fits else None
        proofs.append(_or_same(query, reference, _best(query, reference, as_is, laid)))
    return proofs


def _lay_as_they_are(query: Keypoints, reference: Keypoints, boxes: Sequence[BoxPair]) -> _Laid | None:
    """Return the best of laying the pictures, and the boxes, over each other as they are and mirrored."""
    seen = query.glance.reshape(GLANCE, GLANCE)
    ways = sorted(
        ((float(_turn(seen, way).ravel() @ reference.glance), -number) for number, way in enumerate(_WAYS)),
        reverse=True,
    )
    tries = [(_WHOLE, _WHOLE, _WAYS[-number]) for alike, number in ways[:2] if alike >= _GLANCES]
    tries += [(own, other, way) for own, other in boxes for way in _WAYS[:2]]
    best: _Laid | None = None
    for own, other, way in tries:
        laid = _lay(query, reference, _box_to_box(query, reference, own, other, way))
        if laid is not None and (best is None or laid.rank > best.rank):
            best = laid
        if best is not None and best.settled:
            break
    return best


def _fit(pairs: Sequence[tuple[Keypoints, Keypoints]]) -> Fit | None:
    """Return what lays all queries over their references; mirrored ones are tried where the plain ones give little.

    A few key points of each query say first whether it is worth matching all: strangers are many.
    """
    best: Fit | None = None
    for mirrored in (False, True):
        if not may_fit(*_match(pairs, mirrored, few=True)):
            continue
        found = fit(*_match(pairs, mirrored), pairs[0][0].grey.shape)
        if found is not None and (best is None or found.inliers > best.inliers):
            best = found
        if best is not None and best.inliers >= _PLENTY:
            break
    return best


def _match(pairs: Sequence[tuple[Keypoints, Keypoints]], mirrored: bool, few: bool = False) -> tuple[Points, Points]:
    a, b = zip(*(match(query, reference, mirrored, few) for query, reference in pairs), strict=True)
    return np.concatenate(a), np.concatenate(b)


def _lay(query: Keypoints, reference: Keypoints, matrix: Matrix, found: Fit | None = None) -> _Laid | None:
    """Compare two pictures under a transform, correct it by what is seen, and confine it to what agrees."""
    inliers = 0 if found is None else found.inliers
    laid = _measure(query, reference, matrix, inliers)
    if laid is None or found is None or laid.agreement.share >= _CONFINED:
        return laid
    in_place = np.abs(_in_shares(laid.agreement.overlap.matrix, query, reference) - np.eye(3)).max() < _IN_PLACE
    if in_place and laid.agreement.share_of_one >= _CONFINED:  # captions were put around what agrees
        return laid
    # Both may hold the part that they share among other things. Look where the inliers are, and ask for more there:
    # faces and logos have parts that resemble each other.
    height, width = reference.grey.shape
    low, high = np.percentile(found.points, (2, 98), axis=0)
    part = (
        max(0.0, float(low[0] - _MARGIN) / width), max(0.0, float(low[1] - _MARGIN) / height),
        min(1.0, float(high[0] + _MARGIN) / width), min(1.0, float(high[1] + _MARGIN) / height),
    )  # fmt: skip
    confined = _measure(query, reference, laid.agreement.overlap.matrix, inliers, part)
    if confined is None or confined.agreement.agreed < max(_MANY, laid.agreement.agreed * _KEEPS / 2):
        return laid
    if confined.agreement.share < _CERTAINLY or inliers < _PLENTY:
        return laid
    blocks = laid.agreement.blocks
    fewer = min(np.count_nonzero(blocks == side) for side in (Block.QUERY_ONLY, Block.REFERENCE_ONLY))
    return replace(confined, one_sided=bool(fewer <= _FEW_OF_SIDE * np.count_nonzero(blocks)))


def _measure(
    query: Keypoints, reference: Keypoints, matrix: Matrix, inliers: int, part: Box | None = None
) -> _Laid | None:
    overlap = lay_over(query, reference, matrix, part)
    if overlap is None:
        return None
    return _correct(query, reference, _Laid(correlate(overlap), Motion(), inliers, part))


def _correct(query: Keypoints, reference: Keypoints, laid: _Laid) -> _Laid:
    """Return what was laid, corrected by corners where that may change anything."""
    still = laid.agreement.certain or laid.agreement.in_register
    hopeless = not laid.inliers and laid.agreement.share < _WORTH_FOLLOWING
    return laid if still or hopeless else _follow(query, reference, laid)


def _follow(query: Keypoints, reference: Keypoints, laid: _Laid) -> _Laid:
    """Correct the transform by corners, and measure the motion that it leaves."""
    agreement, motion = laid.agreement, Motion()
    for _ in range(_ROUNDS):
        corrected, left = follow(agreement)
        again = None if corrected is None else lay_over(query, reference, corrected, laid.part)
        better = None if again is None else correlate(again)
        if better is None or better.agreed < agreement.agreed * _KEEPS:
            if better is not None and better.agreed >= agreement.agreed / 2:  # a compromise between scene and subject
                motion = left
            break
        agreement, motion = better, left
        if agreement.certain or motion.shared < _STILL:
            break
    return replace(laid, agreement=agreement, motion=motion, followed=True)


def _best(query: Keypoints, reference: Keypoints, *options: _Laid | None) -> Proof | None:
    laid = [one for one in options if one is not None]
    return _conclude(query, reference, max(laid, key=lambda one: one.rank)) if laid else None


def _find_changes(agreement: Agreement) -> Changes:
    """Return what changed, with light and contrast made equal everywhere if something is on both sides without that."""
    changes = find_changes(agreement) if agreement.share_of_one >= _WORTH_CHANGES else _NOTHING
    return find_again(agreement, changes) if changes.on_both > MAX_ON_BOTH else changes


def _conclude(query: Keypoints, reference: Keypoints, laid: _Laid, document: bool = False) -> Proof:
    changes = _find_changes(laid.agreement)
    if changes.on_both > MAX_ON_BOTH and not laid.followed:  # a pixel aside, or something moved
        before, laid = laid.agreement, _follow(query, reference, laid)
        changes = changes if laid.agreement is before else _find_changes(laid.agreement)
    agreement, overlap = laid.agreement, laid.agreement.overlap
    blocks = agreement.blocks
    seen = max(1, int(agreement.seen.sum()))
    *_, differing, query_only, reference_only = np.bincount(blocks.ravel(), minlength=len(Block)).tolist()
    little = agreement.share_of_one < _WORTH_CHANGES  # which no finding but that follows from
    differences = Differences() if little else count_differences(agreement)
    gain, offset = agreement.light
    query_box, reference_box = (
        _enclose(side, into, overlap.query.shape)
        for side, into in ((query, overlap.into_query), (reference, overlap.into_reference))
    )
    beside_query = find_beside(query, overlap.into_query, overlap.query.shape)
    beside_reference = find_beside(reference, overlap.into_reference, overlap.query.shape)
    page = document or query.is_document or reference.is_document
    legible = min(_legible(query), _legible(reference)) >= 1
    return Proof(
        stage=int(laid.inliers > 0),
        transform=tuple(float(value) for value in _in_shares(overlap.matrix, query, reference).ravel()),
        inliers=laid.inliers,
        query_box=query_box,
        reference_box=reference_box,
        query_share=overlap.query_share,
        reference_share=overlap.reference_share,
        agreeing=agreement.share,
        agreeing_of_one=agreement.share_of_one,
        agreed=agreement.agreed,
        query_extra=(differing + query_only) / seen,
        reference_extra=(differing + reference_only) / seen,
        differences=differences,
        covered=is_covered(blocks),
        confined=laid.part is not None,
        motion=laid.motion.shared,
        moving=laid.motion.moving,
        gain=gain,
        offset=offset,
        saturation=_saturation(query, reference, query_box, reference_box),
        repetition=_repetition(agreement, reference),
        document=page,
        legible=legible,
        of_query=overlap.of_query,
        blocks=blocks,
        changes=changes,
        hue=None if little else _hue(query, reference, agreement),
        one_sided=laid.one_sided,
        recoloured=0.0 if little else count_recoloured(query, reference, overlap, changes),
        written_beside=(0, 0)
        if little
        else (count_written(query, beside_query), count_written(reference, beside_reference)),
        bordered=(is_bordered(query, beside_query), is_bordered(reference, beside_reference)),
        ink=(0.0, 0.0) if legible or changes.where is None else count_ink(overlap, changes.where),
    )


def _repetition(agreement: Agreement, reference: Keypoints) -> float:
    """Return that of the whole reference, which is measured once, where that will do."""
    if agreement.overlap.reference_share >= _NEARLY_ALL and reference.repetition < _UNLIKE_ITSELF:
        return reference.repetition
    return measure_repetition(agreement.overlap)


def _legible(picture: Keypoints) -> float:
    """Return 1 or more if small writing can be distinguished: the side is large enough, or nothing was made smaller."""
    return max(picture.side / DOCUMENT_SIDE, picture.scale)


def _box_to_box(query: Keypoints, reference: Keypoints, own: Box, other: Box, way: _Way) -> Matrix:
    """Return the matrix, in pixels, that takes a box of the query to one of the reference, turned or mirrored."""
    mirrored, upside_down, transposed = way
    around = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    turn = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]]) if transposed else np.eye(3)
    turn = np.diag([-1 if mirrored else 1, -1 if upside_down else 1, 1]) @ turn
    in_box, out_of_box = (
        np.array([[box[2] - box[0], 0, box[0]], [0, box[3] - box[1], box[1]], [0, 0, 1]]) for box in (own, other)
    )
    shares = out_of_box @ around @ turn @ np.linalg.inv(around) @ np.linalg.inv(in_box)
    return np.asarray(np.linalg.inv(_to_shares(reference)) @ shares @ _to_shares(query))


def _turn(seen: npt.NDArray[np.float32], way: _Way) -> npt.NDArray[np.float32]:
    mirrored, upside_down, transposed = way
    turned = seen.T if transposed else seen
    return turned[:: -1 if upside_down else 1, :: -1 if mirrored else 1]


def _in_shares(matrix: Matrix, query: Keypoints, reference: Keypoints) -> Matrix:
    found = _to_shares(reference) @ matrix @ np.linalg.inv(_to_shares(query))
    return np.asarray(found / found[2, 2])


def _to_shares(picture: Keypoints) -> Matrix:
    """Return the matrix from pixels, whose middles are whole numbers, to shares of width and height."""
    height, width = picture.grey.shape
    return np.array([[1 / width, 0, 0.5 / width], [0, 1 / height, 0.5 / height], [0, 0, 1]])


def _enclose(picture: Keypoints, into: Matrix, shape: tuple[int, ...]) -> Box:
    """Return what encloses the overlap, of this shape, in a picture, as shares."""
    height, width = shape
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64) - 0.5
    shares = warp(_to_shares(picture) @ into, corners).clip(0, 1)
    (left, top), (right, bottom) = shares.min(0), shares.max(0)
    return float(left), float(top), float(right), float(bottom)


def _saturation(query: Keypoints, reference: Keypoints, query_box: Box, reference_box: Box) -> float | None:
    if query.colour is None or reference.colour is None:
        return None
    own, other = (
        _colourfulness(one, box) for one, box in ((query.colour, query_box), (reference.colour, reference_box))
    )
    return other / own if own > 1 and other > 1 else None


def _hue(query: Keypoints, reference: Keypoints, agreement: Agreement) -> float | None:
    """Correlate the colours of both in the middles of blocks that agree or are smooth."""
    if query.colour is None or reference.colour is None:
        return None
    overlap = agreement.overlap
    rows, columns = np.nonzero(agreement.agrees)
    if not len(rows):
        return None
    height, width = overlap.query.shape
    middles = (
        np.column_stack(((columns + 0.5) * width / overlap.grid[1], (rows + 0.5) * height / overlap.grid[0])) - 0.5
    )
    chroma = []
    for picture, colour, into in (
        (query, query.colour, overlap.into_query), (reference, reference.colour, overlap.into_reference)
    ):  # fmt: skip
        shares = warp(_to_shares(picture) @ into, middles)
        x, y = (shares * colour.shape[1::-1] - 0.5).astype(np.float32).T
        smooth = cv2.blur(colour, (3, 3), borderType=cv2.BORDER_REPLICATE)
        seen = cv2.remap(smooth, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        red, green, blue = seen.reshape(-1, 3).astype(np.float32).T
        opposed = np.stack((red - green, (red + green) / 2 - blue))
        chroma.append(opposed - opposed.mean(1, keepdims=True))
    spread = [float(np.sqrt((one**2).sum(0).mean())) if one.size else 0.0 for one in chroma]
    if min(spread) < _CHROMA:
        return None
    own, other = chroma
    alike = float((own * other).sum(0).mean() / (spread[0] * spread[1]))
    narrow, wide = np.linalg.eigvalsh(other @ other.T)
    if narrow < _ONE_HUE * wide:  # of one hue: red for blue is another colour of it, not channels in another order
        return alike
    swapped = np.array([[0.5, -1.0], [-0.75, -0.5]]) @ own
    size = float(np.sqrt((swapped**2).sum(0).mean()))
    again = float((swapped * other).sum(0).mean() / (size * spread[1]))
    return max(alike, again) if again > _SURELY_SWAPPED else alike


def _colourfulness(pixels: Pixels, box: Box) -> float:
    """Return how far the channels lie apart in a part of a picture, 0 to 255."""
    height, width = pixels.shape[:2]
    left, top = int(box[0] * width), int(box[1] * height)
    right, bottom = max(left + 1, round(box[2] * width)), max(top + 1, round(box[3] * height))
    part = pixels[top:bottom, left:right]
    red, green, blue = part[..., 0], part[..., 1], part[..., 2]  # NumPy is slow along an axis of three
    largest, least = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    return float((largest - least).mean()) if part.size else 0.0
