"""Look queries up in a set of references and write the best matches of each, whatever the decision, as CSV.

Columns: query, reference, score, decision, relation, where, query_start, query_end, reference_start, reference_end,
query_box, reference_box, transform, doubt, proof, backwards. The score, 0 to 1, is higher for what is more alike, in
the order of decisions: from 2/3 a duplicate, from 1/3 unsure. Where is whole, part, or empty if nothing was found that
both show. Times are seconds, one row for each matched stretch of a video, empty between images. A box is the part that
matches, empty is all of it: left, top, right and bottom as shares of width and height, with spaces between. The doubt
says why two videos with the same pictures are unsure at most: other-sound, or no-sound in one; and dark-ground that a
picture is too pale for white ground. The proof says what laying one over the other showed: copy, variant or unproved,
and why. Backwards is yes where the query shows a stretch from its end to its beginning.

Example: [bold]neardup match uploads/ --references known/ --output matches.csv[/bold]
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import msgspec
import typer

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.log.verdicts import score
from neardup.pipeline.report import columns
from neardup.pipeline.report.names import readable, visible
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
    counted,
    writable,
)
from neardup.workers.cli.reader import Reader

if TYPE_CHECKING:
    from neardup.pipeline.log.records import Described, Matched
    from neardup.pipeline.prove.files import FilePictures

COLUMNS = ("query", "reference", "score", "decision", *columns.COLUMNS)
BATCH = 64
QUERY = "query "
"""Before the id of a query: the same file may be a reference."""


def run(
    queries: Annotated[Path, typer.Argument(help="Folder or file of images and videos to look up.")],
    references: Annotated[Path, typer.Option(help="Folder or file of known images and videos.")],
    output: Annotated[Path | None, typer.Option(help="CSV file to write; standard output without.")] = None,
    top_k: Annotated[int, typer.Option(min=1, max=1000, help="References listed for each query.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON instead of CSV, a line for each match.")] = False,
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
    from neardup.pipeline.prove.files import FilePictures
    from neardup.pipeline.prove.prover import Prover
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
    pictures = FilePictures(settings.scan_limits)
    made = make_state(
        checkpoint, measured, settings.precision, stars=False, kind=settings.own_index, scann_from=settings.scann_from,
        prover=Prover(pictures),
    )  # fmt: skip
    with closing(made) as state:
        with Bar("references") as bar:
            for items in _batches(_items(reader.usable(references, bar), pictures)):
                state.apply([Entry(0, part) for parts in items for part in parts])
        if len(state.items) == 0:
            raise ConfigError(f"no images or videos in {visible(str(references))}, so there is nothing to match with")
        with Bar("queries") as bar, _opened(target) as file:
            asked = written = 0
            rows = csv.writer(file)  # its line ends are what makes it quote a name with \r
            if not as_json:
                rows.writerow(COLUMNS)
            for items in _batches(_items(reader.usable(queries, bar), pictures, QUERY)):
                merged = [join_parts(parts) for parts in items]
                asked += len(merged)
                for query, matches in zip(merged, lookup(state, merged, top_k), strict=True):
                    for match in sorted(matches, key=score, reverse=True):
                        if as_json:
                            file.write(_line(query, match).decode() + "\n")
                            written += 1
                        else:
                            cells = list(_rows(query, match))
                            rows.writerows(cells)
                            written += len(cells)
        known = len(state.items)
    what = "line" if as_json else "row"
    where = "" if output is None else f": {visible(str(output))}"
    asked_of = "query" if asked == 1 else "queries"
    # Standard output carries the rows where no file does.
    typer.echo(
        f"{counted(written, what)} for {asked:,} {asked_of} among {counted(known, 'reference')}{where}",
        err=output is None,
    )


def _rows(query: Described, match: Matched) -> Iterator[list[str]]:
    names = readable(query.id.removeprefix(QUERY)), readable(match.reference)
    named = [*names, f"{score(match):.6f}", match.decision.value]
    return ([*named, *cells] for cells in columns.rows(match, query.kind))


def _line(query: Described, match: Matched) -> bytes:
    names = {"query": readable(query.id.removeprefix(QUERY)), "reference": readable(match.reference)}
    return msgspec.json.encode(names | {"score": round(score(match), 6)} | match.in_full() | names)


def _items(
    described: Iterator[tuple[str, list[Described]]], pictures: FilePictures, prefix: str = ""
) -> Iterator[list[Described]]:
    """Name each item by its path, and note where its pictures are."""
    for path, parts in described:
        named = [msgspec.structs.replace(part, id=prefix + path) for part in parts]
        pictures.add(named[0], Path(path))
        yield named


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
