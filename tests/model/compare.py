"""Apply a log by the product and compare each event with what the model says; shrink what differs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.log.proofs import ItemProved
from neardup.pipeline.log.records import Changed, Entry, Envelope, Event, Ignored
from neardup.pipeline.match.apply.snapshot import VECTORS, Snapshots
from neardup.pipeline.match.apply.state import State
from tests.model.curves import UNSURE_FROM, Unclear, calibration
from tests.model.model import Model
from tests.model.worlds import World, cuts
from tests.pipeline.match.build import D, a_state

TOLERANCE = 1e-4
LENGTHS = (12, 30, 60, 60)


@dataclass(frozen=True)
class Difference:
    """The first offset at which both do not say the same."""

    offset: int
    expected: list[Event]
    got: list[Event] | str

    def __str__(self) -> str:
        wanted = "\n    ".join(map(str, self.expected)) or "nothing"
        got = self.got if isinstance(self.got, str) else "\n    ".join(map(str, self.got)) or "nothing"
        return f"offset {self.offset}\n  the model says\n    {wanted}\n  the product says\n    {got}"


@lru_cache(maxsize=256)
def made(seed: int) -> tuple[list[Entry], list[list[Event]], int]:
    """Return a log, what the model says of it, and how many items may wait; raises Unclear."""
    world = World(seed, LENGTHS[seed % len(LENGTHS)])
    entries, said = world.entries()
    return entries, said, world.most


def a_world_state(most: int, vectors: VectorFile | None = None) -> State:
    """Return an empty state that decides by the curves of the model's world."""
    return a_state(calibration(UNSURE_FROM[0]), asks=True, max_pending=most, vectors=vectors)


def judge(entries: Sequence[Entry], most: int) -> list[list[Event]]:
    """Return what the model says of a log; raises Unclear."""
    model = Model(most)
    return [model.take(entry) for entry in entries]


def difference(
    entries: Sequence[Entry], said: Sequence[list[Event]], most: int, sizes: Iterable[int]
) -> Difference | None:
    """Return where the product, given a log in batches of these sizes, says something else; None if it does not."""
    with closing(a_world_state(most)) as state:
        return first_difference(state, entries, said, sizes)


def first_difference(
    state: State,
    entries: Sequence[Entry],
    said: Sequence[list[Event]],
    sizes: Iterable[int],
    published: Mapping[int, Envelope] | None = None,
) -> Difference | None:
    """Return where a state says something else of a log, or of the rest of one, than was said; None if it does not."""
    start = 0
    for size in sizes:
        batch = entries[start : start + size]
        try:
            envelopes = state.apply(batch, published)
        except Exception as error:  # whatever it is, it is the finding
            return Difference(batch[0].offset, said[start], f"{type(error).__name__}: {error}")
        for envelope, expected in zip(envelopes, said[start:], strict=False):
            if not alike(envelope.events, expected):
                return Difference(envelope.offset, expected, list(envelope.events))
        start += len(batch)
    return None


def after_takeover(seed: int) -> Difference | None:
    """Compare what a new leader says: it follows what was published up to some offset, then goes on alone."""
    entries, said, most = made(seed)
    half = Random(f"takeover {seed}").randrange(len(entries))
    published = {
        entry.offset: Envelope(offset=entry.offset, events=tuple(events))
        for entry, events in zip(entries[:half], said[:half], strict=True)
    }
    with closing(a_world_state(most)) as state:
        return first_difference(state, entries, said, cuts(seed, len(entries)), published)


def after_restart(seed: int, folder: Path) -> Difference | None:
    """Compare what a state says that was read back from a snapshot at some offset."""
    entries, said, most = made(seed)
    cut = Random(f"restart {seed}").randrange(1, len(entries))
    with closing(a_world_state(most, VectorFile(folder / VECTORS, D, "s"))) as state:
        state.apply(entries[:cut])
        Snapshots(folder).save(state, cut - 1)
    with closing(a_world_state(most, VectorFile(folder / VECTORS, D, "s"))) as state:
        assert Snapshots(folder).load(state) == cut - 1
        return first_difference(state, entries[cut:], said[cut:], cuts(seed, len(entries) - cut))


def alike(some: Sequence[Event], others: Sequence[Event]) -> bool:
    """Whether events are the same but for words, and for the last digits of numbers."""
    return len(some) == len(others) and all(
        type(a) is type(b) and _close(_plain(a), _plain(b)) for a, b in zip(some, others, strict=True)
    )


def _plain(event: Event) -> Any:
    if isinstance(event, Ignored):
        event = msgspec.structs.replace(event, why="")
    if isinstance(event, Changed):
        event = msgspec.structs.replace(event, refused="", record=msgspec.structs.replace(event.record, why=""))
    return msgspec.to_builtins(event)


def _close(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_close(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_close, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= TOLERANCE
    return bool(a == b)


def check(seed: int) -> Difference | None:
    """Compare one log; raises Unclear."""
    entries, said, most = made(seed)
    return difference(entries, said, most, cuts(seed, len(entries)))


def shrink(seed: int) -> tuple[list[int], Difference]:
    """Return the fewest offsets of a log that still make a difference, and that difference.

    Records keep their offsets, since proofs name them.
    """
    entries, _, most = made(seed)
    found = check(seed)
    assert found is not None
    kept = list(entries)

    def differs(some: Sequence[Entry]) -> Difference | None:
        for sizes in ([1] * len(some), [len(some)]):
            try:
                if (one := difference(some, judge(some, most), most, sizes)) is not None:
                    return one
            except Unclear:
                pass
        return None

    step = max(len(kept) // 2, 1)
    while True:
        shorter = False
        for start in range(0, len(kept), step):
            fewer = kept[:start] + kept[start + step :]
            if fewer and (one := differs(fewer)) is not None:
                kept, found, shorter = fewer, one, True
                break
        if not shorter and step == 1:
            return [entry.offset for entry in kept], found
        if not shorter:
            step = max(step // 2, 1)


def story(seed: int, offsets: Sequence[int]) -> str:
    """Return some records of a log for a person to read; the seed makes the log again."""
    entries, _, most = made(seed)
    lines = [_line(entry) for entry in entries if entry.offset in offsets]
    return "\n".join([f"max_pending {most}", *lines])


def _line(entry: Entry) -> str:
    record = entry.record
    if isinstance(record, ItemProved):
        given = "; ".join(
            f"{one.bank}/{one.reference}@{one.offset} "
            + ("not to be had" if one.proved is None else one.proved.summary.ground.value)
            for one in record.pairs
        )
        return f"  {entry.offset}: proved {record.id}@{record.offset}: {given}"
    left_out = {"extras", "pts", "dimension", "vectors", "hashes", "detail", "calibration"}
    fields = {one.name: (getattr(record, one.name), one.default) for one in msgspec.structs.fields(record)}
    said = (f"{name}={value}" for name, (value, default) in fields.items() if value != default and name not in left_out)
    return f"  {entry.offset} at {entry.timestamp_ms}: {type(record).__name__} {', '.join(said)}"
