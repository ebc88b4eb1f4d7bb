"""Files described by several processes, each of which decodes and embeds in turn (`child.py`).

Threads of one process take turns at Python's lock; processes do not, and a decoder that crashes costs one file and not
the scan. What they cost is their start, and memory for a network each. They end with this process,
however it ends, and Ctrl-C reaches this one alone.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from collections import defaultdict, deque
from collections.abc import Generator, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING

from neardup.pipeline.embed.checkpoint import Checkpoint
from neardup.pipeline.errors import DependencyError, InvalidFrame, Reason
from neardup.pipeline.scan.finished import Finished
from neardup.pipeline.scan.hashes import Hashes
from neardup.pipeline.scan.walk import Found
from neardup.pipeline.types import Limits

if TYPE_CHECKING:  # it imports what decodes
    from neardup.pipeline.media.regions import Mode

logger = logging.getLogger(__name__)
CHILD = "neardup.pipeline.scan.child"
_RUN = "import importlib, sys; sys.path[:] = sys.argv[3:]; importlib.import_module(sys.argv[1]).main(int(sys.argv[2]))"
"""Imports from where this process does, and never from the folder that a user happens to stand in, as `-m` would."""
_TUNABLES = "glibc.malloc.hugetlb=1"
"""Has the system asked for large pages, with which decoding and the network take a little less."""
AHEAD = 2
"""Chunks that a process has been asked for: the one that it works on, and the next."""
CHUNK_FILES, CHUNK_BYTES = 32, 4 * 2**20
"""Most files of a chunk, and most bytes, unless it is one file."""
_LEAST_FILES = 4
_PATIENCE_SECONDS = 0.5
"""Longest silence: then an empty batch is yielded, so that Ctrl-C is seen while a long video is decoded."""
_SHARES = 4
"""Chunks of each process that the files yet to come are cut into when they become few: all end at about one time."""


@dataclass(frozen=True, slots=True)
class Setup:
    """How files are described."""

    checkpoint: Checkpoint
    limits: Limits
    sample_fps: float
    regions: Mode


@dataclass(slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    connection: Connection
    asked: deque[list[Found]] = field(default_factory=deque)
    ready: bool = False

    def send(self, message: object) -> None:
        with suppress(OSError):  # it has died, which is seen when it is listened to
            self.connection.send(message)

    def end(self) -> int:
        """End the process and return its exit code, which is negative where a signal had ended it."""
        self.connection.close()
        self.process.kill()
        return self.process.wait()


class Processes:
    """Owns processes; to be closed. They start at once and load the network, while this one goes on.

    Raises:
        DependencyError: a process cannot be started.
    """

    def __init__(self, count: int, setup: Setup) -> None:
        self._setup = setup
        self._known = Hashes(frozenset())
        self._waiting: Iterator[list[Found]] = iter(())
        self._returned: deque[list[Found]] = deque()
        self._suspects: set[str] = set()
        self._described: set[bytes] = set()
        self._children: list[_Child] = []
        try:
            for _ in range(count):
                self._children.append(self._start())
        except DependencyError:
            self.close()
            raise
        for child in self._children:  # they are all starting by now
            child.send(setup)

    def close(self) -> None:
        """End all processes, whatever they do."""
        for child in self._children:
            child.end()
        self._children = []

    def describe(self, files: Sequence[Found], known: Set[bytes]) -> Generator[list[Finished]]:
        """See `finished.Describe`. One call after the other; closing the iterator early ends the processes.

        Raises:
            DependencyError: a process does not come up, or the network fails.
        """
        self._known, self._waiting = Hashes(known), _chunks(files, len(self._children))
        self._described = set()
        for child in self._children:
            child.send(self._known)
        try:
            while self._hand_out():
                heard = wait([child.connection for child in self._children], _PATIENCE_SECONDS)
                speaking = [child for child in self._children if child.connection in heard]
                yield [finished for child in speaking for finished in self._hear(child)]
        except BaseException:
            self.close()
            raise

    def _hand_out(self) -> bool:
        """Give every process work ahead; return whether any has some."""
        for child in self._children:
            while len(child.asked) < AHEAD and (chunk := self._next()):
                child.asked.append(chunk)
                child.send(chunk)
        return any(child.asked for child in self._children)

    def _next(self) -> list[Found]:
        return self._returned.popleft() if self._returned else next(self._waiting, [])

    def _hear(self, child: _Child) -> list[Finished]:
        """Take what a process says."""
        try:
            said = child.connection.recv()
        except (EOFError, OSError):
            return self._replace(child)
        if isinstance(said, Exception):
            raise said
        if said is None:
            child.ready = True
            return []
        child.asked.popleft()
        return [self._once(finished) for finished in said]

    def _once(self, finished: Finished) -> Finished:
        """Leave out a content that another process had described."""
        if finished.content is None:
            return finished
        if finished.content.sha256 in self._described:
            return Finished(finished.file, finished.sha256)
        self._described.add(finished.content.sha256)
        return finished

    def _replace(self, child: _Child) -> list[Finished]:
        """Put another process in the place of one that died, and find out by which file."""
        code = child.end()
        if not child.ready:
            raise DependencyError(f"a process that describes files {_ended(code)} before it began")
        logger.warning("process that describes files died how=%r files=%d", _ended(code), sum(map(len, child.asked)))
        self._children[self._children.index(child)] = another = self._start()
        another.send(self._setup)
        another.send(self._known)
        if not child.asked:
            return []
        first = child.asked.popleft()
        self._returned.extend(child.asked)
        if len(first) > 1 or first[0].path not in self._suspects:  # it may have been chance: once more, each alone
            self._returned.extend([file] for file in first)
            self._suspects.update(file.path for file in first)
            return []
        return [Finished(first[0], error=InvalidFrame(Reason.KILLED, f"the process that decoded it {_ended(code)}"))]

    def _start(self) -> _Child:
        ours, theirs = socket.socketpair()
        path = [entry or str(Path.cwd()) for entry in sys.path]
        with theirs:
            try:
                process = subprocess.Popen(
                    [sys.executable, "-I", "-c", _RUN, CHILD, str(theirs.fileno()), *path],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # away from Ctrl-C
                    env={"GLIBC_TUNABLES": _TUNABLES, **os.environ},
                )
            except OSError as error:
                ours.close()
                raise DependencyError(f"no process to describe files: {error.strerror}") from error
        return _Child(process, Connection(ours.detach()))


def _ended(code: int) -> str:
    """Return how a process ended, in words."""
    if code >= 0:
        return f"ended with {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _chunks(files: Sequence[Found], processes: int) -> Iterator[list[Found]]:
    """Yield files a few at a time, fewer towards the end; those of one size in a row.

    Of files with identical bytes, which are of one size, so nearly always one alone is described: within a process.
    """
    alike: dict[int, list[Found]] = defaultdict(list)
    for file in files:
        alike[file.size].append(file)
    chunk: list[Found] = []
    left, size = len(files), 0
    for file in (file for group in alike.values() for file in group):
        most = min(max(left // (_SHARES * processes), _LEAST_FILES), CHUNK_FILES)
        if chunk and (len(chunk) >= most or size + file.size > CHUNK_BYTES):
            yield chunk
            left -= len(chunk)
            chunk, size = [], 0
        chunk.append(file)
        size += file.size
    if chunk:
        yield chunk
