"""What `neardup ingest` has delivered, so that an interrupted run goes on where it stopped.

One line for each acknowledged file or object: its id, its size, and its stamp, which changes with the content: of a
file the time of modification, of an object its entity tag or that time. What changed since is sent again. A line that
was cut off by a crash is skipped, and that file sent again.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from neardup.pipeline.errors import ConfigError, DependencyError


class Journal:
    """An append-only file; `add` is called from one thread at a time.

    Raises:
        ConfigError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._known: dict[str, tuple[int, int | str]] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                with path.open(encoding="utf-8", errors="replace") as lines:
                    for line in lines:
                        self._read(line)
            self._file = path.open("a", buffering=1, encoding="utf-8", errors="replace")  # a killed run knows its lines
            self._file.write("\n")  # ends a line that was cut off
        except OSError as error:
            raise ConfigError(f"journal {path}: {error.strerror}; name another --journal") from error

    def has(self, id: str, size: int, stamp: int | str) -> bool:
        """Return whether this file was delivered as it is now."""
        return self._known.get(id) == (size, stamp)

    def add(self, id: str, size: int, stamp: int | str) -> None:
        """Note that a file was delivered."""
        try:
            self._file.write(json.dumps([id, size, stamp]) + "\n")
        except OSError as error:
            raise DependencyError(f"journal {self._file.name}: {error.strerror}") from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as failed:
            if error is None:
                raise DependencyError(f"journal {self._file.name}: {failed.strerror}") from failed
        finally:
            with suppress(OSError):  # what it could not write before
                self._file.close()

    def _read(self, line: str) -> None:
        try:
            id, size, stamp = json.loads(line)
            self._known[str(id)] = (int(size), stamp if isinstance(stamp, str) else int(stamp))
        except (ValueError, TypeError):
            return
