"""Tell a format by the first bytes of its content, never by a file's name.

A GIF or WebP is called an image here. Whether it moves, which makes it a video, is known only once it has been opened.
"""

from __future__ import annotations

from dataclasses import dataclass

from neardup.pipeline.types import Kind

HEAD_BYTES = 1024
"""How much of the beginning `identify` wants to see."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format that is read here: its short lower-case name, and what it holds."""

    name: str
    kind: Kind


JPEG = Format("jpeg", Kind.IMAGE)
PNG = Format("png", Kind.IMAGE)
WEBP = Format("webp", Kind.IMAGE)
GIF = Format("gif", Kind.IMAGE)
AVIF = Format("avif", Kind.IMAGE)
HEIC = Format("heic", Kind.IMAGE)
BMP = Format("bmp", Kind.IMAGE)
TIFF = Format("tiff", Kind.IMAGE)
JPEG2000 = Format("jpeg2000", Kind.IMAGE)
JXL = Format("jxl", Kind.IMAGE)
PNM = Format("pnm", Kind.IMAGE)
TGA = Format("tga", Kind.IMAGE)
ICO = Format("ico", Kind.IMAGE)
PCX = Format("pcx", Kind.IMAGE)
CR3 = Format("cr3", Kind.IMAGE)
RAF = Format("raf", Kind.IMAGE)
RW2 = Format("rw2", Kind.IMAGE)
ORF = Format("orf", Kind.IMAGE)
MP4 = Format("mp4", Kind.VIDEO)
MOV = Format("mov", Kind.VIDEO)
MKV = Format("mkv", Kind.VIDEO)
WEBM = Format("webm", Kind.VIDEO)
AVI = Format("avi", Kind.VIDEO)
TS = Format("ts", Kind.VIDEO)

_MAGIC = {
    b"\xff\xd8\xff": JPEG,
    b"\x89PNG\r\n\x1a\n": PNG,
    b"GIF87a": GIF,
    b"GIF89a": GIF,
    b"II*\x00": TIFF,
    b"MM\x00*": TIFF,
    b"II+\x00": TIFF,  # BigTIFF
    b"MM\x00+": TIFF,
    b"\x00\x00\x00\x0cjP  \r\n\x87\n": JPEG2000,
    b"\xff\x4f\xff\x51": JPEG2000,
    b"\xff\x0a": JXL,
    b"\x00\x00\x00\x0cJXL \r\n\x87\n": JXL,
    b"\x00\x00\x01\x00": ICO,
    b"FUJIFILMCCD-RAW": RAF,
    b"IIU\x00": RW2,
    b"IIRO": ORF,
    b"IIRS": ORF,
    b"MMOR": ORF,
}
_BMP_HEADERS = {12, 40, 52, 56, 64, 108, 124}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
_OLD_QUICKTIME = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}
# A transport stream has its sync byte every 188 bytes; on Blu-ray each packet has four more bytes before it.
_TS_SYNC = ((0, 188), (4, 192))


def identify(head: bytes) -> Format | None:
    """Return the format of content that begins with `head` (HEAD_BYTES of it, or all), None if it is none we read."""
    for magic, format in _MAGIC.items():
        if head.startswith(magic):
            return format
    if head[:4] == b"RIFF":
        return {b"WEBP": WEBP, b"AVI ": AVI}.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _iso(head)
    if head[4:8] in _OLD_QUICKTIME:
        return MOV
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return WEBM if b"\x42\x82\x84webm" in head else MKV  # EBML element DocType
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return BMP
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return PNM
    if head[:1] == b"\x0a" and head[1:2] in b"\x00\x02\x03\x04\x05" and head[2:3] == b"\x01" and head[64:65] == b"\x00":
        return PCX
    if _is_tga(head):
        return TGA
    if any(head[start : start + 2 * step + 1 : step] == b"GGG" for start, step in _TS_SYNC):
        return TS
    return None


def _is_tga(head: bytes) -> bool:
    """Return whether all fields of a Targa's header (version 2.0, 1991) make sense together: it has no mark."""
    if len(head) < 18:
        return False
    mapped, kind, bits = head[1], head[2], head[16]
    if mapped > 1 or kind not in ((1, 9) if mapped else (2, 3, 10, 11)) or head[17] & 0xC0:
        return False
    good = head[7] in (15, 16, 24, 32) and bits == 8 if mapped else not any(head[3:8])
    sizes = head[12:14] != b"\x00\x00" != head[14:16]
    return good and sizes and bits in ((8, 16) if kind in (3, 11) else (8, 15, 16, 24, 32))


def _iso(head: bytes) -> Format:
    """Tell the formats of the ISO base media family by the brands of the `ftyp` box that the content begins with."""
    major, length = head[8:12], int.from_bytes(head[:4], "big")
    brands = {major, *(head[at : at + 4] for at in range(16, min(length, len(head)), 4))}
    if major in _AVIF_BRANDS or (major in _HEIC_BRANDS and brands & _AVIF_BRANDS):
        return AVIF
    if major in _HEIC_BRANDS:
        return HEIC
    if major == b"crx ":
        return CR3
    return MOV if major == b"qt  " else MP4
