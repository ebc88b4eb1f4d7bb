"""Uploads described, in batches with those that come at the same time; in processes, so that a content which harms its
decoder costs one answer.

One thread owns the describer; nothing is stored.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field

from neardup.pipeline.describe.choose import count_processes, shares_network
from neardup.pipeline.describe.codec import to_records
from neardup.pipeline.describe.decode import Look
from neardup.pipeline.describe.description import Description
from neardup.pipeline.describe.driver import Describer
from neardup.pipeline.describe.orders import Setup
from neardup.pipeline.describe.processes import ProcessDescriber
from neardup.pipeline.describe.threads import ThreadDescriber
from neardup.pipeline.embed.checkpoint import Checkpoint
from neardup.pipeline.embed.embedder import BatchEmbedder
from neardup.pipeline.errors import Backpressure, DependencyError
from neardup.pipeline.log.records import Described
from neardup.pipeline.media.fetch import Fetched, Rules, fetch_rules, open_content
from neardup.pipeline.settings import Settings
from neardup.pipeline.types import Media
from neardup.workers.kafka.media_record import is_small
from neardup.workers.run.observer import Telemetry

logger = logging.getLogger(__name__)
MOST_WAITING = 128
_BATCH = 16
_MOST_PROCESSES = 4
_LOOK_SECONDS = 0.2
_MAX_PAUSE_SECONDS = 15.0
Parts = list[Described]


@dataclass(frozen=True, slots=True)
class UploadTask:
    """What decoding an upload needs, see `describe.source.Task`: bytes, or a URI that may be read. Stores nothing."""

    content: bytes | str
    rules: Rules
    packed: bool = False

    def opened(self) -> AbstractContextManager[Fetched]:
        """Return the content while the context lasts."""
        return open_content(self.content, None, self.rules)

    def check(self, media: Media) -> None:
        """Take whatever can be opened."""

    def check_end(self) -> None:
        """Take whatever was opened."""

    def keep(self, jpeg: bytes, sha256: bytes) -> str:
        """Store nothing."""
        del jpeg, sha256
        return ""

    def keep_pack(self, pack: bytes, sha256: bytes) -> None:
        """Store nothing."""

    def result(self, description: Description) -> Parts:
        """Return records without id."""
        return to_records(description)


@dataclass(slots=True, eq=False)
class Upload:
    """One content to describe, see `describe.source.Source`."""

    task: UploadTask
    owner: str = ""
    future: Future[Parts] = field(default_factory=Future)
    traceparent: str = ""
    sender: str = ""

    @property
    def small(self) -> bool:
        """Whether others may wait for it."""
        return is_small(self.task.content)

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


class UploadDescriber:
    """Describes uploads; `describe` may be called by any thread.

    Args:
        make: the network; called in the thread, so that nobody waits for it to load.
        isolated: describe by this network, in processes, where the settings have it so; on a GPU they feed that of
            `make`.
    """

    def __init__(
        self, make: Callable[[], BatchEmbedder], settings: Settings, isolated: Checkpoint | None = None
    ) -> None:
        self._make = make
        self._isolated = isolated
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
            DependencyError: nothing describes at present; it is tried again.
        """
        if self.error is not None:
            raise DependencyError(f"uploads cannot be described: {self.error}") from self.error
        upload = Upload(UploadTask(content, self.rules), owner)
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
        """Describe until `close`; a describer that fails is replaced, after a pause where that fails, too."""
        failures = 0
        while not self._stopped.is_set():
            try:
                describer = self._describer()
            except Exception as error:
                logger.error("no network for uploads error=%s", error)
                self.ready, self.error = False, error
                self._refuse(DependencyError(f"uploads cannot be described: {error}"))
                failures += 1
                self._stopped.wait(min(0.25 * 2 ** min(failures, 10), _MAX_PAUSE_SECONDS))
                continue
            self.ready, self.error, failures = True, None, 0
            try:
                self._serve(describer)
            finally:
                describer.close()

    def _serve(self, describer: Describer[Upload]) -> None:
        """Describe what comes until `close`, or until the describer fails."""
        under_way: set[Upload] = set()
        while not self._stopped.is_set():
            self._take(describer, under_way)
            try:  # also while there is nothing to do: processes that die are replaced at once
                for done in describer.step(0.005 if under_way else 0.0):
                    under_way.discard(done.source)
                    done.source.settle(done.result, done.error)
            except Exception as error:  # whose it was is not known
                logger.warning("uploads failed count=%d", len(under_way), exc_info=True)
                for upload in under_way:
                    upload.settle(None, error)
                return

    def _refuse(self, error: Exception) -> None:
        """Let those that wait know at once."""
        with suppress(queue.Empty):
            while True:
                self._inbox.get_nowait().settle(None, error)

    def _take(self, describer: Describer[Upload], under_way: set[Upload]) -> None:
        with suppress(queue.Empty):
            upload = self._inbox.get(timeout=_LOOK_SECONDS) if not under_way else self._inbox.get_nowait()
            while True:
                if not upload.gone:
                    describer.add(upload)
                    under_way.add(upload)
                upload = self._inbox.get_nowait()

    def _describer(self) -> Describer[Upload]:
        settings, checkpoint = self._settings, self._isolated
        if checkpoint is not None and (count := count_processes(settings, _MOST_PROCESSES)):
            look = self._look(checkpoint.architecture.size)
            setup = Setup(checkpoint, look, fetch_seconds=settings.fetch_seconds)
            share = self._make if shares_network(settings) else None
            return self._begun(ProcessDescriber(count, setup, Telemetry(), fair=True, share=share))
        embedder = self._make()
        look = self._look(embedder.size)
        return ThreadDescriber(embedder, look, settings.worker_threads, _BATCH, 0.002, observer=Telemetry())

    def _begun(self, describer: ProcessDescriber[Upload]) -> Describer[Upload]:
        """Wait until a process has loaded the network; raises what it fails with."""
        try:
            while not describer.ready and not self._stopped.is_set():
                describer.step(_LOOK_SECONDS)
        except BaseException:
            describer.close()
            raise
        return describer

    def _look(self, size: int) -> Look:
        return Look(size, self._settings.api_limits, self._settings.sample_fps, self._settings.regions)
