from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from neardup.workers.background import Background
from tests.timing import LATE_SECONDS, until


def done(work: Background) -> bool:
    until(lambda: work.done() is not None, "it is done")
    return bool(work.done())


def test_the_copy_works_on_the_memory_of_its_moment(tmp_path: Path) -> None:
    held = ["before"]
    work = Background(lambda: (tmp_path / "told").write_text(held[0]))
    held[0] = "after"
    assert done(work)
    assert (tmp_path / "told").read_text() == "before"


def test_an_error_is_a_failure() -> None:
    assert not done(Background(lambda: 1 / 0))


def test_what_takes_too_long_is_ended() -> None:
    assert not Background(lambda: time.sleep(60)).wait(0.05)


def test_the_copy_dies_with_its_process(tmp_path: Path) -> None:
    script = f"""
import os, time
from pathlib import Path
from neardup.workers.background import Background
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
