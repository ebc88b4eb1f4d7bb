"""Small states over hand-made descriptors.

Evidence is the cosine here, unless a test says otherwise: cohort and hash count for nothing. A pair is unsure
from a cosine of about 0.78 (39 degrees) and a duplicate from about 0.86 (30 degrees); few references more or less
hardly move that, because the curves are steep.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from neardup.pipeline.index import IndexOptions
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.log.records import (
    Described,
    Entry,
    Envelope,
    Event,
    Record,
    Verdict,
    pack_hashes,
    pack_vectors,
)
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.data.similars import Similars
from neardup.pipeline.match.decide.calibration import Calibration
from neardup.pipeline.match.decide.evidence import Evidence
from neardup.pipeline.match.decide.segments import Track
from neardup.pipeline.match.live.videos import LiveRules
from neardup.pipeline.prove.finding import Finding, Ground, ProofSummary, Proved
from neardup.pipeline.prove.prover import Prover
from neardup.pipeline.types import Descriptors, Hashes, Kind

D = 64
SHIFTED = (1.0, 0.0, 0.1, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
AGREES = Proved(ProofSummary(finding=Finding.COPY, ground=Ground.AGREES), SHIFTED)
OTHER_WRITING = Proved(ProofSummary(finding=Finding.VARIANT, ground=Ground.OTHER_WRITING), SHIFTED)
NOTHING_FITS = Proved(ProofSummary(finding=Finding.UNPROVED, ground=Ground.NO_TRANSFORM))
SPEAKING, BLANK = 50, 0
Floats = npt.NDArray[np.float64]


def a_calibration(
    evidence: Sequence[float] = (0.5, 0.827, 1.0),
    log_false_matches: Sequence[float] = (0.0, 0.0, -51.9),
    recall: Sequence[float] = (1.0, 0.8, 0.5),
    prior: float = 0.1,
    slope: float = 300.0,
    intercept: float = -234.0,
    hash_weight: float = 0.0,
    cohort_weight: float = 0.0,
) -> Calibration:
    """Return curves by which a duplicate begins at 0.85 and the unsure at 0.78 with one reference."""
    return Calibration(
        version="hand-made",
        source="a test",
        prior=prior,
        hash_weight=hash_weight,
        cohort_weight=cohort_weight,
        evidence=tuple(evidence),
        log_false_matches=(tuple(log_false_matches),),
        recall=(tuple(recall),),
        slope=slope,
        intercept=intercept,
        queries=1,
        references=1,
    )


def a_state(
    calibration: Calibration | None = None,
    background: Descriptors | None = None,
    stars: bool = True,
    dimension: int = D,
    live: LiveRules | None = None,
    similars: Similars | None = None,
    prover: Prover | None = None,
    asks: bool = False,
    max_pending: int = 100_000,
    vectors: VectorFile | None = None,
) -> State:
    calibration = calibration or a_calibration()
    if background is None:
        background = np.zeros((0, dimension), dtype=np.float32)
    return State(
        IndexOptions("exact", device="cpu"),
        VectorFile(None, dimension, "s") if vectors is None else vectors,
        Evidence(background, *calibration.weights),
        calibration,
        stars=stars,
        live=live or LiveRules(),
        similars=similars,
        prover=prover,
        asks=asks,
        max_pending=max_pending,
    )


def at(*degrees: float, plane: int = 0) -> Descriptors:
    """Return unit vectors at these angles in one of the D / 2 planes that are at right angles to each other."""
    vectors = np.zeros((len(degrees), D), dtype=np.float32)
    vectors[:, 2 * plane] = np.cos(np.radians(degrees))
    vectors[:, 2 * plane + 1] = np.sin(np.radians(degrees))
    return vectors


def no_hashes(count: int) -> Hashes:
    return np.zeros((count, 32), dtype=np.uint8)


def described(
    item_id: str,
    vectors: Descriptors,
    *,
    kind: Kind = Kind.IMAGE,
    pts: Iterable[float] | None = None,
    seconds: float = 0.0,
    sha256: bytes | None = None,
    pixels: bytes = b"",
    detail: int | Sequence[int] = SPEAKING,
    hashes: Hashes | None = None,
    source_offset: int = -1,
    part: int = 0,
    last: bool = True,
    boxes: bytes = b"",
) -> Described:
    """Return a record; its content hash follows from its id unless it is given."""
    n = len(vectors)
    return Described(
        id=item_id,
        part=part,
        last=last,
        kind=kind,
        sha256=f"content of {item_id}".encode() if sha256 is None else sha256,
        pixels_digest=pixels,
        source_offset=source_offset,
        seconds=seconds,
        dimension=vectors.shape[1],
        pts=tuple(float(t) for t in (np.zeros(n) if pts is None else pts)),
        vectors=pack_vectors(vectors),
        hashes=pack_hashes(no_hashes(n) if hashes is None else hashes),
        detail=bytes([detail] * n if isinstance(detail, int) else detail),
        boxes=boxes,
    )


def picture(item_id: str, degrees: float, plane: int = 0, **how: object) -> Described:
    return described(item_id, at(degrees, plane=plane), **how)  # type: ignore[arg-type]


class Film:
    """Something that moves: a descriptor for each moment, alike (0.6) to those a second away, then less and less.

    Random Fourier features of a Gaussian kernel in a random basis; films of different seeds have nothing in common.
    """

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self._speed = random.normal(size=D // 2)
        self._phase = random.uniform(0, 2 * np.pi, size=D // 2)
        self._basis = np.linalg.qr(random.normal(size=(D, D)))[0]

    def at(self, moments: npt.ArrayLike) -> Descriptors:
        turn = np.asarray(moments, dtype=np.float64)[:, None] * self._speed + self._phase
        waves = np.concatenate([np.cos(turn), np.sin(turn)], axis=1) / np.sqrt(D / 2)
        return np.asarray(waves @ self._basis, dtype=np.float32)


def times(seconds: float, interval: float = 0.5, phase: float = 0.0) -> Floats:
    """Return when a video of this length is sampled."""
    return np.arange(phase, seconds + 1e-9, interval)


def edited(vectors: Descriptors, seed: int = 0, cosine: float = 0.95) -> Descriptors:
    """Return each vector turned by the same angle, each in a direction of its own."""
    noise = np.random.default_rng(seed).normal(size=vectors.shape)
    noise -= np.einsum("nd,nd->n", noise, vectors)[:, None] * vectors
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return np.asarray(cosine * vectors + np.sqrt(1 - cosine**2) * noise, dtype=np.float32)


def video(
    item_id: str, vectors: Descriptors, pts: Iterable[float] | None = None, part_size: int = 256, **how: object
) -> list[Described]:
    """Return the records of a video, sampled twice a second unless told otherwise."""
    moments = list(np.arange(len(vectors)) / 2.0 if pts is None else pts)
    details = how.pop("detail", SPEAKING)
    detail = [details] * len(vectors) if isinstance(details, int) else list(details)  # type: ignore[call-overload]
    seconds = float(how.pop("seconds", moments[-1]))  # type: ignore[arg-type]
    return [
        described(
            item_id,
            vectors[start : start + part_size],
            kind=Kind.VIDEO,
            pts=moments[start : start + part_size],
            detail=detail[start : start + part_size],
            seconds=seconds,
            part=part,
            last=start + part_size >= len(vectors),
            **how,  # type: ignore[arg-type]
        )
        for part, start in enumerate(range(0, len(vectors), part_size))
    ]


def track(
    vectors: Descriptors, pts: Iterable[float] | None = None, blank: Sequence[int] = (), shared: int = 0
) -> Track:
    """Return the frames of a video; `blank` are places of frames that say nothing."""
    moments = np.asarray(list(np.arange(len(vectors)) / 2.0 if pts is None else pts), dtype=np.float64)
    speaks = np.ones(len(vectors), dtype=np.bool_)
    speaks[list(blank)] = False
    return Track(
        pts=moments,
        vectors=vectors,
        hashes=no_hashes(len(vectors)),
        speaks=speaks,
        shared=np.full(len(vectors), shared, dtype=np.int64),
        seconds=float(moments[-1]),
    )


def live_frame(item_id: str, pts: float, vector: Descriptors, **how: object) -> Described:
    """Return the record of one frame, (1, d), of a live video."""
    record = described(item_id, vector, kind=Kind.VIDEO, pts=[pts], seconds=pts, last=False, **how)  # type: ignore[arg-type]
    return msgspec.structs.replace(record, live=True, sha256=f"{item_id} at {pts}".encode())


def live_frames(item_id: str, vectors: Descriptors, pts: Iterable[float], **how: object) -> list[Described]:
    """Return the records of frames of a live video."""
    return [live_frame(item_id, float(t), vectors[n : n + 1], **how) for n, t in enumerate(pts)]


def live_end(item_id: str) -> Described:
    """Return the record that ends a live video."""
    return Described(id=item_id, kind=Kind.VIDEO, live=True, last=True)


class Log:
    """Numbers records in order and applies them to a state; `now` is the log's time in seconds."""

    def __init__(self, state: State | None = None) -> None:
        self.state = state or a_state()
        self.now = 0.0
        self._offset = 0

    def add(self, *records: Record | Sequence[Record]) -> list[Envelope]:
        """Apply records as one batch."""
        entries = []
        for one in records:
            for record in [one] if isinstance(one, msgspec.Struct) else one:
                entries.append(Entry(self._offset, record, round(1000 * self.now)))
                self._offset += 1
        return self.state.apply(entries)

    def events(self, *records: Record | Sequence[Record]) -> list[Event]:
        """Apply records one by one and return all that happened."""
        flat = [r for one in records for r in ([one] if isinstance(one, msgspec.Struct) else one)]
        return [event for record in flat for envelope in self.add(record) for event in envelope.events]

    def verdict(self, *records: Record | Sequence[Record]) -> Verdict:
        """Apply the records of one item and return what was said of it."""
        (verdict,) = (event for event in self.events(*records) if isinstance(event, Verdict))
        return verdict

    def head_of(self, item_id: str) -> str:
        """Return the id of the head of the star that an item stands in."""
        item = self.state.items.named(item_id)
        assert item is not None
        head = self.state.items.get(item.head)
        assert head is not None
        return head.id
