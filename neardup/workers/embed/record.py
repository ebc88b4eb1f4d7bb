"""Records of `media` on their way through an embed worker."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from kafka import TopicPartition

from neardup.pipeline.describe.codec import to_records
from neardup.pipeline.describe.description import Description
from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.log.records import Described
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.media.fetch import Fetched, Rules
from neardup.pipeline.prove.pack import live_frame, live_slot, owner_of
from neardup.pipeline.types import Kind, Media
from neardup.workers.embed.known_content import KnownContent
from neardup.workers.embed.ordering import Slot
from neardup.workers.kafka.media_record import MediaItem, is_small, sender_of
from neardup.workers.kafka.offsets import Ticket
from neardup.workers.run.tracing import traceparent_of

_END = Described(id="", live=True, last=True, kind=Kind.VIDEO)
encode_record = msgspec.msgpack.Encoder().encode
"""Returns a record of the log as it is written."""


@dataclass(frozen=True, slots=True)
class PolledRecord:
    """A polled record on its way; `size` counts as in flight until the record is confirmed."""

    record: Any
    ticket: Ticket[TopicPartition]
    size: int

    @property
    def traceparent(self) -> str:
        """What the record says of where the item has been."""
        return traceparent_of(self.record.headers)


@dataclass(frozen=True, slots=True)
class MediaTask:
    """What decoding an item of `media` needs, see `describe.source.Task`.

    Attributes:
        partition, offset: of its record. produced_ms: when that was written.
        prove: whether items are packed for proofs. Of a live video its newest frames are, see `pack.live_slot`.
        look: see `known_content.look_digest`. known: content that was described with it.
    """

    item: MediaItem
    rules: Rules
    blobs: Blobs
    partition: int
    offset: int
    produced_ms: int
    prove: bool = False
    look: bytes = b""
    known: KnownContent | None = None

    def opened(self) -> AbstractContextManager[Fetched]:
        return self.item.opened(self.rules)

    def check(self, media: Media) -> None:
        if self.item.live and media.kind is not Kind.IMAGE:
            raise InvalidFrame(Reason.SCHEMA, f"a frame of a live video is a picture, this {media.format} is a video")

    def check_end(self) -> None:
        pass

    def keep(self, jpeg: bytes, sha256: bytes) -> str:
        return self.blobs.put_thumbnail(self.item.id, jpeg, "live" if self.item.live else sha256.hex())

    @property
    def packed(self) -> bool:
        return self.prove

    def keep_pack(self, pack: bytes, sha256: bytes) -> None:
        if self.item.pts is not None:
            frame = live_frame(pack, self.item.pts)
            self.blobs.put_pack(*owner_of(self.item.bank, self.item.id), frame, live_slot(self.item.pts))
            return
        self.blobs.put_pack(*owner_of(self.item.bank, self.item.id), pack, sha256.hex())

    def result(self, description: Description) -> list[bytes]:
        """Return the records of the log."""
        return self._encoded(to_records(description))

    def recall(self, sha256: bytes) -> Callable[[], list[bytes] | None] | None:
        """See `describe.source.Recalls`. A live video's frame is not looked for: few come twice."""
        parts = self.known.find(sha256) if self.known is not None and not self.item.live else []
        return partial(self._again, parts, sha256) if parts else None

    def _again(self, parts: list[Described], sha256: bytes) -> list[bytes] | None:
        """Store this item's own thumbnail and pack, copies of another's, and return the records of the log."""
        other, version = parts[0], sha256.hex()
        thumbnail = self.blobs.thumbnail(other.id, version) if other.thumbnail else b""
        pack = self.blobs.pack(*owner_of(other.bank, other.id), version) if self.prove else b""
        if thumbnail is None or pack is None:  # taken down meanwhile, or of a time without proofs
            return None
        if pack:
            self.keep_pack(pack, sha256)
        place = self.keep(thumbnail, sha256) if thumbnail else ""
        return self._encoded([msgspec.structs.replace(parts[0], thumbnail=place), *parts[1:]])

    def _encoded(self, parts: list[Described]) -> list[bytes]:
        return [encode_record(self._whole(part)) for part in parts]

    def _whole(self, part: Described) -> Described:
        """Return a record of its description with what the network does not know."""
        described = msgspec.structs.replace(
            part,
            id=self.item.id,
            bank=self.item.bank,
            source_partition=self.partition,
            source_offset=self.offset,
            produced_ms=self.produced_ms,
            quiet=False,
            look=b"" if self.item.live else self.look,
        )
        if self.item.pts is None:
            return described
        seconds = self.item.pts
        frame = msgspec.structs.replace(described, similar=b"", similar_space="")
        return msgspec.structs.replace(
            frame, live=True, last=False, kind=Kind.VIDEO, pixels_digest=b"", pts=(seconds,), seconds=seconds
        )

    def end(self) -> bytes:
        """Return the record that the end of a live video becomes."""
        return encode_record(self._whole(_END))


@dataclass(frozen=True, slots=True)
class PolledItem(PolledRecord):
    """An item to describe, see `describe.source.Source`. A frame of live video waits for its slot."""

    task: MediaTask
    slot: Slot | None

    @property
    def sender(self) -> Hashable:
        return self.record.partition, sender_of(self.task.item.id)

    @property
    def small(self) -> bool:
        return is_small(self.task.item.content)

    @property
    def owner(self) -> str:
        return ""

    @property
    def gone(self) -> bool:
        return False
