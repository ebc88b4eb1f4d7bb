"""What several commands share: options, progress, writable places."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from neardup.pipeline.errors import ConfigError, install_command
from neardup.pipeline.report.names import visible
from neardup.pipeline.types import RegionMode
from neardup.workers.cli.interrupt import Interrupt

if TYPE_CHECKING:
    from rich.progress import Progress

Device = Literal["auto", "cpu", "cuda"]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Checkpoint: a name of `neardup models`, or a path; default `default`.")
]
DeviceOption = Annotated[Device | None, typer.Option("--device", help="Where the network runs; default auto.")]
ThreadsOption = Annotated[int | None, typer.Option("--threads", help="Decoding threads; default one per core.")]
FpsOption = Annotated[
    float | None, typer.Option("--sample-fps", help="Frames per second taken from a video; default 2.")
]
RegionsOption = Annotated[
    RegionMode | None,
    typer.Option("--regions", help="Also compare pictures within an image (boxes), fixed parts of it (grid), or none."),
]
CalibrationOption = Annotated[
    str | None, typer.Option("--calibration", help="File of `neardup calibrate`; default what the checkpoint carries.")
]
PrecisionOption = Annotated[
    float | None,
    typer.Option("--threshold-precision", help="Wanted precision of `duplicate`, between 0 and 1; default 0.99."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for programs.")]


class Bar(AbstractContextManager["Bar"]):
    """A progress bar on standard error: items per second and time left; silent where that is no terminal.

    While it is up, Ctrl-C acts where progress is reported.
    """

    def __init__(self, what: str) -> None:
        """Name what is going on."""
        self._interrupt = Interrupt()
        self._what = what
        self._shown = _shown(what) if sys.stderr.isatty() else None

    def __enter__(self) -> Bar:
        self._interrupt.__enter__()
        if self._shown is not None:
            self._shown.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._shown is not None:
            self._shown.stop()
        self._interrupt.__exit__(kind, error, traceback)

    def say(self, what: str) -> None:
        """Name what is going on from now on; "" is what the bar was made with."""
        if self._shown is not None:
            self._shown.update(self._shown.task_ids[0], description=what or self._what)

    def start(self, files: int | None) -> None:
        """So many files will be looked at; None where nobody knows."""
        self._interrupt.check()
        if self._shown is not None:
            self._shown.update(self._shown.task_ids[0], total=files)

    def advance(self, files: int) -> None:
        """So many more were dealt with; raises KeyboardInterrupt if Ctrl-C was pressed."""
        self._interrupt.check()
        if self._shown is not None and files:
            speed = self._shown.tasks[0].speed
            rate = "" if speed is None else f"{speed:,.0f}/s"
            self._shown.update(self._shown.task_ids[0], advance=files, rate=rate)


def _shown(what: str) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    progress.add_task(what, total=None, rate="")
    return progress


def check_present(*paths: Path | None) -> None:
    """Raise ConfigError for the first path at which there is nothing."""
    for path in paths:
        if path is not None and not path.exists():
            raise ConfigError(f"{visible(os.fspath(path))} does not exist; name a folder or file")


def counted(count: int, what: str) -> str:
    """Return a number with its noun, which has an "s" if there are several."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def check_parquet() -> None:
    """Raise ConfigError where archives cannot be read."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"neardup backfill needs Parquet: {install_command('backfill')}") from error


def writable(path: Path) -> Path:
    """Return the path of a file to write, its folder made.

    Raises:
        ConfigError: the folder cannot be made or written, or the path is a folder.
    """
    if path.is_dir():
        raise ConfigError(f"{visible(str(path))} is a folder; name a file to write")
    return writable_folder(path.parent) / path.name


def writable_folder(path: Path) -> Path:
    """Return the path of a folder, made where it did not exist.

    Raises:
        ConfigError: it cannot be made or written.
    """
    path = path.expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{visible(str(path))}: {error.strerror}; name a folder that can be written") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigError(f"{visible(str(path))} cannot be written; name a folder that can")
    return path


def reflowed(text: str | None) -> str:
    """Return a docstring with one line for each paragraph: typer keeps line ends, and terminals differ in width."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in (text or "").split("\n\n"))
