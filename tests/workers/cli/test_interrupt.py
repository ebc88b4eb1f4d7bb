"""A scan that is stopped at any moment leaves an index from which the next one goes on."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from neardup.pipeline.describe.processes import ORDER_ITEMS
from neardup.pipeline.scan.catalog import Catalog
from neardup.pipeline.scan.describe import BATCH
from neardup.pipeline.scan.run import COMMIT_SECONDS
from neardup.workers.cli.interrupt import Interrupt
from tests.pipeline.describe.stand_in_child import SLEEP
from tests.pipeline.scan.build import pairs, save, scan_folder
from tests.pipeline.scan.test_processes import is_running
from tests.timing import LATE_SECONDS, until
from tests.workers.conftest import Command

FILES = 240
TILE_SECONDS = 0.005
_SLOW = (
    f"TILE_SECONDS = {TILE_SECONDS}"
    + """
import sys, time
from neardup.pipeline.embed import embedder
from tests.pipeline.scan.build import StandIn

class Slow(StandIn):
    def embed(self, tiles):
        time.sleep(TILE_SECONDS * len(tiles))
        found = super().embed(tiles)
        with open("embedded", "a") as file:
            file.write(f"{len(tiles)}\\n")
        return found

embedder.make_embedder = lambda *arguments, **options: Slow()
from neardup.pipeline.describe import processes
processes.CHILD = "tests.pipeline.describe.stand_in_child"
from neardup.workers.cli.main import main
print("ready", flush=True)
main()
"""
)


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    for number in range(FILES):
        save(folder, f"{number}.bmp", number % (FILES - 20), side=16 if number < FILES - 20 else 24, modified=number)
    return folder


_started: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def nothing_goes_on() -> Iterator[None]:
    """End what a test that failed has left behind."""
    yield
    while _started:
        with _started.pop() as process:
            process.kill()


def start(model: Path, folder: Path, processes: int = 0) -> subprocess.Popen[str]:
    """Start a scan, a slow one unless it has processes, and return when the command begins."""
    root = str(Path(__file__).parents[3])
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW, "scan", "media", "--index", "index"],
        cwd=folder,
        env={
            **os.environ,
            "NEARDUP_MODEL": str(model),
            "NEARDUP_PROCESSES": str(processes),
            "PYTHONPATH": root,
            "OPENED": "opened",
        },
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _started.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def embedded(folder: Path) -> int:
    """Return how many tiles all runs together gave to the network."""
    path = folder / "embedded"
    return sum(map(int, path.read_text().split())) if path.exists() else 0


def opened(folder: Path) -> int:
    """Return how many files the processes of a scan have opened."""
    path = folder / "opened"
    return path.stat().st_size if path.exists() else 0


def kept(folder: Path) -> int:
    with closing(Catalog(folder / "index", "any")) as catalog:
        return sum(known.sha256 is not None for known in catalog.files().values())


def reported(folder: Path) -> set[tuple[str, str]]:
    """Return (name of the copy, name of the original) of all matches in the report."""
    groups = json.loads((folder / "neardup-report" / "duplicates.json").read_text())["groups"]
    return {
        (Path(match["file"]["path"]).name, Path(group["original"]["path"]).name)
        for group in groups
        for match in group["matches"]
    }


def test_ctrl_c_loses_no_more_than_the_batch_that_the_network_is_at(media: Path, model: Path, tmp_path: Path) -> None:
    chance = random.Random(0)
    lost = 0
    for _ in range(3):
        process, enough = start(model, tmp_path), embedded(tmp_path) + chance.randrange(2 * BATCH)
        while process.poll() is None and embedded(tmp_path) < enough:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=LATE_SECONDS)
        if output:  # it was done before
            break
        assert (process.returncode, errors) == (130, "neardup: interrupted\n")
        before, lost = lost, embedded(tmp_path) - kept(tmp_path)
        assert before <= lost <= before + BATCH
    process = start(model, tmp_path)
    output, errors = process.communicate(timeout=LATE_SECONDS)
    assert (process.returncode, errors) == (0, "")
    assert f"{FILES} images" in output
    assert embedded(tmp_path) == FILES + lost
    assert reported(tmp_path) == pairs(scan_folder(media))


def test_killed_scan_goes_on_from_its_last_commit(media: Path, model: Path, tmp_path: Path) -> None:
    process = start(model, tmp_path)
    until(lambda: embedded(tmp_path) >= FILES // 2, "it embeds")
    process.kill()
    process.communicate(timeout=LATE_SECONDS)
    lost = embedded(tmp_path) - kept(tmp_path)
    assert 0 <= lost <= COMMIT_SECONDS / TILE_SECONDS + 2 * BATCH
    process = start(model, tmp_path)
    _, errors = process.communicate(timeout=LATE_SECONDS)
    assert (process.returncode, errors) == (0, "")
    assert embedded(tmp_path) == FILES + lost
    assert reported(tmp_path) == pairs(scan_folder(media))


def test_ctrl_c_in_a_terminal_ends_a_scan_and_its_processes(media: Path, model: Path, tmp_path: Path) -> None:
    """A terminal sends it to all of them; here it comes while one of them is at a long video."""
    begun, video = tmp_path / "begun", media / "long.mp4"
    video.write_bytes(SLEEP + os.fsencode(begun))
    process = start(model, tmp_path, processes=2)
    until(begun.exists, "one is at the video")
    pids = children(process.pid)
    until(lambda: opened(tmp_path) > FILES - ORDER_ITEMS, "the other one finishes what it has")
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=LATE_SECONDS)
    assert (process.returncode, output, errors) == (130, "", "neardup: interrupted\n")
    assert len(pids) == 3  # and what forked them
    until(lambda: not any(map(is_running, pids)), "they end")
    video.unlink()
    before = kept(tmp_path)
    assert before > FILES // 4
    process = start(model, tmp_path)
    _, errors = process.communicate(timeout=LATE_SECONDS)
    assert (process.returncode, errors) == (0, "")
    assert embedded(tmp_path) == FILES - before
    assert reported(tmp_path) == pairs(scan_folder(media))


def children(parent: int) -> list[int]:
    """Return the processes that a process has started, and that these have."""
    found = list[int]()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if path.read_text().rsplit(")", 1)[1].split()[1] == str(parent):
                found.append(int(path.parent.name))
    return found + [one for child in found for one in children(child)]


def press_twice() -> None:
    with Interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the second one did nothing")


def test_second_ctrl_c_acts_at_once() -> None:
    with pytest.raises(KeyboardInterrupt):
        press_twice()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_waits_for_the_check() -> None:
    with Interrupt() as interrupt:
        interrupt.check()
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
        interrupt.check()


def test_ctrl_c_is_not_lost_at_the_end() -> None:
    with pytest.raises(KeyboardInterrupt), Interrupt():
        os.kill(os.getpid(), signal.SIGINT)


def test_ignored_ctrl_c_stays_ignored(neardup: Command, media: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGINT)
            interrupt.check()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert neardup("scan", media).code == 0
    finally:
        signal.signal(signal.SIGINT, before)
