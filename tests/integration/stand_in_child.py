"""A process that describes with the stand-in for a network, see `stand_in`."""

from __future__ import annotations

from neardup.pipeline.describe import child
from neardup.pipeline.embed import embedder
from tests.integration.stand_in import Slow


def preload() -> None:
    child.preload()


def main(connection: int, signs: int, *network: int) -> None:
    embedder.make_embedder = lambda checkpoint, *_arguments, **_options: Slow(checkpoint.space)  # type: ignore[assignment]
    child.main(connection, signs, *network)
