"""What a reviewer said of a pair means the same at every door: verdicts, live videos, lookups, the store of flags."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest

from neardup.pipeline.log.changes import Outcome, Reviewed
from neardup.pipeline.log.records import Changed, Envelope, Matched, Removed, Rolling
from neardup.pipeline.log.verdicts import as_judged
from neardup.pipeline.match.query.lookup import ask
from neardup.pipeline.store.memory import MemoryStore
from neardup.pipeline.types import Decision, Descriptors
from tests.pipeline.match.build import Film, Log, at, live_end, live_frames, picture, times, video

Matches = Iterable[Matched]
Door = Callable[[list[Outcome]], Matches]


def reviews(item: str, outcomes: list[Outcome]) -> list[Reviewed]:
    return [Reviewed(item=item, reference="a", outcome=one, by="jo") for one in outcomes]


def a_log(outcomes: list[Outcome]) -> Log:
    log = Log()
    log.add(picture("a", 0), picture("b", 35), *reviews("b", outcomes), Removed(id="b"))
    return log


def stream(outcomes: list[Outcome]) -> Matches:
    """The same content under another id."""
    return a_log(outcomes).verdict(picture("b again", 35, sha256=b"content of b")).matches


def looked_up(outcomes: list[Outcome]) -> Matches:
    return ask(a_log(outcomes).state, picture("", 35, sha256=b"content of b"), 0).matches


def live(outcomes: list[Outcome]) -> Matches:
    """Two recordings of one room, of which one is live; what is said of it changes while it runs."""

    def room(seed: int) -> Descriptors:
        vectors = np.sqrt(0.85) * at(0) + np.sqrt(0.15) * Film(seed).at(times(12))
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)

    log, frames = Log(), live_frames("live", room(5), np.arange(25) / 2.0)
    log.add(video("a", room(1)))
    said = log.events(frames[:15])
    for n, review in enumerate(reviews("live", outcomes)):
        said += log.events(review, frames[15 + n : 16 + n])
    said += log.events(frames[15 + len(outcomes) :], live_end("live"))
    return [event for event in said if isinstance(event, Rolling)][-1].verdict.matches


def stored(outcomes: list[Outcome]) -> Matches:
    log, store = Log(), MemoryStore()
    envelopes = log.add(picture("a", 0), picture("b", 35))
    changes = [Changed(record=one) for one in reviews("b", outcomes)]
    store.apply([*envelopes, *(Envelope(offset=2 + n, events=(one,)) for n, one in enumerate(changes))])
    verdict = store.verdict("b")
    assert verdict is not None
    return verdict.matches


@pytest.mark.parametrize(
    "outcomes",
    [
        [Outcome.MATCH],
        [Outcome.NOT_A_MATCH],
        [Outcome.MATCH, Outcome.UNDO],
        [Outcome.NOT_A_MATCH, Outcome.UNDO],
        [Outcome.NOT_A_MATCH, Outcome.MATCH],
    ],
)
@pytest.mark.parametrize("door", [stream, looked_up, live, stored])
def test_a_match_is_shown_as_a_reviewer_left_it(door: Door, outcomes: list[Outcome]) -> None:
    (unjudged,) = door([])
    assert (unjudged.reference, unjudged.decision) == ("a", Decision.UNSURE)
    expected = as_judged(unjudged, None if outcomes[-1] is Outcome.UNDO else outcomes[-1])
    found = [(one.reference, one.decision, one.probability) for one in door(outcomes)]
    assert found == ([] if expected is None else [(expected.reference, expected.decision, expected.probability)])
