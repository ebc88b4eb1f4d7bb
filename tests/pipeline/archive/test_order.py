"""An archive's rows in order of time."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from neardup.pipeline.archive.folder import Folder
from neardup.pipeline.archive.order import in_order
from neardup.pipeline.archive.row import Row
from neardup.pipeline.archive.shard import writing
from neardup.pipeline.errors import ConfigError
from tests.pipeline.archive.build import CONDITIONS, a_description, rows


def an_archive(folder: Path, shards: dict[str, list[Row]]) -> Folder:
    archive = Folder(str(folder))
    for name, held in shards.items():
        with writing(archive, name, CONDITIONS) as writer:
            for row in held:
                writer.add(row)
    return archive


def a_row(name: str, time_ns: int | None) -> Row:
    return Row(name, f"file:///x/{name}", name, time_ns, 1, bytes(32), a_description(), thumbnail=b"j", pack=b"p")


@pytest.mark.parametrize("stretch_rows", [1, 3, 7, 1000])
def test_rows_of_all_shards_come_by_time_then_path_and_without_a_time_last(tmp_path: Path, stretch_rows: int) -> None:
    names = [f"{n * 7 % 20:02}" for n in range(20)]
    times = [None if n % 9 == 8 else n * 13 % 5 for n in range(20)]
    held = [a_row(name, time) for name, time in zip(names, times, strict=True)]
    archive = an_archive(tmp_path, {"a": held[:8], "b": held[8:9], "c": held[9:], "empty": []})
    placed = list(in_order(archive, ["a", "b", "c", "empty"], CONDITIONS.space, stretch_rows))
    wanted = sorted(held, key=lambda row: (row.time_ns is None, row.time_ns, row.path))
    assert [one.row.path for one in placed] == [row.path for row in wanted]
    shards = [[row.path for row in wanted if row in some] for some in (held[:8], held[8:9], held[9:])]
    for one in placed:
        assert shards[one.shard][one.place] == one.row.path
        assert (one.row.thumbnail, one.row.pack) == (b"", b"")


def test_what_comes_back_is_what_was_written(tmp_path: Path) -> None:
    archive = an_archive(tmp_path, {"a": rows()})
    for one in in_order(archive, ["a"], CONDITIONS.space, 1):
        written = rows()[one.place]
        assert one.row.records() == written.records()
        assert (one.row.id, one.row.uri, one.row.time_ns) == (written.id, written.uri, written.time_ns)
        assert (one.row.error is None) == (written.error is None)


def test_no_shards_are_no_rows(tmp_path: Path) -> None:
    assert list(in_order(Folder(str(tmp_path)), [], "s-1")) == []


def test_a_shard_of_another_space_is_refused(tmp_path: Path) -> None:
    archive = an_archive(tmp_path, {"a": rows()})
    with writing(archive, "b", msgspec.structs.replace(CONDITIONS, space="s-2")) as writer:
        writer.add(rows()[0])
    with pytest.raises(ConfigError, match=r"b\.parquet was described in the space s-2"):
        list(in_order(archive, ["a", "b"], "s-1"))


def test_an_interrupt_is_heard_before_the_first_row_comes(tmp_path: Path) -> None:
    def alive() -> None:
        raise KeyboardInterrupt

    archive = an_archive(tmp_path, {"n1": [a_row("a", 1)]})
    with pytest.raises(KeyboardInterrupt):
        next(in_order(archive, ["n1"], CONDITIONS.space, alive=alive))
