"""Pictures put at known places are found there, and nothing is found where nothing was put."""

import io

import numpy as np
import pytest
from PIL import Image

from neardup.pipeline.media.reader import open_media
from neardup.pipeline.media.regions import GRID, MOST, Cutter, Mode, _Lines, cut_regions, find_regions, overlap
from neardup.pipeline.media.tile import squeeze
from neardup.pipeline.types import Box, Frame, Pixels

SIZE = 160


def cloudy(seed: int, width: int = 320, height: int = 240) -> Pixels:
    """Return smooth colours without one straight edge."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def with_pasted(box: Box, seed: int = 0) -> Pixels:
    page = cloudy(seed, 640, 480) // 2 + 128
    left, top, right, bottom = (round(share * side) for share, side in zip(box, (640, 480) * 2, strict=True))
    page[top:bottom, left:right] = cloudy(seed + 100, right - left, bottom - top) // 2
    return page


def best(page: Pixels, box: Box) -> float:
    found = find_regions(squeeze(page, SIZE)[None])[0]
    return float(overlap(np.array(found), np.array(box)).max()) if found else 0.0


@pytest.mark.parametrize("box", [(0.2, 0.3, 0.8, 0.9), (0.1, 0.1, 0.5, 0.6), (0.0, 0.25, 0.6, 1.0)])
@pytest.mark.parametrize("seed", range(3))
def test_a_pasted_picture_is_found_where_it_is(box: Box, seed: int) -> None:
    assert best(with_pasted(box, seed), box) > 0.9


def test_every_cell_of_a_collage_is_found() -> None:
    cells: list[Box] = [(0, 0, 0.49, 0.49), (0.51, 0, 1, 0.49), (0, 0.51, 0.49, 1), (0.51, 0.51, 1, 1)]
    page = np.full((480, 640, 3), 255, dtype=np.uint8)
    for number, (left, top, right, bottom) in enumerate(cells):
        place = np.s_[round(top * 480) : round(bottom * 480), round(left * 640) : round(right * 640)]
        page[place] = cloudy(number, place[1].stop - place[1].start, place[0].stop - place[0].start)
    assert all(best(page, cell) > 0.85 for cell in cells)


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_an_edge_of_one_colour_is_an_edge(channel: int) -> None:
    page = np.full((480, 640, 3), 128, dtype=np.uint8)
    page[120:360, 160:480, channel] = 228
    assert best(page, (0.25, 0.25, 0.75, 0.75)) > 0.9


def test_what_is_between_bars_is_found() -> None:
    page = np.zeros((480, 640, 3), dtype=np.uint8)
    page[90:390] = cloudy(7, 640, 300) // 2 + 100
    assert best(page, (0.0, 90 / 480, 1.0, 390 / 480)) > 0.9


@pytest.mark.parametrize("seed", range(8))
def test_an_ordinary_picture_has_no_regions_and_one_frame(seed: int) -> None:
    assert find_regions(squeeze(cloudy(seed), SIZE)[None])[0] == ()
    assert len(_frames(cloudy(seed), "boxes")) == 1


def test_noise_and_blank_pages_have_no_regions() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    assert find_regions(np.stack([noise, np.full_like(noise, 255)])) == [(), ()]


def test_the_company_of_a_picture_changes_nothing() -> None:
    pages = [with_pasted((0.25, 0.25, 0.75, 0.75)), cloudy(3), with_pasted((0.1, 0.4, 0.6, 0.9)), cloudy(4)]
    tiles = np.stack([squeeze(page, SIZE) for page in pages])
    together = find_regions(tiles)
    assert together == [find_regions(tile[None])[0] for tile in tiles]
    assert [len(boxes) for boxes in together] == [1, 0, 1, 0]


def test_what_is_ruled_out_at_once_has_no_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes: list[Box] = [(0, 0.3, 1, 1), (0.4, 0, 1, 1), (0, 0.2, 1, 0.8), (0.3, 0, 0.7, 1), (0, 0, 0.5, 0.6)]
    pages = [with_pasted(box, seed) for box in boxes for seed in range(8)] + [cloudy(seed) for seed in range(8)]
    noise = np.random.default_rng(0).integers(0, 40, (len(pages), SIZE, SIZE, 3), dtype=np.uint8)
    tiles = [squeeze(page, SIZE) // 8 * 7 + grain for page, grain in zip(pages, noise, strict=True)]
    found = find_regions(tiles)
    assert 0 < sum(map(bool, found)) < len(found)
    monkeypatch.setattr(_Lines, "possible", lambda _: np.arange(len(tiles)))
    assert find_regions(tiles) == found


def test_pictures_are_cut_together_and_large_ones_at_once() -> None:
    cutter = Cutter("boxes")
    small, large = with_pasted((0.25, 0.25, 0.75, 0.75)), np.zeros((3400, 3400, 3), dtype=np.uint8)
    frames = [[Frame(0.0, squeeze(page, SIZE))] for page in (small, small, large)]
    cutter.add(frames[0], small)
    assert len(frames[0]) == 1
    cutter.add(frames[2], large)
    assert [len(own) for own in frames] == [2, 1, 1]
    cutter.add(frames[1], small)
    cutter.cut()
    assert [len(own) for own in frames] == [2, 2, 1]
    assert frames[0][1].box == frames[1][1].box


def test_a_sheet_of_many_pictures_gives_the_most() -> None:
    page = np.concatenate([np.concatenate([cloudy(4 * y + x, 160, 120) for x in range(4)], 1) for y in range(4)])
    assert len(find_regions(squeeze(page, SIZE)[None])[0]) == MOST


def test_a_region_is_cut_from_the_decoded_pixels() -> None:
    page = with_pasted((0.25, 0.25, 0.75, 0.75))
    (frame,) = cut_regions(squeeze(page, SIZE), page, "boxes")
    assert frame.box is not None
    expected = squeeze(np.array(page[120:360, 160:480]), SIZE)
    assert np.abs(frame.tile.astype(int) - expected.astype(int)).mean() < 3


def test_the_mode_decides() -> None:
    page = with_pasted((0.25, 0.25, 0.75, 0.75))
    assert [frame.box for frame in _frames(page, "none")] == [None]
    assert len(_frames(page, "boxes")) == 2
    assert [frame.box for frame in _frames(page, "grid")] == [None, *GRID]


def test_boxes_are_of_the_upright_picture() -> None:
    page = with_pasted((0.1, 0.2, 0.5, 0.7))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    file = io.BytesIO()
    Image.fromarray(np.rot90(page).copy()).save(file, "PNG", exif=exif)
    (box,) = [frame.box for frame in open_media(file.getvalue(), SIZE, regions="boxes").frames if frame.box]
    assert overlap(np.array([box]), np.array((0.1, 0.2, 0.5, 0.7)))[0] > 0.9


def _frames(page: Pixels, mode: Mode) -> list[Frame]:
    file = io.BytesIO()
    Image.fromarray(page).save(file, "PNG")
    return list(open_media(file.getvalue(), SIZE, regions=mode).frames)
