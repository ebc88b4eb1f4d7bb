"""Flags in Redis, written by one Lua call for each batch; the call also stores the applied offset.

Keys, all with the hash tag of the space so that one call may touch them:

    nd:{space}:applied        offset of the last envelope
    nd:{space}:v:<id>         hash: decision, head ("" if it stands alone), verdict (MessagePack)
    nd:{space}:members:<id>   set of the items that copy this one as a whole
    nd:{space}:feed           stream of flagged verdicts; the entry's id is the event's: offset-(n + 1)

Most items are copies of nothing. What was said of those is forgotten some days after their record's time; as it is that
time which counts and not the moment of writing, a replay leaves the same keys. The time to live is the only thing that
is not in the log, so after another `keep_distinct_days` old keys keep theirs until all is written again.

Needs Redis 7.0. The instance must not evict (`maxmemory-policy noeviction`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any, TypeVar

import msgspec
import redis

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.messages import Envelope, ReHeaded, RemovedEvent, Replaced, Rolling, Verdict
from neardup.pipeline.store.interface import NOTHING_APPLIED, FeedEntry
from neardup.pipeline.store.memory import flagged_verdict, star_head
from neardup.pipeline.types import Decision

FEED_ENTRIES = 1_000_000
CLEAR_BATCH = 1000
_DAY_MS = 24 * 3600 * 1000
_encode = msgspec.msgpack.Encoder().encode
_decode_verdict = msgspec.msgpack.Decoder(Verdict).decode
T = TypeVar("T")


class RedisStore:
    """See `interface.FlagStore`."""

    def __init__(self, url: str, space: str, feed_entries: int = FEED_ENTRIES, keep_distinct_days: float = 0.0) -> None:
        """Take the address; nothing is sent before the first call.

        Args:
            url: `redis://host:port/db`.
            feed_entries: that the feed keeps at least.
            keep_distinct_days: after which verdicts of `distinct` are forgotten; 0 keeps them.
        """
        self._redis: Any = redis.Redis.from_url(url, socket_timeout=10, socket_connect_timeout=5)
        self._prefix = prefix(space)
        self._feed_entries = feed_entries
        self._keep_distinct_ms = int(keep_distinct_days * _DAY_MS)
        script = resources.files("neardup.pipeline.store").joinpath("flag.lua").read_text(encoding="utf-8")
        self._script: Any = self._redis.register_script(script)

    def applied(self) -> int:
        """See `FlagStore`."""
        found = self._told(lambda: self._redis.get(f"{self._prefix}:applied"))
        return NOTHING_APPLIED if found is None else int(found)

    def apply(self, envelopes: Sequence[Envelope], after: int = NOTHING_APPLIED) -> int | None:
        """See `FlagStore`."""
        verdicts: list[bytes] = []
        packed = _encode([(one.offset, _events(one, verdicts, self._keep_distinct_ms)) for one in envelopes])
        arguments = [packed, self._feed_entries, after, *verdicts]
        count = int(self._told(lambda: self._script(keys=[self._prefix], args=arguments)))
        return None if count < 0 else count

    def verdict(self, item: str) -> Verdict | None:
        """See `FlagStore`."""
        found = self._told(lambda: self._redis.hget(f"{self._prefix}:v:{item}", "verdict"))
        return None if found is None else _decode_verdict(found)

    def members(self, head: str) -> frozenset[str]:
        """See `FlagStore`."""
        found = self._told(lambda: self._redis.smembers(f"{self._prefix}:members:{head}"))
        return frozenset(member.decode() for member in found)

    def feed(self, after: str, count: int) -> list[FeedEntry]:
        """See `FlagStore`."""
        least = "-" if not after else "({}-{}".format(*_place(after))
        found = self._told(lambda: self._redis.xrange(f"{self._prefix}:feed", min=least, count=count))
        return [FeedEntry(_event(entry.decode()), _decode_verdict(fields[b"verdict"])) for entry, fields in found]

    def clear(self) -> None:
        """See `FlagStore`."""
        # Interrupted after this, the next start rebuilds; a feed that outlived the watermark would refuse its entries.
        self._told(lambda: self._redis.delete(f"{self._prefix}:applied", f"{self._prefix}:feed"))
        pattern = self._prefix + ":*"

        def remove() -> None:
            batch: list[bytes] = []
            for key in self._redis.scan_iter(match=pattern, count=CLEAR_BATCH):
                batch.append(key)
                if len(batch) == CLEAR_BATCH:
                    self._redis.unlink(*batch)
                    batch = []
            if batch:
                self._redis.unlink(*batch)

        self._told(remove)
        # A flag worker that went on meanwhile has written keys that were then removed: it is to begin again.
        self._told(lambda: self._redis.delete(f"{self._prefix}:applied", f"{self._prefix}:feed"))

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def _told(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except redis.RedisError as error:
            raise DependencyError(f"Redis: {error}") from error


def prefix(space: str) -> str:
    """Return what the keys of a space begin with; the braces keep them in one slot of a cluster."""
    return f"nd:{{{space}}}"


def _events(envelope: Envelope, verdicts: list[bytes], keep_distinct_ms: int) -> list[tuple[object, ...]]:
    """Return events as the script takes them, appending verdicts to a list: Redis's MessagePack knows no bytes."""

    def until(verdict: Verdict) -> int:
        """Return the second at which it is forgotten; 0 is never."""
        kept = not keep_distinct_ms or not envelope.timestamp_ms or verdict.decision is not Decision.DISTINCT
        return 0 if kept else (envelope.timestamp_ms + keep_distinct_ms) // 1000

    events: list[tuple[object, ...]] = []
    for number, event in enumerate(envelope.events):
        if isinstance(event, Verdict):
            verdicts.append(_encode(event))
            fed = len(verdicts) if event.decision is not Decision.DISTINCT else 0
            head = star_head(event) or ""
            events.append(("verdict", number, event.id, event.decision.value, head, len(verdicts), fed, until(event)))
        elif isinstance(event, Rolling):
            verdicts.append(_encode(event.verdict))
            shown, fed = len(verdicts), 0
            if event.flagged is not None:
                verdicts.append(_encode(flagged_verdict(event.verdict, event.flagged)))
                fed = len(verdicts)
            told = event.verdict
            events.append(("verdict", number, told.id, told.decision.value, "", shown, fed, until(told)))
        elif isinstance(event, RemovedEvent | Replaced):
            events.append(("gone", number, event.id))
        elif isinstance(event, ReHeaded):
            events.append(("re-headed", number, event.new, event.members))
    return events


def _place(event: str) -> tuple[int, int]:
    """Return the id of the stream entry for an event id "offset.n"."""
    offset, number = event.split(".")
    return int(offset), int(number) + 1


def _event(entry: str) -> str:
    offset, number = entry.split("-")
    return f"{offset}.{int(number) - 1}"
