"""Pictures of held items for people: of any size, and of any moment of a video, made from the original.

The original of an item is in the blob store, or in its record of `media` for as long as that is kept, or behind the
URI that the record holds. What was read is kept in memory for a while, for a reviewer looks at one item many times.
Only bytes with the hash that the item has are shown.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import simplejpeg

from neardup.pipeline.errors import DependencyError, InvalidFrame
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.media.budget import Budget
from neardup.pipeline.media.fetch import fetch, fetch_rules
from neardup.pipeline.media.reader import frame_at
from neardup.pipeline.settings import Settings
from neardup.workers.kafka.media_reader import MediaReader
from neardup.workers.kafka.media_record import read_item

logger = logging.getLogger(__name__)
QUALITY = 85
_THREADS = 2
_KEPT_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class WantedContent:
    """Which content is wanted. `sources`: partitions and offsets of `media` where it may be."""

    id: str
    sha256: bytes
    sources: tuple[tuple[int, int], ...] = ()


class Originals:
    """Makes pictures of originals, in threads of its own; may be used by any thread.

    Args:
        topic: `media`.
    """

    def __init__(self, settings: Settings, topic: str) -> None:
        self._settings = settings
        self._media = MediaReader(settings, topic)
        self._blobs = Blobs(settings.blobs_url)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="pictures")
        self._reading = threading.Lock()
        self._keeping = threading.Lock()
        self._kept: OrderedDict[tuple[str, bytes], bytes] = OrderedDict()

    def picture(self, place: WantedContent, seconds: float, side: int) -> Future[bytes | None]:
        """Return a JPEG of an item at a time, its longer side at most `side`; None if the original is not held.

        Cancelling the future ends the work.
        """
        future: Future[bytes | None] = Future()
        self._pool.submit(self._settle, future, place, seconds, side)
        return future

    def forget(self, id: str) -> None:
        """Keep nothing of an item any more."""
        with self._keeping:
            for key in [key for key in self._kept if key[0] == id]:
                del self._kept[key]

    def close(self) -> None:
        """Make no more, and disconnect."""
        self._pool.shutdown(cancel_futures=True)
        self._media.close()

    def _settle(self, future: Future[bytes | None], place: WantedContent, seconds: float, side: int) -> None:
        if future.cancelled():
            return
        made, failed = None, None
        try:
            made = self._make(place, seconds, side, Budget(self._settings.api_limits, future.cancelled))
        except Exception as error:  # passed to who asked
            failed = error
        if not future.set_running_or_notify_cancel():
            return
        if failed is None:
            future.set_result(made)
        else:
            future.set_exception(failed)

    def _make(self, place: WantedContent, seconds: float, side: int, budget: Budget) -> bytes | None:
        with self._content(place) as content:
            if content is None:
                return None
            try:
                pixels = frame_at(content, seconds, side, self._settings.api_limits, budget)
            except (
                InvalidFrame
            ):  # it was readable once: the file goes away under us, or the moment is far from a keyframe
                return None
        jpeg: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), QUALITY, "RGB", "420")
        return jpeg

    @contextmanager
    def _content(self, place: WantedContent) -> Iterator[bytes | Path | None]:
        with self._keeping:
            kept = self._kept.get((place.id, place.sha256))
        if kept is not None:
            yield kept
            return
        uri = self._blobs.original(place.id, place.sha256)
        if uri is not None and self._blobs.local:
            yield Path(unquote(urlsplit(uri).path))
            return
        content = uri or self._of_media(place)
        if isinstance(content, str):
            with self._fetched(content, place) as fetched:
                yield fetched
            return
        yield content

    @contextmanager
    def _fetched(self, uri: str, place: WantedContent) -> Iterator[bytes | Path | None]:
        try:
            opened = fetch(uri, place.sha256, fetch_rules(self._settings))
            fetched = opened.__enter__()
        except InvalidFrame as error:
            logger.info("original not fetched item=%s error=%s", place.id, error)
            yield None
            return
        try:
            if isinstance(fetched.source, bytes):
                self._keep(place, fetched.source)
            yield fetched.source
        finally:
            opened.__exit__(None, None, None)

    def _of_media(self, place: WantedContent) -> bytes | str | None:
        """Return what the item's record holds."""
        for partition, offset in place.sources:
            if partition < 0 or offset < 0:
                continue
            record = self._record(partition, offset)
            if record is None or record.key != place.id.encode():
                continue
            try:
                content = read_item(record.key, record.value or b"", record.headers).content
            except InvalidFrame:
                continue
            if isinstance(content, str):
                return content
            if hashlib.sha256(content).digest() == place.sha256:
                self._keep(place, content)
                return content
        return None

    def _record(self, partition: int, offset: int) -> Any:
        with self._reading:
            try:
                return self._media.record(partition, offset)
            except DependencyError as error:
                logger.info("original not read partition=%d offset=%d error=%s", partition, offset, error)
                return None

    def _keep(self, place: WantedContent, content: bytes) -> None:
        with self._keeping:
            self._kept[place.id, place.sha256] = content
            while len(self._kept) > 1 and sum(map(len, self._kept.values())) > _KEPT_BYTES:
                self._kept.popitem(last=False)
