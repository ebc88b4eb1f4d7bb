from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from neardup.pipeline.errors import DependencyError
from neardup.workers.match.fork import Background
from tests.timing import LATE_SECONDS, until


def done(work: Background) -> bool:
    until(lambda: work.done() is not None, "it is done")
    return bool(work.done())


def test_the_copy_works_on_the_memory_of_its_moment(tmp_path: Path) -> None:
    held = ["before"]
    work = Background(lambda: (tmp_path / "told").write_text(held[0]))
    held[0] = "after"
    assert done(work)
    assert work.error == ""
    assert (tmp_path / "told").read_text() == "before"


def fail(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("work", "why"),
    [
        (lambda: 1 / 0, "ZeroDivisionError: division by zero (test_fork.py:"),
        (lambda: fail(MemoryError()), "MemoryError (test_fork.py:"),
        (lambda: fail(DependencyError()), "DependencyError (test_fork.py:"),
        (lambda: fail(DependencyError("/state: cannot write: No space left")), "/state: cannot write: No space left"),
        (lambda: fail(ValueError("x" * 100_000)), "ValueError: xxx"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "its process was ended by SIGKILL, for want of memory perhaps"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), "its process was ended by SIGTERM"),
        (lambda: os._exit(3), "its process ended with 3 and said nothing"),
    ],
)
def test_a_failure_says_why(work: Callable[[], object], why: str) -> None:
    begun = Background(work)
    assert not done(begun)
    assert begun.error.startswith(why)


def test_what_takes_too_long_is_ended_and_says_so() -> None:
    work = Background(lambda: time.sleep(60))
    assert not work.wait(0.05)
    assert work.error == "it was not done within 0.1 s and is given up"
    assert not work.done()


def test_the_copy_dies_with_its_process(tmp_path: Path) -> None:
    script = f"""
import os, time
from pathlib import Path
from neardup.workers.match.fork import Background
def work():
    Path({str(tmp_path / "begun")!r}).touch()
    time.sleep(600)
one = Background(work)
while not Path({str(tmp_path / "begun")!r}).exists():
    time.sleep(0.01)
print(one._pid, flush=True)
os.kill(os.getpid(), 9)
"""
    # The copy holds the pipe as well: while it lives, this waits.
    run = subprocess.run(
        [sys.executable, "-c", script], check=False, stdout=subprocess.PIPE, text=True, timeout=LATE_SECONDS
    )
    assert run.returncode == -9
