"""A bank from the shell: made, filled, matched, silenced, reviewed, and what is left of it when things are lost."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis

from neardup.pipeline.log.changes import Action, BankChanged, Outcome, Reviewed
from neardup.pipeline.log.records import Verdict
from neardup.pipeline.store.redis import RedisStore
from neardup.pipeline.types import Decision
from neardup.workers.cli.app import run
from tests.integration.test_embed_worker import embedding, until
from tests.integration.test_stream_end_to_end import Stream, store, stream
from tests.pipeline.scan.build import save

pytestmark = pytest.mark.integration
__all__ = ["store", "stream"]  # fixtures
Command = Callable[..., str]


@pytest.fixture
def neardup(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """Return the command, run in this process; it must end with this code."""
    for name, value in stream.environment.items():
        if name.startswith("NEARDUP_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "journals"))

    def command(*arguments: object, code: int = 0) -> str:
        capsys.readouterr()
        returned = run([str(argument) for argument in arguments])
        told = capsys.readouterr()
        assert returned == code, told.err
        return told.err if code else told.out

    return command


class Shop:
    """Pictures under way: `upload` sends one by the command and returns what is said of it."""

    def __init__(self, neardup: Command, store: RedisStore, folder: Path) -> None:
        self._neardup, self._store, self._folder = neardup, store, folder

    def upload(self, name: str, seed: int, side: int = 64) -> Verdict:
        save(self._folder / "shop", name, seed, side)
        self._neardup("ingest", self._folder / "shop" / name, "--wait")
        until(lambda: self._store.verdict(name) is not None, f"{name} in Redis")
        verdict = self._store.verdict(name)
        assert verdict is not None
        return verdict

    def reference(self, bank: str, name: str, seed: int) -> dict[str, object]:
        save(self._folder / bank, name, seed, 96)
        told: dict[str, object] = json.loads(
            self._neardup("ingest", self._folder / bank / name, "--bank", bank, "--wait", "--json")
        )
        return told


@pytest.fixture
def shop(neardup: Command, store: RedisStore, tmp_path: Path) -> Shop:
    return Shop(neardup, store, tmp_path)


@pytest.fixture
def workers(stream: Stream, tmp_path: Path) -> Iterator[dict[str, object]]:
    with ExitStack() as running:
        running.enter_context(embedding(stream.environment, tmp_path))
        yield {name: running.enter_context(stream.worker(name)) for name in ("match", "flag")}


def banks_of(verdict: Verdict) -> list[tuple[str, str, bool]]:
    return [(match.bank, match.reference, match.silenced) for match in verdict.matches]


def test_a_bank_flags_silences_is_reviewed_and_outlives_its_workers_and_redis(
    stream: Stream, store: RedisStore, neardup: Command, shop: Shop, workers: dict[str, object], tmp_path: Path
) -> None:
    assert shop.upload("early.png", 1).decision is Decision.DISTINCT
    assert "bank blocked created" in neardup("bank", "create", "blocked", "--note", "stolen", "--by", "jo")
    assert "there is a bank blocked already" in neardup("bank", "create", "blocked", code=2)
    told = shop.reference("blocked", "stolen.jpg", 1)
    assert told["outcomes"] == {"references": 1}
    (earlier,) = told["earlier"]  # type: ignore[misc]
    assert (earlier["item"], earlier["reference"], earlier["decision"]) == ("early.png", "stolen.jpg", "duplicate")
    until(lambda: bool(store.feed("", 10, "blocked")), "the earlier item in the feed")
    assert [(entry.verdict.id, entry.retro) for entry in store.feed("", 10, "blocked")] == [("early.png", True)]

    late = shop.upload("late.png", 1, 80)
    assert banks_of(late) == [("blocked", "stolen.jpg", False), ("seen", "early.png", False)]
    assert late.decision is Decision.DUPLICATE
    assert [entry.verdict.id for entry in store.feed("", 10, "blocked")] == ["early.png", "late.png"]

    neardup("bank", "create", "fine", "--action", "allow")
    shop.reference("fine", "logo.png", 7)
    assert shop.upload("logo-1.png", 7).decision is Decision.DISTINCT
    logo = shop.upload("logo-2.png", 7, 80)
    assert (logo.decision, logo.allowed) == (Decision.DISTINCT, "fine")
    assert banks_of(logo) == [("fine", "logo.png", False), ("seen", "logo-1.png", True)]

    assert "late.png  stolen.jpg  --bank blocked  duplicate" in neardup("review", "--queue", "all")
    neardup("review", "late.png", "stolen.jpg", "not-a-match", "--bank", "blocked", "--by", "ann", "--why", "ours")
    assert "no reference 'nosuch'" in neardup("review", "late.png", "nosuch", "match", "--bank", "blocked", code=2)
    until(lambda: banks_of(store.verdict("late.png") or late) == [("seen", "early.png", False)], "the review in Redis")

    def assert_remembered(name: str) -> None:
        (tmp_path / "shop" / name).write_bytes((tmp_path / "shop" / "late.png").read_bytes())
        neardup("ingest", tmp_path / "shop" / name, "--wait")
        until(lambda: store.verdict(name) is not None, name)
        again = store.verdict(name)
        assert again is not None
        assert ("blocked", "stolen.jpg") not in {(match.bank, match.reference) for match in again.matches}

    workers["match"].kill()  # type: ignore[attr-defined]
    workers["match"].wait()  # type: ignore[attr-defined]
    with stream.worker("match"):
        assert_remembered("again.png")
        with Redis.from_url(stream.settings.redis.get_secret_value()) as client:
            client.flushdb()
        neardup("rebuild", "flags")
        assert_remembered("and-again.png")
        assert banks_of(store.verdict("late.png") or late) == [("seen", "early.png", False)]
        assert [(bank.name, bank.action, bank.references, bank.note) for bank in store.banks()] == [
            ("blocked", Action.FLAG, 1, "stolen"),
            ("fine", Action.ALLOW, 1, ""),
        ]
        audit = [(entry.changed.record, bool(entry.changed.refused)) for entry in reversed(store.audit("", 100))]
        reviewed = Reviewed(
            item="late.png", reference="stolen.jpg", outcome=Outcome.NOT_A_MATCH, bank="blocked", by="ann", why="ours"
        )
        assert (reviewed, False) in audit
        assert [
            (record.by, refused) for record, refused in audit if isinstance(record, BankChanged) and record.by == "jo"
        ] == [("jo", False)]
        (pair,) = csv.DictReader(io.StringIO(neardup("export", "pairs")))
        assert (pair["a"], pair["b"], pair["relation"], pair["bank"], pair["by"]) == (
            "late.png",
            "stolen.jpg",
            "different",
            "blocked",
            "ann",
        )
        assert float(pair["evidence"]) > 0.9


def test_references_are_added_disabled_removed_and_carried_over_by_a_file(
    store: RedisStore, neardup: Command, shop: Shop, workers: dict[str, object], tmp_path: Path
) -> None:
    assert workers
    for number, name in enumerate(["one.png", "two.png"]):
        shop.upload(name, 20 + number)
    shop.upload("one-copy.png", 20, 80)
    assert "there is no bank blocked" in neardup("bank", "add", "blocked", "one.png", code=2)
    neardup("bank", "create", "blocked")
    told = neardup("bank", "add", "blocked", "one.png", "two.png", "--note", "bad", "--metadata", "case=17")
    assert "2 added to blocked" in told
    assert "earlier: one-copy.png is duplicate of blocked/one.png" in told
    assert "there is no item 'nosuch'" in neardup("bank", "add", "blocked", "nosuch", code=2)
    assert banks_of(shop.upload("one-again.png", 20, 72))[0] == ("blocked", "one.png", False)

    neardup("bank", "disable", "blocked", "one.png", "--until", "2999-01-01")
    assert banks_of(shop.upload("while-off.png", 20, 104))[0][0] == "seen"
    assert "unheard-of is not there yet" in neardup("bank", "disable", "blocked", "unheard-of")
    listed = json.loads(neardup("bank", "list", "blocked", "--json"))
    assert [(one["id"], one["note"], one["metadata"]) for one in listed] == [
        ("one.png", "bad", {"case": "17"}),
        ("two.png", "bad", {"case": "17"}),
    ]
    assert "one.png  image  disabled until 2999-01-01" in neardup("bank", "list", "blocked")

    neardup("bank", "export", "blocked", "--output", tmp_path / "blocked.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "blocked.jsonl").read_text().splitlines()]
    assert lines[0] == {"bank": "blocked", "action": "flag", "enable_ratio": 1.0}
    assert lines[1]["disabled_until_ms"] == 32472144000000
    neardup("bank", "import", "carried", tmp_path / "blocked.jsonl")
    assert shop.reference("carried", "one.png", 20)["earlier"] == []  # the date was carried over
    assert banks_of(shop.upload("still-off.png", 20, 112))[0][0] == "seen"

    neardup("bank", "enable", "blocked", "one.png")
    assert banks_of(shop.upload("on-again.png", 20, 120))[0] == ("blocked", "one.png", False)
    neardup("bank", "remove", "blocked", "one.png")
    assert banks_of(shop.upload("after-removal.png", 20, 88))[0][0] == "seen"
    neardup("bank", "set", "blocked", "--precision", "0.9999")
    assert "there is no bank blokced; there is blocked, carried" in neardup(
        "bank", "set", "blokced", "--precision", "0.9", code=2
    )
    assert "precision 0.9999  1 reference\n" in neardup("bank", "list")
    neardup("bank", "delete", "blocked")
    until(lambda: [bank.name for bank in store.banks()] == ["carried"], "the bank is gone")
    assert "there is no bank blocked" in neardup("bank", "delete", "blocked", code=2)
