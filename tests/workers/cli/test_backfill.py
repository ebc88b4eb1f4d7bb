"""`neardup backfill describe` on this machine, with the network and processes of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from neardup.pipeline.archive.folder import Folder
from neardup.pipeline.archive.shard import place_of, reading, shard_names
from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.scan.catalog import Catalog
from neardup.workers.cli.app import run
from tests.workers.backfill.test_describe import some_pictures

pytestmark = pytest.mark.slow


def backfill(*words: object) -> int:
    return run(["backfill", "describe", *map(str, words), "--model", "fast", "--part-items", "5", "--json"])


def test_an_archive_is_described_once_with_what_a_scan_would_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures, output = some_pictures(tmp_path / "p", 12), tmp_path / "p" / "described"
    (pictures / "note.txt").write_bytes(b"no picture")
    assert backfill(pictures, "--output", output) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"parts": 3, "before": 0, "items": 13, "failed": 1, "output": output.as_uri()}

    folder = Folder(str(output))
    space = load_checkpoint("fast").space
    found = {}
    for name in shard_names(folder):
        with reading(folder, name, space) as shard:
            found.update({row.path: row for row in shard.rows()})
    assert (
        run(["scan", str(pictures), "--index", str(tmp_path / "i"), "--output", str(tmp_path / "r"), "--model", "fast"])
        == 0
    )
    catalog = Catalog(tmp_path / "i", f"{space} at 2 frames per second, regions of all boxes")
    try:
        for file in catalog.files().values():
            if Path(file.path).parent == pictures and file.sha256 is not None:
                assert found[file.path].sha256 == file.sha256
                parts = catalog.content(file.sha256).parts
                assert [part.vectors for part in found[file.path].records()] == [part.vectors for part in parts]
                assert [part.hashes for part in found[file.path].records()] == [part.hashes for part in parts]
    finally:
        catalog.close()

    capsys.readouterr()
    (output / place_of(shard_names(folder)[0])).unlink()
    assert backfill(pictures, "--output", output) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["before"], said["parts"]) == (2, 3)
    assert len(shard_names(folder)) == 3


def test_another_output_is_wanted_for_other_conditions_or_sources(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    (tmp_path / "p").mkdir()
    (tmp_path / "q").mkdir()
    assert backfill(tmp_path / "p", "--output", output) == 0
    assert backfill(tmp_path / "p", "--output", output, "--no-pictures") == 2
    assert "was described with thumbnail_side 320, this is 0; name another output" in capsys.readouterr().err
    assert backfill(tmp_path / "q", "--output", output) == 2
    assert "name another output" in capsys.readouterr().err
    assert backfill(tmp_path / "p", "--output", output, "--id-column", "key") == 2
    assert "is of the columns (), and not of ('', 'key', '')" in capsys.readouterr().err


def test_a_cluster_that_is_not_there_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = some_pictures(tmp_path / "p", 1)
    assert backfill(pictures, "--output", tmp_path / "out", "--ray", "127.0.0.1:1") == 2
    assert "no Ray cluster at 127.0.0.1:1" in capsys.readouterr().err
