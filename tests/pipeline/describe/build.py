"""Items whose content is given, which may be handed to another process."""

from __future__ import annotations

import hashlib
import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple

from neardup.pipeline.describe.description import Description
from neardup.pipeline.media.fetch import Fetched
from neardup.pipeline.types import Media


class ContentTask(NamedTuple):
    """See `describe.source.Task`; its result is the vectors."""

    content: bytes
    packed: bool = False

    def opened(self) -> AbstractContextManager[Fetched]:
        return nullcontext(Fetched(hashlib.sha256(self.content).digest(), self.content))

    def check(self, media: Media) -> None: ...

    def check_end(self) -> None: ...

    def keep(self, jpeg: bytes, sha256: bytes) -> str:
        raise AssertionError((jpeg, sha256))

    def keep_pack(self, pack: bytes, sha256: bytes) -> None:
        raise AssertionError((pack, sha256))

    def result(self, description: Description) -> bytes:
        return description.vectors.tobytes()


class FaultyTask(ContentTask):
    """One that our own code fails on, after decoding."""

    __slots__ = ()

    def result(self, description: Description) -> bytes:
        raise ValueError(description.format)


@dataclass(eq=False)
class Item:
    """See `describe.source.Source`."""

    name: str
    task: ContentTask
    small: bool = True
    owner: str = ""
    sender: str = ""
    traceparent: str = ""
    left: threading.Event = field(default_factory=threading.Event)

    @property
    def gone(self) -> bool:
        return self.left.is_set()
