"""Have processes decode the corpus, end those that an item keeps too long, and put others in their place."""

from __future__ import annotations

import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from tests.corpus.child import LIMITS, MOST_BYTES

_LOOK_SECONDS = 0.05
_MOST_MEMORY = 6 * MOST_BYTES
_AHEAD = 32
_TICKS = os.sysconf("SC_CLK_TCK")
Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Patience:
    """When a process is ended. Much less is too much already, but says so itself.

    Attributes:
        busy: processor seconds of an item. idle: seconds in which it uses no processor.
    """

    busy: float = 4 * LIMITS.max_decode_seconds + 5
    idle: float = 20.0


class Child:
    """A process, and the item that it is at."""

    def __init__(self, arguments: list[str], patience: Patience) -> None:
        self._patience = patience
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.corpus.child", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._said: deque[bytes] = deque(maxlen=40)
        errors = self._process.stderr
        assert errors is not None
        threading.Thread(target=lambda: self._said.extend(errors), daemon=True).start()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._pipe(self._process.stdout), selectors.EVENT_READ)
        self._rest = b""

    @staticmethod
    def _pipe(file: IO[bytes] | None) -> IO[bytes]:
        assert file is not None
        return file

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._process.stderr):
            self._pipe(file).close()
        self._selector.close()

    def results(self, numbers: Iterable[int]) -> Iterator[Result]:
        """Yield the result of each item; the last one is that which ended the process, if one did."""
        asking = self._pipe(self._process.stdin)
        waiting, open_items = iter(numbers), 0
        current: Result | None = None
        used = looked = memory = 0.0
        while True:
            while open_items < _AHEAD and (number := next(waiting, None)) is not None:
                try:
                    asking.write(b"%d\n" % number)
                    asking.flush()
                except BrokenPipeError:
                    break
                open_items += 1
            if not open_items and current is None:
                return
            for said in self._hear():
                if "begin" in said:
                    current, used, looked = said, self._seconds(), time.monotonic()
                    memory = self._memory()
                else:
                    current, open_items = None, open_items - 1
                    yield said
            why = ""
            if current is not None:
                now = self._seconds()
                if now - used > self._patience.busy:
                    why = f"time: ended after {now - used:.0f} s of processor time"
                elif time.monotonic() - looked > self._patience.idle and now - used < 1.0:
                    why = f"time: ended after {time.monotonic() - looked:.0f} s in which it did nothing"
                elif self._memory() - memory > _MOST_MEMORY:
                    why = f"memory: ended at {(self._memory() - memory) / 2**20:.0f} MiB"
            code = self._process.poll()
            if code is not None and not why:
                why = f"crashed: {signal.Signals(-code).name if code < 0 else code}"
            if why:
                self._process.kill()
                self._process.wait()
                if current is None:
                    raise RuntimeError(f"{why} outside of any item\n" + self.last_words)
                yield {**_ended(current), "wrong": [why], "detail": self.last_words}
                return

    @property
    def last_words(self) -> str:
        """The end of what the process wrote to standard error."""
        time.sleep(_LOOK_SECONDS)
        return b"".join(self._said).decode(errors="replace")[-3000:]

    def _hear(self) -> Iterator[Result]:
        """Yield what was said within a moment."""
        for key, _ in self._selector.select(_LOOK_SECONDS):
            chunk = os.read(key.fd, 2**16)
            if not chunk:
                time.sleep(_LOOK_SECONDS)  # it is ending
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            yield from map(json.loads, lines)

    def _seconds(self) -> float:
        """Return the processor seconds that it has used."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return 0.0
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def _memory(self) -> int:
        try:
            pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError, IndexError):
            return 0
        return pages * resource.getpagesize()


def _ended(begun: Result) -> Result:
    return {
        "number": begun["begin"],
        "format": begun["format"],
        "way": begun["way"],
        "outcome": "ended",
        "seconds": 0.0,
        "peak": 0,
        "kept": 0,
    }


def run(arguments: list[str], numbers: list[int], jobs: int = 1, patience: Patience = Patience()) -> Iterator[Result]:
    """Yield the result of each item, as they come.

    Args:
        arguments: of `child`. numbers: of items. jobs: processes at once.
    """
    blocks = deque(numbers[start : start + 500] for start in range(0, len(numbers), 500))
    out: SimpleQueue[Result | BaseException | None] = SimpleQueue()
    stopped = threading.Event()

    def work() -> None:
        child = Child(arguments, patience)
        try:
            while blocks and not stopped.is_set():
                left = blocks.popleft()
                while left and not stopped.is_set():
                    done = 0
                    for result in child.results(left):
                        done += 1
                        out.put(result)
                        if stopped.is_set():
                            return
                    if left := left[done:]:
                        child.close()
                        child = Child(arguments, patience)
        except BaseException as error:
            out.put(error)
        finally:
            child.close()
            out.put(None)

    with ThreadPoolExecutor(jobs) as pool:
        for _ in range(jobs):
            pool.submit(work)
        try:
            for _ in range(jobs):
                while (said := out.get()) is not None:
                    if isinstance(said, BaseException):
                        raise said
                    yield said
        finally:
            stopped.set()
