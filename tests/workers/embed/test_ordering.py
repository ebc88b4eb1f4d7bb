from __future__ import annotations

from neardup.workers.embed.ordering import KeyOrder


def test_a_row_moves_only_from_its_front() -> None:
    order, done = KeyOrder(), list[str]()
    first, second, other = order.take("a"), order.take("a"), order.take("b")
    order.act(second, lambda: done.append("second"))
    order.act(other, lambda: done.append("other"))
    assert done == ["other"]
    third = order.take("a")
    order.act(first, lambda: done.append("first"))
    assert done == ["other", "first", "second"]
    order.act(third, lambda: done.append("third"))
    assert done[-1] == "third"
    order.act(order.take("a"), lambda: done.append("again"))
    assert done[-1] == "again"
