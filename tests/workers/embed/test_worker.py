from __future__ import annotations

from typing import Any

import pytest

from neardup.pipeline.errors import DependencyError, InvalidFrame, Reason
from neardup.workers.dead_letters.letters import dead_letter, original_headers
from neardup.workers.kafka.media_record import attempts, read_item, read_key
from neardup.workers.kafka.outbox import Message, Outbox


class Producer:
    """Keeps what it is given until told to answer."""

    def __init__(self) -> None:
        self.kept: list[tuple[Any, ...]] = []
        self.futures: list[Any] = []

    def send(self, *record: Any) -> Any:
        from kafka.future import Future

        self.kept.append(record)
        self.futures.append(Future())
        return self.futures[-1]

    def close(self, timeout: float) -> None: ...


def test_records_are_confirmed_together_and_counted_until_then() -> None:
    producer, told = Producer(), list[str]()
    outbox = Outbox(producer)
    outbox.send([Message("log", b"k", bytes(1000)), Message("log", b"k", bytes(500))], lambda: told.append("both"))
    assert outbox.in_flight_bytes > 1500
    producer.futures[0].success(None)
    assert not told
    producer.futures[1].success(None)
    assert told == ["both"]
    assert outbox.in_flight_bytes == 0
    assert outbox.wait(0)


def test_a_record_that_kafka_does_not_take_is_never_confirmed() -> None:
    producer, told = Producer(), list[str]()
    outbox = Outbox(producer)
    outbox.send([Message("log", b"k", b"v")], lambda: told.append("it"))
    with pytest.raises(DependencyError, match="nothing for 0 s"):
        outbox.wait_below(0, 0.01)
    producer.futures[0].failure(TimeoutError("frozen"))
    with pytest.raises(DependencyError, match="frozen"):
        outbox.check()
    assert not outbox.wait(0)
    assert not told


def test_the_key_and_the_headers_are_not_believed() -> None:
    item = read_item(b"cat-1", b"bytes", [("traceparent", b"00-0")])
    assert (item.id, item.bank, item.content, item.sha256) == ("cat-1", "seen", b"bytes", None)
    uri = read_item(b"k", b"# one\r\nhttps://h/a\r\n", [("content-type", b"text/uri-list; charset=utf-8")])
    assert uri.content == "https://h/a"
    assert read_item(b"k", b"s3://b/a", [("content-type", b"text/uri-list"), ("sha256", b"AB" * 32)]).sha256 == (
        b"\xab" * 32
    )
    wrong: list[tuple[bytes | None, bytes, list[tuple[str, bytes]]]] = [
        (None, b"v", []),
        (b"", b"v", []),
        (b"k" * 257, b"v", []),
        (b"\xff", b"v", []),
        (b"../banks/victim", b"v", []),
        (b"a\tb", b"v", []),
        ("e\u0301".encode(), b"v", []),
        (b"k", b"v", [("bank", b"..")]),
        (b"k", b"v", [("bank", b"")]),
        (b"k", b"v", [("bank", b"\xff")]),
        (b"k", b"v", [("content-type", b"\xff")]),
        (b"k", b"https://a\nhttps://b", [("content-type", b"text/uri-list")]),
        (b"k", b"https://a", [("content-type", b"text/uri-list"), ("sha256", b"12")]),
    ]
    for key, value, headers in wrong:
        with pytest.raises(InvalidFrame) as caught:
            read_item(key, value, headers)
        assert caught.value.reason is Reason.SCHEMA


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("1.5", 1.5), ("007.25", 7.25), ("1000000000", 1e9)])
def test_a_frame_of_a_live_video_has_its_second(text: str, seconds: float) -> None:
    item = read_item(b"live-1", b"a frame", [("pts", text.encode())])
    assert (item.id, item.pts, item.ends, item.live) == ("live-1", seconds, False, True)
    uri = read_item(b"live-1", b"s3://b/a", [("pts", text.encode()), ("content-type", b"text/uri-list")])
    assert (uri.content, uri.pts) == ("s3://b/a", seconds)


def test_the_end_of_a_live_video_has_no_content() -> None:
    end = read_item(b"live-1", b"", [("pts", b"end"), ("bank", b"licensed")])
    assert (end.id, end.bank, end.ends, end.pts, end.live) == ("live-1", "licensed", True, None, True)
    assert not read_item(b"cat", b"v", []).live


@pytest.mark.parametrize(
    ("pts", "value"),
    [
        *((pts, b"v") for pts in (b"", b"now", b"-1", b"+1", b"nan", b"inf", b"1e3", b"1,5", b"1.", b".5", b" 1")),
        *((pts, b"v") for pts in (b"1000000000.001", b"9" * 400, b"0." + b"0" * 400, "\u0661".encode(), b"\xff")),
        (b"end", b"v"),
        (b"END", b""),
    ],
)
def test_a_second_that_is_none_is_refused(pts: bytes, value: bytes) -> None:
    with pytest.raises(InvalidFrame) as caught:
        read_item(b"live-1", value, [("pts", pts)])
    assert caught.value.reason is Reason.SCHEMA


def test_a_dead_letter_keeps_the_record_and_counts_attempts() -> None:
    headers = [("bank", b"blocked"), ("attempts", b"1"), ("reason", b"old")]
    error = InvalidFrame(Reason.DECODE, "x" * 5000)
    letter = dead_letter("dead", b"k", b"v", headers, ("media", 3, 9), error, attempts(headers) + 1)
    told = dict(letter.headers)
    assert (letter.key, letter.value) == (b"k", b"v")
    assert (told["reason"], told["attempts"], told["source-partition"], told["source-offset"]) == (
        b"decode", b"2", b"3", b"9",
    )  # fmt: skip
    assert len(told["detail"]) == 2000
    assert original_headers(letter.headers) == [("bank", b"blocked")]
    assert attempts([("attempts", b"-1")]) == 0


def test_a_takedown_names_also_what_can_be_no_new_id() -> None:
    assert read_key(b"a\tb") == "a\tb"
    for key in (None, b"", b"k" * 257, b"\xff"):
        with pytest.raises(InvalidFrame):
            read_key(key)
