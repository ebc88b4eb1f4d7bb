"""Proofs of real pictures, and what may go for what; the rest is in `test_choose.py`."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from neardup.pipeline.cleanup.containment import obstacle
from neardup.pipeline.cleanup.plan import Why
from neardup.pipeline.prove.keypoints import find_keypoints
from neardup.pipeline.prove.proof import prove
from neardup.pipeline.prove.relation import judge, summarize
from neardup.pipeline.report.result import Match
from neardup.pipeline.where import Where, WhereKind
from tests.pipeline.report.build import a_file, a_match
from tests.pipeline.scan.build import a_picture

SIDE = 400
SEEDS = range(4)


def original(seed: int) -> Image.Image:
    """Return squares of two sizes, softened; it has corners and detail everywhere."""
    fine = np.random.default_rng(seed).integers(0, 60, (40, 40), dtype=np.uint8)
    detail = Image.fromarray(fine).resize((SIDE, SIDE), Image.Resampling.NEAREST).convert("RGB")
    coarse = np.asarray(a_picture(seed, SIDE)) // 2 + np.asarray(detail)
    return Image.fromarray(coarse.astype(np.uint8)).filter(ImageFilter.GaussianBlur(1))


def proved(copy: Image.Image, reference: Image.Image) -> Match:
    proof = prove(*(find_keypoints(np.asarray(one)) for one in (copy, reference)))
    where = Where(kind=WhereKind.WHOLE, transform=None if proof is None else proof.transform)
    return a_match(a_file("copy.jpg"), where=where, proof=summarize(proof, judge(proof)))


def compressed(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def cropped(picture: Image.Image, share: float) -> Image.Image:
    cut = round(share * SIDE)
    return picture.crop((cut, cut, SIDE - cut, SIDE - cut))


def captioned(picture: Image.Image) -> Image.Image:
    picture = picture.copy()
    ImageDraw.Draw(picture).text((20, 320), "HELLO", "white", font_size=64, stroke_width=6, stroke_fill="black")
    return picture


@pytest.mark.parametrize("seed", SEEDS)
def test_a_copy_with_nothing_of_its_own_may_go_either_way(seed: int) -> None:
    picture = original(seed)
    edits = [
        *(picture.resize((side, side), Image.Resampling.LANCZOS) for side in (100, 150, 333, 600)),
        *(compressed(picture, quality) for quality in (20, 50, 90)),
        compressed(picture.resize((200, 200)), 70),
        Image.eval(picture, lambda level: min(255, round(1.1 * level))),
    ]
    for number, edit in enumerate(edits):
        match = proved(edit, picture)
        assert obstacle(match, None) is obstacle(None, match) is None, number


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("share", [0.01, 0.03, 0.1])
def test_a_crop_may_go_for_the_whole_and_never_the_whole_for_a_crop(seed: int, share: float) -> None:
    picture = original(seed)
    crop, whole = proved(cropped(picture, share), picture), proved(picture, cropped(picture, share))
    assert (obstacle(crop, None), obstacle(None, crop)) == (None, Why.SHOWS_MORE)
    assert (obstacle(whole, None), obstacle(None, whole)) == (Why.SHOWS_MORE, None)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_has_a_caption_stays(seed: int) -> None:
    picture = original(seed)
    assert obstacle(proved(captioned(picture), picture), None) is Why.SHOWS_MORE
    assert obstacle(None, proved(picture, captioned(picture))) is Why.SHOWS_MORE


@pytest.mark.parametrize("seed", SEEDS)
def test_a_picture_stays_for_what_a_sticker_on_the_other_hides(seed: int) -> None:
    picture = original(seed)
    sticker = picture.copy()
    ImageDraw.Draw(sticker).ellipse((220, 60, 340, 180), fill="red", outline="white", width=6)
    assert obstacle(None, proved(sticker, picture)) is Why.SHOWS_MORE
    assert obstacle(proved(picture, sticker), None) is Why.SHOWS_MORE
