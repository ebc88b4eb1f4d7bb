"""Choose what could go: only what another file holds, too, in full.

Each file is listed for one that stays, never for one that goes itself, and no file twice. What belongs together goes
together or stays. Whatever is in doubt stays, and the plan says why.
"""

from __future__ import annotations

import filecmp
import functools
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from neardup.pipeline.cleanup import containment
from neardup.pipeline.cleanup.companions import Role, is_edited_version, role_of
from neardup.pipeline.cleanup.plan import (
    Difference,
    Differs,
    Include,
    Keep,
    Move,
    Note,
    Options,
    Place,
    Plan,
    Why,
)
from neardup.pipeline.cleanup.quality import UNKNOWN, Look, Quality, agree
from neardup.pipeline.report.names import absolute, raw
from neardup.pipeline.report.result import File, Group, Match, ScanResult, describe_extras
from neardup.pipeline.types import Decision, Exact, Extras, Kind
from neardup.pipeline.where import Relation

SAME_SHAPE = 0.01
"""How far two aspect ratios may be apart, of the first."""
SAME_LENGTH = 0.02
"""How far the lengths of two videos may be apart, of the longer, beside a second."""
MAX_KEPT = 32
"""A file is tried against so many that stay."""


@dataclass(eq=False, slots=True)
class _Member:
    """A file of a group that could be kept, or go.

    Attributes:
        number: its place in the group; 0 is the original.
        match: how it copies the original; None is the original itself.
    """

    number: int
    file: File
    place: Place
    match: Match | None
    quality: Quality = field(default=UNKNOWN)

    @property
    def direct(self) -> Exact:
        """How literally it is the same as the original."""
        return Exact.BYTES if self.match is None else self.match.exact


def make_plan(result: ScanResult, options: Options, look: Look) -> Plan:
    """Return what could go, and why the rest stays.

    Args:
        look: estimates the quality of a file; asked only where it may decide.
    """
    chooser = _Chooser(options, look)
    for group in result.groups:
        chooser.group(group)
    return chooser.plan


class _Chooser:
    def __init__(self, options: Options, look: Look) -> None:
        self.plan = Plan(options)
        self._options = options
        self._look = look
        self._kept: set[tuple[int, int]] = set()
        self._gone: set[tuple[int, int]] = set()

    def group(self, group: Group) -> None:
        members = self._members(group)
        for together in [members] if self._options.include is Include.DUPLICATE else _classes(members):
            if len(together) > 1:
                self._choose(together)
            elif together:
                self._stays(together[0].file, _alone(together[0].file))

    def _members(self, group: Group) -> list[_Member]:
        """Return what of a group may be listed or kept, and note why the rest is not."""
        members: list[_Member] = []
        met: set[tuple[int, int]] = set()
        for number, match in enumerate((None, *group.matches)):
            file = group.original if match is None else match.file
            why = None if match is None else _excluded(match, group.original)
            place = place_of(file.path) if why is None else None
            if why is None:
                why = self._unusable(file, place, met)
            if why is not None or place is None:
                self._stays(file, why or Why.CHANGED)
                continue
            met.add(_identity(place))
            members.append(_Member(number, file, place, match))
        return members

    def _unusable(self, file: File, place: Place | None, met: set[tuple[int, int]]) -> Why | None:
        if place is None:
            return Why.LINK if Path(file.path).is_symlink() else Why.CHANGED
        if place.size != file.bytes or abs(place.modified_ns / 1e9 - file.modified) > 1e-3:
            return Why.CHANGED
        if _identity(place) in met:
            return Why.SAME_FILE
        return Why.CHANGED if _identity(place) in self._gone else None

    def _choose(self, members: list[_Member]) -> None:
        """Go through files from the best on; each is listed for the first that may stand for it, or stays itself."""
        self._estimate(members)
        order = _ordered(members, self._options.keep)
        kept: list[_Member] = []
        for member in order:
            why: Why | None = None
            for other in kept[:MAX_KEPT]:
                obstacle = self._obstacle(member, other)
                if obstacle is None and (step := self._step(member, other)) is not None:
                    self._list(member, step)
                    break
                why = why or obstacle or Why.KEPT_TOGETHER
            else:
                self._stays(member.file, why or _advantage(order, self._options.keep))
                kept.append(member)

    def _estimate(self, members: Iterable[_Member]) -> None:
        """Look at files whose quality may decide; those with the same bytes need no look."""
        closely = self._options.include is Include.DUPLICATE
        if closely or len({member.file.sha256 for member in members}) > 1:
            for member in members:
                member.quality = self._look(member.file, closely)

    def _obstacle(self, gone: _Member, kept: _Member) -> Why | None:
        """Return why a file may not go for the sake of another; None if it may."""
        a, b = gone.file, kept.file
        if a.extras.raw or b.extras.raw or Role.RAW in (role_of(a.path), role_of(b.path)):
            return Why.RAW
        if not (a.extras.complete and b.extras.complete):
            return Why.INCOMPLETE
        if _identity(gone.place) in self._kept:
            return Why.KEPT_ELSEWHERE
        exact = _relation(gone, kept)
        if exact is Exact.BYTES:
            return None
        if self._options.action.needs_bytes:
            return Why.BYTES_NEEDED
        if _is_richer(a.extras, b.extras):
            return Why.RICHER
        if exact is Exact.PIXELS:
            return None
        return self._difference(gone, kept)

    def _difference(self, gone: _Member, kept: _Member) -> Why | None:
        """Return why a copy that is not exact may not go."""
        a, b = gone.file, kept.file
        if self._options.include is Include.EXACT:
            return Why.DIFFERS
        if is_edited_version(a.path, b.path):
            return Why.KEPT_TOGETHER
        if a.extras.bits > 8:  # measurements, masks: what looks alike may be other data
            return Why.DEEP
        if not has_shape(a, b):
            return Why.SHAPE
        if abs(a.seconds - b.seconds) > 1.0 + SAME_LENGTH * max(a.seconds, b.seconds):
            return Why.LENGTH
        return containment.obstacle(gone.match, kept.match) or agree(gone.quality, kept.quality)

    def _step(self, gone: _Member, kept: _Member) -> tuple[Move, ...] | None:
        """Return the file and what belongs together with it as one step; None where that would split them."""
        exact = _relation(gone, kept)
        moves = [Move(gone.place, kept.place, exact, () if exact is Exact.BYTES else _differences(gone, kept))]
        for path in sorted(set(gone.file.companions) - set(kept.file.companions)):
            twin = self._twin(path, kept.file.companions)
            if twin is None:
                return None
            moves.append(Move(*twin, Exact.BYTES))
        going, staying = {_identity(move.gone) for move in moves}, {_identity(move.kept) for move in moves}
        if going & (self._kept | self._gone | staying) or staying & self._gone:
            return None
        return tuple(moves)

    def _twin(self, path: str, others: Iterable[str]) -> tuple[Place, Place] | None:
        """Return a companion and the one with the same bytes among those of the kept file."""
        place = place_of(path)
        if place is None or role_of(path) is Role.RAW:
            return None
        for other in others:
            if Path(other).suffix.lower() != Path(path).suffix.lower():
                continue
            twin = place_of(other)
            if twin is None or twin.size != place.size or _identity(twin) == _identity(place):
                continue
            try:
                if filecmp.cmp(place.path, twin.path, shallow=False):
                    return place, twin
            except OSError:
                continue
        return None

    def _list(self, member: _Member, step: tuple[Move, ...]) -> None:
        self.plan.steps.append(step)
        self._gone |= {_identity(move.gone) for move in step}
        self._kept |= {_identity(move.kept) for move in step}
        self.plan.notes[member.file.id] = Note(goes=True)

    def _stays(self, file: File, why: Why) -> None:
        """Note why a file stays; one that goes in another group goes."""
        note = self.plan.notes.get(file.id)
        if note is None or not note.goes:
            self.plan.notes[file.id] = Note(goes=False, why=why)


def place_of(path: str) -> Place | None:
    """Return a regular file as it is now; None for a link, and for what is no file."""
    where = absolute(path)
    try:
        status = os.lstat(where)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return Place(where, status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino)


def has_shape(file: File, original: File) -> bool:
    """Return whether two files have one aspect ratio, as far as whole pixels allow."""
    difference = abs(file.width * original.height - original.width * file.height)
    slack = max(file.width, file.height, original.width, original.height)  # a pixel more or less
    return difference <= max(SAME_SHAPE * original.width * file.height, slack)


def _alone(file: File) -> Why:
    """Return why a file stays that no other equals."""
    if file.extras.raw:
        return Why.RAW
    return Why.KEPT_TOGETHER if file.companions else Why.DIFFERS


def _excluded(match: Match, original: File) -> Why | None:
    """Return why a match makes no copy of a file; None if it does."""
    if match.relation is Relation.VARIANT:
        return Why.VARIANT
    if match.decision is not Decision.DUPLICATE:
        return Why.UNSURE
    return None if match.where.whole and match.file.kind is original.kind else Why.PART


def _identity(place: Place) -> tuple[int, int]:
    """Return what a file is; where there are no inodes, its path."""
    return (place.device, place.inode) if place.inode else (-1, hash(os.path.realpath(place.path)))


def _classes(members: Sequence[_Member]) -> list[list[_Member]]:
    """Return files that are exactly the same together, each once."""
    sets: list[list[_Member]] = []
    by: dict[object, list[_Member]] = {}
    for member in members:
        keys = _keys(member)
        together = next((by[key] for key in keys if key in by), None)
        if together is None:
            together = []
            sets.append(together)
        together.append(member)
        for key in keys:
            by.setdefault(key, together)
    return sets


def _keys(member: _Member) -> list[object]:
    keys: list[object] = []
    if member.file.sha256:
        keys.append(member.file.sha256)
    if member.direct is not Exact.NO:
        keys.append("original")
    if member.file.pixels_digest:
        keys.append(("pixels", member.file.pixels_digest))
    return keys or [member.number]


def _relation(a: _Member, b: _Member) -> Exact:
    """Return how literally two members of a group are the same."""
    one, other = a.file, b.file
    if one.sha256 and one.sha256 == other.sha256:
        return Exact.BYTES
    if not (one.sha256 and other.sha256) and a.direct is b.direct is Exact.BYTES:
        return Exact.BYTES
    same = Exact.NO not in (a.direct, b.direct) or (one.pixels_digest and one.pixels_digest == other.pixels_digest)
    return Exact.PIXELS if same and _held(one.extras) == _held(other.extras) else Exact.NO


def _held(extras: Extras) -> tuple[object, ...]:
    return frozenset(extras.attachments), extras.pages, extras.bits, extras.raw


def _is_richer(a: Extras, b: Extras) -> bool:
    """Return whether a file holds anything that another lacks."""
    return bool(
        set(a.attachments) - set(b.attachments) or a.pages > b.pages or a.bits > b.bits or (b.grey and not a.grey)
    )


# --- Which one stays


Criterion = Callable[[_Member, _Member], float]
"""Above 0 where the first is to be preferred, below 0 the second, 0 where it does not decide."""


def _more(value: Callable[[_Member], float]) -> Criterion:
    return lambda a, b: value(a) - value(b)


_CONTENT: list[tuple[Why, Criterion]] = [
    (Why.COMPLETE, _more(lambda m: m.file.extras.complete)),
    (Why.CONTENT, _more(lambda m: len(m.file.extras.attachments))),
    (Why.CONTENT, _more(lambda m: m.file.extras.pages)),
    (Why.CONTENT, _more(lambda m: m.file.extras.bits)),
    (Why.CONTENT, _more(lambda m: not m.file.extras.grey)),
    (Why.COMPANIONS, _more(lambda m: len(m.file.companions))),
]
_PIXELS = _more(lambda m: m.file.width * m.file.height)
_SECONDS = _more(lambda m: m.file.seconds)
_OLDER = _more(lambda m: -m.file.modified)
_RULES: dict[Keep, list[tuple[Why, Criterion]]] = {
    Keep.BEST: [
        *_CONTENT,
        (Why.RESOLUTION, lambda a, b: a.quality.finer(b.quality)),
        (Why.NOT_UPSCALED, lambda a, b: a.quality.less_enlarged(b.quality)),
        (Why.QUALITY, lambda a, b: a.quality.less_compressed(b.quality)),
        (Why.PIXELS, _PIXELS),
        (Why.METADATA, _more(lambda m: m.quality.metadata)),
        (Why.OLDER, _OLDER),
    ],
    Keep.LARGEST: [(Why.PIXELS, _PIXELS), (Why.SECONDS, _SECONDS)],
    Keep.OLDEST: [(Why.OLDER, _OLDER)],
    Keep.NEWEST: [(Why.NEWER, _more(lambda m: m.file.modified))],
    Keep.SHORTEST: [(Why.SHORTER_PATH, _more(lambda m: -len(raw(m.file.path))))],
}


def _decides(a: _Member, b: _Member, rules: Sequence[tuple[Why, Criterion]]) -> tuple[Why, float]:
    for why, criterion in rules:
        if (value := criterion(a, b)) != 0:
            return why, value
    return Why.FIRST, b.number - a.number


def _ordered(members: Sequence[_Member], keep: Keep) -> list[_Member]:
    """Return files in order of preference. Another shape than the first one's means an edit, which comes last."""
    rules = _RULES[keep]
    first = members[0].file
    if keep in (Keep.BEST, Keep.LARGEST):
        shape = _more(lambda m: has_shape(m.file, first))
        rules = [(Why.SHAPE, shape), *rules]

    def compare(a: _Member, b: _Member) -> int:
        value = _decides(a, b, rules)[1]
        return (value < 0) - (value > 0)

    return sorted(members, key=functools.cmp_to_key(compare))


def _advantage(order: Sequence[_Member], keep: Keep) -> Why:
    """Return what speaks for the first of an order."""
    return _decides(order[0], order[1], _RULES[keep])[0] if len(order) > 1 else Why.FIRST


# --- What differs


def _differences(gone: _Member, kept: _Member) -> tuple[Difference, ...]:
    """Return in what a copy differs from the file that stays, by what is known of both."""
    pairs: dict[Differs, Callable[[_Member], str]] = {
        Differs.FORMAT: lambda m: m.file.format,
        Differs.PIXELS: lambda m: f"{m.file.width} × {m.file.height}",
        Differs.SECONDS: lambda m: f"{m.file.seconds:.1f} s" if m.file.kind is Kind.VIDEO else "",
        Differs.QUALITY: lambda m: m.quality.words,
        Differs.SHARPNESS: lambda m: f"{m.quality.share:.0%} of its resolution used" if m.quality.is_known else "",
        Differs.COLOUR: lambda m: "grey" if m.file.extras.grey else "colour",
        Differs.CONTENT: lambda m: describe_extras(msgspec.structs.replace(m.file.extras, grey=False)),  # as COLOUR
        Differs.METADATA: lambda m: f"{m.quality.metadata} entries",
        Differs.BYTES: lambda m: f"{m.file.bytes}",
    }
    found = ((what, words(gone), words(kept)) for what, words in pairs.items())
    return tuple(Difference(what, a, b) for what, a, b in found if a != b)
