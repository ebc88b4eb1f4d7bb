"""However the log is cut into batches, the same is said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from neardup.pipeline.log.changes import (
    SEEN,
    Action,
    BankChanged,
    ClusterEdit,
    ClusterEdited,
    Outcome,
    ReferenceChanged,
    ReferenceEdit,
    Reviewed,
)
from neardup.pipeline.log.records import Entry, Envelope, Record, Removed, RetroMatched, Rolling, Verdict
from neardup.pipeline.log.verdicts import flagged_verdict
from neardup.pipeline.match.apply.state import State
from tests.pipeline.match.build import BLANK, D, Film, a_calibration, a_state, edited, picture, times, video

FILMS = [Film(1), Film(2)]
BACKGROUND = FILMS[1].at(np.arange(40, 60, 4.0))
IDS = st.sampled_from("abcdefgh")
VERSIONS = st.integers(0, 2)
OFFSETS = st.sampled_from([-1, -1, -1, 1, 2, 3])


@st.composite
def an_image(draw: st.DrawFn) -> list[Record]:
    version = draw(VERSIONS)
    degrees = draw(st.sampled_from([0, 20, 35, 40, 60, 90]))
    return [
        picture(
            draw(IDS),
            degrees,
            sha256=f"{degrees} {version}".encode(),
            pixels=draw(st.sampled_from([b"", f"pixels at {degrees}".encode()])),
            detail=draw(st.sampled_from([60, 60, 60, BLANK])),
            source_offset=draw(OFFSETS),
        )
    ]


@st.composite
def a_still(draw: st.DrawFn) -> list[Record]:
    moment = draw(st.sampled_from([0.0, 1.1, 2.5, 4.0, 5.0]))
    vectors = FILMS[draw(st.integers(0, 1))].at([moment])
    return list(video(draw(IDS), vectors, sha256=f"still {moment}".encode(), source_offset=draw(OFFSETS)))


@st.composite
def a_video(draw: st.DrawFn) -> list[Record]:
    film = draw(st.integers(0, 1))
    start, length = draw(st.sampled_from([(0.0, 6.0), (0.0, 3.0), (2.2, 3.0), (0.1, 5.5)]))
    moments = times(length)
    vectors = FILMS[film].at(moments + start)
    is_edited = draw(st.booleans())
    if is_edited:
        vectors = edited(vectors, seed=film)
    blank = draw(st.sets(st.integers(0, len(moments) - 1), max_size=2))
    content = film, start, length, is_edited, sorted(blank), draw(VERSIONS)
    return list(
        video(
            draw(IDS),
            vectors,
            moments,
            part_size=draw(st.sampled_from([3, 5, 100])),
            sha256=repr(content).encode(),
            source_offset=draw(OFFSETS),
            detail=[BLANK if n in blank else 50 for n in range(len(moments))],
        )
    )


@st.composite
def a_log(draw: st.DrawFn) -> list[Record]:
    """Return items and removals, the parts of the items mixed, some lost and some twice."""
    items = draw(st.lists(st.one_of(an_image(), an_image(), a_still(), a_video()), min_size=1, max_size=14))
    lanes = [items[start::3] for start in range(3)] if draw(st.booleans()) else [items]
    queues = [[part for item in lane for part in item] for lane in lanes]
    log: list[Record] = []
    while any(queues):
        queue = draw(st.sampled_from([one for one in queues if one]))
        record = queue.pop(0)
        if draw(st.integers(0, 19)) == 0:
            continue
        log += [record] * (2 if draw(st.integers(0, 9)) == 0 else 1)
        if draw(st.integers(0, 7)) == 0:
            log.append(Removed(id=draw(IDS)))
        if draw(st.integers(0, 4)) == 0:
            log.append(draw(a_change()))
    return log


@st.composite
def a_change(draw: st.DrawFn) -> Record:
    """Return something that a person did; much of it is refused."""
    item, other, bank = draw(IDS), draw(IDS), draw(st.sampled_from(["blocked", "fine"]))
    edit = draw(st.sampled_from([ReferenceEdit.ADD, ReferenceEdit.ADD, ReferenceEdit.SET, ReferenceEdit.REMOVE]))
    until = draw(st.sampled_from([None, 0, 5000]))
    outcome = draw(st.sampled_from(Outcome))
    choices: list[Record] = [
        BankChanged(bank=bank, action=draw(st.sampled_from(Action)), enable_ratio=draw(st.sampled_from([None, 0.5]))),
        ReferenceChanged(bank=bank, id=item, edit=edit, disabled_until_ms=until),
        Reviewed(item=item, reference=other, outcome=outcome, bank=draw(st.sampled_from(["seen", "seen", bank]))),
        ClusterEdited(item=item, edit=draw(st.sampled_from(ClusterEdit)), into=other),
        msgspec.structs.replace(picture(item, draw(st.sampled_from([0, 35, 90]))), bank=bank),
    ]
    return draw(st.sampled_from(choices))


def apply_cut(state: State, records: Sequence[Record], cuts: Sequence[int]) -> list[Envelope]:
    entries = [Entry(offset, record, 1000 * offset) for offset, record in enumerate(records)]
    borders = [0, *sorted(cuts), len(entries)]
    return [e for a, b in pairwise(borders) for e in state.apply(entries[a:b])]


def assert_same(one: Sequence[Envelope], other: Sequence[Envelope]) -> None:
    assert [e.offset for e in one] == [e.offset for e in other]
    for left, right in zip(one, other, strict=True):
        for event, its_twin in zip(left.events, right.events, strict=True):
            a, b = event, its_twin
            if isinstance(a, RetroMatched) and isinstance(b, RetroMatched):
                assert (a.id, a.match.silenced) == (b.id, b.match.silenced)
                a, b = (flagged_verdict(Verdict(id=e.id, decision=e.match.decision), e.match) for e in (a, b))
            if isinstance(a, Rolling) and isinstance(b, Rolling):
                assert (a.flagged and a.flagged.reference) == (b.flagged and b.flagged.reference)
                a, b = a.verdict, b.verdict
            if not (isinstance(a, Verdict) and isinstance(b, Verdict)):
                assert a == b
                continue
            assert (a.id, a.decision, a.head, a.allowed) == (b.id, b.decision, b.head, b.allowed)
            for m, n in zip(a.matches, b.matches, strict=True):
                said = (m.bank, m.reference, m.decision, m.exact, m.identical_to, m.where.whole, m.silenced)
                assert said == (n.bank, n.reference, n.decision, n.exact, n.identical_to, n.where.whole, n.silenced)
                for x, y in ((m.distance, n.distance), (m.evidence, n.evidence), (m.probability, n.probability)):
                    assert math.isclose(x, y, abs_tol=1e-4)
                for s, t in zip(m.where.spans, n.where.spans, strict=True):
                    assert (s.query_start, s.query_end) == (t.query_start, t.query_end)
                    assert (s.reference_start, s.reference_end) == (t.reference_start, t.reference_end)


def contents(state: State) -> list[tuple[object, ...]]:
    return [
        (item.id, item.head, item.members, item.source, state.rows.shared[item.rows].tolist())
        for item in sorted(state.items, key=lambda item: item.number)
    ]


@settings(max_examples=60, deadline=None)
@given(a_log(), st.lists(st.integers(0, 40), max_size=4), st.booleans())
def test_batch_says_the_same_as_one_by_one(records: list[Record], cuts: list[int], normalised: bool) -> None:
    def make() -> State:
        return a_state(a_calibration(), BACKGROUND if normalised else np.zeros((0, D), dtype=np.float32))

    single, cut, whole = make(), make(), make()
    expected = apply_cut(single, records, range(len(records)))
    assert_same(apply_cut(whole, records, []), expected)
    assert_same(apply_cut(cut, records, [min(c, len(records)) for c in cuts]), expected)
    assert contents(whole) == contents(single) == contents(cut)


@settings(max_examples=40, deadline=None)
@given(a_log())
def test_every_live_item_is_head_or_member_of_a_live_head(records: list[Record]) -> None:
    state = a_state()
    envelopes = apply_cut(state, records, [])
    assert [envelope.offset for envelope in envelopes] == list(range(len(records)))
    held = {item.number: item for item in state.items}
    for item in held.values():
        head = held[item.head]
        assert head.is_head
        assert item.is_head or item.number in head.members
    members = [number for item in held.values() for number in item.members]
    assert sorted(members) == sorted(n for n, item in held.items() if not item.is_head)


@settings(max_examples=40, deadline=None)
@given(a_log())
def test_verdicts_name_only_earlier_items_that_are_held_and_their_numbers_are_sound(records: list[Record]) -> None:
    state = a_state()
    for offset, record in enumerate(records):
        before = {item.id: item for item in state.items}
        (envelope,) = state.apply([Entry(offset, record)])
        for event in envelope.events:
            if not isinstance(event, Verdict):
                continue
            for match in event.matches:
                if match.bank == SEEN:
                    assert match.reference in before
                    assert match.reference != event.id
                    assert before[match.reference].is_head
                assert 0.0 <= match.distance <= 4.0
                assert 0.0 <= match.probability <= 1.0
                bank = state.banks.named(match.bank)
                held = state.items if bank is None else bank.collection.tables.items
                item, reference = state.items.named(event.id), held.named(match.reference)
                assert item is not None
                assert reference is not None
                for span in match.where.spans:
                    assert 0.0 <= span.query_start <= span.query_end <= item.seconds
                    assert 0.0 <= span.reference_start <= span.reference_end <= reference.seconds


def test_batch_longer_than_the_most_that_is_compared_at_once_says_the_same() -> None:
    records: list[Record] = [
        *(picture(f"p{n}", n % 360, plane=n % 7) for n in range(1100)),
        *video("v", FILMS[0].at(times(700)), part_size=256),
        *video("w", FILMS[0].at(times(60) + 30)),
    ]
    whole, single = a_state(), a_state()
    assert_same(apply_cut(whole, records, []), apply_cut(single, records, range(len(records))))
    assert contents(whole) == contents(single)
