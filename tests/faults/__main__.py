"""Seeded schedules of kills, restarts, repetitions and losses over real processes, checked against an offline oracle.

    make faults                                       100 schedules in each mode
    python -m tests.faults --seed 17                  one of them again
    python -m tests.faults --seed 17 --schedules 5    five of them again, 17 to 21
    python -m tests.faults --mode scann --schedules 1000 --jobs 2
    python -m tests.faults --seed 3 --mutation no_watermark    must fail

Each job has a broker and a Redis of its own. Results are appended to a file below runs/faults, and schedules that are
found well there, for the same commit and files, are not run again (`--again` does). What a schedule that failed has
left, its workers' logs among it, stays there too.
"""

# ruff: noqa: T201 (what it prints is what it is for)

from __future__ import annotations

import argparse
import hashlib
import queue
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from tests.faults.lane import ROOT, Lane
from tests.faults.mutations import MUTATIONS
from tests.faults.run import Result, run_schedule
from tests.faults.schedule import Mode, make_schedule

TOLD_PROBLEMS = 5


def main(arguments: Sequence[str]) -> int:
    """Carry out the command line; return 1 if a schedule went wrong."""
    options = _parse(arguments)
    modes: list[Mode] = ["exact", "scann"] if options.mode == "both" else [options.mode]
    wanted = [(mode, seed) for mode in modes for seed in _seeds(options)]
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    book = folder / f"results-{_fingerprint()}{options.mutation}.jsonl"
    done = {} if options.again or options.seed is not None else _read(book)
    left = [one for one in wanted if one not in done]
    results = [done[one] for one in wanted if one in done]
    if results:
        print(f"{len(results)} schedules were found well before, in {book}")
    started = time.monotonic()
    with book.open("ab") as file:
        for result in _run_all(left, folder, options.jobs, options.mutation):
            results.append(result)
            if not result.wrong:
                file.write(msgspec.json.encode(result) + b"\n")
                file.flush()
            _tell(result, len(results), len(wanted), options.mutation)
    return _sum_up(results, len(left), time.monotonic() - started, len(wanted))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m tests.faults", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seed", type=int, help="the first, and the only one without --schedules; default 0")
    parser.add_argument("--schedules", type=int, help="how many; default 100")
    parser.add_argument("--mode", choices=("exact", "scann", "both"), default="both")
    parser.add_argument("--jobs", type=int, default=1, help="schedules at once; default 1")
    parser.add_argument("--mutation", choices=sorted(MUTATIONS), default="", help="put a fault into the product")
    parser.add_argument("--again", action="store_true", help="run those too that were found well before")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "faults")
    return parser.parse_args(arguments)


def _seeds(options: argparse.Namespace) -> range:
    """Return the schedules that are wanted: 100, or as many as asked for, or one where only that is named."""
    first = options.seed or 0
    return range(first, first + (options.schedules or (100 if options.seed is None else 1)))


def _run_all(wanted: Sequence[tuple[Mode, int]], folder: Path, jobs: int, mutation: str) -> Iterator[Result]:
    """Yield results as they come, from so many lanes at once."""
    waiting: queue.SimpleQueue[tuple[Mode, int]] = queue.SimpleQueue()
    finished: queue.SimpleQueue[Result | BaseException] = queue.SimpleQueue()
    stop = threading.Event()
    for one in wanted:
        waiting.put(one)

    def work(lane_number: int) -> None:
        try:
            with closing(Lane(folder / f"lane-{lane_number}", stop)) as lane:
                while not stop.is_set():
                    try:
                        mode, seed = waiting.get_nowait()
                    except queue.Empty:
                        return
                    schedule = make_schedule(seed, mode)
                    finished.put(run_schedule(lane, schedule, folder / f"{mode}-{seed}{mutation}", mutation))
        except BaseException as error:  # raised below: who waits for a result would wait for ever
            finished.put(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(min(jobs, len(wanted)))]
    for thread in threads:
        thread.start()
    try:
        for _ in wanted:
            result = finished.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        stop.set()  # a schedule under way gives up, and kills its workers
        for thread in threads:
            thread.join()


def _tell(result: Result, number: int, of: int, mutation: str) -> None:
    what = [f"{len(result.died_at)}/{result.faults} kills", *result.events, f"{result.records} records"]
    verdict = "WRONG" if result.wrong else "well"
    print(
        f"[{number}/{of}] {result.mode} {result.seed}: {verdict} {result.seconds:.1f} s ({', '.join(what)})", flush=True
    )
    for problem in result.wrong[:TOLD_PROBLEMS]:
        print(f"    {problem[:600]}")
    if result.wrong:
        again = f"--seed {result.seed} --mode {result.mode}" + (f" --mutation {mutation}" if mutation else "")
        print(f"    {len(result.wrong)} problems; again: python -m tests.faults {again}", flush=True)


def _sum_up(results: Sequence[Result], ran: int, seconds: float, wanted: int) -> int:
    for mode in ("exact", "scann"):
        mine = [one for one in results if one.mode == mode]
        if not mine:
            continue
        kills, meant = sum(len(one.died_at) for one in mine), sum(one.faults for one in mine)
        copies, missed = sum(one.copies for one in mine), sum(one.missed for one in mine)
        print(
            f"{mode}: {sum(not one.wrong for one in mine)} of {len(mine)} schedules well; {kills} of {meant} kills "
            f"happened, {sum(len(one.events) for one in mine)} other events; {sum(one.records for one in mine)} "
            f"records, {sum(one.verdicts for one in mine)} verdicts, {copies} copies, {missed} missed "
            f"({missed / max(copies, 1):.2%})"
        )
    points = Counter(point for one in results for point in one.died_at)
    print("killed at: " + ", ".join(f"{point} {number}" for point, number in sorted(points.items())))
    wrong = sorted(f"{one.mode} {one.seed}" for one in results if one.wrong)
    print(f"{ran} schedules in {seconds:.0f} s, {seconds / max(ran, 1):.1f} s each")
    if wrong:
        print(f"WRONG: {', '.join(wrong)}")
    return 1 if wrong or len(results) < wanted else 0


def _read(book: Path) -> dict[tuple[Mode, int], Result]:
    if not book.exists():
        return {}
    decode = msgspec.json.Decoder(Result).decode
    results = [decode(line) for line in book.read_bytes().splitlines() if line.endswith(b"}")]
    return {(one.mode, one.seed): one for one in results}


def _fingerprint() -> str:
    """Return what the product and the harness are, as a short hash of their files."""
    digest = hashlib.sha256()
    for folder in (ROOT / "neardup", ROOT / "tests" / "faults"):
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".py", ".lua"):
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _interrupt(_number: int, _frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # `timeout` sends two
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:  # what ran has been stopped; the next run goes on where this one was
        sys.exit(130)
