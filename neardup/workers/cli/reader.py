"""Describe files for the commands that keep no index."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence, Set
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import typer

from neardup.pipeline.errors import InvalidFrame
from neardup.pipeline.report.names import visible

if TYPE_CHECKING:
    from neardup.pipeline.embed.checkpoint import Checkpoint
    from neardup.pipeline.embed.embedder import BatchEmbedder
    from neardup.pipeline.log.records import Described
    from neardup.pipeline.scan.finished import Describe, Finished
    from neardup.pipeline.scan.walk import Found
    from neardup.pipeline.settings import Settings
    from neardup.workers.cli.common import Bar

    Outcome: TypeAlias = list[Described] | InvalidFrame

PREPARING = "preparing the network for this processor, once"


def lazy_embedder(checkpoint: Checkpoint, settings: Settings) -> Callable[[], BatchEmbedder]:
    """Return what makes the network ready when it is first called, and returns the same one after that."""

    @cache
    def embedder() -> BatchEmbedder:
        from neardup.pipeline.embed.embedder import make_embedder

        return make_embedder(checkpoint, settings.device)

    return embedder


def noticed(describe: Describe, checkpoint: Checkpoint, settings: Settings, bar: Bar) -> Describe:
    """Return what describes the same; the bar says so while the network is converted for this processor."""

    def described(files: Sequence[Found], known: Set[bytes]) -> Generator[list[Finished]]:
        from neardup.pipeline.embed.embedder import needs_conversion

        converts = bool(files) and needs_conversion(checkpoint, settings.device)
        if converts:
            bar.say(PREPARING)
        with closing(describe(files, known)) as batches:
            for batch in batches:
                if converts and any(one.content is not None for one in batch):
                    converts = False
                    bar.say("")
                yield batch

    return described


class Reader:
    """Describes files, one folder after the other, with one network."""

    def __init__(self, checkpoint: Checkpoint, settings: Settings) -> None:
        """Take what the network is and how files are read; nothing is loaded yet."""
        self._checkpoint = checkpoint
        self._settings = settings
        self._embedder = lazy_embedder(checkpoint, settings)

    def described(self, root: Path, bar: Bar) -> Iterator[tuple[str, Outcome]]:
        """Yield each file with its records or the reason why it has none, in order of path.

        What is no file comes before them all.
        """
        from neardup.pipeline.scan.catalog import Catalog
        from neardup.pipeline.scan.choose import describing
        from neardup.pipeline.scan.walk import Found, walk

        files: list[Found] = []
        for one in walk([root]):
            if isinstance(one, Found):
                files.append(one)
            else:
                yield one.path, InvalidFrame(one.reason, one.detail)
        files.sort(key=lambda file: file.path)
        describe = describing(self._checkpoint, self._settings, self._embedder)
        describe = noticed(describe, self._checkpoint, self._settings, bar)
        bar.start(len(files))
        done: dict[str, bytes | InvalidFrame] = {}
        position = 0
        with (
            closing(Catalog(None, self._checkpoint.space)) as catalog,
            closing(describe(files, frozenset())) as batches,
        ):
            for batch in batches:
                catalog.put_contents(finished.content for finished in batch if finished.content is not None)
                for finished in batch:
                    done[finished.file.path] = finished.error or finished.sha256 or b""
                bar.advance(len(batch))
                while position < len(files) and (path := files[position].path) in done:
                    outcome = done.pop(path)
                    yield path, outcome if isinstance(outcome, InvalidFrame) else catalog.content(outcome).parts
                    position += 1

    def usable(self, root: Path, bar: Bar) -> Iterator[tuple[str, list[Described]]]:
        """Yield what `described` does, and print on standard error what is skipped."""
        for path, outcome in self.described(root, bar):
            if isinstance(outcome, InvalidFrame):
                typer.echo(f"skipped {visible(path)}: {outcome}", err=True)
            else:
                yield path, outcome
