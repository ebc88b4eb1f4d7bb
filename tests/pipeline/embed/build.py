"""Checkpoints to test with."""

from __future__ import annotations

from dataclasses import replace

from neardup.pipeline.embed.checkpoint import Checkpoint, load_checkpoint


def in_float() -> Checkpoint:
    """Return `default` as it would be if it did not round to integers, without its similar head."""
    shipped = load_checkpoint("default")
    weights = {name: array for name, array in shipped.weights.items() if not name.endswith("quantise.range")}
    architecture = replace(shipped.architecture, precision="float")
    return replace(shipped, architecture=architecture, weights=weights, similar=None)
