from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neardup.pipeline.match.data.items import _SHARDS, Shards, Twins


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["set", "delete", "default"]), st.text(max_size=2), st.integers())))
@pytest.mark.slow
def test_it_does_what_a_dict_does(steps: list[tuple[str, str, int]]) -> None:
    shards, plain = Shards[str, int](), dict[str, int]()
    for step, key, value in steps:
        if step == "set":
            shards[key] = plain[key] = value
        elif step == "default":
            assert shards.setdefault(key, value) == plain.setdefault(key, value)
        elif key in plain:
            del shards[key], plain[key]
        assert (key in shards, shards.get(key), len(shards)) == (key in plain, plain.get(key), len(plain))
    for key, value in plain.items():
        assert shards[key] == value
    with pytest.raises(KeyError):
        shards["not there"]


@pytest.mark.parametrize("key", [str, lambda n: b"%032d" % n])
def test_keys_are_spread_evenly(key: type[str]) -> None:
    shards = Shards[object, int]()
    for number in range(_SHARDS * 100):
        shards[key(number)] = number
    sizes = [len(shard) for shard in shards._shards]
    assert 50 < min(sizes) <= max(sizes) < 160


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([b"", b"a", b"b", b"c"]), st.booleans()), max_size=30))
def test_twins_are_known_in_the_order_in_which_they_came(steps: list[tuple[bytes, bool]]) -> None:
    twins, plain = Twins(), dict[bytes, list[int]]()
    for number, (key, comes) in enumerate(steps):
        numbers = plain.setdefault(key, [])
        if comes or not numbers:
            twins.add(key, number)
            numbers += [number] if key else []
        else:
            twins.remove(key, numbers.pop(len(numbers) // 2))
        assert list(twins.of(key)) == numbers
        assert (key in twins) == bool(numbers)
    at_once = Twins()
    at_once.update((key, number) for key, numbers in plain.items() for number in numbers)
    assert all(list(at_once.of(key)) == numbers for key, numbers in plain.items())
