from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest

from neardup.pipeline.report.names import is_utf8, link, raw, readable, visible

LATIN1 = os.fsdecode(b"caf\xe9.jpg")


def test_bytes_that_are_not_utf8_are_written_out() -> None:
    assert readable(LATIN1) == "caf\\xe9.jpg"
    assert raw(LATIN1) == b"caf\xe9.jpg"
    assert not is_utf8(LATIN1)


def test_a_plain_name_stays_as_it_is() -> None:
    for name in ("café.jpg", "写真/猫.png", "a b.jpg", "👩‍🚀.webp", "back\\slash"):
        assert readable(name) == visible(name) == name
        assert is_utf8(name)


def test_a_lone_surrogate_does_not_break_anything() -> None:
    assert readable("\ud800").isascii()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("a\u2028b", "a\\u2028b"),
        ("screenshot at 9.41\u202fAM.png", "screenshot at 9.41\u202fAM.png"),
    ],
)
def test_a_shown_name_is_one_line_in_one_direction(name: str, shown: str) -> None:
    assert visible(name) == shown


@pytest.mark.parametrize("name", ["javascript:alert(1)", "//host/share.jpg", "a?b#c%20.jpg", LATIN1, "a\nb"])
def test_a_link_leads_to_the_file_and_nowhere_else(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    address = link(name)
    assert address.startswith("file:///")
    assert not address.startswith("file:////")
    path, _, rest = address.removeprefix("file://").partition("?")
    assert not rest
    assert "#" not in path
    expected = raw(name) if name.startswith("/") else os.fsencode(tmp_path) + b"/" + raw(name)
    assert unquote_to_bytes(path).lstrip(b"/") == expected.lstrip(b"/")
