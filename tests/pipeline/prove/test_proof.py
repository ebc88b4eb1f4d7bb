from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from neardup.pipeline.prove.compare import Agreement
from neardup.pipeline.prove.finding import Block
from neardup.pipeline.prove.keypoints import Keypoints, Points, find_keypoints
from neardup.pipeline.prove.motion import Motion, follow
from neardup.pipeline.prove.proof import Proof, prove, prove_moments
from neardup.pipeline.prove.transform import Matrix, match, warp
from neardup.pipeline.types import Pixels
from tests.pipeline.prove.conftest import caption, inside, photograph, recode, sticker


def proved(query: Pixels, reference: Pixels) -> Proof:
    found = prove(find_keypoints(query), find_keypoints(reference))
    assert found is not None
    return found


def turned(pixels: Pixels, degrees: float, scale: float) -> tuple[Pixels, np.ndarray]:
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, scale)
    return cv2.warpAffine(pixels, matrix, (width, height)), np.vstack((matrix, (0, 0, 1)))


@pytest.mark.parametrize(
    "edit",
    [
        lambda p: p,
        lambda p: recode(p, 25),
        lambda p: cv2.resize(p, (200, 133), interpolation=cv2.INTER_AREA),
        lambda p: (255 * (p / 255) ** 0.6).astype(np.uint8),
        lambda p: np.ascontiguousarray(p[:, ::-1]),
        lambda p: cv2.GaussianBlur(p, (0, 0), 2),
    ],
    ids=["same", "jpeg", "smaller", "gamma", "mirrored", "blurred"],
)
def test_stage_0_settles_what_keeps_its_place(edit: Callable[[Pixels], Pixels]) -> None:
    photo = photograph("coffee")
    found = proved(edit(photo), photo)
    assert found.stage == 0
    assert found.agreeing > 0.95
    assert found.query_share == pytest.approx(1, abs=0.02)
    assert found.motion < 0.1


def test_the_transform_says_where_the_query_lies_in_the_reference() -> None:
    photo = photograph("astronaut")
    query, to_query = turned(photo, 25, 0.8)
    found = proved(query, photo)
    assert found.stage == 1
    matrix = np.array(found.transform).reshape(3, 3)
    places = np.array([(0.4, 0.4), (0.6, 0.5), (0.5, 0.7)])
    wanted = warp(np.linalg.inv(to_query), places * 512) / 512
    assert np.abs(warp(matrix, places) - wanted).max() < 0.005
    assert not found.mirrored


def test_a_crop_covers_a_part_of_the_reference() -> None:
    photo = photograph("astronaut")
    found = proved(photo[100:400, 60:360], photo)
    assert found.query_share == pytest.approx(1, abs=0.02)
    assert found.reference_share == pytest.approx((300 / 512) ** 2, abs=0.02)
    assert found.reference_box == pytest.approx((60 / 512, 100 / 512, 360 / 512, 400 / 512), abs=0.01)


def test_a_mirrored_crop_is_mirrored() -> None:
    photo = photograph("astronaut")
    found = proved(np.ascontiguousarray(photo[100:400, 380:60:-1]), photo)
    assert found.stage == 1
    assert found.mirrored
    assert found.agreeing > 0.95


@pytest.mark.parametrize("host", ["coffee", "rocket"])
def test_a_picture_in_a_picture_is_found_where_it_is(host: str) -> None:
    photo = photograph("astronaut")
    found = proved(inside(photo, photograph(host)), photo)
    assert found.agreeing > 0.9
    assert found.query_box == pytest.approx((310 / 800, 70 / 600, 670 / 800, 430 / 600), abs=0.02)
    assert found.reference_share > 0.95


def test_a_part_of_both_is_found_without_its_edges() -> None:
    photo = photograph("astronaut")
    found = proved(inside(photo, photograph("coffee"), 0.6), inside(photo, photograph("rocket"), 0.4))
    assert found.confined
    assert found.agreeing > 0.85
    assert found.query_box[0] > 0.3
    assert found.query_share < 0.6


def test_given_boxes_are_tried() -> None:
    photo = cv2.GaussianBlur(photograph("coffee"), (0, 0), 9)  # too blurred for key points
    page = np.full((600, 800, 3), 255, np.uint8)
    page[100:400, 200:650] = cv2.resize(photo, (450, 300))
    query, reference = find_keypoints(page), find_keypoints(photo)
    box = (200 / 800, 100 / 600, 650 / 800, 400 / 600)
    found = prove(query, reference, [(box, (0.0, 0.0, 1.0, 1.0))])
    assert found is not None
    assert found.stage == 0
    assert found.agreeing > 0.9
    assert found.query_box == pytest.approx(box, abs=0.01)


def test_each_side_says_what_it_has_that_the_other_lacks() -> None:
    photo = photograph("coffee")
    plain = photo.copy()
    plain[30:230, 30:230] = plain[30:230, 30:230].mean((0, 1))
    found = proved(photo, plain)
    assert found.query_extra > 0.08
    assert found.reference_extra < found.query_extra / 1.5  # what is left there is its outline
    assert (found.blocks == Block.QUERY_ONLY).sum() >= 6
    swapped = proved(plain, photo)
    assert swapped.reference_extra == pytest.approx(found.query_extra, abs=0.02)
    assert swapped.query_extra == pytest.approx(found.reference_extra, abs=0.02)


def test_an_opaque_sticker_leaves_content_on_both_sides_where_it_lies() -> None:
    photo = photograph("astronaut")
    found = proved(sticker(photo), photo)
    rows, columns = np.nonzero(found.blocks != Block.AGREES)
    assert 0 < found.reference_extra < 0.2
    assert rows.max() <= 5
    assert columns.min() >= 5


def test_the_change_of_light_is_measured() -> None:
    photo = photograph("coffee")
    darker = (photo * 0.5 + 20).astype(np.uint8)
    found = proved(darker, photo)
    assert found.gain == pytest.approx(2, rel=0.05)
    assert found.offset == pytest.approx(-40, abs=6)
    grey = np.repeat(photo.mean(2, keepdims=True), 3, axis=2)
    pale = proved((0.5 * photo + 0.5 * grey).astype(np.uint8), photo)
    assert pale.saturation == pytest.approx(2, rel=0.1)
    assert proved(grey.astype(np.uint8), photo).saturation is None


@pytest.mark.parametrize("name", ["coffee", "chelsea", "rocket"])
def test_strangers_have_no_proof(name: str) -> None:
    assert prove(find_keypoints(photograph(name)), find_keypoints(photograph("astronaut"))) is None


def test_all_key_points_of_strangers_are_never_matched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[bool, bool]] = []

    def noted(
        query: Keypoints, reference: Keypoints, mirrored: bool = False, few: bool = False
    ) -> tuple[Points, Points]:
        asked.append((mirrored, few))
        return match(query, reference, mirrored, few)

    monkeypatch.setattr("neardup.pipeline.prove.proof.match", noted)
    prove(find_keypoints(photograph("coffee")), find_keypoints(photograph("astronaut")))
    assert asked == [(False, True), (True, True)]
    asked.clear()
    proved(photograph("coffee")[60:300, 100:400], photograph("coffee"))
    assert asked == [(False, True), (False, False)]


def test_corners_are_followed_only_where_something_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    followed: list[float] = []

    def noted(agreement: Agreement) -> tuple[Matrix | None, Motion]:
        followed.append(agreement.share)
        return follow(agreement)

    monkeypatch.setattr("neardup.pipeline.prove.proof.follow", noted)
    photo = find_keypoints(photograph("coffee"))
    box = (0.0, 0.0, 1.0, 1.0)
    prove(find_keypoints(photograph("chelsea")), photo, [(box, box)])
    assert not followed
    aside = cv2.warpAffine(photograph("coffee"), np.array([[1, 0, 5.0], [0, 1, 3]]), (600, 400))
    found = prove(find_keypoints(aside), photo, [(box, box)])
    assert found is not None
    assert found.stage == 0
    assert followed
    assert followed[0] < 0.9 < found.agreeing


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 900, 3), (40, 40), (2000, 3)])
def test_tiny_and_blank_pictures_have_no_proof(shape: tuple[int, ...]) -> None:
    blank = find_keypoints(np.full(shape, 200, np.uint8))
    photo = find_keypoints(photograph("astronaut"))
    assert prove(blank, photo) is None
    assert prove(photo, blank) is None
    assert prove(blank, blank) is None


def test_the_same_pictures_give_the_same_proof() -> None:
    photo = photograph("astronaut")
    query = caption(turned(photo, 10, 0.9)[0], "river coffee")
    first, second = proved(query, photo), proved(query, photo)
    assert first == second
    assert np.array_equal(first.blocks, second.blocks)


def test_moments_share_one_transform() -> None:
    """Each moment alone has too few key points; together they have enough."""
    scenes = [photograph(name) for name in ("coffee", "chelsea", "astronaut")]
    frames = [cv2.resize(scene, (480, 320)) for scene in scenes]
    cropped = [np.ascontiguousarray(frame[40:300, 90:420]) for frame in frames]
    proofs = prove_moments([(find_keypoints(q), find_keypoints(r)) for q, r in zip(cropped, frames, strict=True)])
    assert all(one is not None and one.agreeing > 0.9 for one in proofs)
    boxes = [one.reference_box for one in proofs if one is not None]
    for box in boxes:
        assert box == pytest.approx((90 / 480, 40 / 320, 420 / 480, 300 / 320), abs=0.015)
    assert prove_moments([]) == []


def test_boxes_lay_moments_over_each_other_that_are_too_small_for_key_points() -> None:
    box = (0.05, 0.1, 0.3, 0.3)
    moments = []
    for name in ("coffee", "chelsea", "astronaut"):
        scene = cv2.resize(photograph(name), (480, 320))
        other = cv2.resize(photograph("rocket"), (640, 640))
        other[64:192, 32:192] = cv2.resize(scene, (160, 128), interpolation=cv2.INTER_AREA)
        moments.append((find_keypoints(other), find_keypoints(scene)))
    proofs = prove_moments(moments, [(box, (0.0, 0.0, 1.0, 1.0))])
    assert all(one is not None and one.stage == 0 and one.agreeing > 0.9 for one in proofs)
    assert all(one is not None and one.query_box == pytest.approx(box, abs=0.03) for one in proofs)


def test_bars_are_a_border_and_what_else_lies_beside_is_none() -> None:
    photo = photograph("coffee")
    barred = cv2.copyMakeBorder(photo, 0, 0, 400, 400, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    assert proved(recode(barred, 50), photo).bordered == (True, True)
    assert proved(photo, barred).bordered == (True, True)
    assert proved(inside(photo, photograph("chelsea")), photo).bordered == (False, True)
    below = cv2.copyMakeBorder(photo, 0, 110, 0, 0, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    assert proved(caption(below, "river meeting invoice"), photo).bordered == (False, True)
    assert proved(photo[60:-60, 90:-90], photo).bordered == (True, False)
