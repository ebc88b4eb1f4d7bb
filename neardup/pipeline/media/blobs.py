"""Where files of items lie: large originals, thumbnails and packs for proofs, in a folder or an object store (fsspec).

A file's name begins with a hash of its item's id, so that everything of an item is found when it is taken down, and
nothing of another item that has the same content goes with it. Then comes a hash of the content: written again it
changes nothing, and one who writes an old version late does not spoil the new one. What a name leads to is whole.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

from fsspec.implementations.local import LocalFileSystem

from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.pipeline.media.object_store import open_store

MEDIA, THUMBNAILS, PACKS = "media", "thumbnails", "packs"
_DIGITS = 32
_FOLDER_DIGITS = 2
"""256 folders: of ten million items each holds 40,000 names, which are looked through to erase one, in 20 ms."""
_ATTEMPTS = 3


class Blobs:
    """The blob store below one URL; may be used by many threads.

    Attributes:
        local: whether it is a folder of this machine, where writing a small file takes no time. folder: that one.
    Raises:
        ConfigError: the URL's scheme is not known, or what it needs is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url = url.rstrip("/")
        try:
            # fsspec takes a file's URL literally, spaces and all.
            self._files, self._root = open_store(unquote(url) if url.startswith("file:") else url)
        except ConfigError as error:
            raise ConfigError(f"NEARDUP_BLOBS: {error}") from error
        self.local = isinstance(self._files, LocalFileSystem)
        self.folder = Path(self._root) if self.local else None

    def __reduce__(self) -> tuple[Callable[[str], Blobs], tuple[str]]:
        return _reopened, (self.url,)  # as another process needs it

    def put(self, id: str, file: Path, sha256: bytes) -> str:
        """Store the original of an item and return its URI.

        Raises:
            DependencyError: it could not be stored.
        """
        place = _place(MEDIA, id, sha256.hex()[:_DIGITS])
        if not self._exists(place):
            self._write(place, lambda target: self._files.put_file(str(file), target))
        return f"{self.url}/{place}"

    def original(self, id: str, sha256: bytes) -> str | None:
        """Return the URI of what `put` stored, None if there is nothing.

        Raises:
            DependencyError: it could not be looked for.
        """
        place = _place(MEDIA, id, sha256.hex()[:_DIGITS])
        return f"{self.url}/{place}" if self._exists(place) else None

    def put_thumbnail(self, id: str, jpeg: bytes, version: str) -> str:
        """Store a thumbnail of an item and return its place, below the store's URL.

        Args:
            version: what tells apart thumbnails of one item, such as a hash of its content; the same is overwritten.
        Raises:
            DependencyError: it could not be stored.
        """
        place = self.place_of_thumbnail(id, version)
        self._write(place, lambda target: self._store(target, jpeg))
        return place

    def place_of_thumbnail(self, id: str, version: str) -> str:
        """Return where `put_thumbnail` stores one."""
        return _place(THUMBNAILS, id, f"{version[:_DIGITS]}.jpg")

    def thumbnail(self, id: str, version: str) -> bytes | None:
        """Return what `put_thumbnail` stored, None if there is nothing.

        Raises:
            DependencyError: it could not be read.
        """
        return self._read(self.place_of_thumbnail(id, version))

    def any_thumbnail(self, id: str) -> bytes | None:
        """Return a thumbnail of whichever version of an item, None if there is none; raises DependencyError."""
        found = self._of(THUMBNAILS, id)
        return self._read(found[-1].removeprefix(f"{self._root}/")) if found else None

    def _read(self, place: str) -> bytes | None:
        try:
            return bytes(self._files.cat_file(f"{self._root}/{place}"))
        except FileNotFoundError:
            return None
        except Exception as error:  # every store has errors of its own
            raise self._failed(error) from error

    def put_pack(self, bank: str, id: str, pack: bytes, version: str) -> None:
        """Store small pictures of an item for proofs.

        Args:
            bank: "" of an upload; of a reference the bank, so that an upload of the same id is another.
            version: see `put_thumbnail`.
        Raises:
            DependencyError: it could not be stored.
        """
        place = _place(_packs(bank), id, version[:_DIGITS])
        self._write(place, lambda target: self._store(target, pack))

    def pack(self, bank: str, id: str, version: str) -> bytes | None:
        """Return what `put_pack` stored, None if there is nothing.

        Raises:
            DependencyError: it could not be read.
        """
        return self._read(_place(_packs(bank), id, version[:_DIGITS]))

    def copy_pack(self, bank: str, id: str, version: str) -> None:
        """Give a reference that was made of an upload the upload's pack, if there is one; raises DependencyError."""
        if (pack := self.pack("", id, version)) is not None:
            self.put_pack(bank, id, pack, version)

    def erase(self, id: str) -> int:
        """Remove all that belongs to an upload, and return how many files that were.

        Raises:
            DependencyError: it could not be removed.
        """
        return self._remove([place for kind in (MEDIA, THUMBNAILS, PACKS) for place in self._of(kind, id)])

    def erase_reference(self, bank: str, id: str) -> int:
        """Remove the packs of a reference, and return how many; raises DependencyError."""
        return self._remove(self._of(_packs(bank), id))

    def erase_bank(self, bank: str) -> None:
        """Remove the packs of all references of a bank; raises DependencyError."""
        try:
            self._files.rm(f"{self._root}/{_packs(bank)}", recursive=True)
        except FileNotFoundError:
            return
        except Exception as error:  # every store has errors of its own
            raise self._failed(error) from error

    def _remove(self, found: Sequence[str]) -> int:
        for place in found:
            try:
                self._files.rm_file(place)
            except FileNotFoundError:
                continue  # somebody else did
            except Exception as error:  # every store has errors of its own
                raise self._failed(error) from error
        return len(found)

    def _of(self, kind: str, id: str) -> list[str]:
        start = f"{self._root}/{_place(kind, id, '')}"
        folder, _, name = start.rpartition("/")
        try:
            if self.local:
                return [f"{folder}/{one}" for one in os.listdir(folder) if one.startswith(name)]  # noqa: PTH208
            self._files.invalidate_cache(folder)
            return [str(one) for one in self._files.find(folder, prefix=name) if one.startswith(start)]
        except FileNotFoundError:
            return []
        except Exception as error:
            raise self._failed(error) from error

    def _exists(self, place: str) -> bool:
        try:
            return bool(self._files.exists(f"{self._root}/{place}"))
        except Exception as error:
            raise self._failed(error) from error

    def _write(self, place: str, write: Callable[[str], object]) -> None:
        """Write a file; in a folder under another name first. Object stores show no half-written ones."""
        target = f"{self._root}/{place}"
        part = f"{target}.{os.getpid()}-{threading.get_ident()}.part" if self.local else target
        for attempt in range(_ATTEMPTS):
            try:
                if attempt:  # there is no folder yet, or the item was erased between the two
                    self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
                write(part)
                if self.local:
                    os.replace(part, target)  # noqa: PTH105 (a path is half of the time)
                return
            except Exception as error:
                if attempt + 1 == _ATTEMPTS or not isinstance(error, FileNotFoundError):
                    raise self._failed(error) from error

    def _store(self, target: str, data: bytes) -> None:
        if not self.local:
            self._files.pipe_file(target, data)
            return
        file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)  # a third of the time of fsspec
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(file, rest) :]
        finally:
            os.close(file)

    def _failed(self, error: Exception) -> DependencyError:
        return DependencyError(f"blob store {self.url}: {type(error).__name__}: {error}")


def _packs(bank: str) -> str:
    """Return the folder of packs of uploads, or of a bank's references: a bank goes all at once."""
    return f"{PACKS}-{hashlib.sha256(bank.encode()).hexdigest()[:_DIGITS]}" if bank else PACKS


def _place(kind: str, id: str, rest: str) -> str:
    item = hashlib.sha256(id.encode()).hexdigest()[:_DIGITS]
    return f"{kind}/{item[:_FOLDER_DIGITS]}/{item}-{rest}"


@lru_cache(maxsize=4)
def _reopened(url: str) -> Blobs:
    return Blobs(url)
