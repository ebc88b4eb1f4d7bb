"""Which verdicts another space gives otherwise: of the newest items that both have, as Redis has them now."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from neardup.pipeline.files import write_rows
from neardup.pipeline.learn.shared.page import Case, Page, Picture, Section, Table, of_jpeg, write_page
from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.records import Matched, Redecided, Rolling, Verdict
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.report.names import visible
from neardup.pipeline.store.interface import FlagStore
from neardup.pipeline.types import Decision
from neardup.workers.kafka.log import Patience, Tail, read_envelopes

NOT_THERE = "not there"
DECISIONS = (*(one.value for one in Decision), NOT_THERE)
MAX_CASES = 200
"""Pictures of the page; the CSV has all."""
_READ_AT_ONCE = 2000


@dataclass(frozen=True, slots=True)
class Difference:
    """An item of which two spaces say other things; `old` and `new` None where the space has no verdict."""

    id: str
    old: Verdict | None
    new: Verdict | None

    @property
    def change(self) -> tuple[str, str]:
        """The two decisions."""
        return said(self.old), said(self.new)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Verdicts of two spaces on the same items.

    Attributes:
        counts: items by both decisions. other_match: items that are a copy in both, of another item.
        differences: what is said otherwise, flagged items first, newest first among them.
    """

    items: int
    counts: Counter[tuple[str, str]]
    other_match: int
    differences: Sequence[Difference]


def said(verdict: Verdict | None) -> str:
    """Return a decision in a word."""
    return NOT_THERE if verdict is None else verdict.decision.value


def newest_ids(verdicts: Tail, count: int) -> list[str]:
    """Return the items of which something was said last, newest first.

    Raises:
        DependencyError: Kafka stopped answering.
    """
    begin, place = verdicts.begin(), verdicts.end()
    found: dict[str, None] = {}
    while place > begin and len(found) < count:
        end, place = place, max(begin, place - _READ_AT_ONCE)
        for id in reversed(list(_ids(verdicts, place, end))):
            found.setdefault(id)
    return list(found)[:count]


def _ids(verdicts: Tail, begin: int, end: int) -> Iterator[str]:
    verdicts.seek(begin)
    patience = Patience(verdicts)
    while verdicts.position() < end:
        for one in verdicts.poll(0.3, end - begin):
            if one.offset < end:
                for event in read_envelopes([one])[0].events:
                    if isinstance(event, Verdict):
                        yield event.id
                    elif isinstance(event, Rolling | Redecided):
                        yield event.verdict.id
        patience.check()


def compare(old: FlagStore, new: FlagStore, ids: Sequence[str]) -> Comparison:
    """Compare what two stores say of items; what neither knows is passed over."""
    counts: Counter[tuple[str, str]] = Counter()
    differences, other = list[Difference](), 0
    for id in ids:
        one = Difference(id, old.verdict(id), new.verdict(id))
        if one.old is None and one.new is None:
            continue
        counts[one.change] += 1
        same = one.change[0] == one.change[1]
        if same and one.change[0] != Decision.DISTINCT.value and not _share_a_match(old, new, one):
            other += 1
            same = False
        if not same:
            differences.append(one)
    rank = {Decision.DUPLICATE.value: 0, Decision.UNSURE.value: 1, Decision.DISTINCT.value: 2, NOT_THERE: 3}
    differences.sort(key=lambda one: (min(rank[word] for word in one.change), max(rank[word] for word in one.change)))
    return Comparison(sum(counts.values()), counts, other, differences)


def _share_a_match(old: FlagStore, new: FlagStore, one: Difference) -> bool:
    """Return whether both name a match in common: the same reference, or one of the same cluster in either space."""
    if one.old is None or one.new is None:
        return False
    pairs = [_references(verdict) for verdict in (one.old, one.new)]
    if pairs[0] & pairs[1]:
        return True
    for store in (old, new):
        clusters = [{(bank, store.head(reference) or reference) for bank, reference in pair} for pair in pairs]
        if clusters[0] & clusters[1]:
            return True
    return False


def _references(verdict: Verdict) -> set[tuple[str, str]]:
    return {(match.bank, match.reference) for match in verdict.matches if match.decision is not Decision.DISTINCT}


def write_csv(comparison: Comparison, path: Path) -> None:
    """Write all differences, a row each."""
    head = ("id", "old", "new", "old_match", "old_probability", "new_match", "new_probability")
    rows = ((one.id, *one.change, *_cells(one.old), *_cells(one.new)) for one in comparison.differences)
    write_rows(path, head, rows, errors="surrogateescape")


def _cells(verdict: Verdict | None) -> tuple[str, str]:
    match = _best(verdict)
    return _name(match), f"{match.probability:.4f}" if match else ""


def table(comparison: Comparison) -> list[tuple[str, ...]]:
    """Return counts: a row for each old decision, a column for each new one; the first row and column name them."""
    used = [one for one in DECISIONS if any(one in change for change in comparison.counts)]
    rows = [(f"now {old}", *(f"{comparison.counts[old, new]:,}" for new in used)) for old in used]
    return [("", *(f"then {one}" for one in used)), *rows]


def make_page(comparison: Comparison, blobs: Blobs, models: tuple[str, str], path: Path) -> None:
    """Write the page: counts, then what changes, with thumbnails of the items and of what they match.

    Args:
        models: names of the old and the new one.
    """
    head, *rows = table(comparison)
    changed = len(comparison.differences)
    sections = [Section("Decisions", tables=(Table(head, rows),) if rows else ())]
    shown = comparison.differences[:MAX_CASES]
    for change in dict.fromkeys(one.change for one in shown):
        alike = [one for one in shown if one.change == change]
        title = f"{change[0]} → {change[1]}" if change[0] != change[1] else f"{change[0]}, of another item"
        sections.append(Section(f"{title}: {len(alike):,}", cases=[_case(one, blobs) for one in alike]))
    more = f" The first {MAX_CASES} are shown, the table beside this page has all." if changed > MAX_CASES else ""
    page = Page(
        title=f"{changed:,} of {comparison.items:,} verdicts would change",
        lead=f"The newest items as {models[0]} decides them, which serves, and as {models[1]} does.{more}",
        facts=(
            (f"{comparison.items:,}", "items"),
            (f"{changed:,}", "changes"),
            (f"{comparison.other_match:,}", "copies of another item"),
        ),
        sections=sections,
    )
    write_page(page, path)


def _case(one: Difference, blobs: Blobs) -> Case:
    pictures, shown = [], set[str]()
    matches = [("old match", _best(one.old)), ("new match", _best(one.new))]
    same = matches[0][1] and matches[1][1] and _name(matches[0][1]) == _name(matches[1][1])
    named = [("match", matches[0][1])] if same else matches
    for what, id in [("item", one.id), *((what, match.reference) for what, match in named if match is not None)]:
        picture = _picture(what, blobs.any_thumbnail(id))
        if picture is not None and what not in shown:
            pictures.append(picture)
            shown.add(what)
    return Case(f"{visible(one.id)}: {_words(one.old)} → {_words(one.new)}", pictures)


def _words(verdict: Verdict | None) -> str:
    match = _best(verdict)
    return said(verdict) if match is None else f"{said(verdict)} of {visible(_name(match))} ({match.probability:.2f})"


def _best(verdict: Verdict | None) -> Matched | None:
    matches = [] if verdict is None else [one for one in verdict.matches if one.decision is not Decision.DISTINCT]
    return max(matches, key=lambda one: one.probability, default=None)


def _name(match: Matched | None) -> str:
    if match is None:
        return ""
    return match.reference if match.bank == SEEN else f"{match.bank}/{match.reference}"


def _picture(caption: str, jpeg: bytes | None) -> Picture | None:
    if jpeg is None:
        return None
    try:
        with Image.open(io.BytesIO(jpeg)) as image:
            width, height = image.size
    except OSError:
        return None
    return of_jpeg(caption, jpeg, (height, width))
