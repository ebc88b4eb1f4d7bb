"""Parts in, shards out: on all machines of a Ray cluster, by Ray Data.

What travels through Ray are names: a machine reads its part, describes it with the one engine, and writes the shard.
A machine that dies costs the parts that it had, which Ray gives to others; a part that was finished before is seen by
its shard. The engine of a worker stays for its next part.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec

from neardup.pipeline.archive.plan import shard_of
from neardup.pipeline.archive.shard import Counts, place_of
from neardup.pipeline.errors import ConfigError, DependencyError, PipelineError, install_command
from neardup.workers.backfill.describe import PATIENCE_SECONDS, Engine, Finished, Job, open_engine

logger = logging.getLogger(__name__)
AT_ONCE = 10_000
"""Parts that Ray is given at once: each is a block, which its head keeps account of."""
_CONNECT_SECONDS = 10.0
_engine: tuple[Job, Engine] | None = None


def describe_on(address: str, job: Job, part_files: Sequence[str]) -> Generator[Finished | None]:
    """Describe parts on a cluster, as many at once as it has processors for.

    Yields:
        shards as they are finished, None where there was silence. Closing it early leaves whole shards.

    Args:
        address: of the cluster's head, host:port, or `auto`.
    Raises:
        ConfigError: Ray is not installed, there is no cluster at the address, or a machine is not set up for the job.
        DependencyError: something outside failed, or nothing of a part can be fetched.
    """
    with connected(address) as ray:
        yield from describe_by(ray, job, part_files)


def describe_by(ray: Any, job: Job, part_files: Sequence[str]) -> Generator[Finished | None]:
    """As `describe_on`, with a cluster that is connected to."""
    for start in range(0, len(part_files), AT_ONCE):
        rows = [{"part": file} for file in part_files[start : start + AT_ONCE]]
        parts = ray.data.from_items(rows, override_num_blocks=len(rows))
        gpus = {"num_gpus": 1} if job.device == "cuda" else {}
        yield from _as_they_come(parts.map(partial(_describe, job), num_cpus=max(job.processes, 1), **gpus))


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Yield Ray, connected to a cluster; see `describe_on`."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nobody else is to hear of it
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # what is still under way after the end connects no more
    _check_reachable(address)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError(f"--ray needs Ray: {install_command('ray')}") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # it warns that there are no bars
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, ValueError) as error:
        raise ConfigError(f"no Ray cluster at {address}: {error}") from error
    try:
        yield ray
    finally:
        ray.shutdown()  # and with it end the workers of this job


def _check_reachable(address: str) -> None:
    """Raise ConfigError where nobody listens at host:port, which Ray itself would find out after minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise ConfigError(f"no Ray cluster at {address}: {error}; wanted host:port of its head") from error


def _as_they_come(done: Any) -> Iterator[Finished | None]:
    """Yield what Ray has done; a thread waits for it, so that Ctrl-C is seen."""
    heard: queue.SimpleQueue[dict[str, Any] | Exception | None] = queue.SimpleQueue()

    def hear() -> None:
        try:
            for row in done.iter_rows():
                heard.put(row)
            heard.put(None)
        except Exception as error:
            heard.put(error)

    threading.Thread(target=hear, name="hear-ray", daemon=True).start()
    while True:
        try:
            said = heard.get(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            yield None
            continue
        if said is None:
            return
        if isinstance(said, Exception):
            raise _ours(said) from said
        yield Finished(said["name"], Counts(said["items"], said["failed"]))


def _ours(error: BaseException) -> PipelineError:
    """Return the error of ours that Ray wrapped, else what it says."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, PipelineError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    return DependencyError(f"Ray: {type(error).__name__}: {error}")


def _describe(job: Job, row: dict[str, str]) -> dict[str, Any]:
    """Describe one part, on a machine of the cluster."""
    name = shard_of(row["part"])
    if job.folder.has(place_of(name)):  # whoever wrote it died before Ray heard of it
        return {"name": name, **msgspec.structs.asdict(Counts())}
    try:
        found = [one for one in _engine_of(job).describe([row["part"]]) if one is not None]
    except BaseException:
        _close()
        raise
    return {"name": name, **msgspec.structs.asdict(found[0].counts)}


def _engine_of(job: Job) -> Engine:
    """Return the engine of this process."""
    global _engine
    if _engine is None or _engine[0] != job:
        _close()
        _engine = job, open_engine(job)
    return _engine[1]


def _close() -> None:
    global _engine
    if _engine is not None:
        _engine[1].close()
    _engine = None
