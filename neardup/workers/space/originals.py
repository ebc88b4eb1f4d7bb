"""Where the content of an item is that was described before, and the task that describes it anew.

It is in the blob store, in its record of `media` for as long as that is kept, or behind the URI that the record holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass, replace

import msgspec

from neardup.pipeline.describe.codec import to_records
from neardup.pipeline.describe.description import Description
from neardup.pipeline.errors import InvalidFrame
from neardup.pipeline.log.records import Described
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.media.fetch import Rules, fetch_rules
from neardup.pipeline.prove.pack import owner_of
from neardup.pipeline.settings import Settings
from neardup.pipeline.types import Kind
from neardup.workers.embed.record import MediaTask, encode_record
from neardup.workers.kafka.media_reader import MediaReader
from neardup.workers.kafka.media_record import MediaItem, is_small, read_item, sender_of
from neardup.workers.kafka.topics import topic_names

PAST = "media has forgotten it, and the blob store does not have it"
UNKNOWN = "the log does not say where it came from"
OTHER = "what is there now is another content"


@dataclass(frozen=True, slots=True, kw_only=True)
class FillTask(MediaTask):
    """As an item of `media`, but files that are there stay as they are.

    Attributes:
        before: what another space's log has of it. small_copy: its thumbnail takes the place of the original.
    """

    before: Described
    small_copy: bool = False

    def keep(self, jpeg: bytes, sha256: bytes) -> str:
        if self.before.live or self.small_copy or self.before.thumbnail:
            return self.before.thumbnail
        return MediaTask.keep(self, jpeg, sha256)

    def result(self, description: Description) -> list[bytes]:
        """Return the records of the log; from a thumbnail they say of the file what is known of the original."""
        if not self.small_copy:
            return MediaTask.result(self, description)
        known = self.before
        same = {
            "sha256": known.sha256, "pixels_digest": known.pixels_digest, "width": known.width, "height": known.height,
            "thumbnail": known.thumbnail, "extras": known.extras,
        }  # fmt: skip
        return [encode_record(msgspec.structs.replace(self._whole(one), **same)) for one in to_records(description)]

    def _whole(self, part: Described) -> Described:
        return msgspec.structs.replace(MediaTask._whole(self, part), quiet=self.before.quiet)


@dataclass(frozen=True, slots=True)
class FillItem:
    """An item to describe; see `describe.source.Source`. `offset`: of its record in the other space's log."""

    task: FillTask
    offset: int

    @property
    def traceparent(self) -> str:
        return ""

    @property
    def sender(self) -> Hashable:
        return sender_of(self.task.item.id)

    @property
    def small(self) -> bool:
        return is_small(self.task.item.content)

    @property
    def size(self) -> int:
        """Bytes that it holds in memory meanwhile."""
        return len(self.task.item.content) + 200

    @property
    def owner(self) -> str:
        return ""

    @property
    def gone(self) -> bool:
        return False


class KeptOriginals:
    """Finds originals; for one thread.

    Args:
        thumbnails: whether an image without an original is described from its thumbnail.
    """

    def __init__(self, settings: Settings, thumbnails: bool = False) -> None:
        self._blobs = Blobs(settings.blobs_url)
        self._media = MediaReader(settings, topic_names(settings.topic_root, "").media)
        self._rules: Rules = fetch_rules(settings)
        self._prove = settings.prove
        self._thumbnails = thumbnails

    def find(self, known: Described, offset: int) -> FillItem | str:
        """Return an item that can be described, or why it cannot be.

        Args:
            offset: of its record in the log where it is known from.
        Raises:
            DependencyError: Kafka or the blob store does not answer.
        """
        found = self._content(known)
        if isinstance(found, str) and self._thumbnails and known.kind is Kind.IMAGE and not known.live:
            jpeg = self._blobs.thumbnail(known.id, known.sha256.hex())
            if jpeg is not None:
                return self._item(known, MediaItem(known.id, known.bank, jpeg), offset, small_copy=True)
        return found if isinstance(found, str) else self._item(known, found, offset)

    def erase(self, id: str) -> None:
        """Remove all files of an upload, those that were written since it was taken down among them."""
        self._blobs.erase(id)

    def close(self) -> None:
        """Disconnect."""
        self._media.close()

    def _item(self, known: Described, item: MediaItem, offset: int, small_copy: bool = False) -> FillItem:
        place = known.source_partition, known.source_offset
        packed = self._prove and not known.live and not small_copy
        packed = packed and self._blobs.pack(*owner_of(known.bank, known.id), known.sha256.hex()) is None
        task = FillTask(
            item, self._rules, self._blobs, *place, known.produced_ms, packed, before=known, small_copy=small_copy
        )
        return FillItem(task, offset)

    def _content(self, known: Described) -> MediaItem | str:
        if not known.live and (uri := self._blobs.original(known.id, known.sha256)) is not None:
            return MediaItem(known.id, known.bank, uri, known.sha256)
        if known.source_partition < 0 or known.source_offset < 0:
            return UNKNOWN
        record = self._media.record(known.source_partition, known.source_offset)
        if record is None or record.key != known.id.encode():
            return PAST
        try:
            item = read_item(record.key, record.value or b"", record.headers)
        except InvalidFrame as error:
            return str(error)
        if isinstance(item.content, str):
            return replace(item, bank=known.bank, sha256=known.sha256)
        if hashlib.sha256(item.content).digest() != known.sha256:
            return OTHER
        return replace(item, bank=known.bank)
