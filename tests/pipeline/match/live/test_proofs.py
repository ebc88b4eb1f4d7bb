"""Matches of live videos wait for proofs, and are flagged when they are decided."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.log.changes import BankChanged
from neardup.pipeline.log.proofs import Ask, Asked, ProofExpired, answer
from neardup.pipeline.log.records import Entry, Envelope, Event, Record, Removed, Rolling, Verdict, asks_of
from neardup.pipeline.match.apply.snapshot import VECTORS, Snapshots
from neardup.pipeline.match.data.undecided import LATE_MS, Pair, Undecided, UndecidedItems
from neardup.pipeline.match.live.verdicts import WINDOW
from neardup.pipeline.prove.finding import Finding, Ground, ProofSummary, Proved
from neardup.pipeline.store.interface import ReviewQueue
from neardup.pipeline.store.memory import MemoryStore
from neardup.pipeline.types import Decision, Doubt
from neardup.pipeline.where import Relation
from tests.pipeline.match.build import (
    AGREES,
    NOTHING_FITS,
    OTHER_WRITING,
    D,
    Film,
    Log,
    a_calibration,
    a_state,
    described,
    edited,
    live_end,
    live_frame,
    times,
    video,
)

FILM = Film(1)
SHOT = Proved(ProofSummary(finding=Finding.UNPROVED, ground=Ground.MOTION))
"""Frames that were not taken at the same instant."""


def a_log() -> Log:
    log = Log(a_state(a_calibration(), asks=True))
    log.add(video("film", FILM.at(times(100))))
    return log


def frame(number: int) -> Record:
    """Return a frame of a live video that shows the film from its 40 s on, twice a second."""
    return live_frame("live", number / 2, edited(FILM.at([40 + number / 2]), seed=number))


def until_asked(log: Log) -> tuple[int, Rolling, Asked]:
    """Apply frames until something is asked; return how many, that event, and the ask."""
    for number in range(40):
        for event in log.events(frame(number)):
            assert isinstance(event, Rolling)
            if event.asked is not None:
                return number + 1, event, event.asked
    raise AssertionError("nothing was asked")


def flagged(events: list[Event]) -> list[tuple[Decision, Doubt]]:
    found = [event.flagged for event in events if isinstance(event, Rolling)]
    return [(one.decision, one.doubt) for one in found if one is not None]


def test_a_match_is_asked_about_once_and_flagged_when_it_is_proved() -> None:
    log = a_log()
    taken, event, asked = until_asked(log)
    (ask,) = asked.asks
    assert (asked.id, asked.offset, ask.bank, ask.reference, ask.offset) == ("live", taken, "seen", "film", 0)
    assert len(ask.moments) == 3
    assert all(other - own == pytest.approx(40, abs=0.6) for own, other in ask.moments)
    assert asks_of(event) == (asked,)
    assert (event.flagged, event.verdict.decision) == (None, Decision.UNSURE)
    later = log.events(*(frame(taken + n) for n in range(20)))
    assert flagged(later) == []
    assert [one for one in later if asks_of(one)] == []
    events = log.events(answer(asked, [AGREES]))
    assert flagged(events) == [(Decision.DUPLICATE, Doubt.NO)]
    assert len(log.state.undecided) == 0
    rest = log.events(*(frame(taken + 20 + n) for n in range(20)), live_end("live"))
    assert flagged(rest) == []
    assert [one for one in rest if asks_of(one)] == []


@pytest.mark.parametrize(
    ("proved", "wanted"),
    [(OTHER_WRITING, []), (SHOT, [(Decision.DUPLICATE, Doubt.NO)]), (None, [(Decision.DUPLICATE, Doubt.NO)])],
    ids=["variant", "other-instant", "unavailable"],
)
def test_a_variant_is_not_flagged_and_what_pictures_do_not_say_evidence_does(
    proved: Proved | None, wanted: list[tuple[Decision, Doubt]]
) -> None:
    log = a_log()
    taken, _, asked = until_asked(log)
    log.events(*(frame(taken + n) for n in range(20)))
    events = log.events(answer(asked, [proved]), live_end("live"))
    assert flagged(events) == wanted
    last = [event.verdict for event in events if isinstance(event, Rolling)][-1]
    assert last.decision is (Decision.DUPLICATE if wanted else Decision.DISTINCT)
    assert (last.matches[0].relation is Relation.VARIANT) is (proved is OTHER_WRITING)


def test_what_expires_is_unproved_and_a_late_answer_decides_once_more() -> None:
    log = a_log()
    taken, _, asked = until_asked(log)
    log.events(*(frame(taken + n) for n in range(20)))
    expired = ProofExpired(id="live", offset=asked.offset)
    assert flagged(log.events(expired, live_end("live"))) == [(Decision.UNSURE, Doubt.UNPROVED)]
    assert log.events(expired) == []
    assert flagged(log.events(answer(asked, [AGREES]))) == [(Decision.DUPLICATE, Doubt.NO)]
    assert log.events(answer(asked, [AGREES])) == []


@pytest.mark.parametrize("leaves", [False, True], ids=["no match", "its reference left"])
def test_what_was_flagged_and_is_no_match_after_all_is_withdrawn(leaves: bool) -> None:
    log, store = Log(a_state(a_calibration(), asks=True)), MemoryStore()
    log.add(described("still", FILM.at([40.0])))
    frames = [live_frame("live", n / 2, edited(FILM.at([40.0]), seed=n, cosine=0.82)) for n in range(20)]
    (asked,) = (one for event in log.events(*frames) for one in asks_of(event))
    store.apply(log.add(ProofExpired(id="live", offset=asked.offset), live_end("live")))
    assert store.queued(ReviewQueue.UNPROVED) == 1
    if leaves:
        log.add(Removed(id="still"))
    (envelope,) = log.add(answer(asked, [NOTHING_FITS]))
    (event,) = envelope.events
    assert isinstance(event, Rolling)
    assert (event.verdict.matches, event.withdrawn) == ((), (("seen", "still"),))
    store.apply([envelope])
    assert store.queued(ReviewQueue.ALL) == 0


def last_verdict(store: MemoryStore) -> Verdict:
    verdict = store.verdict("live")
    assert verdict is not None
    return verdict


@pytest.mark.parametrize("ends", [False, True])
def test_what_was_flagged_is_withdrawn_when_its_reference_leaves(ends: bool) -> None:
    log, store = Log(a_state(a_calibration(), asks=True)), MemoryStore()
    log.add(described("still", FILM.at([40.0])))
    frames = [live_frame("live", n / 2, edited(FILM.at([40.0]), seed=n, cosine=0.9)) for n in range(20)]
    (asked,) = (one for event in log.events(*frames) for one in asks_of(event))
    store.apply(log.add(answer(asked, [AGREES])))
    assert store.queued(ReviewQueue.ALL) == 1
    store.apply(log.add(Removed(id="still"), live_end("live") if ends else live_frame("live", 10, Film(3).at([0]))))
    assert last_verdict(store).matches == ()
    assert store.queued(ReviewQueue.ALL) == 0


def test_a_new_version_of_what_was_flagged_is_flagged_again() -> None:
    log, store = Log(a_state(a_calibration())), MemoryStore()
    still = msgspec.structs.replace(described("still", FILM.at([40.0]), source_offset=1), bank="banned")
    log.add(BankChanged(bank="banned"), still)
    frames = [live_frame("live", n / 2, edited(FILM.at([40.0]), seed=n)) for n in range(40)]
    store.apply(log.add(*frames[:20]))
    log.add(msgspec.structs.replace(still, source_offset=2, sha256=b"new"))
    envelopes = log.add(*frames[20:], live_end("live"))
    store.apply(envelopes)
    events = [event for envelope in envelopes for event in envelope.events]
    gone = [one.withdrawn for one in events if isinstance(one, Rolling) and one.withdrawn]
    assert gone == [(("banned", "still"),)]
    assert flagged(events) == [(Decision.DUPLICATE, Doubt.NO)]
    assert store.queued(ReviewQueue.ALL) == 1


def test_what_was_withdrawn_and_is_a_match_after_all_is_flagged_again() -> None:
    log, store = Log(a_state(a_calibration(), asks=True)), MemoryStore()
    log.add(described("still", FILM.at([40.0])))

    def frames(begin: int, cosine: float) -> list[Record]:
        return [
            live_frame("live", n / 2, edited(FILM.at([40.0]), seed=n, cosine=cosine)) for n in range(begin, begin + 20)
        ]

    (asked,) = (one for event in log.events(*frames(0, 0.82)) for one in asks_of(event))
    store.apply(log.add(ProofExpired(id="live", offset=asked.offset)))
    store.apply(log.add(*(live_frame("live", 10 + n / 2, Film(2).at([n / 2])) for n in range(20))))
    assert store.queued(ReviewQueue.ALL) == 1
    store.apply(log.add(answer(asked, [NOTHING_FITS])))
    assert store.queued(ReviewQueue.ALL) == 0
    store.apply(log.add(*frames(40, 0.99), live_end("live")))
    (match,) = last_verdict(store).matches
    assert match.decision is Decision.UNSURE
    assert store.queued(ReviewQueue.ALL) == 1


def show_without_asking(log: Log) -> None:
    """Have a live video show a film while as many items wait as may, and then none; `max_pending` is 1."""
    log.add(video("film", FILM.at(times(100))))
    (waiting,) = log.events(video("other", edited(FILM.at(times(30)), seed=5)))
    assert [one for one in log.events(*(frame(n) for n in range(20))) if asks_of(one)] == []
    log.events(*(answer(one, [AGREES] * len(one.asks)) for one in asks_of(waiting)))


def test_what_was_not_asked_about_is_when_the_video_falls_silent() -> None:
    """At the record of another item, which asks as well, and before a frame has the video go on."""
    with closing(a_state(a_calibration(), asks=True, max_pending=1)) as state:
        log = Log(state)
        show_without_asking(log)
        log.now += 301
        (envelope,) = log.add(video("third", edited(FILM.at(times(30)), seed=6)))
        live, third = (one for event in envelope.events for one in asks_of(event))
        assert (live.id, third.id) == ("live", "third")
        assert live.offset == third.offset == envelope.offset
        (event,) = log.events(answer(third, [AGREES] * len(third.asks)))
        assert isinstance(event, Verdict)
        assert flagged(log.events(answer(live, [AGREES] * len(live.asks)))) == [(Decision.DUPLICATE, Doubt.NO)]
        assert len(state.undecided) == 0


def test_a_video_that_goes_on_at_the_record_that_ended_it_waits_for_all_it_asks() -> None:
    waiting = UndecidedItems()
    ask = Ask(bank="seen", reference="a", offset=0, sha256=b"")
    pairs = [Pair(msgspec.structs.replace(ask, reference=name), number, True) for number, name in enumerate("ab")]
    for pair in [*pairs, pairs[0]]:
        waiting.add(Undecided(item=5, offset=7, since_ms=0, pairs=[pair]), 0)
    (one,) = waiting
    assert (one.pairs, waiting.waiting, waiting.get(7, 5)) == (pairs, 1, one)
    waiting.forget(one)
    assert (len(waiting), waiting.waiting) == (0, 0)


def test_an_answer_after_a_day_changes_nothing() -> None:
    log = a_log()
    _, _, asked = until_asked(log)
    log.events(ProofExpired(id="live", offset=asked.offset), live_end("live"))
    log.now += LATE_MS / 1000 + 1
    assert log.events(answer(asked, [AGREES])) == []


def test_each_window_asks_once_until_one_is_proved() -> None:
    log = Log(a_state(a_calibration(), asks=True))
    log.add(video("film", FILM.at(times(400))))
    asks = []
    for number in range(3 * WINDOW):
        for event in log.events(live_frame("live", number / 2, edited(FILM.at([number / 2]), seed=number))):
            for asked in asks_of(event):
                asks.append(number)
                log.events(answer(asked, [SHOT if len(asks) < 2 else AGREES]))
    assert len(asks) == 2
    assert asks[1] - asks[0] >= WINDOW - 1


def test_a_variant_stays_one_where_a_later_window_has_no_pictures() -> None:
    log = Log(a_state(a_calibration(), asks=True))
    log.add(video("film", FILM.at(times(400))))
    answers: list[Proved | None] = [OTHER_WRITING, None]
    events: list[Event] = []
    for number in range(3 * WINDOW):
        said = log.events(live_frame("live", number / 2, edited(FILM.at([number / 2]), seed=number)))
        for asked in [one for event in said for one in asks_of(event)]:
            if answers:
                said += log.events(answer(asked, [answers.pop(0)]))
        events += said
    assert answers == []
    assert flagged(events) == []
    last = [event.verdict for event in events if isinstance(event, Rolling)][-1]
    assert [match.relation for match in last.matches] == [Relation.VARIANT]


def test_answers_name_what_was_asked_and_nothing_waits_of_what_left() -> None:
    log = a_log()
    _, _, asked = until_asked(log)
    stale = answer(asked, [AGREES])
    stale = msgspec.structs.replace(stale, pairs=(msgspec.structs.replace(stale.pairs[0], offset=7),))
    assert log.events(stale) == []
    log.events(Removed(id="live"))
    assert (len(log.state.undecided), log.state.undecided.waiting) == (0, 0)
    assert log.events(answer(asked, [AGREES])) == []


def test_a_reference_that_left_lapses() -> None:
    log = a_log()
    _, _, asked = until_asked(log)
    log.events(Removed(id="film"))
    assert flagged(log.events(answer(asked, [AGREES]), live_end("live"))) == []


def test_above_max_pending_nothing_is_asked_and_a_match_is_unsure() -> None:
    with closing(a_state(a_calibration(), asks=True, max_pending=1)) as state:
        log = Log(state)
        log.add(video("film", FILM.at(times(100))), video("other", edited(FILM.at(times(30)), seed=5)))
        assert state.undecided.waiting == 1
        events = log.events(*(frame(n) for n in range(40)), live_end("live"))
        assert [one for one in events if asks_of(one)] == []
        assert flagged(events) == [(Decision.UNSURE, Doubt.NO)] * len(flagged(events))
        assert flagged(events)


def test_what_was_not_asked_about_is_when_the_video_ends() -> None:
    with closing(a_state(a_calibration(), asks=True, max_pending=1)) as state:
        log = Log(state)
        show_without_asking(log)
        events = log.events(live_end("live"))
        assert flagged(events) == []
        (asked,) = (one for event in events for one in asks_of(event))
        assert flagged(log.events(answer(asked, [AGREES] * len(asked.asks)))) == [(Decision.DUPLICATE, Doubt.NO)]


def test_a_follower_and_a_snapshot_wait_for_what_was_asked(tmp_path: Path) -> None:
    log = a_log()
    said: dict[int, Envelope] = {}
    entries = [Entry(place, record, 0) for place, record in enumerate(video("film", FILM.at(times(100))))]
    for number in range(40):
        entries.append(Entry(len(entries), frame(number), 0))
        (envelope,) = log.add(frame(number))
        said[envelope.offset] = envelope
        asked = [one for event in envelope.events for one in asks_of(event)]
        if asked:
            break
    given = answer(asked[0], [AGREES])
    (wanted,) = log.add(given)
    follower = a_state(a_calibration(), asks=True, vectors=VectorFile(tmp_path / VECTORS, D, "s"))
    follower.apply(entries, said)
    Snapshots(tmp_path).save(follower, len(entries) - 1)
    (got,) = follower.apply([Entry(len(entries), given, 0)])
    assert got.events == wanted.events
    follower.close()
    with closing(a_state(a_calibration(), asks=True, vectors=VectorFile(tmp_path / VECTORS, D, "s"))) as again:
        assert Snapshots(tmp_path).load(again) == len(entries) - 1
        (got,) = again.apply([Entry(len(entries), given, 0)])
        assert got.events == wanted.events


def test_what_was_flagged_before_proofs_were_made_stays_a_duplicate(tmp_path: Path) -> None:
    """Its scene may be over, so that nothing of it can be asked any more."""
    with closing(a_state(a_calibration(), vectors=VectorFile(tmp_path / VECTORS, D, "s"))) as before:
        log = Log(before)
        log.add(video("film", FILM.at(times(100))))
        assert flagged(log.events(*(frame(n) for n in range(40)))) == [(Decision.DUPLICATE, Doubt.NO)]
        Snapshots(tmp_path).save(before, 40)
    with closing(a_state(a_calibration(), asks=True, vectors=VectorFile(tmp_path / VECTORS, D, "s"))) as state:
        assert Snapshots(tmp_path).load(state) == 40
        log = Log(state)
        other = (live_frame("live", 20 + n / 2, Film(2).at([n / 2])) for n in range(40))
        events = log.events(*other, live_end("live"))
        assert flagged(events) == []
        (*_, last) = (event.verdict for event in events if isinstance(event, Rolling))
        assert last.decision is Decision.DUPLICATE


def test_an_answer_between_frames_of_a_batch_says_what_it_says_alone() -> None:
    log = a_log()
    taken, _, asked = until_asked(log)
    records = [*video("film", FILM.at(times(100))), *(frame(n) for n in range(taken + 6))]
    records += [answer(asked, [AGREES]), *(frame(taken + 6 + n) for n in range(10)), live_end("live")]
    entries = [Entry(offset, record, 0) for offset, record in enumerate(records)]
    with closing(a_state(a_calibration(), asks=True)) as alone, closing(a_state(a_calibration(), asks=True)) as batch:
        wanted = [envelope for entry in entries for envelope in alone.apply([entry])]
        assert flagged([event for envelope in wanted for event in envelope.events]) == [(Decision.DUPLICATE, Doubt.NO)]
        assert batch.apply(entries) == wanted
