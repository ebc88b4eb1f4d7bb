"""File names as text that is safe to show, and back to the bytes that the disk knows.

A name is bytes, not text: it may hold newlines, quotes, `<script>` and bytes that are no UTF-8 (which Python carries as
surrogate escapes). `readable` is for machines, and `visible` for eyes: there, nothing in a name can forge a line or
turn the reading direction.
"""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from urllib.parse import quote

_UNSHOWN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories of what shows nothing, breaks a line or reorders text: a name "gpj.exe" can pose as "exe.jpg"."""
_JOINERS = "\u200c\u200d"


def raw(path: str) -> bytes:
    """Return the bytes of a path as the disk knows it."""
    try:
        return path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate that no file name decodes to
        return path.encode("utf-8", "surrogatepass")


def readable(path: str) -> str:
    """Return the path as valid Unicode: itself, or with each byte that is no UTF-8 written as `\\xNN`."""
    return raw(path).decode("utf-8", "backslashreplace")


def is_utf8(path: str) -> bool:
    """Tell whether `readable` gives the path unchanged."""
    return readable(path) == path


def visible(path: str) -> str:
    """Return the path as one line that shows every character: newlines and the like as `\\n`, `\\u202e`."""
    text = readable(path)
    if text.isprintable():
        return text
    before = ["", *text]
    return "".join(_shown(one, last) for last, one in zip(before, text, strict=False))


def _shown(one: str, last: str) -> str:
    joins = one in _JOINERS and last > "\x7f"  # emoji and some scripts need them
    return one if joins or unicodedata.category(one) not in _UNSHOWN else one.encode("unicode_escape").decode("ascii")


def absolute(path: str) -> bytes:
    """Return the path's bytes from the root on; `..` and links are left as they are."""
    return os.path.join(bytes(Path.cwd()), raw(path))  # noqa: PTH118 - pathlib would normalise the path


def link(path: str) -> str:
    """Return the `file:` address of a path; every character that could mean something else is percent-encoded."""
    return "file:///" + quote(absolute(path).lstrip(b"/"), safe="/")
