"""What serves many schedules, one at a time: a broker, a Redis, and the process that workers are forked from."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from deploy.local.services import Services
from neardup.pipeline.embed.checkpoint import save_checkpoint
from tests.faults.zygote import Start, Told
from tests.pipeline.scan.build import a_checkpoint

ROOT = Path(__file__).parents[2]


class Lane:
    """A broker, a Redis and what workers are forked from; one schedule at a time runs on it.

    Args:
        stop: set when the schedule that runs is to give up.
    """

    def __init__(self, folder: Path, stop: threading.Event | None = None) -> None:
        self.folder = folder
        self._stop = stop or threading.Event()
        folder.mkdir(parents=True, exist_ok=True)
        save_checkpoint(a_checkpoint(), folder / "model.safetensors")
        self.services = Services(folder / "services")
        self.services.start()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("NEARDUP_")}
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        pipe, self._errors = subprocess.PIPE, folder / "zygote.log"
        with self._errors.open("w") as errors:
            self._zygote = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.zygote"],
                stdin=pipe,
                stdout=pipe,
                stderr=errors,
                cwd=ROOT,
                env=environment,
                start_new_session=True,  # a signal to our group is for us, who end it with all workers
            )
        assert self._zygote.stdout is not None
        self._zygote.stdout.readline()  # it has imported everything
        self._lock = threading.Lock()
        self._hear: Callable[[Told], object] = lambda _: None
        self._broken: BaseException | None = None
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def broken(self) -> BaseException | None:
        """Why nobody is to wait for the workers of this schedule any more."""
        return InterruptedError("the schedules are to end") if self._stop.is_set() else self._broken

    @property
    def kafka(self) -> str:
        """The broker's address."""
        return self.services.environment["NEARDUP_KAFKA"]

    @property
    def redis(self) -> str:
        """The URL of the database."""
        return self.services.environment["NEARDUP_REDIS"]

    @property
    def alive(self) -> bool:
        """Whether what forks workers runs."""
        return self._zygote.poll() is None

    def start_worker(self, start: Start) -> None:
        """Fork a worker; what becomes of it is told to whoever hears.

        Raises:
            OSError: what forks workers has ended.
        """
        assert self._zygote.stdin is not None
        with self._lock:
            self._zygote.stdin.write(msgspec.json.encode(start) + b"\n")
            self._zygote.stdin.flush()

    def heard_by(self, hear: Callable[[Told], object]) -> None:
        """Tell everything from now on to this one."""
        self._hear = hear
        if self.alive:
            self._broken = None

    def close(self) -> None:
        """End it all."""
        assert self._zygote.stdin is not None
        with suppress(BrokenPipeError):
            self._zygote.stdin.close()
        self._zygote.wait(10)
        assert self._zygote.stdout is not None
        self._zygote.stdout.close()
        self.services.stop()

    def _listen(self) -> None:
        assert self._zygote.stdout is not None
        decode = msgspec.json.Decoder(Told).decode
        for line in self._zygote.stdout:
            try:
                self._hear(decode(line))
            except Exception as error:  # for the schedule that waits for a worker, which would wait in vain
                self._broken = error
        self._broken = ChildProcessError(
            f"what forks workers has ended with {self._zygote.wait()}: {self._errors.read_text()[-2000:]}"
        )
