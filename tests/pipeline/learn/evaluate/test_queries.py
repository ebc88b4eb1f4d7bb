from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.learn.edits import EDITS, FAMILIES
from neardup.pipeline.learn.evaluate.queries import COPIES, EvaluationSet, build_set, find_kinds, read_kinds
from neardup.pipeline.learn.shared.pictures import Pictures


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    """A hundred pictures of noise, of two kinds; the first five belong together."""
    random = np.random.default_rng(0)
    pixels = tuple(random.integers(0, 256, (40, 48, 3), dtype=np.uint8) for _ in range(100))
    names = tuple(f"{i:02}" for i in range(100))
    paths = tuple(Path("top", "a" if i < 60 else "b", f"{i}.png") for i in range(100))
    return Pictures(names, pixels, ("00",) * 5 + names[5:], frozenset(), paths)


@pytest.fixture(scope="module")
def given(pictures: Pictures) -> EvaluationSet:
    return build_set(pictures, ["a"] * 60 + ["b"] * 40, 40, {"a": 10})


def test_the_kind_is_the_first_folder_or_what_it_is_renamed_to(pictures: Pictures, tmp_path: Path) -> None:
    (tmp_path / "kinds.csv").write_text("folder,kind\na,photo\n")
    kinds = find_kinds(pictures, [Path("top")], read_kinds(tmp_path / "kinds.csv"))
    assert Counter(kinds) == {"photo": 60, "b": 40}
    assert set(find_kinds(pictures, [Path("top/a"), Path("top/b")], {})) == {"picture"}


def test_a_table_of_kinds_of_another_form_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kinds.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match="expected folder, kind"):
        read_kinds(tmp_path / "kinds.csv")


def test_each_edited_picture_has_its_copies_and_a_fifth_has_no_original(given: EvaluationSet) -> None:
    originals = [query.original for query in given.queries]
    assert len(originals) == 40 * COPIES
    assert originals.count(-1) == 8 * COPIES
    assert given.correct.sum() == 32 * COPIES
    for row, original in enumerate(originals):
        assert given.correct[row].tolist() == [column == original for column in range(len(given.references))]


def test_kinds_come_in_turn_and_memes_are_a_kind_of_their_own(given: EvaluationSet) -> None:
    counts = Counter(query.kind for query in given.queries)
    assert set(counts) == {"a", "b", "meme"}
    assert counts["a"] == counts["b"] > counts["meme"] > 0


def test_nothing_set_aside_is_a_reference(given: EvaluationSet) -> None:
    references = {picture.tobytes() for picture in given.references}
    assert len(references) == len(given.references) == 100 - 5 - 10 - 8
    assert len(given.background) == 10
    assert not references & {picture.tobytes() for picture in given.background}


def test_pictures_that_belong_together_count_neither_way(pictures: Pictures, given: EvaluationSet) -> None:
    place = {pictures.pixels[i].tobytes(): i for i in range(100)}
    member = np.array([place.get(picture.tobytes(), 99) < 5 for picture in given.references])
    left_out = ~given.counted
    assert left_out.any()
    assert set(np.flatnonzero(left_out.any(axis=0))) <= set(np.flatnonzero(member))
    assert not (left_out & given.correct).any()


def test_queries_tell_family_strength_and_edits(given: EvaluationSet) -> None:
    assert {query.strength for query in given.queries} == {"light", "medium", "hard"}
    for query in given.queries:
        names = query.edits.split("+")
        assert set(names) <= set(EDITS)
        assert query.family == ("chain" if len(names) > 1 else FAMILIES[names[0]])


def test_all_edits_come_up_over_enough_pictures(pictures: Pictures) -> None:
    queries = build_set(pictures, ["a"] * 100, 100).queries
    assert {query.edits for query in queries if "+" not in query.edits} == set(EDITS)


def test_the_same_pictures_give_the_same_set_with_any_number_of_threads(
    pictures: Pictures, given: EvaluationSet
) -> None:
    again = build_set(pictures, ["a"] * 60 + ["b"] * 40, 40, {"a": 10}, threads=3)
    for one, other in zip(given.queries, again.queries, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
        assert one.edits == other.edits


def test_too_few_pictures_are_refused() -> None:
    few = Pictures(("0",), (np.zeros((8, 8, 3), np.uint8),), ("0",), frozenset(), (Path("0.png"),))
    with pytest.raises(ConfigError, match="at least 20"):
        build_set(few, ["a"])
