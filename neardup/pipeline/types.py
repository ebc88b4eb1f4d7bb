"""The values that flow from stage to stage. Start reading here, then `match/decide.py`.

A *tile* is what the network sees: the whole picture squeezed to a square of `size` pixels, aspect ratio not kept, so
that nothing is cropped away and a batch is one array. An *item* is an image or a video: n ≥ 1 frames, each with one
descriptor or more (one per region).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

RegionMode: TypeAlias = Literal["none", "boxes", "grid"]
"""Which parts of an image are compared, too: none, pictures within it, or fixed ones."""
Pixels: TypeAlias = npt.NDArray[np.uint8]
"""RGB, 0 to 255: (h, w, 3) for one picture, (n, size, size, 3) for a batch of tiles."""
Descriptors: TypeAlias = npt.NDArray[np.float32]
"""(n, d), rows of unit length."""
Hashes: TypeAlias = npt.NDArray[np.uint8]
"""(n, 32): the 256 bits of the DCT hash, packed."""
Ids: TypeAlias = npt.NDArray[np.int64]
"""(n,) row ids."""
Boxes: TypeAlias = npt.NDArray[np.uint16]
"""(n, 4): left, top, right and bottom of parts of pictures, in 65535ths."""
Box: TypeAlias = tuple[float, float, float, float]
"""A part of a picture: left, top, right and bottom as shares, 0 to 1, of the upright picture's width and height."""


class Kind(str, Enum):
    """What an item is. A picture that moves is a video, and so is a file of several pages, a page each second."""

    IMAGE = "image"
    VIDEO = "video"


class Decision(str, Enum):
    """What is said of an item against a reference."""

    DUPLICATE = "duplicate"
    UNSURE = "unsure"
    DISTINCT = "distinct"


class Exact(str, Enum):
    """How literally two items are the same, beyond the learned distance."""

    BYTES = "bytes"
    """The files are identical."""
    PIXELS = "pixels"
    """The decoded pictures are identical; the files differ, in metadata for instance."""
    NO = ""


class Doubt(str, Enum):
    """Why a match is `unsure` at most, whatever its pictures say."""

    NO = ""
    OTHER_SOUND = "other-sound"
    """Both can be heard, and sound differs."""
    NO_SOUND = "no-sound"
    """One can be heard, the other is silent."""
    DARK_GROUND = "dark-ground"
    """One is transparent and cannot be seen on white: its few pale lines are compared, of which too little is known."""
    STRETCHED = "stretched"
    """One holds measurements or labels, not a photograph, and the other is not close enough to be the same."""
    UNPROVED = "unproved"
    """Nobody proved it in time."""


class Attachment(str, Enum):
    """What a file may hold beside the picture that is compared."""

    ALPHA = "alpha"
    """Transparency: some pixel is not opaque."""
    GAIN_MAP = "gain-map"
    """A second picture that widens the range of brightness (Ultra HDR, HDR gain map)."""
    FILM = "film"
    """A short video behind a still (motion photo)."""
    VIEWS = "views"
    """Further pictures of the scene: an MPO's second view, depth and portrait mattes."""
    SOUND = "sound"
    """A video's sound, if it can be heard."""


class Extras(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a file holds beyond the picture or film that is compared; the richer of two copies has more of it.

    Attributes:
        attachments: each kind once, in the order of `Attachment`.
        pages: pictures of equal rank in the file, of which an image shows the first: pages of a TIFF, pictures of a
            HEIC; 1 for a video.
        bits: per channel, 8 for most.
        grey: no colour in any pixel.
        raw: sensor data (DNG, NEF, CR2 …) of which an embedded preview is compared.
        complete: the whole file was decoded; False for a truncated one, which is compared by what it has.
        dark_ground: transparent, and not seen on white, as pages have it; compared on a darker ground.
        stretched: of more than 8 bits and using little of their range (labels, depth, slices of a scan); compared as
            stretched to the whole range.
        sound: digest of a video's sound, see `media.sound`; b"" where nothing is known of it: it could not be decoded,
            or the record is of a time before digests. That a video has no sound, or an inaudible one, is known.
    """

    attachments: tuple[Attachment, ...] = ()
    pages: int = 1
    bits: int = 8
    grey: bool = False
    raw: bool = False
    complete: bool = True
    dark_ground: bool = False
    stretched: bool = False
    sound: bytes = b""


PLAIN = Extras()
"""A single opaque picture of 8 bits per channel, or a film of whose sound nothing is known."""


def doubt_of(extras: Extras) -> Doubt:
    """Return the doubt that a picture's own nature raises."""
    return Doubt.DARK_GROUND if extras.dark_ground else Doubt.STRETCHED if extras.stretched else Doubt.NO


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture, ready for the network.

    Attributes:
        pts: seconds from the start of the item; 0.0 for an image.
        tile: uint8 (size, size, 3), RGB, upright.
        box: the part of the picture that the tile shows; None is all of it.
    """

    pts: float
    tile: Pixels
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class Media:
    """An opened image or video.

    Attributes:
        kind: an image has one frame, and one more for each region in it that looks like a picture of its own.
        format: short lower-case name of the container or image format ("jpeg", "mp4", "gif").
        width, height: pixels of the upright picture as a person sees it (after EXIF orientation and rotation flag).
        seconds: duration of a video as far as the container knows it, else 0.0; always 0.0 for an image.
        pixels_digest: 16 bytes, equal for two images only if they hold the same, see `media/digest.py`: all pixels at
            full depth with alpha, upright, and all that hangs on them; b"" where that is not known, and for a video.
        frames: yields each frame once, in order of pts, lazily: memory does not grow with length. Raises InvalidFrame
            where the content breaks.
        extras: what else the file holds, as far as that is known before its frames.
        late_extras: returns `extras` with what is known once all frames were yielded, the sound of a video; None if
            that adds nothing.
    """

    kind: Kind
    format: str
    width: int
    height: int
    seconds: float
    pixels_digest: bytes
    frames: Iterator[Frame]
    extras: Extras = PLAIN
    late_extras: Callable[[], Extras] | None = None

    def all_extras(self) -> Extras:
        """Return what else the file holds; to be asked when all frames were yielded."""
        return self.extras if self.late_extras is None else self.late_extras()


@dataclass(frozen=True, slots=True)
class Embedded:
    """What the network and the hash say of n tiles.

    Attributes:
        vectors: float32 (n, d), unit rows.
        hashes: uint8 (n, 32), 256 packed bits each.
        detail: uint8 (n,), 0 (a blank page) to 100: how much there is to recognise.
        similar: float32 (n, s), unit rows of the similar head; None without one.
    """

    vectors: Descriptors
    hashes: Hashes
    detail: npt.NDArray[np.uint8]
    similar: Descriptors | None = None


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The k nearest references of n queries, nearest first.

    Attributes:
        ids: int64 (n, k); -1 where there are fewer than k references.
        distances: float32 (n, k), squared Euclidean distance of unit vectors, 0 (same) to 4 (opposite); inf where the
            id is -1.
    """

    ids: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Limits:
    """What an item may ask of us: what it announces is checked before the work, what it costs while it is decoded.

    Attributes:
        max_bytes: size of an image file (videos are streamed; for them see max_video_bytes).
        max_pixels: width × height of an image or of one video frame.
        max_seconds: duration of a video.
        max_frames: sampled frames per video, pages per file.
        max_decode_seconds: seconds that decoding may keep a processor busy.
        max_decode_ratio: further such seconds for each second of a film; a frame counts for 1/25 s at most.
        max_video_pixels: width × height of all frames of a video that are decoded.
        max_video_memory_bytes: memory for the frames that the decoder of a video keeps, estimated from its header.
        max_picture_memory_bytes: memory that decoding one picture takes at its peak, as its header, the format and what
            was measured of its decoder say: 9 bytes a pixel of a HEIC, 11 of an AVIF, 17 of a WebP, 4 of a PNG or TIFF
            of 8 bits. A plain JPEG is decoded at a reduced scale and takes little.
        decode_setting: the setting that max_decode_seconds comes from, for people.
    """

    max_bytes: int = 256 * 2**20
    max_video_bytes: int = 64 * 2**30
    max_pixels: int = 200_000_000
    max_seconds: float = 6 * 3600.0
    max_frames: int = 50_000
    max_decode_seconds: float = 60.0
    max_decode_ratio: float = 0.5
    max_video_pixels: int = 10**13
    max_video_memory_bytes: int = 4 * 2**30
    max_picture_memory_bytes: int = 2**30
    decode_setting: str = "max_decode_seconds"


SAME_SPEED, END_SECONDS = 0.07, 0.6
"""Share of a stretch, and seconds, by which both sides of it may differ at one speed."""


class Span(msgspec.Struct, frozen=True, omit_defaults=True):
    """A matched stretch of two items, in seconds; 0 to 0 on the side that is an image.

    Attributes:
        backwards: the query shows the stretch from its end to its beginning.
    """

    query_start: float
    query_end: float
    reference_start: float
    reference_end: float
    evidence: float = 0.0
    backwards: bool = False

    @property
    def speed(self) -> float:
        """Seconds of the reference in a second of the query; 1 where they differ by no more than ends are unsure by."""
        query, reference = self.query_end - self.query_start, self.reference_end - self.reference_start
        if min(query, reference) <= 0 or abs(reference - query) <= max(SAME_SPEED * query, END_SECONDS):
            return 1.0
        return reference / query
