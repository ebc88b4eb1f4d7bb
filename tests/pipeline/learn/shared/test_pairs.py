from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.learn.shared.pairs import Relations, find_relations
from neardup.pipeline.learn.shared.pictures import Pictures

NONE = np.zeros(6, dtype=bool)


def masks(relations: Relations, count: int) -> tuple[list[str], list[str]]:
    """Return for each picture what is the same and what is different, as marks."""
    every = np.arange(count)
    same, different = relations.masks(every, every)
    assert not (same & different).any()
    return tuple(["".join("x" if hit else "." for hit in row) for row in mask] for mask in (same, different))  # type: ignore[return-value]


def pictures(tmp_path: Path, *names: str, similar: frozenset[tuple[int, int]] = frozenset()) -> Pictures:
    """Return pictures at these paths whose sha1 are their numbers, forty digits long."""
    sha1 = tuple(f"{number:040}" for number in range(len(names)))
    pixels = tuple(np.zeros((2, 2, 3), np.uint8) for _ in names)
    return Pictures(sha1, pixels, sha1, similar, tuple(tmp_path / name for name in names))


def test_a_picture_is_the_same_as_itself_alone() -> None:
    same, different = masks(Relations(np.arange(3), NONE), 3)
    assert same == ["x..", ".x.", "..x"]
    assert different == [".xx", "x.x", "xx."]


def test_a_class_is_the_same_and_its_forgeries_are_kept_apart() -> None:
    # 0, 1 genuine of class 9; 2, 3 forged of it; 4 of class 8; 5 forged of class 8.
    relations = Relations(np.array([9, 9, 9, 9, 8, 8]), np.array([0, 0, 1, 1, 0, 1], dtype=bool))
    same, different = masks(relations, 6)
    assert same == ["xx....", "xx....", "..x...", "...x..", "....x.", ".....x"]
    assert different == ["..xxxx", "..xxxx", "xx..xx", "xx..xx", "xxxx.x", "xxxxx."]


def test_named_pairs_overrule_classes_both_ways() -> None:
    exceptions = {
        "same": {0: frozenset({2}), 2: frozenset({0})},
        "different": {0: frozenset({1}), 1: frozenset({0})},
        "unknown": {1: frozenset({2}), 2: frozenset({1})},
    }
    same, different = masks(Relations(np.array([5, 5, 6]), NONE[:3], exceptions), 3)
    assert same == ["x.x", ".x.", "x.x"]
    assert different == [".x.", "x..", "..."]


def test_rows_may_repeat_and_columns_be_others() -> None:
    relations = Relations(np.arange(4), NONE[:4], {"unknown": {1: frozenset({3}), 3: frozenset({1})}})
    same, different = relations.masks(np.array([1, 1, 0]), np.array([3, 1]))
    assert same.tolist() == [[False, True], [False, True], [False, False]]
    assert different.tolist() == [[False, False], [False, False], [True, True]]


def test_companions_are_of_the_class_or_named_and_among_the_members() -> None:
    relations = Relations(np.array([7, 7, 7, 3, 4, 5]), NONE, {"different": {3: frozenset({4}), 4: frozenset({3})}})
    assert relations.companions([0, 2, 3, 4, 5]) == [[1], [0], [3], [2], []]


def test_folders_below_a_given_one_are_classes(tmp_path: Path) -> None:
    names = ("ann/1.png", "ann/2.png", "ann/forged/3.png", "bob/deep/4.png", "loose.png", "other.png")
    relations, joined = find_relations(pictures(tmp_path, *names), [tmp_path], classes=True)
    assert relations.labels[0] == relations.labels[1] == relations.labels[2]
    assert len(set(relations.labels.tolist())) == 4
    assert relations.forged.tolist() == [False, False, True, False, False, False]
    assert relations.classes
    assert [joined.groups.count(group) for group in joined.groups] == [3, 3, 3, 1, 1, 1]


def test_without_classes_folders_mean_nothing(tmp_path: Path) -> None:
    relations, joined = find_relations(pictures(tmp_path, "ann/1.png", "ann/2.png"), [tmp_path])
    assert not relations.classes
    assert len(set(joined.groups)) == 2


def test_a_csv_names_pairs_by_sha1_or_by_path(tmp_path: Path) -> None:
    loaded = pictures(tmp_path, "a.png", "sub/b.png", "c.png", "d.png")
    table = tmp_path / "pairs.csv"
    table.write_text(
        f"a,b,relation,by\na.png,sub/b.png,same,me\n{2:040},{3:040},different,me\ngone.png,a.png,same,me\n"
    )
    relations, joined = find_relations(loaded, [tmp_path], pairs=table)
    same, different = masks(relations, 4)
    assert same == ["xx..", "xx..", "..x.", "...x"]
    assert different == ["..xx", "..xx", "xx.x", "xxx."]
    assert joined.groups[0] == joined.groups[1] != joined.groups[2] == joined.groups[3]


def test_a_csv_names_pairs_by_their_ids_below_a_folder_unless_two_folders_have_one(tmp_path: Path) -> None:
    loaded = pictures(tmp_path, "one/a.png", "one/sub/b.png", "two/a.png", "two/c.png")
    table = tmp_path / "elsewhere" / "pairs.csv"
    table.parent.mkdir()
    table.write_text("a,b,relation\nsub/b.png,c.png,same\na.png,c.png,same\n,c.png,same\n")
    same, _ = masks(find_relations(loaded, [tmp_path / "one", tmp_path / "two"], pairs=table)[0], 4)
    assert same == ["x...", ".x.x", "..x.", ".x.x"]


def test_known_look_alikes_count_neither_way_unless_a_pair_says_more(tmp_path: Path) -> None:
    loaded = pictures(tmp_path, "a.png", "b.png", "c.png", similar=frozenset({(0, 1), (1, 2)}))
    table = tmp_path / "pairs.csv"
    table.write_text("a,b,relation\nb.png,c.png,different\n")
    same, different = masks(find_relations(loaded, [tmp_path], pairs=table)[0], 3)
    assert same == ["x..", ".x.", "..x"]
    assert different == ["..x", "..x", "xx."]


@pytest.mark.parametrize(
    ("text", "message"),
    [("left,right\nx,y\n", "expected a, b, relation"), ("a,b,relation\na.png,b.png,maybe\n", "line 2: 'maybe'")],
)
def test_a_csv_of_another_form_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        find_relations(pictures(tmp_path, "a.png", "b.png"), [tmp_path], pairs=tmp_path / "pairs.csv")
