from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from neardup.workers.kafka.offsets import Offsets, Ticket


def taken(offsets: Offsets[str], partition: str, *numbers: int) -> list[Ticket[str]]:
    tickets = [offsets.add(partition, number) for number in numbers]
    assert None not in tickets
    return [ticket for ticket in tickets if ticket is not None]


def test_only_what_lies_before_the_first_open_message_is_committed() -> None:
    offsets = Offsets[str]()
    offsets.assign(["a", "b"])
    first, second, third = taken(offsets, "a", 5, 6, 9)  # offsets have gaps
    offsets.done(second)
    assert offsets.due() == {}
    assert offsets.open("a") == 3  # two of them wait for the first
    offsets.done(first)
    assert offsets.due() == {"a": 7}
    assert offsets.due() == {}
    offsets.done(third)
    assert offsets.due() == {"a": 10}
    assert (offsets.open("a"), offsets.open("b"), offsets.open("c")) == (0, 0, 0)


def test_a_commit_that_failed_is_due_again() -> None:
    offsets = Offsets[str]()
    offsets.assign(["a"])
    offsets.done(taken(offsets, "a", 0)[0])
    failed = offsets.due()
    offsets.repeat(failed)
    assert offsets.due() == failed == {"a": 1}


def test_a_partition_that_has_not_moved_is_where_it_began() -> None:
    offsets = Offsets[str]()
    offsets.assign(["a"], start=7)
    taken(offsets, "a", 7)
    assert offsets.due() == {}
    assert offsets.positions() == {"a": 7}
    assert offsets.revoke(["a"]) == {"a": 7}


def test_a_ticket_of_an_earlier_assignment_is_worth_nothing() -> None:
    offsets = Offsets[str]()
    offsets.assign(["a"])
    old = taken(offsets, "a", 3, 4)
    offsets.done(old[0])
    assert offsets.revoke(["a", "b"]) == {"a": 4}
    assert offsets.add("a", 5) is None
    offsets.assign(["a"])
    again = taken(offsets, "a", 4)
    offsets.done(old[1])
    assert not offsets.valid(old[1])
    assert offsets.due() == {}
    offsets.done(again[0])
    assert offsets.due() == {"a": 5}


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=30).flatmap(
        lambda steps: st.tuples(st.just(steps), st.permutations(range(len(steps))))
    )
)
def test_in_whatever_order_messages_are_done_nothing_open_is_ever_committed(case: tuple[list[int], list[int]]) -> None:
    steps, order = case
    numbers = [sum(steps[: index + 1]) for index in range(len(steps))]
    offsets = Offsets[str]()
    offsets.assign(["a"])
    tickets = taken(offsets, "a", *numbers)
    still_open, committed = set(numbers), 0
    for index in order:
        offsets.done(tickets[index])
        still_open.discard(numbers[index])
        committed = offsets.due().get("a", committed)
        done_before = [number for number in numbers if number < min(still_open, default=numbers[-1] + 1)]
        assert committed == (done_before[-1] + 1 if done_before else 0)
    assert committed == numbers[-1] + 1
