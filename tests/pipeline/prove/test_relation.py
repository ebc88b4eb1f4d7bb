from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from neardup.pipeline.learn.edits import Draw, chain
from neardup.pipeline.learn.variants import render
from neardup.pipeline.prove.finding import Finding, Ground
from neardup.pipeline.prove.keypoints import DOCUMENT_SIDE, SIDE, find_keypoints
from neardup.pipeline.prove.proof import prove, prove_moments
from neardup.pipeline.prove.relation import Judgement, judge, judge_moments
from neardup.pipeline.types import Pixels
from tests.pipeline.prove.conftest import burst, caption, inside, photograph, photographed, receipt, recode, sticker

PHOTOS = ("astronaut", "coffee", "chelsea")


def judged(query: Pixels, reference: Pixels, side: int = SIDE) -> Judgement:
    return judge(prove(find_keypoints(query, side), find_keypoints(reference, side)))


def edits(photo: Pixels) -> dict[str, Pixels]:
    height, width = photo.shape[:2]
    picture = Image.fromarray(photo)
    return {
        "crop": photo[height // 5 : -height // 8, width // 6 : -width // 7],
        "rotate": np.asarray(picture.rotate(17, Image.Resampling.BICUBIC, expand=True, fillcolor="white")),
        "quarter": np.ascontiguousarray(np.rot90(photo)),
        "mirror": np.ascontiguousarray(photo[:, ::-1]),
        "caption": caption(photo, "river meeting"),
        "sticker": sticker(photo),
        "inside": inside(photo, photograph("rocket")),
        "jpeg": recode(photo, 20),
        "small": np.asarray(picture.resize((width // 3, height // 3), Image.Resampling.LANCZOS)),
        "gamma": (255 * (photo / 255) ** 0.55).astype(np.uint8),
        "grey": np.repeat(photo.mean(2, keepdims=True), 3, axis=2).astype(np.uint8),
        "border": cv2.copyMakeBorder(photo, 60, 90, 40, 40, cv2.BORDER_CONSTANT, value=(255, 255, 255)),
    }


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("edit", list(edits(np.zeros((64, 64, 3), np.uint8))))
def test_an_edited_picture_is_a_copy(name: str, edit: str) -> None:
    photo = photograph(name)
    assert judged(edits(photo)[edit], photo) == Judgement(Finding.COPY, Ground.AGREES)


@pytest.mark.parametrize("name", PHOTOS)
def test_a_picture_with_another_caption_is_a_variant(name: str) -> None:
    photo = photograph(name)
    found = judged(caption(photo, "river meeting"), caption(photo, "coffee bridge"))
    assert found == Judgement(Finding.VARIANT, Ground.OTHER_WRITING)


@pytest.mark.parametrize("name", PHOTOS)
def test_captions_of_one_meme_in_other_places_are_other_writing_and_one_caption_is_an_edit(name: str) -> None:
    photo = photograph(name)
    bar = caption(np.full((110, photo.shape[1], 3), 255, np.uint8), "budget weather report")
    above = np.vstack((bar, photo))
    on_it = caption(photo, "river meeting")
    assert judged(above, on_it) == judged(on_it, above) == Judgement(Finding.VARIANT, Ground.OTHER_WRITING)
    assert judged(above, photo) == judged(photo, above) == Judgement(Finding.COPY, Ground.AGREES)
    assert judged(np.vstack((bar, on_it)), on_it) == Judgement(Finding.COPY, Ground.AGREES)


def test_the_next_shot_of_a_burst_is_a_variant() -> None:
    assert judged(burst(0), burst(4)) == Judgement(Finding.VARIANT, Ground.MOTION)
    assert judged(burst(0), burst(9)).finding is Finding.VARIANT
    assert judged(burst(0), recode(burst(0), 40)).finding is Finding.COPY


def test_motion_that_neighbours_share_proves_no_copy_whatever_changed() -> None:
    proof = prove(find_keypoints(sticker(photograph("chelsea"))), find_keypoints(photograph("chelsea")))
    assert proof is not None
    assert judge(proof).finding is Finding.COPY
    assert judge(replace(proof, motion=0.4, moving=6)) == Judgement(Finding.UNPROVED, Ground.MOTION)


def in_jersey(*colour: int) -> Pixels:
    """Return a photograph with somebody in a plain jersey before it."""
    scene = photograph("chelsea").copy()
    cv2.ellipse(scene, (300, 260), (110, 140), 0, 0, 360, (128, 128, 128), cv2.FILLED)
    cv2.rectangle(scene, (240, 180), (360, 330), colour, cv2.FILLED)
    return scene


@pytest.mark.parametrize("other", [(20, 127, 110), (128, 80, 240)], ids=["green", "blue"])
def test_another_colour_in_one_place_is_no_copy_even_where_grey_levels_are_equal(other: tuple[int, int, int]) -> None:
    red, green, blue = other
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    first = in_jersey(220, round((grey - 0.299 * 220 - 0.114 * 40) / 0.587), 40)
    second = in_jersey(*other)
    assert np.abs(first @ [0.299, 0.587, 0.114] - second @ [0.299, 0.587, 0.114]).max() < 2
    assert judged(second, first) == Judgement(Finding.UNPROVED, Ground.CHANGED_SCENE)
    warmer = (second * [1.0, 0.85, 0.7]).astype(np.uint8)
    for copy in (recode(second, 60), sticker(second), warmer):
        assert judged(copy, second) == Judgement(Finding.COPY, Ground.AGREES)


@pytest.mark.parametrize("number", [1023, 1025, 1033])
def test_a_stripe_of_a_garment_in_another_shade_is_no_copy_and_the_garment_in_shade_is_one(number: int) -> None:
    pair = render("garment", number)
    garment, other = (np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in (pair.a, pair.b))
    assert judged(garment, other).finding is not Finding.COPY
    shaded = chain(garment, [("vignette", 0.6)], Draw(np.random.default_rng(0)))
    assert judged(shaded, garment) == judged(recode(garment, 40), garment) == Judgement(Finding.COPY, Ground.AGREES)


def test_two_receipts_of_one_shop_are_no_copies_and_small_ones_cannot_be_told() -> None:
    assert judged(receipt(1), receipt(2), DOCUMENT_SIDE) == Judgement(Finding.VARIANT, Ground.OTHER_WRITING)
    assert judged(receipt(1), receipt(2)).finding is not Finding.COPY
    assert judged(recode(receipt(1), 60), receipt(1)) == Judgement(Finding.UNPROVED, Ground.ILLEGIBLE)


def test_a_photographed_receipt_is_a_copy_where_it_can_be_read() -> None:
    assert judged(photographed(receipt(1)), receipt(1), DOCUMENT_SIDE) == Judgement(Finding.COPY, Ground.AGREES)


def test_a_small_document_of_which_nothing_was_thrown_away_is_proved() -> None:
    small = np.asarray(Image.fromarray(receipt(1)).resize((160, 320), Image.Resampling.LANCZOS))
    assert judged(recode(small, 80), small).ground is not Ground.ILLEGIBLE


def test_a_document_that_was_stored_small_cannot_be_told_either() -> None:
    small = np.asarray(Image.fromarray(receipt(1)).resize((160, 320), Image.Resampling.LANCZOS).convert("L"))
    stored = find_keypoints(small, stored_scale=320 / 1400)
    assert judge(prove(find_keypoints(recode(receipt(1), 60)), stored)).ground is Ground.ILLEGIBLE
    assert judge(prove(stored, stored)).ground is Ground.ILLEGIBLE


def stripes(period: float) -> Pixels:
    x = np.arange(400)
    return np.repeat((127 + 100 * np.sin(2 * np.pi * x / period))[None, :, None], 300, 0).repeat(3, 2).astype(np.uint8)


def lattice() -> Pixels:
    y, x = np.mgrid[0:300, 0:400]
    return np.where((x // 12 + y // 12) % 2, 230, 30)[..., None].repeat(3, 2).astype(np.uint8)


def gradient(steep: float) -> Pixels:
    y, x = np.mgrid[0:300, 0:400]
    return (60 + steep * x + 0.2 * y).clip(0, 255)[..., None].repeat(3, 2).astype(np.uint8)


@pytest.mark.parametrize(
    ("query", "reference"),
    [
        (stripes(20), stripes(23)),
        (lattice(), lattice()[:, 8:]),
        (gradient(0.3), gradient(0.1)),
        (np.full((300, 400, 3), 240, np.uint8), np.full((300, 400, 3), 240, np.uint8)),
    ],
    ids=["other stripes", "shifted lattice", "other gradient", "blank"],
)
def test_stripes_gradients_and_blank_pictures_prove_nothing(query: Pixels, reference: Pixels) -> None:
    assert judged(query, reference).finding is Finding.UNPROVED


def test_captions_around_a_picture_on_plain_ground_are_no_template() -> None:
    photo = data.rocket()
    meme = recode(chain(photo, [("meme", 0.3)], Draw(np.random.default_rng((2, 5)))), 88)
    assert judged(meme, photo).finding is Finding.UNPROVED  # and so smooth that it is taken for a document


def test_captions_on_plain_ground_count_to_the_side_that_has_them_alone() -> None:
    photo = cv2.copyMakeBorder(photograph("chelsea"), 190, 190, 0, 0, cv2.BORDER_CONSTANT, value=(60, 80, 110))

    def captioned(*lines: str) -> Pixels:
        said = photo.copy()
        for bottom, line in zip((120, 210, len(photo) - 70, len(photo)), lines, strict=True):
            said[:bottom] = caption(said[:bottom].copy(), line, 70 / bottom)
        return said

    said = captioned("river meeting coffee", "monday potion bridge", "invoice garden wizard", "ticket window river")
    assert judged(said, photo) == judged(photo, said) == Judgement(Finding.COPY, Ground.AGREES)
    other = captioned("window ticket monday", "coffee potion garden", "bridge meeting river", "wizard invoice coffee")
    assert judged(said, other).finding is not Finding.COPY


def test_what_two_pictures_share_on_plain_ground_makes_no_copy_where_one_has_much_more() -> None:
    badge = cv2.resize(photograph("astronaut")[:200, 200:400], (140, 140))
    plain, full = np.full((400, 600, 3), 235, np.uint8), cv2.resize(photograph("coffee"), (600, 400))
    for page in (plain, full):
        page[20:160, 20:160] = badge
    assert judged(plain, full).finding is not Finding.COPY


def test_one_frame_around_two_pictures_makes_no_copy() -> None:
    bars = [np.full((500, 700, 3), 30, np.uint8) for _ in range(2)]
    for bar, name in zip(bars, ("coffee", "chelsea"), strict=True):
        bar[90:410, 110:590] = cv2.resize(photograph(name), (480, 320))
        bar[10:80, 10:690] = cv2.resize(photograph("rocket")[:60], (680, 70))
        bar[420:490, 10:690] = cv2.resize(photograph("rocket")[-60:], (680, 70))
    assert judged(*bars).finding is not Finding.COPY


def test_moments_of_a_copy_may_differ_and_a_scene_recorded_twice_may_not() -> None:
    def found(*pairs: tuple[Pixels, Pixels]) -> Judgement:
        return judge_moments(prove_moments([(find_keypoints(q), find_keypoints(r)) for q, r in pairs]))

    still = [(recode(burst(moved), 50), burst(moved)) for moved in (0, 12)]
    late = (recode(burst(20), 50), burst(29))
    assert found(*still, late).finding is Finding.COPY
    assert found(late, (burst(0), burst(8)), (burst(30), burst(41))).finding is Finding.VARIANT
    assert found((photograph("coffee"), photograph("chelsea"))).finding is Finding.UNPROVED
    assert judge_moments([]).finding is Finding.UNPROVED
    other = caption(burst(0), "river meeting"), caption(burst(0), "coffee bridge")
    assert found((burst(30), burst(41)), other) == Judgement(Finding.VARIANT, Ground.OTHER_WRITING)


def test_another_colour_of_one_thing_is_no_copy_and_a_grey_or_pale_copy_is_one() -> None:
    photo = photograph("coffee")
    hsv = cv2.cvtColor(photo, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(int) + 50) % 180  # by 100 degrees
    assert judged(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), photo).finding is Finding.UNPROVED
    pale = (0.4 * photo + 0.6 * photo.mean(2, keepdims=True)).astype(np.uint8)
    assert judged(pale, photo).finding is Finding.COPY


@pytest.mark.parametrize(
    "turned", [np.flipud, np.rot90, lambda photo: np.rot90(photo, 2), lambda photo: np.rot90(photo, 3)]
)
def test_a_picture_turned_or_upside_down_is_settled_without_key_points(turned: Callable[[Pixels], Pixels]) -> None:
    photo = photograph("chelsea")
    proof = prove(find_keypoints(np.ascontiguousarray(turned(photo))), find_keypoints(photo))
    assert proof is not None
    assert proof.stage == 0
    assert judge(proof).finding is Finding.COPY


def test_a_chart_with_one_other_value_is_no_copy() -> None:
    def chart(value: int) -> Pixels:
        page = Image.new("RGB", (640, 400), "white")
        pen = ImageDraw.Draw(page)
        heights = [220, 180, 140, value, 90, 200, 120, 160]
        places = [(60 + 70 * number, 320 - height) for number, height in enumerate(heights)]
        for y in range(60, 330, 52):
            pen.line((40, y, 600, y), fill=(200, 200, 200))
        pen.line(places, fill=(120, 60, 160), width=3)
        for number, (x, _) in enumerate(places):
            pen.text((x, 335), f"Q{number}", fill="black", font=ImageFont.load_default(20))
        return np.asarray(page)

    assert judged(recode(chart(60), 80), chart(60)).finding is Finding.COPY
    assert judged(recode(chart(60), 80), chart(130)).finding is not Finding.COPY
