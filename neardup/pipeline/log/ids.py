"""Which texts can be ids of items and references, and which names of banks; every door asks here.

An id travels in paths of URLs, and clients and proxies rewrite those: they drop "." and "..", join slashes, take a
backslash for a slash, and decode what was percent-encoded. So an id that such a rewriting could turn into another path
is refused. What nobody can see, or tell from another text, is refused, too. `match` never asks: a log of before these
rules replays as it was.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from urllib.parse import quote, unquote

from neardup.pipeline.report.names import raw

MAX_ID_BYTES = 256
BANK_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}")
BANK_NAME_RULE = "1 to 64 letters, digits, dots, dashes or underscores, the first a letter or digit"
_SCHEME = re.compile(r"(?:^|(?<=/))[a-zA-Z][a-zA-Z0-9+.-]*://(?=[^/])")
_SEPARATOR = re.compile(r"[/\\?#]")
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufffd")
"""Letters and marks that show nothing, and the sign that stands for what could not be decoded."""
_TAIL_BYTES = 200


def fault_of_id(id: str) -> str:
    """Return why a text cannot be the id of anything new, "" if it can.

    An id is 1 to 256 bytes of UTF-8, in Unicode's form NFC, of characters that are printable as `str.isprintable` has
    it: no control, format, private or unassigned character, no space but " ", and that neither first nor last. Between
    slashes is always something, and that is not "." or "..", however it is encoded; a URI may be an id, or end one.
    """
    if fault := fault_of_key(id):
        return fault
    for character in id:
        if not character.isprintable() or character in _UNSEEN:
            return f"character U+{ord(character):04X} cannot be seen"
    if not unicodedata.is_normalized("NFC", id):
        return f"it is not in Unicode's form NFC, which is {unicodedata.normalize('NFC', id)!r}"
    if id != id.strip(" "):
        return "a space is first or last"
    if "\\" in id:
        return "a backslash, which some take for a slash"
    if "" in _SCHEME.sub("", id, count=1).split("/"):
        return "a slash is first, last or beside another"
    return "a part of it is . or .." if _leads_up(id) else ""


def fault_of_key(id: str) -> str:
    """Return why a text cannot be the id of anything, not even in a log of before there were rules; "" if it can."""
    try:
        size = len(id.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    return "" if 0 < size <= MAX_ID_BYTES else f"it has {size} bytes, wanted 1 to {MAX_ID_BYTES} bytes"


def fault_of_bank(name: str) -> str:
    """Return why a text cannot be the name of a bank, "" if it can."""
    return "" if BANK_NAME.fullmatch(name) else f"wanted {BANK_NAME_RULE}"


def make_id(name: str) -> str:
    """Return the id of a name, such as a path: itself where it can be one.

    Otherwise a hash of the name, a tilde, and what can be shown of its end: two names never have the same id. Bytes
    that are no UTF-8 are given as Python's surrogate escapes.
    """
    if not fault_of_id(name):
        return name
    digest = hashlib.sha256(raw(name)).hexdigest()[:32]
    parts = unicodedata.normalize("NFC", _shown(name)).split("/")
    tail = "/".join(part for part in parts if part.strip(" .")).encode()[-_TAIL_BYTES:].decode(errors="ignore")
    made = f"{digest}~{tail.rstrip(' /')}"
    return digest if fault_of_id(made) else made


def _leads_up(id: str) -> bool:
    """Whether there is a part that some reader of URLs takes for "." or "..", however often it is encoded."""
    before, decoded = "", id
    while before != decoded:
        before, decoded = decoded, unquote(decoded)
    # "..;x" is ".." to servers that know parameters of a part
    return any(part.partition(";")[0].strip() in (".", "..") for part in _SEPARATOR.split(decoded))


def _shown(name: str) -> str:
    """Return a name with what cannot be in an id percent-encoded."""
    return "".join(one if one.isprintable() and one not in _UNSEEN and one != "\\" else quote(raw(one)) for one in name)
