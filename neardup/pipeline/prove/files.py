"""Pictures for proofs out of files and uploads."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from neardup.pipeline.errors import InvalidFrame
from neardup.pipeline.log.records import Described
from neardup.pipeline.prove.prover import Picture
from neardup.pipeline.types import Limits


@dataclass
class FilePictures:
    """Where the pictures of items are, by id: answers `prover.Pictures`."""

    limits: Limits
    _sources: dict[str, tuple[bytes | Path, int]] = field(default_factory=dict)

    def add(self, record: Described, source: bytes | Path) -> None:
        """Note where an item is; a record of it tells how large it is."""
        self._sources[record.id] = source, max(record.width, record.height)

    def source(self, item: str) -> bytes | Path | None:
        """Return the content or the file of an item, None if it was not added."""
        return self._sources[item][0] if item in self._sources else None

    def __call__(self, item: str, second: float, side: int) -> Picture | None:
        """Return a picture of an item; see `prover.Pictures`."""
        if (known := self._sources.get(item)) is None:
            return None
        source, longest = known
        return picture_of(source, longest, second, side, self.limits)


def picture_of(source: bytes | Path, longest: int, second: float, side: int, limits: Limits) -> Picture | None:
    """Return a picture of an original, None where it went away or cannot be read any more.

    Args:
        longest: its longer side in pixels. second, side: see `prover.Pictures`.
    """
    from neardup.pipeline.media.reader import frame_at  # and with it every decoder

    try:
        pixels = frame_at(source, second, side, limits)
    except InvalidFrame:
        return None
    return Picture(pixels, min(1.0, max(pixels.shape[:2]) / longest) if longest else 1.0)
