from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neardup.pipeline.log.candidates import Lists, pack, unpack

NAMES = st.tuples(st.integers(-1, 999), st.integers(0, 300))
ENVELOPES = st.lists(
    st.tuples(st.integers(1000, 2**50), st.lists(st.lists(NAMES, unique=True), max_size=5)), max_size=4
)
Envelopes = list[tuple[int, list[list[tuple[int, int]]]]]


def ints(values: list[int]) -> npt.NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def flat(envelopes: Envelopes) -> tuple[npt.NDArray[np.int64], Lists]:
    lists = [names for _, lists in envelopes for names in lists]
    return ints([own for own, _ in envelopes]), Lists(
        ints([len(lists) for _, lists in envelopes]),
        ints([len(names) for names in lists]),
        ints([offset for names in lists for offset, _ in names]),
        ints([number for names in lists for _, number in names]),
    )


def nested(own: npt.NDArray[np.int64], lists: Lists) -> Envelopes:
    names = iter(zip(lists.offsets.tolist(), lists.numbers.tolist(), strict=True))
    lengths = iter(lists.lengths.tolist())
    found = [
        (offset, [[next(names) for _ in range(next(lengths))] for _ in range(count)])
        for offset, count in zip(own.tolist(), lists.counts.tolist(), strict=True)
    ]
    assert next(names, None) is next(lengths, None) is None
    return found


def test_bytes_are_those_of_the_description() -> None:
    own, lists = flat([(1000, [[(990, 0), (700, 3)], [], [(990, 0)]]), (5, [[]])])
    # 3 lists of 2, 0 and 1 names; gaps 10, 290 and 10, twice and with a mark where there is a number; the number
    first = bytes([3, 2, 0, 1, 20, (581 & 0x7F) | 0x80, 581 >> 7, 20, 3])
    assert pack(own, lists) == [first, bytes([1, 0])]


@given(ENVELOPES)
def test_lists_are_read_as_they_were_written_in_falling_order(envelopes: Envelopes) -> None:
    own, lists = flat(envelopes)
    packed = pack(own, lists)
    wanted = [(offset, [sorted(names, reverse=True) for names in lists]) for offset, lists in envelopes]
    if packed:
        assert nested(own, unpack(own, packed)) == wanted
    alone = [nested(own[n : n + 1], unpack(own[n : n + 1], [one]))[0] for n, one in enumerate(packed)]
    assert alone == wanted


def test_cohort_of_fourteen_among_a_million_takes_less_than_fifty_bytes() -> None:
    own, lists = flat([(10**6, [[(n, 0) for n in range(0, 10**6, 71_429)], [], []])])
    assert len(lists.offsets) == 14
    assert len(pack(own, lists)[0]) == 4 + 14 * 3


@given(st.lists(st.binary(max_size=12), min_size=1, max_size=3))
def test_other_bytes_are_refused_or_are_lists(packed: list[bytes]) -> None:
    own = np.full(len(packed), 10)
    try:
        lists = unpack(own, packed)
    except ValueError:
        return
    assert len(lists.counts) == len(packed)
    assert int(lists.lengths.sum()) == len(lists.offsets) == len(lists.numbers)


@pytest.mark.parametrize("cut", range(9))
def test_bytes_that_are_cut_are_refused(cut: int) -> None:
    (whole,) = pack(*flat([(1000, [[(990, 0), (700, 3)], [], [(990, 0)]])]))
    with pytest.raises(ValueError, match="cut"):
        unpack(ints([1000]), [whole[:cut]])
