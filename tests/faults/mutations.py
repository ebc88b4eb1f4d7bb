"""Faults that the product does not have, to see that the harness would notice. Applied in the worker's process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from neardup.pipeline.log.records import NOTHING, Removed
from neardup.pipeline.match.apply import uploads
from neardup.pipeline.match.apply.removals import Removals
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.data import pending, undecided
from neardup.pipeline.store import redis as store
from neardup.workers.embed import worker as embed
from neardup.workers.flag import worker as flag
from neardup.workers.kafka.offsets import Offsets
from neardup.workers.match import follower
from neardup.workers.match import worker as match
from neardup.workers.prove import asks


def no_watermark() -> None:
    """Flags are written whether or not they were before, and the worker begins wherever it likes."""
    original = store.RedisStore.__init__

    def init(self: Any, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        text = self._apply.script
        text = _replaced(text, "if applied < tonumber(ARGV[3]) then", "if false then")
        text = _replaced(text, "if offset > applied then", "if true then")
        text = _replaced(text, "string.format('%d-%d', offset, number + 1)", "'*'")
        self._apply = self._redis.register_script(text)

    store.RedisStore.__init__ = init  # type: ignore[method-assign]
    flag.FlagWorker._find_place = _from_the_beginning  # type: ignore[method-assign]


def _from_the_beginning(self: Any) -> None:
    self._after, self._caught_up_at = NOTHING, 0
    self._verdicts.seek(0)


def no_last_envelope() -> None:
    """A leader publishes from its snapshot on, without looking at what is published."""
    follower.last_envelope = lambda _: NOTHING

    def follow(self: Any) -> None:
        if self._leadership is None:
            self._leadership = self._connections.join()

    match.MatchWorker._follow = follow  # type: ignore[method-assign]
    match.MatchWorker.leads = property(lambda self: self._publisher is not None)  # type: ignore[assignment]


def committed_before_acknowledged() -> None:
    """An embed worker commits what it has only taken."""
    add = Offsets.add

    def add_and_done(self: Any, partition: Any, offset: int) -> Any:
        ticket = add(self, partition, offset)
        if ticket is not None:
            self.done(ticket)
        return ticket

    Offsets.add = add_and_done  # type: ignore[method-assign]
    embed._COMMIT_SECONDS = 0.0


def snapshot_before_published() -> None:
    """The state is written down before its envelopes are acknowledged, and taken for published at the next start."""
    original = match.MatchWorker._lead

    def lead(self: Any) -> None:
        publisher = self._publisher

        class Late:
            def publish(self, envelopes: Any, traces: Any) -> None:
                worker._saver.save(worker._applied)
                publisher.publish(envelopes, traces)

        worker, self._publisher = self, Late()
        try:
            original(self)
        finally:
            self._publisher = publisher

    match.MatchWorker._lead = lead  # type: ignore[method-assign]


def no_dedupe() -> None:
    """The same id with the same bytes counts as a new version."""
    original = State._apply_alone

    def apply_alone(self: Any, entry: Any) -> Any:
        record = entry.record
        known = None if isinstance(record, Removed) else self.items.named(record.id)
        if known is not None and known.sha256 == record.sha256:
            entry = replace(entry, record=msgspec.structs.replace(record, sha256=record.sha256 + b"'"))
        return original(self, entry)

    State._apply_alone = apply_alone  # type: ignore[method-assign]


def takedown_forgotten() -> None:
    """What was taken down comes back with a later record."""
    original = Removals.take_down

    def take_down(self: Any, record: Any) -> Any:
        yield from original(self, record)
        self.taken_down.discard(record.id)

    Removals.take_down = take_down  # type: ignore[method-assign]


def late_version_taken() -> None:
    """A replayed record of an older version replaces the newer one."""
    for module in (uploads, pending):
        assert hasattr(module, "is_older"), "the mutation no longer fits"
        module.is_older = lambda _record, _source: False  # type: ignore[attr-defined]


def answers_lost() -> None:
    """A prove worker commits asks before the log has the answers."""
    take, done = asks.AskGroup.take, asks.AskGroup.done

    def take_and_commit(self: Any, most: int, seconds: float) -> Any:
        taken = take(self, most, seconds)
        if taken:
            done(self, taken)
            self.commit()
        return taken

    asks.AskGroup.take = take_and_commit  # type: ignore[method-assign]
    asks.AskGroup.done = lambda self, _: done(self, ())  # type: ignore[method-assign]


def decided_again() -> None:
    """What is decided waits on, and a repeated answer decides once more."""
    undecided.UndecidedItems.forget = lambda _self, _offset: None  # type: ignore[method-assign]
    original = undecided.Undecided.take

    def take(self: Any, answers: Any) -> bool:
        original(self, answers)
        return True

    undecided.Undecided.take = take  # type: ignore[method-assign]


def _replaced(text: str, old: str, new: str) -> str:
    assert old in text, f"the mutation no longer fits: {old}"
    return text.replace(old, new)


MUTATIONS: Mapping[str, Callable[[], None]] = {
    one.__name__: one
    for one in (
        no_watermark,
        no_last_envelope,
        committed_before_acknowledged,
        snapshot_before_published,
        no_dedupe,
        takedown_forgotten,
        late_version_taken,
        answers_lost,
        decided_again,
    )
}
