from __future__ import annotations

import numpy as np

from neardup.pipeline.prove.repetition import SIDE, self_likeness


def test_stripes_and_lattices_are_like_themselves_and_noise_is_not() -> None:
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    assert self_likeness(np.sin(x * 0.8).astype(np.float32)) > 0.95
    assert self_likeness((np.sin(x * 0.8) * np.sin(y * 0.6)).astype(np.float32)) > 0.9
    assert self_likeness(np.random.default_rng(0).normal(0, 1, (SIDE, SIDE)).astype(np.float32)) < 0.3


def test_a_blank_picture_is_like_itself() -> None:
    assert self_likeness(np.zeros((40, 64), np.float32)) == 1.0
