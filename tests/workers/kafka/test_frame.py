"""Parts of an answer of Kafka are what kafka-python's own reader gives."""

from __future__ import annotations

from kafka.protocol.frame import KafkaBytes

from neardup.workers.kafka.clients import _read_without_a_second_copy


def test_parts_of_an_answer_come_in_order_and_end_with_it() -> None:
    _read_without_a_second_copy()
    answer = KafkaBytes(10)
    answer.write(b"0123456789")
    answer.seek(0)
    assert [answer.read(4), answer.read(0), answer.read(3)] == [b"0123", b"", b"456"]
    assert answer.tell() == 7
    assert answer.read(100) == b"789"
    assert (answer.read(), answer.tell()) == (b"", 10)
    answer.seek(8)
    assert answer.read() == b"89"
