from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from neardup.pipeline.media.tile import fit
from neardup.pipeline.prove.documents import Load, prove_closely
from neardup.pipeline.prove.finding import Finding, Ground
from neardup.pipeline.prove.keypoints import DOCUMENT_SIDE, SIDE, Keypoints, find_keypoints
from neardup.pipeline.prove.relation import Judgement
from neardup.pipeline.types import Pixels
from tests.pipeline.prove.conftest import photograph, receipt, recode, sticker


def loader(pixels: Pixels, asked: list[int], largest: int = DOCUMENT_SIDE) -> Load:
    def load(side: int) -> Keypoints | None:
        asked.append(side)
        return find_keypoints(pixels, side) if side <= largest else None

    return load


def test_a_document_is_proved_again_from_its_original() -> None:
    asked: list[int] = []
    proof, judged = prove_closely(loader(recode(receipt(1), 60), asked), loader(receipt(1), asked))
    assert judged == Judgement(Finding.COPY, Ground.AGREES)
    assert proof is not None
    assert proof.legible
    assert asked == [SIDE, SIDE, DOCUMENT_SIDE, DOCUMENT_SIDE]


def test_another_receipt_is_a_variant_from_its_original() -> None:
    assert prove_closely(loader(receipt(1), []), loader(receipt(2), []))[1].finding is not Finding.COPY


def test_a_document_without_its_original_stays_what_it_was_at_the_smaller_side() -> None:
    asked: list[int] = []
    found, judged = prove_closely(loader(recode(receipt(1), 60), asked), loader(receipt(1), asked, SIDE))
    assert judged.ground is Ground.ILLEGIBLE
    assert found is not None
    assert not found.legible
    assert prove_closely(loader(receipt(1), [], 0), loader(receipt(1), [])) == (
        None,
        (Finding.UNPROVED, Ground.NO_TRANSFORM),
    )


def test_other_pictures_are_loaded_once() -> None:
    asked: list[int] = []
    photo, small = photograph("coffee"), Image.fromarray(receipt(1)).resize((160, 320), Image.Resampling.LANCZOS)
    assert prove_closely(loader(recode(photo, 50), asked), loader(photo, asked))[1].finding is Finding.COPY
    assert prove_closely(loader(photo, asked), loader(photograph("chelsea"), asked))[0] is None
    prove_closely(loader(recode(np.asarray(small), 80), asked), loader(np.asarray(small), asked))  # nothing is larger
    assert set(asked) == {SIDE}


def meme(name: str, side: int, words: str, share: float = 0.06) -> Pixels:
    """Return a photograph of this longest side with a caption in white and black, so much of the side high."""
    picture = Image.fromarray(photograph(name))
    scale, size = side / max(picture.size), side * share
    large = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
    ImageDraw.Draw(large).text(
        (large.width / 2, side * 0.4), words, "white", ImageFont.load_default(size), anchor="ma",
        stroke_width=max(1, round(size / 12)), stroke_fill="black",
    )  # fmt: skip
    return np.asarray(large)


def packed(pixels: Pixels) -> Load:
    """Load a picture as a pack stores it; a larger one is not at hand."""
    small = recode(fit(pixels, SIDE), 55)
    return lambda side: find_keypoints(small, SIDE, max(small.shape) / max(pixels.shape)) if side == SIDE else None


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
@pytest.mark.parametrize("side", [480, 1280])
@pytest.mark.parametrize("others", [("MOM", "THEY SAID IT WOULD BE FUN"), ("ONE DOES NOT SIMPLY WALK", "ME")])
def test_captions_that_small_pictures_cannot_tell_apart_are_unproved(
    name: str, side: int, others: tuple[str, str]
) -> None:
    one, other = (meme(name, side, words) for words in others)
    assert prove_closely(packed(one), packed(other))[1] == Judgement(Finding.UNPROVED, Ground.ILLEGIBLE)
    original = meme(name, side, "")
    copies = {words: prove_closely(packed(meme(name, side, words)), packed(original))[1] for words in others}
    assert {judged.finding for judged in copies.values()} == {Finding.COPY}
    assert prove_closely(packed(recode(one, 60)), packed(one))[1].finding is Finding.COPY


def test_a_sticker_is_an_edit_at_small_sizes_too() -> None:
    for name in ("coffee", "chelsea"):
        photo = meme(name, 1280, "")
        assert prove_closely(packed(sticker(photo)), packed(photo))[1].finding is Finding.COPY
