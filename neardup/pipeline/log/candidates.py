"""What a search found, as an envelope carries it: lists of descriptors, each by its place in the log.

A descriptor is named by the offset of the record that brought it and its number in that record, never by a row of some
state's tables. The bytes of one envelope are varints (LEB128): how many lists there are, how many names each has, then
for each name twice the gap of its offset to the name before, plus 1 where its number is not 0; last those numbers. A
list is in falling order and its first gap counts from the envelope's own offset.

All envelopes of a batch are packed and unpacked at once, without a Python step for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from neardup.pipeline.types import Ids

MAX_BYTES = 65_536
"""Most that an envelope carries."""
_MOST_DIGITS = 9  # of 7 bits: what is more does not fit int64
_MOST_OF_DIGITS = np.array([(1 << 7 * n) - 1 for n in range(1, _MOST_DIGITS)])


@dataclass(frozen=True, slots=True)
class Lists:
    """Lists of names, those of b envelopes one after another; all int64.

    Attributes:
        counts: lists of each envelope, (b,). lengths: names in each list, (lists,).
        offsets, numbers: of the names, list after list, (names,): descriptors' records, and their places in these.
    """

    counts: Ids
    lengths: Ids
    offsets: Ids
    numbers: Ids

    @property
    def list_of(self) -> Ids:
        """The list that each name is in, (names,)."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)


def pack(own: Ids, lists: Lists) -> list[bytes]:
    """Return the bytes for each of b envelopes, given their own offsets, (b,); a list may be in any order."""
    list_of = lists.list_of
    order = np.lexsort((-lists.numbers, -lists.offsets, list_of))
    offsets, numbers = lists.offsets[order], lists.numbers[order]
    own_of_list = np.repeat(own, lists.counts)
    before = np.concatenate([[0], offsets])[: len(offsets)]
    firsts = np.cumsum(lists.lengths) - lists.lengths
    begun = lists.lengths > 0
    before[firsts[begun]] = own_of_list[begun]
    marked = numbers > 0
    names = _sums(lists.lengths, lists.counts)
    more = _sums(_sums(marked, lists.lengths), lists.counts)
    sizes = 1 + lists.counts + names + more
    starts = np.cumsum(sizes) - sizes
    values = np.empty(int(sizes.sum()), np.int64)
    values[starts] = lists.counts
    values[_ranges(starts + 1, lists.counts)] = lists.lengths
    values[_ranges(starts + 1 + lists.counts, names)] = 2 * (before - offsets) + marked
    values[_ranges(starts + 1 + lists.counts + names, more)] = numbers[marked]
    return _encode(values, sizes)


def unpack(own: Ids, packed: Sequence[bytes]) -> Lists:
    """Return what `pack` made these bytes of, each list in falling order.

    Raises:
        ValueError: they are not such bytes.
    """
    values, sizes = _decode(packed)
    starts = np.cumsum(sizes) - sizes
    counts = values[starts]
    _check(counts < sizes)
    lengths = values[_ranges(starts + 1, counts)]
    _check(lengths < np.repeat(sizes, counts))
    names = _sums(lengths, counts)
    _check(1 + counts + names <= sizes)
    doubled = values[_ranges(starts + 1 + counts, names)]
    marked = (doubled & 1).astype(np.bool_)
    more = _sums(marked, names)
    _check(1 + counts + names + more == sizes)
    numbers = np.zeros(len(doubled), np.int64)
    numbers[marked] = values[_ranges(starts + 1 + counts + names, more)]
    passed = np.cumsum(doubled >> 1)
    firsts = np.cumsum(lengths) - lengths
    before = np.concatenate([[0], passed])[firsts]
    offsets = np.repeat(np.repeat(own, counts) + before, lengths) - passed
    return Lists(counts, lengths, offsets, numbers)


def holds_one_list(packed: bytes) -> bool:
    """Return whether these bytes are of a single list."""
    return packed[:1] == b"\x01"


def _check(holds: np.typing.NDArray[np.bool_]) -> None:
    if not holds.all():
        raise ValueError("candidates are cut, or not such lists")


def _ranges(starts: Ids, counts: Ids) -> Ids:
    """Return start, start + 1, … for each of these, `count` of them."""
    ends = np.cumsum(counts)
    return np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(starts - ends + counts, counts)


def _sums(values: Ids | np.typing.NDArray[np.bool_], counts: Ids) -> Ids:
    """Return the sums of the first `count` values, of the next, and so on."""
    passed = np.concatenate([[0], np.cumsum(values)])
    ends = np.cumsum(counts)
    return np.asarray(passed[ends] - passed[ends - counts], dtype=np.int64)


def _encode(values: Ids, sizes: Ids) -> list[bytes]:
    """Return the varints of the first `size` values, of the next, and so on."""
    digits = 1 + np.searchsorted(_MOST_OF_DIGITS, values)
    ends = np.cumsum(digits)
    encoded = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    for n in range(int(digits.max(initial=0))):
        some = np.flatnonzero(digits > n)
        going_on = (digits[some] > n + 1).astype(np.int64) << 7
        encoded[(ends - digits)[some] + n] = (values[some] >> 7 * n & 0x7F) | going_on
    borders = [0, *ends[np.cumsum(sizes) - 1].tolist()]
    whole = encoded.tobytes()
    return [whole[start:stop] for start, stop in pairwise(borders)]


def _decode(packed: Sequence[bytes]) -> tuple[Ids, Ids]:
    """Return all values, and how many each of the bytes had."""
    encoded = np.frombuffer(b"".join(packed), np.uint8)
    stops = np.cumsum([len(one) for one in packed])
    is_last = encoded < 0x80
    _check(np.diff(stops, prepend=0) > 0)
    _check(is_last[stops - 1])
    ends = np.flatnonzero(is_last) + 1
    starts = np.concatenate([[0], ends[:-1]])
    digits = ends - starts
    _check(digits <= _MOST_DIGITS)
    values = np.zeros(len(ends), np.int64)
    for n in range(int(digits.max(initial=0))):
        some = np.flatnonzero(digits > n)
        values[some] |= (encoded[starts[some] + n] & 0x7F).astype(np.int64) << 7 * n
    return values, np.diff(np.searchsorted(ends, stops, side="right"), prepend=0)
