"""What comes into an index is checked here, before anything is changed."""

from __future__ import annotations

import numpy as np

from neardup.pipeline.errors import ShapeError, UsageError
from neardup.pipeline.types import Descriptors, Ids

LENGTH_TOLERANCE = 1e-3
"""How far a row's length may be from 1: twice what rounding to float16 does to it."""


def check_vectors(vectors: Descriptors, dimension: int) -> None:
    """Raise ShapeError unless these are float32 (n, dimension), finite, rows of unit length."""
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32:
        raise ShapeError(f"descriptors are {_kind(vectors)}, the index takes float32 arrays")
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise ShapeError(f"descriptors have shape {vectors.shape}, the index takes (n, {dimension})")
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    wrong = ~(np.abs(lengths - 1.0) <= LENGTH_TOLERANCE)  # negated, so that NaN is wrong
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ShapeError(f"descriptor {row} has length {lengths[row]}, the index takes unit vectors")


def check_ids(ids: Ids, count: int | None = None) -> None:
    """Raise unless these are int64 (n,), each 0 or more and there once, and n is `count` where one is given.

    Raises:
        ShapeError: shape or dtype.
        UsageError: a negative id, or one that is there twice.
    """
    if not isinstance(ids, np.ndarray) or ids.dtype != np.int64:
        raise ShapeError(f"ids are {_kind(ids)}, the index takes int64 arrays")
    if ids.ndim != 1 or (count is not None and len(ids) != count):
        raise ShapeError(f"ids have shape {ids.shape}, the index takes ({'n' if count is None else count},)")
    if len(ids) and ids.min() < 0:
        raise UsageError(f"id {ids.min()} is negative")
    in_order = np.sort(ids)
    twice = in_order[1:][in_order[1:] == in_order[:-1]]
    if len(twice):
        raise UsageError(f"ids given twice: {some(twice)}")


def check_k(k: int) -> None:
    """Raise UsageError unless k is 1 or more."""
    if k < 1:
        raise UsageError(f"k is {k}, the least is 1")


def some(ids: Ids) -> str:
    """Return the first few ids for a message."""
    return ", ".join(map(str, ids[:5].tolist())) + (f", … ({len(ids)} in all)" if len(ids) > 5 else "")


def _kind(value: object) -> str:
    return f"a {value.dtype} array" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
