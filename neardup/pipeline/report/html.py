"""The report for people: one self-contained report.html that asks nothing of the network.

Everything that comes from the user's disk is data: it travels as JSON in a block that no browser runs, and the page's
script puts it in as text. A Content-Security-Policy names the page's one script and one style by their hashes, so that
even a hole in that would run nothing. The page draws groups as they are scrolled to, so ten thousand stay usable.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import jinja2
import msgspec
from markupsafe import Markup, escape

from neardup.pipeline.cleanup.plan import WORDS, Note
from neardup.pipeline.files import atomic
from neardup.pipeline.report.names import link, visible
from neardup.pipeline.report.result import File, Match, ScanResult, Variant, describe_extras
from neardup.pipeline.report.tables import unused
from neardup.pipeline.types import Decision, Exact, Kind, Span

MAX_THUMBNAIL_BYTES = 48 * 2**20
"""All thumbnails of a report together; the groups after that come without, and the page says so."""
TYPICAL_THUMBNAIL_BYTES = 6_000
MAX_SPANS = 40
"""Spans drawn per match; duplicates.csv has all."""
MAX_PAIRED_SPANS = 3
"""Spans per match that show frame pairs."""
PAIRS_PER_SPAN = 4
MAX_SKIPPED = 1000
"""Skipped files listed in the page; skipped.csv has all."""

_TEMPLATES = Path(__file__).with_name("templates")
_STATIC = Path(__file__).with_name("static")
"""What the API serves to its pages, too: a module that imports nothing, and its style."""


class Thumbnails(Protocol):
    """Where the report gets its small pictures."""

    def __call__(self, file: File, seconds: float) -> bytes:
        """Return a small JPEG of the file at that time (0 for an image), or b"" where there is none."""


class _File(msgspec.Struct):
    path: str
    href: str
    kind: Kind
    format: str
    width: int
    height: int
    seconds: float
    bytes: int
    modified: float
    thumbnail: int
    extras: str
    companions: list[str]
    goes: bool
    why: str


class _Pair(msgspec.Struct):
    seconds: float
    reference_seconds: float
    thumbnail: int
    reference_thumbnail: int


class _Group(msgspec.Struct):
    original: int
    matches: list[dict[str, Any]]


class _Stack(msgspec.Struct):
    files: list[int]
    matches: list[dict[str, Any]]


class _Data(msgspec.Struct):
    roots: list[str]
    files: list[_File]
    groups: list[_Group]
    stacks: list[_Stack]
    thumbnails: list[str]


class _Builder:
    """Numbers files and thumbnails, each once, and stops asking for thumbnails when the page is heavy enough."""

    def __init__(self, thumbnails: Thumbnails, budget: int, notes: Mapping[int, Note] = MappingProxyType({})) -> None:
        self._notes = notes
        self.data = _Data(roots=[], files=[], groups=[], stacks=[], thumbnails=[])
        self.left = budget
        self._source = thumbnails
        self._files: dict[int, int] = {}
        self._thumbnails: dict[tuple[int, float], int] = {}

    def build(self, result: ScanResult) -> _Data:
        """Return the page's data. What every group needs comes first, so that frame pairs never starve a group."""
        for group in result.groups:
            matches = [self._match(match) for match in group.matches]
            self.data.groups.append(_Group(original=self._file(group.original), matches=matches))
        for stack in result.stacks:
            matches = [self._match(match) | {"reference": self._file(match.reference)} for match in stack.matches]
            self.data.stacks.append(_Stack(files=[self._file(file) for file in stack.files], matches=matches))
        for group, shown in zip(result.groups, self.data.groups, strict=True):
            for match, target in zip(group.matches, shown.matches, strict=True):
                target["proved"] = self._proved(match, group.original)
                target["pairs"] = self._pairs(group.original, match)
        for stack, above in zip(result.stacks, self.data.stacks, strict=True):
            for variant, target in zip(stack.matches, above.matches, strict=True):
                target["proved"] = self._proved(variant, variant.reference)
        return self.data

    def _proved(self, match: Match | Variant, reference: File) -> list[int]:
        """Return the thumbnails of what was laid over each other, query first; none where nothing was."""
        if match.proof is None or match.where.transform is None:
            return []
        seconds = match.proof.query_second, match.proof.reference_second
        return [self._thumbnail(file, at) for file, at in zip((match.file, reference), seconds, strict=True)]

    def _match(self, match: Match | Variant) -> dict[str, Any]:
        """Return whatever is known of a match; a field that it gets stands here as it is."""
        spans = match.where.spans
        where = msgspec.structs.asdict(match.where) | {"spans": [_span(one) for one in spans[:MAX_SPANS]]}
        return match.in_full() | {
            "file": self._file(match.file),
            "identical_to": visible(match.identical_to) if isinstance(match, Match) else "",
            "distance": round(match.distance, 4),
            "evidence": round(match.evidence, 4),
            "probability": round(match.probability, 6),
            "where": where,
            "more_spans": max(0, len(spans) - MAX_SPANS),
        }

    def _pairs(self, original: File, match: Match) -> list[_Pair]:
        moments = [m for span in match.where.spans[:MAX_PAIRED_SPANS] for m in _moments(match.file, original, span)]
        if match.file.kind is original.kind is Kind.IMAGE:
            return []
        return [
            _Pair(
                seconds=round(seconds, 2),
                reference_seconds=round(reference, 2),
                thumbnail=self._thumbnail(match.file, seconds),
                reference_thumbnail=self._thumbnail(original, reference),
            )
            for seconds, reference in moments
        ]

    def _file(self, file: File) -> int:
        if file.id not in self._files:
            self._files[file.id] = len(self.data.files)
            note = self._notes.get(file.id)
            poster = file.seconds / 5 if file.kind is Kind.VIDEO else 0.0  # past a black first frame or a title
            self.data.files.append(
                _File(
                    path=visible(file.path),
                    href=link(file.path),
                    kind=file.kind,
                    format=visible(file.format),
                    width=file.width,
                    height=file.height,
                    seconds=round(file.seconds, 2),
                    bytes=file.bytes,
                    modified=round(file.modified),
                    thumbnail=self._thumbnail(file, poster),
                    extras=describe_extras(file.extras).replace(" ", ", ").replace("-", " "),
                    companions=[visible(Path(path).name) for path in file.companions],
                    goes=note is not None and note.goes,
                    why=WORDS[note.why] if note is not None and note.why is not None else "",
                )
            )
        return self._files[file.id]

    def _thumbnail(self, file: File, seconds: float) -> int:
        """Return the number of the thumbnail, or -1 without one."""
        key = (file.id, seconds)
        if key not in self._thumbnails:
            jpeg = self._source(file, seconds) if self.left > 0 else b""
            self._thumbnails[key] = len(self.data.thumbnails) if jpeg else -1
            if jpeg:
                self.left -= len(jpeg)
                self.data.thumbnails.append(base64.b64encode(jpeg).decode("ascii"))
        return self._thumbnails[key]


def _span(span: Span) -> list[float]:
    """Return both sides in seconds, and the speed of the query, below zero where it runs backwards."""
    speed = -span.speed if span.backwards else span.speed
    times = (span.query_start, span.query_end, span.reference_start, span.reference_end, speed)
    return [round(one, 2) for one in times]


def _moments(query: File, reference: File, span: Span) -> list[tuple[float, float]]:
    """Return matching times of both sides, spread over the span; a still has one time."""
    still = Kind.IMAGE in (query.kind, reference.kind)
    shares = [0.5] if still else [(number + 0.5) / PAIRS_PER_SPAN for number in range(PAIRS_PER_SPAN)]
    return [
        (
            span.query_start + share * (span.query_end - span.query_start),
            span.reference_start
            + (1.0 - share if span.backwards else share) * (span.reference_end - span.reference_start),
        )
        for share in shares
    ]


def wanted_thumbnails(result: ScanResult) -> list[tuple[File, float]]:
    """Return what `write_html` will ask for, so that it can be made beforehand and many at a time."""
    wanted: list[tuple[File, float]] = []

    def note(file: File, seconds: float) -> bytes:
        wanted.append((file, seconds))
        return bytes(TYPICAL_THUMBNAIL_BYTES)

    _Builder(note, MAX_THUMBNAIL_BYTES).build(result)
    return wanted


def write_html(
    result: ScanResult,
    thumbnails: Thumbnails,
    path: Path,
    max_thumbnail_bytes: int = MAX_THUMBNAIL_BYTES,
    notes: Mapping[int, Note] = MappingProxyType({}),
    max_groups: int = 0,
) -> None:
    """Write report.html, UTF-8.

    Args:
        result: what the scan found.
        thumbnails: called once for each file and for each moment of a matched video that is shown.
        path: where the page goes.
        max_thumbnail_bytes: see `MAX_THUMBNAIL_BYTES`.
        notes: what a plan says of files, by their ids; empty without a plan.
        max_groups: so many groups, and as many stacks, are shown, the largest; 0: all.
    Raises:
        DependencyError: the file cannot be written.
    """
    most = max_groups or max(len(result.groups), len(result.stacks))
    shown = msgspec.structs.replace(result, groups=result.groups[:most], stacks=result.stacks[:most])
    builder = _Builder(thumbnails, max_thumbnail_bytes, notes)
    roots = [visible(root) for root in result.roots]
    content = builder.build(shown)
    content.roots = roots
    data = msgspec.json.encode(content)
    style = _asset(_TEMPLATES / "report.css") + _asset(_STATIC / "proof.css")
    script = '"use strict";\n' + _inlined(_asset(_STATIC / "proof.js")) + _asset(_TEMPLATES / "report.js")
    page = _template().generate(
        result=result,
        summary=_summary(result),
        roots=roots,
        archive=visible(result.archive),
        skipped=[(visible(s.path), visible(s.reason), visible(s.detail)) for s in unused(result)[:MAX_SKIPPED]],
        more_skipped=max(0, len(unused(result)) - MAX_SKIPPED),
        thumbnails_spent=builder.left <= 0,
        more_groups=len(result.groups) + len(result.stacks) - len(shown.groups) - len(shown.stacks),
        style=Markup(style),
        style_hash=_hash(style),
        script=Markup(script),
        script_hash=_hash(script),
        data=Markup(_inert(data)),
    )
    with atomic(path) as file:
        file.writelines(part.encode("utf-8") for part in page)


class _Summary(msgspec.Struct):
    compared: str
    copies: int
    matches: int
    duplicates: int
    exact: int
    unsure: int
    partial: int
    variants: int
    reclaimable: str
    files: int


def _summary(result: ScanResult) -> _Summary:
    """Count files, not matches: a file may copy parts of several others, and is still one file."""
    matches = [match for group in result.groups for match in group.matches]
    duplicates = [match for match in matches if match.decision is Decision.DUPLICATE]
    copies, sure = result.copies, result.duplicates
    whole = {match.file.id: match.file.bytes for match in duplicates if match.where.whole}
    return _Summary(
        compared=result.compared,
        copies=len(copies),
        matches=len(matches),
        duplicates=len(sure),
        exact=len(_ids(match for match in duplicates if match.exact is not Exact.NO or match.identical_to)),
        unsure=len(copies - sure),
        partial=len(copies - _ids(match for match in matches if match.where.whole)),
        variants=sum(len(stack.files) for stack in result.stacks),
        reclaimable=_size(sum(whole.values())),
        files=result.images + result.videos,
    )


def _ids(matches: Iterable[Match]) -> set[int]:
    return {match.file.id for match in matches}


def _size(count: float) -> str:
    """Return bytes for a person, in powers of 1000 as file managers show them."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = lambda number: f"{number:,}"
    environment.filters["breakable"] = lambda path: Markup("/<wbr>").join(map(escape, path.split("/")))
    return environment.get_template("report.html.j2")


def _asset(path: Path) -> str:
    # A browser hashes a script after turning its line ends into \n.
    return path.read_text(encoding="utf-8").replace("\r\n", "\n")


def _inlined(module: str) -> str:
    """Return a module as part of a script: a page that is a file cannot import one."""
    return re.sub(r"^export ", "", module, flags=re.MULTILINE)


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _inert(data: bytes) -> str:
    """Return JSON that cannot end the block it stands in: no `</script>`, no `<!--`."""
    return data.decode("utf-8").replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
