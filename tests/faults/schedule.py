"""What happens in one run: what is sent, in which order, and what is killed, restarted or lost. Pure, from a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from neardup.pipeline.log.changes import (
    FOREVER_MS,
    SEEN,
    BankChanged,
    Outcome,
    ReferenceChanged,
    ReferenceEdit,
    Reviewed,
)
from neardup.pipeline.log.changes import (
    Action as Meaning,
)
from neardup.workers.run import fault_points
from tests.faults.content import BAD, EDITS

Mode = Literal["exact", "scann"]
Event = Literal[
    "", "kafka-killed", "kafka-stopped", "redis-killed", "redis-lost", "replayed", "match-paused", "searcher-killed"
]
EDITED_SHARE = 0.3
"""Of schedules with the exact index: those in which people change banks and decide, too."""
PROVED_SHARE = 0.5
"""Of schedules: those in which verdicts wait for proofs."""
PROCESSES_SHARE = 0.4
"""Of schedules: those whose embed workers describe in processes, some of which die."""
CHILD = ("decoding", "embedding", "answered")
"""Points of a process that describes."""
PART_DESCRIPTORS = 4
"""So that a clip is several records."""
SCANN_ROWS = 2000
"""From so many rows on the index of mode "scann" is ScaNN's."""


@dataclass(frozen=True)
class Put:
    """A record of `media`; content "" is a null value, which takes the item down."""

    key: bytes
    content: str


@dataclass(frozen=True)
class Row:
    """A described item written to the log without media."""

    item: str
    content: str


@dataclass(frozen=True)
class TakeDown:
    """What `neardup takedown` does: a removal written to the log at once."""

    item: str


@dataclass(frozen=True)
class Edit:
    """What a person changes or decides, written to the log at once."""

    change: BankChanged | ReferenceChanged | Reviewed


Action = Put | Row | TakeDown | Edit


@dataclass(frozen=True)
class Wave:
    """Some records, a pause, and then something that happens to the services."""

    actions: tuple[Action, ...]
    pause_seconds: float = 0.0
    event: Event = ""


@dataclass(frozen=True)
class Fault:
    """SIGKILL when a point is reached for the n-th time.

    Attributes:
        whom: "worker" leaves what it has forked running; "all" takes that with it; "copy" is a forked copy alone,
            which the worker outlives. At points of a process that describes, "worker" is that process, and "all" the
            one that forks such.
    """

    point: str
    nth: int
    whom: Literal["worker", "all", "copy"] = "worker"


@dataclass(frozen=True)
class Schedule:
    """One run.

    Attributes:
        workers: by name such as "match-0"; the faults of each, one after the other, over as many processes.
        batches: records in a batch of the match and the flag worker.
        proves: whether verdicts wait for proofs. prove_seconds: how long.
        children: of embed workers that describe in processes: the faults of these; threads describe where none is
            named.
    """

    seed: int
    mode: Mode
    waves: tuple[Wave, ...]
    workers: Mapping[str, tuple[Fault, ...]]
    snapshot_records: int = 15
    batches: int = 8
    proves: bool = False
    prove_seconds: float = 600.0
    children: Mapping[str, tuple[Fault, ...]] = field(default_factory=dict)
    events: tuple[Event, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "events", tuple(wave.event for wave in self.waves if wave.event))


def make_schedule(seed: int, mode: Mode = "exact") -> Schedule:
    """Return the schedule of a seed; equal seeds give equal ones."""
    random = np.random.default_rng([seed, mode == "scann"])
    waves = _waves(random, _actions(random, 90))
    if mode == "scann":
        rows = tuple(Row(f"row-{n}", f"row:{n}:0") for n in range(SCANN_ROWS + 100))
        copied = random.choice(len(rows), 600, replace=False).tolist()
        copies = [Row(f"copy-{n}", f"row:{n}:1") for n in copied]
        waves = [Wave(rows), *_mixed(random, waves, copies)]
        if random.uniform() < 0.3:
            number = int(random.integers(1, len(waves) - 1))
            waves[number] = replace(waves[number], event="searcher-killed")
    elif np.random.default_rng([seed, 2]).uniform() < EDITED_SHARE:
        waves = _edited(np.random.default_rng([seed, 3]), waves)
    workers, proofs = _workers(random), np.random.default_rng([seed, mode == "scann", 4])
    proves = bool(proofs.uniform() < PROVED_SHARE)
    return Schedule(
        seed,
        mode,
        tuple(waves),
        workers | _provers(proofs) if proves else workers,
        snapshot_records=int(random.choice([5, 15, 40])) if mode == "exact" else 500,
        batches=int(random.choice([1, 4, 8, 256])) if mode == "exact" else int(random.choice([64, 256])),
        proves=proves,
        prove_seconds=float(proofs.choice([0.3, 600.0])),
        children=_children(np.random.default_rng([seed, mode == "scann", 5]), workers),
    )


def _edited(random: np.random.Generator, waves: Sequence[Wave]) -> list[Wave]:
    """Put changes of banks, references and decisions among the actions, on items of earlier waves; some are refused."""
    edited = [replace(waves[0], actions=(*_banks(random), *waves[0].actions))]
    items: list[str] = []
    for before, wave in pairwise(waves):
        puts = (one for one in before.actions if isinstance(one, Put))
        items += [one.key.decode() for one in puts if one.content.startswith(("picture", "clip"))]
        actions = list(wave.actions)
        for _ in range(random.integers(8, 16) if items else 0):
            actions.insert(int(random.integers(len(actions) + 1)), _edit(random, items))
        edited.append(replace(wave, actions=tuple(actions)))
    return edited


def _banks(random: np.random.Generator) -> list[Edit]:
    return [Edit(BankChanged(bank=bank, enable_ratio=float(random.choice([0.5, 1.0])))) for bank in ("blocked", "fine")]


def _edit(random: np.random.Generator, items: Sequence[str]) -> Edit:
    bank = str(random.choice(["blocked", "fine"]))
    item, other = (str(one) for one in random.choice(items, 2))
    chance = random.uniform()
    if chance < 0.2:
        meaning, ratio = Meaning(str(random.choice([one.value for one in Meaning]))), random.choice([0.5, 1.0])
        return Edit(BankChanged(bank=bank, action=meaning, enable_ratio=float(ratio), by="ann"))
    if chance < 0.6:
        edit = ReferenceEdit(str(random.choice(["add", "add", "add", "set", "remove"])))
        until = [None, 0, FOREVER_MS][int(random.integers(3))]
        return Edit(ReferenceChanged(bank=bank, id=item, edit=edit, disabled_until_ms=until, by="ann"))
    outcome = Outcome(str(random.choice([one.value for one in Outcome])))
    where = str(random.choice([SEEN, SEEN, bank]))
    return Edit(Reviewed(item=item, reference=other, outcome=outcome, bank=where, by="ann"))


def _actions(random: np.random.Generator, count: int) -> list[Action]:
    """Return new items, copies, the same again, other content under the same key, bad ones, removals."""
    actions: list[Action] = []
    keys: list[bytes] = []
    for number in range(count):
        chance = random.uniform()
        new = f"item-{number}".encode()
        if chance < 0.08:
            actions.append(_bad(random, new))
        elif chance < 0.13 and keys:
            actions.append(Put(_pick(random, keys), ""))
        elif chance < 0.15 and keys:
            actions.append(TakeDown(_pick(random, keys).decode()))
        elif chance < 0.22 and keys:
            actions.append(Put(_pick(random, keys), _good(random)))
        elif chance < 0.26:
            again = [one for one in actions if isinstance(one, Put)]
            actions += [again[int(random.integers(len(again)))]] if again else []
        else:
            keys.append(new)
            actions.append(Put(new, _good(random)))
    return actions


def _good(random: np.random.Generator) -> str:
    if random.uniform() < 0.1:
        return f"clip:{random.integers(4)}:{random.integers(2)}"
    return f"picture:{random.integers(25)}:{random.integers(EDITS)}"


def _bad(random: np.random.Generator, key: bytes) -> Put:
    what = str(random.choice(sorted(BAD)))
    return Put(b"\xff" + key if what == "key" else key, f"bad:{what}")


def _pick(random: np.random.Generator, keys: Sequence[bytes]) -> bytes:
    return keys[int(random.integers(len(keys)))]


def _waves(random: np.random.Generator, actions: Sequence[Action]) -> list[Wave]:
    """Cut actions into waves; in one of three schedules each is sent three times, at once or wave by wave."""
    borders = [0, *sorted(random.integers(1, len(actions), 3).tolist()), len(actions)]
    thrice = random.choice(["", "", "", "", "at once", "by wave"])
    events = _events(random, len(borders) - 1)
    waves = []
    for start, stop, event in zip(borders, borders[1:], events, strict=False):
        some = tuple(actions[start:stop])
        if thrice == "at once":
            some = tuple(one for one in some for _ in range(3))
        elif thrice:
            some = some * 3
        waves.append(Wave(some, float(random.choice([0.0, 0.3, 0.8])), event))
    return waves


def _events(random: np.random.Generator, count: int) -> list[Event]:
    events: list[Event] = [""] * count
    services: list[Event] = ["kafka-killed", "kafka-stopped", "redis-killed", "redis-lost", "match-paused"]
    chances = [0.08, 0.06, 0.2, 0.12, 0.08]
    drawn = [event for event, chance in zip(services, chances, strict=True) if random.uniform() < chance]
    for event in drawn:
        events[int(random.integers(count - 1))] = event
    if random.uniform() < 0.5:
        events[-1] = "replayed"
    return events


def _workers(random: np.random.Generator) -> dict[str, tuple[Fault, ...]]:
    """Return who works, and what befalls them; of embed workers few die, or a record would take the blame."""
    workers: dict[str, tuple[Fault, ...]] = {}
    embedders = 1 + int(random.uniform() < 0.4)
    for number in range(embedders):
        workers[f"embed-{number}"] = _faults(random, fault_points.EMBED, int(random.integers(0, 3)))
    for number in range(1 + int(random.uniform() < 0.4)):
        workers[f"match-{number}"] = _faults(
            random, fault_points.MATCH + fault_points.SNAPSHOT, int(random.integers(0, 4))
        )
    workers["flag-0"] = _faults(random, fault_points.FLAG, int(random.integers(0, 4)))
    return workers


def _children(random: np.random.Generator, workers: Mapping[str, object]) -> dict[str, tuple[Fault, ...]]:
    """Return what befalls the processes of embed workers."""
    if random.uniform() >= PROCESSES_SHARE:
        return {}
    children = {}
    for name in sorted(one for one in workers if one.startswith("embed")):
        points = random.choice(CHILD, int(random.integers(1, 4))).tolist()
        children[name] = tuple(
            Fault(point, int(random.integers(1, 5)), "all" if random.uniform() < 0.2 else "worker") for point in points
        )
    return children


def _provers(random: np.random.Generator) -> dict[str, tuple[Fault, ...]]:
    return {
        f"prove-{number}": _faults(random, fault_points.PROVE, int(random.integers(0, 4)))
        for number in range(1 + int(random.uniform() < 0.4))
    }


def _faults(random: np.random.Generator, names: Sequence[str], count: int) -> tuple[Fault, ...]:
    faults = []
    for _ in range(count):
        point = str(random.choice(names))
        nth = 1 if point in ("took-over", "saved") else int(random.integers(1, 4))
        whom = str(
            random.choice(["worker", "all", "copy"] if point in fault_points.SNAPSHOT[1:] else ["worker", "all"])
        )
        faults.append(Fault(point, nth, whom))  # type: ignore[arg-type]
    return tuple(faults)


def _mixed(random: np.random.Generator, waves: Sequence[Wave], rows: Sequence[Row]) -> list[Wave]:
    """Spread rows over the waves."""
    shares = np.array_split(np.arange(len(rows)), len(waves))
    mixed = []
    for wave, share in zip(waves, shares, strict=True):
        actions = [*wave.actions, *(rows[n] for n in share)]
        order = random.permutation(len(actions))
        mixed.append(Wave(tuple(actions[n] for n in order), wave.pause_seconds, wave.event))
    return mixed
