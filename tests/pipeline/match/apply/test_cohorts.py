"""Evidence is measured against what a query found when it arrived: the same however the log is cut."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from neardup.pipeline.log.changes import BankChanged, BankEdit
from neardup.pipeline.log.records import Described, Entry, Envelope, Record, Verdict
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.decide.calibration import Calibration
from neardup.pipeline.types import Decision, Kind
from tests.pipeline.match.build import D, a_calibration, a_state, at, described, video

# Half of the cosine's range: from 0.30 on a duplicate, from 0.20 on unsure.
CALIBRATION: Calibration = msgspec.structs.replace(
    a_calibration(evidence=(-0.5, 0.277, 1.0), slope=300.0, intercept=-60.0), cohort_weight=1.0
)


def new_state(stars: bool = True) -> State:
    return a_state(CALIBRATION, stars=stars)


def apply(state: State, records: Sequence[Record], size: int = 1000, first: int = 0) -> list[Envelope]:
    entries = [Entry(first + n, record, n) for n, record in enumerate(records)]
    return [one for start in range(0, len(entries), size) for one in state.apply(entries[start : start + size])]


def verdict_of(envelope: Envelope) -> Verdict:
    (verdict,) = (event for event in envelope.events if isinstance(event, Verdict))
    return verdict


def near(vector: np.ndarray, cosine: float, plane: int) -> np.ndarray:
    """Return a unit vector at this cosine to another, turned into a plane of its own."""
    return np.asarray(cosine * vector + np.sqrt(1 - cosine**2) * at(0, plane=plane), np.float32)


def test_copy_of_one_among_strangers_is_a_duplicate() -> None:
    strangers = [described(f"s{n}", at(0, plane=n)) for n in range(2, 12)]
    last = apply(new_state(), [*strangers, described("a", at(0)), described("b", near(at(0), 0.6, 20))])[-1]
    assert verdict_of(last).decision is Decision.DUPLICATE
    assert verdict_of(last).matches[0].evidence == pytest.approx(0.6, abs=2e-3)  # its neighbours are at right angles


def test_picture_that_resembles_many_is_a_copy_of_none() -> None:
    some = [described(f"some {n}", near(at(0), 0.4, n)) for n in range(2, 12)]  # 0.16 to each other
    state = new_state(stars=False)
    assert {verdict_of(one).decision for one in apply(state, some)} == {Decision.DISTINCT}
    (last,) = apply(state, [described("new", near(at(0), 0.8, 25))], first=10)
    assert verdict_of(last).decision is Decision.DISTINCT  # 0.32 to each of them, and as much to the next
    (alone,) = apply(new_state(), [some[0], described("new", near(at(0), 0.8, 25))])[1:]
    assert verdict_of(alone).decision is Decision.UNSURE


def test_copy_of_one_of_many_that_resemble_each_other_is_found() -> None:
    some = [near(at(0), 0.43, n) for n in range(2, 12)]
    records = [described(f"some {n}", vector) for n, vector in enumerate(some)]
    last = apply(new_state(), [*records, described("copy", near(some[4], 0.7, 25))])[-1]
    assert verdict_of(last).matches[0].reference == "some 4"
    assert verdict_of(last).decision is Decision.DUPLICATE


def test_copies_that_went_before_do_not_eat_the_evidence() -> None:
    """Each differs from the original in its own way; those that are unsure stay heads, and are left out."""
    copies = [described(f"copy {n}", near(at(0), 0.8, n)) for n in range(2, 22)]
    state = new_state(stars=False)
    found = [verdict_of(one) for one in apply(state, [described("original", at(0)), *copies])[1:]]
    of_original = [next(m for m in one.matches if m.reference == "original") for one in found]
    assert {match.decision for match in of_original} == {Decision.DUPLICATE}
    assert [match.evidence for match in of_original] == pytest.approx([0.8] * 20, abs=5e-3)


def test_twins_in_a_bank_do_not_eat_the_evidence() -> None:
    twins = [msgspec.structs.replace(described(f"twin {n}", near(at(0), 0.95, n)), bank="b") for n in range(2, 12)]
    records = [BankChanged(bank="b", edit=BankEdit.CREATE), *twins, described("copy", near(at(0), 0.9, 25))]
    verdict = verdict_of(apply(new_state(), records)[-1])
    assert {match.bank for match in verdict.matches} == {"b"}
    assert verdict.matches[0].decision is Decision.DUPLICATE


def test_frames_of_one_video_are_one_neighbour() -> None:
    film = np.concatenate([near(at(0), 0.9, n) for n in range(2, 12)])
    records = [*video("film", film), described("image", at(0)), described("copy", near(at(0), 0.9, 25))]
    state = new_state(stars=False)
    verdict = verdict_of(apply(state, records)[-1])
    best = next(match for match in verdict.matches if match.reference == "image")
    assert best.decision is Decision.DUPLICATE


def test_references_of_the_same_batch_count_as_those_in_the_index_do() -> None:
    some = [described(f"some {n}", near(at(0), 0.4, n)) for n in range(2, 12)]
    new = described("new", near(at(0), 0.8, 25))
    at_once = verdict_of(apply(new_state(stars=False), [*some, new])[-1])
    later = verdict_of(apply(new_state(stars=False), [*some, new], size=1)[-1])
    assert at_once == later
    assert not at_once.matches


@pytest.mark.parametrize("stars", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_verdicts_and_cohorts_are_the_same_however_the_log_is_cut(seed: int, stars: bool) -> None:
    random = np.random.default_rng(seed)
    records: list[Described] = []
    vectors: list[np.ndarray] = []
    for n in range(240):
        if vectors and random.random() < 0.5:
            base = vectors[random.integers(len(vectors))]
            vector = base + random.uniform(0.02, 0.8) * random.normal(size=(1, D)) / np.sqrt(D)
        else:
            vector = random.normal(size=(1, D))
        vector = np.asarray(vector / np.linalg.norm(vector), np.float32)
        vectors.append(vector)
        if n % 20 == 19:
            frames = np.concatenate([vectors[i] for i in random.integers(0, len(vectors), 6)])
            records += video(f"v{n}", frames, part_size=int(random.integers(2, 7)))
        else:
            records.append(described(f"i{n}", vector))
    whole, singly = new_state(stars), new_state(stars)
    expected = apply(singly, records, size=1)
    for state, found in ((whole, apply(whole, records)), (cut := new_state(stars), apply(cut, records, size=37))):
        assert found == expected
        np.testing.assert_array_equal(state.rows.columns()["cohort"], singly.rows.columns()["cohort"])
        np.testing.assert_array_equal(
            state.rows.columns()["cohort_similarity"], singly.rows.columns()["cohort_similarity"]
        )
        assert {item.id: item.kin for item in state.items} == {item.id: item.kin for item in singly.items}
    assert sum(verdict.decision is not Decision.DISTINCT for verdict in
               (event for one in expected for event in one.events if isinstance(event, Verdict))) > 30  # fmt: skip
    assert Kind.VIDEO in {item.kind for item in whole.items}
