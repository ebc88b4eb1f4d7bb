"""Sound files of every format that is read, from which the corpus is made: small, drawn here, the same each time."""

from __future__ import annotations

import io
import math
import os
import pickle
import struct
import zlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imagecodecs
import numpy as np
import pillow_heif
from PIL import Image, PngImagePlugin

pillow_heif.register_heif_opener()  # to write HEIC
_FRAMES, _RATE = 12, 8
_FILMS = {
    "mp4": (
        ("mp4", "libx264", "aac"),
        ("mp4", "mpeg4", "libmp3lame"),
        ("mp4", "libx265", None),
        ("mp4", "mjpeg", "aac"),
    ),
    "mov": (("mov", "mpeg4", "pcm_s16le"), ("mov", "libx264", "aac"), ("mov", "png", None), ("mov", "prores", None)),
    "mkv": (("matroska", "libx264", "flac"), ("matroska", "mpeg2video", "libopus"), ("matroska", "ffv1", None)),
    "webm": (("webm", "libvpx", "libopus"), ("webm", "libvpx-vp9", "libopus"), ("webm", "libsvtav1", None)),
    "avi": (("avi", "mpeg4", "libmp3lame"), ("avi", "mjpeg", "pcm_s16le"), ("avi", "rawvideo", None)),
    "ts": (("mpegts", "libx264", "aac"), ("mpegts", "mpeg2video", "libmp3lame")),
}


def photo(width: int = 120, height: int = 90, number: int = 0, mode: str = "RGB") -> Image.Image:
    """Return a colourful picture without sharp edges, with a rectangle in it."""
    cells = np.random.default_rng(number).integers(0, 256, (6, 8, 4), dtype=np.uint8)
    picture = Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)
    picture.paste((250, 250, 240, 255), (width // 4, height // 4, width // 2, height // 2))
    return picture.convert("RGB").convert(mode) if mode not in ("RGBA", "LA") else picture.convert(mode)


def save(picture: Image.Image, format: str, **options: Any) -> bytes:
    """Return the file that Pillow writes."""
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def film(muxer: str, codec: str, sound: str | None, size: tuple[int, int] = (64, 48), frames: int = _FRAMES) -> bytes:
    """Return a film of a moving picture, with a tone."""
    file = io.BytesIO()
    with av.open(file, "w", format=muxer) as output:
        video = output.add_stream(codec, rate=_RATE)
        video.width, video.height = size
        video.pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24", "prores": "yuv422p10le"}.get(codec, "yuv420p")
        video.codec_context.thread_count = 1
        if codec == "libsvtav1":
            video.options = {"preset": "12", "svtav1-params": "lp=1"}
        if codec == "libx265":
            video.options = {"preset": "ultrafast", "x265-params": "pools=none:frame-threads=1:log-level=none"}
        tone = output.add_stream(sound, rate=48_000 if sound == "libopus" else 44_100) if sound else None
        moving = np.asarray(photo(2 * size[0], size[1], 7))
        for number in range(frames):
            shown = np.ascontiguousarray(moving[:, 2 * number : 2 * number + size[0]])
            picture = av.VideoFrame.from_ndarray(shown, format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, _RATE)
            output.mux(video.encode(picture))
        output.mux(video.encode())
        if tone is not None:
            _sound(output, tone, frames / _RATE)
    if codec == "libsvtav1" and hasattr(os, "sched_setscheduler"):
        # For root it makes the calling process one of real time, whose children then starve all others.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return file.getvalue()


def _sound(output: Any, tone: Any, seconds: float) -> None:
    rate = tone.codec_context.sample_rate
    wave = 0.3 * np.sin(2 * math.pi * 440 * np.arange(int(rate * seconds)) / rate)
    resampler = av.AudioResampler(tone.codec_context.format, tone.codec_context.layout, rate)
    frame = av.AudioFrame.from_ndarray((wave * 32767).astype(np.int16)[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts = rate, 0
    fifo = av.AudioFifo()
    for piece in resampler.resample(frame):
        fifo.write(piece)
    size = tone.codec_context.frame_size or 1024
    while (piece := fifo.read(size, True)) is not None:
        output.mux(tone.encode(piece))
    output.mux(tone.encode())


def tiff(
    tags: dict[int, tuple[int, Sequence[int]]], chunks: Sequence[bytes], order: str = "<", big: bool = False
) -> bytes:
    """Return a TIFF of one directory.

    Args:
        tags: type and values by tag. chunks: strips or tiles; their places are entered as tag 273, or 324 for tiles.
    """
    out = bytearray(b"II" if order == "<" else b"MM")
    out += struct.pack(order + ("HHHQ" if big else "HI"), *((43, 8, 0, 0) if big else (42, 0)))
    places = []
    for piece in chunks:
        places.append(len(out))
        out += piece
    tags = dict(tags)
    tiled = 322 in tags
    tags[324 if tiled else 273] = 4, places
    tags[325 if tiled else 279] = 4, [len(piece) for piece in chunks]
    entries, inline = [], 8 if big else 4
    for tag, (kind, values) in sorted(tags.items()):
        body = struct.pack(f"{order}{len(values)}{ {1: 'B', 3: 'H', 4: 'I', 5: 'I'}[kind] }", *values)
        if len(body) > inline:
            place = len(out)
            out += body
            body = struct.pack(order + ("Q" if big else "I"), place)
        count = len(values) // 2 if kind == 5 else len(values)
        entries.append(struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, count) + body.ljust(inline, b"\0"))
    at = len(out)
    out += struct.pack(order + ("Q" if big else "H"), len(entries)) + b"".join(entries) + bytes(inline)
    struct.pack_into(order + ("Q" if big else "I"), out, 8 if big else 4, at)
    return bytes(out)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk of a PNG, with its checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _jpegs() -> list[bytes]:
    picture, exif = photo(), Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    exif.get_ifd(0x8769)[0x9003] = "2026:11:30 00:00:00"
    plain = save(picture, "JPEG")
    mpf = b"MPF\x00" + struct.pack(
        "<2sHIHHHIIHHIIHHIII", b"II", 42, 8, 2, 0xB000, 7, 4, 0x30303130, 0xB001, 4, 1, 2, 0xB002, 7, 32, 50, 0
    )
    mpf += struct.pack("<IIIHHIIIHH", 0x030000, len(plain), 0, 0, 0, 0x020002, len(plain), len(plain), 0, 0)
    with_mpf = plain[:2] + b"\xff\xe2" + struct.pack(">H", len(mpf) + 2) + mpf + plain[2:] + plain
    restarts = save(picture, "JPEG", restart_marker_blocks=4)
    return [
        plain,
        save(photo(300, 200, 1), "JPEG", quality=60),
        save(picture, "JPEG", progressive=True),
        save(picture, "JPEG", exif=exif.tobytes(), icc_profile=_profile()),
        save(photo(mode="CMYK"), "JPEG"),
        save(photo(mode="L"), "JPEG", progressive=True),
        with_mpf,
        restarts,
        bytes(imagecodecs.jpeg8_encode(np.asarray(picture).astype(np.uint16) << 4, bitspersample=12, lossless=False)),
    ]


def _profile() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _pngs() -> list[bytes]:
    picture, text = photo(), PngImagePlugin.PngInfo()
    text.add_text("comment", "words " * 50, zip=True)
    text.add_itxt("more", "words " * 50, zip=True)
    deep = (np.asarray(photo(mode="RGBA")).astype(np.uint16) << 8) + 77
    return [
        save(picture, "PNG"),
        save(photo(mode="P"), "PNG", transparency=3),
        save(photo(mode="RGBA"), "PNG", pnginfo=text, icc_profile=_profile(), dpi=(72, 72)),
        save(photo(mode="1"), "PNG"),
        bytes(imagecodecs.png_encode(deep)),
        bytes(imagecodecs.png_encode(deep[..., 0].copy())),
    ]


def _moving(format: str, **options: Any) -> list[bytes]:
    frames = [photo(80, 60, number) for number in range(6)]
    clear = [photo(80, 60, number, "RGBA") for number in range(3)]
    return [
        save(frames[0], format, save_all=True, append_images=frames[1:], duration=200, **options),
        save(clear[0], format, save_all=True, append_images=clear[1:], duration=[40, 0, 900], loop=0),
    ]


def _tiffs() -> list[bytes]:
    picture, pages = photo(), [photo(60, 60, number) for number in range(4)]
    raw = np.asarray(photo(64, 64))
    base = {256: (3, [64]), 257: (3, [64]), 258: (3, [8, 8, 8]), 259: (3, [1]), 262: (3, [2]), 277: (3, [3])}
    tiles = [raw[y : y + 32, x : x + 32].tobytes() for y in (0, 32) for x in (0, 32)]
    tiled = {**base, 322: (3, [32]), 323: (3, [32])}
    grey16 = (raw[..., 0].astype("<u2") << 8).tobytes()
    floats = raw[..., 0].astype("<f4").tobytes()
    single = {256: (3, [64]), 257: (3, [64]), 259: (3, [1]), 262: (3, [1]), 277: (3, [1])}
    planes = [raw[..., number].tobytes() for number in range(3)]
    rgb16 = (raw.astype(">u2") << 8).tobytes()
    plain = [
        save(picture, "TIFF", compression=kind)
        for kind in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "zstd", "lzma")
    ]
    return [
        *plain,
        save(photo(mode="1"), "TIFF", compression="group4"),
        save(photo(mode="1"), "TIFF", compression="group3"),
        save(pages[0], "TIFF", save_all=True, append_images=pages[1:]),
        save(picture, "TIFF", big_tiff=True),
        save(photo(mode="CMYK"), "TIFF", compression="tiff_lzw"),
        tiff(tiled, tiles),
        tiff(tiled, tiles, ">", True),
        tiff({**single, 258: (3, [16])}, [grey16]),
        tiff({**single, 258: (3, [32]), 339: (3, [3])}, [floats]),
        tiff({**base, 284: (3, [2]), 278: (3, [64])}, planes),
        tiff({**base, 258: (3, [16, 16, 16]), 278: (3, [64])}, [rgb16], ">"),
        save(photo(64, 64, mode="LAB"), "TIFF"),
    ]


def _raws() -> list[bytes]:
    small, large = save(photo(160, 120), "JPEG"), save(photo(300, 200, 2), "JPEG")
    sensor = {254: (4, [0]), 256: (4, [600]), 257: (4, [400]), 262: (3, [32803]), 259: (3, [1]), 271: (1, [*b"Canon"])}
    cr2, dng = tiff(sensor, [large]), tiff({**sensor, 274: (3, [6]), 50706: (1, [1, 4, 0, 0])}, [small, large])
    cr3 = b"\x00\x00\x00\x18ftypcrx \x00\x00\x00\x01crx isom" + bytes(40) + small + large
    rw2 = tiff({2: (4, [620]), 3: (4, [420]), 6: (4, [410]), 7: (4, [608])}, [large])
    return [
        dng,
        cr2,
        cr3,
        b"IIU\x00" + rw2[4:],
        b"IIRO" + tiff({256: (4, [600]), 257: (4, [400])}, [large])[4:],
        b"FUJIFILMCCD-RAW 0201" + bytes(100) + large,
    ]


def _jxls() -> list[bytes]:
    raw = np.asarray(photo())
    return [
        bytes(imagecodecs.jpegxl_encode(raw, level=60)),
        bytes(imagecodecs.jpegxl_encode(raw, lossless=True, usecontainer=True)),
        bytes(imagecodecs.jpegxl_encode(raw[..., 0].copy(), lossless=True)),
        bytes(imagecodecs.jpegxl_encode(np.stack([raw, raw[::-1]]), lossless=True, photometric="rgb")),
    ]


def _heics() -> list[bytes]:
    several = pillow_heif.from_pillow(photo())
    for number in range(1, 3):
        several.add_from_pillow(photo(80, 60, number))
    file = io.BytesIO()
    several.save(file, quality=50)
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        save(photo(), "HEIF", quality=50, exif=exif.tobytes()),
        save(photo(mode="RGBA"), "HEIF", quality=50),
        file.getvalue(),
    ]


def _avifs() -> list[bytes]:
    return [
        save(photo(), "AVIF", quality=50, speed=10, max_threads=1),
        save(photo(mode="RGBA"), "AVIF", quality=50, speed=10, max_threads=1, icc_profile=_profile()),
        save(
            *(photo(64, 48), "AVIF"),
            **{"save_all": True, "append_images": [photo(64, 48, 1), photo(64, 48, 2)], "duration": 200, "speed": 10},
        ),
    ]


def _bmps() -> list[bytes]:
    plain = [save(photo(64, 48, mode=mode), "BMP") for mode in ("RGB", "P", "1", "L", "RGBA")]
    runs = b"".join(bytes((64, row, 0, 0)) for row in range(48)) + b"\x00\x01"
    head = b"BM" + struct.pack("<IHHI", 14 + 40 + 1024 + len(runs), 0, 0, 14 + 40 + 1024)
    head += struct.pack("<IiiHHIIiiII", 40, 64, 48, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return [*plain, head + bytes(range(256)) * 4 + runs]


def _pcxs() -> list[bytes]:
    return [save(photo(64, 48, mode=mode), "PCX") for mode in ("RGB", "P", "1")]


def _pnms() -> list[bytes]:
    ascii_grey = b"P2\n16 12\n255\n" + b" ".join(b"%d" % (number % 256) for number in range(192)) + b"\n"
    bits = b"P1\n16 12\n" + b"01" * 96 + b"\n"
    deep = b"P5\n16 12\n65535\n" + bytes(range(192)) * 2
    return [*(save(photo(64, 48, mode=mode), "PPM") for mode in ("RGB", "L", "1")), ascii_grey, bits, deep]


def _unread() -> list[bytes]:
    """Files of formats that are refused: they are told by patterns, which must not take long either."""
    sound = io.BytesIO()
    with av.open(sound, "w", format="mp4") as output:
        _sound(output, output.add_stream("aac", rate=44_100), 1.0)
    wave = io.BytesIO()
    with av.open(wave, "w", format="wav") as output:
        _sound(output, output.add_stream("pcm_s16le", rate=44_100), 0.2)
    psd = b"8BPS\x00\x01" + bytes(6) + struct.pack(">HIIHH", 3, 48, 64, 8, 3) + bytes(12) + bytes(9216)
    page = b"<?xml version='1.0'?>" + b"<!-- words -->" * 20 + b"<svg xmlns='x'></svg>"
    return [
        *(sound.getvalue(), wave.getvalue(), psd, page, save(photo(), "PDF"), save(photo(), "GIF")[6:]),
        *(b"%!PS-Adobe", b"PK\x03\x04" + bytes(900), b"\xff\xfb" + bytes(500), b"#define x_width 16\n" * 30),
    ]


MAKERS: dict[str, Callable[[], list[bytes]]] = {
    "jpeg": _jpegs,
    "png": _pngs,
    "apng": lambda: _moving("PNG"),
    "gif": lambda: [*_moving("GIF"), save(photo(), "GIF"), save(photo(), "GIF", interlace=1)],
    "webp": lambda: [
        *_moving("WEBP"),
        save(photo(), "WEBP", quality=60),
        save(photo(mode="RGBA"), "WEBP", lossless=True, icc_profile=_profile()),
    ],
    "tiff": _tiffs,
    "bmp": _bmps,
    "heic": _heics,
    "avif": _avifs,
    "jxl": _jxls,
    "jpeg2000": lambda: [
        save(photo(), "JPEG2000", quality_layers=[20]),
        save(photo(mode="RGBA"), "JPEG2000", no_jp2=True, tile_size=(64, 64)),
    ],
    "ico": lambda: [
        save(photo(64, 64, mode="RGBA"), "ICO", sizes=[(16, 16), (64, 64)], bitmap_format=kind)
        for kind in ("png", "bmp")
    ],
    "pnm": _pnms,
    "tga": lambda: [
        save(photo(64, 48, mode=mode), "TGA", compression=kind)
        for mode in ("RGB", "L", "P", "RGBA")
        for kind in (None, "tga_rle")
    ],
    "pcx": _pcxs,
    "raw": _raws,
    **{name: (lambda ways=ways: [film(*way) for way in ways]) for name, ways in _FILMS.items()},
    "unread": _unread,
}
"""What makes the seeds of each row of the table."""


def seeds(folder: Path | None = None) -> dict[str, list[bytes]]:
    """Return the seeds of each format; kept in a folder, since encoders take seconds."""
    kept = folder / "seeds.pickle" if folder else None
    if kept is not None and kept.exists():
        found: dict[str, list[bytes]] = pickle.loads(kept.read_bytes())
        return found
    made = {name: make() for name, make in MAKERS.items()}
    if kept is not None:
        kept.write_bytes(pickle.dumps(made))
    return made
