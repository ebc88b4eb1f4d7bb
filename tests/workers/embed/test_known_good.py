from __future__ import annotations

import numpy as np
import pytest

from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.types import Embedded, Pixels
from neardup.workers.embed.known_good import prove_with
from tests.pipeline.scan.build import StandIn


class Changing(StandIn):
    """Works until it is told not to."""

    wrong = ""

    def embed(self, tiles: Pixels) -> Embedded:
        if self.wrong == "fails":
            raise RuntimeError("the device is gone")
        embedded = super().embed(tiles)
        if self.wrong == "other":
            return Embedded(np.roll(embedded.vectors, 1, axis=1), embedded.hashes, embedded.detail)
        return embedded


def test_a_known_good_picture_proves_a_worker_that_works() -> None:
    assert prove_with(StandIn())() == ""


@pytest.mark.parametrize(
    ("wrong", "why"), [("fails", "RuntimeError: the device is gone"), ("other", "its descriptor is another, cosine")]
)
def test_a_network_that_fails_or_says_something_else_is_found_and_may_recover(wrong: str, why: str) -> None:
    embedder = Changing()
    prove = prove_with(embedder)
    embedder.wrong = wrong
    assert why in prove()
    embedder.wrong = ""
    assert prove() == ""


def test_decoding_that_fails_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    prove = prove_with(StandIn())
    monkeypatch.setattr("neardup.workers.embed.known_good.open_media", lambda *_, **__: 1 / 0)
    assert prove() == "ZeroDivisionError: division by zero"


def test_a_worker_that_cannot_embed_it_does_not_start() -> None:
    embedder = Changing()
    embedder.wrong = "fails"
    with pytest.raises(RuntimeError):
        prove_with(embedder)


def test_the_check_pictures_of_the_checkpoint_are_described_again() -> None:
    prove = prove_with(StandIn(), load_checkpoint("default"))
    assert "check pictures" in prove()  # which a stand-in describes otherwise
