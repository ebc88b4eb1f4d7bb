"""What a member of a consumer group needs besides kafka-python."""

from __future__ import annotations

from kafka import KafkaConsumer

REQUEST_MS = 10_000
"""How long a member waits for an answer. While a heartbeat's is due, kafka-python 3.0.12 polls without a pause and
keeps what it makes meanwhile: with a broker that hangs, its own 30 s cost 300 MB and a core."""


def keep_joining(consumer: KafkaConsumer) -> KafkaConsumer:
    """Have a consumer end each join that it began; return it.

    kafka-python 3.0.12 forgets a join that a change of metadata asked for if a poll's time is over before its end: the
    member then has nothing, sends no heartbeat and never joins again. A topic that a consumer's first join does not
    know yet is such a change. Java had the same fault, and this is its remedy: KAFKA-9815.
    """
    coordinator = consumer._coordinator
    needs = coordinator.need_rejoin

    def need_rejoin() -> bool:
        if not needs():
            return False
        coordinator.request_rejoin()  # stands until a join is done, whatever is known of metadata by then
        return True

    coordinator.need_rejoin = need_rejoin
    return consumer


def read_on_after_pause(consumer: KafkaConsumer) -> None:
    """Have the next poll give what a partition had fetched before it was paused, if it goes on by now.

    kafka-python 3.0.12 parks such records and takes them back when no others are being handed out; but it looks for
    None where records that were handed out to the last one stand. With another partition read meanwhile they never come
    back, and the partition is not fetched again as long as they are parked.
    """
    fetcher = consumer._fetcher
    if not fetcher._next_partition_records:
        fetcher._next_partition_records = None
