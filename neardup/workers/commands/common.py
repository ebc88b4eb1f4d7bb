"""What several commands share: options, progress, loading the model, describing files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.settings import Settings

if TYPE_CHECKING:
    from neardup.pipeline.embed.embedder import Embedder
    from neardup.pipeline.scan.describe import Finished

Device = Literal["auto", "cpu", "cuda"]
ModelOption = Annotated[str | None, typer.Option("--model", help="Checkpoint: a name of `neardup models`, or a path.")]
DeviceOption = Annotated[Device | None, typer.Option("--device", help="Where the network runs.")]
ThreadsOption = Annotated[int | None, typer.Option("--threads", help="Decoding threads; default one per core.")]
FpsOption = Annotated[float | None, typer.Option("--sample-fps", help="Frames per second taken from a video.")]
PrecisionOption = Annotated[
    float | None,
    typer.Option("--threshold-precision", help="Wanted precision of `duplicate`, between 0 and 1; default 0.99."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for programs.")]


class Bar(AbstractContextManager["Bar"]):
    """A progress bar on standard error: items per second and time left; silent where that is no terminal."""

    def __init__(self, what: str) -> None:
        """Name what is going on."""
        console = Console(stderr=True)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task(what, total=None, rate="")

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def start(self, files: int) -> None:
        """So many files will be looked at."""
        self._bar.update(self._task, total=files)

    def advance(self, files: int) -> None:
        """So many more were dealt with."""
        speed = self._bar.tasks[0].speed
        self._bar.update(self._task, advance=files, rate="" if speed is None else f"{speed:,.0f}/s")


class _Progress(Protocol):
    def start(self, files: int) -> None: ...

    def advance(self, files: int) -> None: ...


def open_embedder(settings: Settings) -> Embedder:
    """Load the network."""
    from neardup.pipeline.embed.checkpoint import load_checkpoint
    from neardup.pipeline.embed.embedder import make_embedder

    return make_embedder(load_checkpoint(settings.model), settings.device)


def describe(
    roots: Sequence[Path], settings: Settings, embedder: Embedder, progress: _Progress
) -> Iterable[tuple[str, Finished]]:
    """Yield every file below the roots with its description or its error, in no particular order."""
    from neardup.pipeline.scan.describe import Describer
    from neardup.pipeline.scan.walk import Found, walk

    files = [one for one in walk(roots) if isinstance(one, Found)]
    progress.start(len(files))
    describer = Describer(embedder, frozenset(), settings.limits, settings.sample_fps, settings.worker_threads)
    for finished in describer.describe(files):
        progress.advance(1)
        yield finished.file.path, finished


def writable(path: Path) -> Path:
    """Return the path of a file to write, its folder made.

    Raises:
        ConfigError: the folder cannot be made, or the path is a folder.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; name a file to write")
    return writable_folder(path.parent) / path.name


def writable_folder(path: Path) -> Path:
    """Return the path of a folder, made where it did not exist.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name a folder that can be written") from error
    return path
