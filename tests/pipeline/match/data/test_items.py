from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neardup.pipeline.match.data.items import _SHARDS, Shards


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
