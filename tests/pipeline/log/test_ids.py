from __future__ import annotations

import unicodedata
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis.strategies import characters, text

from neardup.pipeline.log.ids import fault_of_bank, fault_of_id, fault_of_key, make_id


@pytest.mark.parametrize(
    "id",
    [
        "cat-1", "shop/a cat/1", "s3://bucket/cat.jpg", "shop/https://h/a.jpg?x=1", ".hidden/x", "...", "a..b/c",
        "café", "写真/猫.png", "100%", "caf%C3%A9", "❤️", "x" * 256, "é" * 128,
    ],
)  # fmt: skip
def test_what_can_be_seen_and_keeps_its_path_is_an_id(id: str) -> None:
    assert fault_of_id(id) == ""
    assert make_id(id) == id


@pytest.mark.parametrize(
    "id",
    [
        ".", "..", "../banks/victim", "a/../b", "a/./b", "a/..", "./a",
        "%2e%2e/banks/victim", ".%2E/x", "%252e%252e/x", "a%2f..%2fb", "a/%2e", "..%5cx", "..;v=1/x", "..?x", "a/..#x",
        "..\\banks\\victim", "a\\b", "/a", "a/", "/", "//", "a//b", "//host/a", "http:///a", "s3:////a",
        "a\tb", "a\nb", "a\0b", "\x7f", "\x85", "a\u2028b", "a\u2029b",
        "\u202ecat", "a\u200bb", "a\u200db", "\ufeffa", "a\u2066b",
        "\ue000", "\U000f0000", "\u0378", "\uffff", "a\u00a0b", "a\u3000b", " a", "a ",
        "\u3164", "a\u034fb", "\ufffd", "e\u0301", "\u212b", "\u1100\u1161",
        "", "x" * 257, "é" * 129, "a\udcff",
    ],
)  # fmt: skip
def test_what_could_be_taken_for_something_else_is_no_id(id: str) -> None:
    assert fault_of_id(id)
    made = make_id(id)
    assert fault_of_id(made) == ""
    assert made != id


def test_the_form_that_is_wanted_is_told() -> None:
    assert "'é'" in fault_of_id("e\u0301")
    assert "U+0009" in fault_of_id("a\tb")


@given(text(characters(), max_size=300))
def test_any_name_has_an_id_of_its_own_that_no_path_changes(name: str) -> None:
    made = make_id(name)
    assert fault_of_id(made) == ""
    assert made.isprintable()
    assert unicodedata.is_normalized("NFC", made)
    assert not {".", ".."} & set(made.split("/"))
    assert (made == name) == (fault_of_id(name) == "")


def test_names_that_look_alike_have_different_ids() -> None:
    names = ["a\tb", "a%09b", "a b", "e\u0301", "é", "a//b", "a/b", "/a/b", "a\udcffb", "a\\xffb", "x/../y", "x/y", "y"]
    assert len({make_id(name) for name in names}) == len(names)
    assert make_id("a\tb").endswith("~a%09b")
    assert make_id("e\u0301").endswith("~é")
    long = [make_id(f"{start}{'é' * 300}.jpg") for start in "ab"]
    assert long[0] != long[1]
    assert all(len(id.encode()) <= 256 and id.endswith("é.jpg") for id in long)


def test_whatever_fits_a_key_may_be_known_from_before() -> None:
    assert [fault_of_key(id) for id in ("a\tb", "../x", "\0", "e\u0301", "x" * 256)] == [""] * 5
    assert all(fault_of_key(id) for id in ("", "x" * 257, "\ud800"))


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a b", "a\n", "-a", "_a", "x" * 65, "é", quote("a/b", "")]
)
def test_a_bank_is_named_by_letters_and_digits(name: str) -> None:
    assert fault_of_bank(name)
    assert fault_of_bank("blocked-2.old_") == ""
