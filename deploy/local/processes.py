"""Start a process that outlives us, find it again, and end that one and no other.

A process is known by its id *and* the moment it started: ids are given anew, and a stale file must not end a stranger.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class ServiceError(Exception):
    """A service could not be installed, started or reached; the text is for a person."""


@dataclass(frozen=True)
class Process:
    """A process that runs, or ran.

    Attributes:
        pid: its id.
        started: when it began, in the operating system's words; only ever compared.
    """

    pid: int
    started: str

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return _started(self.pid) == self.started


def launch(command: Sequence[str], pid_file: Path, output: Path, environment: Mapping[str, str]) -> Process:
    """Start a command in a session of its own, so that Ctrl-C here does not reach it, and note its id."""
    with output.open("ab") as sink:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True, env=dict(environment)
        )
    process = Process(child.pid, _started(child.pid) or "")
    child.returncode = 0  # it is meant to stay: no warning when this object goes
    write_whole(pid_file, f"{process.pid} {process.started}\n")
    return process


def write_whole(path: Path, text: str) -> None:
    """Write a note that others read meanwhile: they see the old one or the new one, never a part."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text(text)
    beside.replace(path)


def find(pid_file: Path) -> Process | None:
    """Return the process that the file names if it still runs."""
    try:
        pid, _, started = pid_file.read_text().strip().partition(" ")
        process = Process(int(pid), started)
    except (FileNotFoundError, ValueError):
        return None
    return process if process.alive else None


def stop(processes: Iterable[Process], limit_seconds: float) -> list[Process]:
    """Ask the processes to end, kill those that have not after the limit, and return the killed ones."""
    waiting = [process for process in processes if _signal(process, signal.SIGTERM)]
    _wait(waiting, limit_seconds)
    killed = [process for process in waiting if _signal(process, signal.SIGKILL)]
    _wait(killed, 5.0)
    return killed


def resident_bytes(process: Process) -> int:
    """Return the memory that the process holds, 0 where the system does not say."""
    try:
        fields = Path(f"/proc/{process.pid}/statm").read_text().split()
    except OSError:
        return 0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def _signal(process: Process, number: signal.Signals) -> bool:
    if not process.alive:
        return False
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def _wait(processes: Sequence[Process], limit_seconds: float) -> None:
    deadline = time.monotonic() + limit_seconds
    while any(process.alive for process in processes) and time.monotonic() < deadline:
        time.sleep(0.05)


def _started(pid: int) -> str | None:
    """Return when a process started, None if there is none; one that ended and was not yet collected is none."""
    try:
        # after the name, which may hold spaces and brackets: state, parent, …, start time in ticks since boot
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return _started_by_ps(pid) if not Path("/proc/self/stat").exists() else None
    return None if fields[0] in "ZX" else fields[19]


def _started_by_ps(pid: int) -> str | None:
    listed = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.strip() or None
