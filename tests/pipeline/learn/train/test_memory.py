from __future__ import annotations

import torch

from neardup.pipeline.learn.train.memory import Memory


def test_the_oldest_rows_are_replaced_first() -> None:
    memory = Memory(3, 1)
    memory.add(torch.tensor([[1.0], [2.0]]), torch.tensor([1, 2]))
    assert memory.held()[1].tolist() == [1, 2]
    memory.add(torch.tensor([[3.0], [4.0]]), torch.tensor([3, 4]))
    rows, keys = memory.held()
    assert sorted(keys.tolist()) == [2, 3, 4]
    assert rows.ravel().tolist() == [float(key) for key in keys]


def test_of_a_batch_that_is_too_large_the_last_rows_stay() -> None:
    memory = Memory(2, 1)
    memory.add(torch.arange(5.0)[:, None], torch.arange(5))
    assert sorted(memory.held()[1].tolist()) == [3, 4]


def test_nothing_in_it_has_a_gradient() -> None:
    memory = Memory(2, 1)
    memory.add(torch.ones(1, 1, requires_grad=True) * 2, torch.tensor([0]))
    assert not memory.held()[0].requires_grad


def test_a_memory_of_no_size_holds_nothing() -> None:
    memory = Memory(0, 4)
    memory.add(torch.ones(2, 4), torch.tensor([0, 1]))
    assert memory.held()[0].shape == (0, 4)


def test_a_saved_memory_goes_on_where_it_was() -> None:
    memory, other = Memory(3, 1), Memory(3, 1)
    memory.add(torch.ones(2, 1), torch.tensor([7, 8]))
    other.load_state_dict(memory.state_dict())
    other.add(torch.zeros(2, 1), torch.tensor([9, 10]))
    assert sorted(other.held()[1].tolist()) == [8, 9, 10]
