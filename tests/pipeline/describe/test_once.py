from __future__ import annotations

import hashlib
import pickle

from hypothesis import given
from hypothesis import strategies as st

from neardup.pipeline.describe.once import Hashes


@given(st.sets(st.integers(0, 60)), st.integers(0, 60))
def test_hashes_are_a_set(members: set[int], one: int) -> None:
    def digest(number: int) -> bytes:
        return hashlib.sha256(bytes([number])).digest()

    hashes = pickle.loads(pickle.dumps(Hashes(map(digest, members))))
    assert (digest(one) in hashes) == (one in members)


def test_lowest_and_highest_are_found() -> None:
    hashes = Hashes([bytes(32), b"\xff" * 32])
    assert bytes(32) in hashes
    assert b"\xff" * 32 in hashes
    assert b"\x7f" * 32 not in hashes
