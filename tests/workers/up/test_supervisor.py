"""The supervisor over stand-ins: small shell programs that end, refuse to end, or wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.pipeline.settings import Settings, usable_cores
from neardup.workers.up import supervisor as up
from neardup.workers.up.status import Row
from neardup.workers.up.supervisor import Backoff, Child, Spec, Supervisor, make_specs
from tests.timing import LATE_SECONDS, until
from tests.workers.conftest import Command

WAITS = "exec sleep 600"
STUBBORN = "trap '' TERM; echo up; while :; do sleep 0.05; done"


class Noted:
    """A display that keeps what it is told, and sets the event with the first line of a worker."""

    def __init__(self, spoken: threading.Event | None = None) -> None:
        self.lines: list[str] = []
        self._spoken = spoken

    def say(self, line: str) -> None:
        self.lines.append(line)

    def relay(self, line: str) -> None:
        self.lines.append(line)
        if self._spoken is not None:
            self._spoken.set()

    def show(self, rows: Sequence[Row]) -> None: ...


def shell(name: str, program: str) -> Spec:
    return Spec(name, "embed", 1, ("sh", "-c", program))


def run(supervisor: Supervisor, stopping: threading.Event | None = None) -> None:
    """Run workers, but not for ever."""
    stopping = stopping or threading.Event()
    limit = threading.Timer(LATE_SECONDS, stopping.set)
    limit.start()
    try:
        supervisor.run(stopping)
    finally:
        limit.cancel()


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_each_death_doubles_the_pause_up_to_a_bound_and_a_long_life_ends_the_row() -> None:
    backoff = Backoff()
    assert [backoff.after(1.0) for _ in range(8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert backoff.after(60.0) == 0.5
    assert [backoff.after(0.0) for _ in range(2000)][-1] == 30.0


def test_workers_are_numbered_where_there_are_several_and_have_ports_in_a_row() -> None:
    specs = make_specs(Settings(), embed=2, match=2, port=9401)
    assert [(spec.name, spec.kind, spec.port) for spec in specs] == [
        ("embed-1", "embed", 9401),
        ("embed-2", "embed", 9402),
        ("match-1", "match", 9403),
        ("match-2", "match", 9404),
        ("flag", "flag", 9405),
        ("prove", "prove", 9406),
    ]
    assert specs[2].command[-5:] == ("worker", "match", "--port", "9403", "--end-with-stdin")


def test_a_webhook_is_among_them_where_a_receiver_is_named() -> None:
    settings = Settings(webhook_url="https://example.org/hook")  # type: ignore[arg-type]
    specs = make_specs(settings, embed=1, match=1, port=9401, api=True)
    assert [(spec.name, spec.port) for spec in specs[-2:]] == [("prove", 9405), ("webhook", 9406)]
    assert specs[-1].command[-5:] == ("worker", "webhook", "--port", "9406", "--end-with-stdin")


def test_none_proves_where_decisions_do_not_wait_for_proofs() -> None:
    specs = make_specs(Settings(prove=False), embed=1, match=1, port=9401)
    assert [spec.kind for spec in specs] == ["embed", "match", "flag"]


def test_ports_are_free_ones_where_none_is_named() -> None:
    ports = [spec.port for spec in make_specs(Settings(), embed=3, match=1, port=0)]
    assert len(set(ports)) == 6
    assert all(20_000 <= port < 32_000 for port in ports)


def test_threads_are_shared_and_what_the_user_has_set_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NEARDUP_THREADS"):
        monkeypatch.delenv(name, raising=False)
    share = str(max(1, usable_cores() // 2))
    first, _, match, flag, prove = make_specs(Settings(log_format="json"), embed=2, match=1, port=9401)
    assert prove.environment["NEARDUP_THREADS"] == share
    assert first.environment == {
        "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": share, "NEARDUP_THREADS": share
    }  # fmt: skip
    assert match.environment == flag.environment == {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert make_specs(Settings(threads=7, log_format="json"), embed=2, match=1, port=9401)[0].environment == {
        "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "3"
    }  # fmt: skip


def test_workers_log_as_text_to_a_person_unless_the_setting_says_otherwise() -> None:
    def told(**settings: str) -> set[str | None]:
        specs = make_specs(Settings(**settings), embed=1, match=1, port=9401)  # type: ignore[arg-type]
        return {spec.environment.get("NEARDUP_LOG_FORMAT") for spec in specs}

    assert told() == {"text"}
    assert told(log_format="json") == {None}  # they have it from the environment


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("echo one; echo 'neardup: the disk is full' >&2; exit 1", "exit 1: the disk is full"),
        ("kill -9 $$", "killed by SIGKILL"),
        ("exit 0", "exit 0: "),
    ],
)
def test_a_worker_that_dies_is_started_again_and_the_reason_is_told(program: str, why: str) -> None:
    now, told = [0.0], Noted()
    child = Child(shell("embed-1", program), told, lambda: now[0])
    child.start()
    until(lambda: child.tend() or child.pid is None, "it ends")  # type: ignore[func-returns-value]
    assert child.row().state == f"restarting: {why}"
    assert told.lines[-1] == f"embed-1 ended, starts again in 0.5 s: {why}"
    now[0] = 0.4
    child.tend()
    assert child.pid is None
    now[0] = 0.5
    child.tend()
    assert child.pid is not None
    child.kill()


def test_a_wrong_setting_ends_all_with_its_message(tmp_path: Path) -> None:
    other = shell("flag", f"cd {tmp_path}; trap 'touch drained; exit' TERM; touch up; while :; do sleep 0.02; done")
    waits = f"while [ ! -e {tmp_path}/up ]; do sleep 0.02; done"
    wrong = shell("match", f"{waits}; echo 'neardup: topic x does not exist' >&2; exit 2")
    supervisor = Supervisor([other, wrong], "127.0.0.1", Noted())
    with pytest.raises(ConfigError, match=r"^match: topic x does not exist$"):
        run(supervisor)
    assert [child.pid for child in supervisor.children] == [None, None]
    assert (tmp_path / "drained").exists()


def test_told_to_stop_it_drains_all_and_leaves_no_process() -> None:
    stopping = threading.Event()
    told = Noted(stopping)
    left_behind = "sh -c 'trap \"\" TERM HUP; echo $$; exec sleep 600' & wait"
    supervisor = Supervisor([shell("embed", left_behind), shell("flag", WAITS)], "127.0.0.1", told)
    run(supervisor, stopping)
    [line] = [line for line in told.lines if line.startswith("embed | ")]
    until(lambda: not is_there(int(line.rpartition(" ")[2])), "what a worker started is gone too")
    assert [child.pid for child in supervisor.children] == [None, None]


def test_a_worker_that_does_not_drain_in_time_is_killed_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    stopping = threading.Event()
    supervisor = Supervisor([shell("flag", WAITS), shell("match", STUBBORN)], "127.0.0.1", Noted(stopping))
    other = supervisor.children[0]
    # The time is over as soon as the other one has ended.
    clock = SimpleNamespace(sleep=time.sleep, monotonic=lambda: 0.0 if other.pid else up.END_SECONDS)
    monkeypatch.setattr(up, "time", clock)
    with pytest.raises(DependencyError, match=r"^match did not end within"):
        run(supervisor, stopping)
    assert [child.pid for child in supervisor.children] == [None, None]


def test_impatience_kills_at_once() -> None:
    stopping = threading.Event()
    stubborn = shell("match", STUBBORN)
    told = Noted(stopping)
    supervisor = Supervisor([stubborn], "127.0.0.1", told)

    def interrupted() -> list[str]:
        raise KeyboardInterrupt

    supervisor._drain = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run(supervisor, stopping)
    assert supervisor.children[0].pid is None


def test_a_worker_ends_with_its_standard_input() -> None:
    program = (
        "import signal, threading, time\n"
        "from neardup.workers.cli import worker\n"
        "signal.signal(signal.SIGTERM, lambda *_: exit(7))\n"
        "threading.Thread(target=worker._end_with_stdin, daemon=True).start()\n"
        "print('waits', flush=True)\n"
        "while True: time.sleep(0.05)\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, env={**os.environ}) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"waits\n"
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(LATE_SECONDS) == 7


def test_signals_are_given_back(neardup: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(Supervisor, "run", lambda _self, _stopping: None)
    told = neardup("up", "--no-create-topics", "--port", "0")
    assert told.code == 0
    assert "flag: http://127.0.0.1:" in told.errors
    assert signal.getsignal(signal.SIGTERM) is before


IMPATIENT = """
import sys, threading
from neardup.workers.run.stopping import until_signalled
from neardup.workers.up.supervisor import Spec, Supervisor
from tests.workers.up.test_supervisor import STUBBORN

class Told:
    def say(self, line): print(line, flush=True)
    def relay(self, line): print(line, flush=True)
    def show(self, rows): pass

stopping = threading.Event()
with until_signalled(stopping):
    Supervisor([Spec("match", "match", 1, ("sh", "-c", STUBBORN))], "127.0.0.1", Told()).run(stopping)
"""


def test_a_second_ctrl_c_kills() -> None:
    root = str(Path(__file__).parents[3])
    pipe = subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": root}
    with subprocess.Popen([sys.executable, "-c", IMPATIENT], stdout=pipe, stderr=pipe, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"match | up\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"workers drain; Ctrl-C again kills them\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=LATE_SECONDS)
        assert errors.endswith(b"KeyboardInterrupt\n")
