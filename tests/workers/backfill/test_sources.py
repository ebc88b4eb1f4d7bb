"""Sources are listed in an order of their own, under the ids that `ingest` gives."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from neardup.pipeline.archive.plan import Entry, Files, Part, RowGroup, Tar
from neardup.pipeline.archive.row import Row
from neardup.pipeline.errors import ConfigError, DependencyError, InvalidFrame, Reason
from neardup.pipeline.media.fetch import Rules
from neardup.workers.backfill import contents
from neardup.workers.backfill.contents import Item, items_of
from neardup.workers.backfill.sources import Columns, Sources

RULES = Rules(("file:///", "memory://bucket"))


def parts_of(*sources: object, most: int = 1000, columns: Columns | None = None) -> list[Part]:
    return list(Sources([str(source) for source in sources], columns or Columns()).parts(most))


def entries_of(parts: list[Part]) -> list[Entry]:
    return [entry for part in parts if isinstance(part, Files) for entry in part.entries]


def rows_of(part: Part) -> dict[str, tuple[Row, bytes | Reason]]:
    """Return rows by id, each with its content or the reason why there is none."""
    found: dict[str, tuple[Row, bytes | Reason]] = {}
    with items_of(part, False, RULES) as items:
        for one in items:
            if isinstance(one, Item):
                found[one.row.id] = one.row, _content(one)
            else:
                assert one.error is not None
                found[one.id] = one, one.error.reason
    return found


def _content(item: Item) -> bytes | Reason:
    try:
        with item.task.opened() as fetched:
            source = fetched.source
            return source.read_bytes() if isinstance(source, Path) else bytes(source)
    except InvalidFrame as error:
        return error.reason


def a_folder(root: Path) -> Path:
    for name in ("b/2.jpg", "b/1.jpg", "a/3.jpg", "note.txt"):
        file = root / "pictures" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
        os.utime(file, ns=(1, 1_600_000_000_000_000_001))
    return root / "pictures"


def a_tar(path: Path, mode: str = "w", count: int = 3) -> Path:
    with tarfile.open(path, mode) as tar:
        for number in [*range(count), 0]:  # the first comes twice, as after `tar -r`
            data = f"{len(tar.getmembers())}".encode()
            member = tarfile.TarInfo(f"./d/{number}.jpg")
            member.size, member.mtime = len(data), 1_500_000_000
            tar.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "d/1.jpg"
        tar.addfile(link)
    return path


def test_a_folder_is_cut_into_parts_the_same_each_time(tmp_path: Path) -> None:
    folder = a_folder(tmp_path)
    parts = parts_of(folder, most=3)
    assert parts == parts_of(folder, most=3)
    assert [len(entries_of([part])) for part in parts] == [3, 1]
    by_id = {entry.id: entry for entry in entries_of(parts)}
    assert by_id.keys() == {"b/1.jpg", "b/2.jpg", "a/3.jpg", "note.txt"}
    one = by_id["b/1.jpg"]
    assert (one.uri, one.size, one.time_ns) == ((folder / "b/1.jpg").as_uri(), 7, 1_600_000_000_000_000_001)
    contents = {id: content for part in parts for id, (_, content) in rows_of(part).items()}
    assert contents == {id: id.encode() for id in by_id}


def test_several_folders_stand_before_their_names_and_may_not_have_one(tmp_path: Path) -> None:
    first, second = a_folder(tmp_path / "x"), a_folder(tmp_path / "y").rename(tmp_path / "y" / "others")
    ids = {entry.id for entry in entries_of(parts_of(first, second))}
    assert {"pictures/note.txt", "others/note.txt"} <= ids
    with pytest.raises(ConfigError, match="two paths end in pictures; rename one, or name a folder that holds both"):
        parts_of(first, a_folder(tmp_path / "z"))


def test_what_is_no_file_is_listed_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "\udcff.jpg").write_bytes(b"x")
    [part] = parts_of(tmp_path)
    found = {row.path: (row, content) for row, content in rows_of(part).values()}
    assert found[f"{tmp_path}/gone.jpg"][1] is Reason.NOT_A_FILE
    assert found[f"{tmp_path}/\udcff.jpg"][1] == b"x"


def test_our_own_output_is_left_out(tmp_path: Path) -> None:
    folder = a_folder(tmp_path)
    status = (folder / "b").stat()
    listed = Sources([str(folder)], Columns(), {(status.st_dev, status.st_ino)}).parts(10)
    assert {entry.id for entry in entries_of(list(listed))} == {"a/3.jpg", "note.txt"}
    with pytest.raises(ConfigError, match="the output is a source itself"):
        Sources([str(folder / "b")], Columns(), {(status.st_dev, status.st_ino)})


def test_objects_of_a_store_have_ids_times_and_contents() -> None:
    store = fsspec.filesystem("memory")
    store.pipe({"/bucket/x/1.jpg": b"one", "/bucket/x/d/2.jpg": b"two"})
    try:
        [part] = parts_of("memory://bucket/x")
        rows = rows_of(part)
        assert {id: content for id, (_, content) in rows.items()} == {"1.jpg": b"one", "d/2.jpg": b"two"}
        assert rows["1.jpg"][0].uri == "memory://bucket/x/1.jpg"
        assert (rows["1.jpg"][0].time_ns or 0) > 1_600_000_000 * 10**9
    finally:
        store.rm("/bucket", recursive=True)


@pytest.mark.parametrize(
    ("name", "mode"), [("t.tar", "w"), ("t.tar.gz", "w:gz"), ("t.tgz", "w:gz"), ("t.tar.xz", "w:xz")]
)
def test_a_tar_is_a_part_and_its_members_are_items(tmp_path: Path, name: str, mode: str) -> None:
    a_tar(tmp_path / name, mode)
    [part] = parts_of(tmp_path)
    assert isinstance(part, Tar)
    rows = rows_of(part)
    contents = {id: content for id, (_, content) in rows.items()}
    assert contents == {
        f"{name}/d/0.jpg": b"3", f"{name}/d/1.jpg": b"1", f"{name}/d/2.jpg": b"2",
        f"{name}/link.jpg": Reason.NOT_A_FILE,
    }  # fmt: skip
    row = rows[f"{name}/d/1.jpg"][0]
    assert (row.uri, row.time_ns) == (f"{(tmp_path / name).as_uri()}#d/1.jpg", 1_500_000_000 * 10**9)


@pytest.mark.parametrize(("name", "mode"), [("t.tar", "w"), ("t.tar.gz", "w:gz")])
def test_of_a_damaged_tar_all_is_had_that_can_be(tmp_path: Path, name: str, mode: str) -> None:
    whole = a_tar(tmp_path / name, mode).read_bytes()
    (tmp_path / name).write_bytes(whole[: 512 * 3 + 100] if mode == "w" else whole[:40])
    [part] = parts_of(tmp_path)
    found = {id: content for id, (_, content) in rows_of(part).items()}
    assert found[name] is Reason.DECODE
    if mode == "w":
        assert found[f"{name}/d/0.jpg"] == b"0"


def test_what_does_not_fit_on_the_disk_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(tmp_path / "t.tar.xz", "w:xz") as tar:
        member = tarfile.TarInfo("zeros.bmp")
        member.size = 80 * 2**20
        tar.addfile(member, io.BytesIO(bytes(member.size)))
    monkeypatch.setattr(contents, "_COPY_BYTES", 2**20)
    free = iter(range(120, 0, -1))  # MiB
    disk = lambda _: shutil._ntuple_diskusage(2000 * 2**20, 0, next(free) * 2**20)  # noqa: E731
    monkeypatch.setattr(shutil, "disk_usage", disk)
    [part] = parts_of(tmp_path)
    with pytest.raises(
        DependencyError, match=r"t.tar.xz needs .* 100 MiB are free after 20 MiB of it: let TMPDIR name"
    ):
        rows_of(part)
    free = iter(range(10_000, 0, -1))
    assert len(rows_of(part)) == 1


def test_a_large_member_is_read_by_way_of_a_file(tmp_path: Path) -> None:
    content = bytes(17 * 2**20)
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        member = tarfile.TarInfo("film.mp4")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    [part] = parts_of(tmp_path)
    assert rows_of(part)["t.tar/film.mp4"][1] == content
    whole = (tmp_path / "t.tar").read_bytes()
    with items_of(part, False, RULES) as items:
        [item] = list(items)
        (tmp_path / "t.tar").write_bytes(whole[: 2**20])
        assert isinstance(item, Item)
        assert _content(item) is Reason.TRUNCATED


def test_rows_of_parquet_are_items_group_by_group(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"by uri")
    contents = [{"bytes": b"0", "path": "a"}, {"bytes": None, "path": (tmp_path / "elsewhere").as_uri()}, None]
    table = pa.table({"image": contents, "key": ["k0", None, "k2"], "taken": [1.5, 2.0, None]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    first, second = parts_of(tmp_path / "t.parquet", columns=Columns(ids="key", times="taken"))
    assert isinstance(first, RowGroup)
    rows = rows_of(first) | rows_of(second)
    assert {id: content for id, (_, content) in rows.items()} == {
        "k0": b"0", "t.parquet/1": b"by uri", "k2": Reason.EMPTY,
    }  # fmt: skip
    assert rows["k0"][0].time_ns == 1_500_000_000
    assert rows["t.parquet/1"][0].uri == (tmp_path / "elsewhere").as_uri()


def test_parquet_without_contents_is_refused_and_damaged_parquet_is_a_row(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    pq.write_table(pa.table({"caption": ["a"]}), file)
    with pytest.raises(ConfigError, match=r"has the columns caption; wanted content or bytes"):
        parts_of(file)
    with pytest.raises(ConfigError, match=r"wanted nothing"):
        parts_of(file, columns=Columns(content="nothing"))
    file.write_bytes(b"PAR1 half")
    [part] = parts_of(file)
    assert rows_of(part)["t.parquet"][1] is Reason.DECODE


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere does not exist"):
        parts_of(tmp_path / "nowhere")


def test_a_file_may_be_named_by_its_uri(tmp_path: Path) -> None:
    (tmp_path / "a b.jpg").write_bytes(b"x")
    uri = (tmp_path / "a b.jpg").as_uri()
    [part] = parts_of(uri)
    assert {row.uri: content for row, content in rows_of(part).values()} == {uri: b"x"}


@pytest.mark.parametrize("mtime", ["inf", "-inf", "nan", "1e300", "99999999999"])
def test_an_impossible_time_is_that_of_the_tar(tmp_path: Path, mtime: str) -> None:
    with tarfile.open(tmp_path / "t.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("a.jpg")
        member.pax_headers = {"mtime": mtime}
        tar.addfile(member)
    os.utime(tmp_path / "t.tar", ns=(1, 7))
    [part] = parts_of(tmp_path)
    assert rows_of(part)["t.tar/a.jpg"][0].time_ns == 7


@pytest.mark.parametrize("size", [-1024, 2**70])
def test_an_impossible_size_is_damage(tmp_path: Path, size: int) -> None:
    member = tarfile.TarInfo("a.jpg")
    member.size = size
    header = member.tobuf(tarfile.GNU_FORMAT)
    other = tarfile.TarInfo("b.jpg").tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "t.tar").write_bytes(other + header + bytes(10240))
    [part] = parts_of(tmp_path)
    found = rows_of(part)
    assert found["t.tar"][1] is Reason.DECODE
    assert found["t.tar/b.jpg"][1] == b""
    assert all(abs(row.size or 0) < 2**63 for row, _ in found.values())


def test_one_member_under_two_spellings_of_its_name_is_one_item_and_holes_are_not_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for name, data in (("./a.jpg", b"old"), ("a.jpg", b"new")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        holes = tarfile.TarInfo("holes.jpg")
        holes.type = tarfile.GNUTYPE_SPARSE
        tar.addfile(holes)
    [part] = parts_of(tmp_path)
    with items_of(part, False, RULES) as items:
        ids = [one.row.id if isinstance(one, Item) else one.id for one in items]
    assert ids == ["t.tar/a.jpg", "t.tar/holes.jpg"]
    found = rows_of(part)
    assert found["t.tar/a.jpg"][1] == b"new"
    assert found["t.tar/holes.jpg"][1] is Reason.NOT_A_FILE


def test_times_of_parquet_are_exact_whatever_their_unit(tmp_path: Path) -> None:
    exact = 1_600_000_000_123_456_789
    columns = {
        "ns": pa.array([exact, None], pa.timestamp("ns")),
        "zone": pa.array([exact // 1000, None], pa.timestamp("us", "Europe/Berlin")),
        "day": pa.array([18_518, None], pa.date32()),
        "far": pa.array([253_402_300_799, None], pa.timestamp("s")),
        "number": pa.array([float("nan"), 1.5]),
    }
    pq.write_table(pa.table({"content": [b"0", b"1"], **columns}), tmp_path / "t.parquet")
    found = {}
    for name in columns:
        [part] = parts_of(tmp_path / "t.parquet", columns=Columns(times=name))
        found[name] = [row.time_ns for row, _ in rows_of(part).values()]
    assert found == {
        "ns": [exact, None], "zone": [exact // 1000 * 1000, None], "day": [18_518 * 86_400 * 10**9, None],
        "far": [None, None], "number": [None, 1_500_000_000],
    }  # fmt: skip


def test_what_is_neither_bytes_nor_a_uri_is_a_row_and_so_is_a_table_that_changed(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    pq.write_table(pa.table({"image": [7, 8]}), file, row_group_size=1)
    first, second = parts_of(file)
    assert [content for _, content in rows_of(first).values()] == [Reason.EMPTY]
    pq.write_table(pa.table({"image": [7]}), file)
    assert rows_of(second)["t.parquet"][1] is Reason.DECODE
    pq.write_table(pa.table({"other": [7]}), file)
    assert rows_of(first)["t.parquet"][1] is Reason.DECODE


def test_an_archive_below_its_own_source_in_a_store_is_not_entered() -> None:
    store = fsspec.filesystem("memory")
    store.pipe({"/bucket/1.jpg": b"one", "/bucket/out/plan/0-x": b"part", "/bucket/out2/2.jpg": b"two"})
    try:
        listed = Sources(["memory://bucket"], Columns(), output="memory://bucket/out").parts(10)
        assert {entry.id for entry in entries_of(list(listed))} == {"1.jpg", "out2/2.jpg"}
    finally:
        store.rm("/bucket", recursive=True)


def test_an_object_whose_name_would_be_two_uris_is_not_opened() -> None:
    store = fsspec.filesystem("memory")
    store.pipe({"/bucket/a.tar": b"", "/bucket/a.tar::b.tar": b"", "/bucket/a::b.jpg": b""})
    try:
        parts = parts_of("memory://bucket")
        assert [type(part) for part in parts] == [Tar, Files]
        assert [content for _, content in rows_of(parts[1]).values()] == [Reason.FORBIDDEN] * 2
    finally:
        store.rm("/bucket", recursive=True)
