"""An item that is held, as the record that it came by: to be compared with what is not held."""

from __future__ import annotations

import numpy as np

from neardup.pipeline.errors import UsageError
from neardup.pipeline.log.records import Described, pack_hashes, pack_vectors
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.decide.evidence import MIN_DETAIL
from neardup.pipeline.types import Doubt, Extras


def described_again(state: State, item_id: str) -> Described:
    """Return a held item as one record.

    Of its detail only whether there is enough of it is known, of its extras sound and ground; width and height are not.

    Raises:
        UsageError: it is not held.
    """
    item = state.items.named(item_id)
    if item is None:
        raise UsageError(f"no item {item_id!r}")
    rows = state.rows_of(item)
    vectors = state.seen.tables.vectors.read(rows)
    detail = np.where(state.rows.speaks[rows], MIN_DETAIL, 0).astype(np.uint8)
    return Described(
        id=item.id,
        kind=item.kind,
        sha256=item.sha256,
        pixels_digest=item.pixels_digest,
        seconds=item.seconds,
        dimension=vectors.shape[1],
        pts=tuple(state.rows.pts[rows].tolist()),
        vectors=pack_vectors(vectors),
        hashes=pack_hashes(state.rows.hash[rows]),
        detail=detail.tobytes(),
        boxes=state.rows.box[rows].astype("<u2").tobytes(),
        extras=Extras(
            sound=item.sound,
            dark_ground=item.doubt is Doubt.DARK_GROUND,
            stretched=item.doubt is Doubt.STRETCHED,
        ),
    )
