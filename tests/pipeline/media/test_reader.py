from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media.reader import frame_at, open_media
from neardup.pipeline.types import Limits, Media

Save = Callable[..., bytes]
ToPath = Callable[[bytes], Path]

# Outside of tests these are silenced; here they come as errors, and so as broken content.
pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:PIL.TiffImagePlugin", "ignore::UserWarning:PIL.PngImagePlugin"
)


def _tiles(media: Media) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.stack([frame.tile for frame in media.frames])


def _reason(source: bytes | Path, limits: Limits | None = None) -> Reason:
    with pytest.raises(InvalidFrame) as caught:
        open_media(source, 16, limits or Limits())
    return caught.value.reason


def test_file_and_content_give_the_same(every_format: dict[str, bytes], path: ToPath) -> None:
    for content in every_format.values():
        a, b = open_media(content, 16), open_media(path(content), 16)
        assert (a.kind, a.format, a.width, a.height, a.seconds) == (b.kind, b.format, b.width, b.height, b.seconds)
        assert a.pixels_digest == b.pixels_digest
        assert np.array_equal(_tiles(a), _tiles(b))


def test_extension_does_not_matter(every_format: dict[str, bytes], tmp_path: Path) -> None:
    for name in ("png", "mp4"):
        file = tmp_path / "picture.jpg"
        file.write_bytes(every_format[name])
        assert open_media(file, 16).format == name


def test_names_that_are_no_utf8_or_look_like_urls_are_files(every_format: dict[str, bytes], tmp_path: Path) -> None:
    for name in (os.fsdecode(b"caf\xe9.mp4"), "concat:a|b", "http:"):
        file = tmp_path / name
        file.write_bytes(every_format["mp4"])
        assert len(_tiles(open_media(file, 16))) == 9


def test_nothing_is_empty(path: ToPath) -> None:
    assert _reason(b"") is Reason.EMPTY
    assert _reason(path(b"")) is Reason.EMPTY


def test_other_content_is_format(path: ToPath) -> None:
    assert _reason(b"hello") is Reason.FORMAT
    assert _reason(path(bytes(5000))) is Reason.FORMAT


def test_missing_file_is_vanished(tmp_path: Path) -> None:
    assert _reason(tmp_path / "gone.jpg") is Reason.VANISHED


def test_video_that_vanishes_once_it_is_open_is_read_to_its_end(every_format: dict[str, bytes], path: ToPath) -> None:
    file = path(every_format["mkv"])
    media = open_media(file, 16)
    file.unlink()
    assert len(_tiles(media)) == 9


def test_what_is_no_file_is_unreadable(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert _reason(pipe) is Reason.UNREADABLE
    assert _reason(tmp_path) is Reason.UNREADABLE
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert _reason(loop) is Reason.UNREADABLE


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_forbidden_file_is_unreadable(every_format: dict[str, bytes], path: ToPath) -> None:
    file = path(every_format["png"])
    file.chmod(0)
    assert _reason(file) is Reason.UNREADABLE


def test_bytes_are_limited(every_format: dict[str, bytes], path: ToPath) -> None:
    content = every_format["png"]
    for source in (content, path(content)):
        open_media(source, 16, Limits(max_bytes=len(content)))
        assert _reason(source, Limits(max_bytes=len(content) - 1)) is Reason.TOO_LARGE


def test_many_threads_give_what_one_gives(every_format: dict[str, bytes]) -> None:
    contents = list(every_format.values())
    alone = [_tiles(open_media(content, 16)) for content in contents]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda content: _tiles(open_media(content, 16)), contents * 4))
    assert all(np.array_equal(alone[n % len(alone)], tiles) for n, tiles in enumerate(together))


def _damage(content: bytes, random: random.Random) -> bytes:
    match random.randrange(3):
        case 0:
            return content[: random.randrange(len(content))]
        case 1:
            flipped = bytearray(content)
            for _ in range(random.choice((1, 4, 30))):
                flipped[random.randrange(len(flipped) if random.random() < 0.5 else 300) % len(flipped)] ^= (
                    1 << random.randrange(8)
                )
            return bytes(flipped)
    return content[: random.choice((8, 16, 64, 256, 600))] + random.randbytes(3000)


@pytest.mark.parametrize("seed", range(20))
def test_broken_content_gives_frames_or_invalid_frame(
    every_format: dict[str, bytes], seed: int, capfd: pytest.CaptureFixture[str]
) -> None:
    generator = random.Random(seed)
    for content in every_format.values():
        damaged = _damage(content, generator)
        with suppress(InvalidFrame):
            list(open_media(damaged, 16).frames)
        with suppress(InvalidFrame):
            frame_at(damaged, 1.0, 32)
    assert capfd.readouterr() == ("", "")


def test_frame_at_of_an_image_is_its_thumbnail(save: Save) -> None:
    assert frame_at(save(Image.new("RGB", (100, 50), "red"), "PNG"), 3.0, 20).tolist() == [[[255, 0, 0]] * 20] * 10


def test_ffmpeg_is_loaded_for_what_moves_and_not_for_stills(every_format: dict[str, bytes], tmp_path: Path) -> None:
    stills = [name for name in every_format if name in ("jpeg", "png", "webp", "gif", "bmp", "tiff", "avif", "heic")]
    for name in (*stills, "animated webp", "mp4"):
        (tmp_path / name).write_bytes(every_format[name])
    code = """
import sys
from pathlib import Path
from neardup.pipeline.media.reader import frame_at, open_media
for file in map(Path, sys.argv[1:]):
    list(open_media(file, 16).frames)
    frame_at(file, 0.0, 16)
print("av" in sys.modules)
"""

    def loads_ffmpeg(*names: str) -> str:
        files = [str(tmp_path / name) for name in names]
        return subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True, check=True).stdout

    assert loads_ffmpeg(*stills, "animated webp") == "False\n"
    assert loads_ffmpeg("mp4") == "True\n"
