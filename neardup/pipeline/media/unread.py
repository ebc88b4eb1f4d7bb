"""The names of formats that are not read here, so that a person knows what a skipped file is.

Nothing is decided by them: what `identify` does not know is refused in any case.
"""

from __future__ import annotations

import re

_NAMES: tuple[tuple[bytes, str], ...] = (
    (rb"8BPS", "a Photoshop file (PSD)"),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media video or sound (WMV, WMA, ASF)"),
    (rb"FLV\x01", "a Flash video (FLV)"),
    (rb"[CFZ]WS", "a Flash film (SWF)"),
    (rb"\x00\x00\x01[\xba\xb3]", "an MPEG program stream (MPG, VOB)"),
    (rb"\.RMF", "a RealMedia video"),
    (rb"OggS", "an Ogg video or sound"),
    (rb"%PDF|.{1,1000}%PDF-", "a PDF document"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript file (EPS)"),
    (rb"(\xef\xbb\xbf)?\s*(<\?xml.{0,800})?(<!--.{0,800})?(<!DOCTYPE svg.{0,400})?<svg[\s>]", "an SVG drawing"),
    (rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html|head|body)", "a web page (HTML); was a download refused?"),
    (rb"(\xef\xbb\xbf)?\s*<\?xml", "an XML file"),
    (rb"v/1\x01", "an OpenEXR picture (EXR)"),
    (rb"#\?(RADIANCE|RGBE)", "a Radiance picture (HDR)"),
    (rb"DDS ", "a DirectDraw texture (DDS)"),
    (rb"gimp xcf", "a GIMP file (XCF)"),
    (rb"II\xbc\x01", "a JPEG XR picture"),
    (rb"AT&TFORM", "a DjVu document"),
    (rb"FORM....(ILBM|PBM )", "an Amiga picture (ILBM)"),
    (rb"\x00\x00\x02\x00.\x00", "a Windows cursor (CUR)"),
    (rb"icns", "an Apple icon (ICNS)"),
    (rb"\xd7\xcd\xc6\x9a|\x01\x00\x09\x00|\x01\x00\x00\x00.{36} EMF", "a Windows metafile (WMF, EMF)"),
    (rb".{128}DICM", "a DICOM picture"),
    (rb"SIMPLE  =", "a FITS picture"),
    (rb"P7\n|P[Ff]\s", "a portable map of a kind that is not read (PAM, PFM)"),
    (rb"qoif", "a QOI picture"),
    (rb"BPG\xfb", "a BPG picture"),
    (rb"FLIF", "a FLIF picture"),
    (rb"#define .{0,200}_width", "an X bitmap (XBM)"),
    (rb"/\* XPM \*/", "an X pixmap (XPM)"),
    (rb"\x59\xa6\x6a\x95", "a Sun raster picture"),
    (rb"\x01\xda[\x00\x01][\x01\x02]", "an SGI picture"),
    (rb"PK\x03\x04|PK\x05\x06", "a ZIP archive, or a document that is one"),
    (rb"Rar!|7z\xbc\xaf\x27\x1c|\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd", "an archive or a compressed file"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document, or a Thumbs.db"),
    (rb"ID3|\xff[\xfb\xf3\xf2]|fLaC|MThd|FORM....AIF|RIFF....WAVE", "a sound file"),
    (rb"SQLite format 3", "a database"),
    (rb"\x7fELF|MZ", "a program"),
    (rb"\{\\rtf", "a text document (RTF)"),
)
_PATTERNS = [(re.compile(pattern, re.DOTALL | re.IGNORECASE), name) for pattern, name in _NAMES]
_LATER = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
)


def unread(head: bytes) -> str:
    """Return a sentence on content that begins with `head`, which is none of the formats read here."""
    for pattern, name in _PATTERNS:
        if pattern.match(head):
            return f"this is {name}, which is not read"
    if not head.strip(b"\x00"):
        return "the file begins with zeros only: it was not written to its end, or lost its content"
    for mark, name in _LATER:
        if (at := head.find(mark)) > 0:
            return f"{at} bytes of something else stand before a {name} picture; remove them to have it read"
    if _is_text(head):
        return "this is text, and not a picture or video"
    return f"no picture or video that is read here; it begins with {head[:8].hex(' ')}"


def _is_text(head: bytes) -> bool:
    printable = sum(byte >= 32 or byte in b"\t\n\r" for byte in head)
    return b"\x00" not in head and printable == len(head)
