from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from neardup.pipeline.cleanup.plan import Why
from neardup.pipeline.cleanup.quality import UNKNOWN, Looker, Quality, agree, history_quality, used_share
from neardup.pipeline.types import Limits
from tests.pipeline.report.build import a_file


def a_photograph(seed: int = 0) -> Image.Image:
    """Return 400 × 600 with a spectrum as photographs have it: the same power in each octave."""
    rng = np.random.default_rng(seed)
    radius = np.hypot(np.fft.fftfreq(600)[:, None], np.fft.fftfreq(400)[None])
    spectrum = np.fft.fft2(rng.normal(size=(600, 400))) / np.maximum(radius, 1 / 600)
    values = np.fft.ifft2(spectrum).real
    values = 128 + 45 * (values - values.mean()) / values.std()
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).convert("RGB")


def as_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=quality)
    return Image.open(target)


def grey(picture: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.asarray(picture.convert("L"), dtype=np.float32)


def resized(picture: Image.Image, factor: float) -> Image.Image:
    size = (round(picture.width * factor), round(picture.height * factor))
    return picture.resize(size, Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    "change", [lambda p: p, lambda p: as_jpeg(p, 75), lambda p: as_jpeg(p, 40), lambda p: resized(p, 0.6)]
)
def test_all_of_the_resolution_is_used(change: Callable[[Image.Image], Image.Image]) -> None:
    assert used_share(grey(change(a_photograph()))) == 1.0


@pytest.mark.parametrize(
    "change",
    [
        lambda p: resized(p, 2),
        lambda p: as_jpeg(resized(p, 2), 85),
        lambda p: p.filter(ImageFilter.GaussianBlur(1.5)),
        lambda p: p.filter(ImageFilter.GaussianBlur(3)),
    ],
)
def test_enlarged_and_blurred_pictures_use_little(change: Callable[[Image.Image], Image.Image]) -> None:
    assert used_share(grey(change(a_photograph()))) <= 0.71


@pytest.mark.parametrize("quality", [30, 50, 75, 85])
def test_compression_shows_in_the_pixels_and_after_a_better_one(quality: int) -> None:
    once = as_jpeg(a_photograph(), quality)
    assert abs(history_quality(grey(once)) - quality) <= 3
    assert abs(history_quality(grey(as_jpeg(once, 97))) - quality) <= 3


def test_what_was_never_compressed_has_no_history() -> None:
    assert history_quality(grey(a_photograph())) == 100
    assert history_quality(grey(resized(as_jpeg(a_photograph(), 50), 1.3))) == 100


def look(path: Path, picture: Image.Image, **options: object) -> Quality:
    picture.save(path, **options)  # type: ignore[arg-type]  # of the format
    width, height = picture.size
    file = a_file(str(path), bytes=path.stat().st_size, width=width, height=height)
    return Looker(Limits())(file, closely=True)


def test_a_copy_saved_anew_is_not_better_than_its_original(tmp_path: Path) -> None:
    original = look(tmp_path / "a.jpg", a_photograph(), quality=70)
    anew = look(tmp_path / "b.jpg", Image.open(tmp_path / "a.jpg"), quality=98)
    lossless = look(tmp_path / "c.png", Image.open(tmp_path / "a.jpg"))
    assert original.less_compressed(anew) == original.less_compressed(lossless) == 0
    assert look(tmp_path / "d.png", a_photograph()).less_compressed(original) > 0
    assert agree(original, anew) is None


def test_a_caption_a_mirror_image_and_other_light_are_seen(tmp_path: Path) -> None:
    picture = a_photograph()
    captioned = picture.copy()
    ImageDraw.Draw(captioned).text((120, 500), "HELLO", fill="white", font_size=48)
    plain = look(tmp_path / "a.png", picture)
    for number, other in enumerate((captioned, picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT))):
        assert agree(plain, look(tmp_path / f"{number}.png", other)) is Why.LOOKS_DIFFERENT
    assert agree(plain, look(tmp_path / "small.jpg", resized(picture, 0.5), quality=60)) is None
    assert agree(plain, UNKNOWN) is Why.UNPROVEN


def test_metadata_is_counted_without_a_close_look(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Maker", "Model"
    a_photograph().save(tmp_path / "a.jpg", exif=exif)
    found = Looker(Limits())(a_file(str(tmp_path / "a.jpg")), closely=False)
    assert (found.metadata, found.is_known) == (2, False)


def test_what_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    assert Looker(Limits())(a_file(str(tmp_path / "a.jpg")), closely=True) is UNKNOWN
    assert Looker(Limits())(a_file(str(tmp_path / "gone.jpg")), closely=True) is UNKNOWN
    assert not look(tmp_path / "b.png", a_photograph()).finer(UNKNOWN)
