"""Parts in, shards out: on this machine, by the one describing engine.

Items of a part go on to the engine while those of the part before it are still under way, so that processes do not wait
at the end of each. A shard stands once all its items have ended, each with a description or the reason why there is
none.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from neardup.pipeline.archive.conditions import Conditions
from neardup.pipeline.archive.folder import Folder, path_of
from neardup.pipeline.archive.plan import Part, read_part, shard_of
from neardup.pipeline.archive.row import Row
from neardup.pipeline.archive.shard import Counts, Writer, writing
from neardup.pipeline.describe.choose import count_processes, shares_network
from neardup.pipeline.describe.decode import Look
from neardup.pipeline.describe.driver import Describer
from neardup.pipeline.describe.orders import Setup
from neardup.pipeline.describe.processes import AHEAD, ORDER_ITEMS, ProcessDescriber
from neardup.pipeline.describe.threads import ThreadDescriber
from neardup.pipeline.devices import is_on_gpu
from neardup.pipeline.embed.checkpoint import Checkpoint, load_checkpoint
from neardup.pipeline.errors import ConfigError, DependencyError, NoRoom, Reason
from neardup.pipeline.media.fetch import Rules, fetch_rules
from neardup.pipeline.scan.describe import open_threads
from neardup.pipeline.settings import Settings, load
from neardup.workers.backfill.contents import Item, items_of

if TYPE_CHECKING:
    from neardup.pipeline.embed.embedder import BatchEmbedder

logger = logging.getLogger(__name__)
PATIENCE_SECONDS = 0.5
"""Longest silence, so that Ctrl-C is seen while a long film is decoded."""
_ATTEMPTS = 3
"""How often an item is tried whose content cannot be fetched."""
_MOST_OPEN = 64
"""Parts under way at once: each has files open, and there may be an item in each."""
_FEW = 10
"""From so many items on, a part of which nothing can be fetched is no chance."""
_NOT_HAD = frozenset({Reason.FETCH, Reason.FORBIDDEN})


class Finished(NamedTuple):
    """A shard that stands now."""

    name: str
    counts: Counts


@dataclass(frozen=True)
class Job:
    """What a machine must know to describe parts; may be pickled, and holds no secret.

    Attributes:
        model: a name or a path, the same on each machine.
        device, threads: see `Settings`. processes: so many describe; 0 leaves it to the settings of the machine.
        prefixes: URIs of the sources.
    """

    folder: Folder
    conditions: Conditions
    model: str
    device: str
    processes: int
    threads: int
    rules: Rules
    prefixes: tuple[str, ...]


def make_job(
    folder: Folder, conditions: Conditions, settings: Settings, prefixes: Sequence[str], processes: int = 0
) -> Job:
    """Return the job of which these are the settings."""
    rules = fetch_rules(settings)
    allowed = Rules((*prefixes, *rules.prefixes), rules.private, rules.max_bytes, rules.seconds)
    threads = processes or settings.threads
    return Job(folder, conditions, settings.model, settings.device, processes, threads, allowed, tuple(prefixes))


def make_conditions(checkpoint: Checkpoint, settings: Settings, pictures: bool) -> Conditions:
    """Return how a machine with these settings describes.

    Args:
        pictures: whether with thumbnails and packs, as the settings have them.
    """
    return Conditions(
        space=checkpoint.space,
        dimension=checkpoint.architecture.dimension,
        sample_fps=settings.sample_fps,
        regions=settings.regions,
        limits=settings.scan_limits,
        thumbnail_side=settings.thumbnail_side if pictures else 0,
        packed=settings.prove and pictures,
    )


def open_engine(job: Job) -> Engine:
    """Return what describes parts for a job on this machine; its processes start at once, while the caller goes on.

    Raises:
        ConfigError: this machine has another model, or a source is not there.
        DependencyError: a process cannot be started.
    """
    settings = load(model=job.model, device=job.device, threads=job.threads)
    checkpoint = load_checkpoint(settings.model)
    conditions = job.conditions
    conditions.check_space(checkpoint.space, job.folder.url)
    for prefix in job.prefixes:
        if prefix.startswith("file:") and not Path(path_of(prefix)).exists():
            raise ConfigError(f"{path_of(prefix)} does not exist on this machine; mount it under the same path")
    look = Look(
        checkpoint.architecture.size,
        conditions.limits,
        conditions.sample_fps,
        conditions.regions,
        conditions.thumbnail_side,
    )
    processes = job.processes or count_processes(settings, settings.worker_threads)
    if processes:
        setup = Setup(checkpoint, look, fetch_seconds=job.rules.seconds)
        share = partial(_network, checkpoint, settings.device, processes) if shares_network(settings) else None
        return Engine(job, ProcessDescriber(processes, setup, share=share), processes * (AHEAD + 2) * ORDER_ITEMS)
    return _in_threads(job, checkpoint, look, settings)


class Engine:
    """Describes parts for a job; to be closed.

    Args:
        ahead: items under way at most.
    """

    def __init__(self, job: Job, describer: Describer[Item], ahead: int) -> None:
        self._job, self._describer, self._ahead = job, describer, ahead

    def close(self) -> None:
        """End what is under way."""
        self._describer.close()

    def describe(self, part_files: Iterable[str]) -> Generator[Finished | None]:
        """Yield shards as they are finished, and None where there was silence. Closing it early leaves whole shards.

        Raises:
            DependencyError: something outside failed, or nothing of a part can be fetched.
        """
        waiting = iter(part_files)
        with ExitStack() as contexts:
            works: dict[int, _Work] = {}
            feeding: _Work | None = None
            most_open = _MOST_OPEN
            while True:
                ended: list[_Work] = []
                while self._describer.working < self._ahead and (feeding is not None or len(works) < most_open):
                    if feeding is None:
                        if (file := next(waiting, None)) is None:
                            break
                        feeding = _Work(self._job, file, contexts)
                        works[feeding.number] = feeding
                    try:
                        item = feeding.next()
                    except NoRoom as error:  # parts under way have copies, which go with them
                        del works[feeding.number]
                        if not works or not feeding.give_up(error):
                            raise
                        waiting, feeding, most_open = chain([feeding.file], waiting), None, len(works)
                        break
                    if item is not None:
                        self._describer.add(item)
                        continue
                    if feeding.ended:
                        ended.append(feeding)
                    feeding = None
                if not works:
                    return
                if not ended:
                    ended += self._step(works)
                for work in ended:
                    del works[work.number]
                    yield work.finish()
                if not ended:
                    yield None

    def _step(self, works: dict[int, _Work]) -> list[_Work]:
        """Take what the engine has done, and return the works that have come to their end with it."""
        ended: list[_Work] = []
        for done in self._describer.step(PATIENCE_SECONDS):
            item = done.source
            if done.error is not None and done.error.reason is Reason.FETCH and item.attempts < _ATTEMPTS:
                item.attempts += 1
                self._describer.add(item)
                continue
            work = works[item.part]
            work.take(item.finished(done.result, done.sha256, done.error))
            if work.ended:
                ended.append(work)
        return ended


class _Work:
    """A part that is being described."""

    _numbers = count(1)

    def __init__(self, job: Job, part_file: str, contexts: ExitStack) -> None:
        self.number = next(self._numbers)
        self.file = part_file
        self._name = shard_of(part_file)
        part: Part = read_part(job.folder, part_file)
        self._files = contexts.enter_context(ExitStack())
        self._items = self._files.enter_context(items_of(part, job.conditions.packed, job.rules))
        self._writer: Writer = self._files.enter_context(writing(job.folder, self._name, job.conditions))
        self._under_way = 0
        self._begun = self._exhausted = False
        self._not_had: list[str] = []

    @property
    def ended(self) -> bool:
        """Whether all items are written."""
        return self._exhausted and not self._under_way

    def next(self) -> Item | None:
        """Return the next item to describe, None where there is none any more."""
        for one in self._items:
            if isinstance(one, Item):
                one.part = self.number
                self._under_way += 1
                self._begun = True
                return one
            self._writer.add(one)
            self._begun = True
        self._exhausted = True
        return None

    def give_up(self, error: Exception) -> bool:
        """Let go of a part of which nothing was read yet, to be opened anew later; return whether that was so."""
        if not self._begun:
            self._files.__exit__(type(error), error, error.__traceback__)
        return not self._begun

    def take(self, row: Row) -> None:
        """Write a described item."""
        self._under_way -= 1
        self._writer.add(row)
        if row.error is not None and row.error.reason in _NOT_HAD:
            self._not_had.append(row.error.detail)

    def finish(self) -> Finished:
        """Have the shard stand; raises DependencyError where it cannot be written, or nothing could be fetched."""
        counts = self._writer.counts
        if counts.items >= _FEW and len(self._not_had) == counts.items:
            self._files.pop_all()
            raise DependencyError(
                f"none of {counts.items} items of a part can be fetched; the first: {self._not_had[0]}"
            )
        self._files.close()
        return Finished(self._name, counts)


def _network(checkpoint: Checkpoint, device: str, threads: int) -> BatchEmbedder:
    from neardup.pipeline.embed.embedder import make_embedder

    return make_embedder(checkpoint, device, threads=threads)


def _in_threads(job: Job, checkpoint: Checkpoint, look: Look, settings: Settings) -> Engine:
    threads = settings.worker_threads
    describer: ThreadDescriber[Item]
    describer, ahead = open_threads(
        partial(_network, checkpoint, settings.device, threads), look, threads, is_on_gpu(settings.device)
    )
    return Engine(job, describer, ahead)


def describe_here(job: Job, part_files: Sequence[str]) -> Generator[Finished | None]:
    """Describe parts on this machine; see `Engine`."""
    with closing(open_engine(job)) as engine, closing(engine.describe(part_files)) as finished:
        yield from finished
