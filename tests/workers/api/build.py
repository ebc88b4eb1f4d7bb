"""An app over a small state, a memory log and a memory store: what is written is matched and flagged at once."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from fastapi.testclient import TestClient
from PIL import Image

from neardup.pipeline.errors import ConfigError, DependencyError, InvalidFrame, Reason
from neardup.pipeline.log.records import Described, Entry, Envelope, Record
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.query.verify import Verifier, verify
from neardup.pipeline.media.identify import identify
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.interface import DeadLetter
from neardup.pipeline.store.memory import MemoryStore
from neardup.workers.api.app import make_app
from neardup.workers.api.auth import Tokens, line_of
from neardup.workers.api.context import Context
from neardup.workers.api.feed import Hub
from neardup.workers.api.networks import Network, Networks
from neardup.workers.api.view import View
from neardup.workers.kafka.outbox import Headers
from tests.pipeline.match.build import D, a_state, picture
from tests.pipeline.match.query.test_content import shows

TOKENS = {"ann": ("read", "nd_ann"), "bob": ("review", "nd_bob"), "eve": ("admin", "nd_eve")}


def an_image(colour: int, side: int = 32) -> bytes:
    """Return a PNG whose red is the same everywhere; `StubUploads` describes it as the angle of that many degrees.

    All of them show one pattern, so that a proof finds a copy wherever it is asked for one.
    """
    file = io.BytesIO()
    squares = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)).resize((side, side), 0)
    Image.merge("RGB", [Image.new("L", (side, side), colour), squares, squares]).save(file, "PNG")
    return file.getvalue()


class StubUploads:
    """Describes a PNG by its red as an angle, and refuses what is none, as the embedder would.

    With a `similar_space` it says of the content, too: that it is at 120 degrees less.
    """

    def __init__(self, similar_space: str = "") -> None:
        self.similar_space = similar_space

    def describe(self, content: bytes | str, owner: str = "") -> Future[list[Described]]:
        del owner
        future: Future[list[Described]] = Future()
        if isinstance(content, str):
            future.set_exception(InvalidFrame(Reason.FORBIDDEN, f"{content} is below no allowed prefix"))
        elif identify(content) is None:
            future.set_exception(InvalidFrame(Reason.FORMAT, "content is no format read here"))
        else:
            try:
                pixel = Image.open(io.BytesIO(content)).convert("RGB").getpixel((0, 0))
            except OSError as error:
                future.set_exception(InvalidFrame(Reason.DECODE, str(error)))
            else:
                assert isinstance(pixel, tuple)
                record = picture("", pixel[0], sha256=hashlib.sha256(content).digest())
                if self.similar_space:
                    record = shows(record, pixel[0] - 120, self.similar_space)
                future.set_result([msgspec.structs.replace(record, width=32, height=32)])
        return future


def load_stub(name: str, place: str) -> Network:
    if place == "nowhere":
        raise ConfigError(f"{place}: no such file")
    if place == "faces":
        measured = {"threshold": 0.9, "slope": 10.0, "intercept": -9.0, "false_accept": 0.01, "false_reject": 0.02}
        verifier = Verifier(**measured, equal_error=0.015, classes=5, genuine=50, impostors=50)  # type: ignore[arg-type]
        nothing = np.zeros((0, D), dtype=np.float32)
        return Network(name, "other", StubUploads(), lambda _: a_state(), lambda a, b: verify(verifier, a, b, nothing))
    return Network(name, "other", StubUploads(), lambda prover: a_state(stars=False, prover=prover))


@dataclass
class MemoryLog:
    """Takes records as Kafka would, and has the view and the store follow at once, unless it is held or away."""

    context: Context | None = None
    away: bool = False
    held: bool = False
    published: list[tuple[str, bytes, Headers]] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def append(self, records: Sequence[Record]) -> list[int]:
        if self.away:
            raise DependencyError("Kafka: no broker answers")
        with self._lock:
            first = len(self.records)
            self.records += records
            if not self.held:
                self.follow()
        return list(range(first, first + len(records)))

    def publish(self, item_id: str, value: bytes, headers: Headers) -> tuple[int, int]:
        """Describe what is published, as an embed worker would; what cannot be is a dead letter."""
        if self.away:
            raise DependencyError("Kafka: no broker answers")
        self.published.append((item_id, value, headers))
        assert self.context is not None
        bank, place = dict(headers)["bank"].decode(), (0, len(self.published))
        try:
            parts = self.context.networks.own.uploads.describe(value).result()
        except InvalidFrame as error:
            now_ms = round(1000 * time.time())
            letter = DeadLetter(item_id, bank, error.reason.value, error.detail, *place, now_ms)
            self.context.store.note_dead_letters([letter], len(self.published))
            return place
        told = {"id": item_id, "bank": bank, "source_partition": place[0], "source_offset": place[1]}
        self.append([msgspec.structs.replace(part, **told) for part in parts])
        return place

    def follow(self) -> None:
        """Have the view and the store take in all that was written."""
        assert self.context is not None
        view = self.context.view
        assert view is not None
        start = view.applied + 1
        entries = [Entry(start + n, record, 1000 + start + n) for n, record in enumerate(self.records[start:])]
        if not entries:
            return
        made: list[Envelope] = view.apply(entries, {}, entries[-1].offset)
        times = {entry.offset: entry.timestamp_ms for entry in entries}
        envelopes = [msgspec.structs.replace(one, timestamp_ms=times[one.offset]) for one in made]
        self.context.store.apply(envelopes)
        self.context.told(envelopes)


@dataclass
class Api:
    """A running app: its client has the token of an admin."""

    client: TestClient
    context: Context
    log: MemoryLog
    store: MemoryStore

    def as_(self, name: str) -> dict[str, str]:
        """Return the headers of a caller."""
        return {"Authorization": f"Bearer {TOKENS[name][1]}"}


@contextmanager
def an_api(
    folder: Path, records: Sequence[Record] = (), state: State | None = None, **settings: object
) -> Iterator[Api]:
    """Run an app with tokens for ann (read), bob (review) and eve (admin)."""
    listed = ",".join(line_of(name, role, token) for name, (role, token) in TOKENS.items())
    made = Settings(blobs=str(folder / "blobs"), **settings)  # type: ignore[arg-type]
    store, log = MemoryStore(), MemoryLog()
    view = View(state or a_state(), -1)
    own = Network("default", "s", StubUploads(), lambda prover: a_state(stars=False, prover=prover))
    networks = Networks(own, {"signatures": "there", "faces": "faces", "broken": "nowhere"}, load_stub)
    context = Context(made, "s", Tokens(listed), store, log, networks, Hub(store), view=view, unready="")
    log.context = context
    log.append(records)
    client = TestClient(make_app(context), headers={"Authorization": "Bearer nd_eve"}, raise_server_exceptions=False)
    with client:
        yield Api(client, context, log, store)
    view.close()
