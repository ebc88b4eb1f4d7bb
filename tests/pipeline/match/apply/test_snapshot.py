from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neardup.pipeline.index import IndexOptions
from neardup.pipeline.index.exact import Exact
from neardup.pipeline.index.snapshot import write_snapshot
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.log.records import NOTHING, Entry, Envelope, Record, Removed, Verdict
from neardup.pipeline.match.apply.snapshot import VECTORS, Snapshots
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.compare.banks import BankSettings
from neardup.pipeline.match.decide.evidence import COHORT, OF_BACKGROUND, Evidence
from neardup.pipeline.match.live.videos import LiveRules
from neardup.pipeline.types import Decision
from tests.pipeline.match.apply.test_batches import a_log as any_log
from tests.pipeline.match.apply.test_batches import assert_same
from tests.pipeline.match.build import D, Film, a_calibration, at, edited, picture, times, video


def a_state_in(folder: Path, space: str = "s", live: LiveRules | None = None) -> State:
    calibration = a_calibration()
    return State(
        IndexOptions("exact", device="cpu"),
        VectorFile(folder / VECTORS, D, space),
        Evidence(np.zeros((0, D), dtype=np.float32), *calibration.weights),
        calibration,
        live=live or LiveRules(),
    )


def entries(records: Sequence[Record]) -> list[Entry]:
    return [Entry(offset, record) for offset, record in enumerate(records)]


def plain(envelopes: Sequence[Envelope]) -> list[bytes]:
    return [msgspec.msgpack.encode(envelope) for envelope in envelopes]


def a_log() -> list[Record]:
    """Stars, a twin, a video in two parts with an excerpt, a removed head, a replaced item."""
    film = Film(3)
    whole = video("film", film.at(times(8.0)), part_size=9)
    return [
        picture("a", 0),
        picture("a copy", 10),
        picture("far", 90),
        picture("twin", 0, sha256=b"content of a"),
        whole[0],
        picture("between", 45, plane=1),
        whole[1],
        *video("excerpt", edited(film.at(times(3.0) + 2.0))),
        Removed(id="a"),
        picture("a", 5),
        picture("far", 91, sha256=b"another"),
        picture("last", 46, plane=1),
    ]


def saved_and_followed(folder: Path, log: Sequence[Entry], cut: int) -> list[Envelope]:
    """Apply a log up to a cut, write the state down, lose the process, and apply the rest to what is read back."""
    first = a_state_in(folder)
    envelopes = first.apply(log[:cut])
    Snapshots(folder).save(first, cut - 1)
    envelopes_lost = first.apply(log[cut:])
    first.parts().vectors.flush()  # type: ignore[attr-defined]  # rows that no snapshot knows
    first.close()
    second = a_state_in(folder)
    assert Snapshots(folder).load(second) == cut - 1
    again = second.apply(log[cut:])
    assert plain(again) == plain(envelopes_lost)
    second.close()
    return envelopes + again


@pytest.mark.parametrize("cut", range(1, len(a_log()) + 1))
def test_a_snapshot_and_the_tail_say_what_the_whole_log_says(tmp_path: Path, cut: int) -> None:
    (tmp_path / "whole").mkdir()
    log = entries(a_log())
    whole = a_state_in(tmp_path / "whole")
    (tmp_path / "cut").mkdir()
    assert_same(saved_and_followed(tmp_path / "cut", log, cut), whole.apply(log))
    whole.close()


@settings(max_examples=25, deadline=None)
@given(records=any_log(), share=st.floats(0, 1))
def test_any_log_can_be_cut_anywhere(records: Sequence[Record], share: float) -> None:
    log = entries(records)
    with TemporaryDirectory() as folder:
        saved_and_followed(Path(folder), log, round(share * len(log)))


def test_the_newest_whole_snapshot_is_used_and_two_are_kept(tmp_path: Path) -> None:
    state, snapshots, log = a_state_in(tmp_path), Snapshots(tmp_path), entries(a_log())
    for start in range(0, 8, 2):
        state.apply(log[start : start + 2])
        snapshots.save(state, start + 1)
    assert snapshots.offsets() == [7, 5]
    state.close()
    (victim,) = (tmp_path / f"snapshot-{7:020d}").glob("data-*/tables.msgpack")
    victim.write_bytes(victim.read_bytes()[:-1])
    again = a_state_in(tmp_path)
    assert snapshots.load(again) == 5
    assert snapshots.offsets() == [5]
    again.close()


@pytest.mark.parametrize("name", ["tables.msgpack", "rows/hash.npy", "rows/pts.npy", "in-use.npy"])
@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "gone"])
def test_a_damaged_snapshot_is_passed_over(
    tmp_path: Path, name: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    state = a_state_in(tmp_path)
    state.apply(entries(a_log())[:4])
    Snapshots(tmp_path).save(state, 3)
    state.close()
    (path,) = tmp_path.glob(f"snapshot-*/data-*/{name}")
    data = path.read_bytes()
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]
    path.write_bytes({"cut": data[:middle], "empty": b"", "gone": b""}.get(damage, flipped))
    if damage == "gone":
        path.unlink()
    again = a_state_in(tmp_path)
    assert Snapshots(tmp_path).load(again) == NOTHING
    assert "the snapshot is damaged" in caplog.text
    assert len(again.items) == 0
    assert len(again.parts().vectors) == 0  # type: ignore[arg-type]
    again.close()


def test_a_snapshot_of_another_space_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("s", "other"):
        (tmp_path / name).mkdir()
        state = a_state_in(tmp_path / name, name)
        state.apply(entries(a_log())[:4])
        Snapshots(tmp_path / name).save(state, 3 if name == "s" else 5)
        state.close()
    shutil.copytree(tmp_path / "other" / f"snapshot-{5:020d}", tmp_path / "s" / f"snapshot-{5:020d}")
    again = a_state_in(tmp_path / "s")
    assert Snapshots(tmp_path / "s").load(again) == 3
    assert "holds 64 dimensions of space 'other', wanted 64 of 's'" in caplog.text
    again.close()


def test_vectors_that_are_not_the_snapshots_are_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = a_state_in(tmp_path)
    state.apply(entries(a_log())[:4])
    Snapshots(tmp_path).save(state, 3)
    state.close()
    (tmp_path / VECTORS).unlink()
    other = a_state_in(tmp_path)
    other.apply(entries([picture(f"x{degrees}", degrees) for degrees in range(0, 300, 30)]))
    other.parts().vectors.flush()  # type: ignore[attr-defined]
    other.close()
    again = a_state_in(tmp_path)
    assert Snapshots(tmp_path).load(again) == NOTHING
    assert "the vector file holds other vectors" in caplog.text
    again.close()


def test_what_was_taken_down_is_erased_at_the_second_snapshot_after_it(tmp_path: Path) -> None:
    marked = at(*np.linspace(1, 2, 5), plane=7).astype(np.float16)  # nothing else has these bytes
    log = entries(
        [
            picture("a", 0),
            *video("gone", marked.astype(np.float32), hashes=np.full((5, 32), 0xA5, dtype=np.uint8)),
            picture("b", 10),
            Removed(id="gone"),
            picture("c", 90),
            picture("d", 50),
        ]
    )
    state, snapshots = a_state_in(tmp_path), Snapshots(tmp_path)
    holding = []
    for count, entry in enumerate(log):
        state.apply([entry])
        snapshots.save(state, count)
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        holding.append(sorted({path.name for path in files if holds(path, marked)}))
    assert holding[2:4] == [["vectors"], ["vectors"]]  # at first for the snapshot before
    assert holding[4:] == [[], []]
    hashes = [path for path in tmp_path.rglob("hash.npy") if b"\xa5" * 32 in path.read_bytes()]
    assert hashes == []
    state.close()
    for offset in (5, 4):
        again = a_state_in(tmp_path)
        assert snapshots.load(again) == offset
        assert again.rows.item[again.rows.item == 1].size == 5  # numbers of rows stay
        assert [item.id for item in again.items] == ["a", "b", "c", "d"][: offset - 1]
        again.close()
        shutil.rmtree(tmp_path / f"snapshot-{offset:020d}")


def holds(path: Path, vectors: npt.NDArray[np.float16]) -> bool:
    return any(vector.tobytes() in path.read_bytes() for vector in vectors)


def test_what_a_kept_snapshot_needs_is_not_erased(tmp_path: Path) -> None:
    log = entries([picture("a", 0), picture("b", 40), Removed(id="a"), picture("c", 1)])
    state, snapshots = a_state_in(tmp_path), Snapshots(tmp_path)
    state.apply(log[:2])
    snapshots.save(state, 1)
    followed = state.apply(log[2:])
    snapshots.save(state, 3)
    state.close()
    shutil.rmtree(tmp_path / f"snapshot-{3:020d}")
    again = a_state_in(tmp_path)
    assert snapshots.load(again) == 1
    assert plain(again.apply(log[2:])) == plain(followed)
    again.close()


class Crash(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize(
    ("point", "found"),
    [("vectors-flushed", 3), ("snapshot-half-written", 3), ("snapshot-written", 3), ("snapshot-named", 5)],
)
def test_a_crash_while_writing_leaves_a_whole_snapshot(tmp_path: Path, point: str, found: int) -> None:
    def crash(reached: str) -> None:
        if reached == point:
            raise Crash

    log = entries(a_log())
    state = a_state_in(tmp_path)
    state.apply(log[:4])
    Snapshots(tmp_path).save(state, 3)
    state.apply(log[4:6])
    with pytest.raises(Crash):
        Snapshots(tmp_path, crash).save(state, 5)
    state.close()
    again = a_state_in(tmp_path)
    assert Snapshots(tmp_path).load(again) == found
    again.close()


def test_a_published_verdict_takes_the_place_of_the_one_found_now(tmp_path: Path) -> None:
    state = a_state_in(tmp_path)
    published = Envelope(offset=1, events=(Verdict(id="b", decision=Decision.DISTINCT),))
    first, missed = state.apply(entries([picture("a", 0), picture("b", 10)]), {1: published})
    assert missed.events == (Verdict(id="b", decision=first.events[0].decision),)  # type: ignore[union-attr]
    (third,) = state.apply([Entry(2, picture("c", 12))])
    assert [match.reference for match in third.events[0].matches] == ["b", "a"]  # type: ignore[union-attr]
    state.close()


def as_before_cohorts(folder: Path, offset: int, of_seen: BankSettings) -> None:
    """Rewrite a snapshot as the version before wrote it: a column `background`, no cohorts, no kin."""
    path = folder / f"snapshot-{offset:020d}"
    (data,) = path.glob("data-*")

    def fill(target: Path) -> None:
        shutil.copytree(data, target, dirs_exist_ok=True)
        similarity = np.load(data / "rows" / "cohort_similarity.npy")
        for name in ("cohort", "cohort_similarity"):
            (target / "rows" / f"{name}.npy").unlink()
        np.save(target / "rows" / "background.npy", similarity[:, COHORT:].mean(axis=1))
        tables = msgspec.msgpack.decode((data / "tables.msgpack").read_bytes())
        for item in tables["items"]:
            del item["kin"]
        tables |= {"version": 4, "settings": msgspec.msgpack.decode(msgspec.msgpack.encode(of_seen))}
        (target / "tables.msgpack").write_bytes(msgspec.msgpack.encode(tables))

    write_snapshot(path, D, "s", fill)


def test_a_snapshot_of_before_cohorts_is_read_and_its_calibrations_are_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = entries(a_log())
    state = a_state_in(tmp_path)
    state.apply(log[:4])
    Snapshots(tmp_path).save(state, 3)
    expected = state.apply(log[4:])
    state.close()
    old = msgspec.to_builtins(a_calibration())
    del old["cohort_weight"]
    as_before_cohorts(tmp_path, 3, BankSettings("seen", calibration=msgspec.msgpack.encode(old)))
    again = a_state_in(tmp_path)
    assert Snapshots(tmp_path).load(again) == 3
    assert "calibration dropped bank=seen" in caplog.text
    assert again.banks.settings.calibration == b""
    rows = again.rows.columns()
    assert (rows["cohort"][: len(again.rows)] == OF_BACKGROUND).all()
    assert again.apply(log[4:]) == expected  # cohorts count for nothing here
    Snapshots(tmp_path).save(again, len(log) - 1)
    again.close()
    once_more = a_state_in(tmp_path)
    assert Snapshots(tmp_path).load(once_more) == len(log) - 1
    once_more.close()


def as_before_offsets(folder: Path, offset: int) -> None:
    """Make a snapshot of a time when rows did not say which record brought them."""
    path = folder / f"snapshot-{offset:020d}"
    (data,) = path.glob("data-*")
    old = path.with_name("old")
    shutil.copytree(data, old)
    shutil.rmtree(path)
    (old / "rows" / "offset.npy").unlink()
    write_snapshot(path, D, "s", lambda target: shutil.copytree(old, target, dirs_exist_ok=True))


@pytest.mark.parametrize("searches", [False, True])
def test_rows_of_an_old_snapshot_are_named_where_their_records_are_known(tmp_path: Path, searches: bool) -> None:
    """Rows of a film in parts are not; what names them is searched for again."""
    film, before = Film(3), [picture("a", 0), picture("gone", 70), picture("b", 90), Removed(id="gone")]
    if searches:
        before += video("film", film.at(times(8.0)), part_size=9)
    after = [picture("a again", 10), *video("excerpt", film.at(times(3.0) + 2.0)), picture("b again", 95)]
    log, cut = entries([*before, *after]), len(before)
    state = a_state_in(tmp_path)
    state.apply(log[:cut])
    Snapshots(tmp_path).save(state, cut - 1)
    led = state.apply(log[cut:])
    state.close()
    as_before_offsets(tmp_path, cut - 1)
    with closing(a_state_in(tmp_path)) as again, pytest.MonkeyPatch.context() as patch:
        assert Snapshots(tmp_path).load(again) == cut - 1
        asked: list[int] = []
        propose = Exact.propose
        patch.setattr(Exact, "propose", lambda *given: (asked.append(1), propose(*given))[1])
        assert again.apply(log[cut:], {one.offset: one for one in led}) == led
        assert bool(asked) == searches
        assert again.rows.offset[: cut - 1].tolist()[:3] == [0, 0, 2]
        last = [Entry(len(log), picture("a once more", 12))]
        assert again.apply(last)[0].candidates
