"""Decoding and embedding at once, on their streams, against the CPU one picture at a time."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from skimage import data as pictures

from neardup.pipeline.embed.embedder import make_embedder
from neardup.pipeline.media.image import DEFAULT_LIMITS
from neardup.pipeline.media.nvjpeg import open_gpu_jpegs
from neardup.pipeline.media.reader import open_media
from neardup.pipeline.types import Limits, Pixels

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")]
NAMES = ("astronaut", "chelsea", "coffee", "retina", "rocket")


def jpeg(number: int) -> bytes:
    """Pictures of many sizes; every fifth is progressive, for the CPU."""
    picture = Image.fromarray(getattr(pictures, NAMES[number % 5])())
    size = (300 + 7 * (number % 31), 260 + 5 * (number % 17))
    file = io.BytesIO()
    picture.resize(size).rotate(number % 4 * 90).save(file, "JPEG", quality=85, progressive=number % 5 == 4)
    return file.getvalue()


def by_cpu(data: bytes, size: int) -> Pixels:
    return next(open_media(data, size).frames).tile


def test_descriptors_of_many_threads_are_those_of_the_cpu() -> None:
    on_gpu, on_cpu = make_embedder("default", "cuda"), make_embedder("default", "cpu", "torch")
    jpegs, size = open_gpu_jpegs(), on_gpu.size
    assert jpegs is not None
    files = [jpeg(number) for number in range(60)]

    def tiles(number: int) -> list[Pixels]:
        """Return the tiles of all files, progressive ones decoded by the CPU; each time in another order."""
        turned = files[number:] + files[:number]
        pictures = jpegs.open(turned, size, DEFAULT_LIMITS)
        assert [picture is None for picture in pictures] == [(number + i) % 5 == 4 for i in range(60)]
        found = [
            next(open_media(data, size, decoded=one).frames).tile for data, one in zip(turned, pictures, strict=True)
        ]
        return found[60 - number :] + found[: 60 - number]

    found = []
    with ThreadPoolExecutor(8) as pool:
        for some in pool.map(tiles, range(40)):  # the network works while others decode
            found.append(on_gpu.embed(np.stack(some)).vectors)
    expected = on_cpu.embed(np.stack([by_cpu(data, size) for data in files])).vectors
    assert (np.stack(found) * expected).sum(axis=2).min() >= 0.99


def test_broken_files_cost_their_neighbours_nothing() -> None:
    jpegs = open_gpu_jpegs()
    assert jpegs is not None
    whole = jpeg(0)
    huffman = whole.index(b"\xff\xc4")
    files = [whole, whole[:huffman] + b"\xff\xc4\x00\x05\x00\xff\xff" + whole[huffman:], whole[:-500], whole]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: jpegs.open(files, 160, DEFAULT_LIMITS), range(16)))
    first = answers[0][0]
    assert first is not None
    for one, broken, cut, other in answers:
        assert (broken, cut) == (None, None)
        for neighbour in (one, other):
            assert neighbour is not None
            np.testing.assert_array_equal(neighbour.frames[0].tile, first.frames[0].tile)


def test_limits_hold_on_the_gpu() -> None:
    jpegs = open_gpu_jpegs()
    assert jpegs is not None
    assert jpegs.open([jpeg(0)], 160, Limits(max_pixels=1000)) == [None]
