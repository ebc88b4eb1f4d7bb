"""A process that describes with the stand-in for a network, see `stand_in`."""

from __future__ import annotations

from neardup.pipeline.describe import child
from neardup.pipeline.embed import embedder
from tests.integration.stand_in import Slow
from tests.pipeline.scan.build import a_checkpoint


def preload() -> None:
    child.preload()


def main(connection: int, signs: int, *network: int) -> None:
    embedder.make_embedder = lambda *_arguments, **_options: Slow(a_checkpoint().space)  # type: ignore[assignment]
    child.main(connection, signs, *network)
