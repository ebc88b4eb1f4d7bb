from __future__ import annotations

from pathlib import Path

import pytest

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.log.changes import FOREVER_MS, Action, BankChanged, ReferenceChanged
from neardup.pipeline.store.interface import BankRow, ReferenceRow
from neardup.workers.bank_file import changes, lines_of, read_bank

ROW = BankRow("blocked", Action.ALLOW, 0.999, 0.5, "n", {"a": "é"}, 2)
REFERENCES = [
    ReferenceRow("r 1", "blocked", 7, sha256="aa", disabled_until_ms=FOREVER_MS, note="x\ny", metadata={"k": "v"}),
    ReferenceRow("r2", "blocked", 8),
]


def test_a_bank_comes_back_as_the_changes_that_make_it_under_any_name(tmp_path: Path) -> None:
    path = tmp_path / "bank.jsonl"
    path.write_bytes(b"".join(lines_of(ROW, REFERENCES)))
    told, references = read_bank(path)
    assert [(line.id, line.sha256) for line in references] == [("r 1", "aa"), ("r2", "")]
    assert changes("other", told, references, "jo", "moved") == [
        BankChanged(
            bank="other",
            action=Action.ALLOW,
            precision=0.999,
            enable_ratio=0.5,
            note="n",
            metadata={"a": "é"},
            by="jo",
            why="moved",
        ),
        ReferenceChanged(
            bank="other",
            id="r 1",
            disabled_until_ms=FOREVER_MS,
            note="x\ny",
            metadata={"k": "v"},
            by="jo",
            why="moved",
        ),
    ]


def test_a_file_without_settings_leaves_those_of_the_bank_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "bank.jsonl"
    path.write_text('\n{"id": "r", "uri": "https://a.example/r.jpg"}\n', encoding="utf-8")
    told, references = read_bank(path)
    assert told is None
    assert references[0].uri == "https://a.example/r.jpg"
    assert changes("b", told, references, "", "") == [BankChanged(bank="b")]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("{", "line 2"),
        ('{"id": 7}', "line 2: .*id"),
        ('{"id": "a", "untill": 3}', "line 2: .*untill"),
        ('{"bank": "late"}', "line 2"),
        ("[1]", "line 2"),
    ],
)
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str, wrong: str) -> None:
    path = tmp_path / "bank.jsonl"
    path.write_text('{"id": "fine"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=wrong):
        read_bank(path)
