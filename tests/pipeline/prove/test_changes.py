from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from neardup.pipeline.prove.changes import MAX_ON_BOTH, Changes, _high, find_again, find_changes
from neardup.pipeline.prove.compare import correlate
from neardup.pipeline.prove.keypoints import find_keypoints
from neardup.pipeline.prove.overlap import lay_over
from neardup.pipeline.types import Pixels
from tests.pipeline.prove.conftest import caption, photograph, recode, sticker

PHOTO = cv2.resize(photograph("coffee"), (320, 240), interpolation=cv2.INTER_AREA)


def found(query: Pixels, reference: Pixels = PHOTO) -> Changes:
    overlap = lay_over(find_keypoints(query), find_keypoints(reference), np.eye(3))
    assert overlap is not None
    agreement = correlate(overlap)
    changes = find_changes(agreement)
    return find_again(agreement, changes) if changes.on_both > MAX_ON_BOTH else changes


def with_word(word: str, at: tuple[int, int] = (60, 150), picture: Pixels = PHOTO) -> Pixels:
    drawn = Image.fromarray(picture)
    ImageDraw.Draw(drawn).text(at, word, fill="white", font=ImageFont.load_default(18))
    return np.asarray(drawn)


def with_disc(x: int) -> Pixels:
    drawn = Image.fromarray(PHOTO)
    ImageDraw.Draw(drawn).ellipse((x, 100, x + 40, 140), fill=(30, 200, 90), outline=(10, 60, 20))
    return np.asarray(drawn)


@pytest.mark.parametrize(
    "edited",
    [
        recode(PHOTO, 25),
        (255 * (PHOTO / 255) ** 0.6).astype(np.uint8),
        cv2.GaussianBlur(PHOTO, (0, 0), 2),
        (PHOTO * np.linspace(0.5, 1, 320)[None, :, None]).astype(np.uint8),
    ],
    ids=["jpeg", "gamma", "blur", "shade"],
)
def test_noise_light_and_sharpness_are_no_changes(edited: Pixels) -> None:
    assert found(edited).on_both <= MAX_ON_BOTH


@pytest.mark.parametrize("edited", [sticker(PHOTO), caption(PHOTO, "river"), with_word("river"), with_disc(100)])
def test_what_is_put_over_a_picture_is_on_its_side_only(edited: Pixels) -> None:
    one, other = found(edited), found(PHOTO, edited)
    assert one.query > 50
    assert one.on_both <= MAX_ON_BOTH
    assert other.reference > 50
    assert other.on_both <= MAX_ON_BOTH


def with_label(light: int) -> Pixels:
    """Return a jar on a shelf; its label has this grey level, its ground 120."""
    shelf = PHOTO.copy()
    cv2.ellipse(shelf, (160, 120), (90, 100), 0, 0, 360, (120, 120, 120), cv2.FILLED)
    cv2.rectangle(shelf, (120, 90), (200, 150), (light, light, light), cv2.FILLED)
    return shelf


def test_a_smooth_label_in_the_place_of_another_one_is_on_both_sides() -> None:
    """The fainter one has its outline, too: the jar does not go on below the other one."""
    assert found(with_label(30), with_label(90)).on_both > 100
    assert found(with_label(240), with_label(165)).on_both > 100
    assert found(with_label(240), with_label(120)).on_both <= MAX_ON_BOTH


def test_another_word_in_the_same_place_is_on_both_sides() -> None:
    card = cv2.GaussianBlur(PHOTO, (0, 0), 25)
    card[:120] = PHOTO[:120]
    both = found(with_word("river 12", picture=card), with_word("monday", picture=card))
    assert both.on_both > 2 * MAX_ON_BOTH


def test_what_moved_is_on_both_sides_far_or_near() -> None:
    for x in (110, 130, 220):
        assert found(with_disc(100), with_disc(x)).on_both > 2 * MAX_ON_BOTH


def test_what_was_rubbed_out_is_on_the_other_side() -> None:
    erased = PHOTO.copy()
    erased[90:150, 120:200] = 128
    one = found(erased)
    assert one.query + one.reference > 1000
    assert one.on_both <= 0.04 * max(one.query, one.reference)


def test_pixels_count_as_at_the_small_side() -> None:
    large = [cv2.resize(one, (960, 720), interpolation=cv2.INTER_CUBIC) for one in (with_disc(100), PHOTO)]
    overlap = lay_over(find_keypoints(large[0], 960), find_keypoints(large[1], 960), np.eye(3))
    assert overlap is not None
    assert find_changes(correlate(overlap)).query == pytest.approx(found(with_disc(100)).query, rel=0.25)


@pytest.mark.parametrize("x", [0, 100, 279])
def test_looking_around_what_changed_alone_finds_what_the_whole_picture_shows(
    x: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = found(with_disc(x))
    monkeypatch.setattr("neardup.pipeline.prove.changes._BESIDE", 10_000)
    assert found(with_disc(x)) == near
    assert near.query + near.reference > 50


def test_specks_are_no_pieces_and_hide_none() -> None:
    def specked(picture: Pixels) -> Pixels:
        dotted = picture.copy()
        dotted[20:80:20, 20:300:20] = 255 - dotted[20:80:20, 20:300:20]
        return dotted

    alone, both = found(specked(PHOTO)), found(specked(with_disc(100)))
    assert 0 < alone.spread < 0.01
    assert max(alone.query, alone.reference, alone.either) < 20
    assert both.query == pytest.approx(found(with_disc(100)).query, rel=0.1)


@pytest.mark.parametrize("count", [1, 7, 100, 5000])
def test_the_high_shares_are_those_of_numpy(count: int) -> None:
    random = np.random.default_rng(count)
    beyond, contrast = (random.integers(*levels, (count, 2)).astype(np.uint8) for levels in ((0, 256), (41, 256)))
    where = np.zeros((count, 2), np.bool_)
    where[:, 1] = True  # the rest is left out
    shares = beyond[:, 1] / contrast[:, 1].astype(np.float32)
    assert _high(beyond, contrast, where, 1 / 6) in (np.percentile(shares, 97, method="nearest"), 0.0)
    assert _high(beyond, contrast, where, 1 / 6) > 0 or np.percentile(shares, 97) <= 1 / 6
    assert _high(beyond, contrast, where, float(shares.max())) == 0
