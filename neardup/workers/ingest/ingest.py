"""Files, objects of a store, and URIs into `media`, a bounded number of bytes at a time.

An item's id is its path below the folder or URL that was named; `ids.make_id` makes one of a path that cannot be an id.
Files up to MAX_INLINE_BYTES travel in the record; larger ones go to the blob store, and their URI and SHA-256 travel.
By URI, none travels: workers read it where it lies. The ids are the same. What the journal has as delivered is not sent
again, in whichever way.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from neardup.pipeline.errors import ConfigError, InvalidFrame, Reason
from neardup.pipeline.log.ids import make_id
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.media.fetch import Rules, check_readable
from neardup.pipeline.media.identify import HEAD_BYTES, identify
from neardup.pipeline.report.names import visible
from neardup.pipeline.scan.walk import Found, PutAside, walk
from neardup.workers.ingest.journal import Journal
from neardup.workers.ingest.names import below, check_names, composed, root_name
from neardup.workers.ingest.objects import Object, Objects
from neardup.workers.kafka.media_record import URI_LIST, uri_value
from neardup.workers.kafka.outbox import Headers, Message, Outbox

logger = logging.getLogger(__name__)
MAX_INLINE_BYTES = 15 * 2**20
MAX_WAITING_BYTES = 64 * 2**20
"""Beyond so many unacknowledged bytes, reading waits."""
MAX_WAIT_SECONDS = 90.0
MOST_EXAMPLES = 3
"""Of skipped files."""
OBJECTS_AT_ONCE = 64
"""So many beginnings of objects are asked for together."""


@dataclass(slots=True)
class Count:
    """What became of the files: sent now, delivered by an earlier run, and skipped because nothing can be read.

    Attributes:
        examples: paths and URIs of the first that were skipped.
    """

    sent: int = 0
    before: int = 0
    skipped: int = 0
    examples: list[str] = field(default_factory=list)

    def skip(self, name: str) -> None:
        """Count a file that is skipped."""
        self.skipped += 1
        if len(self.examples) < MOST_EXAMPLES:
            self.examples.append(name)


def check_sources(paths: Sequence[Path], stores: Sequence[Objects], rules: Rules | None) -> None:
    """Look at the sources before anything is sent.

    Args:
        rules: what workers may read, where they are to read it.
    Raises:
        ConfigError: two have the same name, see `check_names`; or workers would refuse to read one.
    """
    check_names(paths, stores, "ingest one after the other, with --id-prefix")
    if rules is None:
        return
    allowed_by = {_uri_of(path): _uri_of(path if path.is_dir() else path.parent) for path in paths}
    for uri, prefix in [*allowed_by.items(), *((store.url, store.url) for store in stores)]:
        try:
            check_readable(uri, rules)
        except InvalidFrame as error:
            raise ConfigError(
                f"workers would not read {uri[:200]}: {error.detail}; add {prefix} to NEARDUP_FETCH_ALLOW, for the"
                " embed workers and for this command, or send the content itself, without --by-uri"
            ) from error


class Ingest:
    """One run.

    Args:
        topic: the name of `media`.
        rate: items per second at most; 0 is no limit.
        sent: called with the id of each item that is sent.
        rules: by URI: what workers may read, which is what is sent; None sends the content.
    """

    def __init__(
        self,
        outbox: Outbox,
        topic: str,
        blobs: Callable[[], Blobs],
        journal: Journal,
        bank: str = "",
        id_prefix: str = "",
        rate: float = 0.0,
        sent: Callable[[str], object] = lambda _id: None,
        rules: Rules | None = None,
    ) -> None:
        self._outbox = outbox
        self._topic = topic
        self._blobs = blobs
        self._journal = journal
        self._headers: Headers = [("bank", bank.encode())] if bank else []
        self._id_prefix = id_prefix
        self._interval = 1.0 / rate if rate > 0 else 0.0
        self._told = sent
        self._rules = rules
        self._next = 0.0
        self.count = Count()

    def run(self, paths: Sequence[Path], uris: Sequence[str], stores: Sequence[Objects] = ()) -> Iterator[None]:
        """Send everything; yields after each file, object and URI, and ends when Kafka has them all.

        Raises:
            ConfigError: a path does not exist.
            DependencyError: Kafka, the blob store or an object store failed; what was acknowledged is in the journal.
        """
        several = len(paths) + sum(not store.single for store in stores) > 1
        for path in paths:
            prefix = self._id_prefix + (f"{root_name(path)}/" if several and path.is_dir() else "")
            for found in walk([path]):
                self._file(found, prefix, path)
                yield
        for store in stores:
            yield from self._objects(store, self._id_prefix + (f"{store.name}/" if several else ""))
        for uri in uris:
            self._pace()
            message = Message(self._topic, make_id(self._id_prefix + uri).encode(), uri.encode(), self._uri_headers())
            self._send(message, lambda: None)
            yield
        self._wait(0)

    def _file(self, found: Found | PutAside, prefix: str, root: Path) -> None:
        if isinstance(found, PutAside) or not _is_media(found):
            logger.info("file skipped path=%s", visible(found.path))
            self.count.skip(found.path)
            return
        id = make_id(prefix + below(found.path, root))
        key = id.encode()
        if self._journal.has(id, found.size, found.modified):
            self.count.before += 1
            return
        self._pace()
        try:
            message = self._message(found, key)
        except (OSError, InvalidFrame) as error:
            self._skip(found.path, error)
            return
        self._send(message, partial(self._journal.add, id, found.size, found.modified))

    def _objects(self, store: Objects, prefix: str) -> Iterator[None]:
        listed = iter(store)
        while some := list(islice(listed, OBJECTS_AT_ONCE)):
            new: dict[str, Object] = {}
            for one in some:
                id = make_id(prefix + composed(one.name, store) if one.name else self._id_prefix + one.uri)
                if self._journal.has(id, one.size, one.stamp):
                    self.count.before += 1
                    yield
                else:
                    new[id] = one
            for (id, one), head in zip(new.items(), store.heads([*new.values()]), strict=True):
                self._object(id, one, head, store)
                yield

    def _object(self, id: str, found: Object, head: bytes | OSError, store: Objects) -> None:
        if isinstance(head, OSError):
            self._skip(found.uri, head)
            return
        if identify(head) is None:
            logger.info("object skipped uri=%s", visible(found.uri))
            self.count.skip(found.uri)
            return
        self._pace()
        try:
            message = self._message_of(found, id.encode(), store)
        except (OSError, InvalidFrame) as error:
            self._skip(found.uri, error)
            return
        self._send(message, partial(self._journal.add, id, found.size, found.stamp))

    def _skip(self, name: str, error: OSError | InvalidFrame) -> None:
        said = error.detail if isinstance(error, InvalidFrame) else error.strerror or str(error)
        logger.warning("file skipped path=%s error=%s", visible(name), said)
        self.count.skip(name)

    def _message_of(self, found: Object, key: bytes, store: Objects) -> Message:
        if self._rules is not None:
            return self._reference(key, found.uri, self._rules)
        if found.size <= MAX_INLINE_BYTES:
            data = store.read(found, MAX_INLINE_BYTES + 1)
            if len(data) <= MAX_INLINE_BYTES:
                return Message(self._topic, key, data, self._headers)
        with tempfile.TemporaryDirectory(prefix="neardup-") as folder:
            path = Path(folder) / "object"
            store.copy(found, path)
            return self._stored(key, path)

    def _reference(self, key: bytes, uri: str, rules: Rules) -> Message:
        if "::" in uri and not uri.startswith("file:"):
            raise InvalidFrame(Reason.FORBIDDEN, "two colons in a URI, which fsspec takes for two URIs")
        check_readable(uri, rules)
        return Message(self._topic, key, uri_value(uri), self._uri_headers())

    def _message(self, found: Found, key: bytes) -> Message:
        path = Path(found.path)
        if self._rules is not None:
            return self._reference(key, Path(found.absolute).as_uri(), self._rules)
        if found.size <= MAX_INLINE_BYTES:
            with path.open("rb", buffering=0) as file:
                data = file.read(MAX_INLINE_BYTES + 1)
            if len(data) <= MAX_INLINE_BYTES:
                return Message(self._topic, key, data, self._headers)
        return self._stored(key, path)

    def _stored(self, key: bytes, path: Path) -> Message:
        digest = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
        uri = self._blobs().put(key.decode(), path, digest.digest())
        return Message(self._topic, key, uri.encode(), [*self._uri_headers(), ("sha256", digest.hexdigest().encode())])

    def _uri_headers(self) -> Headers:
        return [*self._headers, ("content-type", URI_LIST.encode())]

    def _send(self, message: Message, confirmed: Callable[[], None]) -> None:
        self._wait(MAX_WAITING_BYTES)
        self._outbox.send([message], confirmed)
        self.count.sent += 1
        self._told((message.key or b"").decode())

    def _wait(self, most_bytes: int) -> None:
        self._outbox.wait_below(most_bytes, MAX_WAIT_SECONDS)

    def _pace(self) -> None:
        if self._interval:
            now = time.monotonic()
            self._next = max(self._next + self._interval, now - 1.0)  # a pause is not made good for by a burst
            time.sleep(max(self._next - now, 0.0))


def _is_media(found: Found) -> bool:
    try:
        with Path(found.path).open("rb", buffering=0) as file:
            return identify(file.read(HEAD_BYTES)) is not None
    except OSError:
        return False


def _uri_of(path: Path) -> str:
    return Path(os.path.abspath(path)).as_uri()  # noqa: PTH100 (links are left as they are)
