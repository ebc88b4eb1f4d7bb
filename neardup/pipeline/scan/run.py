"""Run a scan: find out what changed, describe that, match everything in order of time, and sum up."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from neardup import __version__
from neardup.pipeline.embed.checkpoint import Checkpoint
from neardup.pipeline.embed.embedder import Embedder
from neardup.pipeline.errors import Reason
from neardup.pipeline.match.calibration import Calibration
from neardup.pipeline.match.make import make_state, read_calibration
from neardup.pipeline.match.state import Entry, State
from neardup.pipeline.messages import Described, Verdict
from neardup.pipeline.report.result import ScanResult, Skipped
from neardup.pipeline.scan.catalog import Catalog, Content, Known
from neardup.pipeline.scan.describe import Describer, Finished
from neardup.pipeline.scan.groups import make_file, make_groups
from neardup.pipeline.scan.walk import Found, walk
from neardup.pipeline.settings import Settings

APPLY_BATCH = 256
COMMIT_SECONDS = 5.0
TRY_AGAIN = frozenset({Reason.UNREADABLE.value, Reason.VANISHED.value, Reason.CHANGED.value})
"""Reasons that say something about the moment and not about the content of a file."""


class Progress(Protocol):
    """Told how far a scan is."""

    def start(self, files: int) -> None:
        """So many files will be looked at."""

    def advance(self, files: int) -> None:
        """So many more were dealt with."""


@dataclass(slots=True)
class _Plan:
    """What is to be done: every file in order of time, and those that have to be read."""

    files: list[Found]
    unlisted: list[Skipped]
    known: dict[str, Known]
    unchanged: set[str]
    gone: list[str]

    @property
    def todo(self) -> list[Found]:
        return [file for file in self.files if file.path not in self.unchanged]


@dataclass(slots=True)
class _Matching:
    """The matching that follows behind the describing, in order of the files."""

    state: State
    files: list[Found]
    content: Callable[[Known], Content]
    known: dict[str, Known]
    contents: dict[int, Described] = field(default_factory=dict)
    formats: dict[int, str] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)
    ready: dict[str, Finished] = field(default_factory=dict)
    waiting: list[Entry] = field(default_factory=list)
    position: int = 0

    def advance(self, until_described: set[str]) -> None:
        """Apply all files up to the first that is still to be described."""
        while self.position < len(self.files):
            path = self.files[self.position].path
            if path in until_described and path not in self.ready:
                break
            self._take(self.position, path)
            self.position += 1
            if len(self.waiting) >= APPLY_BATCH:
                self.flush()

    def _take(self, number: int, path: str) -> None:
        finished = self.ready.pop(path, None)
        content = finished.content if finished is not None else None
        if content is None:
            known = self.known.get(path)
            if known is None or known.sha256 is None:
                return
            content = self.content(known)
        first = content.parts[0]
        # What the summary needs; the vectors are in the state.
        self.contents[number] = msgspec.structs.replace(first, vectors=b"", hashes=b"", detail=b"", pts=())
        self.formats[number] = content.format
        for part in content.parts:
            record = msgspec.structs.replace(part, id=str(number), source_offset=number)
            self.waiting.append(Entry(len(self.contents), record))

    def flush(self) -> None:
        for envelope in self.state.apply(self.waiting):
            self.verdicts.extend(event for event in envelope.events if isinstance(event, Verdict))
        self.waiting = []


def scan(
    roots: Sequence[Path],
    catalog: Catalog,
    checkpoint: Checkpoint,
    settings: Settings,
    make_embedder: Callable[[], Embedder],
    progress: Progress,
) -> ScanResult:
    """Compare all images and videos below the roots.

    Interrupted at any point, the catalog holds what was described so far, and the next run goes on from there.

    Args:
        make_embedder: called only if there is something new to embed.
    Raises:
        ConfigError: a root does not exist, or the checkpoint was never calibrated.
        DependencyError: the disk failed.
    """
    started = time.monotonic()
    calibration = read_calibration(checkpoint)
    plan = _plan(roots, catalog)
    progress.start(len(plan.files))
    fingerprint = _fingerprint(plan, roots, checkpoint, calibration, settings)
    if not plan.todo and not plan.gone and catalog.meta("fingerprint") == fingerprint:
        progress.advance(len(plan.files))
        stored = msgspec.msgpack.decode(catalog.meta("result") or b"", type=ScanResult)
        return msgspec.structs.replace(
            stored,
            unchanged=stored.images + stored.videos,
            seconds=time.monotonic() - started,
            created=time.time(),
            embedded=0,
        )
    catalog.forget(plan.gone)
    state = make_state(checkpoint, calibration, settings.precision)
    matching = _Matching(state, plan.files, lambda known: catalog.content(known.sha256 or b""), plan.known)
    described = 0
    todo = {file.path for file in plan.todo}
    progress.advance(len(plan.unchanged))
    matching.advance(todo)
    if todo:
        describer = Describer(
            make_embedder(), catalog.contents(), settings.limits, settings.sample_fps, settings.worker_threads
        )
        with closing(_kept(describer.describe(plan.todo), catalog, plan.known)) as finished_files:
            for finished in finished_files:
                described += int(finished.content is not None)
                matching.ready[finished.file.path] = finished
                matching.advance(todo)
                progress.advance(1)
    matching.flush()
    result = _sum_up(matching, plan, roots, checkpoint, settings, described)
    result = msgspec.structs.replace(result, seconds=time.monotonic() - started)
    catalog.set_meta("fingerprint", fingerprint)
    catalog.set_meta("result", msgspec.msgpack.encode(result))
    catalog.commit()
    return result


def _plan(roots: Sequence[Path], catalog: Catalog) -> _Plan:
    found: list[Found] = []
    unlisted: list[Skipped] = []
    for one in walk(roots):
        if isinstance(one, Found):
            found.append(one)
        else:
            path, _, detail = one.detail.rpartition(": ")
            unlisted.append(Skipped(path=path, reason=one.reason.value, detail=detail))
    found.sort(key=lambda file: (file.modified, file.path))
    known = catalog.files()
    contents = catalog.contents()
    unchanged = {file.path for file in found if _is_unchanged(file, known.get(file.path), contents)}
    present = {file.path for file in found}
    prefixes = tuple(f"{str(root).rstrip('/')}/" for root in roots)
    named = {str(root) for root in roots}
    gone = [path for path in known if path not in present and (path.startswith(prefixes) or path in named)]
    return _Plan(found, unlisted, known, unchanged, gone)


def _is_unchanged(file: Found, known: Known | None, contents: set[bytes]) -> bool:
    if known is None or (known.size, known.modified) != (file.size, file.modified):
        return False
    return known.reason not in TRY_AGAIN if known.sha256 is None else known.sha256 in contents


def _kept(finished_files: Generator[Finished], catalog: Catalog, known: dict[str, Known]) -> Generator[Finished]:
    """Pass finished files on, and write them to the catalog every few seconds and at the end, come what may."""
    waiting: list[Finished] = []
    last = time.monotonic()

    def write() -> None:
        catalog.put_contents(one.content for one in waiting if one.content is not None)
        catalog.put_files(known[one.file.path] for one in waiting)
        catalog.commit()

    try:
        with closing(finished_files):
            for finished in finished_files:
                known[finished.file.path] = _known(finished)
                waiting.append(finished)
                yield finished
                if time.monotonic() - last > COMMIT_SECONDS:
                    write()
                    waiting, last = [], time.monotonic()
    finally:
        write()


def _known(finished: Finished) -> Known:
    file, error = finished.file, finished.error
    if error is not None:
        return Known(file.path, file.size, file.modified, None, error.reason.value, error.detail)
    if finished.sha256 is None:
        raise AssertionError("a described file has a hash")
    return Known(file.path, file.size, file.modified, finished.sha256)


def _fingerprint(
    plan: _Plan, roots: Sequence[Path], checkpoint: Checkpoint, calibration: Calibration, settings: Settings
) -> bytes:
    digest = hashlib.sha256()
    conditions = (__version__, checkpoint.space, calibration.version, settings.precision, settings.sample_fps)
    for value in (*conditions, settings.limits, *roots):
        digest.update(f"{value!r}\n".encode(errors="surrogateescape"))
    for file in plan.files:
        digest.update(f"{file.path}\0{file.size}\0{file.modified}\n".encode(errors="surrogateescape"))
    for skipped in plan.unlisted:
        digest.update(f"{skipped.path}\n".encode(errors="surrogateescape"))
    return digest.digest()


def _sum_up(
    matching: _Matching, plan: _Plan, roots: Sequence[Path], checkpoint: Checkpoint, settings: Settings, described: int
) -> ScanResult:
    files = {
        number: make_file(number, plan.files[number], record, matching.formats[number])
        for number, record in matching.contents.items()
    }
    kinds = [file.kind.value for file in files.values()]
    skipped = [
        Skipped(path=known.path, reason=known.reason, detail=known.detail)
        for known in (plan.known.get(file.path) for file in plan.files)
        if known is not None and known.sha256 is None
    ]
    return ScanResult(
        roots=tuple(str(root) for root in roots),
        groups=make_groups(matching.verdicts, files, matching.state),
        skipped=tuple(sorted([*skipped, *plan.unlisted], key=lambda one: one.path)),
        images=kinds.count("image"),
        videos=kinds.count("video"),
        unchanged=len(files) - described,
        embedded=described,
        seconds=0.0,
        created=time.time(),
        version=__version__,
        model=checkpoint.name,
        space=checkpoint.space,
        precision=settings.precision,
    )
