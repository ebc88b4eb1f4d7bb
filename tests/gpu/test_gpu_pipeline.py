"""Decoding and embedding at once, on their streams, against the CPU one picture at a time."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from skimage import data as pictures

from neardup.pipeline.embed.embedder import make_embedder
from neardup.pipeline.errors import InvalidFrame
from neardup.pipeline.media.nvjpeg import GpuJpegs, open_gpu_jpegs
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


def tile(data: bytes, size: int, jpegs: GpuJpegs | None) -> Pixels:
    return next(open_media(data, size, jpegs=jpegs).frames).tile


def test_descriptors_of_many_threads_are_those_of_the_cpu() -> None:
    by_gpu, by_cpu = make_embedder("default", "cuda"), make_embedder("default", "cpu", "torch")
    jpegs, size = open_gpu_jpegs(), by_gpu.size
    assert jpegs is not None
    files = [jpeg(number) for number in range(60)] * 10
    found: list[np.ndarray] = []
    waiting: list[Pixels] = []
    with ThreadPoolExecutor(32) as pool:
        for one in pool.map(lambda data: tile(data, size, jpegs), files):  # the network works while others decode
            waiting.append(one)
            if len(waiting) == 50:
                found.append(by_gpu.embed(np.stack(waiting)).vectors)
                waiting.clear()
    expected = by_cpu.embed(np.stack([tile(data, size, None) for data in files[:60]])).vectors
    assert (np.concatenate(found).reshape(10, 60, -1) * expected).sum(axis=2).min() >= 0.99


def test_broken_files_cost_their_neighbours_nothing() -> None:
    jpegs = open_gpu_jpegs()
    assert jpegs is not None
    whole = jpeg(0)
    huffman = whole.index(b"\xff\xc4")
    files = [whole, whole[:huffman] + b"\xff\xc4\x00\x05\x00\xff\xff" + whole[huffman:], whole[:-500], whole] * 8
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda data: _tile_or_none(data, jpegs), files))
    for number in range(0, len(files), 4):
        for neighbour in (number, number + 3):
            np.testing.assert_array_equal(answers[neighbour], answers[0])
        assert answers[number + 1] is None
        assert answers[number + 2] is None


def _tile_or_none(data: bytes, jpegs: GpuJpegs) -> Pixels | None:
    try:
        return tile(data, 160, jpegs)
    except InvalidFrame:
        return None


def test_limits_hold_on_the_gpu() -> None:
    jpegs = open_gpu_jpegs()
    assert jpegs is not None
    with pytest.raises(InvalidFrame):
        open_media(jpeg(0), 160, Limits(max_pixels=1000), jpegs=jpegs)
