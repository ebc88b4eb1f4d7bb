"""Which index to use."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.index.interface import Index

IndexKind = Literal["auto", "exact", "scann"]

_ROWS_ON_GPU = 2_000_000
"""Up to here "auto" compares with everything on a GPU: at 256 dimensions 2 GB, and 1 TFLOP per thousand queries."""
LEAST_ROWS = 256
"""ScaNN needs rows to train on."""


def make_index(
    dimension: int,
    space: str,
    kind: IndexKind = "auto",
    folder: Path | None = None,
    device: str = "auto",
    scann_from: int = 0,
) -> Index:
    """Make an empty index.

    Args:
        dimension: d of the descriptors. space: id of the model and preprocessing that make them.
        kind: "exact" compares with everything. "scann" does so up to `Policy.min_rows` descriptors and has ScaNN
            propose the candidates from there on. "auto" is "scann" where ScaNN is installed (Linux only), from more
            descriptors on where there is a GPU, else "exact".
        folder: where "scann" keeps its working files, for as long as it is open; None takes the system's temporary
            folder. They are no snapshot.
        device: "auto", "cpu" or "cuda", where products are computed.
        scann_from: descriptors from which ScaNN is used, `LEAST_ROWS` or more; 0 is as told above.
    Raises:
        ConfigError: an unknown kind or device, `scann_from` is too small, or ScaNN is wanted and missing.
    """
    if 0 < scann_from < LEAST_ROWS:
        raise ConfigError(
            f"scann_from is {scann_from}: ScaNN needs {LEAST_ROWS} descriptors or more, or 0 for automatic"
        )
    if kind not in ("auto", "exact", "scann"):
        raise ConfigError(f"index kind {kind!r}: expected auto, exact or scann")
    if kind == "exact" or (kind == "auto" and importlib.util.find_spec("scann") is None):
        from neardup.pipeline.index.exact import ExactIndex

        return ExactIndex(dimension, space, device)
    from neardup.pipeline.index.products import pick_device
    from neardup.pipeline.index.scann.index import Policy, ScannIndex

    on_gpu = kind == "auto" and pick_device(device) == "cuda"
    min_rows = scann_from or (_ROWS_ON_GPU if on_gpu else Policy().min_rows)
    return ScannIndex(dimension, space, folder, device, Policy(min_rows=min_rows))
