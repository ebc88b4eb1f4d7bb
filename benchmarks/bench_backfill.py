"""What an item costs a backfill, beside what describing the same files costs a scan.

    make bench-backfill            1,000 photographs of 500 × 400, rendered from bundled ones
    make bench-backfill MEDIA=DIR  pictures of your own

CPU-seconds are those of all processes together, once every process has loaded its network. In the rows of Ray, which
has as many nodes on loopback as this machine has processors, those of Ray itself (raylets, the head's account and
agents, workers that wait, and the driver that hands out parts) stand in a column of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from benchmarks.bench_scan import Work, timed
from benchmarks.photographs import render_photographs
from deploy.local.ray_nodes import ON_LOOPBACK
from neardup.pipeline.archive.folder import Folder
from neardup.pipeline.archive.plan import unfinished, write_plan
from neardup.pipeline.archive.shard import SHARDS
from neardup.pipeline.embed.checkpoint import Checkpoint, load_checkpoint
from neardup.pipeline.scan.describe import Processes
from neardup.pipeline.scan.walk import Found, walk
from neardup.pipeline.settings import Settings, load, usable_cores
from neardup.workers.backfill.cluster import connected, describe_by
from neardup.workers.backfill.describe import Job, make_conditions, make_job, open_engine
from neardup.workers.backfill.sources import Columns, Sources

PART_ITEMS = 100


def planned(output: Path, media: Path, checkpoint: Checkpoint, settings: Settings, pictures: bool, count: int) -> Job:
    """Write the plan of an archive, and return the job; `count` processes describe for each engine."""
    folder, sources = Folder(str(output)), Sources([str(media)], Columns())
    conditions = make_conditions(checkpoint, settings, pictures)
    write_plan(folder, sources.parts(PART_ITEMS), sources.names, conditions, lambda _: None)
    return make_job(folder, conditions, settings, sources.names, count)


def scan_work(files: Sequence[Found], processes: Processes) -> Callable[[], object]:
    """Return what describes files as a scan does."""
    return lambda: sum(len(batch) for batch in processes.describe(files, frozenset()))


def here_work(job: Job, stack: ExitStack) -> Callable[[], object]:
    """Return what describes all parts by an engine of this machine, once more each time."""
    engine = stack.enter_context(closing(open_engine(job)))

    def describe() -> object:
        job.folder.remove(SHARDS, job.folder.names(SHARDS))
        return [one for one in engine.describe(unfinished(job.folder)) if one is not None]

    return describe


@contextmanager
def nodes(count: int) -> Iterator[tuple[str, Callable[[], dict[str, float]]]]:
    """Yield the address of a cluster on loopback, and what returns its processor seconds."""
    os.environ.update(ON_LOOPBACK)
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "deploy.local.ray_nodes", str(count)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def seconds() -> dict[str, float]:
            print("cpu", file=stdin, flush=True)
            return {name: float(value) for name, value in json.loads(stdout.readline()).items()}

        address = stdout.readline().strip()
        if not address:
            raise SystemExit("no node of Ray came up; its words are above")
        yield address, seconds
        stdin.close()


def by_ray(job: Job, count: int) -> tuple[float, float]:
    """Return the CPU-seconds of describing everything on `count` nodes, without those of Ray, and those of Ray."""
    with nodes(count) as (address, seconds), connected(address) as ray:
        for _ in range(2):  # the first time networks are loaded
            job.folder.remove(SHARDS, job.folder.names(SHARDS))
            before, driver = seconds(), sum(os.times()[:2])
            for _finished in describe_by(ray, job, unfinished(job.folder)):
                pass
            spent = {name: value - before[name] for name, value in seconds().items()}
            spent["ray"] += sum(os.times()[:2]) - driver
    return spent["describe"] + spent["workers"], spent["ray"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, default=os.environ.get("MEDIA"))
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--no-ray", action="store_true")
    arguments = parser.parse_args()
    media = arguments.media or Path(f"demo/photographs-{arguments.count}")
    if not arguments.media:
        render_photographs(media, arguments.count)
    settings, cores = load(), usable_cores()
    checkpoint = load_checkpoint(settings.model)
    files = [one for one in walk([media]) if isinstance(one, Found)]
    scratch = Path(tempfile.mkdtemp(prefix="neardup-bench-"))
    try:
        with ExitStack() as stack:
            processes = stack.enter_context(closing(Processes(cores, checkpoint, settings)))
            bare = planned(scratch / "bare", media, checkpoint, settings, False, cores)
            full = planned(scratch / "full", media, checkpoint, settings, True, cores)
            works = [
                Work("scan, describing alone", len(files), scan_work(files, processes)),
                Work("backfill, this machine", len(files), here_work(bare, stack)),
                Work("the same, with thumbnails and packs", len(files), here_work(full, stack)),
            ]
            timed(works, 1)
            rows = timed(works, arguments.runs)
        print(f"{len(files)} files of {media}, {cores} cores, medians of {arguments.runs}, of Ray one run\n")
        print("| | CPU-ms an item | items per CPU-second | of the scan's | CPU-ms an item of Ray itself |")
        print("|---|---|---|---|---|")
        for row in rows:
            show(row.name, row.cpu_seconds, rows[0].cpu_seconds)
        if not arguments.no_ray:
            job = planned(scratch / "ray", media, checkpoint, settings, False, 1)
            ours, rays = by_ray(job, cores)
            show(f"backfill, {cores} nodes of Ray", ours / len(files), rows[0].cpu_seconds, rays / len(files))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def show(name: str, seconds: float, of_scan: float, own: float = 0.0) -> None:
    """Print a row: CPU-seconds of an item, those of the scan, and those of Ray itself."""
    figures = f"{1000 * seconds:.2f} | {1 / seconds:,.0f} | {of_scan / seconds:.2f} | {1000 * own:.2f}"
    print(f"| {name} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
