"""How fast the stream is, from a record in Kafka to the flag in Redis, beside what its parts would allow.

    make bench-stream            3,000 photographs of 500 × 400, rendered from bundled ones
    python -m benchmarks.bench_stream --ways threads,members,processes,shared    in one run, in turn
    python -m benchmarks.bench_stream --ways processes,known --repeats 0.5   what known content is worth
    python -m benchmarks.bench_stream --proofs --media DIR   delays of items that have to be proved
    make bench-stream MEDIA=DIR  pictures of your own

A broker, a Redis and one worker of each kind (or more that embed: --embed-workers) run on this machine, and so does the
producer. First the *ideal* of `make bench-scan`: cores ÷ (CPU-seconds per image of the bare decode loop + of the bare
embed loop). Then all pictures are produced as fast as Kafka takes them, and the rate counts from the first record
produced to the last verdict in Redis. Then every picture is produced once more, with new ids and at half of that rate:
each is a copy, and its delay runs from the call that produces it to the moment at which a reader of the feed has it.

Four ways: an embed worker that describes in its threads; as many of those as cores, with one thread each (members);
one that feeds processes; one whose processes feed its network (shared). All of them describe whatever comes; a fifth
way (known) is the third with a table of content that was described before. What a worker starts counts as its own.
Memory is PSS: what processes share is divided among them.

With --proofs a prove worker runs, too. The rate counts until the last proof is decided, and of what is produced at half
of it every other picture is scaled and encoded anew, so that it has to be proved. Some of these are not flagged as
duplicates, and have no delay.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
import psutil
import redis
from PIL import Image

from benchmarks.bench_scan import Work, decode_all, embed_all, timed
from benchmarks.photographs import render_photographs
from deploy.local.services import Services
from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.embedder import make_embedder
from neardup.pipeline.log.records import Verdict
from neardup.pipeline.settings import Settings, load, usable_cores
from neardup.workers.kafka.outbox import make_producer
from neardup.workers.kafka.topics import create_topics, open_admin, topic_names

WORKERS = ("embed", "match", "flag")
START_SECONDS = 120.0
PATIENCE_SECONDS = 300.0
WAYS = {
    "threads": {"NEARDUP_PROCESSES": "1", "NEARDUP_THREADS": "0", "NEARDUP_SHARED_NETWORK": "0"},
    "members": {"NEARDUP_PROCESSES": "1", "NEARDUP_THREADS": "1", "NEARDUP_SHARED_NETWORK": "0"},
    "processes": {"NEARDUP_PROCESSES": "0", "NEARDUP_THREADS": "0", "NEARDUP_SHARED_NETWORK": "0"},
    "shared": {"NEARDUP_PROCESSES": "0", "NEARDUP_THREADS": "0", "NEARDUP_SHARED_NETWORK": "1"},
    "known": {
        "NEARDUP_PROCESSES": "0",
        "NEARDUP_THREADS": "0",
        "NEARDUP_SHARED_NETWORK": "0",
        "NEARDUP_KNOWN_CONTENT_BYTES": str(2**28),
    },
}
WARM_UP = 200
"""Pictures that go through before anything is measured."""
MOST_UNSENT = 200
QUIET_SECONDS = 10.0
"""Without news the feed is taken to have all that will come."""
KINDS = {"again": "identical copies", "edited": "copies that are proved"}
REPEATED_AFTER = 300
"""Places between a picture and its repeat at least: its description is in the log by then."""
decode_verdict = msgspec.msgpack.Decoder(Verdict).decode
_TICK = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Measured:
    """What one run of the stream showed; CPU seconds and memory by process."""

    images_per_second: float
    cpu_seconds: Mapping[str, float]
    delays: Mapping[str, Sequence[float]]
    rate: float
    mebibytes: Mapping[str, float]


def ideal_rate(paths: Sequence[Path], model: str, runs: int) -> float:
    """Return the images/s that the cores could do if there were only decoding and the network."""
    embedder = make_embedder(load_checkpoint(model))
    tiles = np.stack(decode_all(paths, usable_cores(), embedder.size))
    embed_all(embedder, tiles[:64])
    decode_work = Work("decode", len(paths), lambda: decode_all(paths, usable_cores(), embedder.size))
    decode, embed = timed([decode_work, Work("embed", len(paths), lambda: embed_all(embedder, tiles))], runs)
    print(f"decode alone {1000 * decode.cpu_seconds:.2f}, embed alone {1000 * embed.cpu_seconds:.2f} CPU-ms per image")
    return usable_cores() / (decode.cpu_seconds + embed.cpu_seconds)


class Stream:
    """Services and workers that run, a producer, and a connection to Redis."""

    def __init__(self, settings: Settings, processes: Mapping[str, int], metrics: Mapping[str, int]) -> None:
        self.settings, self.processes, self._metrics = settings, processes, metrics
        space = load_checkpoint(settings.model).space
        self.topics = topic_names(settings.topic_root, space)
        self._prefix = f"nd:{{{space}}}"
        self.redis: Any = redis.Redis.from_url(settings.redis.get_secret_value())
        self.producer = make_producer(settings)  # that of `neardup ingest`
        self._unsent = threading.BoundedSemaphore(MOST_UNSENT)

    def produce(self, id: str, content: bytes) -> None:
        """Hand one picture to Kafka; waits while many are on their way."""
        self._unsent.acquire()
        sent = self.producer.send(self.topics.media, key=id.encode(), value=content)
        sent.add_both(lambda _: self._unsent.release())

    def applied(self) -> int:
        """Return how many records have their verdict in Redis."""
        found = self.redis.get(f"{self._prefix}:applied")
        return 0 if found is None else int(found) + 1

    def await_applied(self, count: int) -> None:
        """Return when so many have; raises TimeoutError."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.applied() < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.applied()} of {count} verdicts after {PATIENCE_SECONDS:.0f} s")
            time.sleep(0.05)  # not oftener: it takes from what is measured

    def await_decided(self, items: int) -> None:
        """Return when so many items are decided and none waits for a proof; raises TimeoutError."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (known := self._gauge("neardup_match_items")) < items or self._gauge("neardup_match_pending"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{known:.0f} of {items} items after {PATIENCE_SECONDS:.0f} s, or some wait")
            time.sleep(0.1)

    def _gauge(self, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics['match']}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))

    def read_feed(self, seen: dict[str, float], count: int, ended: threading.Event) -> None:
        """Note when a reader of the feed has each item, until `count` came or it has ended; runs in a thread."""
        feed, last = f"{self._prefix}:feed", "$"
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(seen) < count and time.monotonic() < deadline and not ended.is_set():
            for _, entries in self.redis.xread({feed: last}, block=500) or ():
                now = time.perf_counter()
                seen.update((decode_verdict(fields[b"verdict"]).id, now) for _, fields in entries)
                last = entries[-1][0]

    def cpu_seconds(self) -> dict[str, float]:
        """Return the processor time of each process so far, that of the producer included."""
        times = os.times()
        started = {name: sum(map(_cpu, _family(pid))) for name, pid in self.processes.items()}
        return {"producer": times.user + times.system} | started

    def mebibytes(self) -> dict[str, float]:
        """Return the memory that each process takes, and each that an embed worker started."""
        held = {}
        for name, pid in self.processes.items():
            own, *started = _family(pid)
            held[name] = _pss(own)
            if name.startswith("embed"):
                held |= {f"{name}, its process {number}": _pss(one) for number, one in enumerate(started, 1)}
        return held


def measure(stream: Stream, contents: Sequence[bytes], proofs: bool = False) -> Measured:
    """Send everything through, once as fast as it goes, and once at half of that rate."""
    warm_up = min(WARM_UP, len(contents))
    for number, content in enumerate(contents[:warm_up]):
        stream.produce(f"warm-{number}", content)
    stream.await_applied(warm_up)
    before, began = stream.cpu_seconds(), time.perf_counter()
    for number, content in enumerate(contents):
        stream.produce(f"first-{number}", content)
    if proofs:
        stream.await_decided(warm_up + len(contents))
    else:
        stream.await_applied(warm_up + len(contents))
    seconds = time.perf_counter() - began
    cpu = {name: after - before[name] for name, after in stream.cpu_seconds().items()}
    rate = len(contents) / seconds / 2
    again = {f"again-{number}": content for number, content in enumerate(contents)}
    if proofs:
        again |= {f"edited-{n}": edited(again.pop(f"again-{n}")) for n in range(0, len(contents), 2)}
    seen = _delays(stream, again, rate)
    by_kind = {kind: [delay for id, delay in seen.items() if id.startswith(kind)] for kind in ("again", "edited")}
    missing = sum(id.startswith("again") for id in again) - len(by_kind["again"])
    if missing:
        raise TimeoutError(f"{missing} copies never came to the feed")
    delays = {kind: some for kind, some in by_kind.items() if some}
    return Measured(len(contents) / seconds, cpu, delays, rate, stream.mebibytes())


def edited(content: bytes) -> bytes:
    """Return a picture at four fifths of its size, encoded anew."""
    with Image.open(io.BytesIO(content)) as picture:
        small = picture.convert("RGB").resize((picture.width * 4 // 5, picture.height * 4 // 5))
    small.save(written := io.BytesIO(), "JPEG", quality=70)
    return written.getvalue()


def _delays(stream: Stream, contents: Mapping[str, bytes], rate: float) -> dict[str, float]:
    """Produce at a steady rate, in random order, and return the seconds from there to the feed of those that came."""
    sent: dict[str, float] = {}
    seen: dict[str, float] = {}
    ended = threading.Event()
    reader = threading.Thread(target=stream.read_feed, args=(seen, len(contents), ended), daemon=True)
    reader.start()
    time.sleep(0.2)
    order = np.random.default_rng(6).permutation(len(contents)).tolist()
    ids = list(contents)
    began = time.perf_counter()
    for number, place in enumerate(order):
        time.sleep(max(began + number / rate - time.perf_counter(), 0.0))
        sent[ids[place]] = time.perf_counter()
        stream.produce(ids[place], contents[ids[place]])
    news, waited = len(seen), time.monotonic()
    while reader.is_alive() and time.monotonic() < waited + QUIET_SECONDS:
        time.sleep(0.1)
        if len(seen) > news:
            news, waited = len(seen), time.monotonic()
    ended.set()
    reader.join()
    return {id: seen[id] - when for id, when in sent.items() if id in seen}


@contextmanager
def running_stream(
    folder: Path,
    embed_workers: int = 1,
    more_environment: Mapping[str, str] = MappingProxyType({}),
    kinds: Sequence[str] = WORKERS,
    prepare: Callable[[Stream], object] = lambda _: None,
) -> Iterator[Stream]:
    """Start services and workers below a folder; all of it ends with the context.

    Args:
        kinds: of workers. prepare: called between services and workers.
    """
    more = [f"embed-{number}" for number in range(2, embed_workers + 1)]
    names = (*kinds, *more)
    services = Services(folder / "services")
    services.data.mkdir()
    with ExitStack() as ends:
        ends.callback(services.stop)
        services.start()
        places = {
            "NEARDUP_STATE_FOLDER": str(folder / "state"),
            "NEARDUP_BLOBS": str(folder / "blobs"),
            "NEARDUP_KNOWN_CONTENT_BYTES": "0",
            "NEARDUP_PROVE": "false",  # what is sent again is identical, and decided without
        }
        os.environ.update({**services.environment, **places, **more_environment})
        settings = load()
        with open_admin(settings) as admin:
            create_topics(admin, load_checkpoint(settings.model).space, settings)
        pids = {name: process.pid for name, process in services.running.items()}
        port = services.choose_ports({}).redis + 1000
        stream = Stream(settings, pids, {name: port + number for number, name in enumerate(names)})
        ends.callback(stream.producer.close, 1.0)
        prepare(stream)
        for number, name in enumerate(names):
            pids[name] = ends.enter_context(_worker(name, port + number, folder / f"{name}.log"))
        for number, name in enumerate(names):
            _await_ready(name, port + number)
        yield stream


@contextmanager
def _worker(name: str, port: int, log: Path) -> Iterator[int]:
    kind = name.partition("-")[0]
    command = [
        sys.executable,
        "-m",
        "neardup.workers.cli.main",
        "worker",
        kind,
        "--port",
        str(port),
        "--end-with-stdin",
    ]
    # packs are stored as they ship, though nobody asks for proofs
    environment = os.environ | ({"NEARDUP_PROVE": "true"} if kind == "embed" else {})
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output, env=environment)
    try:
        yield process.pid
    finally:
        process.terminate()
        if process.wait(30):
            sys.stderr.write(f"{name} worker ended with {process.returncode}\n{log.read_text()[-2000:]}\n")


def _await_ready(name: str, port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except OSError as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} worker is not ready after {START_SECONDS:.0f} s: {error}") from error
            time.sleep(0.2)


def _family(pid: int) -> list[int]:
    """Return a process and all that it has started, and these."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def _pss(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 2**10


def _cpu(pid: int) -> float:
    # after the name, which may hold spaces and brackets: state is field 0, user time 11, system time 12
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, default=os.environ.get("MEDIA"))
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--runs", type=int, default=3, help="of the bare loops and of the stream")
    parser.add_argument("--embed-workers", type=int, default=1)
    parser.add_argument("--repeats", type=float, default=0.0, help="share of pictures that came before, 0 to 1")
    parser.add_argument("--proofs", action="store_true", help="with a prove worker, and copies that have to be proved")
    parser.add_argument("--ways", default="processes", help=f"of {', '.join(WAYS)}, with commas between")
    arguments = parser.parse_args()
    if arguments.media:
        folder = Path(arguments.media).expanduser()
        paths = sorted(path for path in folder.rglob("*") if path.is_file())[: arguments.count]
    else:
        paths = render_photographs(Path(f"demo/photographs-{arguments.count}"), arguments.count)
    print(f"{len(paths)} pictures, {usable_cores()} cores, medians of {arguments.runs}")
    contents = with_repeats([path.read_bytes() for path in paths], arguments.repeats)
    model = load().model
    ways = arguments.ways.split(",")
    ideals, runs = list[float](), {way: list[Measured]() for way in ways}
    # Nothing is deleted between runs: for each file that is made ext4 passes over the inodes that were freed in the
    # last minutes, one by one, and a profile of the run that followed showed it.
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(arguments.runs):
            ideals.append(ideal_rate(paths, model, 1))
            for way in ways:
                folder = Path(scratch, f"{number}-{way}")
                folder.mkdir()
                members = usable_cores() if way == "members" else arguments.embed_workers
                environment = WAYS[way] | ({"NEARDUP_PROVE": "true"} if arguments.proofs else {})
                kinds = (*WORKERS, "prove") if arguments.proofs else WORKERS
                with running_stream(folder, members, environment, kinds) as stream:
                    runs[way].append(measure(stream, contents, arguments.proofs))
                rate = runs[way][-1].images_per_second
                print(f"ideal {ideals[-1]:,.0f} images/s, stream by {way} {rate:,.0f}", flush=True)
    for way in ways:
        print(f"\n## {way}")
        _print(ideals, runs[way], len(contents))


def with_repeats(contents: Sequence[bytes], share: float) -> list[bytes]:
    """Return as many contents, of which about such a share came at least REPEATED_AFTER places before; seeded."""
    random = np.random.default_rng(5)
    mixed: list[bytes] = []
    fresh = iter(contents)
    for place in range(len(contents)):
        repeats = place > REPEATED_AFTER and random.random() < share
        mixed.append(mixed[int(random.integers(0, place - REPEATED_AFTER))] if repeats else next(fresh))
    return mixed


def _print(ideals: Sequence[float], runs: Sequence[Measured], count: int) -> None:
    middle = statistics.median
    ideal, rate = middle(ideals), middle(run.images_per_second for run in runs)
    ratio = middle(run.images_per_second / one for run, one in zip(runs, ideals, strict=True))
    print(f"\nideal {ideal:,.0f} images/s; the stream, end to end, {rate:,.0f}: {ratio:.2f} of it\n")
    print("| process | CPU-ms per item at full rate | MiB |\n|---|---|---|")
    for name in runs[0].cpu_seconds:
        cpu = 1000 * middle(run.cpu_seconds[name] for run in runs) / count
        held = f"{middle(run.mebibytes[name] for run in runs):,.0f}" if name in runs[0].mebibytes else ""
        print(f"| {name} | {cpu:.2f} | {held} |")
    for name in sorted(runs[0].mebibytes.keys() - runs[0].cpu_seconds.keys()):
        print(f"| {name} | | {runs[0].mebibytes[name]:,.0f} |")
    half = middle(run.rate for run in runs)
    for kind in runs[0].delays:
        delays = [run.delays[kind] for run in runs]
        p50, p95, p99 = (1000 * middle(float(np.quantile(some, q)) for some in delays) for q in (0.5, 0.95, 0.99))
        print(
            f"\nfrom produce to the feed at {half:,.0f} images/s, {KINDS[kind]} ({len(delays[0])} flagged): "
            f"p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms"
        )


if __name__ == "__main__":
    main()
