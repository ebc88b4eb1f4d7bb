from __future__ import annotations

import msgspec
import pytest

from neardup.pipeline.log.changes import BankChanged
from neardup.pipeline.log.records import Described, Entry, Envelope, Record, Removed, RetroMatched
from neardup.pipeline.match.apply.state import State
from tests.pipeline.match.build import Film, a_state, picture, times, video


def reference(item_id: str, degrees: float, **how: object) -> Described:
    return msgspec.structs.replace(picture(item_id, degrees, **how), bank="blocked")  # type: ignore[arg-type]


def film(item_id: str, part_size: int) -> list[Record]:
    records = video(item_id, Film(3).at(times(6.0)), part_size=part_size)
    return [msgspec.structs.replace(record, bank="blocked") for record in records]


SEEN = [picture("a", 0), picture("b", 90), *video("film", Film(3).at(times(9.0)), part_size=100)]
RUN: list[Record] = [
    BankChanged(bank="blocked"),
    *SEEN,
    reference("r0", 1),
    reference("r1", 91),
    reference("r1", 91),  # once more
    reference("r2", 40),
    *film("clip", part_size=4),  # in parts
    *film("clip in one", part_size=100),
    reference("r2", 2, sha256=b"another version"),
    picture("c", 180),
    reference("r3", 181),  # sees what came since
    reference("r4", 179),
    Removed(id="a"),
    reference("r5", 3),
    reference("r6", 3, detail=0),  # a blank one
]


def entries(records: list[Record]) -> list[Entry]:
    return [Entry(offset, record, 1000 * offset) for offset, record in enumerate(records)]


def found(envelopes: list[Envelope]) -> list[tuple[int, str, str]]:
    return [
        (envelope.offset, event.id, event.match.reference)
        for envelope in envelopes
        for event in envelope.events
        if isinstance(event, RetroMatched)
    ]


def test_references_in_a_row_find_what_each_would_have_found_by_itself() -> None:
    together, apart = a_state(), a_state()
    at_once = together.apply(entries(RUN))
    one_by_one = [envelope for entry in entries(RUN) for envelope in apart.apply([entry])]
    assert [len(one.events) for one in at_once] == [len(one.events) for one in one_by_one]
    assert found(at_once) == found(one_by_one)
    by_reference = {name: item for _, item, name in found(at_once)}
    assert by_reference == {
        "r0": "a",
        "r1": "b",
        "clip": "film",
        "clip in one": "film",
        "r2": "a",
        "r3": "c",
        "r4": "c",
    }


@pytest.mark.parametrize("count", [2, 200])
def test_a_row_of_references_is_one_search(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    state: State = a_state()
    state.apply(entries([BankChanged(bank="blocked"), *SEEN]))
    index = state.parts().index
    asked: list[int] = []
    search = index.search
    monkeypatch.setattr(index, "search", lambda queries, k: asked.append(len(queries)) or search(queries, k))
    state.apply(entries([reference(f"r{n}", 10 + n / 10) for n in range(count)]))
    assert asked == [count]
