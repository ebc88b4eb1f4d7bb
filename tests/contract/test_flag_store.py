"""One suite for every store of flags: in memory, the reference, and in Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import pairwise

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.log.changes import (
    Action,
    BankChanged,
    BankEdit,
    Outcome,
    ReferenceChanged,
    ReferenceEdit,
    Reviewed,
)
from neardup.pipeline.log.proofs import Asked, ProofPending
from neardup.pipeline.log.records import (
    NOTHING,
    Changed,
    Envelope,
    Event,
    Ignored,
    Matched,
    Redecided,
    Redelivered,
    Referenced,
    ReHeaded,
    RemovedEvent,
    Replaced,
    RetroMatched,
    Rolling,
    Unreferenced,
    Verdict,
)
from neardup.pipeline.log.verdicts import combine
from neardup.pipeline.store.interface import DeadLetter, FlagStore, ReviewQueue, queues_of
from neardup.pipeline.store.memory import MemoryStore
from neardup.pipeline.store.redis import RedisStore
from neardup.pipeline.types import Decision, Doubt
from neardup.pipeline.where import WHOLE, Relation, Where, WhereKind
from tests.integration.conftest import redis
from tests.timing import until

__all__ = ["redis"]


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.integration)])
def store(request: pytest.FixtureRequest) -> Iterator[FlagStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    made = RedisStore(request.getfixturevalue("redis"), "f00d")
    yield made
    made.close()


def matched(reference: str, decision: Decision = Decision.DUPLICATE, whole: bool = True) -> Matched:
    return Matched(
        reference=reference,
        bank="seen",
        decision=decision,
        distance=0.1,
        evidence=0.9,
        probability=0.99,
        where=WHOLE if whole else Where(kind=WhereKind.PART, query_box=(0.0, 0.0, 0.5, 1.0)),
    )


def new(item: str) -> Verdict:
    return Verdict(id=item, decision=Decision.DISTINCT)


def copy(item: str, head: str) -> Verdict:
    return Verdict(id=item, decision=Decision.DUPLICATE, matches=(matched(head),))


def unsure(item: str, of: str) -> Verdict:
    return Verdict(id=item, decision=Decision.UNSURE, matches=(matched(of, Decision.UNSURE),))


def unproved(item: str, of: str) -> Verdict:
    match = msgspec.structs.replace(matched(of, Decision.UNSURE), doubt=Doubt.UNPROVED)
    return Verdict(id=item, decision=Decision.UNSURE, matches=(match,))


def quiet(verdict: Verdict) -> Verdict:
    return msgspec.structs.replace(verdict, quiet=True)


def re_headed(old: str, head: str, members: set[str]) -> ReHeaded:
    return ReHeaded(old=old, new=head, members=tuple(members - {head}))


def rolling(item: str, *matches: Matched, flagged: int | None = None, running: bool = True) -> Rolling:
    decision = matches[0].decision if matches else Decision.DISTINCT
    return Rolling(
        verdict=Verdict(id=item, decision=decision, matches=matches, running=running),
        flagged=None if flagged is None else matches[flagged],
    )


def redecided(verdict: Verdict, before: Decision, *withdrawn: str) -> Redecided:
    return Redecided(verdict=verdict, before=before, withdrawn=tuple(("seen", one) for one in withdrawn))


def log(*events: Event | Sequence[Event]) -> list[Envelope]:
    """Return one envelope for each argument."""
    return [
        Envelope(offset=offset, events=tuple(one) if isinstance(one, Sequence) else (one,))
        for offset, one in enumerate(events)
    ]


def contents(store: FlagStore, ids: str = "abcdefgh") -> tuple[object, ...]:
    return (
        store.applied(),
        [store.verdict(item) for item in ids],
        [store.members(item) for item in ids],
        store.feed("", 10_000),
        [store.head(item) for item in ids],
        [store.queue(0, 10_000, queue) for queue in ReviewQueue],
        store.audit("", 10_000),
        store.banks(),
        store.references("blocked", 0, 10_000),
    )


def test_an_empty_store_knows_nothing(store: FlagStore) -> None:
    assert contents(store, "a") == (NOTHING, [None], [frozenset()], [], [""], [[], [], []], [], [], [])
    assert store.apply([]) == 0


def test_copies_are_flagged_and_stand_under_their_head(store: FlagStore) -> None:
    assert store.apply(log(new("a"), copy("b", "a"), (), unsure("c", "a"))) == 4
    assert store.applied() == 3
    assert store.verdict("a") == new("a")
    assert store.verdict("b") == copy("b", "a")
    assert store.members("a") == {"b"}
    assert [(entry.event, entry.verdict.id) for entry in store.feed("", 10)] == [("1.0", "b"), ("3.0", "c")]


def test_what_is_quiet_is_kept_and_neither_in_the_feed_nor_queued(store: FlagStore) -> None:
    old, doubtful = quiet(copy("b", "a")), quiet(unsure("c", "a"))
    store.apply(log(quiet(new("a")), old, doubtful, redecided(quiet(copy("c", "a")), Decision.UNSURE)))
    assert store.verdict("b") == old
    assert store.verdict("c") == quiet(copy("c", "a"))
    assert store.members("a") == {"b", "c"}
    assert (store.feed("", 10), [store.queue(0, 10, queue) for queue in ReviewQueue]) == ([], [[], [], []])


def test_a_later_reference_that_matches_a_quiet_item_is_news(store: FlagStore) -> None:
    store.apply(log(quiet(new("a")), RetroMatched(id="a", match=blocked("r"))))
    assert [(entry.verdict.id, entry.retro) for entry in store.feed("", 10)] == [("a", True)]
    assert [one.item for one in store.queue(0, 10, ReviewQueue.ALL)] == ["a"]
    assert store.verdict("a") == quiet(combine("a", [blocked("r")]))


def test_a_match_of_a_part_makes_no_member(store: FlagStore) -> None:
    part = Verdict(id="b", decision=Decision.DUPLICATE, matches=(matched("a", whole=False),))
    store.apply(log(new("a"), part))
    assert store.members("a") == frozenset()
    assert [entry.verdict for entry in store.feed("", 10)] == [part]


def test_a_variant_is_listed_and_neither_flagged_nor_queued_nor_a_member(store: FlagStore) -> None:
    match = msgspec.structs.replace(matched("a", Decision.DISTINCT), relation=Relation.VARIANT)
    variant, later = Verdict(id="b", decision=Decision.DISTINCT, matches=(match,)), RetroMatched(id="c", match=match)
    store.apply(log(new("a"), variant, new("c"), later))
    assert store.verdict("b") == variant
    assert store.verdict("c") == Verdict(id="c", decision=Decision.DISTINCT, matches=(match,))
    assert (store.members("a"), store.feed("", 10)) == (frozenset(), [])
    assert (store.queue(0, 10, queue=ReviewQueue.ALL), store.queued(queue=ReviewQueue.ALL)) == ([], 0)


def test_what_was_applied_is_passed_over(store: FlagStore) -> None:
    envelopes = log(new("a"), copy("b", "a"), RemovedEvent(id="b"), copy("c", "a"))
    assert store.apply(envelopes) == 4
    before = contents(store)
    assert store.apply(envelopes) == 0
    assert [store.apply([envelope]) for envelope in envelopes] == [0, 0, 0, 0]
    assert contents(store) == before
    assert store.apply([*envelopes[2:], Envelope(offset=4, events=(copy("d", "a"),))]) == 1
    assert [entry.verdict.id for entry in store.feed("", 10)] == ["b", "c", "d"]


def test_envelopes_that_do_not_follow_are_refused(store: FlagStore) -> None:
    envelopes = log(new("a"), copy("b", "a"), copy("c", "a"), copy("d", "a"))
    store.apply(envelopes[:2])
    assert store.apply(envelopes[3:], after=2) is None
    assert store.applied() == 1
    assert store.verdict("d") is None
    assert store.apply(envelopes[2:], after=1) == 2
    assert store.apply(envelopes[1:], after=0) == 0


def test_a_removed_item_is_forgotten_and_stays_in_the_feed(store: FlagStore) -> None:
    store.apply(log(new("a"), copy("b", "a"), RemovedEvent(id="b")))
    assert store.verdict("b") is None
    assert store.members("a") == frozenset()
    assert [entry.verdict.id for entry in store.feed("", 10)] == ["b"]


def test_a_new_version_takes_the_place_of_the_old(store: FlagStore) -> None:
    store.apply(log(new("a"), new("x"), copy("b", "a"), (Replaced(id="b"), copy("b", "x"))))
    assert store.verdict("b") == copy("b", "x")
    assert (store.members("a"), store.members("x")) == (frozenset(), {"b"})
    assert [entry.event for entry in store.feed("", 10)] == ["2.0", "3.1"]


def test_members_of_a_lost_head_stand_under_the_new_one(store: FlagStore) -> None:
    store.apply(
        log(
            new("a"),
            copy("b", "a"),
            copy("c", "a"),
            copy("d", "a"),
            (ReHeaded(old="a", new="b", members=("c",)), ReHeaded(old="a", new="d"), RemovedEvent(id="a")),
            copy("e", "b"),
        )
    )
    assert store.verdict("a") is None
    assert [store.members(item) for item in "abd"] == [frozenset(), {"c", "e"}, frozenset()]
    assert store.verdict("b") == copy("b", "a")  # what was said was said


def test_live_video_enters_the_feed_once_for_each_match_and_its_latest_verdict_is_shown(store: FlagStore) -> None:
    part, grown = matched("a", whole=False), msgspec.structs.replace(matched("a", whole=False), evidence=0.95)
    other = matched("b", Decision.UNSURE, whole=False)
    store.apply(
        log(
            new("a"),
            new("b"),
            rolling("live", part, flagged=0),
            rolling("live", grown),
            (rolling("live", grown, other), rolling("live", grown, other, flagged=1)),
            rolling("live", grown, other, running=False),
        )
    )
    assert store.verdict("live") == Verdict(id="live", decision=Decision.DUPLICATE, matches=(grown, other))
    assert [(entry.event, entry.verdict.decision, entry.verdict.matches) for entry in store.feed("", 10)] == [
        ("2.0", Decision.DUPLICATE, (part,)),
        ("4.1", Decision.UNSURE, (other,)),
    ]
    assert [entry.verdict.running for entry in store.feed("", 10)] == [True, True]


def test_live_video_is_a_member_of_nothing_and_is_forgotten_when_removed(store: FlagStore) -> None:
    store.apply(log(new("a"), copy("b", "a"), rolling("b", matched("a"), flagged=0), RemovedEvent(id="b")))
    assert store.members("a") == frozenset()
    assert store.verdict("b") is None
    assert [entry.event for entry in store.feed("", 10)] == ["1.0", "2.0"]


def test_what_waits_is_said_nothing_of(store: FlagStore) -> None:
    store.apply(log(new("a"), ProofPending(asked=Asked(id="b", offset=1)), copy("b", "a")))
    assert [entry.event for entry in store.feed("", 10)] == ["2.0"]
    assert store.members("a") == {"b"}


def test_a_late_proof_takes_the_place_of_a_verdict(store: FlagStore) -> None:
    store.apply(log(new("a"), unsure("b", "a"), redecided(copy("b", "a"), Decision.UNSURE)))
    assert (store.verdict("b"), store.members("a")) == (copy("b", "a"), {"b"})
    assert [(entry.event, entry.verdict.decision) for entry in store.feed("", 10)] == [
        ("1.0", Decision.UNSURE),
        ("2.0", Decision.DUPLICATE),
    ]
    assert [one.item for one in store.queue(0, 10)] == []
    assert [one.item for one in store.queue(0, 10, queue=ReviewQueue.ALL)] == ["b"]


def test_what_a_late_proof_withdraws_waits_for_nobody(store: FlagStore) -> None:
    store.apply(log(new("a"), unsure("b", "a"), redecided(new("b"), Decision.UNSURE, "a")))
    assert store.verdict("b") == new("b")
    assert store.queue(0, 10, queue=ReviewQueue.ALL) == []
    assert len(store.feed("", 10)) == 1


def test_redelivered_and_ignored_change_nothing_but_the_offset(store: FlagStore) -> None:
    store.apply(log(new("a"), copy("b", "a")))
    _, *before = contents(store)
    store.apply(
        [Envelope(offset=2, events=(Redelivered(id="b"),)), Envelope(offset=3, events=(Ignored(id="a", why=""),))]
    )
    applied, *after = contents(store)
    assert (applied, after) == (3, before)


def test_the_feed_is_read_on_from_an_event(store: FlagStore) -> None:
    store.apply(log(new("a"), (copy("b", "a"), copy("c", "a")), *(copy(item, "a") for item in "defgh")))
    assert [entry.event for entry in store.feed("1.0", 3)] == ["1.1", "2.0", "3.0"]
    assert store.feed("6.0", 3) == []


def test_ids_of_any_letters_are_kept(store: FlagStore) -> None:
    ids = ["a b", "ü" * 120, "{x}", "a*:v:?", "\n", "0"]
    store.apply(log(new("head"), *(copy(item, "head") for item in ids)))
    assert store.members("head") == set(ids)
    assert [store.verdict(item) for item in ids] == [copy(item, "head") for item in ids]


def mixed(item: str, made: list[tuple[Callable[[str, str], Verdict], str, str]]) -> Verdict:
    """Return a verdict on an item with the matches of these."""
    found = {(bank, of): msgspec.structs.replace(kind(item, of).matches[0], bank=bank) for kind, of, bank in made}
    return combine(item, found.values())


@st.composite
def histories(draw: st.DrawFn) -> list[Envelope]:
    ids, banks = st.sampled_from("abcdefgh"), st.sampled_from(["seen", "blocked"])
    event = st.one_of(
        ids.map(new),
        st.builds(copy, ids, ids),
        st.builds(unsure, ids, ids),
        st.builds(unproved, ids, ids),
        st.builds(lambda kind, item, of: quiet(kind(item, of)), st.sampled_from([copy, unsure, unproved]), ids, ids),
        st.builds(mixed, ids, st.lists(st.tuples(st.sampled_from([copy, unsure, unproved]), ids, banks), max_size=3)),
        st.builds(
            lambda item, of, flagged: rolling(item, matched(of), flagged=flagged), ids, ids, st.sampled_from([None, 0])
        ),
        st.builds(
            redecided,
            st.one_of(ids.map(new), *(st.builds(kind, ids, ids) for kind in (copy, unsure, unproved))),
            st.sampled_from(Decision),
            ids,
        ),
        st.builds(lambda item: ProofPending(asked=Asked(id=item, offset=0)), ids),
        st.builds(RemovedEvent, id=ids),
        st.builds(Replaced, id=ids),
        st.builds(Redelivered, id=ids),
        st.builds(
            lambda old, head, members: ReHeaded(old=old, new=head, members=tuple(members - {head})),
            ids,
            ids,
            st.sets(ids),
        ),
        st.builds(says, ids, ids, st.sampled_from(Outcome), banks),
        st.builds(
            lambda item, of, decision: RetroMatched(id=item, match=blocked(of, decision)),
            ids,
            ids,
            st.sampled_from([Decision.DUPLICATE, Decision.UNSURE]),
        ),
        st.builds(lambda item, of: RetroMatched(id=item, match=blocked(of, action=Action.ALLOW)), ids, ids),
        st.builds(Referenced, id=ids, bank=st.just("blocked")),
        st.builds(Unreferenced, id=ids, bank=st.just("blocked")),
        st.builds(
            lambda edit, ratio: Changed(record=BankChanged(bank="blocked", edit=edit, enable_ratio=ratio)),
            st.sampled_from(BankEdit),
            st.sampled_from([None, 0.5]),
        ),
        st.builds(
            lambda item, until: Changed(record=ReferenceChanged(bank="blocked", id=item, disabled_until_ms=until)),
            ids,
            st.sampled_from([None, 0, 7]),
        ),
    )
    return log(*draw(st.lists(st.lists(event, max_size=3).map(tuple), max_size=25)))


@pytest.mark.integration
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(histories(), st.lists(st.integers(0, 25), max_size=5))
def test_redis_holds_what_memory_holds(redis: str, envelopes: list[Envelope], cuts: list[int]) -> None:
    reference, store = MemoryStore(), RedisStore(redis, "f00d")
    try:
        store.clear()
        reference.apply(envelopes)
        borders = [0, *sorted(cuts), len(envelopes)]
        for start, stop in pairwise(borders):
            store.apply(envelopes[max(0, start - 3) : stop])
        assert contents(store) == contents(reference)
        dump = keys(store)
        store.clear()
        store.apply(envelopes)
        assert keys(store) == dump
    finally:
        store.close()


def keys(store: RedisStore) -> dict[bytes, object]:
    """Return all that Redis holds."""
    connection = store._redis
    read: dict[bytes, Callable[[bytes], object]] = {
        b"string": connection.get,
        b"hash": connection.hgetall,
        b"set": lambda key: frozenset(connection.smembers(key)),
        b"zset": lambda key: connection.zrange(key, 0, -1, withscores=True),
        b"stream": connection.xrange,
    }
    return {key: read[connection.type(key)](key) for key in connection.keys("*")}


@pytest.mark.integration
def test_clear_leaves_other_spaces_alone(redis: str) -> None:
    one, other = RedisStore(redis, "f00d"), RedisStore(redis, "f00")
    for store in (one, other):
        store.apply(log(new("a"), copy("b", "a")))
    one.clear()
    assert (one.applied(), len(keys(one))) == (NOTHING, 7)
    assert other.members("a") == {"b"}
    one.close()
    other.close()


@pytest.mark.integration
def test_tenants_of_a_space_share_nothing(redis: str) -> None:
    stores = [RedisStore(redis, "f00d", tenant=tenant) for tenant in ("", "acme", "blue")]
    for number, store in enumerate(stores):
        store.apply(log(new("a"), copy(f"b{number}", "a")))
    stores[1].clear()
    assert [store.applied() for store in stores] == [1, NOTHING, 1]
    assert [store.members("a") for store in stores] == [{"b0"}, frozenset(), {"b2"}]
    for store in stores:
        store.close()


@pytest.mark.integration
def test_an_interrupted_clear_is_made_up_for_by_a_replay(redis: str) -> None:
    store = RedisStore(redis, "f00d")
    envelopes = log(new("a"), copy("b", "a"), copy("c", "a"), RemovedEvent(id="c"))
    store.apply(envelopes)
    dump = keys(store)
    store._redis.delete("nd:{f00d}:applied", "nd:{f00d}:feed", "nd:{f00d}:v:b")
    assert store.apply(envelopes) == 4
    assert keys(store) == dump
    store.close()


def at(seconds: float, offset: int, *events: Event) -> Envelope:
    return Envelope(offset=offset, events=events, timestamp_ms=int(seconds * 1000))


def kept_until(store: RedisStore, item: str) -> int:
    """Return the second at which an item's verdict is forgotten; -1 never, -2 it is not there."""
    return int(store._redis.expiretime(f"nd:{{f00d}}:v:{item}"))


@pytest.mark.integration
def test_distinct_verdicts_are_forgotten_days_after_their_record(redis: str) -> None:
    day, now = 24 * 3600, int(time.time())
    envelopes = [
        at(now - 3 * day, 0, new("past"), new("old head")),
        at(now - 1 * day, 1, new("kept")),
        at(now - 3 * day, 2, copy("copy", "old head"), unsure("unsure", "past")),
        Envelope(offset=3, events=(new("of no time"),)),
    ]
    with closing(RedisStore(redis, "f00d", keep_distinct_days=2)) as store:
        store.apply(envelopes)
        assert store.verdict("past") is None
        assert kept_until(store, "past") == -2
        assert kept_until(store, "kept") == now + day
        assert [kept_until(store, item) for item in ("copy", "unsure", "of no time")] == [-1, -1, -1]
        assert store.members("old head") == {"copy"}
        before = keys(store), [kept_until(store, item) for item in ("past", "kept", "copy")]
        store.clear()
        store.apply(envelopes)
        assert (keys(store), [kept_until(store, item) for item in ("past", "kept", "copy")]) == before
    with closing(RedisStore(redis, "f00d")) as for_ever:
        for_ever.clear()
        for_ever.apply(envelopes)
        assert [kept_until(for_ever, item) for item in ("past", "kept")] == [-1, -1]


@pytest.mark.integration
def test_what_becomes_a_copy_is_kept(redis: str) -> None:
    now = int(time.time())
    with closing(RedisStore(redis, "f00d", keep_distinct_days=1)) as store:
        store.apply([at(now, 0, new("a"), new("b"))])
        assert kept_until(store, "b") == now + 24 * 3600
        store.apply([at(now, 1, rolling("b", matched("a"), flagged=0))])
        assert kept_until(store, "b") == -1
        store.apply([at(now + 60, 2, Replaced(id="b"), new("b"))])
        assert kept_until(store, "b") == now + 60 + 24 * 3600


@pytest.mark.integration
def test_a_flag_worker_that_writes_during_a_clear_begins_again(redis: str, monkeypatch: pytest.MonkeyPatch) -> None:
    envelopes = log(new("a"), copy("b", "a"), copy("c", "a"))
    with closing(RedisStore(redis, "f00d")) as store, closing(RedisStore(redis, "f00d")) as worker:
        store.apply(envelopes)
        dump = keys(store)
        scan = store._redis.scan_iter

        def meanwhile(**options: object) -> Iterator[bytes]:
            found = list(scan(**options))
            assert worker.apply(envelopes[:2]) == 2  # with keys that will be removed
            return iter(found)

        monkeypatch.setattr(store._redis, "scan_iter", meanwhile)
        store.clear()
        assert worker.apply(envelopes[2:], after=1) is None
        assert worker.apply(envelopes) == 3
        assert keys(store) == dump


def test_a_redis_that_is_away_is_a_dependency_error() -> None:
    store = RedisStore("redis://127.0.0.1:1/0", "f00d")
    with pytest.raises(DependencyError, match="Redis"):
        store.applied()
    store.close()


# -- banks, reviews, the queue and the audit trail ------------------------------------------------------


def blocked(reference: str, decision: Decision = Decision.DUPLICATE, **how: object) -> Matched:
    return msgspec.structs.replace(matched(reference, decision), bank="blocked", **how)


def says(item: str, reference: str, outcome: Outcome, bank: str = "seen", refused: str = "") -> Changed:
    review = Reviewed(item=item, reference=reference, outcome=outcome, bank=bank, by="jo")
    return Changed(record=review, refused=refused)


def waiting(store: FlagStore) -> list[str]:
    return [one.item for one in store.queue(0, 100, queue=ReviewQueue.ALL)]


def test_flagged_items_wait_for_review_in_order_of_arrival(store: FlagStore) -> None:
    store.apply(log([unsure("b", "a")], [new("x")], [copy("c", "a")], [unsure("aa", "a")]))
    assert waiting(store) == ["b", "c", "aa"]
    assert store.queued(queue=ReviewQueue.ALL) == 3
    (second,) = store.queue(1, 1, queue=ReviewQueue.ALL)
    assert (second.item, second.offset, second.open, second.claimed_by) == ("c", 2, {("seen", "a")}, "")
    assert second.verdict == copy("c", "a")


def queues(store: FlagStore) -> tuple[str, str, str]:
    """Return the items of each queue: unsure, unproved, all."""
    found = {queue: "".join(one.item for one in store.queue(0, 99, queue)) for queue in ReviewQueue}
    assert {queue: store.queued(queue) for queue in ReviewQueue} == {queue: len(ids) for queue, ids in found.items()}
    return found[ReviewQueue.UNSURE], found[ReviewQueue.UNPROVED], found[ReviewQueue.ALL]


def test_certain_duplicates_wait_only_for_who_asks_for_them(store: FlagStore) -> None:
    store.apply(log([unsure("b", "a")], [copy("c", "a")]))
    assert queues(store) == ("b", "", "bc")
    assert [one.item for one in store.claim("jo", 9, 60_000)] == ["b"]
    assert [one.item for one in store.claim("jo", 9, 60_000, queue=ReviewQueue.ALL)] == ["b", "c"]


def test_what_is_unsure_beside_a_certain_duplicate_does_not_wait(store: FlagStore) -> None:
    both = Verdict(id="b", decision=Decision.DUPLICATE, matches=(matched("a"), matched("x", Decision.UNSURE)))
    store.apply(log([both]))
    assert queues(store) == ("", "", "b")
    assert store.queue(0, 9, ReviewQueue.ALL)[0].open == {("seen", "a"), ("seen", "x")}
    store.apply(log([], [says("b", "a", Outcome.NOT_A_MATCH)]))
    assert queues(store) == ("b", "", "b")
    store.apply(log([], [], [says("b", "a", Outcome.UNDO)]))
    assert queues(store) == ("", "", "b")


def test_what_may_be_in_a_curated_bank_waits_whatever_upload_it_copies(store: FlagStore) -> None:
    doubtful = blocked("r", Decision.UNSURE)
    store.apply(log([Verdict(id="b", decision=Decision.DUPLICATE, matches=(doubtful, matched("a")))]))
    assert queues(store) == ("b", "", "b")
    store.apply(log([], [RetroMatched(id="b", match=blocked("s"))]))  # and in which it is for certain
    assert queues(store) == ("", "", "b")


def test_what_nobody_proved_waits_in_a_queue_of_its_own(store: FlagStore) -> None:
    store.apply(log([unsure("b", "a")], [unproved("c", "a")], [unproved("d", "a")], [unproved("e", "a")]))
    assert queues(store) == ("b", "cde", "bcde")
    assert [one.item for one in store.claim("jo", 9, 60_000, queue=ReviewQueue.UNPROVED)] == ["c", "d", "e"]
    late = [redecided(one, Decision.UNSURE) for one in (unsure("c", "a"), copy("d", "a"))]
    store.apply(log([], [], [], [], late, [redecided(new("e"), Decision.UNSURE, "a")]))
    assert queues(store) == ("bc", "", "bcd")
    later = RetroMatched(id="c", match=blocked("s", Decision.UNSURE, doubt=Doubt.UNPROVED))
    store.apply(log([], [], [], [], [], [], [later], [says("c", "a", Outcome.NOT_A_MATCH)]))
    assert queues(store) == ("b", "c", "bcd")  # what is left is unproved
    store.apply(log([], [], [], [], [], [], [], [], [RemovedEvent(id="c")], [unproved("f", "a"), unsure("f", "a")]))
    assert queues(store) == ("bf", "", "bdf")


def test_later_matches_of_certain_duplicates_and_of_live_videos_wait_by_the_same_rule(store: FlagStore) -> None:
    stretches = [matched("a", one, whole=False) for one in (Decision.UNSURE, Decision.DUPLICATE)]
    live = [rolling("e", one, flagged=0) for one in stretches]
    store.apply(log([copy("c", "a")], [RetroMatched(id="c", match=blocked("s", Decision.UNSURE))], [live[0]]))
    assert queues(store) == ("ce", "", "ce")
    store.apply(log([], [], [], [live[1]]))
    assert queues(store) == ("c", "", "ce")


def test_each_open_match_has_one_place() -> None:
    seen, other, banked, more = ("seen", "a"), ("seen", "b"), ("blocked", "r"), ("blocked", "s")
    every, nothing = frozenset({ReviewQueue.ALL}), frozenset[tuple[str, str]]()
    assert queues_of(nothing, {seen}, nothing) == frozenset()
    assert queues_of({seen, other}, {other}, nothing) == every
    assert queues_of({seen, banked}, {seen}, nothing) == every
    assert queues_of({more, banked}, {more}, nothing) == every
    assert queues_of({seen, banked}, {banked}, nothing) == every | {ReviewQueue.UNSURE}
    assert queues_of({seen, other}, {seen, other}, {seen}) == every | {ReviewQueue.UNSURE}
    assert queues_of({seen, banked}, {banked}, {banked}) == every | {ReviewQueue.UNPROVED}


def test_what_is_confirmed_leaves_the_queue_and_is_a_duplicate(store: FlagStore) -> None:
    store.apply(log([unsure("b", "a")], [says("b", "a", Outcome.MATCH)]))
    assert waiting(store) == []
    verdict = store.verdict("b")
    assert verdict is not None
    assert verdict.decision is Decision.DUPLICATE


def test_what_matches_nothing_any_more_leaves_the_queue_and_is_distinct(store: FlagStore) -> None:
    both = Verdict(id="b", decision=Decision.DUPLICATE, matches=(blocked("r"), matched("a")))
    store.apply(log([both], [says("b", "r", Outcome.NOT_A_MATCH, "blocked")]))
    assert [one.open for one in store.queue(0, 9, queue=ReviewQueue.ALL)] == [{("seen", "a")}]
    assert [m.reference for m in store.queue(0, 9, queue=ReviewQueue.ALL)[0].verdict.matches] == ["a"]
    store.apply(log([both], [both], [says("b", "a", Outcome.NOT_A_MATCH)])[2:], after=1)
    assert waiting(store) == []
    verdict = store.verdict("b")
    assert verdict is not None
    assert (verdict.decision, verdict.matches) == (Decision.DISTINCT, ())


@pytest.mark.parametrize("outcome", [Outcome.MATCH, Outcome.NOT_A_MATCH])
def test_undone_reviews_put_an_item_back_where_it_was(store: FlagStore, outcome: Outcome) -> None:
    store.apply(log([unsure("b", "a")], [unsure("c", "a")], [says("b", "a", outcome)]))
    assert waiting(store) == ["c"]
    store.apply(log([], [], [], [says("b", "a", Outcome.UNDO)]))
    assert waiting(store) == ["b", "c"]
    assert store.verdict("b") == unsure("b", "a")


def test_refused_reviews_change_nothing_but_the_audit_trail(store: FlagStore) -> None:
    refused = says("b", "a", Outcome.MATCH, refused="there is no item")
    store.apply(log([unsure("b", "a")], [refused]))
    assert waiting(store) == ["b"]
    assert [entry.changed for entry in store.audit("", 9)] == [refused]


def test_removed_items_leave_the_queue(store: FlagStore) -> None:
    store.apply(log([unsure("b", "a")], [unsure("c", "a")], [RemovedEvent(id="b")], [Replaced(id="c"), new("c")]))
    assert waiting(store) == []


def test_no_two_reviewers_get_the_same_item(store: FlagStore) -> None:
    store.apply(log(*([unsure(f"i{n:03}", "a")] for n in range(250))))
    mine = [one.item for one in store.claim("jo", 120, 60_000)]
    theirs = [one.item for one in store.claim("al", 120, 60_000)]
    assert mine == [f"i{n:03}" for n in range(120)]
    assert theirs == [f"i{n:03}" for n in range(120, 240)]
    assert [one.item for one in store.claim("jo", 1, 60_000)] == ["i000"]
    assert [one.item for one in store.claim("jo", 2, 60_000, passed=["i000", "i001"])] == ["i002", "i003"]
    store.release("al", "i000")
    assert [one.item for one in store.claim("al", 1, 60_000, passed=theirs)] == ["i240"]
    store.release("jo", "i000")
    assert [one.item for one in store.claim("al", 1, 60_000, passed=theirs)] == ["i000"]
    assert store.queue(0, 1)[0].claimed_by == store.claimer("i000") == "al"
    assert store.claimer("nobody") == ""


def test_a_claim_ends_by_itself(store: FlagStore) -> None:
    store.apply(log([unsure("b", "a")]))
    assert [one.item for one in store.claim("jo", 1, 600_000)] == ["b"]
    assert store.claim("al", 1, 50) == []
    assert [one.item for one in store.claim("jo", 1, 50)] == ["b"]  # again, and for less long
    until(lambda: [one.item for one in store.claim("al", 1, 50)] == ["b"], "the claim ends")


def test_a_later_match_joins_the_verdict_the_feed_and_the_queue(store: FlagStore) -> None:
    store.apply(log([new("b")], [RetroMatched(id="b", match=blocked("r"))]))
    verdict = store.verdict("b")
    assert verdict is not None
    assert (verdict.decision, [m.bank for m in verdict.matches]) == (Decision.DUPLICATE, ["blocked"])
    assert [(entry.event, entry.verdict.id, entry.retro) for entry in store.feed("", 9)] == [("1.0", "b", True)]
    assert waiting(store) == ["b"]


def test_a_later_match_that_is_decided_once_more_takes_the_place_of_what_was_said(store: FlagStore) -> None:
    unproved = {"decision": Decision.UNSURE, "doubt": Doubt.UNPROVED}
    store.apply(log([new(id) for id in "bcd"], [RetroMatched(id=id, match=blocked("r", **unproved)) for id in "bcd"]))
    assert queues(store) == ("", "bcd", "bcd")
    late = [
        RetroMatched(id=id, match=blocked("r", decision), before=Decision.UNSURE)
        for id, decision in (("b", Decision.DUPLICATE), ("c", Decision.UNSURE), ("d", Decision.DISTINCT))
    ]
    store.apply(log([], [], late))
    assert queues(store) == ("c", "", "bc")
    decisions = [verdict.decision for id in "bcd" if (verdict := store.verdict(id)) is not None]
    assert decisions == [Decision.DUPLICATE, Decision.UNSURE, Decision.DISTINCT]
    assert [entry.verdict.id for entry in store.feed("", 9)] == ["b", "c", "d", "b"]
    assert store.verdict("d") == new("d")


def test_what_a_live_video_was_flagged_for_waits_no_more_once_it_is_a_variant(store: FlagStore) -> None:
    doubtful = matched("a", Decision.UNSURE, whole=False)
    store.apply(log([rolling("e", doubtful, flagged=0)]))
    assert queues(store) == ("e", "", "e")
    variant = msgspec.structs.replace(doubtful, decision=Decision.DISTINCT, relation=Relation.VARIANT)
    store.apply(log([], [rolling("e", variant)]))
    assert queues(store) == ("", "", "")


def test_what_a_live_video_was_flagged_for_waits_no_more_once_it_is_withdrawn(store: FlagStore) -> None:
    some = [matched(id, Decision.UNSURE, whole=False) for id in "ab"]
    store.apply(log([rolling("e", *some, flagged=0), rolling("e", *some, flagged=1)]))
    left = msgspec.structs.replace(rolling("e", some[1]), withdrawn=(("seen", "a"),))
    store.apply(log([], [left]))
    assert [one.open for one in store.queue(0, 9)] == [{("seen", "b")}]
    gone = msgspec.structs.replace(rolling("e"), withdrawn=(("seen", "b"),))
    store.apply(log([], [], [gone]))
    assert queues(store) == ("", "", "")
    assert [entry.verdict.matches[0].reference for entry in store.feed("", 9)] == ["a", "b"]


def test_what_is_allowed_later_leaves_the_queue_and_is_distinct(store: FlagStore) -> None:
    allowing = msgspec.structs.replace(blocked("logo", action=Action.ALLOW), bank="fine")
    store.apply(log([copy("b", "a")], [RetroMatched(id="b", match=allowing)]))
    assert waiting(store) == []
    verdict = store.verdict("b")
    assert verdict is not None
    assert (verdict.decision, verdict.allowed) == (Decision.DISTINCT, "fine")
    assert len(store.feed("", 9)) == 1


def test_the_feed_is_filtered_by_bank_and_decision(store: FlagStore) -> None:
    silenced = Verdict(id="s", decision=Decision.DUPLICATE, matches=(blocked("r", silenced=True), matched("a")))
    banked = Verdict(id="d", decision=Decision.UNSURE, matches=(blocked("r", Decision.UNSURE), matched("a")))
    store.apply(log([copy("b", "a")], [unsure("c", "a")], [banked], [silenced]))

    def ids(**how: object) -> list[str]:
        return [entry.verdict.id for entry in store.feed("", 9, **how)]  # type: ignore[arg-type]

    assert ids(bank="blocked") == ["d"]
    assert ids(decision=Decision.UNSURE) == ["c", "d"]
    assert ids(bank="seen", decision=Decision.DUPLICATE) == ["b", "s"]


def test_every_change_is_in_the_audit_trail_the_newest_first(store: FlagStore) -> None:
    changes = [Changed(record=BankChanged(bank=f"b{n}", by="jo", why="test")) for n in range(5)]
    store.apply(log(*([change] for change in changes)))
    newest = store.audit("", 2)
    assert [entry.changed for entry in newest] == changes[:2:-1]
    assert [entry.changed for entry in store.audit(newest[-1].event, 9)] == changes[2::-1]


def test_banks_are_as_the_log_left_them(store: FlagStore) -> None:
    first = BankChanged(bank="blocked", precision=0.999, note="n", metadata={"a": "é"})
    second = BankChanged(bank="blocked", action=Action.ALLOW, enable_ratio=0.25)
    store.apply(log([Changed(record=first)], [Changed(record=second)], [Changed(record=BankChanged(bank="a"))]))
    store.apply(log([], [], [], [Referenced(id="r", bank="blocked")]))
    assert [(row.name, row.action, row.precision, row.enable_ratio) for row in store.banks()] == [
        ("a", Action.FLAG, None, 1.0),
        ("blocked", Action.ALLOW, 0.999, 0.25),
    ]
    assert [(row.note, dict(row.metadata), row.references) for row in store.banks()][1] == ("n", {"a": "é"}, 1)
    store.apply(log([], [], [], [], [Changed(record=BankChanged(bank="blocked", edit=BankEdit.DELETE))]))
    assert [row.name for row in store.banks()] == ["a"]
    assert store.references("blocked", 0, 9) == []


def test_references_are_as_the_log_left_them(store: FlagStore) -> None:
    early = ReferenceChanged(bank="blocked", id="s", disabled_until_ms=5, note="waits")
    store.apply(
        log(
            [Changed(record=early)],
            [Referenced(id="r", bank="blocked", sha256=b"x", thumbnail="t")],
            [Referenced(id="s", bank="blocked")],
            [Changed(record=ReferenceChanged(bank="blocked", id="r", metadata={"k": "v"}))],
        )
    )
    r, s = store.references("blocked", 0, 9)
    assert (r.id, r.offset, r.sha256, r.thumbnail, dict(r.metadata), r.disabled_until_ms) == (
        "r",
        1,
        "78",
        "t",
        {"k": "v"},
        0,
    )
    assert (s.id, s.offset, s.note, s.disabled_until_ms) == ("s", 2, "waits", 5)
    assert [row.id for row in store.references("blocked", 1, 9)] == ["s"]
    remove = Changed(record=ReferenceChanged(bank="blocked", id="r", edit=ReferenceEdit.REMOVE))
    store.apply(log([], [], [], [], [remove, Unreferenced(id="r", bank="blocked")]))
    assert [row.id for row in store.references("blocked", 0, 9)] == ["s"]


def test_a_live_video_that_was_judged_is_not_queued_for_the_same_match_again(store: FlagStore) -> None:
    told = rolling("live", matched("a", whole=False), flagged=0)
    store.apply(log([told], [says("live", "a", Outcome.NOT_A_MATCH)], [told]))
    assert waiting(store) == []
    both = rolling("live", matched("a", whole=False), matched("b", whole=False), flagged=1)
    store.apply(log([], [], [], [both]))
    assert [one.open for one in store.queue(0, 9, queue=ReviewQueue.ALL)] == [{("seen", "b")}]


def test_members_know_their_head(store: FlagStore) -> None:
    store.apply(log([new("a")], [copy("b", "a")], [msgspec.structs.replace(copy("c", "a"), head="")]))
    assert [store.head(item) for item in ("a", "b", "c", "zzz")] == ["", "a", "", ""]


def letter(item: str, offset: int, days_ago: float = 0.0, bank: str = "seen") -> DeadLetter:
    at_ms = round(1000 * (time.time() - 86_400 * days_ago))
    return DeadLetter(item, bank, "decode", f"attempt {offset}", 3, offset, at_ms)


def test_the_newest_dead_letter_of_an_item_and_of_a_reference_is_known(store: FlagStore) -> None:
    assert (store.dead_letters_at(), store.dead_letter("a")) == (None, None)
    ours = letter("a", 7, bank="blocked")
    store.note_dead_letters([letter("a", 5), letter("b\t:x", 6), ours, letter("a", 8)], 40)
    assert store.dead_letters_at() == 40
    found = store.dead_letter("a")
    assert found is not None
    assert (found.reason, found.detail, found.partition, found.offset) == ("decode", "attempt 8", 3, 8)
    assert store.dead_letter("a", "blocked") == ours
    assert store.dead_letter("b\t:x") is not None
    store.note_dead_letters([], 41)
    assert (store.dead_letters_at(), store.dead_letter("a")) == (41, found)
    store.clear()
    assert (store.dead_letters_at(), store.dead_letter("a")) == (None, None)


def test_a_dead_letter_is_forgotten_with_its_time_and_with_the_takedown(store: FlagStore) -> None:
    store.note_dead_letters([letter("old", 1, days_ago=7.01), letter("a", 2), letter("a", 3, bank="blocked")], 3)
    assert store.dead_letter("old") is None
    now_ms = round(1000 * time.time())
    store.apply([Envelope(offset=0, events=(RemovedEvent(id="a"), Replaced(id="b")), timestamp_ms=now_ms)])
    assert store.dead_letter("a") is None
    assert store.dead_letter("a", "blocked") is not None  # a reference of the same id stays
    assert store.taken_down({"a", "b", "old", "unheard-of"}) == {"a"}
    assert store.taken_down(set()) == frozenset()
    store.note_dead_letters([letter("a", 2), letter("b", 4)], 5)  # the topic is read again, from a place before
    assert store.dead_letter("a") is None
    assert store.dead_letter("b") is not None
    assert store.taken_down({"a", "b"}) == {"a"}
    long_ago = now_ms - round(1000 * 86_400 * 7.01)
    store.apply([Envelope(offset=1, events=(RemovedEvent(id="c"),), timestamp_ms=long_ago)])
    assert store.taken_down({"a", "c"}) == {"a"}


def test_a_match_that_a_reviewer_confirmed_is_certain(store: FlagStore) -> None:
    store.apply(log([unsure("b", "a")], [says("b", "a", Outcome.MATCH)]))
    shown = store.verdict("b")
    assert shown is not None
    assert [(one.decision, one.probability) for one in shown.matches] == [(Decision.DUPLICATE, 1.0)]
