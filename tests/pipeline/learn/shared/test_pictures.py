from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.learn.shared.pictures import (
    Pictures,
    find_roots,
    kinds_of,
    load_pictures,
    read_labels,
    source_of,
    split_held_out,
)


def write(path: Path, colour: tuple[int, ...], size: tuple[int, int] = (40, 20)) -> str:
    """Write a picture of one colour and return the sha1 of the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA" if len(colour) == 4 else "RGB", size, colour).save(path)
    return hashlib.sha1(path.read_bytes()).hexdigest()


def test_pictures_are_found_in_subfolders_and_ordered_by_sha1(tmp_path: Path) -> None:
    names = [write(tmp_path / "a" / f"{i}.png", (i, 0, 0)) for i in range(3)]
    names.append(write(tmp_path / "b" / "deep" / "x.PNG", (9, 9, 9)))
    (tmp_path / "notes.txt").write_text("no picture")
    pictures = load_pictures([tmp_path / "a", tmp_path / "b"], 100)
    assert pictures.sha1 == tuple(sorted(names))


def test_equal_files_count_once(tmp_path: Path) -> None:
    write(tmp_path / "a.png", (1, 2, 3))
    write(tmp_path / "b.png", (1, 2, 3))
    assert len(load_pictures([tmp_path], 100).sha1) == 1


def test_the_shorter_side_is_limited_and_never_enlarged(tmp_path: Path) -> None:
    write(tmp_path / "large.png", (1, 2, 3), (400, 200))
    write(tmp_path / "small.png", (3, 2, 1), (30, 60))
    assert {pixels.shape for pixels in load_pictures([tmp_path], 50).pixels} == {(50, 100, 3), (60, 30, 3)}


def test_transparency_becomes_white(tmp_path: Path) -> None:
    write(tmp_path / "a.png", (255, 0, 0, 0))
    (pixels,) = load_pictures([tmp_path], 50).pixels
    assert (pixels == 255).all()


def test_a_broken_file_is_left_out(tmp_path: Path) -> None:
    write(tmp_path / "good.png", (1, 2, 3))
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    assert len(load_pictures([tmp_path], 50).pixels) == 1


def test_a_folder_without_pictures_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no pictures"):
        load_pictures([tmp_path], 50)


def test_only_listed_pictures_are_loaded(tmp_path: Path) -> None:
    first, _ = write(tmp_path / "a.png", (1, 0, 0)), write(tmp_path / "b.png", (2, 0, 0))
    (tmp_path / "only.sha1").write_text(f"{first}\n")
    assert load_pictures([tmp_path], 50, only=tmp_path / "only.sha1").sha1 == (first,)


def test_alike_pictures_share_a_group_and_only_similar_ones_are_no_negatives(tmp_path: Path) -> None:
    a, b, c, d = sorted(write(tmp_path / f"{i}.png", (i, 0, 0)) for i in range(4))
    lines = f"sha1_a,sha1_b,relation\n{a},{b},similar\n{b},{c},person\n{c},unknown,similar\n"
    (tmp_path / "alike.csv").write_text(lines)
    pictures = load_pictures([tmp_path], 50, alike=tmp_path / "alike.csv")
    assert pictures.groups == (a, a, a, d)
    assert pictures.similar == {(0, 1)}


def test_pictures_share_a_group_by_one_that_was_not_read(tmp_path: Path) -> None:
    a, b, c = sorted(write(tmp_path / f"{i}.png", (i, 0, 0)) for i in range(3))
    (tmp_path / "alike.csv").write_text(f"sha1_a,sha1_b,relation\nother,{a},person\nother,{c},person\n")
    pictures = load_pictures([tmp_path], 50, alike=tmp_path / "alike.csv")
    assert pictures.groups == (a, b, a)


def test_roots_join_chains_of_pairs() -> None:
    assert find_roots("abcde", [("b", "c"), ("c", "a"), ("e", "d")]) == {
        "a": "a", "b": "a", "c": "a", "d": "d", "e": "d",
    }  # fmt: skip


def test_held_out_pictures_are_whole_groups_and_the_same_each_time(tmp_path: Path) -> None:
    names = sorted(write(tmp_path / f"{i}.png", (i, 0, 0)) for i in range(30))
    pairs = "".join(f"{names[i]},{names[i + 1]},similar\n" for i in range(0, 30, 3))
    (tmp_path / "alike.csv").write_text("sha1_a,sha1_b,relation\n" + pairs)
    pictures = load_pictures([tmp_path], 50, alike=tmp_path / "alike.csv")
    train, held = split_held_out(pictures, 6)
    assert sorted(train + held) == list(range(30))
    assert 6 <= len(held) <= 7
    assert not {pictures.groups[i] for i in train} & {pictures.groups[i] for i in held}
    assert split_held_out(pictures, 6) == (train, held)


def test_at_most_a_third_is_held_out(tmp_path: Path) -> None:
    for i in range(9):
        write(tmp_path / f"{i}.png", (i, 0, 0))
    pictures = load_pictures([tmp_path], 50)
    assert len(split_held_out(pictures, 400)[1]) == 3
    assert np.asarray(pictures.pixels).shape == (9, 20, 40, 3)


def test_of_too_many_files_the_same_sample_is_read(tmp_path: Path) -> None:
    for i in range(9):
        write(tmp_path / f"{i}.png", (i, 0, 0))
    first, again = (load_pictures([tmp_path], 50, most=4) for _ in range(2))
    assert len(first.sha1) == 4
    assert first.sha1 == again.sha1


def some_pictures(folder: Path, places: list[str]) -> Pictures:
    names = tuple(map(str, range(len(places))))
    paths = tuple(folder / place / f"{i}.png" for i, place in enumerate(places))
    return Pictures(sha1=names, pixels=(), groups=names, similar=frozenset(), paths=paths)


def test_kind_is_the_label_or_else_the_folder(tmp_path: Path) -> None:
    pictures = some_pictures(tmp_path, ["a/cats", "a/dogs", "b", "b"])
    sources = source_of(pictures, [tmp_path])
    assert kinds_of(pictures, sources) == [
        str(tmp_path / "a/cats"),
        str(tmp_path / "a/dogs"),
        *[str(tmp_path / "b")] * 2,
    ]
    labels = tmp_path / "labels.csv"
    labels.write_text("sha1,label\n1,cats\n2,shirt\n3,\n")
    found = kinds_of(pictures, sources, read_labels(labels))
    assert found[1:] == [f"{tmp_path / 'a'}: cats", f"{tmp_path / 'b'}: shirt", str(tmp_path / "b")]


def test_labels_that_are_of_no_use_are_refused(tmp_path: Path) -> None:
    pictures = some_pictures(tmp_path, ["a"])
    labels = tmp_path / "labels.csv"
    labels.write_text("name,label\n0,cat\n")
    with pytest.raises(ConfigError, match="expected sha1, label"):
        read_labels(labels)
    with pytest.raises(ConfigError, match="none of the 1 labels"):
        kinds_of(pictures, source_of(pictures, [tmp_path]), {"7": "cat"})


def test_look_alikes_with_other_columns_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.png", (1, 0, 0))
    alike = tmp_path / "alike.csv"
    alike.write_text("a,b\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"look-alikes .* expected sha1_a, sha1_b, relation"):
        load_pictures([tmp_path], 50, alike=alike)
