"""How files are described: by threads of this process, or by processes where there is enough to do for them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence, Set
from contextlib import closing
from typing import TYPE_CHECKING

from neardup.pipeline.describe.choose import count_processes, shares_network
from neardup.pipeline.devices import is_on_gpu
from neardup.pipeline.embed.checkpoint import Checkpoint
from neardup.pipeline.scan.finished import Describe, Finished
from neardup.pipeline.scan.walk import Found
from neardup.pipeline.settings import Settings

if TYPE_CHECKING:
    from neardup.pipeline.embed.embedder import BatchEmbedder

LEAST_FILES = 2000
"""Files from which starting processes is worth its time."""
MOST_PROCESSES = 12
"""Beyond them the one that matches is full."""


def describing(checkpoint: Checkpoint, settings: Settings, make_embedder: Callable[[], BatchEmbedder]) -> Describe:
    """Return what describes files; nothing is loaded or started before it is called.

    Args:
        make_embedder: returns the network of this process, where it is needed; called by any thread.
    """

    def describe(files: Sequence[Found], known: Set[bytes]) -> Generator[list[Finished]]:
        from neardup.pipeline.scan.describe import Processes, in_threads  # and with it every decoder

        count = choose_processes(settings, len(files))
        if count > 1:
            share = make_embedder if shares_network(settings) else None
            with closing(Processes(count, checkpoint, settings, share)) as processes:
                yield from processes.describe(files, known)
        else:
            on_gpu = is_on_gpu(settings.device)
            yield from in_threads(make_embedder, checkpoint.architecture.size, settings, on_gpu)(files, known)

    return describe


def choose_processes(settings: Settings, files: int) -> int:
    """Return how many processes describe so many files; 1 is this one."""
    few = files < LEAST_FILES and not settings.processes
    return 1 if few else count_processes(settings, MOST_PROCESSES) or 1
