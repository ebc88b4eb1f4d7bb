"""What comes back from a shard is what was written."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from neardup.pipeline.archive.folder import Folder
from neardup.pipeline.archive.row import Row
from neardup.pipeline.archive.shard import Counts, Writer, place_of, reading, shard_names, writing
from neardup.pipeline.describe.codec import to_records
from neardup.pipeline.errors import ConfigError, DependencyError, PipelineError
from neardup.pipeline.report.names import readable
from tests.pipeline.archive import build


@pytest.fixture(params=["file", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "an archive") if request.param == "file" else f"memory://{tmp_path}/archive")


def write(folder: Folder, rows: list[Row], name: str = "n1") -> None:
    with writing(folder, name, build.CONDITIONS) as writer:
        for row in rows:
            writer.add(row)


def read(folder: Folder, name: str = "n1", pictures: bool = True) -> list[Row]:
    with reading(folder, name, build.CONDITIONS.space) as shard:
        return list(shard.rows(pictures))


def test_records_come_back_bit_for_bit(folder: Folder) -> None:
    rows = build.rows()
    write(folder, rows)
    encode = msgspec.msgpack.Encoder().encode
    for written, found in zip(rows, read(folder), strict=True):
        expected = [] if written.description is None else to_records(written.description)
        expected = [msgspec.structs.replace(part, id=written.id) for part in expected]
        assert [encode(part) for part in found.records()] == [encode(part) for part in expected]
    assert [len(row.records()) for row in rows] == [0, 0, 1, 3, 1]


def test_all_else_of_a_row_comes_back(folder: Folder) -> None:
    rows = build.rows()
    write(folder, rows)
    for written, found in zip(rows, read(folder), strict=True):
        for name in ("id", "uri", "path", "time_ns", "size", "sha256", "thumbnail", "pack"):
            assert getattr(found, name) == getattr(written, name)
        if written.error is None:
            assert found.error is None
            assert found.description is not None
            assert written.description is not None
            assert found.description.format == written.description.format
        else:
            assert found.error is not None
            assert (found.error.reason, found.error.detail) == (written.error.reason, readable(written.error.detail))


def test_pictures_are_read_only_where_wanted(folder: Folder) -> None:
    write(folder, build.rows())
    assert {(row.thumbnail, row.pack) for row in read(folder, pictures=False)} == {(b"", b"")}


def test_rows_of_many_groups_come_in_order(folder: Folder) -> None:
    failed = build.rows()[0]
    ids = [f"{number:05}" for number in range(2345)]
    write(folder, [Row(id, failed.uri, failed.path, error=failed.error) for id in ids])
    assert [row.id for row in read(folder)] == ids


def test_rows_of_a_group_are_in_order_whatever_was_described_first(folder: Folder) -> None:
    rows = build.rows()
    write(folder, rows, "n1")
    write(folder, rows[::-1], "n2")
    found = read(folder, "n1")
    assert [row.id for row in read(folder, "n2")] == [row.id for row in found]
    assert [row.id for row in found] == [row.id for row in rows]


def test_a_shard_counts_what_is_in_it_and_names_its_conditions(folder: Folder) -> None:
    write(folder, build.rows())
    with reading(folder, "n1") as shard:
        assert shard.counts == Counts(items=5, failed=2)
        assert shard.conditions == build.CONDITIONS


def test_a_shard_may_have_no_rows(folder: Folder) -> None:
    write(folder, [])
    assert read(folder) == []


def test_a_shard_of_another_space_is_refused_by_name(folder: Folder) -> None:
    write(folder, build.rows())
    with pytest.raises(ConfigError, match=r"shards/n1\.parquet was described in the space s-1, wanted s-2"), reading(
        folder, "n1", "s-2"
    ):  # fmt: skip
        pass


def test_what_fails_leaves_no_shard(folder: Folder) -> None:
    def fail(writer: Writer) -> None:
        writer.add(build.rows()[0])
        raise PipelineError("stop")

    with pytest.raises(PipelineError, match="stop"), writing(folder, "n1", build.CONDITIONS) as writer:
        fail(writer)
    assert shard_names(folder) == []


def test_only_finished_shards_are_listed_and_leftovers_swept(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    assert shard_names(folder) == []
    write(folder, build.rows(), "n2")
    write(folder, build.rows(), "n1")
    left = tmp_path / "shards" / ".neardup-0123.part"
    left.write_bytes(b"half")
    assert shard_names(folder) == ["n1", "n2"]
    folder.sweep("shards")
    assert not left.exists()
    assert shard_names(folder) == ["n1", "n2"]


@pytest.mark.parametrize("cut", [0, 100, -1])
def test_a_damaged_shard_is_named(tmp_path: Path, cut: int) -> None:
    folder = Folder(str(tmp_path))
    write(folder, build.rows())
    file = tmp_path / place_of("n1")
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(ConfigError, match=r"shards/n1\.parquet is no shard"):
        read(folder)


def test_parquet_of_others_is_no_shard(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    write(folder, build.rows())
    file = tmp_path / place_of("n1")
    pq.write_table(pq.read_table(file).replace_schema_metadata({}), file)
    with pytest.raises(ConfigError, match=r"shards/n1\.parquet is no shard"):
        read(folder)


def test_a_missing_shard_is_named(folder: Folder) -> None:
    with pytest.raises(DependencyError, match=r"shards/none\.parquet: cannot read"):
        read(folder, "none")


def test_columns_may_be_queried_without_us(tmp_path: Path) -> None:
    write(Folder(str(tmp_path)), build.rows())
    table = pq.read_table(tmp_path / place_of("n1"), columns=["id", "reason", "width", "descriptors"])
    first = table.to_pylist()[2]
    assert (first["id"], first["reason"], first["width"]) == ("a/1.jpg", None, 640)
    assert [len(one) for one in first["descriptors"]] == [2 * build.DIMENSION]
    assert table["reason"].to_pylist()[:2] == ["empty", "vanished"]


@pytest.mark.parametrize("name", ["a#b", "a?b", "a%20b", "a::b", "\udcff"])
def test_a_folder_is_where_it_is_named(tmp_path: Path, name: str) -> None:
    write(Folder(str(tmp_path / name)), build.rows())
    there = Folder(Folder(str(tmp_path / name)).url)
    assert there.local == tmp_path / name
    assert (tmp_path / name / "shards" / "n1.parquet").is_file()
    assert there.names("shards") == ["n1.parquet"]
    there.remove("shards", ["n1.parquet"])
    assert there.names("shards") == []


def test_a_shard_is_written_though_another_run_sweeps_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, swept = Folder(str(tmp_path)), 0

    def sweep_once(_part: Path) -> None:
        nonlocal swept
        swept += 1
        if swept == 1:
            archive.sweep("shards")

    monkeypatch.setattr("neardup.pipeline.archive.folder.fsync_file", sweep_once)
    write(archive, build.rows())
    assert len(read(archive)) == 5
    assert [file.name for file in (tmp_path / "shards").iterdir()] == ["n1.parquet"]
