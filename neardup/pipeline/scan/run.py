"""Run a scan: find out what changed, describe that, match everything in order of time, and sum up."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Generator, Sequence, Set
from contextlib import closing
from pathlib import Path
from typing import Protocol

import msgspec

from neardup import __version__
from neardup.pipeline.cleanup.companions import with_companions
from neardup.pipeline.embed.checkpoint import Checkpoint
from neardup.pipeline.match.apply.make import make_state, read_calibration
from neardup.pipeline.match.decide.calibration import Calibration
from neardup.pipeline.prove.files import FilePictures
from neardup.pipeline.prove.prover import Prover
from neardup.pipeline.report.names import readable
from neardup.pipeline.report.result import File, ScanResult, Skipped
from neardup.pipeline.scan.catalog import Catalog, Known
from neardup.pipeline.scan.finished import Describe, Finished
from neardup.pipeline.scan.fold import Fold, Tally, sum_up
from neardup.pipeline.scan.follow import Follower
from neardup.pipeline.scan.groups import make_file
from neardup.pipeline.scan.plan import Plan, make_plan
from neardup.pipeline.scan.walk import Identity
from neardup.pipeline.settings import Settings

COMMIT_SECONDS = 1.0
_RESULT = 3
"""Raised when `ScanResult` gains what a stored one lacks."""


class Progress(Protocol):
    """Told how far a scan is."""

    def start(self, files: int) -> None:
        """So many files will be looked at."""

    def advance(self, files: int) -> None:
        """So many more were dealt with. What it raises ends the scan, and nothing that was described is lost."""


def scan(
    roots: Sequence[Path],
    catalog: Catalog,
    checkpoint: Checkpoint,
    settings: Settings,
    describe: Describe,
    progress: Progress,
    ours: Set[Identity] = frozenset(),
) -> ScanResult:
    """Compare all images and videos below the roots.

    Interrupted at any point, the catalog holds what was described so far, and the next run goes on from there.

    Args:
        describe: called only if there is something new to describe.
        ours: files to leave out, such as an earlier report.
    Raises:
        ConfigError: a root does not exist, or the checkpoint was never calibrated.
        DependencyError: the disk failed.
    """
    started = time.monotonic()
    calibration = read_calibration(checkpoint, settings.calibration)
    conditions = f"{__version__} {settings.scan_limits}".encode()
    plan = make_plan(roots, catalog, ours, skip_again=catalog.meta("conditions") == conditions)
    progress.start(len(plan.files))
    fingerprint = _fingerprint(plan, roots, checkpoint, calibration, settings)
    result = _stored(catalog, fingerprint) if not plan.todo and not plan.gone else None
    if result is None:
        result = _compare(plan, roots, catalog, checkpoint, calibration, settings, describe, progress)
        catalog.forget(plan.gone)
        catalog.set_meta("conditions", conditions)
        catalog.set_meta("fingerprint", fingerprint)
        catalog.set_meta("result", _encode(result))
        catalog.commit()
    else:
        progress.advance(len(plan.files))
    result = with_companions(result)  # whatever was stored: a file may have come that is no picture
    return msgspec.structs.replace(result, seconds=time.monotonic() - started, created=time.time())


def _compare(
    plan: Plan,
    roots: Sequence[Path],
    catalog: Catalog,
    checkpoint: Checkpoint,
    calibration: Calibration,
    settings: Settings,
    describe: Describe,
    progress: Progress,
) -> ScanResult:
    pictures = FilePictures(settings.scan_limits)
    prover = Prover(pictures, threads=settings.worker_threads)
    made = make_state(
        checkpoint, calibration, settings.precision, kind=settings.own_index, scann_from=settings.scann_from,
        prover=prover,
    )  # fmt: skip
    with closing(made) as state, closing(prover):
        fold = Fold(state)
        follower = Follower(fold, plan, catalog, pictures, progress.advance)
        embedded = _follow(follower, plan, catalog, describe, progress)
        files, tally = _files(follower, plan, embedded)
        return sum_up(fold, files, tally, [str(root) for root in roots], checkpoint, settings.precision)


def _follow(
    follower: Follower,
    plan: Plan,
    catalog: Catalog,
    describe: Describe,
    progress: Progress,
) -> int:
    """Describe what there is to describe, apply everything, and return how many files were embedded."""
    embedded = 0
    follower.advance()
    if plan.todo:
        todo = [file for file in plan.files if file.absolute in plan.todo]
        with closing(_kept(describe(todo, plan.contents), catalog, plan.known)) as batches:
            for batch in batches:
                embedded += sum(finished.content is not None for finished in batch)
                progress.advance(len(batch))
                follower.described(finished.file.absolute for finished in batch)
    follower.finish()
    return embedded


def _kept(batches: Generator[list[Finished]], catalog: Catalog, known: dict[str, Known]) -> Generator[list[Finished]]:
    """Pass files on once the catalog holds them; commit every second and at the end, come what may."""
    last = time.monotonic()
    try:
        with closing(batches):
            for batch in batches:
                now = [_known(finished) for finished in batch]
                known.update((one.path, one) for one in now)
                catalog.put_contents(finished.content for finished in batch if finished.content is not None)
                catalog.put_files(now)
                if time.monotonic() - last > COMMIT_SECONDS:
                    catalog.commit()
                    last = time.monotonic()
                yield batch
    finally:
        catalog.commit()


def _known(finished: Finished) -> Known:
    file, error = finished.file, finished.error
    reason, detail = ("", "") if error is None else (error.reason.value, readable(error.detail))
    return Known(file.absolute, file.size, file.modified, finished.sha256, reason, detail)


def _fingerprint(
    plan: Plan, roots: Sequence[Path], checkpoint: Checkpoint, calibration: Calibration, settings: Settings
) -> bytes:
    """Return a hash of everything that the result depends on."""
    digest = hashlib.sha256()
    looks = (settings.sample_fps, settings.regions, settings.scan_limits)
    for value in (_RESULT, __version__, checkpoint.space, calibration, settings.precision, *looks):
        digest.update(f"{value!r}\n".encode())
    for root in roots:
        digest.update(os.fsencode(root) + b"\0")
    for file in plan.files:
        digest.update(b"%b\0%d %d\0" % (os.fsencode(file.absolute), file.size, file.modified))
    for one in plan.put_aside:
        digest.update(b"%b\0%b\0" % (os.fsencode(one.absolute), one.detail.encode()))
    return digest.digest()


def _stored(catalog: Catalog, fingerprint: bytes) -> ScanResult | None:
    """Return the last result if it was that of the same files and settings."""
    stored = catalog.meta("result")
    if stored is None or catalog.meta("fingerprint") != fingerprint:
        return None
    try:
        result = msgspec.convert(json.loads(stored), ScanResult)
    except (ValueError, msgspec.ValidationError):
        return None
    return msgspec.structs.replace(result, unchanged=result.images + result.videos, embedded=0)


def _encode(result: ScanResult) -> bytes:
    """Return JSON that `_stored` reads; unlike MessagePack it can carry names that are no text."""
    return json.dumps(msgspec.to_builtins(result)).encode()


def _files(follower: Follower, plan: Plan, embedded: int) -> tuple[dict[int, File], Tally]:
    """Return the files that took part, by number, and what is said of all."""
    put_aside = [Skipped(path=one.path, reason=one.reason.value, detail=one.detail) for one in plan.put_aside]
    files, tally = dict[int, File](), Tally(put_aside, [], embedded=embedded)
    for number, found in enumerate(plan.files):
        if (one := follower.compared.get(number)) is None:
            known = plan.known[found.absolute]
            tally.skipped.append(Skipped(path=found.path, reason=known.reason, detail=known.detail))
            continue
        files[number] = make_file(number, found, one.record, one.format)
        tally.count(found.path, one.record)
        tally.unchanged += found.absolute not in plan.todo
    return files, tally
