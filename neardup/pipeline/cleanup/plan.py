"""What a plan says: which files could go, for the sake of which others, and why every other one stays.

A plan is a proposal. Nothing here, and nothing that writes it, touches a file of the user's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from neardup.pipeline.types import Exact

QUARANTINE = "neardup-quarantine"
"""Name of the folder beside the script that takes what is moved. A scan that comes across it leaves it out."""


class Keep(str, Enum):
    """Which file of several stays."""

    BEST = "best"
    """The one that holds most and was changed least: more content, not upscaled, not blurred or more compressed, more
    pixels, richer metadata, older."""
    LARGEST = "largest"
    """Most pixels among the files that have the original's shape, then most seconds."""
    OLDEST = "oldest"
    """Earliest modification time."""
    NEWEST = "newest"
    """Latest modification time."""
    SHORTEST = "shortest"
    """Shortest path."""


class Include(str, Enum):
    """What may be listed."""

    EXACT = "exact"
    """Files whose bytes, or whose whole content, another file has, too."""
    DUPLICATE = "duplicate"
    """Besides, copies as a whole that differ: resized, compressed anew, in another format."""


class Action(str, Enum):
    """What the script does with a file that is listed."""

    QUARANTINE = "quarantine"
    """Move it into a folder beside the script, from where `undo.sh` brings it back."""
    TRASH = "trash"
    """Move it into the desktop's trash."""
    HARDLINK = "hardlink"
    """Put a hard link to the kept file in its place."""
    REFLINK = "reflink"
    """Put a copy that shares the kept file's blocks in its place, where the file system can."""
    DELETE = "delete"
    """Remove it."""

    @property
    def needs_bytes(self) -> bool:
        """Whether the name goes on, so that only the same bytes may stand there."""
        return self in (Action.HARDLINK, Action.REFLINK)


class Why(str, Enum):
    """Why a file stays. First what speaks for it, then what speaks against letting it go."""

    COMPLETE = "complete"
    CONTENT = "content"
    COMPANIONS = "companions"
    RESOLUTION = "resolution"
    NOT_UPSCALED = "not-upscaled"
    QUALITY = "quality"
    PIXELS = "pixels"
    SECONDS = "seconds"
    METADATA = "metadata"
    OLDER = "older"
    NEWER = "newer"
    SHORTER_PATH = "shorter-path"
    FIRST = "first"

    RAW = "raw"
    INCOMPLETE = "incomplete"
    RICHER = "richer"
    KEPT_TOGETHER = "kept-together"
    DIFFERS = "differs"
    DEEP = "deep"
    SHAPE = "shape"
    NO_PROOF = "no-proof"
    SHOWS_MORE = "shows-more"
    LOOKS_DIFFERENT = "looks-different"
    LENGTH = "length"
    NOT_COMPARED = "not-compared"
    VARIANT = "variant"
    UNSURE = "unsure"
    PART = "part"
    BYTES_NEEDED = "bytes-needed"
    KEPT_ELSEWHERE = "kept-elsewhere"
    SAME_FILE = "same-file"
    LINK = "link"
    CHANGED = "changed"
    UNPROVEN = "unproven"


WORDS = {
    Why.COMPLETE: "whole, where others are cut off",
    Why.CONTENT: "holds more: pages, layers, depth of colour or sound",
    Why.COMPANIONS: "has files that belong together with it",
    Why.RESOLUTION: "shows finer detail",
    Why.NOT_UPSCALED: "not enlarged or blurred",
    Why.QUALITY: "compressed less",
    Why.PIXELS: "has more pixels",
    Why.SECONDS: "is longer",
    Why.METADATA: "has richer metadata",
    Why.OLDER: "the oldest",
    Why.NEWER: "the newest",
    Why.SHORTER_PATH: "has the shortest path",
    Why.FIRST: "the first of equals",
    Why.RAW: "RAW: never listed, and no substitute for a developed picture",
    Why.INCOMPLETE: "one of the two is cut off",
    Why.RICHER: "holds something that the other lacks",
    Why.KEPT_TOGETHER: "belongs together with other files",
    Why.DIFFERS: "no other file is identical to it",
    Why.DEEP: "deeper than 8 bits, and not the same values",
    Why.SHAPE: "has another shape: a crop, a border or a screenshot",
    Why.NO_PROOF: "no proof that it shows the same",
    Why.SHOWS_MORE: "shows, or may show, something that the other lacks, as proofs say",
    Why.LOOKS_DIFFERENT: "looks different in places: a caption, other text, brightness, a mirror image",
    Why.LENGTH: "has another length",
    Why.NOT_COMPARED: "was not compared with the one that stays",
    Why.VARIANT: "the same template or scene, and other content",
    Why.UNSURE: "not sure to be a copy",
    Why.PART: "matches only in part",
    Why.BYTES_NEEDED: "not the same bytes, which a link needs",
    Why.KEPT_ELSEWHERE: "stays in place of another file",
    Why.SAME_FILE: "the same file by another name",
    Why.LINK: "a symbolic link",
    Why.CHANGED: "changed or gone since it was scanned",
    Why.UNPROVEN: "could not be looked at closely",
}
"""The reasons as a person reads them, after the file's name."""


class Differs(str, Enum):
    """What of a listed file is not as in the one that stays."""

    FORMAT = "format"
    PIXELS = "pixels"
    QUALITY = "quality"
    COLOUR = "colour"
    SHARPNESS = "sharpness"
    CONTENT = "content"
    METADATA = "metadata"
    SECONDS = "seconds"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which a listed file differs, with the values of it and of the kept file as a person reads them."""

    what: Differs
    gone: str
    kept: str


@dataclass(frozen=True, slots=True)
class Place:
    """A regular file as it is on the disk.

    Attributes:
        path: absolute, as bytes.
        size: bytes. modified_ns: nanoseconds since 1970.
        device, inode: what it is, whatever it is called.
    """

    path: bytes
    size: int
    modified_ns: int
    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class Move:
    """A file that could go because `kept` stays.

    Attributes:
        exact: NO is a copy that differs.
        differences: empty where the bytes are the same.
    """

    gone: Place
    kept: Place
    exact: Exact
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True)
class Note:
    """What the plan says of a file: `goes`, or why it stays."""

    goes: bool
    why: Why | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What a plan is asked for."""

    keep: Keep = Keep.BEST
    include: Include = Include.EXACT
    action: Action = Action.QUARANTINE


@dataclass(slots=True)
class Plan:
    """A plan.

    Attributes:
        steps: each a file, or files that belong together and go together or not at all.
        notes: of every file in the groups, by its id in the report.
    """

    options: Options = field(default_factory=Options)
    steps: list[tuple[Move, ...]] = field(default_factory=list)
    notes: dict[int, Note] = field(default_factory=dict)

    @property
    def moves(self) -> list[Move]:
        """All files that could go."""
        return [move for step in self.steps for move in step]
