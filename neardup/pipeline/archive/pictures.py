"""Pictures of an archive's items: from the original where it is a file that can be opened, else from what is stored."""

from __future__ import annotations

import stat
import threading
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from neardup.pipeline.archive.folder import Folder, path_of
from neardup.pipeline.archive.shard import GROUP_ROWS, Shard, reading
from neardup.pipeline.prove.files import picture_of
from neardup.pipeline.prove.pack import read_pack
from neardup.pipeline.prove.prover import Picture
from neardup.pipeline.report.result import File
from neardup.pipeline.types import Limits

THUMBNAIL_SIDE = 320
_FACTS = ["id", "uri", "path", "time_ns", "size", "sha256", "kind", "format", "width", "height", "seconds"]
_FACTS += ["pixels_digest", "extras"]
_KEPT_BYTES, _OPEN = 128 * 2**20, 32
"""Of rows that are kept, and shards that stay open."""


class Places:
    """Where the rows of an archive are, by their number in order of time; 8 bytes for each.

    May be used by several threads.

    Args:
        names: of the shards. limits: for decoding originals.
    """

    def __init__(self, folder: Folder, names: Sequence[str], limits: Limits) -> None:
        self._folder, self._names, self._limits = folder, names, limits
        self._shards, self._places = array("i"), array("i")
        self._groups: OrderedDict[tuple[int, int, str], tuple[list[dict[str, Any]], int]] = OrderedDict()
        self._kept = 0
        self._open: OrderedDict[int, tuple[Shard, ExitStack]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, shard: int, place: int) -> int:
        """Note where the next row is, and return its number."""
        self._shards.append(shard)
        self._places.append(place)
        return len(self._places) - 1

    def facts(self, number: int) -> dict[str, Any]:
        """Return what a report says of a row, by column; raises DependencyError where its shard cannot be read."""
        return self._values(number, "facts", _FACTS)

    def picture(self, item: str, second: float, side: int) -> Picture | None:
        """See `prover.Pictures`."""
        facts = self.facts(int(item))
        longest = max(facts["width"], facts["height"])
        if (path := local_path(facts["uri"])) is not None and _is_still(path, facts["size"]):
            found = picture_of(path, longest, second, side, self._limits)
            if found is not None:
                return found
        stored = self._values(int(item), "pack", ["pack"])["pack"]
        try:
            pack = None if stored is None else read_pack(stored)
        except msgspec.MsgspecError:
            return None
        return None if pack is None or pack.is_small_for(side) else pack.picture(second)

    def thumbnail(self, file: File, seconds: float) -> bytes:
        """See `report.html.Thumbnails`."""
        from neardup.pipeline.media.preview import to_jpeg  # and with it every decoder

        picture = self.picture(str(file.id), seconds, THUMBNAIL_SIDE)
        if picture is not None:
            return to_jpeg(picture.pixels)
        return self._values(file.id, "thumbnail", ["thumbnail"])["thumbnail"] or b""

    def close(self) -> None:
        """Close the shards."""
        for _, stack in self._open.values():
            stack.close()
        self._open.clear()

    def _values(self, number: int, what: str, columns: list[str]) -> dict[str, Any]:
        shard, place = self._shards[number], self._places[number]
        group, row = divmod(place, GROUP_ROWS)
        key = shard, group, what
        with self._lock:
            if key not in self._groups:
                table = self._shard(shard).group_of(place, columns)
                self._groups[key] = table.to_pylist(), table.nbytes
                self._kept += table.nbytes
                while self._kept > _KEPT_BYTES and len(self._groups) > 1:
                    self._kept -= self._groups.popitem(last=False)[1][1]
            self._groups.move_to_end(key)
            return self._groups[key][0][row]

    def _shard(self, number: int) -> Shard:
        if number not in self._open:
            stack = ExitStack()
            self._open[number] = stack.enter_context(reading(self._folder, self._names[number])), stack
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)[1][1].close()
        self._open.move_to_end(number)
        return self._open[number][0]


def _is_still(path: Path, size: int | None) -> bool:
    """Return whether there is a file, of the size that it had; a pipe would keep us waiting."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(status.st_mode) and size in (None, status.st_size)


def local_path(uri: str) -> Path | None:
    """Return the file of this machine that a URI names, None of anything else, such as a part of a tar."""
    parts = urlsplit(uri)
    return Path(path_of(uri)) if parts.scheme == "file" and not parts.fragment else None
