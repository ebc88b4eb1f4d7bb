"""From verdicts to the groups of a report, and to its stacks of variants."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from neardup.pipeline.log.records import Described, Matched, Verdict
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.query.lookup import compare_stored
from neardup.pipeline.report.result import File, Group, Match, Stack, Variant
from neardup.pipeline.scan.walk import Found
from neardup.pipeline.types import Decision, Exact, Kind
from neardup.pipeline.where import Relation


def make_file(number: int, found: Found, record: Described, media_format: str) -> File:
    """Return what a report says of a file; `number` is its place in order of time."""
    return File(
        id=number,
        path=found.path,
        kind=record.kind,
        format=media_format,
        width=record.width,
        height=record.height,
        seconds=record.seconds if record.kind is Kind.VIDEO else 0.0,
        bytes=found.size,
        modified=found.modified / 1e9,
        extras=record.extras,
        sha256=record.sha256,
        pixels_digest=record.pixels_digest,
    )


def make_groups(verdicts: Iterable[Verdict], files: Mapping[int, File], state: State) -> tuple[Group, ...]:
    """Gather the copies of each original, the largest group first, the most probable copy first.

    Segments are looked at once more with all that the scan has seen by now: a stretch that turned out to be common to
    many videos, such as an intro, makes no match.
    """
    shown = {verdict.id: _worth_showing(verdict, files, state) for verdict in verdicts}
    matches: dict[int, list[Match]] = defaultdict(list)
    for item, found in shown.items():
        for matched in found:
            if not _is_implied(matched, found, shown):
                matches[int(matched.reference)].append(_match(files, files[int(item)], matched))
    groups = [
        Group(original=files[number], matches=tuple(sorted(found, key=lambda m: (-m.probability, m.file.id))))
        for number, found in matches.items()
    ]
    return tuple(sorted(groups, key=lambda group: (-len(group.matches), group.original.id)))


def make_stacks(verdicts: Iterable[Verdict], files: Mapping[int, File]) -> tuple[Stack, ...]:
    """Gather what shows one template or scene with other content, the largest stack first.

    Variants of variants are one stack, which as many matches join as are needed, the most alike first. A copy stands
    for its original, so that it is in its group alone.
    """
    joined: dict[int, int] = {}

    def root(number: int) -> int:
        path = []
        while (above := joined.get(number, number)) != number:
            path.append(number)
            number = above
        joined.update(dict.fromkeys(path, number))
        return number

    copies: set[int] = set()
    variants: list[tuple[int, int, Matched]] = []
    for verdict in verdicts:
        number = int(verdict.id)
        originals = (one for one in verdict.matches if one.decision is Decision.DUPLICATE and one.where.whole)
        if (original := next(originals, None)) is not None:
            copies.add(number)
            joined[root(number)] = root(int(original.reference))
        variants += [(number, int(one.reference), one) for one in verdict.matches if one.relation is Relation.VARIANT]
    kept: list[tuple[int, int, Matched]] = []
    for number, reference, matched in sorted(variants, key=lambda one: (-one[2].evidence, one[0], one[1])):
        if root(number) != root(reference):
            joined[root(number)] = root(reference)
            kept.append((number, reference, matched))
    matches: dict[int, list[Variant]] = defaultdict(list)
    for number, reference, matched in sorted(kept, key=lambda one: one[:2]):
        match = Variant(file=files[number], reference=files[reference], **matched.common())
        matches[root(number)].append(match)
    members: dict[int, list[File]] = defaultdict(list)
    for number in sorted(files):
        if number not in copies and root(number) in matches:
            members[root(number)].append(files[number])
    stacks = [Stack(files=tuple(members[one]), matches=tuple(found)) for one, found in matches.items()]
    return tuple(sorted(stacks, key=lambda stack: (-len(stack.files), stack.files[0].id)))


def _worth_showing(verdict: Verdict, files: Mapping[int, File], state: State) -> list[Matched]:
    """Return the best match as a whole and all partial ones; the unsure only where nothing is sure."""
    video = files[int(verdict.id)].kind is Kind.VIDEO
    rechecked = [
        compare_stored(state, verdict.id, matched.reference)
        if video and not matched.where.whole and files[int(matched.reference)].kind is Kind.VIDEO
        else matched
        for matched in verdict.matches
        if matched.relation is Relation.COPY
    ]
    sure = [matched for matched in rechecked if matched.decision is Decision.DUPLICATE]
    whole = [matched for matched in sure if matched.where.whole][:1]
    partial = [matched for matched in sure if not matched.where.whole]
    unsure = [matched for matched in rechecked if matched.decision is Decision.UNSURE][:1]
    return whole + partial or unsure


def _is_implied(matched: Matched, siblings: Sequence[Matched], shown: Mapping[str, Sequence[Matched]]) -> bool:
    """Tell whether a partial match follows from others: two excerpts of one clip match, and say nothing by that."""
    if matched.where.whole:
        return False
    references = {one.reference for one in shown.get(matched.reference, ())}
    return any(
        sibling.reference in references  # what it matches copies the same original
        or (sibling.where.whole and matched.reference in {one.reference for one in shown.get(sibling.reference, ())})
        for sibling in siblings
        if sibling is not matched
    )


def _match(files: Mapping[int, File], file: File, matched: Matched) -> Match:
    other = matched.identical_to if matched.identical_to != matched.reference else ""
    if not other:
        return Match(file=file, **matched.common())
    return Match(file=file, identical_to=files[int(other)].path, **matched.common() | {"exact": Exact.NO})
