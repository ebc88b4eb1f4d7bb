from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from neardup.pipeline.media import tile
from neardup.pipeline.media.tile import squeeze
from neardup.pipeline.types import Pixels


@pytest.fixture(params=["rust", "torch"], autouse=True)
def resizer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "torch":
        monkeypatch.setattr(tile, "resizer", None)
    elif tile.resizer is None:
        pytest.skip("cykooz-resizer is not installed")


@pytest.mark.parametrize(
    ("width", "height", "extent"),
    [
        (120, 90, None),
        (20, 31, None),
        (64, 64, None),
        (1, 700, None),
        (257, 191, (190.5, 256.5)),
        (129, 65, (64.125, 128.25)),
    ],
)
def test_it_is_pillows_bilinear(
    photo: Callable[..., Image.Image], width: int, height: int, extent: tuple[float, float] | None
) -> None:
    picture = photo(width, height)
    box = None if extent is None else (0, 0, extent[1], extent[0])
    expected = np.asarray(picture.resize((64, 64), Image.Resampling.BILINEAR, box=box)).astype(int)
    found = squeeze(np.array(picture), 64, extent)
    assert (found.dtype, found.shape) == (np.uint8, (64, 64, 3))
    assert np.abs(found - expected).max() <= (1 if extent is None else 3)


@pytest.mark.parametrize(("width", "height"), [(300_000, 1), (1, 300_000), (200_000, 3), (3, 200_000)])
def test_a_strip_takes_little_memory_and_looks_as_pillow_has_it(width: int, height: int) -> None:
    wave = (127 + 120 * np.sin(np.arange(width * height) * (9 / max(width, height)))).astype(np.uint8)
    strip = np.repeat(
        wave.reshape(height, width, 1) if width > height else wave.reshape(width, height).T[..., None], 3, 2
    )
    expected = np.asarray(Image.fromarray(strip).resize((64, 64), Image.Resampling.BILINEAR)).astype(int)
    tracked: list[int] = []
    once = tile._once

    def noted(rgb: Pixels, shape: tuple[int, int], extent: tuple[float, float]) -> Pixels:
        tracked.append(max(shape[0] * rgb.shape[1], shape[1] * rgb.shape[0]))
        return once(rgb, shape, extent)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tile, "_once", noted)
        found = squeeze(np.ascontiguousarray(strip), 64)
    assert np.abs(found.astype(int) - expected).max() <= 2
    assert len(tracked) == 2
    assert max(tracked) <= 64 * 200_000


def test_threads_do_not_disturb_each_other(photo: Callable[..., Image.Image]) -> None:
    pictures = [np.array(photo(100 + 7 * n, 90 + 5 * n, n)) for n in range(8)]
    expected = [squeeze(picture, 32) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            assert all(map(np.array_equal, pool.map(lambda rgb: squeeze(rgb, 32), pictures), expected))
