from __future__ import annotations

import json
import logging
import sys

import pytest

from neardup.workers.run.logs import JsonFormatter, configure, fields_of, is_json, message_of


def a_record(message: str, *values: object, exc_info: object = None) -> logging.LogRecord:
    return logging.LogRecord("neardup.x", logging.WARNING, "x.py", 1, message, values, exc_info)  # type: ignore[arg-type]


def test_fields_of_a_message_become_members() -> None:
    record = a_record("item dead-lettered reason=%s partition=%d seconds=%.1f", "decode", 3, 0.25)
    told = json.loads(JsonFormatter("embed").format(record))
    assert told.pop("time").endswith("+00:00")
    assert told == {
        "level": "warning",
        "worker": "embed",
        "logger": "neardup.x",
        "message": "item dead-lettered",
        "reason": "decode",
        "partition": 3,
        "seconds": 0.25,
    }


def test_what_is_put_together_otherwise_is_a_message_as_a_whole() -> None:
    assert fields_of(a_record("%s of %s", 1, 2)) == ("1 of 2", {})
    assert fields_of(a_record("a=%s and %s", 1, 2)) == ("a=1 and 2", {})
    assert fields_of(a_record("100% sure")) == ("100% sure", {})
    assert fields_of(a_record("workers drain")) == ("workers drain", {})


def test_a_field_takes_no_members_place_and_a_traceback_is_on_the_same_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = a_record("worker failed name=%s level=%s error=%s", "embed", "x", 1j, exc_info=sys.exc_info())
    line = JsonFormatter("embed").format(record)
    told = json.loads(line)
    assert "\n" not in line
    assert told["level"] == "warning"
    assert told["error"] == "1j"
    assert "two\nlines" in told["traceback"]


def test_it_is_json_where_nobody_reads_along(monkeypatch: pytest.MonkeyPatch) -> None:
    root, handler = logging.getLogger(), logging.StreamHandler()
    monkeypatch.setattr(root, "handlers", [handler])
    configure("text", "embed")
    assert not is_json()
    configure("auto", "embed")  # standard error of a test is no terminal
    assert is_json()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("neardup: a setting is wrong", "a setting is wrong"),
        ('{"message":"a setting is wrong"}', "a setting is wrong"),
        ("{no json", "{no json"),
        ('{"other":1}', '{"other":1}'),
    ],
)
def test_what_a_line_says(line: str, says: str) -> None:
    assert message_of(line) == says
