"""Where large media lie: content by its SHA-256, in a folder or an object store (fsspec).

A blob is written under another name first and then renamed, so that what a URI names is always whole. The same content
put twice is one blob.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from urllib.parse import unquote

import fsspec

from neardup.pipeline.errors import ConfigError, DependencyError


class Blobs:
    """The blob store below one URL.

    Raises:
        ConfigError: the URL's scheme is not known, or what it needs is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url = url.rstrip("/")
        try:
            # fsspec takes a file's URL literally, spaces and all.
            self._files, self._root = fsspec.core.url_to_fs(unquote(url) if url.startswith("file:") else url)
        except (ValueError, ImportError) as error:
            raise ConfigError(f"blobs is {url!r}: {error}") from error

    def put(self, file: Path, sha256: bytes) -> str:
        """Store a file and return its URI.

        Raises:
            DependencyError: it could not be stored.
        """
        name = sha256.hex()
        place = f"media/{name[:2]}/{name}"
        target = f"{self._root}/{place}"
        try:
            if not self._files.exists(target):
                part = f"{target}.{uuid.uuid4().hex}.part"
                self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
                self._files.put_file(str(file), part)
                self._files.mv(part, target)
        except Exception as error:  # every store has errors of its own
            raise DependencyError(f"blob store {self.url}: {error}") from error
        return f"{self.url}/{place}"
