from __future__ import annotations

import numpy as np

from neardup.pipeline.learn.shared.pages import render_pages


def test_pages_are_the_same_for_the_same_seed_and_all_different() -> None:
    pages = render_pages(6, 64, seed=3)
    assert pages.shape == (6, 64, 64, 3)
    assert pages.dtype == np.uint8
    assert np.array_equal(pages, render_pages(6, 64, seed=3))
    assert len({page.tobytes() for page in pages}) == 6


def test_pages_are_mostly_paper_with_something_on_it() -> None:
    for page in render_pages(6, 64):
        light = (page.min(axis=2) > 200).mean()
        assert 0.3 < light < 1.0
        assert page.std() > 3
