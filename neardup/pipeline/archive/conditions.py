"""Under which conditions an archive was described; what was described under others is never mixed with it."""

from __future__ import annotations

import msgspec

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.types import Limits, RegionMode

FORMAT = 1
"""Raised when a reader of before would misread what is written."""


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """What the rows of a shard depend on, besides the contents.

    Attributes:
        space: names model and preprocessing. dimension: d of the descriptors.
        sample_fps, regions, limits: see `describe.decode.Look`.
        thumbnail_side: longest side of thumbnails in pixels, 0 where there are none.
        packed: whether there are packs for proofs.
        format: of the files.
    """

    space: str
    dimension: int
    sample_fps: float
    regions: RegionMode
    limits: Limits
    thumbnail_side: int = 0
    packed: bool = False
    format: int = FORMAT

    def check_same(self, others: Conditions, place: str) -> None:
        """Raise ConfigError, which names the first condition that differs, unless both are the same.

        Args:
            place: where `self` is written.
        """
        wanted = msgspec.structs.asdict(others)
        for name, value in msgspec.structs.asdict(self).items():
            if value != wanted[name]:
                raise ConfigError(
                    f"{place} was described with {name} {value!r}, this is {wanted[name]!r}; name another output, or "
                    "set it as it was"
                )

    def check_space(self, space: str, place: str) -> None:
        """Raise ConfigError unless the descriptors are those of a space."""
        if self.space != space:
            raise ConfigError(f"{place} was described in the space {self.space}, wanted {space}; choose its model")
