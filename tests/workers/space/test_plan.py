"""What a new space is filled with leads to what stands in the old one; on random logs, too."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import closing

import pytest
from msgspec.structs import replace

from neardup.pipeline.log.changes import (
    SEEN,
    BankChanged,
    BankEdit,
    Calibrated,
    ClusterEdit,
    ClusterEdited,
    Outcome,
    ReferenceChanged,
    ReferenceEdit,
    Reviewed,
)
from neardup.pipeline.log.proofs import ItemProved
from neardup.pipeline.log.records import Described, Entry, Envelope, Record, Removed
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.compare.banks import BankSettings
from neardup.workers.space.plan import Copied, Plan, Wanted
from neardup.workers.space.standing import Key, Standing
from tests.model.compare import a_world_state, made
from tests.model.curves import Unclear
from tests.pipeline.match.build import Film, a_state, picture, times, video

SEEDS = (*range(10), 16, 55)
"""The last two: a bank made by a reference that is gone, and an upload added as a reference that there was."""


def folded(state: State, entries: Sequence[Entry]) -> list[Envelope]:
    return [envelope for entry in entries for envelope in state.apply([entry])]


def plan_of(envelopes: Sequence[Envelope], missing: dict[Key, object] | None = None) -> Plan:
    standing = Standing()
    for envelope in envelopes:
        standing.note(envelope)
    return Plan(standing, missing or {})


def carried(entries: Sequence[Entry], envelopes: Sequence[Envelope]) -> list[Record]:
    """Return the new log, where every original is at hand and the new model says what the old one did."""
    plan, found = plan_of(envelopes), list[Record]()
    contents: dict[tuple[str, bytes], list[Described]] = {}
    for entry, envelope in zip(entries, envelopes, strict=True):
        record = entry.record
        if isinstance(record, Described) and not record.live:
            parts = contents.setdefault((record.id, record.sha256), [])
            parts[:] = [record] if record.part == 0 else [*parts, record]
        step = plan.step(entry.offset, record, envelope.events)
        if isinstance(step, Copied):
            found += step.records
        elif step.record.live:
            found.append(record)
        else:
            parts = contents[step.record.id, step.record.sha256]
            assert not step.record.vectors
            source = step.record.source_partition, step.record.source_offset
            found += step.first
            found += [
                replace(one, bank=step.record.bank, source_partition=source[0], source_offset=source[1])
                for one in parts
            ]
            found += step.then
    return found


def stands(state: State) -> dict[str, object]:
    """Return by id what stands, in the order in which it came; of banks what people said of them."""
    parts = state.parts()
    return {
        "items": [(item.id, item.sha256) for item in parts.items],
        "removed": parts.removed,
        "settings": said_of(parts.settings),
        "banks": {
            bank.settings.name: (
                said_of(bank.settings),
                {item.id: item.sha256 for item in bank.items},
                {
                    item.id: (one.disabled_until_ms, one.note, one.metadata)
                    for item in bank.items
                    if (one := bank.references[item.id])
                },
            )
            for bank in parts.banks
        },
        "deleted": parts.deleted,
    }


def said_of(settings: BankSettings) -> BankSettings:
    """What is of a bank and not of a model."""
    return dataclasses.replace(settings, calibration=b"")


def test_what_stands_is_the_same_whatever_the_log() -> None:
    tried = 0
    for seed in SEEDS:
        try:
            entries, _, most = made(seed)
        except Unclear:
            continue
        with closing(a_world_state(most)) as old, closing(a_world_state(most)) as new:
            envelopes = folded(old, entries)
            records = carried(entries, envelopes)
            times_ms = entries[-1].timestamp_ms
            folded(new, [Entry(offset, record, times_ms) for offset, record in enumerate(records)])
            assert stands(new) == stands(old), f"seed {seed}"
        tried += 1
    assert tried > len(SEEDS) // 2


def a_reference(id: str, bank: str) -> Described:
    return replace(picture(id, 0), bank=bank)


def entries_of(*records: Record) -> list[Entry]:
    return [Entry(offset, record, offset) for offset, record in enumerate(records)]


def steps(*records: Record, missing: dict[Key, object] | None = None) -> list[Copied | Wanted]:
    with closing(a_state()) as state:
        entries = entries_of(*records)
        envelopes = folded(state, entries)
    plan = plan_of(envelopes, missing)
    return [
        plan.step(entry.offset, entry.record, envelope.events)
        for entry, envelope in zip(entries, envelopes, strict=True)
    ]


def wanted(found: Sequence[Copied | Wanted]) -> list[tuple[str, str]]:
    return [(one.record.bank, one.record.id) for one in found if isinstance(one, Wanted)]


def copied(found: Sequence[Copied | Wanted]) -> list[Record]:
    return [record for one in found if isinstance(one, Copied) for record in one.records]


def test_an_item_that_was_taken_down_is_left_out_and_its_takedown_is_not() -> None:
    found = steps(picture("a", 0), picture("b", 90), Removed(id="a"))
    assert wanted(found) == [(SEEN, "b")]
    assert copied(found) == [Removed(id="a")]
    assert [one.erased for one in found if isinstance(one, Copied)] == ["", "a"]


def test_only_the_version_that_stands_is_described_at_its_place() -> None:
    found = steps(
        picture("a", 0, source_offset=0), picture("b", 90), picture("a", 40, sha256=b"new", source_offset=5),
        picture("a", 40, sha256=b"new", source_offset=5),
    )  # fmt: skip
    assert wanted(found) == [(SEEN, "b"), (SEEN, "a")]
    assert isinstance(found[2], Wanted)
    assert found[2].record.sha256 == b"new"


def test_what_had_no_original_is_described_when_it_is_delivered_again() -> None:
    again = picture("a", 0), picture("a", 0)
    assert wanted(steps(*again)) == [(SEEN, "a")]
    assert wanted(steps(*again, missing={(SEEN, "a"): ""})) == [(SEEN, "a"), (SEEN, "a")]


def test_a_film_is_described_once_with_its_last_part() -> None:
    parts = video("film", Film(1).at(times(6.0)), part_size=4)
    found = steps(*parts)
    assert [isinstance(one, Wanted) for one in found] == [False] * (len(parts) - 1) + [True]


def test_what_was_banned_and_taken_down_is_described_as_a_reference() -> None:
    add = ReferenceChanged(bank="news", id="a", edit=ReferenceEdit.ADD, note="why")
    found = steps(picture("a", 0, source_offset=7), BankChanged(bank="news"), add, Removed(id="a"))
    assert wanted(found) == [("news", "a")]
    assert isinstance(found[2], Wanted)
    assert found[2].record.source_offset == 7
    assert found[2].then == (replace(add, edit=ReferenceEdit.SET),)
    stays = steps(picture("a", 0), BankChanged(bank="news"), add)
    assert copied(stays) == [BankChanged(bank="news"), add]


def test_a_deleted_bank_is_left_out_but_for_its_end() -> None:
    gone = BankChanged(bank="old", edit=BankEdit.DELETE)
    found = steps(BankChanged(bank="old"), a_reference("r", "old"), picture("a", 90), gone)
    assert wanted(found) == [(SEEN, "a")]
    assert copied(found) == [BankChanged(bank="old", edit=BankEdit.CREATE), gone]
    again = BankChanged(bank="old", note="again")
    assert copied(steps(BankChanged(bank="old"), gone, again)) == [again]


def test_people_s_changes_are_copied_and_what_is_of_the_model_is_not() -> None:
    review = Reviewed(item="b", reference="a", outcome=Outcome.NOT_A_MATCH)
    edit = ClusterEdited(item="a", edit=ClusterEdit.MERGE, into="c")
    refused = Reviewed(item="b", reference="nobody", outcome=Outcome.MATCH)
    others = ItemProved(id="a", offset=0), Calibrated(calibration=b"none"), refused
    found = steps(picture("a", 0), picture("b", 10), picture("c", 90), review, edit, *others)
    assert copied(found) == [review, edit]


@pytest.mark.parametrize("edit", [ReferenceEdit.SET, ReferenceEdit.REMOVE])
def test_a_reference_that_was_removed_is_left_out_with_all_that_was_said_of_it(edit: ReferenceEdit) -> None:
    said = ReferenceChanged(bank="news", id="r", edit=ReferenceEdit.SET, note="first")
    end = ReferenceChanged(bank="news", id="r", edit=edit, note="" if edit is ReferenceEdit.REMOVE else "second")
    found = steps(BankChanged(bank="news"), a_reference("r", "news"), said, end)
    removed = edit is ReferenceEdit.REMOVE
    assert wanted(found) == ([] if removed else [("news", "r")])
    assert copied(found) == [BankChanged(bank="news"), *([] if removed else [said, end])]
