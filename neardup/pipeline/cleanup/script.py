"""A plan as a shell script and as JSON: `sh plan.sh` says what it would do, `sh plan.sh --run` does it.

File names are bytes that may mean anything to a shell. They stand in single quotes, as absolute paths, so that none is
an option; what is printed of them shows every odd character.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from urllib.parse import quote_from_bytes

import msgspec

from neardup.pipeline.cleanup.plan import (
    QUARANTINE,
    WORDS,
    Action,
    Difference,
    Differs,
    Include,
    Move,
    Place,
    Plan,
)
from neardup.pipeline.errors import DependencyError
from neardup.pipeline.files import atomic
from neardup.pipeline.report.names import absolute, is_utf8, readable, visible
from neardup.pipeline.report.result import ScanResult
from neardup.pipeline.types import Exact

_TEMPLATES = Path(__file__).with_name("templates")
_LONGEST_NAME = 200
"""Bytes of a name in the trash, which gets a suffix; most file systems allow 255."""
_WRITTEN = b"# Written by `neardup scan --plan`:"
_INCLUDED = {
    Include.EXACT: "files whose bytes or whole content another has, too",
    Include.DUPLICATE: "exact ones, and copies that differ as each line says",
}


def write_script(plan: Plan, result: ScanResult, path: Path) -> int:
    """Write plan.sh and return how many files it lists.

    Args:
        result: the scan that the plan is of.
        path: where the script goes.
    Raises:
        DependencyError: the file cannot be written.
    """
    moves, action = plan.moves, plan.options.action
    names = _Names([absolute(root) for root in result.roots], action)
    values = {
        "COUNT": f"{len(moves):,} file{'' if len(moves) == 1 else 's'}",
        "BYTES": f"{sum(move.gone.size for move in moves):,}",
        "INCLUDE": _INCLUDED[plan.options.include],
        "KEEP": plan.options.keep.value,
        "NAME": visible(path.name),
        "ACTION": action.value,
        "STAMP": time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime(result.created)),
        "QUARANTINE": QUARANTINE,
    }
    with atomic(path) as file:
        head = (_TEMPLATES / "plan.sh").read_text(encoding="utf-8")
        file.write(re.sub("@([A-Z]+)@", lambda found: values[found[1]], head).encode())
        for step in plan.steps:
            file.write(b"\ngo " + b" \\\n  ".join(_words(move, names) for move in step) + b"\n")
        file.write((_TEMPLATES / "end.sh").read_bytes())
    return len(moves)


def _words(move: Move, names: _Names) -> bytes:
    """Return the ten words of a file, see `go` in the script."""
    words = (
        _shown(move).encode(),
        move.exact.value.encode() or b"duplicate",
        move.kept.path,
        _state(move.kept),
        move.gone.path,
        _state(move.gone),
        *names.of(move.gone),
    )
    return b" ".join(map(_quoted, words))


def _shown(move: Move) -> str:
    """Return what the script says of a file."""
    gone, kept = (visible(os.fsdecode(place.path)) for place in (move.gone, move.kept))
    return f"{gone} ({reason(move)}; stays: {kept})"


def reason(move: Move) -> str:
    """Return why a file could go: what it has in common with the kept one, and what not."""
    if move.exact is Exact.BYTES:
        return "identical bytes"
    differs = ", ".join(map(_difference, move.differences))
    same = "identical content" if move.exact is Exact.PIXELS else "duplicate"
    return f"{same}; differs: {differs}" if differs else same


_MEASURES = {
    Differs.QUALITY: "quality {}",
    Differs.SHARPNESS: "sharpness {}",
    Differs.METADATA: "{} of metadata",
    Differs.BYTES: "{} bytes",
}
"""How a value is written; others stand after the name of what differs, such as `format png`."""


_UNITS = (" of its resolution used", " entries")
"""Said once, of the file that could go."""


def _difference(one: Difference) -> str:
    """Return a difference as a person reads it, such as `quality about 19 instead of 78`."""
    gone, kept = (value.removesuffix(" of 100") or "none" for value in (one.gone, one.kept))
    if one.what is Differs.BYTES:
        gone, kept = f"{int(gone):,}", f"{int(kept):,}"
    if one.what is Differs.COLOUR:
        return f"{gone} instead of {kept}"
    if gone.startswith("about "):
        kept = kept.removeprefix("about ")
    for unit in _UNITS:
        if gone.endswith(unit):
            kept = kept.removesuffix(unit)
    return f"{_MEASURES.get(one.what, f'{one.what.value} {{}}').format(gone)} instead of {kept}"


def _state(place: Place) -> bytes:
    return b"%d %d" % (place.size, place.modified_ns // 10**9)


def _quoted(word: bytes) -> bytes:
    """Return one word of a POSIX shell, whatever bytes it holds."""
    return b"'" + word.replace(b"'", b"'\\''") + b"'"


class _Names:
    """Where each file goes: below the quarantine, or in the trash."""

    def __init__(self, roots: Sequence[bytes], action: Action) -> None:
        self._roots = [os.path.normpath(root) for root in roots]
        self._action = action
        self._taken: Counter[bytes] = Counter()
        self._tops: dict[int, bytes] = {}

    def of(self, place: Place) -> tuple[bytes, bytes, bytes, bytes]:
        """Return the path in the quarantine; the trash's top folder, b"" for the home's, its name and address."""
        relative = self._relative(place.path) if self._action is Action.QUARANTINE else b""
        if self._action is not Action.TRASH:
            return relative, b"", b"", b""
        top = self._top(place)
        name = os.path.basename(place.path)[-_LONGEST_NAME:]
        address = os.path.relpath(place.path, top) if top else place.path
        return relative, top, name, quote_from_bytes(address, safe="/").encode()

    def _relative(self, path: bytes) -> bytes:
        """Return the path from the scanned folder's own name on, each once."""
        path = os.path.normpath(path)
        above = next((root for root in self._roots if path.startswith(root.rstrip(b"/") + b"/")), None)
        start = os.path.dirname(above) if above is not None else os.path.dirname(path)
        relative = os.path.relpath(path, start or b"/")
        self._taken[relative] += 1
        number = self._taken[relative]
        return relative if number == 1 else b"%d/%b" % (number, relative)

    def _top(self, place: Place) -> bytes:
        """Return the mount point of a file that is not on the disk of the home folder."""
        if place.device not in self._tops:
            home = Path.home()
            try:
                at_home = home.stat().st_dev == place.device
            except OSError:
                at_home = False
            folder = os.path.dirname(os.path.realpath(place.path))
            while not at_home and not os.path.ismount(folder):
                folder = os.path.dirname(folder)
            self._tops[place.device] = b"" if at_home else folder
        return self._tops[place.device]


# --- For programs


class _Path(msgspec.Struct, kw_only=True):
    path: str
    path_bytes: str | msgspec.UnsetType = msgspec.UNSET


class _Difference(msgspec.Struct):
    what: str
    gone: str
    kept: str


class _Move(msgspec.Struct, kw_only=True):
    path: str
    path_bytes: str | msgspec.UnsetType = msgspec.UNSET
    kept: _Path
    action: str
    exact: str
    reason: str
    differences: list[_Difference]
    bytes: int
    step: int


class _Stays(msgspec.Struct, kw_only=True):
    path: str
    path_bytes: str | msgspec.UnsetType = msgspec.UNSET
    why: str
    words: str


class _Plan(msgspec.Struct, kw_only=True):
    schema: int
    version: str
    keep: str
    include: str
    action: str
    files: int
    bytes: int
    moves: list[_Move]
    stays: list[_Stays]


class _PlanOfAnyVersion(msgspec.Struct):
    keep: str
    action: str
    moves: list[msgspec.Raw]


def write_plan_json(plan: Plan, result: ScanResult, path: Path) -> None:
    """Write plan.json, UTF-8.

    Raises:
        DependencyError: the file cannot be written.
    """
    moves = [_move(move, plan, number) for number, step in enumerate(plan.steps, start=1) for move in step]
    files = {file.id: file for group in result.groups for file in (group.original, *(m.file for m in group.matches))}
    stays = [
        _Stays(**_path(absolute(files[number].path)), why=note.why.value, words=WORDS[note.why])
        for number, note in plan.notes.items()
        if note.why is not None
    ]
    content = _Plan(
        schema=1,
        version=result.version,
        keep=plan.options.keep.value,
        include=plan.options.include.value,
        action=plan.options.action.value,
        files=len(moves),
        bytes=sum(move.bytes for move in moves),
        moves=moves,
        stays=stays,
    )
    with atomic(path) as file:
        file.write(msgspec.json.format(msgspec.json.encode(content), indent=2))
        file.write(b"\n")


def set_aside(folder: Path) -> list[Path]:
    """Rename plan.sh and plan.json of an earlier scan, so that none stands beside a report that it is not of.

    Returns:
        Their names from now on, such as plan.sh.old. What a scan has not written keeps its name.
    Raises:
        DependencyError: one cannot be renamed.
    """
    kept = []
    for name, is_ours in (("plan.sh", _is_script), ("plan.json", _is_plan_json)):
        path = folder / name
        try:
            if not path.is_file() or not is_ours(path):
                continue
            places = (folder / f"{name}.old{'' if n == 1 else f'-{n}'}" for n in count(1))
            place = next(place for place in places if not os.path.lexists(place))
            path.rename(place)
        except OSError as error:
            raise DependencyError(f"{visible(str(path))} of an earlier scan cannot be renamed: {error}") from error
        kept.append(place)
    return kept


def _is_script(path: Path) -> bool:
    with path.open("rb") as file:
        return _WRITTEN in file.read(len(_WRITTEN) + 100)


def _is_plan_json(path: Path) -> bool:
    try:
        msgspec.json.decode(path.read_bytes(), type=_PlanOfAnyVersion)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def _move(move: Move, plan: Plan, step: int) -> _Move:
    return _Move(
        **_path(move.gone.path),
        kept=_Path(**_path(move.kept.path)),
        action=plan.options.action.value,
        exact=move.exact.value,
        reason=reason(move),
        differences=[_Difference(one.what.value, one.gone, one.kept) for one in move.differences],
        bytes=move.gone.size,
        step=step,
    )


def _path(path: bytes) -> dict[str, str]:
    text = os.fsdecode(path)
    return {"path": readable(text)} if is_utf8(text) else {"path": readable(text), "path_bytes": path.hex()}
