"""Processes of a scan answer as its threads do, and outlive what kills one of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from neardup.pipeline.describe import processes
from neardup.pipeline.describe.processes import ORDER_ITEMS
from neardup.pipeline.embed.checkpoint import Checkpoint, load_checkpoint
from neardup.pipeline.embed.embedder import make_embedder
from neardup.pipeline.errors import ConfigError, DependencyError, PipelineError
from neardup.pipeline.report.result import ScanResult
from neardup.pipeline.scan.catalog import Catalog
from neardup.pipeline.scan.describe import Processes, in_rows, in_threads
from neardup.pipeline.scan.finished import Finished
from neardup.pipeline.scan.run import scan
from neardup.pipeline.scan.walk import Found, walk
from neardup.pipeline.settings import Settings
from tests.pipeline.describe.stand_in_child import KILL, KILL_ONCE, SLEEP
from tests.pipeline.scan.build import SETTINGS, Silent, a_checkpoint, reasons, save, save_clip, scan_folder
from tests.timing import LATE_SECONDS, until

Start = Callable[..., Processes]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Return what starts processes with the stand-in; none is left behind."""
    monkeypatch.setattr(processes, "CHILD", "tests.pipeline.describe.stand_in_child")
    started: list[Processes] = []

    def start(count: int = 2, checkpoint: Checkpoint | None = None) -> Processes:
        one = Processes(count, checkpoint or a_checkpoint(), SETTINGS)
        started.append(one)
        return one

    yield start
    for one in started:
        one.close()


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """Return a folder with pictures, copies of them, identical files, a video and bad files, for many chunks."""
    folder = tmp_path / "media"
    for number in range(2 * ORDER_ITEMS):
        save(folder, f"{number}.png", number, modified=number)
        save(folder, f"{number} smaller.png", number, side=40, modified=500 + number)
    (folder / "identical.png").write_bytes((folder / "5.png").read_bytes())
    save_clip(folder / "clip.mp4", [3, 4, 200, 201])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "half.png").write_bytes((folder / "7.png").read_bytes()[:80])
    (folder / os.fsdecode(b"no text \xff.png")).write_bytes((folder / "9.png").read_bytes())
    return folder


def scan_with(one: Processes, folder: Path, index: Path | None = None) -> ScanResult:
    checkpoint = a_checkpoint()
    with closing(Catalog(index, checkpoint.space)) as catalog:
        return scan([folder], catalog, checkpoint, SETTINGS, one.describe, Silent())


def found(folder: Path) -> list[Found]:
    return [one for one in walk([folder]) if isinstance(one, Found)]


def all_of(one: Processes, files: Sequence[Found]) -> list[Finished]:
    return [finished for batch in one.describe(files, frozenset()) for finished in batch]


def timeless(result: ScanResult) -> ScanResult:
    return msgspec.structs.replace(result, seconds=0.0, created=0.0)


def children(one: Processes) -> list[int]:
    """Return the process ids, once all have started."""
    while len(one.describer.pids) < one.describer._count:
        one.describer._launcher.hear()
    return one.describer.pids


def is_running(pid: int) -> bool:
    """Return whether a process, of which we may not be the parent, has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_processes_give_what_threads_give(media: Path, start: Start) -> None:
    one = start(3)
    assert timeless(scan_with(one, media)) == timeless(scan_folder(media))
    assert timeless(scan_with(one, media)) == timeless(scan_folder(media))  # and once more


def test_next_scan_describes_what_is_new_alone(media: Path, start: Start, tmp_path: Path) -> None:
    one = start()
    before = scan_with(one, media, tmp_path / "index")
    save(media, "new.png", 1000)
    (media / "moved.png").write_bytes((media / "11.png").read_bytes())
    (media / "11.png").unlink()
    after = scan_with(one, media, tmp_path / "index")
    assert (before.embedded, after.embedded) == (len(found(media)) - 5, 1)


@pytest.mark.parametrize("count", [1, 2])
def test_a_file_that_kills_its_process_is_skipped_alone(start: Start, tmp_path: Path, count: int) -> None:
    folder = tmp_path / "media"
    for number in range(ORDER_ITEMS + 3):
        save(folder, f"{number}.bmp", number, side=16, modified=number)
    for name in ("bad.png", "worse.png"):
        (folder / name).write_bytes(KILL + name.encode())
    result = scan_with(start(count), folder, tmp_path / "index")
    assert result.images == ORDER_ITEMS + 3
    assert reasons(result) == {"bad.png": "killed", "worse.png": "killed"}
    assert {one.detail for one in result.skipped} == {"the process that decoded it was ended by SIGSEGV"}


def test_a_file_that_killed_its_process_is_tried_by_the_next_scan(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "media"
    save(folder, "good.png", 1)
    (folder / "bad.png").write_bytes(KILL)
    assert reasons(scan_with(start(1), folder, tmp_path / "index")) == {"bad.png": "killed"}
    assert reasons(scan_folder(folder, tmp_path / "index")) == {"bad.png": "format"}


def test_a_process_that_dies_by_chance_costs_no_file(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "media"
    save(folder, "good.png", 1)
    (folder / "unlucky.jpg").write_bytes(KILL_ONCE + os.fsencode(tmp_path / "mark"))
    assert reasons(scan_with(start(), folder)) == {"unlucky.jpg": "format"}
    assert (tmp_path / "mark").exists()


def test_nothing_is_imported_from_the_folder_that_the_user_stands_in(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, "a.png", 1)
    for name in ("queue.py", "numpy.py", "neardup.py"):
        (tmp_path / name).write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    [finished] = all_of(start(1), found(Path("a.png")))
    assert finished.error is None


def test_an_idle_process_that_died_is_replaced(media: Path, start: Start) -> None:
    one = start()
    before = all_of(one, found(media))
    os.kill(children(one)[0], signal.SIGKILL)
    assert len(all_of(one, found(media))) == len(before)


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("stillborn", DependencyError, "ended with 7 before it began"),
        ("unusable", ConfigError, "the model is unusable"),
        ("broken", PipelineError, "RuntimeError: no memory for 1 tiles"),
    ],
)
def test_what_is_wrong_with_the_processes_is_told(
    start: Start, tmp_path: Path, name: str, error: type[Exception], text: str
) -> None:
    save(tmp_path, "a.png", 1)
    one = start(2, replace(a_checkpoint(), name=name))
    with pytest.raises(error, match=text):
        all_of(one, found(tmp_path))
    assert one.describer.pids == []


def test_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(DependencyError, match="No such file"):
        Processes(2, a_checkpoint(), SETTINGS)


def test_closing_ends_them_in_the_midst_of_work(start: Start, tmp_path: Path) -> None:
    (tmp_path / "long.mp4").write_bytes(SLEEP + os.fsencode(tmp_path / "begun"))
    one = start()
    pids = children(one)
    batches = one.describe(found(tmp_path), frozenset())
    deadline = time.monotonic() + LATE_SECONDS
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline
        assert next(batches) == []  # so that an interrupt can be seen while nothing is heard
    batches.close()
    assert not any(map(is_running, pids))


def test_they_end_with_a_scan_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "long.mp4").write_bytes(SLEEP + os.fsencode(tmp_path / "begun"))
    script = (
        "import sys; from pathlib import Path; from neardup.pipeline.describe import processes; "
        "from tests.pipeline.scan.test_processes import *; "
        "processes.CHILD = 'tests.pipeline.describe.stand_in_child'; "
        "one = Processes(2, a_checkpoint(), SETTINGS); "
        f"print(*children(one), flush=True); all_of(one, found(Path({str(tmp_path)!r})))"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        until((tmp_path / "begun").exists, "it has begun")
        assert all(map(is_running, pids))
        parent.kill()
    assert len(pids) == 2
    until(lambda: not any(map(is_running, pids)), "all have ended")


def test_the_real_network_answers_alike(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path, f"{number}.png", number, side=300)
    checkpoint = load_checkpoint("default")
    described = in_threads(lambda: make_embedder(checkpoint, "cpu"), checkpoint.architecture.size, Settings())
    with closing(Processes(2, checkpoint, Settings())) as one:
        theirs = {finished.file: finished for finished in all_of(one, found(tmp_path))}
    for finished in [finished for batch in described(found(tmp_path), frozenset()) for finished in batch]:
        ours, other = finished.content, theirs[finished.file].content
        assert ours is not None
        assert other is not None
        [a], [b] = ours.unpacked().parts, other.unpacked().parts
        assert ((a.embedded().vectors * b.embedded().vectors).sum(axis=1) > 0.9999).all()
        assert msgspec.structs.replace(a, vectors=b"", similar=b"") == msgspec.structs.replace(
            b, vectors=b"", similar=b""
        )


def file(name: int, size: int) -> Found:
    return Found(f"{name}", f"/{name}", size, 0)


def test_files_of_one_size_go_in_a_row() -> None:
    files = [file(n, size) for n, size in enumerate([7, 5, 7, 6, 5, 7])]
    assert [one.path for one in in_rows(files)] == ["0", "2", "5", "1", "4", "3"]
