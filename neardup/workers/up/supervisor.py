"""All workers of one machine under one supervisor.

    neardup up --embed 2

Each worker is a process of its own, with its own memory and metrics. It gets a pipe as standard input that nobody
writes to: however the supervisor ends, the pipe closes, and the worker drains and ends too. It leads a session of its
own, so Ctrl-C in a terminal reaches the supervisor only, and what a dead worker left behind, such as the writer of a
snapshot, which still holds its port, ends with it.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.pipeline.settings import Settings, usable_cores
from neardup.workers.run.logs import message_of
from neardup.workers.run.stopping import Stopping
from neardup.workers.up.status import History, Row, look, state

PROGRAM = (sys.executable, "-m", "neardup.workers.cli.main")
END_SECONDS = 10.0
"""A worker that was asked to end and has not after so long is killed."""
STEADY_SECONDS = 60.0
"""A worker that has lived so long ends a row of deaths."""
MAX_PAUSE_SECONDS = 30.0
CONFIG_ERROR = 2
_TICK_SECONDS = 0.1
_LOOK_SECONDS = 1.0
# Below the range from which the system takes ports for outgoing connections, so that a worker finds its own again.
_FREE_PORTS = range(20_000, 32_000)


@dataclass(frozen=True, slots=True)
class Spec:
    """A worker to run: its name on the display, what kind it is, the port of its metrics, how it is started."""

    name: str
    kind: str
    port: int
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


class Display(Protocol):
    """Where the supervisor tells what happens."""

    def say(self, line: str) -> None:
        """Tell one thing that happened."""

    def relay(self, line: str) -> None:
        """Tell what a worker said; called by several threads."""

    def show(self, rows: Sequence[Row]) -> None:
        """Tell how all workers are, about once a second."""


def make_specs(
    settings: Settings, embed: int, match: int, port: int, verbose: bool = False, api: bool = False
) -> list[Spec]:
    """Return the workers of one machine, with one that proves, and one for a webhook if the settings name a receiver.

    Args:
        embed, match: how many of each; flag is always one.
        port: of the first one's metrics, the next follow; 0 takes free ones.
        api: whether one that serves the API is among them.
    """
    hook = bool(settings.webhook_url.get_secret_value())
    kinds = ["embed"] * embed + ["match"] * match + ["flag"] + ["api"] * api + ["prove"] * settings.prove
    kinds += ["webhook"] * hook
    ports: Iterator[int] = _free_ports() if port == 0 else iter(range(port, port + len(kinds)))
    counts = {"embed": embed, "match": match}
    specs = []
    for place, kind in enumerate(kinds):
        number = kinds[: place + 1].count(kind)
        name = kind if counts.get(kind, 1) == 1 else f"{kind}-{number}"
        own = next(ports)
        words = (*PROGRAM, *(("--verbose",) if verbose else ()), "worker", kind)
        command = (*words, "--port", str(own), "--end-with-stdin")
        specs.append(Spec(name, kind, own, command, _threads(settings, kind, embed)))
    host = "127.0.0.1" if settings.health_host in ("0.0.0.0", "") else settings.health_host
    workers = {"NEARDUP_API_WORKERS": ",".join(f"{spec.kind}={host}:{spec.port}" for spec in specs)}
    return [replace(one, environment={**one.environment, **workers}) if one.kind == "api" else one for one in specs]


def _threads(settings: Settings, kind: str, embed: int) -> dict[str, str]:
    """Return what keeps the pools of several workers from multiplying; what the user has set stands."""
    share = str(max(1, usable_cores() // max(embed, 1))) if kind == "embed" else "1"
    wanted = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": share}
    if not settings.threads and kind == "embed":
        wanted["NEARDUP_THREADS"] = share
    if not settings.threads and kind == "prove":  # embed workers have more to do
        wanted["NEARDUP_THREADS"] = str(max(1, usable_cores() // 2))
    if settings.log_format == "auto":  # a person reads what `up` passes on
        wanted["NEARDUP_LOG_FORMAT"] = "text"
    if kind == "api":
        return {name: os.environ.get(name, value) for name, value in wanted.items()} | {
            "NEARDUP_API_PORT": str(settings.api_port)
        }
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


def _free_ports() -> Iterator[int]:
    for port in random.sample(_FREE_PORTS, len(_FREE_PORTS)):
        with socket.socket() as attempt, suppress(OSError):
            attempt.bind(("127.0.0.1", port))
            yield port


class Backoff:
    """How long to wait before a worker that died is started again: twice as long each time, up to a bound."""

    def __init__(self) -> None:
        self._deaths = 0

    def after(self, lived_seconds: float) -> float:
        """Return the pause in seconds after a life."""
        self._deaths = 1 if lived_seconds >= STEADY_SECONDS else self._deaths + 1
        return min(0.25 * 2.0 ** min(self._deaths, 10), MAX_PAUSE_SECONDS)


class Child:
    """One worker: its process now, or the moment of its next start."""

    def __init__(self, spec: Spec, display: Display, clock: Callable[[], float] = time.monotonic) -> None:
        self.spec = spec
        self.history = History(clock)
        self._display = display
        self._clock = clock
        self._backoff = Backoff()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._last_words = ""
        self._why = ""
        self._started_at = self._again_at = 0.0

    @property
    def pid(self) -> int | None:
        """Its process id, None between two lives."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start a process."""
        self._last_words = ""
        self.history.restarted()
        self._started_at = self._clock()
        self._process = subprocess.Popen(
            self.spec.command,
            env={**os.environ, **self.spec.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._listen, args=(self._process,), daemon=True)
        self._reader.start()

    def tend(self) -> None:
        """Notice that it died, and start it again when it is time.

        Raises:
            ConfigError: it ended because of a setting; to start it again would not help.
        """
        if self._process is None:
            if self._clock() >= self._again_at:
                self.start()
            return
        code = self._process.poll()
        if code is None:
            return
        self._bury()
        said = message_of(self._last_words)
        if code == CONFIG_ERROR:
            raise ConfigError(f"{self.spec.name}: {said}")
        pause = self._backoff.after(self._clock() - self._started_at)
        self._again_at = self._clock() + pause
        self._why = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit {code}: {said}"
        self._display.say(f"{self.spec.name} ended, starts again in {pause:.1f} s: {self._why}")

    def ask_to_end(self) -> None:
        """Send SIGTERM."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def ended(self) -> bool:
        """Return whether no process runs, having tidied up after it."""
        if self._process is not None and self._process.poll() is not None:
            self._bury()
        return self._process is None

    def kill(self) -> None:
        """End it at once, and what it started."""
        if self._process is not None:
            _kill_group(self._process.pid)
            self._process.wait()
            self._bury()

    def row(self) -> Row:
        """Return how it is."""
        if self._process is None:
            shown = f"restarting: {self._why}"
        else:
            shown = state(self.spec.kind, self.history.last, self.history.answered)
        seen = self.history.last
        lag = seen.lag if seen is not None else 0
        return Row(self.spec.name, self.spec.port, shown, self.history.per_second, lag, self.history.counts)

    def _bury(self) -> None:
        assert self._process is not None
        assert self._reader is not None
        _kill_group(self._process.pid)  # what it left behind
        self._reader.join(1.0)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process = None
        self.history.restarted()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        """Pass on what it says, and keep the last line: the reason if it ends."""
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                if line.strip():
                    self._last_words = line.strip()
                    self._display.relay(f"{self.spec.name} | {line.rstrip()}")


class Supervisor:
    """Runs workers until it is stopped."""

    def __init__(self, specs: Sequence[Spec], host: str, display: Display) -> None:
        self.children = [Child(spec, display) for spec in specs]
        self._host = host
        self._display = display

    def run(self, stopping: Stopping) -> None:
        """Run all workers until the event is set, then let them drain.

        Raises:
            ConfigError: a worker ended because of a setting; the others have ended too.
            DependencyError: a worker did not drain in time and was killed.
            KeyboardInterrupt: somebody is impatient; all were killed.
        """
        try:
            for child in self.children:
                child.start()
            threading.Thread(target=self._watch, args=(stopping,), name="watch", daemon=True).start()
            shown_at = 0.0
            while not stopping.wait(_TICK_SECONDS):
                for child in self.children:
                    child.tend()
                if time.monotonic() - shown_at >= _LOOK_SECONDS:
                    shown_at = time.monotonic()
                    self._display.show([child.row() for child in self.children])
            self._display.say("workers drain; Ctrl-C again kills them")
            late = self._drain()
        except ConfigError:
            self._drain()
            raise
        finally:
            stopping.set()
            for child in self.children:
                child.kill()
        if late:
            raise DependencyError(f"{', '.join(late)} did not end within {END_SECONDS:.0f} s, killed; nothing is lost")

    def _drain(self) -> list[str]:
        """Tell all to end, wait for that, and return the names of those that have not."""
        deadline = time.monotonic() + END_SECONDS
        for child in self.children:
            child.ask_to_end()
        while time.monotonic() < deadline:
            if all(child.ended() for child in self.children):
                return []
            time.sleep(_TICK_SECONDS / 2)
        return [child.spec.name for child in self.children if not child.ended()]

    def _watch(self, stopping: Stopping) -> None:
        """Look at all workers about once a second; one that hangs may delay that."""
        while not stopping.wait(_LOOK_SECONDS):
            for child in self.children:
                pid = child.pid
                seen = look(self._host, child.spec.port) if pid is not None else None
                if child.pid == pid:
                    child.history.add(seen)


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
