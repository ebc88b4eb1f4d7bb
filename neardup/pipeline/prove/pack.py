"""Small pictures of an item, stored when it is described, so that pairs can be proved when its original is gone.

Of a film a few frames are stored. Two copies have to store the same ones, though they were sampled at other instants
and begin at other moments. So what decides is what a frame shows: it is darker than all around it, or it stands still.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
import numpy as np
import numpy.typing as npt
import simplejpeg

from neardup.pipeline.errors import DependencyError, InvalidFrame
from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.media.fetch import Rules, fetch
from neardup.pipeline.media.tile import fit
from neardup.pipeline.prove.prover import Picture
from neardup.pipeline.types import Limits, Pixels

PACK_SIDE = 320
"""Longest side of a stored picture, in pixels: that at which pictures are proved."""
QUALITY = 55
MOST_BYTES = 25_000
"""Of one picture. What is more is stored at lower qualities, then smaller."""
_QUALITIES = (QUALITY, 40, 25)
AROUND = 1.0
"""Seconds: a frame of a film is stored if it is darker than those before and after it within this time."""
_STILL = 24
"""A frame that stays for twice as long is stored, too: no pixel of its tile changes by more levels of 255."""
MOST_FRAMES = 256
NEAR = 0.5
"""Seconds by which frames may miss each other: those of two copies were sampled at other instants."""
MOST_MOMENTS = 6
_REACH = 4.0
"""Seconds from a moment that was asked for within which frames stand for it."""
_SPEEDS = (0.4, 2.5)


class PackFrame(msgspec.Struct, frozen=True, array_like=True):
    """A picture: from when to when it is seen, in seconds from the start of the item, and as JPEG."""

    second: float
    until: float
    jpeg: bytes

    def misses(self, second: float) -> float:
        """Return by how many seconds it was seen too early or too late."""
        return max(self.second - second, second - self.until, 0.0)


class Pack(msgspec.Struct, frozen=True, array_like=True):
    """What is stored of an item: width and height of the original in pixels, and pictures in order of time."""

    width: int
    height: int
    frames: tuple[PackFrame, ...]

    def near(self, second: float) -> PackFrame | None:
        """Return the frame at a time, None where there is none within NEAR."""
        found = min(self.frames, key=lambda frame: frame.misses(second), default=None)
        return found if found is not None and found.misses(second) <= NEAR else None

    def is_small_for(self, side: int) -> bool:
        """Return whether the original has more to show at this side than what is stored."""
        return side > PACK_SIDE and max(self.width, self.height) > PACK_SIDE

    def picture(self, second: float) -> Picture | None:
        """Return the picture at a time, None where there is none."""
        if (frame := self.near(second)) is None:
            return None
        try:
            pixels = simplejpeg.decode_jpeg(frame.jpeg, "RGB")
        except ValueError:
            return None
        return Picture(pixels, _scale(pixels, self))


encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Pack).decode


def read_pack(data: bytes) -> Pack:
    """Return what `Packer.packed` wrote; raises msgspec.MsgspecError for anything else."""
    return _decode(data)


@dataclass(slots=True)
class _Seen:
    """A frame that was taken. `value`: how bright it is. `picture`: until it is decided whether it is kept."""

    second: float
    until: float
    value: float
    picture: Pixels | None = None
    jpeg: bytes = b""

    def near(self, other: _Seen, seconds: float) -> bool:
        return other.second <= self.until + seconds and self.second <= other.until + seconds


class Packer:
    """Keeps small pictures of one item while it is decoded.

    Attributes:
        side: the longer side of pictures at most, in pixels.
    """

    side = PACK_SIDE

    def __init__(self) -> None:
        self._kept: list[_Seen] = []
        self._seen: list[_Seen] = []
        self._decided = 0
        self._taken = 0
        self._around = AROUND
        self._tile: npt.NDArray[np.int16] | None = None
        self._value = 0.0

    def wants(self, tile: Pixels, second: float, alone: bool = False) -> bool:
        """Return whether to `take` the frame that has this tile, at a time in seconds: it is not as the last one."""
        levels = tile.astype(np.int16)
        if not alone and self._tile is not None and int(np.abs(levels - self._tile).max()) <= _STILL:
            self._seen[-1].until = second
            return False
        quarter = len(tile) // 4  # captions and borders seldom reach beyond
        self._tile = levels
        self._value = -math.inf if alone else float(tile[quarter:-quarter, quarter:-quarter].mean())
        return True

    def take(self, rgb: Pixels, second: float = 0.0) -> None:
        """Take the next picture: uint8 (h, w, 3), upright, of any size, at a time in seconds."""
        self._taken += 1
        self._seen.append(_Seen(second, second, self._value, fit(rgb, self.side)))
        self._decide(second)

    def packed(self, width: int, height: int, thumbnail: bytes = b"") -> bytes:
        """Return the pack of an item of this size, b"" where no picture was taken; nothing may be taken afterwards.

        Args:
            thumbnail: of an image, a JPEG whose longer side is at most `side`, too: where one picture was taken this is
                stored, unless it is too large, and the picture need not be encoded twice.
        """
        if self._taken == 1 and len(thumbnail) <= MOST_BYTES:
            self._seen[0].jpeg = thumbnail
        self._decide(math.inf)
        frames = tuple(PackFrame(one.second, one.until, one.jpeg) for one in self._kept)
        return encode(Pack(width, height, frames)) if frames else b""

    def _decide(self, now: float) -> None:
        """Decide on frames of which all that is around them was seen."""
        while self._decided < len(self._seen) and self._seen[self._decided].until + AROUND < now:
            one = self._seen[self._decided]
            if _tells(one, self._seen, AROUND):
                assert one.picture is not None
                one.jpeg = one.jpeg or _to_jpeg(one.picture)
                self._kept.append(one)
            one.picture = None
            self._decided += 1
        past = next((n for n, one in enumerate(self._seen) if one.until + 2 * AROUND >= now), len(self._seen) - 1)
        if 0 < past <= self._decided and now < math.inf:
            del self._seen[:past]
            self._decided -= past
        while len(self._kept) > MOST_FRAMES:
            self._around *= 2
            self._kept = [one for one in self._kept if _tells(one, self._kept, self._around)]


def _tells(one: _Seen, others: Sequence[_Seen], around: float) -> bool:
    """Return whether a frame is darker than those around it, of equal ones the first; or stands still."""
    if one.until - one.second >= 2 * around or (one.value == -math.inf and around == AROUND):
        return True
    near = [other for other in others if other is not one and other.near(one, around)]
    return all(one.value < other.value or (one.value == other.value and one.second < other.second) for other in near)


def _to_jpeg(rgb: Pixels) -> bytes:
    for quality in _QUALITIES:
        jpeg: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), quality, "RGB", "420")
        if len(jpeg) <= MOST_BYTES:
            return jpeg
    return _to_jpeg(fit(rgb, max(rgb.shape[:2]) * 3 // 4))


LIVE_SECONDS, LIVE_SLOTS = 0.5, 256
"""Of a live video one frame is stored for each so many seconds, the newest that many: 128 s, and 2.5 MB at most."""


def live_slot(second: float) -> str:
    """Return the version under which the pack of a live video's frame is stored: it takes the place of an old one."""
    return f"live-{int(second // LIVE_SECONDS) % LIVE_SLOTS}"


def live_frame(pack: bytes, second: float) -> bytes:
    """Return the pack of one picture as that of a live video's frame, at this time in seconds."""
    read = read_pack(pack)
    frames = tuple(PackFrame(second, second, frame.jpeg) for frame in read.frames)
    return encode(Pack(read.width, read.height, frames))


def live_seconds(reference: Pack, moments: Sequence[tuple[float, float]]) -> list[float]:
    """Return the seconds of a live video at which frames are needed to compare it with a reference, about in order.

    Args:
        moments: as of `moments_at`, with the live video as the query.
    """
    if len(reference.frames) == 1:
        return [own for own, _ in moments]
    speed = _speed(sorted(moments))
    wanted = []
    for frame in reference.frames:
        own, other = min(moments, key=lambda moment, frame=frame: frame.misses(moment[1]))  # type: ignore[misc]
        if (missed := frame.misses(other)) <= _REACH:
            shown = min(max(other, frame.second), frame.until)
            wanted.append((missed, own + (shown - other) / speed))
    return [second for _, second in sorted(wanted)[:MOST_MOMENTS]]


def moments_at(
    query: Pack, reference: Pack, moments: Sequence[tuple[float, float]]
) -> tuple[tuple[float, float], ...] | None:
    """Return at which seconds both packs have frames of the same moments, the most accurate ones, in order of time.

    Args:
        moments: seconds that were asked for; none of two images.
    Returns:
        (), where the two have one picture each; None where they have no frames of one moment.
    """
    if not moments:
        return ()
    known = sorted(moments)
    speed = _speed(known)
    found: dict[tuple[float, float], float] = {}
    for frame in query.frames:
        own, other = min(known, key=lambda moment, frame=frame: frame.misses(moment[0]))  # type: ignore[misc]
        if frame.misses(own) > _REACH:
            continue
        second = min(max(own, frame.second), frame.until)
        wanted = other + speed * (second - own) if len(query.frames) > 1 else other
        if (there := reference.near(wanted)) is not None:
            found[frame.second, there.second] = there.misses(wanted)
    best = sorted(found, key=lambda pair: found[pair])[:MOST_MOMENTS]
    return tuple(sorted(best)) or None


def _speed(moments: Sequence[tuple[float, float]]) -> float:
    """Return how many seconds of the reference pass in one of the query; 1 where that cannot be said."""
    (first, start), (last, end) = moments[0], moments[-1]
    speed = (end - start) / (last - first) if last - first >= 1 else 1.0
    return speed if _SPEEDS[0] <= abs(speed) <= _SPEEDS[1] else 1.0


def owner_of(bank: str, id: str) -> tuple[str, str]:
    """Return whose pack it is, as `Blobs` wants it: bank, "" of an upload, and id."""
    return "" if bank == SEEN else bank, id


def key_of(bank: str, id: str, sha256: bytes) -> str:
    """Return the name under which `PackPictures` knows a version of an item."""
    return f"{sha256.hex()} {bank} {id}"


@dataclass
class PackPictures:
    """Answers `prover.Pictures` from packs, by `key_of`; an image at a larger side from its original, if it is stored.

    Not for several threads at once.

    Attributes:
        limits: what reading an original may ask for; None reads none. kept_bytes: of packs in memory.
    """

    blobs: Blobs
    limits: Limits | None = None
    rules: Rules = field(default_factory=lambda: Rules((), private=False))
    kept_bytes: int = 32 * 2**20
    _packs: OrderedDict[str, tuple[Pack, int]] = field(default_factory=OrderedDict)
    _held: int = 0
    _live: tuple[str, Pack | None] = ("", None)

    def pack(self, item: str) -> Pack | None:
        """Return what is stored of an item, None where there is nothing that can be read.

        Raises:
            DependencyError: the blob store does not answer.
        """
        if item == self._live[0]:
            return self._live[1]
        if item in self._packs:
            self._packs.move_to_end(item)
            return self._packs[item][0]
        digest, bank, id = item.split(" ", 2)
        data = self.blobs.pack(*owner_of(bank, id), digest)
        if data is None and bank != SEEN:  # it was added from an upload
            data = self.blobs.pack("", id, digest)
        try:
            pack = None if data is None else read_pack(data)
        except msgspec.MsgspecError:
            return None
        if pack is not None and data is not None:
            self._packs[item] = pack, len(data)
            self._held += len(data)
            while self._held > self.kept_bytes and len(self._packs) > 1:
                self._held -= self._packs.popitem(last=False)[1][1]
        return pack

    def live_pack(self, item: str, seconds: Sequence[float]) -> Pack | None:
        """Return the frames that are stored of a live video near these times, None where there are none.

        It stands for the item until another is asked for. Raises DependencyError as `pack` does.
        """
        _, bank, id = item.split(" ", 2)
        slots = {live_slot(second + LIVE_SECONDS * step) for second in seconds for step in (-1, 0, 1)}
        frames, found = list[PackFrame](), None
        for slot in sorted(slots):
            data = self.blobs.pack(*owner_of(bank, id), slot)
            try:
                found = read_pack(data) if data is not None else found
            except msgspec.MsgspecError:
                continue
            frames += found.frames if found is not None and data is not None else ()
        nearest = {min(frames, key=lambda frame: frame.misses(second)) for second in seconds if frames}
        near = [frame for frame in nearest if min(map(frame.misses, seconds)) <= 2 * LIVE_SECONDS]
        pack = None
        if found is not None and near:
            pack = Pack(found.width, found.height, tuple(sorted(near, key=lambda frame: frame.second)))
        self._live = item, pack
        return pack

    def __call__(self, item: str, second: float, side: int) -> Picture | None:
        """Return a picture of an item; see `prover.Pictures`."""
        pack = self.pack(item)
        if pack is None or pack.near(second) is None:
            return None
        return self._larger(item, pack, side) if pack.is_small_for(side) else pack.picture(second)

    def _larger(self, item: str, pack: Pack, side: int) -> Picture | None:
        """Return an image from its original."""
        if self.limits is None or len(pack.frames) > 1:
            return None
        from neardup.pipeline.media.reader import frame_at  # and with it every decoder

        digest, _, id = item.split(" ", 2)
        sha256 = bytes.fromhex(digest)
        try:
            if (uri := self.blobs.original(id, sha256)) is None:
                return None
            if self.blobs.local:
                pixels = frame_at(Path(unquote(urlsplit(uri).path)), 0.0, side, self.limits)
            else:
                with fetch(uri, sha256, self.rules) as fetched:
                    pixels = frame_at(fetched.source, 0.0, side, self.limits)
        except (InvalidFrame, DependencyError):
            return None
        return Picture(pixels, _scale(pixels, pack))


def _scale(pixels: Pixels, pack: Pack) -> float:
    longest = max(pack.width, pack.height)
    return min(1.0, max(pixels.shape[:2]) / longest) if longest else 1.0
