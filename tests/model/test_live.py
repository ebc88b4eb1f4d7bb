"""What is promised of live videos (docs/stream.md), checked on random broadcasts.

Only promises that need no distance: what exactly is matched, from when to when, is left to
`tests.faults.oracle.by_state`.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from neardup.pipeline.log.changes import BankChanged
from neardup.pipeline.log.proofs import Asked, ProofExpired, answer
from neardup.pipeline.log.reasons import IgnoredReason
from neardup.pipeline.log.records import Event, Ignored, Record, Redelivered, Rolling, asks_of
from neardup.pipeline.match.compare.compare import PROVED
from neardup.pipeline.prove.finding import Proved
from neardup.pipeline.types import Decision, Doubt
from tests.pipeline.match.build import (
    AGREES,
    NOTHING_FITS,
    OTHER_WRITING,
    Film,
    Log,
    a_state,
    described,
    edited,
    live_end,
    live_frame,
    picture,
    times,
    video,
)


def a_broadcast(seed: int) -> list[Record]:
    """Return known films and stills, then a live video that shows some of them, with repeated and late frames."""
    chosen = random.Random(seed)
    films = [Film(1000 + 10 * seed + n) for n in range(3)]
    log: list[Record] = [BankChanged(bank="x")]
    for n, film in enumerate(films[:2]):
        log += video(f"film {n}", film.at(times(20.0)))
    log += [picture("picture", 0), described("still", films[2].at([4.0]))]
    sent: list[Record] = []
    second = 0.0
    for _ in range(chosen.randint(2, 4)):
        film, start = chosen.choice(films), chosen.choice([0.0, 4.0, 9.0])
        cosine = chosen.choice([0.99, 0.9, 0.84])
        for moment in np.arange(0.0, chosen.choice([3.0, 8.0]), 0.5):
            vector = edited(film.at([start + moment]), seed=int(2 * second), cosine=cosine)
            sent.append(live_frame("cam", second, vector))
            second += 0.5
    for _ in range(5):
        sent.insert(chosen.randrange(len(sent)), chosen.choice(sent))
    place = chosen.randrange(len(sent) - 3, len(sent))
    return [*log, *sent[:place], live_end("cam"), *sent[place:], live_end("cam"), picture("later", 1)]


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_promises_of_live_videos(seed: int, asks: bool) -> None:
    log, records = Log(a_state(asks=asks)), a_broadcast(seed)
    flagged: list[tuple[str, Decision]] = []
    known: set[float] = set()
    ended, finals = False, 0
    for record in records:
        events: list[Event] = log.events(record)
        rolling = [event for event in events if isinstance(event, Rolling)]
        finals += sum(not event.verdict.running for event in rolling)
        for event in rolling:
            if event.flagged is not None:
                assert any(match.reference == event.flagged.reference for match in event.verdict.matches)
                flagged.append((event.flagged.reference, event.flagged.decision))
            assert not any(match.where.whole for match in event.verdict.matches)  # a part, never as a whole
        if not getattr(record, "live", False):
            assert not rolling
        elif record.last:  # type: ignore[union-attr]
            assert events == [Redelivered(id="cam")] if ended else finals == 1
            ended = True
        elif record.pts[0] in known:  # type: ignore[union-attr]
            assert events == [Redelivered(id="cam")]  # the same second again changes nothing
        elif ended:
            assert [event.reason for event in events if isinstance(event, Ignored)] == [IgnoredReason.LIVE_ENDED]
        else:
            known.add(record.pts[0])  # type: ignore[union-attr]
    assert finals == 1
    assert len(flagged) == len(set(flagged))  # once as unsure, once as a duplicate
    for reference, decision in flagged:
        later = flagged[flagged.index((reference, decision)) + 1 :]
        assert decision is not Decision.DUPLICATE or (reference, Decision.UNSURE) not in later


def test_broadcasts_show_something() -> None:
    """So that the promises above are about flags of both kinds."""
    found = set()
    for seed in range(5):
        for event in Log(a_state()).events(*a_broadcast(seed)):
            if isinstance(event, Rolling) and event.flagged is not None:
                found.add(event.flagged.decision)
    assert Decision.DUPLICATE in found


@pytest.mark.parametrize("seed", range(9))
def test_promises_of_proofs(seed: int) -> None:
    """Asked once in a window, flagged when it is decided, by what the answer says: in any order, late, or never.

    What was flagged and is no match after all is withdrawn.
    """
    chosen = random.Random(f"proofs {seed}")
    log = Log(a_state(asks=True))
    open_asks: list[Asked] = []
    late: list[Asked] = []
    windows: dict[str, list[float]] = {}
    proved: dict[str, list[Proved | None]] = {}
    expired: set[str] = set()
    flagged: list[tuple[str, Decision]] = []
    to_review: set[str] = set()

    def see(events: list[Event]) -> None:
        for event in events:
            if not isinstance(event, Rolling):
                continue
            waits = {ask.reference for one in open_asks for ask in one.asks}
            to_review.difference_update(reference for _, reference in event.withdrawn)
            to_review.update([] if event.flagged is None else [event.flagged.reference])
            assert to_review <= {
                one.reference for one in event.verdict.matches if one.decision is not Decision.DISTINCT
            }
            if (one := event.flagged) is not None:
                assert one.reference not in waits
                flagged.append((one.reference, one.decision))
                given = proved.get(one.reference, [])
                assert one.decision is not Decision.DUPLICATE or given
                assert (one.doubt is Doubt.UNPROVED) is (one.reference in expired and not given)
            for match in event.verdict.matches:
                assert match.decision is not Decision.DUPLICATE or match.reference not in waits
            for asked in asks_of(event):
                open_asks.append(asked)
                assert asked.id == "cam"
                assert len(asked.asks) <= PROVED
                for ask in asked.asks:
                    assert ask.reference not in waits
                    windows.setdefault(ask.reference, []).append(log.now)

    def answered() -> Record:
        from_late = late and (not open_asks or chosen.random() < 0.1)
        asked = (late if from_late else open_asks).pop()
        if not from_late and chosen.random() < 0.6:
            late.append(asked)
            expired.update(ask.reference for ask in asked.asks)
            return ProofExpired(id=asked.id, offset=asked.offset)
        proofs = [chosen.choice([AGREES, OTHER_WRITING, NOTHING_FITS, None]) for _ in asked.asks]
        for ask, one in zip(asked.asks, proofs, strict=True):
            proved.setdefault(ask.reference, []).append(one)
        return answer(asked, proofs)

    for record in a_broadcast(seed):
        see(log.events(record))
        if (open_asks or late) and chosen.random() < 0.1:
            see(log.events(answered()))
    while open_asks or late:
        see(log.events(answered()))
    assert all(len(asked) == 1 for asked in windows.values())  # a broadcast is shorter than a window
    assert len(flagged) == len(set(flagged))
    cam = log.state.items.named("cam")
    assert cam is not None
    assert [one for one in log.state.undecided if one.item == cam.number] == []
    for reference, given in proved.items():
        if given[-1] is OTHER_WRITING and reference not in expired:
            assert not any(one == reference for one, _ in flagged)
