"""Look queries up in a set of references and write the best matches of each, whatever the decision, as CSV.

Columns: query, reference, score, decision, query_start, query_end, ref_start, ref_end, query_box, reference_box, doubt.
The score is the evidence, where higher is more alike. Times are seconds, one row for each matched stretch of a video,
empty between images. A box is the part that matches, empty is all of it: left, top, right and bottom as shares of width
and height, with spaces between. The doubt says why two videos with the same pictures are unsure at most: other-sound,
or no-sound in one; and dark-ground that a picture is too pale for white ground.

Example: [bold]neardup match uploads/ --references known/ --output matches.csv[/bold]
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.report.names import readable, visible
from neardup.pipeline.types import Box, Kind
from neardup.workers.cli.common import (
    Bar,
    CalibrationOption,
    DeviceOption,
    FpsOption,
    ModelOption,
    PrecisionOption,
    RegionsOption,
    ThreadsOption,
    check_present,
    writable,
)
from neardup.workers.cli.reader import Reader

if TYPE_CHECKING:
    from neardup.pipeline.log.records import Described, Matched

COLUMNS = (
    "query",
    "reference",
    "score",
    "decision",
    "query_start",
    "query_end",
    "ref_start",
    "ref_end",
    "query_box",
    "reference_box",
    "doubt",
)
Cell = str | float | list[float] | None
BATCH = 64


def run(
    queries: Annotated[Path, typer.Argument(help="Folder or file of images and videos to look up.")],
    references: Annotated[Path, typer.Option(help="Folder or file of known images and videos.")],
    output: Annotated[Path | None, typer.Option(help="CSV file to write; standard output without.")] = None,
    top_k: Annotated[int, typer.Option(min=1, max=1000, help="References listed for each query.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON lines instead of CSV.")] = False,
    model: ModelOption = None,
    threshold_precision: PrecisionOption = None,
    regions: RegionsOption = None,
    calibration: CalibrationOption = None,
    sample_fps: FpsOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Match queries against references."""
    from neardup.pipeline.embed.checkpoint import load_checkpoint
    from neardup.pipeline.log.records import Entry, join_parts
    from neardup.pipeline.match.apply.make import make_state, read_calibration
    from neardup.pipeline.match.query.lookup import lookup
    from neardup.pipeline.settings import load

    settings = load(
        model=model,
        precision=threshold_precision,
        calibration=calibration,
        sample_fps=sample_fps,
        regions=regions,
        device=device,
        threads=threads,
    )
    check_present(queries, references)
    target = None if output is None else writable(output)
    checkpoint = load_checkpoint(settings.model)
    reader = Reader(checkpoint, settings)
    measured = read_calibration(checkpoint, settings.calibration)
    made = make_state(
        checkpoint, measured, settings.precision, stars=False, kind=settings.index, scann_from=settings.scann_from
    )
    with closing(made) as state:
        with Bar("references") as bar:
            for items in _batches(_items(reader.usable(references, bar))):
                state.apply([Entry(0, part) for parts in items for part in parts])
        if len(state.items) == 0:
            raise ConfigError(f"no images or videos in {visible(str(references))}, so there is nothing to match with")
        with Bar("queries") as bar, _opened(target) as file:
            rows = csv.writer(file, lineterminator="\n")
            if not as_json:
                rows.writerow(COLUMNS)
            for items in _batches(_items(reader.usable(queries, bar))):
                merged = [join_parts(parts) for parts in items]
                for query, matches in zip(merged, lookup(state, merged, top_k), strict=True):
                    for row in _rows(query, matches):
                        if as_json:
                            file.write(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n")
                        else:
                            rows.writerow([" ".join(map(str, one)) if isinstance(one, list) else one for one in row])


def _rows(query: Described, matches: Sequence[Matched]) -> Iterator[tuple[Cell, ...]]:
    for match in matches:
        names = (readable(query.id), readable(match.reference), round(match.evidence, 6), match.decision.value)
        boxes = [None if box is None else [round(share, 4) for share in box] for box in _boxes(match)]
        if not match.spans:
            yield (*names, None, None, None, None, *boxes, match.doubt.value)
        for span in match.spans:
            own = (span.query_start, span.query_end) if query.kind is Kind.VIDEO else (None, None)
            other = (span.reference_start, span.reference_end)
            yield (
                *names,
                *(None if time is None else round(time, 3) for time in (*own, *other)),
                *boxes,
                match.doubt.value,
            )


def _boxes(match: Matched) -> tuple[Box | None, Box | None]:
    return match.query_box, match.reference_box


def _items(described: Iterator[tuple[str, list[Described]]]) -> Iterator[list[Described]]:
    """Name each item by its path."""
    import msgspec

    for path, parts in described:
        yield [msgspec.structs.replace(part, id=path) for part in parts]


def _batches(items: Iterator[list[Described]]) -> Iterator[list[list[Described]]]:
    batch: list[list[Described]] = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


@contextmanager
def _opened(path: Path | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
        return
    from neardup.pipeline.files import atomic

    with atomic(path) as binary:
        text = io.TextIOWrapper(binary, encoding="utf-8", newline="")
        yield text
        text.flush()
        text.detach()
