"""Compare all items of an archive, by the very code that compares the files of a scan.

Rows come in order of time, and the decider folds them, with proofs in line. Memory holds the decider's state, the
verdicts that list a match, and 8 bytes for each row.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import msgspec

from neardup.pipeline.archive.folder import Folder
from neardup.pipeline.archive.order import in_order
from neardup.pipeline.archive.pictures import Places
from neardup.pipeline.archive.shard import count_rows
from neardup.pipeline.cleanup.companions import with_companions
from neardup.pipeline.embed.checkpoint import Checkpoint
from neardup.pipeline.log.records import Described, Verdict
from neardup.pipeline.match.apply.make import make_state, read_calibration
from neardup.pipeline.prove.prover import Prover
from neardup.pipeline.report.result import File, ScanResult, Skipped
from neardup.pipeline.scan.fold import Fold, Tally, sum_up
from neardup.pipeline.scan.groups import make_file
from neardup.pipeline.scan.run import Progress
from neardup.pipeline.scan.walk import Found
from neardup.pipeline.settings import Settings
from neardup.pipeline.types import Extras, Kind

REPORT_ROWS = 64


@contextmanager
def compare(
    folder: Folder,
    names: Sequence[str],
    roots: Sequence[str],
    checkpoint: Checkpoint,
    settings: Settings,
    progress: Progress,
) -> Iterator[tuple[ScanResult, Places]]:
    """Give what was found, and where pictures of its files come from while the context lasts.

    Args:
        names: of the shards. roots: what was described, as the user named it.
    Raises:
        ConfigError: a shard is of another space or damaged, or the checkpoint was never calibrated.
        DependencyError: a shard cannot be read, or the disk with temporary files is full.
    """
    started = time.monotonic()
    calibration = read_calibration(checkpoint, settings.calibration)
    alive = partial(progress.advance, 0)
    progress.start(count_rows(folder, names, checkpoint.space, alive))
    with closing(Places(folder, names, settings.scan_limits)) as places:
        prover = Prover(places.picture, threads=settings.worker_threads)
        made = make_state(
            checkpoint, calibration, settings.precision, kind=settings.own_index, scann_from=settings.scann_from,
            prover=prover,
        )  # fmt: skip
        with closing(made) as state, closing(prover):
            fold, tally = Fold(state), Tally([], [])
            for number, placed in enumerate(in_order(folder, names, checkpoint.space, alive=alive)):
                places.add(placed.shard, placed.place)
                row = placed.row
                if row.error is not None:
                    reason, detail = row.error.reason.value, row.error.detail
                    tally.skipped.append(Skipped(path=row.path, reason=reason, detail=detail))
                else:
                    records = row.records()
                    tally.count(row.path, records[0])
                    fold.take(number, records)
                if number % REPORT_ROWS == 0:
                    progress.advance(REPORT_ROWS)
            fold.finish()
            tally.unchanged = tally.images + tally.videos
            files = {number: _file(number, places.facts(number)) for number in sorted(_named(fold.verdicts))}
            result = with_companions(sum_up(fold, files, tally, roots, checkpoint, settings.precision))
        yield (
            msgspec.structs.replace(
                result,
                seconds=time.monotonic() - started,
                created=time.time(),
                archive=str(folder.local or folder.url),
            ),
            places,
        )


def _named(verdicts: Sequence[Verdict]) -> set[int]:
    """Return the numbers of all files that verdicts are about or name."""
    named = {int(verdict.id) for verdict in verdicts}
    for match in (match for verdict in verdicts for match in verdict.matches):
        named |= {int(one) for one in (match.reference, match.identical_to, match.head) if one}
    return named


def _file(number: int, facts: Mapping[str, Any]) -> File:
    path = facts["path"].decode("utf-8", "surrogateescape")
    record = Described(
        id="",
        kind=Kind(facts["kind"]),
        sha256=facts["sha256"],
        pixels_digest=facts["pixels_digest"],
        width=facts["width"],
        height=facts["height"],
        seconds=facts["seconds"],
        extras=msgspec.json.decode(facts["extras"], type=Extras),
    )
    file = make_file(number, Found(path, path, facts["size"] or 0, facts["time_ns"] or 0), record, facts["format"])
    return file if facts["time_ns"] is not None else msgspec.structs.replace(file, modified=math.nan)
