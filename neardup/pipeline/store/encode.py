"""Events as `flag.lua` takes them. Redis's MessagePack knows no bytes, so verdicts are handed over beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from neardup.pipeline.log.changes import BankChanged, BankEdit, ReferenceChanged, ReferenceEdit, Reviewed
from neardup.pipeline.log.records import (
    Changed,
    Envelope,
    Event,
    Matched,
    Redecided,
    Referenced,
    ReHeaded,
    RemovedEvent,
    Replaced,
    RetroMatched,
    Rolling,
    Unreferenced,
    Verdict,
)
from neardup.pipeline.log.verdicts import (
    RANK,
    flagged_verdict,
    is_counted,
    lets_pass,
    star_head,
    to_review,
    variants_in,
)
from neardup.pipeline.store.interface import DEAD_LETTER_DAYS, is_news
from neardup.pipeline.types import Decision, Doubt

encode = msgspec.msgpack.Encoder().encode
_json = msgspec.json.Encoder().encode
Packed = tuple[object, ...]


class Encoder:
    """Encodes envelopes and gathers their verdicts.

    Args:
        keep_distinct_ms: after which verdicts of `distinct` are forgotten; 0 keeps them.
    """

    def __init__(self, keep_distinct_ms: int = 0) -> None:
        self.verdicts: list[bytes] = []
        self._keep_distinct_ms = keep_distinct_ms

    def envelope(self, envelope: Envelope) -> Packed:
        """Return an envelope as the script takes it."""
        events = [
            packed
            for number, event in enumerate(envelope.events)
            for packed in self._event(event, number, envelope.timestamp_ms)
        ]
        return envelope.offset, envelope.timestamp_ms, events

    def _event(self, event: Event, number: int, now_ms: int) -> list[Packed]:
        if isinstance(event, Verdict):
            return [self._verdict(event, number, now_ms, event.decision is not Decision.DISTINCT)]
        if isinstance(event, Redecided):
            said = event.verdict
            verdict = self._verdict(said, number, now_ms, RANK[said.decision] > RANK[event.before])
            return [("withdrawn", number, said.id, [_key(*one) for one in event.withdrawn]), verdict]
        if isinstance(event, Rolling):
            told, shown = event.verdict, self._keep(event.verdict)
            fed = self._keep(flagged_verdict(told, event.flagged)) if event.flagged is not None else 0
            keys = _keys([event.flagged] if event.flagged is not None else [])
            until = self._until(told, now_ms)
            verdict = ("verdict", number, told.id, told.decision.value, "", shown, fed, until, *keys)
            gone = [*(_key(*one) for one in event.withdrawn), *map(key_of, variants_in(told))]
            return [*([("withdrawn", number, told.id, gone)] if gone else []), verdict]
        if isinstance(event, RetroMatched):
            taken_back: list[Packed] = []
            if event.before is not None:
                taken_back.append(("withdrawn", number, event.id, [key_of(event.match)]))
            return [*taken_back, self._later(event, number)]
        if isinstance(event, RemovedEvent):
            return [("gone", number, event.id, now_ms // 1000 + round(DEAD_LETTER_DAYS * 86_400))]
        if isinstance(event, Replaced):
            return [("gone", number, event.id, 0)]
        if isinstance(event, ReHeaded):
            return [("re-headed", number, event.new, event.members)]
        if isinstance(event, Referenced):
            fields = ["bank", event.bank, "kind", event.kind.value, "sha256", event.sha256.hex()]
            fields += ["thumbnail", event.thumbnail]
            return [("reference", number, event.bank, event.id, True, fields)]
        if isinstance(event, Unreferenced):
            return [("reference-gone", number, event.bank, event.id)]
        if isinstance(event, Changed):
            audited: Packed = ("changed", number, _json(event).decode())
            return [audited, *([] if event.refused_for else _change(event, number))]
        return []

    def _verdict(self, verdict: Verdict, number: int, now_ms: int, is_fed: bool) -> Packed:
        shown = self._keep(verdict)
        head, until = star_head(verdict) or "", self._until(verdict, now_ms)
        fed = shown if is_fed and not verdict.quiet else 0
        keys = _keys(to_review(verdict))
        return "verdict", number, verdict.id, verdict.decision.value, head, shown, fed, until, *keys

    def _later(self, event: RetroMatched, number: int) -> Packed:
        fed = 0
        if is_news(event):
            verdict = Verdict(id=event.id, decision=event.match.decision)
            fed = self._keep(flagged_verdict(verdict, event.match))
        match = _json(event.match).decode() if event.match.listed else ""
        keys = _keys([event.match] if is_counted(event.match) else [])
        return "later", number, event.id, key_of(event.match), match, fed, lets_pass(event.match), *keys

    def _keep(self, verdict: Verdict) -> int:
        """Keep a verdict and return its place, from 1 on."""
        self.verdicts.append(encode(verdict))
        return len(self.verdicts)

    def _until(self, verdict: Verdict, now_ms: int) -> int:
        """Return the second at which it is forgotten; 0 is never."""
        kept = not self._keep_distinct_ms or not now_ms or verdict.decision is not Decision.DISTINCT
        return 0 if kept else (now_ms + self._keep_distinct_ms) // 1000


def _keys(matches: Sequence[Matched]) -> tuple[list[str], list[str], list[str]]:
    """Return the keys of matches, of the unsure ones among them, and of those that are unproved."""
    unsure = [key_of(match) for match in matches if match.decision is Decision.UNSURE]
    unproved = [key_of(match) for match in matches if match.doubt is Doubt.UNPROVED]
    return [key_of(match) for match in matches], unsure, unproved


def key_of(match: Matched) -> str:
    """Return what tells a match of an item from its others; a bank's name has no line end."""
    return _key(match.bank, match.reference)


def _key(bank: str, reference: str) -> str:
    return f"{bank}\n{reference}"


def _change(event: Changed, number: int) -> list[Packed]:
    record = event.record
    if isinstance(record, BankChanged):
        if record.edit is BankEdit.DELETE:
            return [("bank-gone", number, record.bank)]
        given: dict[str, str | None] = {
            "name": record.bank,
            "action": None if record.action is None else record.action.value,
            "precision": None if record.precision is None else repr(record.precision),
            "enable_ratio": None if record.enable_ratio is None else repr(record.enable_ratio),
        }
        return [("bank", number, record.bank, _fields(given, record.note, record.metadata))]
    if isinstance(record, ReferenceChanged) and record.edit is not ReferenceEdit.REMOVE:
        until = None if record.disabled_until_ms is None else str(record.disabled_until_ms)
        given = {"bank": record.bank, "disabled_until_ms": until}
        return [("reference", number, record.bank, record.id, False, _fields(given, record.note, record.metadata))]
    if isinstance(record, Reviewed):
        key = _key(record.bank, record.reference)
        return [("reviewed", number, record.item, key, record.outcome.value)]
    return []


def _fields(given: Mapping[str, str | None], note: str | None, metadata: Mapping[str, str] | None) -> list[str]:
    """Return names and values, one after another, of what is given."""
    encoded = None if metadata is None else _json(metadata).decode()
    pairs = {**given, "note": note, "metadata": encoded}
    return [text for name, value in pairs.items() if value is not None for text in (name, value)]
