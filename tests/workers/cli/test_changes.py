from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from neardup.pipeline.errors import UsageError
from neardup.pipeline.log.answers import Answer
from neardup.pipeline.log.changes import FOREVER_MS, BankChanged, Change, ReferenceChanged, Reviewed
from neardup.pipeline.log.records import Changed, Matched, Referenced, RetroMatched
from neardup.pipeline.store.memory import MemoryStore
from neardup.pipeline.types import Decision, Doubt
from neardup.workers.cli import review
from neardup.workers.cli.app import run
from neardup.workers.cli.changes import date_of, parse_date, parse_metadata, read_ids, tell

MATCH = Matched(reference="r", bank="b", decision=Decision.DUPLICATE, distance=0.1, evidence=0.9, probability=0.99)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("", FOREVER_MS),
        ("1970-01-02", 86_400_000),
        ("1970-01-01T01:00", 3_600_000),
        ("1970-01-01T01:00Z", 3_600_000),
        ("1970-01-01T01:00+01:00", 0),
        ("1960-01-01", 0),
    ],
)
def test_a_date_is_taken_in_the_worlds_time_unless_it_names_a_zone(text: str, milliseconds: int) -> None:
    assert parse_date(text) == milliseconds


def test_dates_are_told_in_words() -> None:
    assert date_of(FOREVER_MS) == "further notice"
    assert date_of(86_400_000) == "1970-01-02T00:00+00:00"


def test_metadata_is_names_and_values() -> None:
    assert parse_metadata(None) is None
    assert parse_metadata(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}


@pytest.mark.parametrize("pair", ["a", "=1", ""])
def test_metadata_without_a_name_or_a_sign_is_a_mistake(pair: str) -> None:
    with pytest.raises(UsageError, match="wanted NAME=VALUE"):
        parse_metadata([pair])


@pytest.mark.parametrize("id", ["", "x" * 257, "é" * 129, "\udc80"])
def test_what_can_be_no_id_is_a_mistake(id: str) -> None:
    for encoded in (False, True):
        with pytest.raises(UsageError, match=r"wanted 1 to 256 bytes|not valid Unicode"):
            read_ids(["fine", id], encoded)


def test_ids_of_before_there_were_rules_are_named_encoded() -> None:
    assert read_ids(["a%09b", "%2e%2e/x", "100%25", "nul%00"], encoded=True) == ["a\tb", "../x", "100%", "nul\0"]
    assert read_ids(["a%09b"]) == ["a%09b"]
    for id in ("a\tb", "../x", "%2e%2e/x"):
        with pytest.raises(UsageError, match="--encoded"):
            read_ids([id])


def test_earlier_items_are_told_with_what_they_match(capsys: pytest.CaptureFixture[str]) -> None:
    changed = Changed(record=ReferenceChanged(bank="b", id="r"))
    events = (changed, Referenced(id="r", bank="b", left_out=3), RetroMatched(id="old\n1", match=MATCH))
    tell([Answer(1, events)], "1 added", as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "1 added",
        "  earlier: old\\n1 is duplicate of b/r, probability 0.990",
        "  and 3 more earlier items",
    ]
    tell([Answer(1, events)], "", as_json=True)
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["applied"], told["id"], told["left_out"], told["earlier"][0]["item"]) == (True, "r", 3, "old\n1")


def test_what_was_refused_is_a_mistake_and_the_rest_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = (Changed(record=BankChanged(bank="b"), refused=why) for why in ("", "no such thing"))
    with pytest.raises(UsageError, match="no such thing"):
        tell([Answer(1, (bad,)), Answer(2, (good,))], "1 of 2", as_json=False)
    assert capsys.readouterr().out == "1 of 2\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["bank", "create", "no spaces"], "wanted 1 to 64 letters"),
        (["bank", "create", "seen"], "is the stream"),
        (["bank", "create", "b", "--precision", "1.5"], "precision is 1.5"),
        (["bank", "create", "b", "--action", "shrug"], "shrug"),
        (["bank", "set", "b"], "nothing to set"),
        (["bank", "disable", "b", "r", "--until", "soon"], "wanted a date such as"),
        (["bank", "import", "b", "/nosuch.jsonl"], "does not exist"),
        (["bank", "remove", "b", "../victim"], "a part of it is . or .."),
        (["takedown", "../banks/victim"], "a part of it is . or .."),
        (["takedown", "a\tb"], "a\\tb"),
        (["review", "a", "b\n", "match"], "cannot be seen"),
        (["ingest", ".", "--id-prefix", "../"], "a part of it is . or .."),
        (["review", "a"], "wanted ITEM REFERENCE"),
        (["review", "a", "b", "maybe"], "maybe"),
        (["ingest", ".", "--bank", "no spaces"], "wanted 1 to 64 letters"),
    ],
)
def test_a_mistake_is_told_in_one_line_before_anything_is_asked(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_claim_is_respected_by_the_command_as_by_the_api(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Claimed(MemoryStore):
        def claimer(self, item: str) -> str:
            return {"cat-7": "bob/abcdefgh"}.get(item, "")

        def close(self) -> None: ...

    asked: list[Sequence[Change]] = []

    def change(_settings: object, records: Sequence[Change], _seconds: float) -> list[Answer]:
        asked.append(records)
        return [Answer(1, (Changed(record=records[0]),))]

    monkeypatch.setattr("neardup.workers.cli.review.open_rows", lambda _settings: Claimed())
    monkeypatch.setattr("neardup.workers.cli.review.change", change)
    assert run(["review", "cat-7", "cat-1", "match", "--by", "ann"]) == 2
    assert "bob has claimed cat-7" in capsys.readouterr().err
    assert asked == []
    assert run(["review", "cat-7", "cat-1", "match", "--by", "bob"]) == 0
    assert run(["review", "cat-8", "cat-1", "match", "--by", "ann"]) == 0
    assert [(one.item, one.by) for [one] in asked if isinstance(one, Reviewed)] == [("cat-7", "bob"), ("cat-8", "ann")]


def test_match_that_waits_is_told_with_its_doubt() -> None:
    match = replace(MATCH, decision=Decision.UNSURE, doubt=Doubt.OTHER_SOUND, probability=0.99999)
    assert review.line("cat-2", match) == (
        "cat-2  r  --bank b  unsure  probability above 0.999  same pictures, other sound"
    )
    assert review.line("cat-2", replace(MATCH, probability=0.75)).endswith("  duplicate  probability 0.750")
