"""Uploads described: decoded in threads, embedded in batches with those that come at the same time.

One thread owns the describer, which is the embed workers' own; nothing is stored.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field

from neardup.pipeline.embed.embedder import Embedder
from neardup.pipeline.errors import Backpressure
from neardup.pipeline.log.records import Described
from neardup.pipeline.media.fetch import Fetched, Rules, fetch_rules, open_content
from neardup.pipeline.settings import Settings
from neardup.pipeline.types import Media
from neardup.workers.describe.describer import Describer
from neardup.workers.kafka.media_record import is_small

logger = logging.getLogger(__name__)
MOST_WAITING = 128
_BATCH = 16
_LOOK_SECONDS = 0.2
Parts = list[Described]


@dataclass(slots=True, eq=False)
class Upload:
    """One content to describe, see `describe.Source`: bytes, or a URI that may be read."""

    content: bytes | str
    rules: Rules
    owner: str = ""
    future: Future[Parts] = field(default_factory=Future)
    traceparent: str = ""
    sender: str = ""

    @property
    def small(self) -> bool:
        """Whether others may wait for it."""
        return is_small(self.content)

    @property
    def gone(self) -> bool:
        """Whether the request was cut off."""
        return self.future.cancelled()

    def settle(self, parts: Parts | None, error: BaseException | None = None) -> None:
        """Tell whoever still waits."""
        if not self.future.set_running_or_notify_cancel():
            return
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(parts or [])

    def opened(self) -> AbstractContextManager[Fetched]:
        """Return the content while the context lasts."""
        return open_content(self.content, None, self.rules)

    def check(self, media: Media) -> None:
        """Take whatever can be opened."""

    def keep(self, jpeg: bytes, sha256: bytes) -> str:
        """Store nothing."""
        del jpeg, sha256
        return ""

    @property
    def packed(self) -> bool:
        """No pack is wanted: nothing refers to an upload later."""
        return False

    def keep_pack(self, pack: bytes, sha256: bytes) -> None:
        """Store nothing."""


class UploadDescriber:
    """Describes uploads; `describe` may be called by any thread.

    Args:
        make: the network; called in the thread, so that nobody waits for it to load.
    """

    def __init__(self, make: Callable[[], Embedder], settings: Settings) -> None:
        self._make = make
        self._settings = settings
        self.rules = fetch_rules(settings)
        self._inbox: queue.Queue[Upload] = queue.Queue(MOST_WAITING)
        self._stopped = threading.Event()
        self.ready = False
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="uploads", daemon=True)
        self._thread.start()

    def describe(self, content: bytes | str, owner: str = "") -> Future[Parts]:
        """Have content described; the result has no id. Raises InvalidFrame, by the future, where it cannot be used.

        Cancelling the future ends the work.

        Args:
            owner: who sent it.
        Raises:
            Backpressure: too many wait.
        """
        upload = Upload(content, self.rules, owner)
        try:
            self._inbox.put_nowait(upload)
        except queue.Full:
            raise Backpressure(f"{MOST_WAITING} uploads wait", 1.0) from None
        return upload.future

    def close(self) -> None:
        """Take nothing more."""
        self._stopped.set()
        self._thread.join(2)

    def _run(self) -> None:
        try:
            describer = self._describer()
        except Exception as error:
            logger.error("no network for uploads error=%s", error)
            self.error = error
            return
        self.ready = True
        under_way: set[Upload] = set()
        while not self._stopped.is_set():
            self._take(describer, under_way)
            if not under_way:
                continue
            try:
                for done in describer.step(0.005):
                    under_way.discard(done.source)
                    done.source.settle(list(done.parts), done.error)
            except Exception as error:  # whose it was is not known
                logger.warning("uploads failed count=%d", len(under_way), exc_info=True)
                for upload in under_way:
                    upload.settle(None, error)
                under_way.clear()
                describer.close()
                describer = self._describer()
        describer.close()

    def _take(self, describer: Describer[Upload], under_way: set[Upload]) -> None:
        with suppress(queue.Empty):
            upload = self._inbox.get(timeout=_LOOK_SECONDS) if not under_way else self._inbox.get_nowait()
            while True:
                if not upload.gone:
                    describer.add(upload)
                    under_way.add(upload)
                upload = self._inbox.get_nowait()

    def _describer(self) -> Describer[Upload]:
        settings = self._settings
        return Describer(
            self._make(),
            settings.api_limits,
            settings.sample_fps,
            settings.worker_threads,
            _BATCH,
            wait_seconds=0.002,
            regions=settings.regions,
        )
