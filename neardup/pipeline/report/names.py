"""File names as text that is safe to show, and back to the bytes that the disk knows.

A name is bytes, not text: it may hold newlines, quotes, `<script>` and bytes that are no UTF-8 (which Python carries as
surrogate escapes). `readable` is for machines, and `visible` for eyes: there, nothing in a name can forge a line or
turn the reading direction.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote

# Control characters, line and paragraph separators, and the marks that reorder text: a name "gpj.exe" can pose as
# "exe.jpg" with them.
_DECEPTIVE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


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
    return _DECEPTIVE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), readable(path))


def absolute(path: str) -> bytes:
    """Return the path's bytes from the root on; `..` and links are left as they are."""
    return os.path.join(bytes(Path.cwd()), raw(path))  # noqa: PTH118 - pathlib would normalise the path


def link(path: str) -> str:
    """Return the `file:` address of a path; every character that could mean something else is percent-encoded."""
    return "file:///" + quote(absolute(path).lstrip(b"/"), safe="/")
