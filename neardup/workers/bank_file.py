"""A bank as JSON Lines: its settings, then one line for each reference.

    {"bank": "blocked", "action": "flag", "precision": 0.999}
    {"id": "ref-1", "sha256": "9f…", "kind": "image", "note": "from the archive", "metadata": {"case": "17"}}

It holds what people said, not the pictures: those come by `media`, before or after. A line may have a `uri`, which
says where its picture or video is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.log.changes import Action, BankChanged, ReferenceChanged
from neardup.pipeline.log.ids import fault_of_bank, fault_of_id
from neardup.pipeline.report.names import visible
from neardup.pipeline.store.interface import BankRow, ReferenceRow
from neardup.pipeline.types import Kind


class BankLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The settings of a bank; see `changes.BankChanged`. What is left out stays as it is."""

    bank: str
    action: Action | None = None
    precision: float | None = None
    enable_ratio: float | None = None
    note: str | None = None
    metadata: Mapping[str, str] | None = None


class ReferenceLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A reference; see `changes.ReferenceChanged`. What is left out stays as it is.

    Attributes:
        uri: where its content is, below a prefix that workers may read. sha256: of that content, hexadecimal.
        kind: for those who read; it is found out from the content.
    """

    id: str
    uri: str = ""
    sha256: str = ""
    kind: Kind = Kind.IMAGE
    disabled_until_ms: int | None = None
    note: str | None = None
    metadata: Mapping[str, str] | None = None

    @property
    def says(self) -> bool:
        """Whether there is anything to be set."""
        return not (self.disabled_until_ms is None and self.note is None and self.metadata is None)


class LineError(Exception):
    """A line cannot be used.

    Attributes:
        number: of the line, from 1. why: in words. read: it was understood, and names what cannot be named so.
    """

    def __init__(self, number: int, why: str, read: bool = False) -> None:
        super().__init__(f"line {number}: {why}")
        self.number = number
        self.why = why
        self.read = read


_encode = msgspec.json.Encoder().encode
_decode_bank = msgspec.json.Decoder(BankLine).decode
_decode_reference = msgspec.json.Decoder(ReferenceLine).decode


def lines_of(bank: BankRow, references: Iterable[ReferenceRow]) -> Iterator[bytes]:
    """Return the lines of a bank, each with its line end."""
    settings = BankLine(
        bank.name, bank.action, bank.precision, bank.enable_ratio, bank.note or None, bank.metadata or None
    )
    yield _encode(settings) + b"\n"
    for row in references:
        line = ReferenceLine(
            id=row.id,
            sha256=row.sha256,
            kind=row.kind,
            disabled_until_ms=row.disabled_until_ms or None,
            note=row.note or None,
            metadata=row.metadata or None,
        )
        yield _encode(line) + b"\n"


def read_bank(path: Path) -> tuple[BankLine | None, list[ReferenceLine]]:
    """Return the settings, if the file has them, and the references of a file.

    Raises:
        ConfigError: a line cannot be understood, named by its number; or the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return read_lines(file)
    except LineError as error:
        raise ConfigError(f"{visible(str(path))}, {error}") from None
    except OSError as error:
        raise ConfigError(f"{visible(str(path))}: {error.strerror}; name a file of `neardup bank export`") from None


def read_lines(lines: Iterable[bytes]) -> tuple[BankLine | None, list[ReferenceLine]]:
    """Return the settings, if the first line has them, and the references.

    Raises:
        LineError: a line cannot be understood.
    """
    settings: BankLine | None = None
    references = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            if number == 1 and _is_settings(line):
                settings = _decode_bank(line)
                name, fault = settings.bank, fault_of_bank(settings.bank)
            else:
                references.append(_decode_reference(line))
                name, fault = references[-1].id, fault_of_id(references[-1].id)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise LineError(number, str(error)) from None
        if fault:
            raise LineError(number, f"'{visible(name)[:80]}': {fault}", read=True)
    return settings, references


def changes(
    bank: str, settings: BankLine | None, references: Iterable[ReferenceLine], by: str, why: str
) -> list[BankChanged | ReferenceChanged]:
    """Return what makes a bank of this name as the lines say; a bank without settings is made if it is not there."""
    line = settings or BankLine(bank)
    first = BankChanged(
        bank=bank,
        action=line.action,
        precision=line.precision,
        enable_ratio=line.enable_ratio,
        note=line.note,
        metadata=line.metadata,
        by=by,
        why=why,
    )
    return [
        first,
        *(
            ReferenceChanged(
                bank=bank,
                id=line.id,
                disabled_until_ms=line.disabled_until_ms,
                note=line.note,
                metadata=line.metadata,
                by=by,
                why=why,
            )
            for line in references
            if line.says
        ),
    ]


def _is_settings(line: bytes) -> bool:
    decoded = msgspec.json.decode(line)
    return isinstance(decoded, dict) and "bank" in decoded
