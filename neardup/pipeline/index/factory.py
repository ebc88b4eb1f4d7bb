"""Which engine proposes: the registry, one entry each, and the index over one. How to add one: `docs/new-index.md`."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Sequence

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.index.canary import DEFAULT
from neardup.pipeline.index.index import Index
from neardup.pipeline.index.proposer import IndexOptions, Proposer
from neardup.pipeline.index.vectors import VectorFile

AUTO = "auto"
_ROWS_ON_GPU = 2_000_000
"""Up to here "auto" compares with everything on a GPU: at 256 dimensions 2 GB, and 1 TFLOP per thousand queries."""


def _exact(vectors: VectorFile, _: str, options: IndexOptions) -> Proposer:
    from neardup.pipeline.index.exact import Exact, make_products, pick_device

    return Exact(vectors, make_products(pick_device(options.device)))


def _scann(vectors: VectorFile, name: str, options: IndexOptions) -> Proposer:
    from neardup.pipeline.index.exact import make_products, pick_device
    from neardup.pipeline.index.scann.proposer import LEAST_ROWS, Policy, ScannProposer

    if 0 < options.scann_from < LEAST_ROWS:
        raise ConfigError(
            f"scann_from is {options.scann_from}: ScaNN needs {LEAST_ROWS} descriptors or more, or 0 for automatic"
        )
    device = pick_device(options.device)
    on_gpu = options.kind == AUTO and device == "cuda"
    min_rows = options.scann_from or (_ROWS_ON_GPU if on_gpu else Policy().min_rows)
    return ScannProposer(vectors, name, options.folder, make_products(device), Policy(min_rows=min_rows))


def _milvus(vectors: VectorFile, name: str, options: IndexOptions) -> Proposer:
    from neardup.pipeline.index.exact import make_products, pick_device
    from neardup.pipeline.index.milvus.names import RowsAsOffsets
    from neardup.pipeline.index.milvus.proposer import MilvusProposer
    from neardup.pipeline.index.milvus.server import Server

    if options.milvus is None or not options.milvus.uri:
        raise ConfigError("index is 'milvus': NEARDUP_MILVUS says where it is, such as http://milvus:19530")
    server = Server(options.milvus, name, vectors.space, vectors.dimension)
    products = make_products(pick_device(options.device))
    names = RowsAsOffsets() if options.names is None else options.names
    return MilvusProposer(vectors, server, products, options.milvus, names, options.owner)


PROPOSERS: dict[str, Callable[[VectorFile, str, IndexOptions], Proposer]] = {
    "exact": _exact,
    "scann": _scann,
    "milvus": _milvus,
}
"""By the value of `NEARDUP_INDEX`: what makes an empty engine over a vector file, under a name (see `make_index`)."""


def drop_indexes(vectors: VectorFile, options: IndexOptions, names: Sequence[str]) -> None:
    """Delete, in a thread, what an engine that several processes share has of indexes that are gone for good.

    `Index.drop` does so, unless its process ends before.

    Args:
        vectors, names: see `make_index`.
    """
    if options.kind == "milvus" and options.milvus is not None and names:
        from neardup.pipeline.index.milvus.server import drop_collections

        arguments = options.milvus, tuple(names), vectors.space, vectors.dimension
        threading.Thread(target=drop_collections, args=arguments, name="index-drop", daemon=True).start()


def make_index(vectors: VectorFile, name: str, options: IndexOptions = IndexOptions()) -> Index:  # noqa: B008 (frozen)
    """Make an empty index.

    "exact" compares with everything. "scann" does so up to `Policy.min_rows` descriptors and has ScaNN propose from
    there on. "auto" is "scann" where ScaNN is installed (Linux only), with a GPU from more descriptors on, and "exact"
    elsewhere. "milvus" is a vector database that several processes share; see `milvus.proposer`.

    Args:
        vectors: the file whose rows are searched.
        name: of what is searched, such as `seen`, `bank-news` or `similar`: in working files and log lines, and what a
            shared engine calls its collection, with the file's space.
    Raises:
        ConfigError: an unknown kind or device, `scann_from` is too small, or an engine is wanted that is not installed.
    """
    kind = options.kind
    if kind == AUTO:
        kind = "exact" if importlib.util.find_spec("scann") is None else "scann"
    if kind not in PROPOSERS:
        raise ConfigError(f"index is {kind!r}: NEARDUP_INDEX is one of {', '.join((AUTO, *PROPOSERS))}")
    return Index(vectors, PROPOSERS[kind](vectors, name, options), DEFAULT if options.owner else None)
