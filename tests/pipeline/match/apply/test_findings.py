"""Who applies the log again takes what was found from the envelopes: the same to the last bit, without a search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from neardup.pipeline.index.exact import Exact
from neardup.pipeline.index.rows import RowNumbers
from neardup.pipeline.log.candidates import holds_one_list, unpack
from neardup.pipeline.log.changes import BankChanged, BankEdit
from neardup.pipeline.log.proofs import ItemProved, ProofPending, answer
from neardup.pipeline.log.records import Entry, Envelope, Record, Verdict, asks_of
from neardup.pipeline.match.apply import findings
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.compare.candidates import CANDIDATES
from neardup.pipeline.match.decide.evidence import COHORT
from neardup.pipeline.types import Decision, Descriptors
from tests.model.compare import a_world_state, cuts, made
from tests.pipeline.match.apply.test_batches import a_log
from tests.pipeline.match.apply.test_cohorts import CALIBRATION
from tests.pipeline.match.build import (
    AGREES,
    NOTHING_FITS,
    OTHER_WRITING,
    D,
    Film,
    a_state,
    described,
    edited,
    live_end,
    live_frames,
    picture,
    times,
    video,
)

FORGOTTEN = 0.3
_propose = Exact.propose


@contextmanager
def forgetting(seed: int) -> Iterator[None]:
    """Have every index forget random candidates."""
    random = np.random.default_rng(seed)

    def propose(self: Exact, queries: Descriptors, k: int, effort: int = 1) -> RowNumbers:
        found = _propose(self, queries, k, effort)
        return np.where(random.random(found.shape) < FORGOTTEN, -1, found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Exact, "propose", propose)
        yield


@contextmanager
def never_searching() -> Iterator[None]:
    """Have every search fail."""

    def propose(*_: object) -> RowNumbers:
        raise AssertionError("searched")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Exact, "propose", propose)
        yield


def apply(
    state: State, entries: Sequence[Entry], sizes: Sequence[int], published: Sequence[Envelope] = ()
) -> list[Envelope]:
    by_offset = {one.offset: one for one in published}
    envelopes, start = [], 0
    for size in sizes:
        batch = entries[start : start + size]
        envelopes += state.apply(batch, {one.offset: by_offset[one.offset] for one in batch} if published else None)
        start += size
    return envelopes


def contents(state: State) -> tuple[object, ...]:
    """Return all that a snapshot holds, and which rows the indexes hold."""
    parts = state.parts()
    waiting = parts.undecided, parts.later
    indexes = [parts.index, *(bank.collection.heads.index for bank in state.banks)]
    rows = len(parts.rows)
    return (
        msgspec.to_builtins([list(parts.items), parts.live, waiting, parts.judged, parts.banks, parts.pending]),
        {name: column.tobytes() for name, column in parts.rows.columns().items()},
        [[row for row in range(rows) if row in index] for index in indexes],
    )


def assert_followed(leader: State, follower: State, entries: Sequence[Entry], seed: int) -> list[Envelope]:
    """Have one state lead with an index that forgets, and another follow; return the envelopes."""
    with forgetting(seed):
        led = apply(leader, entries, cuts(seed, len(entries)))
    with never_searching():
        followed = apply(follower, entries, cuts(seed + 1, len(entries)), led)
    assert followed == led
    assert contents(follower) == contents(leader)
    return led


def crowd(seed: int, count: int) -> list[Record]:
    """Return pictures that resemble each other more or less, some films, and references of a bank."""
    random = np.random.default_rng(seed)
    records: list[Record] = [BankChanged(bank="b", edit=BankEdit.CREATE)]
    vectors: list[Descriptors] = []
    for n in range(count):
        vector = random.normal(size=(1, D))
        if vectors and random.random() < 0.6:
            vector = vectors[random.integers(len(vectors))] + random.uniform(0.02, 0.9) * vector / np.sqrt(D)
        vector = np.asarray(vector / np.linalg.norm(vector), np.float32)
        vectors.append(vector)
        if n % 12 == 11:
            frames = np.concatenate([vectors[place] for place in random.integers(0, len(vectors), 6)])
            records += video(f"v{n}", frames, part_size=int(random.integers(2, 7)))
        elif n % 9 == 8:
            records.append(msgspec.structs.replace(described(f"r{n}", vector), bank="b"))
        else:
            records.append(described(f"i{n}", vector))
    return records


def entered(records: Sequence[Record]) -> list[Entry]:
    return [Entry(offset, record, 1000 * offset) for offset, record in enumerate(records)]


@pytest.mark.parametrize("seed", sorted({*range(13)} - {3}))  # in log 3 the model cannot say which of two comes first
def test_a_follower_has_the_state_of_a_leader_whose_index_forgets(seed: int) -> None:
    entries, _, most = made(seed)
    assert_followed(a_world_state(most), a_world_state(most), entries, seed)


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_cohorts_and_evidence_are_those_of_the_leader(seed: int, asks: bool) -> None:
    """Answers come while other items wait, and what they are decided on is evidence against what the leader found."""
    leader, follower = a_state(CALIBRATION, asks=asks), a_state(CALIBRATION, asks=asks)
    random, records, entries, led = Random(seed), crowd(seed, 150), list[Entry](), list[Envelope]()
    with forgetting(seed):
        while records:
            batch = [records.pop(0) for _ in range(min(len(records), random.randrange(1, 30)))]
            entries += [Entry(len(entries) + n, record) for n, record in enumerate(batch)]
            said = leader.apply(entries[len(led) :])
            led += said
            waiting = [one for envelope in said for one in envelope.events if isinstance(one, ProofPending)]
            for one in waiting:
                proofs = [random.choice([AGREES, NOTHING_FITS, OTHER_WRITING, None]) for _ in one.asked.asks]
                records.insert(random.randrange(min(len(records) + 1, 40)), answer(one.asked, proofs))
    with never_searching():
        followed = apply(follower, entries, cuts(seed, len(entries)), led)
    assert followed == led
    assert contents(follower) == contents(leader)
    verdicts = [event for one in led for event in one.events if isinstance(event, Verdict)]
    assert sum(verdict.decision is not Decision.DISTINCT for verdict in verdicts) > 30
    assert asks == any(isinstance(entry.record, ItemProved) for entry in entries)
    exact = apply(a_state(CALIBRATION, asks=asks), entries, cuts(seed, len(entries)))
    assert exact != led  # it did forget
    assert apply(follower, [last := Entry(len(entries), picture("last", 0))], [1]) == apply(leader, [last], [1])


def test_what_is_asked_about_a_later_reference_waits_with_a_follower_too() -> None:
    """Its answer links the head with the reference, and so does a match that needs no proof."""
    references = picture("r", 30), picture("s", 0, sha256=b"content of a")
    entries = entered([picture("a", 0), *(msgspec.structs.replace(one, bank="b") for one in references)])
    led = apply(leader := a_state(asks=True), entries, [3])
    (asked,) = [one for envelope in led for event in envelope.events for one in asks_of(event) if one.later]
    answered = [Entry(3, answer(asked, [AGREES]), 3000)]
    led += apply(leader, answered, [1])
    with never_searching():
        followed = apply(follower := a_state(asks=True), entries, [3], led[:3])
        (waiting,) = follower.later
        assert (waiting.id, waiting.pair.candidate) == ("a", asked.asks[0])
        followed += apply(follower, answered, [1], led[3:])
    assert followed == led
    assert contents(follower) == contents(leader)
    for state in (leader, follower):
        (bank,) = state.banks
        a, r, s = state.items.named("a"), *map(bank.collection.tables.items.named, "rs")
        assert a is not None
        assert r is not None
        assert s is not None
        assert {r.number, s.number} <= {*a.kin}
        assert a.number in r.kin
        assert a.number in s.kin


@settings(max_examples=15, deadline=None)
@given(a_log(), st.integers(0, 1000), st.booleans())
def test_any_log_can_be_followed_without_a_search(records: list[Record], seed: int, asks: bool) -> None:
    assert_followed(a_state(asks=asks), a_state(asks=asks), entered(records), seed)


def test_live_video_is_followed_without_a_search() -> None:
    film = Film(1)
    live = live_frames("live", edited(film.at(times(30.0) + 5)), times(30.0))
    records = [*video("film", film.at(times(60.0))), picture("a", 0), *live, picture("b", 90), live_end("live")]
    led = assert_followed(a_state(), a_state(), entered(records), 0)
    assert any(getattr(event, "flagged", None) for one in led for event in one.events)


@pytest.mark.parametrize("seed", range(4))
def test_old_envelopes_are_searched_again(seed: int) -> None:
    """A follower that finds all has the same verdicts; where the index is exact, all else is the same, too."""
    entries = entered(crowd(seed, 150))
    led = apply(leader := a_state(CALIBRATION), entries, cuts(seed, len(entries)))
    old = [msgspec.msgpack.decode(_as_before(one), type=Envelope) for one in led]
    assert all(one.candidates is UNSET for one in old)
    followed = apply(follower := a_state(CALIBRATION), entries, cuts(seed + 1, len(entries)), old)
    assert [one.events for one in followed] == [one.events for one in led]
    assert contents(follower) == contents(leader)
    with never_searching(), pytest.raises(AssertionError, match="searched"):
        apply(a_state(CALIBRATION), entries, [len(entries)], old)


def _as_before(envelope: Envelope) -> bytes:
    fields = msgspec.to_builtins(envelope, builtin_types=(bytes,))
    fields.pop("candidates", None)
    return msgspec.msgpack.encode(fields)


@pytest.mark.parametrize(
    "broken", [b"", b"\x01", b"\x03\x0f\x00\x00" + b"\x02" * 15, b"\x03\x01\x00\x00\x40", b"\x01\x00"]
)
def test_candidates_that_cannot_be_read_are_searched_for(broken: bytes) -> None:
    """Cut, too many for a cohort, of a record that is not there, or of other descriptors."""
    entries = entered([picture("a", 0), picture("b", 10), picture("c", 90)])
    led = apply(leader := a_state(), entries, [3])
    damaged = [led[0], msgspec.structs.replace(led[1], candidates=broken), led[2]]
    followed = apply(follower := a_state(), entries, [3], damaged)
    assert [one.events for one in followed] == [one.events for one in led]
    assert contents(follower) == contents(leader)


def test_of_a_long_film_kin_alone_is_named_and_all_else_searched_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pictures beside it in a batch are not searched for."""
    monkeypatch.setattr(findings, "MAX_BYTES", 200)
    film = Film(1)
    records = [
        *video("film", film.at(times(20.0))),
        picture("a", 0),
        picture("a copy", 10),
        *video("excerpt", film.at(times(10.0) + 3)),
        picture("b", 30),
    ]
    entries = entered(records)
    led = apply(leader := a_state(asks=True), entries, [len(entries)])
    assert [isinstance(one.candidates, bytes) and holds_one_list(one.candidates) for one in led] == [
        *([False] * 3),
        True,
        False,
    ]
    assert leader.findings.too_long == 1
    with counting() as searched:
        followed = apply(follower := a_state(asks=True), entries, [len(entries)], led)
    assert len(searched) == 1
    assert followed == led
    assert contents(follower) == contents(leader)
    assert follower.findings.too_long == 0


def test_candidates_of_an_image_are_the_best_of_many() -> None:
    """Pictures of one plane, no copies of each other by what is asked: each is a candidate of the last."""
    state = a_state(stars=False)
    records = [picture(f"p{n}", n / 100) for n in range(CANDIDATES + 40)]
    *_, last = apply(state, entered(records), [len(records)])
    assert isinstance(last.candidates, bytes)
    lists = unpack(np.array([last.offset]), [last.candidates])
    assert lists.lengths.tolist() == [COHORT, CANDIDATES, 0]
    assert lists.offsets[COHORT:].tolist() == list(range(last.offset - 1, last.offset - 1 - CANDIDATES, -1))


def test_live_video_is_searched_for_again_in_banks_alone() -> None:
    """What is found in banks is no part of the envelope; with the same index, all is the same."""
    film = Film(1)
    reference = [msgspec.structs.replace(one, bank="b") for one in video("banned", film.at(times(60.0)))]
    live = live_frames("live", edited(film.at(times(20.0) + 5)), times(20.0))
    entries = entered([*reference, picture("a", 0), *live, live_end("live")])
    led = apply(leader := a_state(), entries, cuts(1, len(entries)))
    with counting() as searched:
        followed = apply(follower := a_state(), entries, cuts(2, len(entries)), led)
    assert followed == led
    assert contents(follower) == contents(leader)
    assert set(searched) == {id(bank.collection.heads.index.proposer) for bank in follower.banks}
    assert any(getattr(event, "flagged", None) for one in led for event in one.events)


@contextmanager
def counting() -> Iterator[list[int]]:
    """Yield the engines that are asked."""
    asked: list[int] = []

    def propose(self: Exact, queries: Descriptors, k: int, effort: int = 1) -> RowNumbers:
        asked.append(id(self))
        return _propose(self, queries, k, effort)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Exact, "propose", propose)
        yield asked
