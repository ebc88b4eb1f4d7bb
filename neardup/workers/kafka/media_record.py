"""What a record of `media` says: an item by its key, and its content, in the record or behind a URI.

Any Kafka client may have written it, so nothing is believed: what is not as it should be raises `InvalidFrame`.

A frame of a live video has the header `pts`, its second as a decimal number, and the video's id for a key; the header
`pts: end` with an empty value ends the video.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.log.ids import fault_of_bank, fault_of_id, fault_of_key
from neardup.pipeline.media.fetch import Fetched, Rules, open_content

URI_LIST = "text/uri-list"
PRODUCER = "producer"
"""Who asks for a takedown that is a record of `media`, as the audit trail has it."""
MAX_LIVE_SECONDS = 1e9
_SECONDS = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
_END = "end"
_SENDER = re.compile(r"([^/:]{0,64})[/:]")
_SMALL_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class MediaItem:
    """One item to describe.

    Attributes:
        content: its bytes, or the URI that leads to them.
        sha256: what was announced of a URI's content.
        pts: the second of a live video that this is a frame of.
        ends: whether this is the end of a live video; without content.
    """

    id: str
    bank: str
    content: bytes | str
    sha256: bytes | None = None
    pts: float | None = None
    ends: bool = False

    @property
    def live(self) -> bool:
        """Whether it belongs to a live video; `id` is that video's."""
        return self.ends or self.pts is not None

    def opened(self, rules: Rules) -> AbstractContextManager[Fetched]:
        """Return the content and its hash.

        Raises:
            InvalidFrame: it cannot be had.
        """
        return open_content(self.content, self.sha256, rules)


def is_small(content: bytes | str) -> bool:
    """Whether bytes, or what a URI leads to, are here and soon decoded."""
    return isinstance(content, bytes) and len(content) <= _SMALL_BYTES


def sender_of(id: str) -> str:
    """Return whose an item is, as far as its id says: what is before the first / or :, "" if there is neither."""
    found = _SENDER.match(id)
    return "" if found is None else found[1]


def read_key(key: bytes | None) -> str:
    """Return the id of an item that may be known already, from before there were rules for ids.

    Raises:
        InvalidFrame: SCHEMA, it cannot be one.
    """
    if not key:
        raise InvalidFrame(Reason.SCHEMA, "no key; it is the item's id")
    id = _text(key, "the key")
    if fault := fault_of_key(id):
        raise InvalidFrame(Reason.SCHEMA, f"the key can be no id: {fault}")
    return id


def read_id(key: bytes | None) -> str:
    """Return the id of an item that is new, see `ids.fault_of_id`.

    Raises:
        InvalidFrame: SCHEMA, it cannot be one.
    """
    id = read_key(key)
    if fault := fault_of_id(id):
        raise InvalidFrame(Reason.SCHEMA, f"the key can be no id: {fault}")
    return id


def read_item(key: bytes | None, value: bytes, headers: Sequence[tuple[str, bytes]]) -> MediaItem:
    """Return what a record with a value says.

    Raises:
        InvalidFrame: SCHEMA, it is not formed as it should be.
    """
    id, named = read_id(key), dict(headers)
    bank = _text(named.get("bank", b"seen"), "header bank")
    if fault := fault_of_bank(bank):
        raise InvalidFrame(Reason.SCHEMA, f"header bank is {bank[:80]!r}: {fault}")
    pts = _text(named["pts"], "header pts") if "pts" in named else None
    if pts == _END:
        if value:
            raise InvalidFrame(Reason.SCHEMA, f"header pts is end, and the value has {len(value)} bytes, wanted none")
        return MediaItem(id, bank, b"", ends=True)
    seconds = None if pts is None else _seconds(pts)
    content_type = _text(named.get("content-type", b""), "header content-type")
    if content_type.partition(";")[0].strip().lower() != URI_LIST:
        return MediaItem(id, bank, value, pts=seconds)
    return MediaItem(id, bank, _uri(value), _sha256(named), seconds)


def uri_value(uri: str) -> bytes:
    """Return the value of a record that leads to a URI.

    Raises:
        InvalidFrame: SCHEMA, whoever reads the record would find another URI, such as one without a space at its end.
    """
    value = uri.encode()
    if _uri(value) != uri:
        raise InvalidFrame(Reason.SCHEMA, "a URI that is another in a record")
    return value


def is_end(headers: Sequence[tuple[str, bytes]]) -> bool:
    """Return whether a record ends a live video; then null is as good as an empty value, and takes nothing down."""
    return dict(headers or ()).get("pts") == _END.encode()


def attempts(headers: Sequence[tuple[str, bytes]]) -> int:
    """Return how often the record was tried before: by then it had been a dead letter."""
    value = dict(headers).get("attempts", b"0")
    return int(value) if re.fullmatch(rb"[0-9]{1,6}", value) else 0


def _seconds(text: str) -> float:
    if not _SECONDS.fullmatch(text) or float(text) > MAX_LIVE_SECONDS:
        raise InvalidFrame(Reason.SCHEMA, f"header pts is {text[:80]!r}, wanted seconds such as 12.5, or end")
    return float(text)


def _uri(value: bytes) -> str:
    lines = [line.strip() for line in _text(value, "the URI").splitlines()]
    uris = [line for line in lines if line and not line.startswith("#")]  # RFC 2483, section 5
    if len(uris) != 1:
        raise InvalidFrame(Reason.SCHEMA, f"{len(uris)} URIs, wanted 1")
    return uris[0]


def _sha256(headers: Mapping[str, bytes]) -> bytes | None:
    value = headers.get("sha256")
    if value is None or len(value) == 32:
        return value
    if not re.fullmatch(rb"[0-9a-fA-F]{64}", value):
        raise InvalidFrame(Reason.SCHEMA, "header sha256 is neither 32 bytes nor 64 hexadecimal digits")
    return bytes.fromhex(value.decode())


def _text(value: bytes, what: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidFrame(Reason.SCHEMA, f"{what} is not UTF-8") from error
