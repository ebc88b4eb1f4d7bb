"""Shows that a process uses a space: it is a member of a consumer group, which `neardup space drop` sees.

Match, prove, embed and webhook workers are members for their work. Flag and API workers, `neardup backfill load`, and
embed workers that follow the log while their space stands by, read by themselves, so they join for this alone: nothing
is read and no offset is committed.
"""

from __future__ import annotations

import logging
import threading

from neardup.pipeline.settings import Settings
from neardup.workers.kafka.leader import join_log_group
from neardup.workers.kafka.topics import TopicNames

logger = logging.getLogger(__name__)
_POLL_MS = 1000
_RETRY_SECONDS = 10.0


class Presence:
    """Membership of the group of a kind of process, from a thread, until `close` or the end of the process.

    A worker works without it: where the group cannot be joined that is logged, and tried again.

    Args:
        kind: of the process, such as "flag"; the last part of the group's name.
    """

    def __init__(self, settings: Settings, names: TopicNames, kind: str) -> None:
        self._settings, self._names, self._group = settings, names, f"{names.verdicts}.{kind}"
        self._failed = False
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._stay, name="presence", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave the group."""
        self._leaving.set()
        self._thread.join(3)

    def _stay(self) -> None:
        while not self._leaving.is_set():
            try:
                self._take_part()
            except Exception as error:
                if not self._failed:
                    logger.warning(
                        "`neardup space drop` does not see this process group=%s error=%s", self._group, error
                    )
                self._failed = True
                self._leaving.wait(_RETRY_SECONDS)

    def _take_part(self) -> None:
        consumer = join_log_group(self._settings, self._names, self._group)
        try:
            while not self._leaving.is_set():
                consumer.poll(timeout_ms=_POLL_MS, max_records=1)
                if running := consumer.assignment() - consumer.paused():
                    consumer.pause(*running)
                self._failed = False
        finally:
            consumer.close(autocommit=False, timeout_ms=2000)
