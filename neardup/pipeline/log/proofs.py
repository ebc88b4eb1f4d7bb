"""What a decision waits for, and what came of it: proofs of pairs, asked for in an envelope and answered in the log.

An item with candidates is decided in two steps. The envelope of its description holds `ProofPending`: the pairs to be
proved, frozen there. Prove workers answer with `ItemProved`, a record of the log like any other; the verdict stands in
the envelope of the last answer that was missing. What nobody answers in time, the leader ends with `ProofExpired`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from neardup.pipeline.prove.finding import BoxPair, Proved


class Candidate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A reference that an item may match.

    Attributes:
        bank: "seen" or a curated one. reference: its id there.
        offset: in the log, of the record that completed this version of it.
        spare: it waits itself for a proof with another candidate of the item, so it is proved only if no candidate of
            `seen` that is not spare is a copy.
    """

    bank: str
    reference: str
    offset: int
    spare: bool = False


class Ask(Candidate, frozen=True, kw_only=True, omit_defaults=True):
    """A pair to be proved: an item and one of its candidates.

    Attributes:
        sha256: of the reference's content, for its proof pack.
        moments: seconds of frames, of the item and of the reference, that may show the same; empty for two images.
        boxes: parts of both that may show the same.
    """

    sha256: bytes = b""
    moments: tuple[tuple[float, float], ...] = ()
    boxes: tuple[BoxPair, ...] = ()


class Asked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All pairs of one item that wait for a proof: the work of a prove worker.

    Attributes:
        id: of the item. offset: in the log, of the record that completed this version of it. sha256: of its content.
        asks: at least one, the likeliest first. later: other work goes first, as of items of an archive.
        produced_ms: when the broker took the item into `media`, in milliseconds since 1970; 0 without a broker.
    """

    id: str
    offset: int
    sha256: bytes = b""
    asks: tuple[Ask, ...] = ()
    later: bool = False
    produced_ms: int = 0


class PairProved(Candidate, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to one ask.

    Attributes:
        proved: None where a picture of either is not to be had, so that evidence decides alone, or of a spare one.
    """

    proved: Proved | None = None


class ItemProved(msgspec.Struct, frozen=True, kw_only=True, tag="proved", omit_defaults=True):
    """Answers to asks of one item. Late, repeated and unknown ones have no effect.

    Attributes:
        id, offset, produced_ms: of the item, as `Asked` has them.
    """

    id: str
    offset: int
    pairs: tuple[PairProved, ...] = ()
    produced_ms: int = 0


class ProofExpired(msgspec.Struct, frozen=True, kw_only=True, tag="proof-expired", omit_defaults=True):
    """Nobody answered in time: the item is decided without, and a later answer may still change that.

    Attributes:
        id, offset: of the item, as `Asked` has them.
        reference: only this one was asked about, when a bank got it; None: all that the item asked when it came.
    """

    id: str
    offset: int
    reference: Candidate | None = None


class ProofPending(msgspec.Struct, frozen=True, kw_only=True, tag="pending", omit_defaults=True):
    """An item has candidates, and its verdict follows once they are proved.

    Attributes:
        asked: what is to be proved.
        beside: candidates that the verdict will be on as well, without a proof.
    """

    asked: Asked
    beside: tuple[Candidate, ...] = ()

    @property
    def id(self) -> str:
        """Id of the item."""
        return self.asked.id


def answer(asked: Asked, proofs: Sequence[Proved | None]) -> ItemProved:
    """Return the record that answers all asks of an item, given a proof for each."""
    pairs = tuple(
        PairProved(bank=ask.bank, reference=ask.reference, offset=ask.offset, proved=proved)
        for ask, proved in zip(asked.asks, proofs, strict=True)
    )
    return ItemProved(id=asked.id, offset=asked.offset, pairs=pairs, produced_ms=asked.produced_ms)
