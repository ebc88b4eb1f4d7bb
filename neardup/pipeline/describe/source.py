"""What a door gives to the engine, and what comes back: sources in, one `Done` for each.

A source stays with the door: it says who waits for the item. Its *task* is what decoding needs; a task may be pickled,
handed to another process and used there, in any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from neardup.pipeline.describe.description import Description
from neardup.pipeline.errors import InvalidFrame
from neardup.pipeline.media.fetch import Fetched
from neardup.pipeline.types import Media


class Task(Protocol):
    """Where an item's content comes from, and its thumbnail, pack and description go to."""

    def opened(self) -> AbstractContextManager[Fetched]:
        """Return the content while the context lasts; raises InvalidFrame where it cannot be had."""

    def check(self, media: Media) -> None:
        """Raise InvalidFrame if the content may not be what it is; called before its frames are decoded."""

    def check_end(self) -> None:
        """Raise InvalidFrame if the content is no longer what was opened; called after its last frame."""

    @property
    def packed(self) -> bool:
        """Whether a pack for proofs is wanted, see `prove.pack`."""

    def keep(self, jpeg: bytes, sha256: bytes) -> str:
        """Store a thumbnail and return where; raises DependencyError."""

    def keep_pack(self, pack: bytes, sha256: bytes) -> None:
        """Store a pack for proofs; raises DependencyError."""

    def result(self, description: Description) -> Any:
        """Return what the door wants of a description; made where it was described, so it may be pickled, too."""


Recalled: TypeAlias = Callable[[], Any | None]
"""Stores thumbnail and pack and returns what `Task.result` would; None where it cannot, as where the thumbnail of the
first item is gone: then the item is described. Called once, by any thread; raises DependencyError."""


class Recalls(Protocol):
    """What a task may be, too: one whose door knows results of contents that were described before."""

    def recall(self, sha256: bytes) -> Recalled | None:
        """Return what gives the result of a content, None where it is not known. Called by the thread that decodes."""


class Source(Protocol):
    """An item, and who waits for it."""

    @property
    def task(self) -> Task:
        """What decoding needs."""

    @property
    def traceparent(self) -> str:
        """Where the item has been, see `tracing`; "" if that is not known."""

    @property
    def sender(self) -> Hashable:
        """Whose it is: items of one sender wait for each other, and senders take turns."""

    @property
    def small(self) -> bool:
        """Whether the content is near, and soon decoded: then items that come after it may wait for it."""

    @property
    def owner(self) -> str:
        """Who sent it, and may not have all places for what takes long; "" where senders are not distinguished."""

    @property
    def gone(self) -> bool:
        """Whether nobody waits for it any more."""


S = TypeVar("S", bound=Source)


@dataclass(frozen=True, slots=True)
class Done(Generic[S]):
    """An item that was dealt with: its result, or the error; or neither, see `repeated`.

    Attributes:
        result: what `Task.result` returned.
        sha256: of the content; b"" where it could not be had.
        repeated: the content was described before; without a result, unless the task could recall it.
    """

    source: S
    result: Any = None
    sha256: bytes = b""
    error: InvalidFrame | None = None
    repeated: bool = False
