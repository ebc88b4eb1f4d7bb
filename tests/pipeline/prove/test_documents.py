from __future__ import annotations

import numpy as np
from PIL import Image

from neardup.pipeline.prove.documents import Load, prove_closely
from neardup.pipeline.prove.finding import Finding, Ground
from neardup.pipeline.prove.keypoints import DOCUMENT_SIDE, SIDE, Keypoints, find_keypoints
from neardup.pipeline.prove.relation import Judgement
from neardup.pipeline.types import Pixels
from tests.pipeline.prove.conftest import photograph, receipt, recode


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
