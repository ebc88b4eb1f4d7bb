from __future__ import annotations

import json
from pathlib import Path

from tests.pipeline.scan.build import save, save_media
from tests.workers.conftest import Command


def test_an_archive_gives_the_tables_of_a_scan_of_its_files(neardup: Command, tmp_path: Path) -> None:
    media = save_media(tmp_path / "media")
    scanned = neardup("scan", "media", "--output", "scanned")
    assert (scanned.code, scanned.errors) == (0, "")
    described = neardup("backfill", "describe", "media", "--output", "archive", "--part-items", "4")
    assert (described.code, described.errors) == (0, "")
    compared = neardup("backfill", "match", "archive", "--output", "compared")
    assert (compared.code, compared.errors) == (0, "")
    tables = ("duplicates.csv", "variants.csv", "skipped.csv")
    for table in tables:
        assert (tmp_path / "compared" / table).read_bytes() == (tmp_path / "scanned" / table).read_bytes()
    assert (tmp_path / "compared" / "report.html").stat().st_size > 10_000
    reports = [json.loads((tmp_path / name / "duplicates.json").read_bytes()) for name in ("scanned", "compared")]
    assert reports[0]["groups"] == reports[1]["groups"]
    assert len(reports[0]["groups"]) >= 7
    assert [report["images"] for report in reports] == [26, 26]
    assert reports[1]["roots"] == [str(media)]


def test_an_archive_that_is_not_finished_is_refused(neardup: Command, tmp_path: Path) -> None:
    save(tmp_path / "media", "a.png", 1)
    save(tmp_path / "media", "b.png", 2)
    neardup("backfill", "describe", "media", "--output", "archive", "--part-items", "1")
    next((tmp_path / "archive" / "shards").glob("*.parquet")).unlink()
    told = neardup("backfill", "match", "archive")
    assert told.code == 2
    assert "1 of 2 parts of" in told.errors
    assert "are not described yet" in told.errors
    told = neardup("backfill", "load", "media")
    assert told.code == 2
    assert "holds no archive" in told.errors
