# ruff: noqa: ARG001, ARG005 (what takes the place of a function takes its arguments)
"""Rules of the product, each broken by a monkeypatch, to show that the comparison notices every one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from neardup.pipeline.log import verdicts
from neardup.pipeline.log.changes import SEEN, Action, Outcome
from neardup.pipeline.log.proofs import ProofExpired
from neardup.pipeline.match.apply import backward, editor, intake, proofs, removals, uploads
from neardup.pipeline.match.compare import banks, compare, reviews, stars
from neardup.pipeline.match.data import items, pending, tables, undecided
from neardup.pipeline.match.decide import decide
from neardup.pipeline.prove.finding import Finding
from neardup.pipeline.types import Decision
from tests.model.compare import difference, made
from tests.model.curves import Unclear
from tests.model.worlds import cuts

Make = Callable[[Any], Any]


@dataclass(frozen=True)
class Mutation:
    """A rule, where it stands, and what takes its place, made from what stood there."""

    rule: str
    owner: Any
    name: str
    make: Make


@contextmanager
def applied(mutation: Mutation) -> Iterator[None]:
    """Have a rule broken for a while."""
    old = vars(mutation.owner)[mutation.name]
    setattr(mutation.owner, mutation.name, mutation.make(old))
    try:
        yield
    finally:
        setattr(mutation.owner, mutation.name, old)


def always(value: Any) -> Make:
    """Return what makes a function that returns one value."""
    return lambda old: lambda *_, **__: value


def put(value: Any) -> Make:
    """Return what makes a constant another one."""
    return lambda old: value


def _takes_all(old: Any) -> Any:
    def take(self: Any, answers: Any) -> bool:
        for pair in self.pairs:
            pair.answered = pair.asked and False
        return bool(old(self, answers))

    return take


def _without(name: str, value: Any) -> Make:
    """Return what leaves an argument of a change out."""

    def make(old: Any) -> Any:
        def change(self: Any, record: Any, *more: Any) -> Any:
            return old(self, msgspec.structs.replace(record, **{name: value}), *more)

        return change

    return make


def _as_if_reviewed(outcome: Outcome) -> Make:
    """Return what passes over one outcome of reviews."""
    return lambda old: lambda match, said: old(match, None if said is outcome else said)


def _doubts_none(old: Any) -> Any:
    def settle(self: Any, item: Any, pair: Any, reference: Any, expired: bool, *of_head: bool) -> Any:
        return old(self, item, pair, reference, False, *of_head)

    return settle


def _answered(old: Any) -> Any:
    def settle(self: Any, item: Any, pair: Any, reference: Any, expired: bool, *of_head: bool) -> Any:
        answered = undecided.Pair(pair.candidate, pair.number, True, True, pair.proved)
        return old(self, item, answered, reference, expired, *of_head)

    return settle


def _proof_ignored(old: Any) -> Any:
    def prove(self: Any, outcome: Any, proved: Any) -> Any:
        return outcome

    return prove


def _variant_is_copy(old: Any) -> Any:
    def prove(self: Any, outcome: Any, proved: Any) -> Any:
        if proved.summary.finding is Finding.VARIANT:
            return outcome
        return old(self, outcome, proved)

    return prove


def _as_now(old: Any) -> Any:
    def left(self: Any, collection: Any, bank: Any, pairs: Any, now_ms: int) -> Any:
        for pair in pairs:
            reference = collection.of(pair.number) if pair.candidate.bank == collection.name else None
            if reference is not None:
                yield pair, reference

    return left


def _by_id(old: Any) -> Any:
    def left(self: Any, collection: Any, bank: Any, pairs: Any, now_ms: int) -> Any:
        for pair in pairs:
            reference = collection.tables.items.named(pair.candidate.reference)
            same = pair.candidate.bank == collection.name
            if same and reference is not None and (bank is None or bank.usable(now_ms)(reference)):
                yield pair, reference

    return left


def _any_id(old: Any) -> Any:
    def apply(self: Any, entry: Any, record: Any) -> Any:
        item = next((self._seen.of(one.item) for one in self.undecided if one.offset == record.offset), None)
        return old(self, entry, record if item is None else msgspec.structs.replace(record, id=item.id))

    return apply


def _no_offset(old: Any) -> Any:
    def take(self: Any, answers: Any) -> bool:
        offsets = {(pair.candidate.bank, pair.candidate.reference): pair.candidate.offset for pair in self.pairs}
        fitted = [
            msgspec.structs.replace(one, offset=offsets.get((one.bank, one.reference), one.offset)) for one in answers
        ]
        return bool(old(self, fitted))

    return take


def _last_wins(old: Any) -> Any:
    return lambda self, answers: old(self, list(reversed(answers)))


def _no_head_beside(old: Any) -> Any:
    def matches(self: Any, *given: Any) -> Any:
        return [msgspec.structs.replace(match, head="") for match in old(self, *given)]

    return matches


def _inherits(old: Any) -> Any:
    return lambda self, query, reference: True


def _not_listed_before(old: Any) -> Any:
    def apply(self: Any, entry: Any, record: Any) -> Any:
        return tuple(
            msgspec.structs.replace(event, withdrawn=()) if hasattr(event, "withdrawn") else event
            for event in old(self, entry, record)
        )

    return apply


def _never_late(old: Any) -> Any:
    def apply(self: Any, entry: Any, record: Any) -> Any:
        if any(one.offset == record.offset and one.expired for one in self.undecided):
            return ()
        return old(self, entry, record)

    return apply


def _last_twin(old: Any) -> Any:
    def identical(self: Any, *digests: bytes) -> Any:
        return tuple(reversed([*found]) for found in old(self, *digests))

    return identical


def _bytes_only(old: Any) -> Any:
    return lambda self, sha256, pixels: old(self, sha256, b"")


def _back_from_takedown(old: Any) -> Any:
    def take_down(self: Any, record: Any) -> Any:
        yield from old(self, record)
        self.taken_down.discard(record.id)

    return take_down


def _silent_takedown(old: Any) -> Any:
    return lambda self, record: (event for event in old(self, record) if not hasattr(event, "refused"))


def _stays_under(old: Any) -> Any:
    def settle(self: Any, item: Any, head_id: str) -> Any:
        return [] if item.members else old(self, item, head_id)

    return settle


def _one_direction(old: Any) -> Any:
    def respected(self: Any, item: Any, reference: Any, match: Any) -> Any:
        return match if item.id < reference.id else old(self, item, reference, match)

    return respected


def _forgets_move(old: Any) -> Any:
    return lambda self, *given: iter(())


def _seen_first(old: Any) -> Any:
    def combine(item: Any, matches: Any, *given: Any, **named: Any) -> Any:
        verdict = old(item, matches, *given, **named)
        ordered = tuple(sorted(verdict.matches, key=lambda match: match.bank != SEEN))
        return msgspec.structs.replace(verdict, matches=ordered)

    return combine


def _unsure_silences(old: Any) -> Any:
    def combine(item: Any, matches: Any, *given: Any, **named: Any) -> Any:
        sure = [
            msgspec.structs.replace(m, decision=Decision.DUPLICATE)
            if m.action is Action.ALLOW and m.decision is Decision.UNSURE
            else m
            for m in matches
        ]
        return old(item, sure, *given, **named)

    return combine


def _precision_fixed(old: Any) -> Any:
    return lambda self: None


def _retro_keeps_silent(old: Any) -> Any:
    return lambda self, bank, reference, offset, now_ms: backward.Earlier()


def _retro_expires_silently(old: Any) -> Any:
    return lambda self, record, now_ms: [] if isinstance(record, ProofExpired) else old(self, record, now_ms)


def _archive_is_newer(old: Any) -> Any:
    return lambda record, source: record.source_partition == source[0] and old(record, source)


def _retro_told_twice(old: Any) -> Any:
    return lambda self, id, offset, candidate: self._by_key.get((offset, candidate.bank, candidate.offset))


def _proof_of_head_is_own(old: Any) -> Any:
    return lambda self, item, pair, reference, expired, of_head=False: old(self, item, pair, reference, expired)


def _retro_heads_only(old: Any) -> Any:
    return lambda self, bank, reference: [item for item in old(self, bank, reference) if item.is_head]


def _deleted_comes_back(old: Any) -> Any:
    def delete(self: Any, bank: Any) -> None:
        old(self, bank)
        self.deleted.clear()

    return delete


def _removed_comes_back(old: Any) -> Any:
    return lambda record, source: False


def _most_waiting(old: Any) -> Any:
    def propose(self: Any, *given: Any) -> Any:
        most, self._most = self._most, 10**9
        try:
            return old(self, *given)
        finally:
            self._most = most

    return propose


def _first_twin(old: Any) -> Any:
    def beside(self: Any, *given: Any) -> Any:
        twins, others = old(self, *given)
        return twins[:1], others

    return beside


def _nothing_shared(old: Any) -> Any:
    return lambda self, pairs, frames: np.zeros(frames, np.int64)


def _common_too(old: Any) -> Any:
    return lambda segments, *given, **named: list(segments)


def _rare_only(old: Any) -> Any:
    def keep(segments: Any, query: Any, reference: Any, **named: Any) -> Any:
        return [one for one in segments if one.rarity >= decide.MIN_VOTES]

    return keep


def _at_one_instant(old: Any) -> Any:
    def prove(self: Any, outcome: Any, proved: Any) -> Any:
        return old(self, msgspec.structs.replace(outcome, moments=False), proved)

    return prove


def _usable_always(old: Any) -> Any:
    return lambda self, now_ms: lambda reference: True


def _speaking(old: Any) -> Any:
    def pictures_of(records: Any, rule: Any) -> Any:
        pictures, speaks = old(records, rule)
        return pictures, speaks | True

    return pictures_of


MUTATIONS = [
    Mutation("at most five are asked about", proofs, "PROVED", put(4)),
    Mutation("what waits for another candidate is spare", proofs.Proofs, "_spare", always(set())),
    Mutation("a spare candidate lapses where another is a copy", undecided.Undecided, "lapsed", always(False)),
    Mutation("a late answer decides on an earlier upload for a day", backward, "LATE_MS", put(0)),
    Mutation("above max_pending fewer are asked about", proofs.Proofs, "_propose", _most_waiting),
    Mutation("the first of two answers counts", undecided.Undecided, "take", _last_wins),
    Mutation("an answer names the version of the reference", undecided.Undecided, "take", _no_offset),
    Mutation("an answer names the item", proofs.Proofs, "apply", _any_id),
    Mutation("what was answered is not asked again", undecided.Undecided, "take", _takes_all),
    Mutation("an item that leaves waits no more", undecided.UndecidedItems, "forget", always(None)),
    Mutation("a late answer decides once more", proofs.Proofs, "apply", _never_late),
    Mutation("an answer after a day decides nothing", proofs, "LATE_MS", put(10**15)),
    Mutation("the second verdict withdraws", proofs.Proofs, "apply", _not_listed_before),
    Mutation("what expired is unproved", compare.Comparer, "settle", _doubts_none),
    Mutation("without an answer a match is unsure at most", compare.Comparer, "settle", _answered),
    Mutation("a proof decides", decide.Judge, "prove", _proof_ignored),
    Mutation("a variant is distinct", decide.Judge, "prove", _variant_is_copy),
    Mutation("a copy of less than half is one of a part", decide, "LEAST_WHOLE", put(0.0)),
    Mutation("a disabled reference lapses", proofs.Proofs, "_left", _as_now),
    Mutation("a replaced reference lapses", proofs.Proofs, "_left", _by_id),
    Mutation("the present head stands beside the reference", proofs.Proofs, "_matches", _no_head_beside),
    Mutation("a head inherits no proof", stars.Stars, "_is_copy", _inherits),
    Mutation("members are compared with the new head", stars.Stars, "settle", _stays_under),
    Mutation("the earliest twin", items.Items, "identical", _last_twin),
    Mutation("identical content is exact", items.Items, "identical", _bytes_only),
    Mutation("a takedown is for good", removals.Removals, "take_down", _back_from_takedown),
    Mutation("a takedown is in the audit trail", removals.Removals, "take_down", _silent_takedown),
    Mutation("an older version is ignored", uploads, "is_older", always(False)),
    Mutation("history never replaces what the stream brought", uploads, "is_older", _archive_is_newer),
    Mutation("nobody is notified of history", proofs, "_is_quiet", always(False)),
    Mutation("what got no part for a day is given up", pending, "MAX_PENDING_SECONDS", put(10**9)),
    Mutation("'not a match' holds", reviews, "as_judged", _as_if_reviewed(Outcome.NOT_A_MATCH)),
    Mutation("'match' holds", reviews, "as_judged", _as_if_reviewed(Outcome.MATCH)),
    Mutation("reviews hold in both directions", reviews.Reviews, "respected", _one_direction),
    Mutation("what was said not to match joins no star", reviews.Reviews, "rejects", always(False)),
    Mutation("undo moves back", editor.Editor, "_move_back", _forgets_move),
    Mutation("curated banks come first", proofs, "combine", _seen_first),
    Mutation("an allow-list silences", verdicts, "is_silenced", always(False)),
    Mutation("an unsure allow-list match silences nothing", proofs, "combine", _unsure_silences),
    Mutation("settings of banks take hold", banks.Banks, "take_hold", _precision_fixed),
    Mutation("the share of a bank's items", banks.Bank, "asks_about", always(True)),
    Mutation("the action of a bank", banks.BankSettings, "change", _without("action", None)),
    Mutation("earlier items match a new reference", backward.BackwardSearch, "search", _retro_keeps_silent),
    Mutation("earlier heads are asked about", backward.BackwardSearch, "_ask", always([])),
    Mutation("a later reference that nobody proved is told", backward.BackwardSearch, "apply", _retro_expires_silently),
    Mutation("a later reference is answered once", undecided.LaterAsks, "take", _retro_told_twice),
    Mutation(
        "a head's proof is the most that is said of a member", compare, "_at_most", lambda old: lambda own, _: own
    ),
    Mutation("a head's proof is none of its members", compare.Comparer, "settle", _proof_of_head_is_own),
    Mutation("members match a new reference", backward.BackwardSearch, "_candidates", _retro_heads_only),
    Mutation("an allow-list silences retro-matches", backward.BackwardSearch, "_allowing", always([])),
    Mutation("a deleted bank does not come back", banks.Banks, "delete", _deleted_comes_back),
    Mutation("a removed reference does not come back", uploads, "is_no_newer", _removed_comes_back),
    Mutation("a disabled reference matches nothing", banks.Bank, "usable", _usable_always),
    Mutation("blank pictures say nothing", intake, "pictures_of", _speaking),
    Mutation("all identical references are exact", compare.Comparer, "_beside", _first_twin),
    Mutation("a copy of a film as a whole covers most of both", decide, "WHOLE_COVERAGE", put(0.0)),
    Mutation("less than three rare frames say nothing", decide, "MIN_VOTES", put(1)),
    Mutation("moments that agree confirm each other", decide, "COMMON_MOMENTS", put(100.0)),
    Mutation("a proof says nothing against moments that agree", decide.Judge, "prove", _at_one_instant),
    Mutation("what many films have in common is no evidence", decide, "keep_rare", _common_too),
    Mutation("nearly all of a film is evidence, however many have it", decide, "keep_rare", _rare_only),
    Mutation("frames of a new film count for those that have them", compare.Comparer, "sharers", _nothing_shared),
    Mutation("frames count for films that show them later", compare.Comparer, "_note_shared", always(None)),
    Mutation("a film that leaves counts no more", tables.Tables, "unshare", always(None)),
    Mutation("a review joins films that are copies as a whole", editor.Editor, "_is_whole", always(True)),
]


def noticed_by(mutation: Mutation, seeds: Iterable[int]) -> int | None:
    """Return the first of these logs that differs with a rule broken, and agrees without; None if none does."""
    for seed in seeds:
        with suppress(Unclear):
            entries, said, most = made(seed)
            batches = cuts(seed, len(entries))
            with applied(mutation):
                broken = difference(entries, said, most, batches)
            if broken is not None and difference(entries, said, most, batches) is None:
                return seed
    return None
