"""Small pictures for the report, made once for each content and kept in the catalog."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from neardup.pipeline.errors import InvalidFrame
from neardup.pipeline.report.html import wanted_thumbnails
from neardup.pipeline.report.result import File, ScanResult
from neardup.pipeline.scan.catalog import Catalog
from neardup.pipeline.scan.run import Progress
from neardup.pipeline.types import Limits

MAX_SIDE = 320


class Thumbnailer:
    """Answers `report.html.Thumbnails` from the catalog; `prepare` fills that first, many at a time."""

    def __init__(self, catalog: Catalog, limits: Limits, threads: int) -> None:
        """Take the catalog that knows the files, and the limits that decoding keeps to."""
        self._catalog = catalog
        self._limits = limits
        self._threads = threads

    def __call__(self, file: File, seconds: float) -> bytes:
        """Return the JPEG of a file at a time, b"" if there is none."""
        sha256 = self._hash_of(file)
        return b"" if sha256 is None else self._catalog.thumbnail(sha256, round(seconds, 2)) or b""

    def prepare(self, result: ScanResult, progress: Progress) -> None:
        """Make all thumbnails that the report will ask for and the catalog does not hold yet."""
        missing: dict[tuple[bytes, float], tuple[File, float]] = {}
        for file, seconds in wanted_thumbnails(result):
            sha256, moment = self._hash_of(file), round(seconds, 2)
            if sha256 is not None and self._catalog.thumbnail(sha256, moment) is None:
                missing[sha256, moment] = (file, moment)
        progress.start(len(missing))
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="thumbnail")
        try:
            made = pool.map(lambda one: self._make(*one), missing.values())
            for (sha256, moment), jpeg in zip(missing, made, strict=True):
                self._catalog.put_thumbnail(sha256, moment, jpeg)
                progress.advance(1)
        finally:
            pool.shutdown(cancel_futures=True)
            self._catalog.commit()

    def _hash_of(self, file: File) -> bytes | None:
        return self._catalog.hash_of(os.path.abspath(file.path))  # noqa: PTH100 (links are left as they are)

    def _make(self, file: File, seconds: float) -> bytes:
        from neardup.pipeline.media.preview import to_jpeg  # and with it every decoder
        from neardup.pipeline.media.reader import frame_at

        try:
            return to_jpeg(frame_at(Path(file.path), seconds, MAX_SIDE, self._limits))
        except InvalidFrame:
            return b""  # the file went away since it was scanned: the report shows a gap
