"""The names of formats that are not read here, so that a person knows what a skipped file is.

Nothing is decided by them: what `identify` does not know is refused in any case.
"""

from __future__ import annotations

import re

from neardup.pipeline.media.refuse import COPY_AGAIN

_PICTURE = "convert it to PNG or JPEG"
_FILM = "convert it to MP4"
_PAGES = "convert its pages to PNG or JPEG"
_INSIDE = "extract the files in it"
_AGAIN = "copy or download the picture itself"
_NOTHING = "remove it from what is to be compared"
_NAMES: tuple[tuple[bytes, str, str], ...] = (
    (rb"8BPS", "a Photoshop file (PSD)", _PICTURE),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media video or sound (WMV, WMA, ASF)", _FILM),
    (rb"FLV\x01", "a Flash video (FLV)", _FILM),
    (rb"[CFZ]WS", "a Flash film (SWF)", _FILM),
    (rb"\x00\x00\x01[\xba\xb3]", "an MPEG program stream (MPG, VOB)", _FILM),
    (rb"\.RMF", "a RealMedia video", _FILM),
    (rb"OggS", "an Ogg video or sound", _FILM),
    (rb"%PDF|.{1,1000}%PDF-", "a PDF document", _PAGES),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript file (EPS)", _PAGES),
    (
        rb"(\xef\xbb\xbf)?\s*(<\?xml.{0,800})?(<!--.{0,800})?(<!DOCTYPE svg.{0,400})?<svg[\s>]",
        "an SVG drawing",
        _PICTURE,
    ),
    (
        rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html|head|body)",
        "a web page (HTML), which stands where a download was refused",
        _AGAIN,
    ),
    (rb"(\xef\xbb\xbf)?\s*<\?xml", "an XML file", _NOTHING),
    (rb"v/1\x01", "an OpenEXR picture (EXR)", _PICTURE),
    (rb"#\?(RADIANCE|RGBE)", "a Radiance picture (HDR)", _PICTURE),
    (rb"DDS ", "a DirectDraw texture (DDS)", _PICTURE),
    (rb"gimp xcf", "a GIMP file (XCF)", _PICTURE),
    (rb"II\xbc\x01", "a JPEG XR picture", _PICTURE),
    (rb"AT&TFORM", "a DjVu document", _PAGES),
    (rb"FORM....(ILBM|PBM )", "an Amiga picture (ILBM)", _PICTURE),
    (rb"\x00\x00\x02\x00.\x00", "a Windows cursor (CUR)", _PICTURE),
    (rb"icns", "an Apple icon (ICNS)", _PICTURE),
    (rb"\xd7\xcd\xc6\x9a|\x01\x00\x09\x00|\x01\x00\x00\x00.{36} EMF", "a Windows metafile (WMF, EMF)", _PICTURE),
    (rb".{128}DICM", "a DICOM picture", _PICTURE),
    (rb"SIMPLE  =", "a FITS picture", _PICTURE),
    (rb"P7\n|P[Ff]\s", "a portable map of a kind that is not read (PAM, PFM)", _PICTURE),
    (rb"qoif", "a QOI picture", _PICTURE),
    (rb"BPG\xfb", "a BPG picture", _PICTURE),
    (rb"FLIF", "a FLIF picture", _PICTURE),
    (rb"#define .{0,200}_width", "an X bitmap (XBM)", _PICTURE),
    (rb"/\* XPM \*/", "an X pixmap (XPM)", _PICTURE),
    (rb"\x59\xa6\x6a\x95", "a Sun raster picture", _PICTURE),
    (rb"\x01\xda[\x00\x01][\x01\x02]", "an SGI picture", _PICTURE),
    (rb"PK\x03\x04|PK\x05\x06", "a ZIP archive, or a document that is one", _INSIDE),
    (rb"Rar!|7z\xbc\xaf\x27\x1c|\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd", "an archive or a compressed file", _INSIDE),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document, or a Thumbs.db", _PAGES),
    (rb"ID3|\xff[\xfb\xf3\xf2]|fLaC|MThd|FORM....AIF|RIFF....WAVE", "a sound file", _NOTHING),
    (rb"SQLite format 3", "a database", _NOTHING),
    (rb"\x7fELF|MZ", "a program", _NOTHING),
    (rb"\{\\rtf", "a text document (RTF)", _NOTHING),
)
_PATTERNS = [(re.compile(pattern, re.DOTALL | re.IGNORECASE), name, remedy) for pattern, name, remedy in _NAMES]
_LATER = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
)


def unread(head: bytes) -> str:
    """Return a sentence on content that begins with `head`, which is none of the formats read here."""
    for pattern, name, remedy in _PATTERNS:
        if pattern.match(head):
            return f"this is {name}, which is not read; {remedy}"
    if not head.strip(b"\x00"):
        return f"the file begins with zeros only: it was not written to its end, or lost its content; {COPY_AGAIN}"
    for mark, name in _LATER:
        if (at := head.find(mark)) > 0:
            return f"{at} bytes of something else stand before a {name} picture; remove them to have it read"
    if _is_text(head):
        return f"this is text, and not a picture or video; {_NOTHING}"
    begins = f"it begins with {head[:8].hex(' ')}"
    return f"no picture or video that is read here, {begins}; if a program shows it, convert it to PNG, JPEG or MP4"


def _is_text(head: bytes) -> bool:
    printable = sum(byte >= 32 or byte in b"\t\n\r" for byte in head)
    return b"\x00" not in head and printable == len(head)
