"""Vectors of two spaces never meet: by names, and where a name was wrong, by what each thing says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from neardup.pipeline.errors import SpaceError
from neardup.pipeline.index.milvus.server import _name
from neardup.pipeline.index.snapshot import read_snapshot, write_snapshot
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.log.records import Entry
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.redis import prefix
from neardup.workers.embed.worker import group_of
from neardup.workers.kafka.log import Fetched, encode, read_entry
from neardup.workers.kafka.topics import topic_names
from neardup.workers.space.fill import fill_group
from tests.pipeline.match.build import D, picture

SPACES = st.text("0123456789abcdef", min_size=4, max_size=16)


@given(SPACES, SPACES)
def test_two_spaces_have_no_name_in_common_but_media_and_dead_letters(one: str, other: str) -> None:
    if one == other:
        return
    settings = Settings()

    def names(space: str) -> set[str]:
        topics = topic_names(settings.topic_root, space)
        of_kafka = {topics.log, topics.verdicts, topics.asks, group_of(settings, space), fill_group(settings, space)}
        return of_kafka | {prefix(space)}

    assert not names(one) & names(other)
    assert not any(a.startswith(f"{b}.") for a in names(one) for b in names(other))


def test_collections_of_two_spaces_have_other_names() -> None:
    assert _name("neardup", "seen", "f00d") != _name("neardup", "seen", "beef")


def test_a_record_of_another_space_is_refused_by_who_reads_the_log() -> None:
    record = replace(picture("a", 0), space="f00d")
    fetched = Fetched(7, 0, encode(record))
    assert read_entry(fetched, D, "f00d") == Entry(7, record)
    assert read_entry(fetched, D, "beef") == "descriptors of space 'f00d', wanted 'beef'"
    old = Fetched(8, 0, encode(picture("a", 0)))  # of a time before records named their space
    assert read_entry(old, D, "beef") == Entry(8, picture("a", 0))


def test_a_vector_file_of_another_space_is_refused(tmp_path: Path) -> None:
    VectorFile(tmp_path / "vectors", D, "f00d").close()
    with pytest.raises(SpaceError):
        VectorFile(tmp_path / "vectors", D, "beef")


def test_a_snapshot_of_another_space_is_refused(tmp_path: Path) -> None:
    write_snapshot(tmp_path / "snapshot", D, "f00d", lambda folder: (folder / "x").write_bytes(b"x"))
    read_snapshot(tmp_path / "snapshot", D, "f00d")
    with pytest.raises(SpaceError):
        read_snapshot(tmp_path / "snapshot", D, "beef")
