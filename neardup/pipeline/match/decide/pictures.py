"""The pictures that records bring, and which of them say anything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from neardup.pipeline.log.records import Described, unpack
from neardup.pipeline.match.decide.evidence import Evidence, Pictures

MIN_DETAIL = 8
"""Below this a picture says nothing (`Embedded.detail`): blank pages, black frames."""


def pictures_of(records: Sequence[Described], evidence: Evidence) -> tuple[Pictures, npt.NDArray[np.bool_]]:
    """Return the pictures of at least one record, one record's after another's, and which of them speak, (n,)."""
    together = unpack(records)
    background = evidence.background(together.vectors)
    return Pictures(together.vectors, together.hashes, background), together.detail >= MIN_DETAIL
