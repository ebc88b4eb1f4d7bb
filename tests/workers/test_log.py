"""What of the log is taken as a record, and what is not."""

from __future__ import annotations

import math

import msgspec
import pytest

from neardup.pipeline.match.state import Entry
from neardup.pipeline.messages import Described, Removed
from neardup.pipeline.types import Kind
from neardup.workers.log import Fetched, encode, read_entry
from tests.pipeline.match.build import D, at, described

FRAME = msgspec.structs.replace(described("cam", at(10), kind=Kind.VIDEO, pts=[4.5], last=False), live=True)
END = Described(id="cam", kind=Kind.VIDEO, live=True)


@pytest.mark.parametrize("record", [described("a", at(1)), Removed(id="a"), FRAME, END])
def test_record_stands_at_its_place_and_time(record: Described | Removed) -> None:
    assert read_entry(Fetched(7, 1234, encode(record)), D) == Entry(7, record, 1234)


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (Described(id="a", dimension=D), "0 descriptors of 64 dimensions"),
        (msgspec.structs.replace(FRAME, vectors=FRAME.vectors[2:]), "do not belong to 1 descriptors"),
        (msgspec.structs.replace(FRAME, last=True), "1 descriptors in part 0 of a live video"),
        (msgspec.structs.replace(END, last=False), "0 descriptors in part 0 of a live video"),
        (msgspec.structs.replace(FRAME, part=1), "in part 1 of a live video"),
        (msgspec.structs.replace(FRAME, pts=(math.nan,)), "of a live video"),
        (msgspec.structs.replace(FRAME, vectors=bytes(2 * D)), "not of unit length"),
    ],
)
def test_record_that_cannot_be_used_is_refused_with_the_reason(record: Described, why: str) -> None:
    refused = read_entry(Fetched(7, 1234, encode(record)), D)
    assert isinstance(refused, str)
    assert why in refused
