"""With libjpeg-turbo in the place of nvJPEG and without streams: all but the kernels is as on a GPU.

Stated tolerances against the CPU path, for photographs: 1 of 255 on average and 5 or less in 99 of 100 values of a tile
(here it is half of that), and a cosine of 0.995 between descriptors, also where colours are repeated and not
interpolated, as nvJPEG does.
"""

from __future__ import annotations

import io
import threading
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
from neardup.pipeline.errors import InvalidFrame, PipelineError, Reason
from neardup.pipeline.media.nvjpeg import GpuJpegs, decode_by_torchvision, open_gpu_jpegs, reduction
from neardup.pipeline.media.preview import Preview
from neardup.pipeline.media.reader import open_media
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
    media = jpegs.open(data, size, LIMITS)
    assert media is not None
    (frame,) = media.frames
    assert frame.pts == 0.0
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
    media, expected = jpegs.open(data, SIZE, LIMITS), open_media(data, SIZE)
    assert media is not None
    assert (media.width, media.height, media.format) == (expected.width, expected.height, expected.format)


@pytest.mark.parametrize("size", [(500, 400), (300, 240), (1500, 3000)])
def test_previews_are_those_of_the_cpu(jpegs: GpuJpegs, photo: Photo, save: Save, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[274] = 6
    data = save(photo(*size), "JPEG", exif=exif.tobytes())
    here, there = Preview(320), Preview(320)
    jpegs.open(data, SIZE, LIMITS, here)
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
    assert {name for name, data in left.items() if jpegs.open(data, SIZE, LIMITS) is not None} == set()
    assert jpegs.open(whole, SIZE, Limits(max_pixels=300 * 240 - 1)) is None
    assert jpegs.open(whole, SIZE, Limits(max_bytes=len(whole) - 1)) is None
    assert jpegs.open(whole, SIZE, Limits(max_pixels=300 * 240, max_bytes=len(whole))) is not None


def test_the_reader_asks_it_first_and_then_the_cpu(jpegs: GpuJpegs, photo: Photo, save: Save) -> None:
    plain, progressive = (save(photo(300, 240), "JPEG", progressive=progressive) for progressive in (False, True))
    by_gpu = jpegs.open(plain, SIZE, LIMITS)
    assert by_gpu is not None
    assert open_media(plain, SIZE, jpegs=jpegs).pixels_digest == by_gpu.pixels_digest
    assert open_media(progressive, SIZE, jpegs=jpegs).pixels_digest == open_media(progressive, SIZE).pixels_digest
    with pytest.raises(InvalidFrame) as caught:
        open_media(plain[:-100], SIZE, jpegs=jpegs)
    assert caught.value.reason is Reason.TRUNCATED


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
    """Decodes by libjpeg-turbo, and fails on some files; `gate` holds the first batch until it is opened."""

    def __init__(self, bad: bytes | None = None) -> None:
        self.batches: list[int] = []
        self.bad = bad
        self.gate, self.begun = threading.Event(), threading.Event()
        self.gate.set()

    def __call__(self, files: list[Tensor], device: torch.device) -> list[Tensor]:
        self.batches.append(len(files))
        self.begun.set()
        assert self.gate.wait(10)
        if any(bytes(file.numpy()) == self.bad for file in files):
            raise RuntimeError("Error while decoding JPEG images")
        return decode_by_torchvision(files, device)


def open_together(jpegs: GpuJpegs, decode: Recorded, files: list[bytes]) -> list[Pixels | None]:
    """Open the first file, and while it is being decoded all others; return the tiles."""
    decode.gate.clear()

    def open_one(data: bytes) -> Pixels | None:
        media = jpegs.open(data, TINY, LIMITS)
        return None if media is None else next(media.frames).tile

    with ThreadPoolExecutor(len(files)) as pool:
        first = pool.submit(open_one, files[0])
        assert decode.begun.wait(10)
        others = [pool.submit(open_one, data) for data in files[1:]]
        while len(jpegs._waiting) < len(others):
            threading.Event().wait(0.001)
        decode.gate.set()
        return [future.result() for future in [first, *others]]


def test_those_that_wait_are_decoded_together_and_each_gets_its_own(photo: Photo, save: Save) -> None:
    files = [save(photo(60, 40, seed), "JPEG") for seed in range(9)]
    decode = Recorded()
    tiles = open_together(GpuJpegs("cpu", decode, lanes=1), decode, files)
    assert decode.batches == [1, 8]
    for tile, data in zip(tiles, files, strict=True):
        assert tile is not None
        np.testing.assert_array_equal(tile, tile_by(GpuJpegs("cpu"), data, TINY))


def test_a_batch_holds_no_more_pixels_than_fit(photo: Photo, save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neardup.pipeline.media.nvjpeg._BATCH_PIXELS", 5 * 60 * 40)
    files = [save(photo(60, 40, seed), "JPEG") for seed in range(9)]
    decode = Recorded()
    open_together(GpuJpegs("cpu", decode, lanes=1), decode, files)
    assert decode.batches == [1, 5, 3]


def test_a_picture_that_fails_goes_to_the_cpu_and_its_neighbours_do_not(photo: Photo, save: Save) -> None:
    files = [save(photo(60, 40, seed), "JPEG") for seed in range(9)]
    decode = Recorded(bad=files[4])
    tiles = open_together(GpuJpegs("cpu", decode, lanes=1), decode, files)
    assert [number for number, tile in enumerate(tiles) if tile is None] == [4]
    assert decode.batches == [1, 8, 4, 2, 2, 1, 1, 4]


def test_many_threads_and_two_lanes_leave_nobody_behind(photo: Photo, save: Save) -> None:
    files = [save(photo(60, 40, seed), "JPEG") for seed in range(4)]
    expected = [tile_by(GpuJpegs("cpu"), data, TINY) for data in files]
    jpegs = GpuJpegs("cpu")
    with ThreadPoolExecutor(16) as pool:
        tiles = list(pool.map(lambda number: tile_by(jpegs, files[number % 4], TINY), range(200)))
    for number, tile in enumerate(tiles):
        np.testing.assert_array_equal(tile, expected[number % 4])


def test_a_broken_gpu_is_told_to_all_that_wait_and_ends_the_process(photo: Photo, save: Save) -> None:
    decode = Recorded()

    def broken(files: list[Tensor], device: torch.device) -> list[Tensor]:
        decode(files, device)
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    jpegs = GpuJpegs("cpu", broken, lanes=1)
    data = save(photo(60, 40), "JPEG")
    for _ in range(2):  # the lane came back
        with pytest.raises(PipelineError, match="illegal memory access"):
            jpegs.open(data, TINY, LIMITS)
    with pytest.raises(PipelineError, match="illegal memory access"):
        open_together(jpegs, decode, [data] * 3)


def test_full_gpu_memory_sends_the_batch_to_the_cpu(
    photo: Photo, save: Save, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    jpegs, data = GpuJpegs("cpu", lanes=1), save(photo(60, 40), "JPEG")
    with monkeypatch.context() as patch:
        patch.setattr("neardup.pipeline.media.nvjpeg.shrink", full)
        assert jpegs.open(data, TINY, LIMITS) is None
    assert "to be done by the CPU pictures=1" in caplog.text
    assert jpegs.open(data, TINY, LIMITS) is not None


def test_where_nvjpeg_does_not_work_there_is_no_decoder(caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(open_gpu_jpegs("cpu"), GpuJpegs)
    if not torch.cuda.is_available():
        assert open_gpu_jpegs("cuda") is None
        assert "nvJPEG does not work" in caplog.text
