"""With libjpeg-turbo in the place of nvJPEG and without streams: all but the kernels is as on a GPU.

Stated tolerances against the CPU path, for photographs: 1 of 255 on average and 5 or less in 99 of 100 values of a tile
(here it is half of that), and a cosine of 0.995 between descriptors, also where colours are repeated and not
interpolated, as nvJPEG does.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as pictures
from torch import Tensor

from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.torch_engine import TorchEmbedder
from neardup.pipeline.errors import PipelineError
from neardup.pipeline.media.nvjpeg import GpuJpegs, decode_by_torchvision, open_gpu_jpegs, reduction
from neardup.pipeline.media.preview import Preview
from neardup.pipeline.media.reader import open_media
from neardup.pipeline.media.regions import Mode
from neardup.pipeline.types import Limits, Pixels

pytestmark = pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")
Photo = Callable[..., Image.Image]
Save = Callable[..., bytes]
SIZE, LIMITS = 160, Limits()
MEAN_DIFFERENCE = 1.0
TINY = 16
"""Size of tiles for tests in which pictures are small."""


@pytest.fixture(scope="module")
def embedder() -> TorchEmbedder:
    return TorchEmbedder(load_checkpoint("default"), "cpu", 1)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def jpegs(request: pytest.FixtureRequest) -> GpuJpegs:
    return GpuJpegs(request.param)


def tile_by(jpegs: GpuJpegs, data: bytes, size: int = SIZE) -> Pixels:
    (picture,) = jpegs.open([data], size, LIMITS)
    assert picture is not None
    (frame,) = picture.media().frames
    assert (frame.pts, frame.box) == (0.0, None)
    return frame.tile


def tile_by_cpu(data: bytes, size: int = SIZE) -> Pixels:
    (frame,) = open_media(data, size).frames
    return frame.tile


def apart(one: Pixels, other: Pixels) -> np.ndarray:
    return np.abs(one.astype(int) - other)


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "rocket"])
@pytest.mark.parametrize("size", [(500, 400), (333, 251), (240, 240), (1999, 1333), (2600, 340)])
def test_tiles_are_those_of_the_cpu(jpegs: GpuJpegs, save: Save, name: str, size: tuple[int, int]) -> None:
    data = save(Image.fromarray(getattr(pictures, name)()).resize(size), "JPEG", quality=85)
    difference = apart(tile_by(jpegs, data), tile_by_cpu(data))
    assert difference.mean() <= MEAN_DIFFERENCE
    assert np.percentile(difference, 99) <= 5


@pytest.mark.parametrize("size", [(119, 77), (641, 479), (1999, 2333), (4100, 2710), (5333, 355)])
def test_pictures_shrink_by_the_factor_of_the_cpu_path(save: Save, size: tuple[int, int]) -> None:
    seen = []

    class Watched(Preview):
        def take(self, rgb: Pixels) -> None:
            seen.append(rgb.shape[:2])

    open_media(save(Image.new("RGB", size), "JPEG"), SIZE, preview=Watched(320))
    factor = reduction(size[1], size[0], SIZE)
    assert seen == [(-(-size[1] // factor), -(-size[0] // factor))]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_come_upright(jpegs: GpuJpegs, save: Save, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    data = save(Image.fromarray(pictures.chelsea()), "JPEG", exif=exif.tobytes())
    assert apart(tile_by(jpegs, data), tile_by_cpu(data)).mean() <= MEAN_DIFFERENCE
    (picture,), expected = jpegs.open([data], SIZE, LIMITS), open_media(data, SIZE)
    assert picture is not None
    media = picture.media()
    assert (media.width, media.height, media.format) == (expected.width, expected.height, expected.format)


@pytest.mark.parametrize("size", [(500, 400), (300, 240), (1500, 3000)])
def test_previews_are_those_of_the_cpu(jpegs: GpuJpegs, photo: Photo, save: Save, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[274] = 6
    data = save(photo(*size), "JPEG", exif=exif.tobytes())
    here, there = Preview(320), Preview(320)
    (picture,) = jpegs.open([data], SIZE, LIMITS, 320)
    assert picture is not None
    picture.media(here)
    open_media(data, SIZE, preview=there)
    one, other = (Image.open(io.BytesIO(preview.jpeg)) for preview in (here, there))
    assert one.size == other.size
    assert apart(np.asarray(one), np.asarray(other)).mean() <= 2


def test_grey_pictures_are_decoded(jpegs: GpuJpegs, save: Save) -> None:
    data = save(Image.fromarray(pictures.camera()), "JPEG")
    assert apart(tile_by(jpegs, data), tile_by_cpu(data)).mean() <= MEAN_DIFFERENCE


def test_what_is_left_to_the_cpu(jpegs: GpuJpegs, photo: Photo, save: Save) -> None:
    picture = photo(300, 240)
    whole = save(picture, "JPEG")
    left = {
        "no JPEG": save(picture, "PNG"),
        "progressive": save(picture, "JPEG", progressive=True),
        "CMYK": save(picture.convert("CMYK"), "JPEG"),
        "cut off": whole[:-100],
        "empty": b"",
        "small": save(photo(300, 239), "JPEG"),
        "very long": save(Image.new("RGB", (3841, 240)), "JPEG"),
        "large": save(Image.new("L", (8000, 4200)), "JPEG"),
    }
    found = jpegs.open([*left.values(), whole], SIZE, LIMITS)
    assert [name for name, picture in zip([*left, "whole"], found, strict=True) if picture is not None] == ["whole"]
    assert jpegs.open([whole], SIZE, Limits(max_pixels=300 * 240 - 1)) == [None]
    assert jpegs.open([whole], SIZE, Limits(max_bytes=len(whole) - 1)) == [None]
    assert jpegs.open([whole], SIZE, Limits(max_pixels=300 * 240, max_bytes=len(whole))) != [None]
    assert jpegs.open([], SIZE, LIMITS) == []


def test_the_reader_takes_what_the_gpu_made(jpegs: GpuJpegs, photo: Photo, save: Save) -> None:
    plain = save(photo(300, 240), "JPEG")
    (picture,) = jpegs.open([plain], SIZE, LIMITS)
    media = open_media(plain, SIZE, decoded=picture)
    (frame,) = media.frames
    np.testing.assert_array_equal(frame.tile, tile_by(jpegs, plain))
    by_cpu = open_media(plain, SIZE)
    assert (media.pixels_digest, media.extras) == (by_cpu.pixels_digest, by_cpu.extras)
    assert media.pixels_digest


def collage(first: str, second: str) -> Image.Image:
    """Two photographs beside each other."""
    paper = Image.new("RGB", (640, 400), "white")
    for name, left in ((first, 0), (second, 320)):
        paper.paste(Image.fromarray(getattr(pictures, name)()).resize((320, 400)), (left, 0))
    return paper


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("mode", ["boxes", "grid"])
def test_regions_are_those_of_the_cpu(jpegs: GpuJpegs, save: Save, mode: Mode, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    whole, plain = collage("astronaut", "coffee"), save(Image.fromarray(pictures.chelsea()), "JPEG")
    for picture in (whole, whole.resize((1280, 800))):
        data = save(picture, "JPEG", quality=92, exif=exif.tobytes())
        expected = list(open_media(data, SIZE, regions=mode).frames)
        assert len(expected) > 1
        _, found, _ = jpegs.open([plain, data, plain], SIZE, LIMITS, regions=mode)
        assert found is not None
        assert [frame.box for frame in found.frames] == [frame.box for frame in expected]
        for one, other in zip(found.frames, expected, strict=True):
            assert apart(one.tile, other.tile).mean() <= 2 * MEAN_DIFFERENCE


def repeat_colours(files: list[Tensor], device: torch.device) -> list[Tensor]:
    """Decode 4:2:0 as nvJPEG does without its flag for interpolation, in the colours of JFIF."""
    return [_repeat_colours(bytes(file.numpy())).to(device) for file in files]


def _repeat_colours(data: bytes) -> Tensor:
    with av.open(io.BytesIO(data), format="jpeg_pipe") as container:
        picture = next(container.decode(video=0))
    luma, *chroma = (
        np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width].astype(float)
        for plane in picture.planes
    )
    height, width = luma.shape
    blue, red = (plane.repeat(2, axis=0).repeat(2, axis=1)[:height, :width] - 128 for plane in chroma)
    rgb = np.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue])
    return torch.from_numpy(rgb.round().clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("size", [(300, 240), (333, 251), (500, 400), (1999, 1333)])
def test_descriptors_are_those_of_the_cpu_with_repeated_colours_too(
    save: Save, embedder: TorchEmbedder, size: tuple[int, int]
) -> None:
    names = ("astronaut", "chelsea", "coffee", "retina", "rocket")
    files = [save(Image.fromarray(getattr(pictures, name)()).resize(size), "JPEG", quality=85) for name in names]
    expected = embedder.embed(np.stack([tile_by_cpu(data) for data in files])).vectors
    for decode in (decode_by_torchvision, repeat_colours):
        jpegs = GpuJpegs("cpu", decode)
        vectors = embedder.embed(np.stack([tile_by(jpegs, data) for data in files])).vectors
        assert (vectors * expected).sum(axis=1).min() >= 0.995


class Recorded:
    """Decodes by libjpeg-turbo, and fails on some files."""

    def __init__(self, bad: bytes | None = None) -> None:
        self.batches: list[int] = []
        self.bad = bad

    def __call__(self, files: list[Tensor], device: torch.device) -> list[Tensor]:
        self.batches.append(len(files))
        if any(bytes(file.numpy()) == self.bad for file in files):
            raise RuntimeError("Error while decoding JPEG images")
        return decode_by_torchvision(files, device)


def tiles_by(jpegs: GpuJpegs, files: list[bytes]) -> list[Pixels | None]:
    return [None if one is None else one.frames[0].tile for one in jpegs.open(files, TINY, LIMITS)]


def test_pictures_of_many_sizes_are_decoded_together_and_keep_their_places(photo: Photo, save: Save) -> None:
    files = [save(photo(60 + 37 * (seed * 5 % 9), 40 + 11 * seed, seed), "JPEG") for seed in range(9)]
    decode = Recorded()
    tiles = tiles_by(GpuJpegs("cpu", decode), files)
    assert decode.batches == [9]
    for tile, data in zip(tiles, files, strict=True):
        assert tile is not None
        assert apart(tile, tile_by(GpuJpegs("cpu"), data, TINY)).max() <= 1  # sums in another order


def test_a_batch_holds_no_more_pixels_than_fit(photo: Photo, save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neardup.pipeline.media.nvjpeg._BATCH_PIXELS", 5 * 60 * 40)
    files = [save(photo(60, 40, seed), "JPEG") for seed in range(9)]
    decode = Recorded()
    GpuJpegs("cpu", decode).open(files, TINY, LIMITS)
    assert decode.batches == [5, 4]


def test_pictures_of_one_batch_are_of_about_one_size(photo: Photo, save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neardup.pipeline.media.nvjpeg._BATCH_PIXELS", 3 * 100 * 40)
    files = [save(photo(*size), "JPEG") for size in ((60, 40), (40, 400), (60, 40), (100, 40))]
    decode = Recorded()
    assert all(tile is not None for tile in tiles_by(GpuJpegs("cpu", decode), files))
    assert decode.batches == [3, 1]


def test_a_picture_that_fails_goes_to_the_cpu_and_its_neighbours_do_not(photo: Photo, save: Save) -> None:
    files = [save(photo(60, 40, seed), "JPEG") for seed in range(9)]
    decode = Recorded(bad=files[4])
    tiles = tiles_by(GpuJpegs("cpu", decode), files)
    assert [number for number, tile in enumerate(tiles) if tile is None] == [4]
    assert decode.batches == [9, 4, 5, 2, 1, 1, 3]


def test_many_threads_and_few_lanes_leave_nobody_behind(photo: Photo, save: Save) -> None:
    files = [save(photo(60, 40, seed), "JPEG") for seed in range(4)]
    expected = [tile_by(GpuJpegs("cpu"), data, TINY) for data in files]
    jpegs = GpuJpegs("cpu", lanes=2)
    with ThreadPoolExecutor(16) as pool:
        tiles = list(pool.map(lambda number: tile_by(jpegs, files[number % 4], TINY), range(200)))
    for number, tile in enumerate(tiles):
        np.testing.assert_array_equal(tile, expected[number % 4])


def test_a_broken_gpu_ends_the_process(photo: Photo, save: Save) -> None:
    def broken(_files: list[Tensor], _device: torch.device) -> list[Tensor]:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    jpegs = GpuJpegs("cpu", broken, lanes=1)
    for _ in range(2):  # the lane came back
        with pytest.raises(PipelineError, match="illegal memory access"):
            jpegs.open([save(photo(60, 40), "JPEG")], TINY, LIMITS)


def test_full_gpu_memory_sends_the_batch_to_the_cpu(
    photo: Photo, save: Save, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    jpegs, data = GpuJpegs("cpu", lanes=1), save(photo(60, 40), "JPEG")
    with monkeypatch.context() as patch:
        patch.setattr("neardup.pipeline.media.nvjpeg.Stack", full)
        assert jpegs.open([data], TINY, LIMITS) == [None]
    assert "to be done by the CPU pictures=1" in caplog.text
    assert jpegs.open([data], TINY, LIMITS) != [None]


def test_where_nvjpeg_does_not_work_there_is_no_decoder(caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(open_gpu_jpegs("cpu"), GpuJpegs)
    if not torch.cuda.is_available():
        assert open_gpu_jpegs("cuda") is None
        assert "nvJPEG does not work" in caplog.text
