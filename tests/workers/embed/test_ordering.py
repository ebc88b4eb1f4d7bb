from __future__ import annotations

from neardup.workers.embed.ordering import Turns


def test_a_row_moves_only_from_its_front() -> None:
    turns, done = Turns(), list[str]()
    first, second, other = turns.take("a"), turns.take("a"), turns.take("b")
    turns.act(second, lambda: done.append("second"))
    turns.act(other, lambda: done.append("other"))
    assert done == ["other"]
    third = turns.take("a")
    turns.act(first, lambda: done.append("first"))
    assert done == ["other", "first", "second"]
    turns.act(third, lambda: done.append("third"))
    assert done[-1] == "third"
    turns.act(turns.take("a"), lambda: done.append("again"))
    assert done[-1] == "again"
