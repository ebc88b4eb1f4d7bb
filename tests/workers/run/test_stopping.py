"""SIGTERM while a worker or a supervisor starts: it ends at once, with 0, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from neardup.pipeline.embed.checkpoint import save_checkpoint
from neardup.workers.run import kafka_probe
from neardup.workers.run.stopping import Stop, is_service
from tests.pipeline.scan.build import a_checkpoint
from tests.pipeline.scan.test_processes import is_running
from tests.timing import LATE_SECONDS, until
from tests.workers.halting import HALTS

ROOT = Path(__file__).parents[3]
KINDS = ("embed", "match", "prove", "flag", "webhook", "api")
NOWHERE = "127.0.0.1:1"


class Started:
    """A process of a session of its own."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log

    def log(self) -> str:
        return self._log.read_text()

    def await_words(self, words: str) -> None:
        until(lambda: words in self.log() or self.process.poll() is not None, lambda: f"{words}; {self.log()}")
        assert words in self.log(), self.log()

    def terminate(self) -> None:
        """End it, and see that it ends well and that none of its processes is left."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(LATE_SECONDS) == 0, self.log()
        until(lambda: not session(self.process.pid), "nothing is left")
        assert "Traceback" not in self.log()


def session(leader: int) -> list[int]:
    """Return the processes of a session that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if fields[0] != "Z" and int(fields[3]) == leader:
                found.append(int(path.parent.name))
    return found


@contextmanager
def started(folder: Path, *command: str, halt: str = "", kafka: str = NOWHERE, **more: str) -> Iterator[Started]:
    save_checkpoint(a_checkpoint(), folder / "model.safetensors")
    (folder / "temporary").mkdir(exist_ok=True)
    ours = {name: value for name, value in os.environ.items() if not name.startswith("NEARDUP_")}
    environment = {
        **ours,
        "NEARDUP_MODEL": str(folder / "model.safetensors"),
        "NEARDUP_KAFKA": kafka,
        "NEARDUP_STATE_FOLDER": str(folder / "state"),
        "NEARDUP_BLOBS": str(folder / "blobs"),
        "NEARDUP_API_PORT": "0",
        "NEARDUP_WEBHOOK_URL": "https://receiver.example/hook",
        "NEARDUP_WEBHOOK_SECRETS": "whsec_" + 32 * "A",
        "TMPDIR": str(folder / "temporary"),
        "HALT": halt,
        **more,
    }
    log = folder / "log"
    program = [sys.executable, "-m", "tests.workers.halting", "--verbose", *command]
    with log.open("wb") as file:
        process = subprocess.Popen(program, env=environment, stderr=file, cwd=ROOT, start_new_session=True)
    try:
        yield Started(process, log)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def left_in(folder: Path) -> list[str]:
    return [path.name for path in (folder / "temporary").iterdir()]


class Silent:
    """A broker that answers whoever asks whether one is there, and leaves clients without an answer."""

    def __init__(self) -> None:
        self.left_waiting = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                if connection.recv(100) == kafka_probe.request(kafka_probe.VERSIONS):
                    connection.sendall(b"\0\0\0\6\0\0\0\1\0\0")
                else:
                    self.left_waiting += 1

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            connection.close()
        self._thread.join()


@pytest.fixture
def silent() -> Iterator[Silent]:
    with closing(Silent()) as made:
        yield made


LOADS = "neardup.pipeline.embed.checkpoint:load_checkpoint"


@pytest.mark.parametrize(
    ("kind", "halt"),
    [
        ("embed", "import neardup.workers.run.runner"),
        ("embed", "neardup.pipeline.embed.embedder:make_embedder"),
        ("match", LOADS),
        ("flag", LOADS),
        ("webhook", "import neardup.workers.webhook.worker"),
        ("api", LOADS),
        ("api", "neardup.workers.run.runner:start_at_zero"),  # its server listens by then
    ],
)
def test_a_worker_that_imports_or_loads(tmp_path: Path, kind: str, halt: str) -> None:
    with started(tmp_path, "worker", kind, "--port", "0", halt=halt) as one:
        one.await_words(HALTS)
        one.terminate()
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_that_waits_for_a_broker_that_is_not_there(tmp_path: Path, kind: str) -> None:
    with started(tmp_path, "worker", kind, "--port", "0") as one:
        one.await_words("worker failed, will start again")
        one.terminate()
        assert "worker ended" in one.log()
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("kind", ["embed", "match", "api"])
def test_a_worker_that_waits_for_a_broker_that_hangs(tmp_path: Path, kind: str, silent: Silent) -> None:
    with started(tmp_path, "worker", kind, "--port", "0", kafka=silent.address) as one:
        until(lambda: silent.left_waiting, one.log)
        one.terminate()
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("halt", ["import neardup.workers.kafka.topics", LOADS])
def test_a_supervisor_that_imports_or_loads(tmp_path: Path, halt: str) -> None:
    with started(tmp_path, "up", "--port", "0", halt=halt) as one:
        one.await_words(HALTS)
        one.terminate()


def test_a_supervisor_that_waits_for_a_broker(tmp_path: Path, silent: Silent) -> None:
    with started(tmp_path, "up", "--port", "0", kafka=silent.address) as one:
        until(lambda: silent.left_waiting, one.log)
        one.terminate()


def test_a_supervisor_whose_workers_import(tmp_path: Path) -> None:
    halt = "import neardup.workers.run.runner"
    with started(tmp_path, "up", "--port", "0", "--api", "--no-create-topics", halt=halt) as one:
        until(lambda: one.log().count(HALTS) == len(KINDS), one.log)
        one.terminate()
        assert "all workers have ended" in one.log()


CHILD = """
import os, sys, time
if any("scann.serve_process" in word for word in sys.orig_argv):
    open("child", "w").write(str(os.getpid()))
    time.sleep(600)
"""
LOADING = """
from pathlib import Path
from neardup.workers.run import stopping
from neardup.pipeline.index.scann.searcher import NO_ROWS, Searcher
stopping.end_at_once()
Searcher(Path("searcher").absolute(), NO_ROWS)
"""


def test_a_child_that_loads_an_index_is_ended_too(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(CHILD)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    command, environment = [sys.executable, "-c", LOADING], {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE) as process:
        until(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text(), "a child loads")
        process.send_signal(signal.SIGTERM)
        assert process.wait(LATE_SECONDS) == 0
        until(lambda: not is_running(int((tmp_path / "child").read_text())), "it is gone")
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_a_stop_wakes_all_who_wait_and_can_be_set_within_a_wait() -> None:
    stop = Stop()
    assert not stop.wait(0.01)
    waiting = [threading.Thread(target=stop.wait) for _ in range(3)]
    for thread in waiting:
        thread.start()
    before = signal.signal(signal.SIGALRM, lambda *_: stop.set())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        assert stop.wait(LATE_SECONDS)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    for thread in waiting:
        thread.join(LATE_SECONDS)
    assert not any(thread.is_alive() for thread in waiting)
    assert (stop.is_set(), stop.wait(0), stop.wait()) == (True, True, True)


def test_services_are_known_by_their_command_line() -> None:
    assert is_service(["--verbose", "worker", "embed"])
    assert is_service(["up", "--port", "0"])
    assert not is_service(["scan", "up"])
    assert not is_service([])
