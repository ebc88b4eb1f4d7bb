"""Flags in Redis, written by one Lua call for each batch; the call also stores the applied offset.

Keys, all with the hash tag of the space so that one call may touch them:

    nd:{space}:applied          offset of the last envelope
    nd:{space}:v:<id>           hash: decision, as first given; head ("" if it stands alone); verdict (MessagePack);
                                queued, offset of its first flag; for a match, named by bank, a line end and reference:
                                "later <match>" (JSON) where it came later, "judged <match>", and confirmed
    nd:{space}:members:<id>     set of the items that copy this one as a whole
    nd:{space}:feed             stream of flagged verdicts, at (milliseconds), retro; the entry's id is the event's:
                                offset-(n + 1)
    nd:{space}:queue            sorted set of items to be reviewed, by the offset of their first flag;
                                nd:{space}:queue:unproved, of what waits only for want of a proof;
                                nd:{space}:queue:all, both, with certain duplicates
    nd:{space}:open:<id>        set of its matches that nobody judged; nd:{space}:done:<id>, that were rejected;
                                nd:{space}:unsure:<id>, that are unsure; nd:{space}:unproved:<id>, for want of a proof
    nd:{space}:claim:<id>       the reviewer who looks at it; ends by itself, and is in no log
    nd:{space}:audit            stream of changes (JSON), with ids as in the feed
    nd:{space}:banks            set of names; nd:{space}:bank:<name>, hash of settings
    nd:{space}:references:<bank>  sorted set of ids, by the offset that brought them
    nd:{space}:settings:<bank>  set of ids of which there is nd:{space}:reference:<bank>:<id>, hash of settings
    nd:{space}:dead:<bank>:<id> the newest dead letter (JSON); of an item that was taken down ""; ends by itself
    nd:{space}:dead-letters     place in the topic of dead letters

Most items are copies of nothing. What was said of those is forgotten some days after their record's time; as it is that
time which counts and not the moment of writing, a replay leaves the same keys. The time to live is the only thing that
is not in the log, so after another `keep_distinct_days` old keys keep theirs until all is written again.

Needs Redis 7.0. The instance must not evict (`maxmemory-policy noeviction`).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import redis

from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.pipeline.log.changes import SEEN, Action, Outcome
from neardup.pipeline.log.records import NOTHING, Changed, Envelope, Matched, Verdict
from neardup.pipeline.log.verdicts import as_of_now
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.encode import Encoder, encode
from neardup.pipeline.store.interface import (
    DEAD_LETTER_DAYS,
    AuditEntry,
    BankRow,
    DeadLetter,
    FeedEntry,
    Queued,
    ReferenceRow,
    ReviewQueue,
    counts_in,
)
from neardup.pipeline.types import Decision, Kind

FEED_ENTRIES = 1_000_000
CLEAR_BATCH = 1000
_FEED_AT_ONCE = 500
_DAY_MS = 24 * 3600 * 1000
_decode_verdict = msgspec.msgpack.Decoder(Verdict).decode
_decode_match = msgspec.json.Decoder(Matched).decode
_decode_changed = msgspec.json.Decoder(Changed).decode
_decode_metadata = msgspec.json.Decoder(dict[str, str]).decode
_decode_letter = msgspec.json.Decoder(DeadLetter).decode
_json = msgspec.json.Encoder().encode
_QUEUES = {
    ReviewQueue.UNSURE: "queue",
    ReviewQueue.UNPROVED: "queue:unproved",
    ReviewQueue.ALL: "queue:all",
}
T = TypeVar("T")
Key = tuple[str, str]


class RedisStore:
    """See `interface.FlagStore`."""

    def __init__(
        self,
        url: str,
        space: str,
        feed_entries: int = FEED_ENTRIES,
        keep_distinct_days: float = 0.0,
        ca_file: str = "",
        tenant: str = "",
    ) -> None:
        """Take the address; nothing is sent before the first call.

        Args:
            url: `redis://user:password@host:port/db`; with `rediss://`, connections are encrypted.
            feed_entries: that the feed keeps at least.
            keep_distinct_days: after which verdicts of `distinct` are forgotten; 0 keeps them.
            ca_file: certificates that the server's must be signed by; without, those that the system trusts.
            tenant: whose keys these are, "" where Redis is not shared.
        Raises:
            ConfigError: the URL or the file cannot be used, or they do not fit together.
        """
        self._redis: Any = _client(url, ca_file)
        self._prefix = prefix(space, tenant)
        self._feed_entries = feed_entries
        self._keep_distinct_ms = int(keep_distinct_days * _DAY_MS)
        self._apply = self._script("flag.lua")
        self._claim = self._script("claim.lua")

    def applied(self) -> int:
        """See `FlagStore`."""
        found = self._call(lambda: self._redis.get(f"{self._prefix}:applied"))
        return NOTHING if found is None else int(found)

    def apply(self, envelopes: Sequence[Envelope], after: int = NOTHING) -> int | None:
        """See `FlagStore`."""
        encoder = Encoder(self._keep_distinct_ms)
        packed = encode([encoder.envelope(one) for one in envelopes])
        arguments = [packed, self._feed_entries, after, *encoder.verdicts]
        count = int(self._call(lambda: self._apply(keys=[self._prefix], args=arguments)))
        return None if count < 0 else count

    def verdict(self, item: str) -> Verdict | None:
        """See `FlagStore`."""
        return _verdict(item, self._call(lambda: self._redis.hgetall(f"{self._prefix}:v:{item}")))

    def members(self, head: str) -> frozenset[str]:
        """See `FlagStore`."""
        found = self._call(lambda: self._redis.smembers(f"{self._prefix}:members:{head}"))
        return frozenset(member.decode() for member in found)

    def head(self, item: str) -> str:
        """See `FlagStore`."""
        found = self._call(lambda: self._redis.hget(f"{self._prefix}:v:{item}", "head"))
        return "" if found is None else str(found.decode())

    def feed(self, after: str, count: int, bank: str = "", decision: Decision | None = None) -> list[FeedEntry]:
        """See `FlagStore`."""
        found: list[FeedEntry] = []
        at_once = count if not bank and decision is None else max(count, _FEED_AT_ONCE)
        while len(found) < count:
            entries = self._entries(after, at_once)
            found += [entry for entry in entries if counts_in(entry, bank, decision)]
            if len(entries) < at_once:
                break
            after = entries[-1].event
        return found[:count]

    def _entries(self, after: str, count: int) -> list[FeedEntry]:
        least = "-" if not after else "({}-{}".format(*_place(after))
        entries = self._call(lambda: self._redis.xrange(f"{self._prefix}:feed", min=least, count=count))
        return [
            FeedEntry(
                _event(entry.decode()),
                _decode_verdict(fields[b"verdict"]),
                int(fields.get(b"at", 0)),
                bool(fields.get(b"retro")),
            )
            for entry, fields in entries
        ]

    def queued(self, queue: ReviewQueue = ReviewQueue.UNSURE) -> int:
        """See `FlagStore`."""
        return int(self._call(lambda: self._redis.zcard(self._queue_key(queue))))

    def queue(self, start: int, count: int, queue: ReviewQueue = ReviewQueue.UNSURE) -> list[Queued]:
        """See `FlagStore`."""
        if count <= 0:
            return []
        found = self._call(lambda: self._redis.zrange(self._queue_key(queue), start, start + count - 1))
        return self._queued([item.decode() for item in found])

    def claim(
        self,
        reviewer: str,
        count: int,
        lease_ms: int,
        passed: Collection[str] = (),
        queue: ReviewQueue = ReviewQueue.UNSURE,
    ) -> list[Queued]:
        """See `FlagStore`."""
        arguments = [self._queue_key(queue), reviewer, count, lease_ms, *passed]
        found = self._call(lambda: self._claim(keys=[self._prefix], args=arguments))
        return self._queued([item.decode() for item in found])

    def claimer(self, item: str) -> str:
        """See `FlagStore`."""
        found = self._call(lambda: self._redis.get(f"{self._prefix}:claim:{item}"))
        return "" if found is None else str(found.decode())

    def release(self, reviewer: str, item: str) -> None:
        """See `FlagStore`."""
        if self.claimer(item) == reviewer:
            self._call(lambda: self._redis.delete(f"{self._prefix}:claim:{item}"))

    def audit(self, before: str, count: int) -> list[AuditEntry]:
        """See `FlagStore`."""
        most = "+" if not before else "({}-{}".format(*_place(before))
        found = self._call(lambda: self._redis.xrevrange(f"{self._prefix}:audit", max=most, count=count))
        return [
            AuditEntry(_event(entry.decode()), _decode_changed(fields[b"changed"]), int(fields[b"at"]))
            for entry, fields in found
        ]

    def banks(self) -> list[BankRow]:
        """See `FlagStore`."""
        names = sorted(name.decode() for name in self._call(lambda: self._redis.smembers(f"{self._prefix}:banks")))

        def read() -> list[Any]:
            with self._redis.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.hgetall(f"{self._prefix}:bank:{name}")
                    pipe.zcard(f"{self._prefix}:references:{name}")
                return list(pipe.execute())

        answers = self._call(read)
        return [
            _bank(name, fields, count) for name, fields, count in zip(names, answers[::2], answers[1::2], strict=True)
        ]

    def references(self, bank: str, start: int, count: int) -> list[ReferenceRow]:
        """See `FlagStore`."""
        if count <= 0:
            return []
        key = f"{self._prefix}:references:{bank}"
        found = self._call(lambda: self._redis.zrange(key, start, start + count - 1, withscores=True))

        def read() -> list[Any]:
            with self._redis.pipeline(transaction=False) as pipe:
                for id, _ in found:
                    pipe.hgetall(f"{self._prefix}:reference:{bank}:{id.decode()}")
                return list(pipe.execute())

        rows = zip(found, self._call(read), strict=True)
        return [_reference(bank, id.decode(), int(offset), fields) for (id, offset), fields in rows]

    def dead_letter(self, item: str, bank: str = SEEN) -> DeadLetter | None:
        """See `FlagStore`."""
        found = self._call(lambda: self._redis.get(self._dead_key(bank, item)))
        return _decode_letter(found) if found else None

    def dead_letters_at(self) -> int | None:
        """See `FlagStore`."""
        found = self._call(lambda: self._redis.get(f"{self._prefix}:dead-letters"))
        return None if found is None else int(found)

    def taken_down(self, items: Collection[str]) -> frozenset[str]:
        """See `FlagStore`."""
        keys = [self._dead_key(SEEN, item) for item in items]
        found = self._call(lambda: self._redis.mget(keys)) if keys else []
        return frozenset(item for item, kept in zip(items, found, strict=True) if kept == b"")

    def note_dead_letters(self, letters: Sequence[DeadLetter], place: int) -> None:
        """See `FlagStore`."""
        keys = [self._dead_key(letter.bank, letter.item) for letter in letters]

        def note() -> None:
            kept = self._redis.mget(keys) if keys else []
            with self._redis.pipeline() as pipe:
                for letter, key, known in zip(letters, keys, kept, strict=True):
                    if known != b"":  # it was taken down since, as this may be read again
                        pipe.set(key, _json(letter), exat=letter.at_ms // 1000 + round(DEAD_LETTER_DAYS * 86_400))
                pipe.set(f"{self._prefix}:dead-letters", place)
                pipe.execute()

        self._call(note)

    def _dead_key(self, bank: str, item: str) -> str:
        return f"{self._prefix}:dead:{bank}:{item}"

    def clear(self) -> None:
        """See `FlagStore`."""
        first = [f"{self._prefix}:{name}" for name in ("applied", "feed", "audit", "dead-letters")]
        # Interrupted after this, the next start rebuilds; a stream that outlived the watermark would refuse entries.
        self._call(lambda: self._redis.delete(*first))
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

        self._call(remove)
        # A flag worker that went on meanwhile has written keys that were then removed: it is to begin again.
        self._call(lambda: self._redis.delete(*first))

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def _queue_key(self, queue: ReviewQueue) -> str:
        return f"{self._prefix}:{_QUEUES[queue]}"

    def _script(self, name: str) -> Any:
        script = resources.files("neardup.pipeline.store").joinpath(name).read_text(encoding="utf-8")
        return self._redis.register_script(script)

    def _queued(self, items: Sequence[str]) -> list[Queued]:
        """Return what is known of these items, but for those that were removed meanwhile."""

        def read() -> list[Any]:
            with self._redis.pipeline(transaction=False) as pipe:
                for item in items:
                    pipe.hgetall(f"{self._prefix}:v:{item}")
                    pipe.smembers(f"{self._prefix}:open:{item}")
                    pipe.get(f"{self._prefix}:claim:{item}")
                return list(pipe.execute())

        answers = self._call(read)
        found = []
        for item, fields, open_keys, claimer in zip(items, answers[::3], answers[1::3], answers[2::3], strict=True):
            verdict = _verdict(item, fields)
            if verdict is not None and b"queued" in fields:
                keys = frozenset(_key(key.decode()) for key in open_keys)
                found.append(Queued(item, int(fields[b"queued"]), verdict, keys, (claimer or b"").decode()))
        return found

    def _call(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except redis.RedisError as error:
            raise DependencyError(f"Redis: {error}") from error


def open_store(settings: Settings, space: str) -> RedisStore:
    """Return the store of a space, as the settings say; nothing is sent before its first call.

    Raises:
        ConfigError: `redis` or `redis_ca_file` cannot be used.
    """
    return RedisStore(
        settings.redis.get_secret_value(),
        space,
        keep_distinct_days=settings.keep_distinct_days,
        ca_file=settings.redis_ca_file,
        tenant=settings.tenant,
    )


def _client(url: str, ca_file: str) -> Any:
    options: dict[str, Any] = {"socket_timeout": 10, "socket_connect_timeout": 5}
    if url.startswith("rediss://"):
        options["ssl_check_hostname"] = True
    if ca_file:
        if not url.startswith("rediss://"):
            raise ConfigError("redis_ca_file is set, and redis is no URL that encrypts; wanted rediss://…")
        options["ssl_ca_certs"] = str(Path(ca_file).expanduser())
        try:
            ssl.create_default_context(cafile=options["ssl_ca_certs"])
        except OSError as error:
            raise ConfigError(f"redis_ca_file is {ca_file!r}: {error}; wanted certificates (PEM)") from error
    try:
        return redis.Redis.from_url(url, **options)
    except ValueError as error:  # the URL may hold a password, so it is not shown
        raise ConfigError(f"redis cannot be used as a URL: {error}") from error


def prefix(space: str, tenant: str = "") -> str:
    """Return what the keys of a space begin with; the braces keep those of a tenant in one slot of a cluster."""
    return f"nd:{{{tenant}:{space}}}" if tenant else f"nd:{{{space}}}"


def _verdict(item: str, fields: Mapping[bytes, bytes]) -> Verdict | None:
    """Return what a hash says of an item."""
    later = [_decode_match(value) for name, value in fields.items() if name.startswith(b"later ")]
    encoded = fields.get(b"verdict")
    if encoded is None and not later:
        return None
    verdict = Verdict(id=item, decision=Decision.DISTINCT) if encoded is None else _decode_verdict(encoded)
    judged = {
        _key(name.removeprefix(b"judged ").decode()): Outcome(value.decode())
        for name, value in fields.items()
        if name.startswith(b"judged ")
    }
    return as_of_now(verdict, later, judged) if later or judged else verdict


def _bank(name: str, fields: Mapping[bytes, bytes], references: int) -> BankRow:
    precision = fields.get(b"precision")
    return BankRow(
        name,
        Action(fields.get(b"action", b"flag").decode()),
        None if precision is None else float(precision),
        float(fields.get(b"enable_ratio", b"1")),
        fields.get(b"note", b"").decode(),
        _decode_metadata(fields.get(b"metadata", b"{}")),
        references,
    )


def _reference(bank: str, id: str, offset: int, fields: Mapping[bytes, bytes]) -> ReferenceRow:
    return ReferenceRow(
        id,
        bank,
        offset,
        Kind(fields.get(b"kind", b"image").decode()),
        fields.get(b"sha256", b"").decode(),
        fields.get(b"thumbnail", b"").decode(),
        int(fields.get(b"disabled_until_ms", b"0")),
        fields.get(b"note", b"").decode(),
        _decode_metadata(fields.get(b"metadata", b"{}")),
    )


def _key(text: str) -> Key:
    bank, _, reference = text.partition("\n")
    return bank, reference


def _place(event: str) -> tuple[int, int]:
    """Return the id of the stream entry for an event id "offset.n"."""
    offset, number = event.split(".")
    return int(offset), int(number) + 1


def _event(entry: str) -> str:
    offset, number = entry.split("-")
    return f"{offset}.{int(number) - 1}"
