"""How Milvus is reached and searched."""

from __future__ import annotations

from dataclasses import dataclass, field

SEARCHES = {
    "SCANN": ("nprobe", 32, {"nlist": 1024, "with_raw_data": True}),
    "HNSW": ("ef", 160, {"M": 32, "efConstruction": 200}),
    "IVF_SQ8": ("nprobe", 64, {"nlist": 1024}),
    "IVF_FLAT": ("nprobe", 32, {"nlist": 1024}),
    "FLAT": ("", 0, {}),
}
"""For each type of index the parameter of its effort, the default of that, and how it is built."""


@dataclass(frozen=True, slots=True)
class MilvusOptions:
    """See `Settings`, whose settings `milvus…` these are.

    Attributes:
        uri: such as http://milvus:19530; https encrypts.
        token: `user:password` or an API key; "" logs in as nobody.
        ca_file: certificates (PEM) that Milvus's must be signed by; "" takes those of the system.
        prefix: first part of the collections' names.
        index: a key of `SEARCHES`. effort: of a search, in that index's own parameter; 0 is the default.
        shards: of a collection when it is made.
        min_rows: below, everything is compared here and Milvus is not asked; also as many as are compared here while
            Milvus fails.
    """

    uri: str
    token: str = field(default="", repr=False)
    ca_file: str = ""
    prefix: str = "neardup"
    index: str = "SCANN"
    effort: int = 0
    shards: int = 2
    min_rows: int = 100_000
