from __future__ import annotations

import random

import pytest

from neardup.pipeline.media.identify import HEAD_BYTES, identify
from neardup.pipeline.types import Kind


def test_every_format_is_told_by_its_content(every_format: dict[str, bytes]) -> None:
    for name, content in every_format.items():
        format = identify(content[:HEAD_BYTES])
        assert format is not None, name
        assert format.name == name.removeprefix("animated "), name


@pytest.mark.parametrize(
    ("brands", "name"),
    [
        (b"heic\0\0\0\0mif1heic", "heic"),
        (b"mif1\0\0\0\0mif1avif", "avif"),
        (b"mif1\0\0\0\0mif1heic", "heic"),
        (b"avis\0\0\0\0avismsf1", "avif"),
        (b"qt  \0\0\0\0qt  ", "mov"),
        (b"M4V \0\0\0\0isomiso2", "mp4"),
    ],
)
def test_iso_media_is_told_by_its_brands(brands: bytes, name: str) -> None:
    format = identify((8 + len(brands)).to_bytes(4, "big") + b"ftyp" + brands)
    assert format is not None
    assert format.name == name


def test_blu_ray_transport_stream_is_known() -> None:
    packet = b"\0\0\0\0G" + bytes(187)
    format = identify(packet * 3)
    assert format is not None
    assert (format.name, format.kind) == ("ts", Kind.VIDEO)


@pytest.mark.parametrize(
    "head", [b"", b"B", b"BM", b"BMI of the population, 1990 to 2020", b"RIFF\0\0\0\0WAVEfmt ", b"%PDF-1.7"]
)
def test_other_content_is_no_format(head: bytes) -> None:
    assert identify(head) is None


def test_random_bytes_are_no_format() -> None:
    random_bytes = random.Random(0).randbytes
    assert all(identify(random_bytes(HEAD_BYTES)) is None for _ in range(2000))
