from __future__ import annotations

import csv
import io
from pathlib import Path

from PIL import Image

from neardup.pipeline.log.records import Envelope, Matched, Verdict
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.store.memory import MemoryStore
from neardup.pipeline.types import Decision
from neardup.workers.space.compare import MAX_CASES, Comparison, compare, make_page, table, write_csv

DUPLICATE, UNSURE, DISTINCT = Decision.DUPLICATE, Decision.UNSURE, Decision.DISTINCT


def a_store(**said: tuple[Decision, str]) -> MemoryStore:
    """Return a store of verdicts: a decision, and what the item was matched with, "" if nothing."""
    store = MemoryStore()
    envelopes = []
    for offset, (id, (decision, reference)) in enumerate(said.items()):
        match = Matched(
            reference=reference, bank="seen", decision=decision, distance=0.1, evidence=0.9, probability=0.9
        )
        verdict = Verdict(id=id, decision=decision, matches=(match,) if reference else (), head=reference)
        envelopes.append(Envelope(offset=offset, events=(verdict,)))
    store.apply(envelopes)
    return store


def a_comparison() -> Comparison:
    old = a_store(
        a=(DISTINCT, ""), same=(DUPLICATE, "a"), lost=(DUPLICATE, "a"), won=(DISTINCT, ""), other=(UNSURE, "a"),
        gone=(DISTINCT, ""),
    )  # fmt: skip
    new = a_store(a=(DISTINCT, ""), same=(DUPLICATE, "a"), lost=(DISTINCT, ""), won=(UNSURE, "a"), other=(UNSURE, "b"))
    return compare(old, new, ["gone", "other", "won", "lost", "same", "a", "never heard of"])


def test_what_changes_is_found_flagged_items_first() -> None:
    found = a_comparison()
    assert [one.id for one in found.differences] == ["lost", "other", "won", "gone"]
    assert (found.items, found.other_match) == (6, 1)
    assert found.counts["duplicate", "distinct"] == found.counts["distinct", "not there"] == 1


def test_another_reference_of_the_same_cluster_is_no_change() -> None:
    old = a_store(a=(DISTINCT, ""), b=(DUPLICATE, "a"), c=(DUPLICATE, "a"))
    new = a_store(a=(DISTINCT, ""), b=(DUPLICATE, "a"), c=(DUPLICATE, "b"))
    assert compare(old, new, ["c"]).differences == []


def test_two_old_matches_of_one_cluster_are_no_match_in_common_with_another_item() -> None:
    def matched(*references: str) -> MemoryStore:
        store = a_store(a=(DISTINCT, ""), b=(DUPLICATE, "a"), z=(DISTINCT, ""))
        matches = tuple(
            Matched(reference=one, bank="seen", decision=DUPLICATE, distance=0.1, evidence=0.9, probability=0.9)
            for one in references
        )
        verdict = Verdict(id="c", decision=DUPLICATE, matches=matches, head=references[0])
        store.apply([Envelope(offset=9, events=(verdict,))])
        return store

    assert compare(matched("a", "b"), matched("z"), ["c"]).other_match == 1


def test_the_table_counts_each_pair_of_decisions() -> None:
    assert table(a_comparison()) == [
        ("", "then duplicate", "then unsure", "then distinct", "then not there"),
        ("now duplicate", "1", "0", "1", "0"),
        ("now unsure", "0", "1", "0", "0"),
        ("now distinct", "0", "1", "1", "1"),
        ("now not there", "0", "0", "0", "0"),
    ]


def test_the_page_shows_both_matches_and_the_table_has_all(tmp_path: Path) -> None:
    blobs, jpeg = Blobs((tmp_path / "blobs").as_uri()), io.BytesIO()
    Image.new("RGB", (32, 16), "red").save(jpeg, "JPEG")
    for id in ("other", "a", "b"):
        blobs.put_thumbnail(id, jpeg.getvalue(), "0" * 32)
    make_page(a_comparison(), blobs, ("old", "new"), tmp_path / "space.html")
    page = (tmp_path / "space.html").read_text()
    assert "4 of 6 verdicts would change" in page
    for words in (
        "other: unsure of a (0.90) → unsure of b (0.90)",
        "old match",
        "new match",
        "unsure, of another item: 1",
        "duplicate → distinct: 1",
    ):
        assert words in page
    write_csv(a_comparison(), tmp_path / "space.csv")
    rows = list(csv.reader((tmp_path / "space.csv").read_text().splitlines()))
    assert rows[1] == ["lost", "duplicate", "distinct", "a", "0.9000", "", ""]
    assert len(rows) == 5


def test_a_page_of_many_changes_is_bounded(tmp_path: Path) -> None:
    ids = [f"i{number}" for number in range(MAX_CASES + 5)]
    old, new = a_store(**dict.fromkeys(ids, (DUPLICATE, "a"))), a_store(**dict.fromkeys(ids, (DISTINCT, "")))
    make_page(compare(old, new, ids), Blobs((tmp_path / "blobs").as_uri()), ("old", "new"), tmp_path / "space.html")
    page = (tmp_path / "space.html").read_text()
    assert page.count('<div class="pictures">') == MAX_CASES
    assert f"The first {MAX_CASES} are shown" in page
