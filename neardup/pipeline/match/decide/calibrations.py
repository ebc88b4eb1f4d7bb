"""A calibration in a file of its own, which takes the place of the checkpoint's, and calibrations of single banks.

JSON: `format`, `space`, `calibration`, and `banks`: for each name a calibration, a wanted precision, or both.
Evidence is computed once for all banks, so all calibrations of a file have one hash weight.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from neardup.pipeline.embed.checkpoint import Checkpoint
from neardup.pipeline.errors import ConfigError
from neardup.pipeline.files import write_whole
from neardup.pipeline.match.decide.calibration import Calibration, parse_calibration
from neardup.pipeline.match.decide.decide import Judge

FORMAT = "neardup-calibration-2"


class OfBank(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a bank has of its own. None leaves it to what holds for all."""

    calibration: Calibration | None = None
    precision: float | None = None


class Calibrations(msgspec.Struct, frozen=True, kw_only=True):
    """What is decided by: one calibration for all, and what single banks have of their own.

    Attributes:
        space: of the vectors; "" where it was not written down.
    """

    calibration: Calibration
    space: str = ""
    format: str = FORMAT
    banks: dict[str, OfBank] = {}

    def __post_init__(self) -> None:
        for name, bank in self.banks.items():
            own = bank.calibration
            if own is not None and own.weights != self.calibration.weights:
                raise ConfigError(
                    f"calibration {own.version} of bank {name!r} weighs hash and cohort by {own.weights}, that of "
                    f"all by {self.calibration.weights}; measure it again with the same checkpoint"
                )
            if bank.precision is not None and not 0.0 < bank.precision < 1.0:
                raise ConfigError(f"precision of bank {name!r} is {bank.precision}; it must lie between 0 and 1")

    def judge(self, bank: str, precision: float) -> Judge:
        """Return what decides on matches with a bank; `precision` where it has none of its own."""
        own = self.banks.get(bank, OfBank())
        return Judge(own.calibration or self.calibration, own.precision or precision)


def read_calibrations(checkpoint: Checkpoint, path: str = "") -> Calibrations:
    """Return what the file holds; without a path, what the checkpoint carries.

    Raises:
        ConfigError: there is none, it cannot be read, or it was measured in another space.
    """
    if not path:
        return Calibrations(calibration=_carried(checkpoint), space=checkpoint.space)
    try:
        data: Any = msgspec.json.decode(Path(path).expanduser().read_bytes())
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ConfigError(f"calibration {path} is no file that `neardup calibrate` wrote (format {FORMAT})")
        found = msgspec.convert(data, Calibrations)
    except OSError as error:
        raise ConfigError(f"calibration {path} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"calibration {path} cannot be read: {error}") from error
    if found.space != checkpoint.space:
        raise ConfigError(
            f"calibration {path} was measured in space {found.space or 'unknown'}, model {checkpoint.name} has space "
            f"{checkpoint.space}; run `neardup calibrate` with this model, or name the model that it belongs to"
        )
    return found


def write_calibrations(calibrations: Calibrations, path: Path) -> None:
    """Write the file, whole or not at all."""
    write_whole(path, msgspec.json.format(msgspec.json.encode(calibrations), indent=1) + b"\n")


def _carried(checkpoint: Checkpoint) -> Calibration:
    if not checkpoint.calibration:
        raise ConfigError(f"model {checkpoint.name} was never calibrated; run `neardup calibrate` on it")
    try:
        return parse_calibration(checkpoint.calibration)
    except msgspec.ValidationError as error:
        raise ConfigError(f"model {checkpoint.name}: its calibration cannot be read: {error}") from error
