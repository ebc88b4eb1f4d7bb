"""Measure the API: lookups per second and how long they take, by item and by upload, and how late a flag is seen.

    python -m benchmarks.bench_api --rows 1000000 --clients 32

The app is the API worker's own behind its own server, over a view that holds so many descriptors; see `bench_match` for
how it is filled, and `descriptors` for what they are. Clients are a process of their own on the same machine, each with
one connection that it keeps, and ask again as soon as they are answered; so times hold the wait for other clients.
An upload is a JPEG of 640 × 480 pixels, decoded and embedded on the same processors. The feed's delay is from the write
of a flag into the store, in memory here, to the arrival of its event at a client; and to the first frame in which an
idle review page shows the pair, in a Chromium on the same machine, its pictures not waited for. Recall is the share of
the k nearest items, by exact distances, that a search for k finds.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import multiprocessing
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.bench_match import Filled, about, open_state
from benchmarks.descriptors import Population
from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.log.records import Envelope, Matched, RemovedEvent, Verdict
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.query.similar import Query, similar
from neardup.pipeline.settings import load
from neardup.pipeline.store.interface import ReviewQueue
from neardup.pipeline.store.memory import MemoryStore
from neardup.pipeline.types import Decision, Descriptors, Ids
from neardup.workers.api.app import make_app
from neardup.workers.api.auth import Tokens
from neardup.workers.api.context import Context
from neardup.workers.api.feed import Hub
from neardup.workers.api.networks import Networks, embedder_of, own_network
from neardup.workers.api.server import Server
from neardup.workers.api.uploads import UploadDescriber
from neardup.workers.api.view import View

PICTURES = 64
FLAGS = 100
PAGES = 50
IDLE_MS = 500
"""A page that has just looked pauses before it looks again."""
QUERIES = 100
RECALL_AT = (10, 100, 1000)
CHUNK = 32_768
Request = tuple[str, str, bytes]
"""Method, path, body."""


class NoWrites:
    """A log and a `media` that nobody writes to."""

    def append(self, records: Any) -> list[int]:
        raise NotImplementedError(records)

    def publish(self, item_id: str, value: bytes, headers: Any) -> tuple[int, int]:
        raise NotImplementedError((item_id, value, headers))


async def client(port: int, requests: list[Request], until: float, begin: float, times: list[float]) -> None:
    """Ask one request after the other on one connection, and note the seconds of those that began after `begin`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    place = 0
    while time.perf_counter() < until:
        method, path, body = requests[place % len(requests)]
        place += 1
        kind = "Content-Type: image/jpeg\r\n" if body else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{kind}Content-Length: {len(body)}\r\n\r\n"
        started = time.perf_counter()
        writer.write(head.encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(int(line[15:]) for line in answer.split("\r\n") if line.startswith("content-length:"))
        said = await reader.readexactly(length)
        if not answer.startswith("http/1.1 200"):
            raise SystemExit(f"{path}: {answer.splitlines()[0]} {said[:300]!r}")
        if started >= begin:
            times.append(time.perf_counter() - started)
    writer.close()


def ask(port: int, requests: list[list[Request]], seconds: float, result: Any) -> None:
    """Run clients, each with requests of its own, for some seconds, the first fifth left out."""

    async def run() -> list[float]:
        times: list[float] = []
        now = time.perf_counter()
        begin, until = now + seconds / 5, now + seconds
        await asyncio.gather(*(client(port, own, until, begin, times) for own in requests))
        return times

    result.put(asyncio.run(run()))


def measure(name: str, port: int, requests: list[list[Request]], seconds: float) -> None:
    """Print a row of the table."""
    context = multiprocessing.get_context("spawn")
    result = context.Queue()
    process = context.Process(target=ask, args=(port, requests, seconds, result))
    process.start()
    times = np.array(result.get(timeout=seconds + 120)) * 1000
    process.join()
    p50, p99 = np.percentile(times, [50, 99])
    print(f"| {name} | {len(times) / (0.8 * seconds):,.0f} | {p50:.1f} | {p99:.1f} | {times.max():.0f} |", flush=True)


def pictures() -> list[bytes]:
    """Return JPEGs of 640 × 480 pixels with something in them."""
    rng = np.random.default_rng(3)
    made = []
    for _ in range(PICTURES):
        rough = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        file = io.BytesIO()
        rough.resize((640, 480), Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
        made.append(file.getvalue())
    return made


class Flags:
    """Writes flags into the store, one by one."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._rng = np.random.default_rng(4)

    def write(self) -> tuple[str, float]:
        """Flag an item, after a moment, and return its id and the time, in seconds since 1970."""
        time.sleep(float(self._rng.uniform(0, 0.1)))
        match = Matched(
            reference="r", bank="seen", decision=Decision.DUPLICATE, distance=0.1, evidence=1.0, probability=1.0
        )
        offset = self._store.applied() + 1
        written = time.time()
        verdict = Verdict(id=f"flag-{offset}", decision=Decision.DUPLICATE, matches=(match,))
        self._store.apply([Envelope(offset=offset, events=(verdict,))])
        return verdict.id, written

    def remove_all(self) -> None:
        """Have nothing wait for a review."""
        events = tuple(RemovedEvent(id=one.item) for one in self._store.queue(0, FLAGS, queue=ReviewQueue.ALL))
        self._store.apply([Envelope(offset=self._store.applied() + 1, events=events)])


def feed_delays(port: int, flags: Flags) -> list[float]:
    """Return the seconds from a flag's writing to the arrival of its event."""
    arrived: Queue[tuple[str, float]] = Queue()

    async def watch() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /v1/feed?after=0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        for _ in range(FLAGS):
            while not (line := await reader.readline()).startswith(b"data: "):
                pass
            arrived.put((json.loads(line[6:])["id"], time.time()))
        writer.close()

    thread = threading.Thread(target=lambda: asyncio.run(watch()))
    thread.start()
    time.sleep(1)
    delays = []
    for _ in range(FLAGS):
        id, written = flags.write()
        came, at = arrived.get(timeout=30)
        assert came == id
        delays.append(at - written)
    thread.join()
    return delays


WATCH = """() => {
  const pair = document.getElementById("pair");
  window.drawn = new Promise(done => new MutationObserver((_, observer) => {
    if (pair.hidden) return;
    observer.disconnect();
    requestAnimationFrame(() => setTimeout(() => done(performance.timeOrigin + performance.now())));
  }).observe(pair, {attributes: true}));
}"""
"""Has a page note the time after the first frame with a pair, in milliseconds since 1970."""


def page_delays(port: int, flags: Flags) -> list[float]:
    """Return the seconds from a flag's writing to the frame in which an idle review page shows it.

    Raises:
        LookupError: there is no browser.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError as error:
        raise LookupError("playwright is missing: pip install 'neardup[dev]'") from error
    path = shutil.which("chromium")
    if path is None:
        raise LookupError("there is no Chromium: apt-get install chromium")
    delays = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        for _ in range(PAGES):
            flags.remove_all()
            page.goto(f"http://127.0.0.1:{port}/review")
            page.get_by_text("Nothing waits for a decision.").first.wait_for()
            page.get_by_text("live", exact=True).wait_for()
            page.wait_for_timeout(IDLE_MS)
            page.evaluate(WATCH)
            id, written = flags.write()
            drawn = page.evaluate("window.drawn")
            assert id in page.locator("#pair-title").inner_text()
            delays.append(drawn / 1000 - written)
        browser.close()
    return delays


def tell(what: str, seconds: list[float]) -> None:
    """Print how long something took."""
    p50, p99 = np.percentile(np.array(seconds) * 1000, [50, 99])
    print(f"{what}, {len(seconds)} times: p50 {p50:.0f} ms, p99 {p99:.0f} ms", flush=True)


def recalls(view: View, rows: int) -> dict[int, float]:
    """Return the share of the k items that are nearest by exact distances that a search for k finds, for some k."""
    chosen = np.random.default_rng(6).choice(rows, QUERIES, replace=False)

    def read(state: State) -> dict[int, float]:
        queries = state.seen.tables.vectors.read(chosen)
        exact = nearest(state.seen.tables.vectors.read, queries, chosen, rows, max(RECALL_AT))
        found = {}
        for k in RECALL_AT:
            asked = [Query(queries[n : n + 1], k, item=f"item-{chosen[n]}") for n in range(QUERIES)]
            hits = [
                len({one.item.number for one in results} & set(exact[n, :k].tolist()))
                for n, results in enumerate(similar(state, asked))
            ]
            found[k] = sum(hits) / (QUERIES * k)
        return found

    return view.look(read).result()


def nearest(read: Callable[[Ids], Descriptors], queries: Descriptors, own: Ids, rows: int, k: int) -> Ids:
    """Return the k rows nearest to each query by exact distances, nearest first, itself left out: (n, k)."""
    best = np.full((len(queries), k), -2.0, dtype=np.float32)
    ids = np.full((len(queries), k), -1, dtype=np.int64)
    for start in range(0, rows, CHUNK):
        numbers = np.arange(start, min(start + CHUNK, rows))
        cosines = queries @ read(numbers).T
        cosines[numbers[None, :] == own[:, None]] = -2.0
        both = np.concatenate([best, cosines], axis=1)
        top = np.argpartition(-both, k - 1, axis=1)[:, :k]
        best = np.take_along_axis(both, top, axis=1)
        ids = np.take_along_axis(np.concatenate([ids, np.tile(numbers, (len(queries), 1))], axis=1), top, axis=1)
    return np.take_along_axis(ids, np.argsort(-best, axis=1), axis=1)


def run(rows: int, clients: int, seconds: float, folder: Path) -> None:
    """Print the table."""
    checkpoint = load_checkpoint("default")
    started = time.perf_counter()
    state = open_state(checkpoint, rows, folder)
    population = Population(checkpoint.background, np.random.default_rng(0))
    view = View(state, Filled(folder, population, rows, lambda _: None).load(state))
    print(f"filled with {rows:,} rows in {time.perf_counter() - started:.0f} s; {about()}\n")
    settings = load(api_rate_per_second=0, api_max_requests=4 * clients)
    uploads = UploadDescriber(lambda: embedder_of(checkpoint, settings), settings)
    networks = Networks(own_network(checkpoint, settings, uploads), {}, lambda name, _: networks.get(name))
    store = MemoryStore()
    context = Context(
        settings, checkpoint.space, Tokens(), store, NoWrites(), networks, Hub(store), view=view, unready=""
    )
    server = Server(make_app(context), "127.0.0.1", 0)
    while not uploads.ready:
        if uploads.error is not None:
            raise SystemExit(str(uploads.error))
        time.sleep(0.05)
    rng = np.random.default_rng(5)
    numbers = rng.integers(0, rows, (clients, 256)).tolist()
    by_id = [[("GET", f"/v1/items/item-{n}/similar?k=10", b"") for n in own] for own in numbers]
    images = pictures()
    by_upload = [[("POST", "/v1/search?k=10", images[(n + c) % PICTURES]) for n in range(64)] for c in range(clients)]
    matched = [[("POST", "/v1/match", body) for _, _, body in own] for own in by_upload]
    large = [[("GET", f"/v1/items/item-{n}/similar?k=1000&page=1000", b"") for n in own] for own in numbers]
    print(f"| {clients} clients | lookups/s | p50 ms | p99 ms | longest ms |\n| --- | ---: | ---: | ---: | ---: |")
    measure("similar, k=10, by id", server.port, by_id, seconds)
    measure("similar, k=10, by upload", server.port, by_upload, seconds)
    measure("match an upload", server.port, matched, seconds)
    measure("similar, k=1000, by id", server.port, large, seconds)
    measure("similar, k=10, by id, one client", server.port, by_id[:1], seconds)
    flags = Flags(store)
    print()
    tell("feed, from the flag in the store to the client", feed_delays(server.port, flags))
    try:
        tell("and to the frame that shows it on an idle review page", page_delays(server.port, flags))
    except LookupError as missing:
        print(f"the review page is not measured: {missing}")
    told = ", ".join(f"{share:.4f} at {k}" for k, share in recalls(view, rows).items())
    print(f"recall of {QUERIES} items: {told}")
    server.close()
    uploads.close()
    view.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="descriptors held (%(default)s)")
    parser.add_argument("--clients", type=int, default=32, help="that ask at the same time (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement (%(default)s)")
    parser.add_argument("--folder", type=Path, help="where to write, some 2 GB; by default a temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        run(arguments.rows, arguments.clients, arguments.seconds, arguments.folder or Path(temporary))


if __name__ == "__main__":
    main()
