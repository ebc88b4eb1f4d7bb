"""Files in, described contents out, by whatever drives the engine.

Files come out in the order in which they are finished, not in that in which they went in. Of files with identical bytes
only one is described.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Set
from contextlib import closing

from neardup.pipeline.describe.decode import Look
from neardup.pipeline.describe.driver import Describer
from neardup.pipeline.describe.once import Once
from neardup.pipeline.describe.orders import Setup
from neardup.pipeline.describe.processes import AHEAD, ORDER_ITEMS, ProcessDescriber
from neardup.pipeline.describe.source import S
from neardup.pipeline.describe.threads import ThreadDescriber
from neardup.pipeline.embed.checkpoint import Checkpoint
from neardup.pipeline.embed.embedder import BatchEmbedder, Embedder
from neardup.pipeline.scan.finished import Describe, Finished
from neardup.pipeline.scan.sources import FileSource, FileTask
from neardup.pipeline.scan.twins import Twins
from neardup.pipeline.scan.walk import Found
from neardup.pipeline.settings import Settings

BATCH, GPU_BATCH = 64, 256
"""Frames given to the network at once, or 8 for each thread if that is more."""
MAX_BATCH_WAIT_SECONDS = 0.2
_SHARES = 4
_PATIENCE_SECONDS = 0.5
"""Longest silence: then an empty batch is yielded, so that Ctrl-C is seen while a long video is decoded."""


def describe_with(
    describer: Describer[FileSource], files: Iterable[Found], once: Once, ahead: int
) -> Generator[list[Finished]]:
    """Yield every file once, those together that were finished at once; some batches are empty.

    Args:
        once: what the describer asks who describes a content.
        ahead: files under way at most.
    """
    waiting: Iterator[FileSource] = (FileSource(FileTask(file)) for file in files)
    twins = Twins(once, describer.add)
    while True:
        while describer.working < ahead and (source := next(waiting, None)) is not None:
            describer.add(source)
        if not describer.working:
            return
        done = describer.step(_PATIENCE_SECONDS)
        done.sort(key=lambda one: one.repeated)  # what a twin waits for comes before it
        yield [finished for one in done for finished in twins.settle(one)]


def in_threads(make_embedder: Callable[[], Embedder], size: int, settings: Settings, on_gpu: bool = False) -> Describe:
    """Return what describes files with threads of this process.

    Args:
        make_embedder: called when the first frame has to be embedded.
        size: side of the tiles that the embedder takes.
        on_gpu: a GPU decodes, too.
    """

    def describe(files: Sequence[Found], known: Set[bytes]) -> Generator[list[Finished]]:
        once, look = Once(known), look_of(settings, size)
        describer: ThreadDescriber[FileSource]
        describer, ahead = open_threads(make_embedder, look, settings.worker_threads, on_gpu, once)
        with closing(describer):
            yield from describe_with(describer, files, once, ahead)

    return describe


def open_threads(
    make_embedder: Callable[[], Embedder], look: Look, threads: int, on_gpu: bool, once: Once | None = None
) -> tuple[ThreadDescriber[S], int]:
    """Return threads of this process that describe, to be closed, and how many items keep them busy.

    Args:
        make_embedder, on_gpu: see `in_threads`.
    """
    batch, jpegs = max(GPU_BATCH if on_gpu else BATCH, 8 * threads), None
    if on_gpu:
        from neardup.pipeline.media.nvjpeg import open_gpu_jpegs

        jpegs = open_gpu_jpegs()
    describer: ThreadDescriber[S] = ThreadDescriber(
        make_embedder, look, threads, batch, MAX_BATCH_WAIT_SECONDS, jpegs=jpegs, once=once
    )
    return describer, 4 * batch


class Processes:
    """Processes that describe files; to be closed. They start at once and load the network, while this one goes on.

    Args:
        share: see `ProcessDescriber`.

    Raises:
        DependencyError: a process cannot be started.
    """

    def __init__(
        self,
        count: int,
        checkpoint: Checkpoint,
        settings: Settings,
        share: Callable[[], BatchEmbedder] | None = None,
    ) -> None:
        self._ahead = count * (AHEAD + _SHARES) * ORDER_ITEMS
        look = look_of(settings, checkpoint.architecture.size)
        self.describer: ProcessDescriber[FileSource] = ProcessDescriber(
            count, Setup(checkpoint, look, once=True), share=share
        )

    def close(self) -> None:
        """End all processes, whatever they do."""
        self.describer.close()

    def describe(self, files: Sequence[Found], known: Set[bytes]) -> Generator[list[Finished]]:
        """See `finished.Describe`. One call after the other; closing the iterator early ends the processes.

        Raises:
            DependencyError: a process does not come up, or the network fails.
        """
        self.describer.renew(known)
        try:
            yield from describe_with(self.describer, in_rows(files), Once(known), self._ahead)
        except BaseException:
            self.close()
            raise


def look_of(settings: Settings, size: int) -> Look:
    """Return how a scan looks at files."""
    return Look(size, settings.scan_limits, settings.sample_fps, settings.regions)


def in_rows(files: Iterable[Found]) -> Iterator[Found]:
    """Yield files of one size in a row: so those with identical bytes go to one process, nearly always."""
    alike: dict[int, list[Found]] = defaultdict(list)
    for file in files:
        alike[file.size].append(file)
    return (file for group in alike.values() for file in group)
