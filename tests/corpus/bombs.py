# ruff: noqa: ARG001 (all have one signature)
"""Files that announce, or unpack into, far more than their bytes: what mutations hardly ever hit upon by themselves.

Each takes its measures at random, from harmless ones to the largest that its format can write.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import lru_cache
from random import Random
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from tests.corpus.seeds import png_chunk, save, tiff

Seeds = dict[str, list[bytes]]


def _side(rng: Random, most: int) -> int:
    """Return a length: any magnitude is as likely as any other."""
    return min(most, max(1, round(2 ** rng.uniform(4, 32))))


def _sides(rng: Random, most: int) -> tuple[int, int]:
    """Return width and height: anything, a line, or a large square."""
    match rng.randrange(3):
        case 0:
            return _side(rng, most), _side(rng, most)
        case 1:
            long = _side(rng, most)
            return rng.choice(((1, long), (long, 1)))
    side = rng.randint(1000, 20_000)
    return min(side, most), min(side, most)


@lru_cache(maxsize=16)
def _deflated(count: int) -> bytes:
    """Return at most so many zeros, deflated: one in a thousand."""
    return zlib.compress(bytes(1 << count.bit_length() - 1), 9)


@lru_cache(maxsize=64)
def _plain(format: str, width: int, height: int) -> bytes:
    """Return a picture of one colour: many pixels, few bytes."""
    picture = Image.new("RGB", (width, height), (200, 30, 30))
    if format == "JXL":
        return bytes(imagecodecs.jpegxl_encode(np.asarray(picture), level=40, effort=1))
    options: dict[str, dict[str, Any]] = {
        "AVIF": {"quality": 10, "speed": 10, "max_threads": 1},
        "WEBP": {"lossless": True, "method": 0},
        "JPEG2000": {"quality_layers": [200]},
    }
    return save(picture, format, **options.get(format, {}))


def _plain_one(rng: Random, *formats: str) -> bytes:
    """Return a large picture; of each format there are a few."""
    return _plain(rng.choice(formats), *rng.choice(((1200, 900), (4000, 1000), (3000, 2500), (4200, 3600))))


def _png(rng: Random, seeds: Seeds) -> bytes:
    width, height = _sides(rng, 2**31 - 1)
    depth, colours, samples = rng.choice(((8, 2, 3), (16, 6, 4), (1, 0, 1), (16, 0, 1), (8, 3, 1), (8, 6, 4)))
    head = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, rng.randrange(2))
    rows = height * (width * samples * depth // 8 + 1)
    body = _deflated(min(rows, 2**25)) if rng.random() < 0.7 else b""
    palette = png_chunk(b"PLTE", bytes(range(255))) if colours == 3 else b""
    return (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + palette + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")
    )


def _png_chunks(rng: Random, seeds: Seeds) -> bytes:
    """Text, profiles and metadata that unpack without end; or very many chunks."""
    png = rng.choice(seeds["png"] + seeds["apng"])
    zeros = _deflated(rng.choice((10**5, 10**7, 2**26)))
    kind, body = rng.choice(
        (
            (b"zTXt", b"key\x00\x00" + zeros),
            (b"iTXt", b"key\x00\x01\x00\x00\x00" + zeros),
            (b"iCCP", b"icc\x00\x00" + zeros),
            (b"prVt", b""),
            (b"tEXt", b"key\x00words"),
            (b"fcTL", struct.pack(">IIIIIHHBB", 0, 80, 60, 0, 0, 1, 10, 0, 0)),
        )
    )
    place = 33 if rng.random() < 0.7 else len(png) - 12
    return png[:place] + png_chunk(kind, body) * rng.choice((1, 10, 3000 if len(body) < 100 else 20)) + png[place:]


def _apng(rng: Random, seeds: Seeds) -> bytes:
    """An animation that announces other frames than it has, of other sizes."""
    png = bytearray(rng.choice(seeds["apng"]))
    at = png.index(b"acTL") + 4
    struct.pack_into(">II", png, at, rng.choice((0, 1, 2, 1000, 2**31 - 1, _side(rng, 2**31))), rng.getrandbits(31))
    from tests.corpus.anatomy import repaired

    return repaired(png)


def _gif(rng: Random, seeds: Seeds) -> bytes:
    width, height = (min(side, 65535) for side in _sides(rng, 65535))
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    delay = b"\x21\xf9\x04" + struct.pack("<BHBB", 0, rng.choice((0, 1, 10, 65535)), 0, 0)
    shown = rng.choice(((0, 0, width, height), (0, 0, 1, 1), (width, height, 1, 1), (0, 0, 65535, 65535)))
    picture = b"," + struct.pack("<HHHHB", *shown, 0) + b"\x02\x02\x44\x01\x00"
    return head + (delay + picture) * rng.choice((1, 2, 50, 2000, 30_000)) + b";"


def _jpeg(rng: Random, seeds: Seeds) -> bytes:
    """Another size, or very many scans."""
    jpeg = bytearray(rng.choice(seeds["jpeg"]))
    if rng.random() < 0.5:
        start = jpeg.rindex(b"\xff\xda")
        scan = bytes(jpeg[start : jpeg.rindex(b"\xff\xd9")])
        jpeg = jpeg[:start] + scan[:2000] * rng.choice((10, 100, 500)) + b"\xff\xd9"
    at = next((at for kind in (0xC0, 0xC1, 0xC2) if (at := jpeg.find(bytes((0xFF, kind)))) > 0), -1)
    if at > 0 and rng.random() < 0.7:
        struct.pack_into(">HH", jpeg, at + 5, *(min(side, 65535) for side in _sides(rng, 65535)))
    return bytes(jpeg)


def _webp(rng: Random, seeds: Seeds) -> bytes:
    webp = bytearray(rng.choice(seeds["webp"]))
    if webp[12:16] == b"VP8X":
        for at, side in zip((24, 27), _sides(rng, 2**24), strict=True):
            webp[at : at + 3] = (side - 1).to_bytes(3, "little")
        frame = webp.find(b"ANMF")
        if frame > 0 and rng.random() < 0.7:
            length = 8 + int.from_bytes(webp[frame + 4 : frame + 8], "little")
            webp[frame + 20 : frame + 23] = rng.choice((0, 1, 11, 2**24 - 1)).to_bytes(3, "little")
            webp[frame:frame] = webp[frame : frame + length] * rng.choice((1, 50, 400))
            struct.pack_into("<I", webp, 4, len(webp) - 8)
    elif (at := webp.find(b"\x9d\x01\x2a")) > 0:
        struct.pack_into("<HH", webp, at + 3, *(min(side, 16383) for side in _sides(rng, 16383)))
    return bytes(webp)


def _large_webp(rng: Random, seeds: Seeds) -> bytes:
    """What is really there: plain pictures pack into next to nothing."""
    return _plain_one(rng, "WEBP")


def _tiff(rng: Random, seeds: Seeds) -> bytes:
    width, height = _sides(rng, 2**32 - 1)
    samples, bits = rng.choice(((1, 1), (1, 8), (3, 8), (3, 16), (4, 32), (1, 64), (200, 8), (1, 12), (65535, 16)))
    packing = rng.choice((1, 5, 8, 32773, 32946, 50000, 34925, 3, 4, 7, 34712))
    chunks = [_deflated(min(width * height, 2**22))] * rng.choice((1, 1, 4, 2000))
    tags: dict[int, tuple[int, list[int]]] = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [bits] * min(samples, 16)),
        259: (3, [packing]),
        262: (3, [rng.choice((0, 1, 2, 3, 5, 6))]),
        277: (3, [samples]),
        278: (4, [rng.choice((1, height, 2**32 - 1))]),
        284: (3, [rng.choice((1, 2))]),
        339: (3, [rng.choice((1, 2, 3))]),
    }
    if rng.random() < 0.4:
        tags |= {tag: (4, [rng.choice((1, 16, 256, 2**16, 2**31))]) for tag in (322, 323)}
    return tiff(tags, chunks, rng.choice("<>"), rng.random() < 0.3)


def _pages(rng: Random, seeds: Seeds) -> bytes:
    """Directories in a row: very many, or in a circle, whose pages differ in size."""
    many = rng.choice((2, 10, 500, 20_000))
    out = bytearray(b"II*\x00" + struct.pack("<I", 8))
    for number in range(many):
        width, height = (64, 48) if number % 7 else _sides(rng, 2**16)
        entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, rng.choice((1, 8)))]
        entries += [(262, 3, 1, 1), (273, 4, 1, 8), (279, 4, 1, rng.choice((3072, 2**31)))]
        following = len(out) + 2 + 12 * len(entries) + 4
        if number == many - 1:
            following = rng.choice((0, 8, 2**31, following))
        out += struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
        out += struct.pack("<I", following)
    return bytes(out)


def _bmp(rng: Random, seeds: Seeds) -> bytes:
    width, height = (min(side, 2**31 - 1) for side in _sides(rng, 2**31 - 1))
    bits, packing = rng.choice(((1, 0), (4, 2), (8, 1), (24, 0), (32, 3), (16, 3), (8, 0)))
    head = struct.pack("<IHHI", rng.choice((0, 2**32 - 1)), 0, 0, rng.choice((54, 1078, 0, 2**31)))
    info = struct.pack(
        "<IiiHHIIiiII",
        40,
        width,
        rng.choice((height, -height)),
        1,
        bits,
        packing,
        0,
        0,
        0,
        rng.choice((0, 256, 2**31)),
        0,
    )
    return (
        b"BM"
        + head
        + info
        + bytes(1024)
        + rng.choice((b"\x00\x02\xff\xff", b"\xff\x01", b"\x00\x00")) * rng.choice((1, 50_000))
    )


def _tga(rng: Random, seeds: Seeds) -> bytes:
    width, height = (min(side, 65535) for side in _sides(rng, 65535))
    kind, bits = rng.choice(((10, 24), (11, 8), (2, 32), (10, 16)))
    return struct.pack(
        "<BBBHHBHHHHBB", 0, 0, kind, 0, 0, 0, 0, 0, width, height, bits, 0
    ) + b"\xff\x00\x00\x00" * rng.choice((1, 50_000))


def _pcx(rng: Random, seeds: Seeds) -> bytes:
    width, height = (min(side, 65535) for side in _sides(rng, 65535))
    head = struct.pack("<BBBBHHHH", 10, 5, 1, rng.choice((1, 8)), 0, 0, width - 1, height - 1)
    head += bytes(53) + struct.pack("<BHH", rng.choice((1, 3, 4, 255)), rng.choice((width, 0, 65535)), 1)
    return head.ljust(128, b"\0") + b"\xff\x00" * rng.choice((1, 50_000))


def _pnm(rng: Random, seeds: Seeds) -> bytes:
    width, height = _sides(rng, 10 ** rng.choice((3, 5, 9, 30)))
    head = b"P%d\n" % rng.randint(1, 6)
    if rng.random() < 0.3:
        head += b"#" + b"comment " * rng.choice((1, 10_000)) + b"\n"
    return (
        head
        + b"%d %d\n%d\n" % (width, height, rng.choice((1, 255, 65535, 10**20)))
        + rng.choice((b"1 ", b"9" * 100, b"\x00")) * 5000
    )


def _ico(rng: Random, seeds: Seeds) -> bytes:
    inside = _png(rng, seeds) if rng.random() < 0.6 else rng.choice(seeds["png"])
    count = rng.choice((1, 2, 300, 65535))
    listed = min(count, 3000)
    entry = struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, len(inside), 6 + 16 * listed)
    return struct.pack("<HHH", 0, 1, count) + entry * listed + inside


def _jxl(rng: Random, seeds: Seeds) -> bytes:
    """Another size in the header of the codestream."""
    jxl = bytearray(rng.choice(seeds["jxl"]))
    at = max(jxl.find(b"\xff\x0a"), 0)
    jxl[at + 2 : at + 2 + rng.randint(1, 8)] = rng.randbytes(rng.randint(1, 8))
    return bytes(jxl)


def _jpeg2000(rng: Random, seeds: Seeds) -> bytes:
    """Another size, tiles of one pixel, very many components."""
    picture = bytearray(rng.choice(seeds["jpeg2000"]))
    at = picture.index(b"\xff\x51") + 4
    width, height = _sides(rng, 2**32 - 1)
    struct.pack_into(">II", picture, at + 2, width, height)
    if rng.random() < 0.6:
        struct.pack_into(">II", picture, at + 18, *rng.choice(((1, 1), (64, 64), (width, height), (2**31, 2**31))))
    return bytes(picture)


def _heif(rng: Random, seeds: Seeds) -> bytes:
    """Another size in each `ispe`, in the coded picture's own header or not."""
    data = bytearray(rng.choice(seeds["heic"] + seeds["avif"]))
    at = data.find(b"ispe")
    width, height = _sides(rng, 2**32 - 1)
    while at > 0:
        struct.pack_into(">II", data, at + 8, width, height)
        at = data.find(b"ispe", at + 4)
    return bytes(data)


def _large_still(rng: Random, seeds: Seeds) -> bytes:
    """Plain pictures of many pixels and few bytes, in formats of which one call decodes all."""
    return _plain_one(rng, "HEIF", "AVIF", "JPEG2000", "JXL")


def _lie(rng: Random, seeds: Seeds) -> bytes:
    """A picture that is larger than what the file says before it."""
    match rng.randrange(5):
        case 0 | 1:
            data, mark, skip = bytearray(_plain_one(rng, "HEIF", "AVIF")), b"ispe", 8
        case 2:
            data, mark, skip = bytearray(_plain_one(rng, "JPEG2000")), b"ihdr", 4
        case 3:
            jpeg = _plain_one(rng, "JPEG")
            tags: dict[int, tuple[int, list[int]]] = {256: (4, [64]), 257: (4, [64]), 258: (3, [8] * 3), 259: (3, [7])}
            return tiff({**tags, 262: (3, [6]), 277: (3, [3]), 278: (4, [64])}, [jpeg])
        case _:
            inside = _plain_one(rng, "PNG")
            return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(inside), 22) + inside
    at = data.find(mark)
    while at > 0:
        struct.pack_into(">II", data, at + skip, 64, 64)
        at = data.find(mark, at + 4)
    return bytes(data)


def _hidden_tables(rng: Random, seeds: Seeds) -> bytes:
    """A film whose tables are compressed, and large or false (QuickTime File Format, "compressed movie resources")."""
    data = rng.choice(seeds["mov"] + seeds["mp4"])
    start = data.index(b"moov") - 4
    moov = bytearray(data[start : start + int.from_bytes(data[start : start + 4], "big")])
    at = moov.find(b"stsz")
    if rng.random() < 0.6 and at > 0:
        struct.pack_into(">II", moov, at + 8, 1, rng.choice((12, 10**6, 10**8, 2**31 - 1)))
    if rng.random() < 0.5:
        moov += bytes(rng.choice((10**5, 10**7, 2**26)))
        struct.pack_into(">I", moov, 0, len(moov))
    body = struct.pack(">I", rng.choice((len(moov), len(moov), 10, 2**31 - 1, 2**32 - 1))) + zlib.compress(moov, 1)
    body = struct.pack(">I4s4s", 12, b"dcom", b"zlib") + struct.pack(">I4s", 8 + len(body), b"cmvd") + body
    body = struct.pack(">I4s", 8 + len(body), b"cmov") + body
    return data[:start] + struct.pack(">I4s", 8 + len(body), b"moov") + body + data[start + len(moov) :]


_TIMES = (0, 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**40)


def _iso(rng: Random, seeds: Seeds) -> bytes:
    """Tables, times and durations of a film out of all proportion."""
    data = bytearray(rng.choice(seeds["mp4"] + seeds["mov"]))
    for _ in range(rng.randint(1, 4)):
        kind, offsets = rng.choice(
            (
                (b"stts", (4, 8, 12)),
                (b"stsz", (4, 8, 12)),
                (b"stsc", (4, 8, 12, 16)),
                (b"stco", (4, 8)),
                (b"stss", (4, 8)),
                (b"ctts", (4, 8, 12)),
                (b"elst", (4, 8, 12, 16)),
                (b"mvhd", (12, 16)),
                (b"mdhd", (12, 16)),
                (b"tkhd", (20, 76, 80)),
                (b"stsd", (4, 8, 40)),
                (b"avcC", (0, 4)),
                (b"esds", (4, 8)),
            )
        )
        places = [at for at in range(len(data)) if data.startswith(kind, at)] if kind in data else []
        if places:
            at = rng.choice(places) + 4 + rng.choice(offsets)
            data[at : at + 4] = (rng.choice((*_TIMES, 2**16, 2**20, 2**24)) & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(data)


def _matroska(rng: Random, seeds: Seeds) -> bytes:
    """Durations, scales of time, sizes of pictures and lengths of everything, out of all proportion."""
    data = bytearray(rng.choice(seeds["mkv"] + seeds["webm"]))
    for _ in range(rng.randint(1, 3)):
        mark = rng.choice(
            (b"\x2a\xd7\xb1", b"\x44\x89", b"\xb0", b"\xba", b"\x9f", b"\xb5", b"\x23\xe3\x83", b"\xe7", b"\xa3")
        )
        at = data.find(mark, rng.randrange(len(data)) if rng.random() < 0.3 else 0)
        if at >= 0:
            at += len(mark)
            size = data[at] & 0x7F
            data[at + 1 : at + 1 + min(size, 8)] = (
                rng.choice(_TIMES).to_bytes(8, "big")[-min(size, 8) :] if size else b""
            )
    return bytes(data)


def _avi(rng: Random, seeds: Seeds) -> bytes:
    data = bytearray(rng.choice(seeds["avi"]))
    kind = rng.choice((b"avih", b"strh", b"strf", b"idx1"))
    at = data.find(kind) + 8 + 4 * rng.randrange(14)
    data[at : at + 4] = (rng.choice(_TIMES) & 0xFFFFFFFF).to_bytes(4, "little")
    if rng.random() < 0.3:
        at = data.find(b"LIST", 20)
        data[at:at] = (b"LIST" + struct.pack("<I", 2**31 - 1) + b"hdrl") * rng.choice((10, 3000))
    return bytes(data)


def _transport(rng: Random, seeds: Seeds) -> bytes:
    """Packets in another order, given again very often, or of one stream only."""
    data = rng.choice(seeds["ts"])
    packets = [data[at : at + 188] for at in range(0, len(data) - 187, 188)]
    match rng.randrange(3):
        case 0:
            rng.shuffle(packets)
        case 1:
            packets = packets[: rng.randint(1, 20)] * rng.choice((10, 200))
        case 2:
            packets = [packet for packet in packets if packet[1] & 0x40 or rng.random() < 0.1]
    return b"".join(packets)


def _raw(rng: Random, seeds: Seeds) -> bytes:
    """Very many beginnings of JPEGs, or of directories."""
    data = rng.choice(seeds["raw"])
    start = b"\xff\xd8\xff" + rng.choice(
        (b"", b"\xe0\x00\x02", b"\xdb\x00\x02\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03")
    )
    return data + start * rng.choice((10, 2000, 60_000)) + bytes(20)


def _text(rng: Random, seeds: Seeds) -> bytes:
    """What might have a pattern look at each of its bytes over and over."""
    piece = rng.choice(
        (b"<!--", b"<?xml ", b" ", b"\xef\xbb\xbf", b"<!DOCTYPE svg", b"#define ", b"P1 #", b"%PDF", b"\x00")
    )
    return (piece * 400_000)[: rng.choice((1000, 500_000))]


def _zeros(rng: Random, seeds: Seeds) -> bytes:
    """A beginning of any format and nothing but zeros; or no byte at all."""
    head = rng.choice(seeds[rng.choice(sorted(seeds))])[: rng.choice((0, 4, 12, 32, 200))]
    return head + bytes(rng.choice((0, 1, 100, 100_000)))


def _nested(rng: Random, seeds: Seeds) -> bytes:
    """Boxes within boxes within boxes."""
    data = rng.choice(seeds[rng.choice(("mp4", "mov", "heic", "avif"))])
    kind, depth = (
        rng.choice((b"moov", b"meta", b"trak", b"iprp", b"ipco", b"udta", b"free")),
        rng.choice((10, 500, 20_000)),
    )
    inner = b"".join(struct.pack(">I", 8 * (depth - number)) + kind for number in range(depth))
    at = int.from_bytes(data[:4], "big")
    return data[:at] + inner + data[at:]


def _appended(rng: Random, seeds: Seeds) -> bytes:
    """Two whole files, one after the other."""
    return b"".join(rng.choice(seeds[rng.choice(sorted(seeds))]) for _ in range(2))


BOMBS: dict[str, tuple[Callable[[Random, Seeds], bytes], ...]] = {
    "jpeg": (_jpeg, _jpeg, _appended),
    "png": (_png, _png_chunks),
    "apng": (_apng, _png_chunks),
    "gif": (_gif,),
    "webp": (_webp, _webp, _large_webp),
    "tiff": (_tiff, _tiff, _pages, _lie),
    "bmp": (_bmp,),
    "heic": (_heif, _nested, _large_still, _lie),
    "avif": (_heif, _nested, _large_still, _lie),
    "jxl": (_jxl, _jxl, _large_still),
    "jpeg2000": (_jpeg2000, _jpeg2000, _large_still, _lie),
    "ico": (_ico, _ico, _lie),
    "pnm": (_pnm,),
    "tga": (_tga,),
    "pcx": (_pcx,),
    "raw": (_raw,),
    "mp4": (_iso, _iso, _nested),
    "mov": (_iso, _iso, _nested, _hidden_tables),
    "mkv": (_matroska,),
    "webm": (_matroska,),
    "avi": (_avi,),
    "ts": (_transport,),
    "unread": (_text, _zeros, _appended),
}
