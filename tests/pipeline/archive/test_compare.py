"""An archive of the files of a scan is compared as the scan compares them."""

from __future__ import annotations

import json
import os
import re
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neardup.pipeline.archive.compare import compare
from neardup.pipeline.archive.conditions import Conditions
from neardup.pipeline.archive.folder import Folder
from neardup.pipeline.archive.pictures import Places
from neardup.pipeline.archive.row import Row
from neardup.pipeline.archive.shard import reading, writing
from neardup.pipeline.describe.description import Description
from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.log.records import FULL, Described, join_parts, unpack_boxes
from neardup.pipeline.media.preview import to_jpeg
from neardup.pipeline.prove.finding import Finding
from neardup.pipeline.prove.pack import Packer
from neardup.pipeline.report.html import write_html
from neardup.pipeline.report.result import ScanResult
from neardup.pipeline.report.tables import write_csv, write_skipped, write_variants
from neardup.pipeline.scan.catalog import Catalog
from neardup.pipeline.scan.describe import in_threads
from neardup.pipeline.scan.run import scan
from neardup.pipeline.scan.walk import Found, walk
from neardup.pipeline.types import Kind
from tests.pipeline.scan.build import (
    SETTINGS,
    SIZE,
    Silent,
    StandIn,
    a_checkpoint,
    pairs,
    save_media,
)

CHECKPOINT = a_checkpoint()
CONDITIONS = Conditions(
    space=CHECKPOINT.space,
    dimension=CHECKPOINT.architecture.dimension,
    sample_fps=2.0,
    regions="boxes",
    limits=SETTINGS.scan_limits,
)


def description_of(parts: list[Described], media_format: str) -> Description:
    """Return what was described, given its records."""
    whole = join_parts(parts)
    count = len(whole.pts)
    boxes = [tuple((box / FULL).tolist()) if box.any() else None for box in unpack_boxes(whole.boxes, count)]
    return Description(
        kind=whole.kind,
        format=media_format,
        sha256=whole.sha256,
        pixels_digest=whole.pixels_digest,
        width=whole.width,
        height=whole.height,
        seconds=whole.seconds,
        extras=whole.extras,
        thumbnail="",
        pts=np.array(whole.pts),
        vectors=np.frombuffer(whole.vectors, "<f2").reshape(count, -1),
        hashes=np.frombuffer(whole.hashes, np.uint8).reshape(count, 32),
        detail=np.frombuffer(whole.detail, np.uint8),
        boxes=tuple(boxes) if whole.boxes else (None,) * count,
    )


def pictures_of(found: Found) -> tuple[bytes, bytes]:
    """Return the thumbnail and the pack of an image."""
    pixels, packer = np.asarray(Image.open(found.absolute).convert("RGB")), Packer()
    packer.take(pixels)
    return to_jpeg(pixels), packer.packed(pixels.shape[1], pixels.shape[0])


def scanned_and_archived(media: Path, output: Path, shards: int = 3) -> tuple[ScanResult, list[str]]:
    """Scan a folder, and write an archive of what was described for that, in an order of its own."""
    catalog = Catalog(None, CHECKPOINT.space)
    result = scan([media], catalog, CHECKPOINT, SETTINGS, in_threads(StandIn, SIZE, SETTINGS), Silent())
    known = catalog.files()
    rows = []
    for found in walk([media]):
        assert isinstance(found, Found)
        one = known[found.absolute]
        row = Row(found.path, Path(found.absolute).as_uri(), found.path, found.modified, found.size)
        if one.sha256 is None:
            error = InvalidFrame(Reason(one.reason), one.detail)
            rows.append(Row(row.id, row.uri, row.path, row.time_ns, row.size, error=error))
        else:
            content = catalog.content(one.sha256)
            described = description_of(content.parts, content.format)
            kept = pictures_of(found) if described.kind is Kind.IMAGE else (b"", b"")
            rows.append(Row(row.id, row.uri, row.path, row.time_ns, row.size, one.sha256, described, None, *kept))
    catalog.close()
    folder, names = Folder(str(output)), [f"shard{n}" for n in range(shards)]
    for n, name in enumerate(names):
        with writing(folder, name, CONDITIONS) as writer:
            for row in rows[n::shards]:
                writer.add(row)
    return result, names


@pytest.fixture
def media(tmp_path: Path) -> Path:
    return save_media(tmp_path / "media")


def test_tables_are_those_of_a_scan_of_the_same_files_bit_for_bit(tmp_path: Path, media: Path) -> None:
    scanned, names = scanned_and_archived(media, tmp_path / "archive")
    archive = Folder(str(tmp_path / "archive"))
    with compare(archive, names, [str(media)], CHECKPOINT, SETTINGS, Silent()) as (compared, places):
        write_html(compared, places.thumbnail, tmp_path / "report.html")
    assert len(pairs(scanned)) > 15
    assert compared.groups == scanned.groups
    assert compared.stacks == scanned.stacks
    for write in (write_csv, write_variants, write_skipped):
        write(scanned, tmp_path / "scanned.csv")
        write(compared, tmp_path / "compared.csv")
        assert (tmp_path / "compared.csv").read_bytes() == (tmp_path / "scanned.csv").read_bytes()
    assert (compared.images, compared.videos) == (scanned.images, scanned.videos)
    assert pictures_in(tmp_path / "report.html") == len({file for pair in pairs(compared) for file in pair})
    page = (tmp_path / "report.html").read_text().replace("<wbr>", "")
    assert f'as the archive <bdi class="path">{tmp_path}/archive</bdi> describes them.' in page
    assert "unchanged since" not in page


def pictures_in(report: Path) -> int:
    """Return how many of the report's files have a thumbnail."""
    block = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', report.read_text(), re.DOTALL)
    assert block is not None
    data = json.loads(block[1])
    return sum(file["thumbnail"] >= 0 for file in data["files"])


def test_what_is_gone_is_proved_and_shown_by_what_the_archive_keeps(tmp_path: Path, media: Path) -> None:
    for film in media.glob("*.mp4"):
        film.unlink()
    scanned, names = scanned_and_archived(media, tmp_path / "archive")
    media.rename(tmp_path / "elsewhere")
    archive = Folder(str(tmp_path / "archive"))
    with compare(archive, names, [str(media)], CHECKPOINT, SETTINGS, Silent()) as (compared, places):
        write_html(compared, places.thumbnail, tmp_path / "report.html")
    assert pairs(compared) == pairs(scanned)
    findings = [
        [match.proof and match.proof.finding for group in one.groups for match in group.matches]
        for one in (compared, scanned)
    ]
    assert [finding is None for finding in findings[0]] == [finding is None for finding in findings[1]]
    assert Finding.COPY in findings[0]
    assert pictures_in(tmp_path / "report.html") == len({file for pair in pairs(compared) for file in pair})


def test_a_file_that_is_another_by_now_proves_nothing(tmp_path: Path, media: Path) -> None:
    _, names = scanned_and_archived(media, tmp_path / "archive", 1)
    archive = Folder(str(tmp_path / "archive"))
    with closing(Places(archive, names, SETTINGS.scan_limits)) as places:
        with reading(archive, names[0]) as shard:
            for place, _ in enumerate(shard.rows()):
                places.add(0, place)
            number = next(n for n, row in enumerate(shard.rows()) if row.path.endswith("/00.png"))
        file = Path(places.facts(number)["path"].decode())
        Image.new("RGB", (500, 500), "red").save(file)
        kept = places.picture(str(number), 0.0, 100)
        file.unlink()
        os.mkfifo(file)  # nobody ever writes to it
        from_pipe = places.picture(str(number), 0.0, 100)
    assert kept is not None
    assert from_pipe is not None
    assert not np.allclose(kept.pixels, (255, 0, 0), atol=20)
    assert np.array_equal(kept.pixels, from_pipe.pixels)
