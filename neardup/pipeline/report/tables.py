"""The report for programs: duplicates.json and the tables; docs/report.md describes them.

Paths are user data. In JSON a path is exact: where it is not UTF-8, `path_bytes` holds its bytes in hexadecimal. In CSV
a path never starts with a character that a spreadsheet would take for a formula: `=x.jpg` is written `./=x.jpg`, which
is the same file.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from neardup.pipeline.cleanup.plan import Note
from neardup.pipeline.files import atomic, naming, write_rows
from neardup.pipeline.report import columns
from neardup.pipeline.report.names import is_utf8, raw, readable
from neardup.pipeline.report.result import File, Group, Match, ScanResult, Skipped, Stack, Variant, describe_extras
from neardup.pipeline.types import Kind

SCHEMA = 2
"""Version of duplicates.json. Fields are added without raising it; a field that changes or goes raises it."""

_SAID = ("file", "decision", "exact", "probability", "distance", "evidence", *columns.COLUMNS)
_FACTS = ("kind", "format", "width", "height", "seconds", "bytes", "modified", "extras", "companions")
COLUMNS = ("group", "original", *_SAID, *_FACTS, "plan")
"""Header of duplicates.csv."""
VARIANT_COLUMNS = ("stack", "reference", *_SAID, *_FACTS)
"""Header of variants.csv, a file of its own: a row of duplicates.csv may be acted upon, and is never a variant."""

EXTRAS = ("attachments", "pages", "bits", "grey", "raw", "complete")
"""What `extras` in JSON says; the rest of `types.Extras` matters to comparisons alone."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class _Note(msgspec.Struct, kw_only=True):
    goes: bool
    why: str


class _File(msgspec.Struct, kw_only=True):
    path: str
    path_bytes: str | msgspec.UnsetType = msgspec.UNSET
    kind: Kind
    format: str
    width: int
    height: int
    seconds: float
    bytes: int
    modified: str
    extras: dict[str, Any]
    companions: list[str]
    plan: _Note | msgspec.UnsetType = msgspec.UNSET


class _Group(msgspec.Struct, kw_only=True):
    original: _File
    matches: list[dict[str, Any]]


class _Stack(msgspec.Struct, kw_only=True):
    files: list[_File]
    matches: list[dict[str, Any]]


class _Skipped(msgspec.Struct, kw_only=True):
    path: str
    path_bytes: str | msgspec.UnsetType = msgspec.UNSET
    reason: str
    detail: str


class _Report(msgspec.Struct, kw_only=True):
    schema: int
    version: str
    created: str
    seconds: float
    roots: list[str]
    model: str
    space: str
    precision: float
    images: int
    videos: int
    unchanged: int
    groups: list[_Group]
    stacks: list[_Stack]
    skipped: list[_Skipped]
    partial: list[_Skipped]


Notes = Mapping[int, Note]
"""What a plan says of files, by their ids; empty without a plan."""


def write_json(result: ScanResult, path: Path, notes: Notes = MappingProxyType({})) -> None:
    """Write duplicates.json, UTF-8.

    Raises:
        DependencyError: the file cannot be written.
    """
    with atomic(path) as file:
        file.write(msgspec.json.format(to_json(result, notes), indent=2))
        file.write(b"\n")


def to_json(result: ScanResult, notes: Notes = MappingProxyType({})) -> bytes:
    """Return the content of duplicates.json on one line, for `--json`."""
    report = _Report(
        schema=SCHEMA,
        version=result.version,
        created=_timestamp(result.created),
        seconds=round(result.seconds, 3),
        roots=[readable(root) for root in result.roots],
        model=result.model,
        space=result.space,
        precision=result.precision,
        images=result.images,
        videos=result.videos,
        unchanged=result.unchanged,
        groups=[_group(group, notes) for group in result.groups],
        stacks=[_stack(stack, notes) for stack in result.stacks],
        skipped=[_skipped(skipped) for skipped in result.skipped],
        partial=[_skipped(partial) for partial in result.partial],
    )
    return msgspec.json.encode(report)


def write_tables(result: ScanResult, folder: Path, notes: Notes = MappingProxyType({}), most_rows: int = 0) -> None:
    """Write duplicates.json and all tables.

    Args:
        most_rows: in one file; see `write_csv`.
    Raises:
        DependencyError: a file cannot be written.
    """
    write_json(result, folder / "duplicates.json", notes)
    write_csv(result, folder / "duplicates.csv", notes, most_rows)
    write_variants(result, folder / "variants.csv")
    write_skipped(result, folder / "skipped.csv")


def write_csv(result: ScanResult, path: Path, notes: Notes = MappingProxyType({}), most_rows: int = 0) -> None:
    """Write duplicates.csv: one row for each match, or for each span of a match that has several.

    Args:
        most_rows: after so many rows the next group begins another file, duplicates-2.csv and so on; 0: never.
    Raises:
        DependencyError: the file cannot be written.
    """
    rows, number = _rows(result.groups, notes), 0
    left = next(rows, None)
    while left is not None or number == 0:
        number += 1
        portion = _Portion(rows, left, most_rows)
        write_rows(path if number == 1 else _numbered(path, number), COLUMNS, portion)
        left = portion.left
    if most_rows:
        with naming(path, "remove what an earlier run wrote beside"):
            while (old := _numbered(path, number + 1)).exists():
                old.unlink()
                number += 1


class _Portion:
    """Yields rows, the first of them given, up to the end of the group in which so many are reached.

    Attributes:
        left: the row after those; None if there is none.
    """

    def __init__(self, rows: Iterator[list[object]], first: list[object] | None, most: int) -> None:
        self.left = first
        self._rows, self._most = rows, most

    def __iter__(self) -> Iterator[list[object]]:
        for count in itertools.count(1):
            if (row := self.left) is None:
                return
            yield row
            self.left = next(self._rows, None)
            if self._most and count >= self._most and self.left is not None and self.left[0] != row[0]:
                return


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


def write_variants(result: ScanResult, path: Path) -> None:
    """Write variants.csv: one row for each match of a stack, or for each span of a match that has several.

    Raises:
        DependencyError: the file cannot be written.
    """
    rows = (
        [number, _path_cell(match.reference.path), *said, *_facts(match.file)]
        for number, stack in enumerate(result.stacks, start=1)
        for match in stack.matches
        for said in _said(match)
    )
    write_rows(path, VARIANT_COLUMNS, rows)


def write_skipped(result: ScanResult, path: Path) -> None:
    """Write skipped.csv: one row for each file that could not be used, or not in full.

    Raises:
        DependencyError: the file cannot be written.
    """
    rows = ([_path_cell(item.path), item.reason, _text_cell(item.detail)] for item in unused(result))
    write_rows(path, ("file", "reason", "detail"), rows)


def unused(result: ScanResult) -> list[Skipped]:
    """Return the files that could not be used, then those that could not be used in full."""
    return [*result.skipped, *result.partial]


def _rows(groups: Iterable[Group], notes: Notes) -> Iterator[list[object]]:
    for number, group in enumerate(groups, start=1):
        original = _path_cell(group.original.path)
        for match in group.matches:
            facts = (*_facts(match.file), _word(notes.get(match.file.id)))
            yield from ([number, original, *said, *facts] for said in _said(match))


def _said(match: Match | Variant) -> Iterator[list[object]]:
    """Yield the cells that say of a file what it has in common with another, once for each span."""
    scores = [f"{value:.6f}" for value in (match.probability, match.distance, match.evidence)]
    first = [_path_cell(match.file.path), match.decision.value, match.exact.value, *scores]
    return ([*first, *cells] for cells in columns.rows(match, match.file.kind))


def _facts(file: File) -> list[object]:
    seconds = f"{file.seconds:.3f}" if file.kind is Kind.VIDEO else ""
    facts = [file.kind.value, file.format, file.width, file.height, seconds, file.bytes, _timestamp(file.modified)]
    # Names in one folder: a slash stands in none of them.
    companions = _text_cell("/".join(Path(path).name for path in file.companions))
    return [*facts, describe_extras(file.extras), companions]


def _word(note: Note | None) -> str:
    """Return what a plan says of a file: `goes`, why it stays, or nothing."""
    if note is None:
        return ""
    return "goes" if note.why is None else note.why.value


def _path_cell(path: str) -> str:
    text = readable(path)
    return f"./{text}" if text.startswith(_FORMULA) else text


def _text_cell(text: str) -> str:
    text = readable(text)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _group(group: Group, notes: Notes) -> _Group:
    return _Group(original=_file(group.original, notes), matches=[_match(match, notes) for match in group.matches])


def _stack(stack: Stack, notes: Notes) -> _Stack:
    return _Stack(
        files=[_file(file, notes) for file in stack.files], matches=[_match(match, notes) for match in stack.matches]
    )


def _match(match: Match | Variant, notes: Notes) -> dict[str, Any]:
    """Return whatever is known of a match; a field that it gets stands here as it is."""
    rounded = {name: round(getattr(match, name), 6) for name in ("probability", "distance", "evidence")}
    known: dict[str, Any] = {"file": _file(match.file, notes)}
    if isinstance(match, Variant):
        known["reference"] = _file(match.reference, notes)
    else:
        known["identical_to"] = readable(match.identical_to)
    return match.in_full() | rounded | known


def _file(file: File, notes: Notes) -> _File:
    note = notes.get(file.id)
    return _File(
        path=readable(file.path),
        path_bytes=_path_bytes(file.path),
        kind=file.kind,
        format=file.format,
        width=file.width,
        height=file.height,
        seconds=round(file.seconds, 3),
        bytes=file.bytes,
        modified=_timestamp(file.modified),
        extras={name: getattr(file.extras, name) for name in EXTRAS},
        companions=[readable(path) for path in file.companions],
        plan=msgspec.UNSET if note is None else _Note(goes=note.goes, why=note.why.value if note.why else ""),
    )


def _skipped(item: Skipped) -> _Skipped:
    return _Skipped(
        path=readable(item.path), path_bytes=_path_bytes(item.path), reason=item.reason, detail=readable(item.detail)
    )


def _path_bytes(path: str) -> str | msgspec.UnsetType:
    return msgspec.UNSET if is_utf8(path) else raw(path).hex()


def _timestamp(seconds: float) -> str:
    """Return Unix seconds as ISO 8601 in UTC; an absurd date of a file becomes an empty string."""
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return ""
