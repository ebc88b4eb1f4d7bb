"""What the package ships can be used as the documents say."""

from __future__ import annotations

from importlib import resources

from neardup.pipeline.embed.checkpoint import load_checkpoint, packaged_names
from neardup.pipeline.match.apply.make import read_calibration
from neardup.pipeline.match.query.verify import read_verifier

MOST_BYTES = 20_000_000


def test_default_is_calibrated_and_faces_has_a_threshold() -> None:
    assert read_verifier(load_checkpoint("default")) is None
    assert 0 < read_calibration(load_checkpoint("default")).prior < 1
    verifier = read_verifier(load_checkpoint("faces"))
    assert verifier is not None
    assert verifier.false_accept <= 0.01
    assert verifier.equal_error < 0.1


def test_all_checkpoints_together_are_small() -> None:
    folder = resources.files("neardup") / "models"
    sizes = [len((folder / f"{name}.safetensors").read_bytes()) for name in packaged_names()]
    assert sum(sizes) <= MOST_BYTES
