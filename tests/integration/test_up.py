"""`neardup up` as a process over real services, with the stand-in for a network."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from neardup.pipeline.embed.checkpoint import save_checkpoint
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.redis import RedisStore
from neardup.workers.run.kafka_probe import kafka_away
from neardup.workers.up.status import look
from tests.pipeline.scan.build import a_checkpoint, save
from tests.timing import BUSY, LATE_SECONDS, until

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
CHECKPOINT = a_checkpoint()
KINDS = ("embed", "match", "flag", "prove")


class Up:
    """The supervisor and what it says."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log

    def log(self) -> str:
        return self._log.read_text()

    def ports(self) -> dict[str, int]:
        return {name: int(port) for name, port in re.findall(r"([\w-]+): http://127.0.0.1:(\d+)/metrics", self.log())}

    def ready(self, name: str) -> bool:
        seen = look("127.0.0.1", self.ports()[name])
        return seen is not None and seen.ready

    def await_ready(self, kinds: Sequence[str] = KINDS) -> None:
        until(lambda: set(self.ports()) == set(kinds), "ports are told")
        for name in kinds:
            until(lambda name=name: self.ready(name), f"{name} is ready; it said {self.log()}")  # type: ignore[misc]

    def worker(self, kind: str) -> int:
        """The process id of the worker that runs now."""
        [pid] = [pid for pid in children_of(self.process.pid) if f"worker\0{kind}\0" in command_of(pid)]
        return pid


def children_of(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            if fields[0] != "Z" and int(fields[1]) == parent:
                found.append(int(path.name))
    return found


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@pytest.fixture
def environment(settings: Settings, tmp_path: Path) -> dict[str, str]:
    save_checkpoint(CHECKPOINT, tmp_path / "model.safetensors")
    ours = {name: value for name, value in os.environ.items() if not name.startswith("NEARDUP_")}
    return {
        **ours,
        "NEARDUP_KAFKA": settings.kafka,
        "NEARDUP_REDIS": settings.redis.get_secret_value(),
        "NEARDUP_TOPIC_PREFIX": settings.topic_prefix,
        "NEARDUP_MODEL": str(tmp_path / "model.safetensors"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
    }


@contextmanager
def running(environment: dict[str, str], folder: Path, *options: str, verbose: bool = False) -> Iterator[Up]:
    log = folder / "up.log"
    command = [sys.executable, "-m", "tests.integration.stand_in"]
    command += [*(("--verbose",) if verbose else ()), "up", "--port", "0", *options]
    with log.open("wb") as file, subprocess.Popen(command, env=environment, stderr=file, cwd=ROOT) as process:
        try:
            yield Up(process, log)
        finally:
            process.terminate()
            try:
                process.wait(LATE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def ingest(environment: dict[str, str], folder: Path, *options: str) -> None:
    command = [sys.executable, "-m", "tests.integration.stand_in", "ingest", str(folder), *options]
    subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True)


def test_copies_are_in_the_feed_once_whichever_worker_is_killed(
    environment: dict[str, str], settings: Settings, tmp_path: Path
) -> None:
    def flagged() -> int:
        return len(store.feed("", 1000))

    with (
        closing(RedisStore(settings.redis.get_secret_value(), CHECKPOINT.space)) as store,
        running(environment, tmp_path) as up,
    ):
        up.await_ready()
        for seed in range(6):
            save(tmp_path / "originals", f"{seed}.png", seed)
        ingest(environment, tmp_path / "originals")
        until(lambda: store.applied() >= 5, f"all are told; {up.log()}")
        assert flagged() == 0
        for number, kind in enumerate(KINDS):
            pid = up.worker(kind)
            save(tmp_path / f"copies-{number}", f"copy-{number}.png", number, side=48)
            os.kill(pid, signal.SIGKILL)
            ingest(environment, tmp_path / f"copies-{number}")
            until(
                lambda wanted=number + 1: flagged() == wanted,
                f"the copy is flagged after {kind} was killed; {up.log()}",
            )
            assert up.worker(kind) != pid
            assert f"{kind} ended, starts again in 0.5 s: killed by SIGKILL" in up.log()
        up.await_ready()
        workers = [up.worker(kind) for kind in KINDS]
        began = time.monotonic()
        up.process.terminate()
        assert up.process.wait(LATE_SECONDS) == 0
        assert time.monotonic() - began < 10 * BUSY
        assert [command_of(pid) for pid in workers] == [""] * len(KINDS)
        entries = [entry.verdict for entry in store.feed("", 1000)]
        assert [Path(one.id).name for one in entries] == [f"copy-{n}.png" for n in range(len(KINDS))]
        assert [Path(one.matches[0].reference).name for one in entries] == [f"{n}.png" for n in range(len(KINDS))]
        assert store.applied() >= 8  # what a killed embed worker had not committed comes again, and changes nothing


def test_a_broker_is_known_by_its_answer(settings: Settings) -> None:
    assert kafka_away(settings) == ""
    assert kafka_away(settings.model_copy(update={"kafka": settings.redis.get_secret_value().split("/")[2]}))


def test_workers_end_when_the_supervisor_is_killed(environment: dict[str, str], tmp_path: Path) -> None:
    with running(environment, tmp_path) as up:
        up.await_ready()
        workers = [up.worker(kind) for kind in KINDS]
        up.process.kill()
        until(lambda: [command_of(pid) for pid in workers] == [""] * len(KINDS), "they end")


def test_a_wrong_setting_of_one_worker_ends_all(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "neardup").write_text("no folder")
    with running(environment, tmp_path) as up:
        assert up.process.wait(LATE_SECONDS) == 2
        assert children_of(up.process.pid) == []
        assert re.search(r"neardup: match: state_folder: .* name a folder that can be written", up.log())
