"""Damage a file: its numbers, the order and count of its parts, its end, its bits; or join it with another.

What stands around a part is most often made right again, and checksums always are: a decoder that stops at the first
wrong length or checksum shows nothing of what lies behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tests.corpus.anatomy import Anatomy, Number, Part, dissect, repaired

MOST_BYTES = 2**20
_ROUND = (0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 64, 127, 128, 255, 256, 1000, 4095, 4096, 32767, 32768, 65535, 65536)
_LARGE = (10**6, 2**24, 2**30, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1)


def mutated(rng: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Return a damaged copy of at most MOST_BYTES or twice the file.

    Args:
        others: files of which parts may be taken, most of the same format.
    """
    found, out = dissect(data), bytearray(data)
    way = rng.random()
    if way < 0.45:
        _numbers(rng, out, found, rng.choice((1, 1, 1, 2, 3, 6)))
    elif way < 0.55:
        _loop(rng, out, found)
    elif way < 0.80:
        if rng.random() < 0.3:
            _numbers(rng, out, found, 1)
        _parts(rng, out, found, others)
    elif way < 0.88:
        _cut(rng, out, found)
    elif way < 0.94:
        _flip(rng, out)
    else:
        _splice(rng, out, rng.choice(others))
    if rng.random() < 0.08:
        _cut(rng, out, found)
    del out[max(MOST_BYTES, 2 * len(data)) :]
    return bytes(out) if rng.random() < 0.05 else repaired(out)


def _numbers(rng: Random, out: bytearray, found: Anatomy, count: int) -> None:
    chosen = rng.choices(found.numbers, k=count) if found.numbers else []
    for number in sorted(
        set(chosen), key=lambda one: (-one.at, one.size)
    ):  # one in text may change what lies behind it
        number.write(out, _value(rng, number.read(out), len(out), number, found))


def _value(rng: Random, value: int, length: int, number: Number, found: Anatomy) -> int:
    match rng.randrange(7):
        case 0:
            return rng.choice(_ROUND)
        case 1:
            return rng.choice(_LARGE)
        case 2:
            return value + rng.choice((-8, -4, -2, -1, 1, 2, 4, 8))
        case 3:
            return rng.choice((value * 2, value // 2, value * 16, value << 8, -value, ~value))
        case 4:
            return length + rng.randint(-16, 16)
        case 5:
            return rng.choice(found.numbers).at + rng.randint(-8, 0)
    return rng.getrandbits(8 * number.size)


def _loop(rng: Random, out: bytearray, found: Anatomy) -> None:
    """Have a number lead back to where a part begins, or to itself; or give a part no length, or one without end."""
    if not found.numbers or not found.parts:
        return
    number = rng.choice(found.numbers)
    places = [part.start for part in found.parts] + [number.at, number.at - 4, number.at - 2]
    number.write(out, rng.choice((*rng.choices(places, k=3), 0, -1)))


def _parts(rng: Random, out: bytearray, found: Anatomy, others: Sequence[bytes]) -> None:
    if not found.parts:
        _splice(rng, out, rng.choice(others))
        return
    part = rng.choice(found.parts)
    body = bytes(out[part.start : part.end])
    match rng.randrange(6):
        case 0:
            new = b""
        case 1:
            many = rng.choice((2, 3, 10, 100, 1000, 20_000))
            new = body * min(many, max(2, MOST_BYTES // max(1, len(body))))
        case 2:  # in another place, too
            place = rng.choice(found.parts)
            body, part = body + bytes(out[place.start : place.end]), place
            new = body
        case 3:  # within itself
            depth = rng.choice((2, 10, 200, 5000))
            head = body[: rng.choice((8, 12, 4))]
            new = head * min(depth, MOST_BYTES // max(1, len(head))) + body
        case 4:
            donor = rng.choice(others)
            parts = dissect(donor).parts
            taken = rng.choice(parts) if parts else Part(0, len(donor))
            new = donor[taken.start : taken.end] + (body if rng.random() < 0.5 else b"")
        case _:
            new = body[: rng.randrange(len(body) + 1)]
    out[part.start : part.end] = new
    if rng.random() < 0.75:
        for length in part.lengths:
            length.write(out, length.read(out) + len(new) - (part.end - part.start))


def _cut(rng: Random, out: bytearray, found: Anatomy) -> None:
    at = rng.choice(found.parts).end + rng.choice((-1, 0, 0, 1)) if found.parts and rng.random() < 0.4 else 0
    at = at or rng.randrange(len(out) + 1)
    tail = len(out) - at
    del out[max(0, at) :]
    if rng.random() < 0.25:
        out += bytes(max(0, tail)) if rng.random() < 0.5 else rng.randbytes(min(max(0, tail), 4096))


def _flip(rng: Random, out: bytearray) -> None:
    start = rng.randrange(len(out)) if rng.random() < 0.5 else 0
    end = min(len(out), start + rng.choice((16, 64, 512, len(out))))
    for _ in range(rng.choice((1, 1, 2, 4, 16, 64, 256))):
        at = rng.randrange(start, end)
        out[at] = rng.randrange(256) if rng.random() < 0.3 else out[at] ^ 1 << rng.randrange(8)


def _splice(rng: Random, out: bytearray, other: bytes) -> None:
    """Let another file follow from somewhere on."""
    out[rng.randrange(len(out) + 1) :] = other[rng.randrange(len(other)) if rng.random() < 0.7 else 0 :]
