"""Files below one folder or object-store URL, written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from fsspec.implementations.local import LocalFileSystem

from neardup.pipeline.errors import DependencyError, PipelineError
from neardup.pipeline.files import fsync_file, fsync_folder
from neardup.pipeline.media.object_store import open_store

_ATTEMPTS = 3
_PART = ".neardup-*.part"
"""Names of unfinished files in a folder; a killed process leaves them. Object stores show none."""


class Folder:
    """May be pickled, and used by many threads.

    Attributes:
        url: without a slash at its end.
        local: the folder on this machine, None of an object store.
    Raises:
        ConfigError: the URL's scheme is not known, or what it needs is not installed.
    """

    def __init__(self, url: str) -> None:
        if "://" not in url:
            url = Path(os.path.abspath(Path(url).expanduser())).as_uri()  # noqa: PTH100 (links are left as they are)
        self.url = url.rstrip("/")
        if self.url.startswith("file:"):  # fsspec takes neither %23 nor :: in a name for what they are
            root = path_of(self.url)
            self._files = LocalFileSystem()
        else:  # what another machine writes meanwhile must be seen
            self._files, root = open_store(self.url, use_listings_cache=False)
        self._root = root.rstrip("/")
        self.local = Path(self._root) if isinstance(self._files, LocalFileSystem) else None

    def __reduce__(self) -> tuple[Callable[[str], Folder], tuple[str]]:
        return _reopened, (self.url,)

    def names(self, below: str = "") -> list[str]:
        """Return the names of the finished files directly in a folder below this one, sorted.

        Raises:
            DependencyError: the folder cannot be listed; one that is not there is empty.
        """
        with self._translated("list", below):
            try:
                listed = self._files.ls(self._at(below), detail=False)
            except FileNotFoundError:
                return []
        names = (str(path).rstrip("/").rpartition("/")[2] for path in listed)
        return sorted(name for name in names if name and not name.startswith("."))

    def has(self, name: str) -> bool:
        """Return whether there is a finished file of this name; raises DependencyError."""
        with self._translated("look for", name):
            return bool(self._files.exists(self._at(name)))

    def read(self, name: str) -> bytes | None:
        """Return a file's content, None where there is none; raises DependencyError."""
        with self._translated("read", name):
            try:
                return bytes(self._files.cat_file(self._at(name)))
            except FileNotFoundError:
                return None

    @contextmanager
    def opened(self, name: str) -> Iterator[BinaryIO]:
        """Open a file for reading, anywhere in it; raises DependencyError where it cannot be had.

        What fails later, while it is read, raises the store's own errors; see `reading`.
        """
        with self.reading(name):
            opened = self._files.open(self._at(name), "rb")
        with opened as file:
            yield file

    def reading(self, name: str) -> AbstractContextManager[None]:
        """Turn errors of a block that reads an opened file into DependencyError."""
        return self._translated("read", name)

    def put(self, name: str, file: Path) -> None:
        """Store a file under a name; whoever looks sees nothing, or all of it.

        Raises:
            DependencyError: it could not be stored.
        """
        with self._translated("write", name):
            target = self._at(name)
            if self.local is None:
                self._files.put_file(str(file), target)  # shows it once it is whole
                return
            for left in reversed(range(_ATTEMPTS)):
                try:
                    self._put(file, Path(target))
                    return
                except FileNotFoundError:  # another run that came to its end swept
                    if not left:
                        raise

    def _put(self, file: Path, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.parent / _PART.replace("*", secrets.token_hex(8))
        try:
            self._files.put_file(str(file), str(part))
            fsync_file(part)
            part.replace(place)
            fsync_folder(place.parent)
        finally:
            part.unlink(missing_ok=True)

    def remove(self, below: str, names: Sequence[str]) -> None:
        """Remove finished files directly in a folder below this one; raises DependencyError."""
        with self._translated("remove from", below):
            if names:
                self._files.rm([self._at(f"{below}/{name}") for name in names])

    def sweep(self, below: str) -> None:
        """Remove what is unfinished in a folder below this one; whoever writes there meanwhile writes anew."""
        if self.local is not None:
            for part in (self.local / below).glob(_PART):
                part.unlink(missing_ok=True)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    @contextmanager
    def _translated(self, action: str, name: str) -> Iterator[None]:
        try:
            yield
        except PipelineError:
            raise
        except Exception as error:  # every store has errors of its own
            said = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            raise DependencyError(f"{self.url}/{name}: cannot {action}: {said}") from error


def path_of(uri: str) -> str:
    """Return the path that a URI of a file stands for; a name need not be UTF-8."""
    return unquote(urlsplit(uri).path, errors="surrogateescape")


@lru_cache(maxsize=8)
def _reopened(url: str) -> Folder:
    return Folder(url)
