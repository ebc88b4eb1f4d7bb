"""Put a state together from a checkpoint."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from neardup.pipeline.embed.checkpoint import Checkpoint
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.decide.calibration import Calibration
from neardup.pipeline.match.decide.calibrations import read_calibrations
from neardup.pipeline.match.decide.evidence import Evidence
from neardup.pipeline.match.live.videos import LiveRules

if TYPE_CHECKING:
    from neardup.pipeline.index.milvus.options import MilvusOptions
    from neardup.pipeline.prove.prover import Prover


def read_calibration(checkpoint: Checkpoint, path: str = "") -> Calibration:
    """Return the calibration that holds for the stream; see `calibrations.read_calibrations`."""
    return read_calibrations(checkpoint, path).calibration


def make_state(
    checkpoint: Checkpoint,
    calibration: Calibration,
    precision: float,
    *,
    stars: bool = True,
    live: LiveRules = LiveRules(),  # noqa: B008 (frozen)
    kind: str = "auto",
    folder: Path | None = None,
    scann_from: int = 0,
    owner: bool = True,
    milvus: MilvusOptions | None = None,
    similar: Literal["none", "kept", "searched"] = "none",
    prover: Prover | None = None,
    asks: bool = False,
    max_pending: int = 100_000,
) -> State:
    """Return an empty state; `folder` holds its vectors and index, None keeps them in memory.

    Args:
        kind, scann_from, owner, milvus: see `index.proposer.IndexOptions`. The similar head's vectors are searched by
            each process itself, whatever the kind.
        prover, asks, max_pending: see `State`.
        similar: whether vectors of the similar head, where there is one, are kept, and whether they are searched for.
    """
    from neardup.pipeline.index import IndexOptions, make_index
    from neardup.pipeline.index.vectors import VectorFile
    from neardup.pipeline.match.data.similars import SIMILAR, Similars, open_vectors

    options = IndexOptions(kind, folder, scann_from=scann_from, owner=owner, milvus=milvus)
    private = IndexOptions("auto" if kind == "milvus" else kind, folder, scann_from=scann_from, owner=owner)
    evidence = Evidence(checkpoint.background, *calibration.weights)
    path = None if folder is None else folder / "vectors"
    with ExitStack() as undo:  # what is open when an engine cannot be made
        vectors = undo.enter_context(closing(VectorFile(path, checkpoint.architecture.dimension, checkpoint.space)))
        similars = None
        if checkpoint.similar is not None and similar != "none":
            contents = open_vectors(folder, checkpoint.similar.dimension, checkpoint.similar_space)
            undo.callback(contents.close)
            lookup = make_index(contents, SIMILAR, private) if similar == "searched" else None
            similars = Similars(contents, lookup)
        state = State(
            options,
            vectors,
            evidence,
            calibration,
            precision,
            stars=stars,
            live=live,
            similars=similars,
            prover=prover,
            asks=asks,
            max_pending=max_pending,
        )
        undo.pop_all()
        return state
