"""What reviewers decided, as a CSV that `train --pairs` and `calibrate --decisions` read.

It comes from the verdicts, so it is complete whatever Redis holds. They are read twice: what was decided first, then
the evidence of just those pairs, for a stream flags far more than anybody looks at.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TextIO, TypeAlias

from neardup.pipeline.log.changes import SEEN, Outcome, Reviewed
from neardup.pipeline.log.records import (
    Changed,
    Envelope,
    Event,
    Matched,
    Redecided,
    Referenced,
    Replaced,
    RetroMatched,
    Rolling,
    Unreferenced,
    Verdict,
)
from neardup.pipeline.log.verdicts import star_head
from neardup.pipeline.types import Exact

COLUMNS = ("a", "b", "relation", "bank", "evidence", "references", "time", "by")
Key: TypeAlias = tuple[str, str, str]
"""Item, bank and reference."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A decision that stands.

    Attributes:
        item, reference: ids; "" of one that has other content by now.
        evidence: that it was matched by; None if the contents were identical, or if it was never matched.
        references: about how many there were at that time.
    """

    item: str
    reference: str
    bank: str
    outcome: Outcome
    at_ms: int
    by: str
    evidence: float | None = None
    references: int = 0


def decided_pairs(read: Callable[[], Iterable[Envelope]], bank: str = "") -> list[Pair]:
    """Return the last decision on each pair, in order of the log; one that was undone is none.

    Args:
        read: returns all envelopes from the first on; called twice.
        bank: only of this bank; "" is all.
    """
    pairs: dict[Key, Pair] = {}
    for envelope in read():
        for event in envelope.events:
            _note(pairs, event, envelope.timestamp_ms, bank)
    if not pairs:
        return []
    counts: Counter[str] = Counter()
    found = dict(pairs)
    for envelope in read():
        for event in envelope.events:
            for item, match in _matches(event):
                key = (item, match.bank, match.reference)
                if key in pairs and match.exact is Exact.NO:
                    held = max(counts[match.bank], 1)
                    found[key] = replace(found[key], evidence=match.evidence, references=held)
            _count(counts, event)
    return list(found.values())


def write_pairs(pairs: Iterable[Pair], file: TextIO) -> int:
    """Write a CSV with COLUMNS and return how many pairs it has."""
    rows = csv.writer(file)  # its line ends are what makes it quote an id with \r
    rows.writerow(COLUMNS)
    count = 0
    for pair in pairs:
        relation = "same" if pair.outcome is Outcome.MATCH else "different"
        when = datetime.fromtimestamp(pair.at_ms / 1000, timezone.utc).isoformat(timespec="seconds")
        evidence = ("", "") if pair.evidence is None else (f"{pair.evidence:.6g}", str(pair.references))
        rows.writerow((pair.item, pair.reference, relation, pair.bank, *evidence, when, pair.by))
        count += 1
    return count


def _note(pairs: dict[Key, Pair], event: Event, at_ms: int, bank: str) -> None:
    if isinstance(event, Changed) and isinstance(event.record, Reviewed) and event.refused_for is None:
        record = event.record
        key = (record.item, record.bank, record.reference)
        pairs.pop(key, None)
        if record.outcome is not Outcome.UNDO and bank in ("", record.bank):
            pairs[key] = Pair(record.item, record.reference, record.bank, record.outcome, at_ms, record.by)
    elif isinstance(event, Replaced):
        _forget_content(pairs, event.id, SEEN)
    elif isinstance(event, Referenced):
        _forget_content(pairs, event.id, event.bank)


def _forget_content(pairs: dict[Key, Pair], name: str, bank: str) -> None:
    """Note that an id stands for other content from now on."""
    for key, pair in pairs.items():
        if bank == SEEN and pair.item == name:
            pair = replace(pair, item="")
        if (pair.bank, pair.reference) == (bank, name):
            pair = replace(pair, reference="")
        pairs[key] = pair


def _matches(event: Event) -> Iterable[tuple[str, Matched]]:
    if isinstance(event, Verdict):
        return ((event.id, match) for match in event.matches)
    if isinstance(event, Rolling | Redecided):
        return ((event.verdict.id, match) for match in event.verdict.matches)
    return [(event.id, event.match)] if isinstance(event, RetroMatched) else ()


def _count(counts: Counter[str], event: Event) -> None:
    """Count references: heads of what was seen, and those of each bank."""
    if isinstance(event, Verdict) and star_head(event) is None:
        counts[SEEN] += 1
    elif isinstance(event, Referenced):
        counts[event.bank] += 1
    elif isinstance(event, Unreferenced):
        counts[event.bank] -= 1
