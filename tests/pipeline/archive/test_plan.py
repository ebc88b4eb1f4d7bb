"""A plan is written once, and what is left to do follows from the shards that are there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from neardup.pipeline.archive.folder import Folder
from neardup.pipeline.archive.plan import (
    PARTS,
    PLAN,
    Entry,
    Files,
    Part,
    RowGroup,
    Tar,
    finished,
    name_of,
    read_part,
    read_plan,
    shard_of,
    unfinished,
    write_plan,
)
from neardup.pipeline.archive.shard import writing
from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.pipeline.types import Limits
from tests.pipeline.archive.build import CONDITIONS

ENTRY = Entry("a/1.jpg", "file:///x/a/1%FF.jpg", b"x/a/1\xff.jpg", 7, 10**18 + 1, "s")
PARTS_OF_ALL_KINDS: list[Part] = [
    Files((ENTRY, Entry("a/2", "file:///x/a/2", b"x/a/2", reason="not-a-file", detail="a pipe"))),
    Tar(ENTRY),
    RowGroup(ENTRY, 3, 1000, "image", "key", "taken"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path))


def test_parts_come_back_in_the_order_of_the_listing(folder: Folder) -> None:
    listed: list[int] = []
    plan = write_plan(folder, PARTS_OF_ALL_KINDS, ("file:///x",), CONDITIONS, listed.append)
    assert read_plan(folder) == plan
    assert (plan.parts, plan.items, sum(listed)) == (3, 4, 4)
    assert [read_part(folder, file) for file in unfinished(folder)] == PARTS_OF_ALL_KINDS


def test_a_shard_that_is_there_is_not_left_to_do(folder: Folder) -> None:
    write_plan(folder, PARTS_OF_ALL_KINDS, (), CONDITIONS, lambda _: None)
    first, second, third = unfinished(folder)
    with writing(folder, shard_of(second), CONDITIONS):
        pass
    assert unfinished(folder) == [first, third]


def test_a_shard_is_named_by_its_part_and_the_conditions() -> None:
    names = {name_of(part, CONDITIONS) for part in PARTS_OF_ALL_KINDS}
    others: list[dict[str, object]] = [
        {"space": "s-2"}, {"dimension": 5}, {"sample_fps": 1.0}, {"regions": "none"}, {"packed": False},
        {"thumbnail_side": 0}, {"limits": Limits(max_pixels=1)},
    ]  # fmt: skip
    for other in others:
        names.add(name_of(PARTS_OF_ALL_KINDS[0], msgspec.structs.replace(CONDITIONS, **other)))
    changed_entry = msgspec.structs.replace(ENTRY, stamp="t")
    names.add(name_of(Tar(changed_entry), CONDITIONS))
    assert len(names) == 3 + 7 + 1


def test_an_interrupted_listing_leaves_no_plan_and_begins_anew(folder: Folder, tmp_path: Path) -> None:
    def interrupted() -> Iterator[Part]:
        yield PARTS_OF_ALL_KINDS[1]
        raise DependencyError("the store is gone")

    with pytest.raises(DependencyError):
        write_plan(folder, interrupted(), (), CONDITIONS, lambda _: None)
    assert read_plan(folder) is None
    assert len(list((tmp_path / PARTS).iterdir())) == 1
    write_plan(folder, PARTS_OF_ALL_KINDS[:1], (), CONDITIONS, lambda _: None)
    assert [read_part(folder, file) for file in unfinished(folder)] == PARTS_OF_ALL_KINDS[:1]


def test_a_damaged_plan_or_part_is_named(folder: Folder, tmp_path: Path) -> None:
    write_plan(folder, PARTS_OF_ALL_KINDS, (), CONDITIONS, lambda _: None)
    file = unfinished(folder)[0]
    (tmp_path / PARTS / file).write_bytes(b"half")
    with pytest.raises(ConfigError, match=file):
        read_part(folder, file)
    with pytest.raises(ConfigError, match="missing"):
        read_part(folder, "missing")
    (tmp_path / PLAN).write_bytes(b"{")
    with pytest.raises(ConfigError, match=PLAN):
        read_plan(folder)


def test_other_conditions_are_refused_with_the_one_that_differs() -> None:
    CONDITIONS.check_same(CONDITIONS, "here")
    with pytest.raises(ConfigError, match=r"here was described with sample_fps 2\.0, this is 1\.0"):
        CONDITIONS.check_same(msgspec.structs.replace(CONDITIONS, sample_fps=1.0), "here")


def test_an_archive_that_lacks_a_part_of_its_plan_is_refused(folder: Folder, tmp_path: Path) -> None:
    write_plan(folder, PARTS_OF_ALL_KINDS, (), CONDITIONS, lambda _: None)
    for file in unfinished(folder):
        with writing(folder, shard_of(file), CONDITIONS):
            pass
    assert len(finished(folder)[1]) == 3
    next((tmp_path / PARTS).iterdir()).unlink()
    with pytest.raises(ConfigError, match="has 2 files and not 3"):
        finished(folder)


def test_a_folder_of_somebody_else_is_never_emptied(folder: Folder, tmp_path: Path) -> None:
    mine = tmp_path / PARTS / "of the house" / "1.jpg"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"x")
    with pytest.raises(ConfigError, match="holds of the house, which is no part of a plan; name another output"):
        write_plan(folder, PARTS_OF_ALL_KINDS, (), CONDITIONS, lambda _: None)
    assert mine.read_bytes() == b"x"
