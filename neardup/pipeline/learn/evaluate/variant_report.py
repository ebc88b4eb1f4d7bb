"""What an evaluation says of look-alikes: tables by kind, JSON, and the worst mistakes as pictures."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from neardup.pipeline.learn.evaluate.chapters import Chapter
from neardup.pipeline.learn.evaluate.variants import Outcome, Sample, Shares, VariantResult, shares
from neardup.pipeline.learn.shared.page import Case, Picture, Section, Table, encode
from neardup.pipeline.learn.variants import HELD_OUT
from neardup.pipeline.learn.variants.copies import OVERLAYS, WAYS
from neardup.pipeline.media.tile import squeeze
from neardup.pipeline.types import Decision

MISTAKES = 12
TILE = 224
INTERVAL = "95 % interval"
HEAD = ("pairs", "duplicate", INTERVAL, "unsure", "distinct")
HELD, OTHERS, ALL_OVERLAYS = "held-out kinds", "other kinds", "captions and stickers"
DIFFERS = {"one": "one field differs", "some": "every third field", "all": "all fields"}


@dataclass(frozen=True, slots=True)
class Mistake:
    """A variant that was called a duplicate, or a copy that was not; the larger `size`, the worse."""

    outcome: Outcome
    size: float
    case: Case


def variant_tables(result: VariantResult) -> tuple[Table, Table, Table]:
    """Return how variants of each kind were decided, by how much differs, and how true copies were."""
    variants, copies = _split(result.outcomes)
    copies_of = _by_kind(copies)
    by_kind = [
        (*_row(name, shares(found)), *_found(shares(copies_of.get(name, ()))))
        for name, found in _by_kind(variants).items()
    ]
    strong = frozenset({HELD, ALL_OVERLAYS})
    return (
        Table(("look-alikes", *HEAD, "copies that are duplicate", INTERVAL), by_kind, strong),
        Table(("look-alikes", *HEAD), [_row(name, shares(found)) for name, found in _by_amount(variants).items()]),
        Table(("true copies", *HEAD), [_row(name, shares(found)) for name, found in _by_way(copies).items()], strong),
    )


def describe_variants(result: VariantResult) -> str:
    """Return what was measured, in a sentence."""
    kinds = {one.kind for one in result.outcomes}
    pairs = sum(not one.way for one in result.outcomes)
    return (
        f"{pairs:,} pairs of look-alikes of {len(kinds)} kinds, {len(kinds & HELD_OUT)} of them held out of all "
        f"fitting, and {len(result.outcomes) - pairs:,} true copies, each pair compared by itself."
    )


def variant_chapter(results: Sequence[VariantResult], mistakes: Sequence[Mistake]) -> Chapter:
    """Return tables of all checkpoints, and the mistakes of the first."""
    first = results[0]
    held = shares(one for one in first.outcomes if not one.way and one.kind in HELD_OUT)
    sections = [
        Section(
            f"Look-alikes that are no copies: {result.name}",
            f"{describe_variants(result)} Intervals take pairs as independent draws from these kinds.",
            tables=variant_tables(result),
        )
        for result in results
    ]
    wrong = [one for one in mistakes if not one.outcome.way]
    missed = [one for one in mistakes if one.outcome.way]
    sections += [
        Section("Look-alikes that were taken for copies", "The worst of each kind.", cases=_worst(wrong)),
        Section("Copies of such pictures that are missed", "The worst of each kind.", cases=_worst(missed)),
    ]
    return Chapter(
        title=f"Look-alikes of held-out kinds called duplicate: {_percent(held.duplicate)} ({_interval(held)})",
        lead=f"{first.name}. {describe_variants(first)}",
        told={"variants": [_as_json(result) for result in results]},
        sections=sections,
    )


def find_mistakes(samples: Iterable[Sample], outcomes: Iterable[Outcome]) -> list[Mistake]:
    """Return the worst variant and the worst copy of each kind among these, if any is wrong, with its pictures."""
    made = {(one.variant.kind, one.variant.number): one for one in samples}
    worst: dict[tuple[str, bool], tuple[float, Outcome]] = {}
    for one in outcomes:
        if (one.decision is Decision.DUPLICATE) == bool(one.way):
            continue
        size, key = -one.evidence if one.way else one.evidence, (one.kind, bool(one.way))
        if key not in worst or size > worst[key][0]:
            worst[key] = size, one
    return [Mistake(one, size, _case(made[one.kind, one.number], one)) for size, one in worst.values()]


def _worst(mistakes: Iterable[Mistake]) -> list[Case]:
    """Return one of each kind, held-out kinds first."""
    best: dict[str, Mistake] = {}
    for one in sorted(mistakes, key=lambda one: -one.size):
        best.setdefault(one.outcome.kind, one)
    ordered = sorted(best.values(), key=lambda one: (one.outcome.kind not in HELD_OUT, -one.size))
    return [one.case for one in ordered[:MISTAKES]]


def _case(sample: Sample, outcome: Outcome) -> Case:
    other = ("a copy", sample.copy) if outcome.way else ("a look-alike", sample.variant.b)
    what = outcome.way or DIFFERS[outcome.differs]
    note = f"{_name(outcome.kind)}, {what}: {outcome.decision.value}, evidence {outcome.evidence:.3f}"
    return Case(note, (_picture("a picture", sample.variant.a), _picture(*other)))


def _picture(caption: str, file: bytes) -> Picture:
    with Image.open(io.BytesIO(file)) as opened:
        pixels = np.array(opened.convert("RGB"))
    return encode(caption, squeeze(pixels, TILE), (pixels.shape[0], pixels.shape[1]))


def _as_json(result: VariantResult) -> dict[str, Any]:
    variants, copies = _split(result.outcomes)
    copies_of = _by_kind(copies)
    return {
        "name": result.name,
        "kinds": {
            name: {"variants": asdict(shares(found)), "copies": asdict(shares(copies_of.get(name, ())))}
            for name, found in _by_kind(variants).items()
        },
        "differs": {name: asdict(shares(found)) for name, found in _by_amount(variants).items()},
        "copies": {name: asdict(shares(found)) for name, found in _by_way(copies).items()},
    }


def _split(outcomes: Iterable[Outcome]) -> tuple[list[Outcome], list[Outcome]]:
    """Return variants, and copies."""
    found: tuple[list[Outcome], list[Outcome]] = [], []
    for one in outcomes:
        found[bool(one.way)].append(one)
    return found


def _by_kind(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Return held-out kinds together, the others together, and each kind, held-out ones first."""
    kinds = sorted({one.kind for one in outcomes}, key=lambda kind: (kind not in HELD_OUT, kind))
    found = {
        HELD: [one for one in outcomes if one.kind in HELD_OUT],
        OTHERS: [one for one in outcomes if one.kind not in HELD_OUT],
    }
    return found | {_name(kind): [one for one in outcomes if one.kind == kind] for kind in kinds}


def _by_amount(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    found = {name: [one for one in outcomes if one.differs == key] for key, name in DIFFERS.items()}
    return {name: some for name, some in found.items() if some}


def _by_way(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    found = {ALL_OVERLAYS: [one for one in outcomes if one.way in OVERLAYS]}
    found |= {way: [one for one in outcomes if one.way == way] for way in WAYS}
    return {way: some for way, some in found.items() if some}


def _name(kind: str) -> str:
    return f"{kind.replace('_', ' ')}{' (held out)' if kind in HELD_OUT else ''}"


def _row(name: str, one: Shares) -> tuple[str, ...]:
    return (name, f"{one.pairs:,}", *_found(one), _percent(one.unsure), _percent(one.distinct))


def _found(one: Shares) -> tuple[str, str]:
    return _percent(one.duplicate), _interval(one)


def _interval(one: Shares) -> str:
    low, high = one.interval
    return f"{100 * low:.1f} to {100 * high:.1f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
