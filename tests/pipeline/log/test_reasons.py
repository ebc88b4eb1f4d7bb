from __future__ import annotations

import msgspec
import pytest

from neardup.pipeline.log.changes import BankChanged
from neardup.pipeline.log.reasons import IgnoredReason, Refusal
from neardup.pipeline.log.records import Changed, Envelope, Ignored, ignored, say_the_same

CHANGE = BankChanged(bank="b", by="ann", why="a ticket")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("was taken down", IgnoredReason.TAKEN_DOWN),
        ("older than the version that is known", IgnoredReason.OLDER_VERSION),
        ("a part without the parts before it", IgnoredReason.PART_MISSING),
        ("bank blocked was deleted", IgnoredReason.BANK_DELETED),
        ("was removed from bank blocked", IgnoredReason.REFERENCE_REMOVED),
        ("a sentence that nobody wrote", IgnoredReason.OTHER),
    ],
)
def test_words_of_an_envelope_from_before_reasons_are_known(words: str, reason: IgnoredReason) -> None:
    old = msgspec.msgpack.decode(msgspec.msgpack.encode({"type": "ignored", "id": "a", "why": words}), type=Ignored)
    assert old.ignored_for is reason


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("", None),
        ("there is no bank nosuch", Refusal.NO_BANK),
        ("there is no item 'zzz'", Refusal.NO_ITEM),
        ("bank blocked has no reference 'a'", Refusal.NO_REFERENCE),
        ("'a' stands alone", Refusal.OTHER),
    ],
)
def test_words_of_a_refusal_from_before_reasons_are_known(words: str, reason: Refusal | None) -> None:
    assert Changed(record=CHANGE, refused=words).refused_for is reason


def test_words_say_nothing_to_programs() -> None:
    assert Ignored(id="a", why="was taken down", reason=IgnoredReason.OTHER).ignored_for is IgnoredReason.OTHER
    assert Ignored(id="a", why="gone for good", reason=IgnoredReason.TAKEN_DOWN).ignored_for is IgnoredReason.TAKEN_DOWN
    refused = Changed(record=CHANGE, refused="there is no bank b", refusal=Refusal.BANK_EXISTS)
    assert refused.refused_for is Refusal.BANK_EXISTS


def test_a_reason_of_a_later_version_is_read_as_another() -> None:
    later = {"type": "ignored", "id": "a", "why": "", "reason": "of-tomorrow"}
    assert msgspec.convert(later, Ignored).reason is IgnoredReason.OTHER
    later = {"type": "changed", "record": msgspec.to_builtins(CHANGE), "refused": "no", "refusal": "of-tomorrow"}
    assert msgspec.convert(later, Changed).refusal is Refusal.OTHER


def test_reworded_events_say_the_same_and_other_reasons_do_not() -> None:
    now = ignored("a", IgnoredReason.TAKEN_DOWN)
    assert say_the_same([now], [Ignored(id="a", why="is gone for good", reason=IgnoredReason.TAKEN_DOWN)])
    assert say_the_same([now], [Ignored(id="a", why="was taken down")])  # as a version before reasons published it
    assert not say_the_same([now], [ignored("b", IgnoredReason.TAKEN_DOWN)])
    assert not say_the_same([now], [ignored("a", IgnoredReason.OLDER_VERSION)])
    refused = Changed(record=CHANGE, refused="there is no bank b", refusal=Refusal.NO_BANK)
    assert say_the_same([refused], [Changed(record=CHANGE, refused="bank b is unknown", refusal=Refusal.NO_BANK)])
    assert not say_the_same([refused], [Changed(record=CHANGE)])


def test_a_reader_from_before_reasons_finds_the_words_that_it_decides_by() -> None:
    told = msgspec.to_builtins(Envelope(offset=1, events=(ignored("a", IgnoredReason.TAKEN_DOWN),)))
    assert told["events"][0]["why"] == "was taken down"
