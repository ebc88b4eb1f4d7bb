"""What a scan found: the one structure behind report.html, duplicates.json and duplicates.csv."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from neardup.pipeline.log.records import Comparison
from neardup.pipeline.types import PLAIN, Decision, Extras, Kind

Digest: TypeAlias = bytes


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A scanned file.

    Attributes:
        id: number of the file in this report; stable while the file is not changed.
        path: as given by the user, joined with what was found below; bytes that are not UTF-8 as surrogate escapes.
        width, height: pixels, upright. seconds: duration of a video, 0 for an image.
        bytes: size of the file. modified: Unix seconds.
        extras: what it holds beyond what was compared.
        sha256: of the file. pixels_digest: see `types.Media`. Both b"" where they are not known.
        companions: paths of what belongs together with it: the RAW of a JPEG, the film of a Live Photo, sidecars.
    """

    id: int
    path: str
    kind: Kind
    format: str
    width: int
    height: int
    seconds: float
    bytes: int
    modified: float
    extras: Extras = PLAIN
    sha256: Digest = b""
    pixels_digest: Digest = b""
    companions: tuple[str, ...] = ()


class Match(Comparison, frozen=True, kw_only=True):
    """A file that copies the original of its group, the reference.

    Attributes:
        file: the copy, the query.
        identical_to: path of another copy that it is identical to; "" if there is none, or it is so to the original.
    """

    file: File
    identical_to: str = ""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """An original, the earliest file, and everything that copies it, most probable first."""

    original: File
    matches: tuple[Match, ...]


class Variant(Comparison, frozen=True, kw_only=True):
    """A file that shows the template or scene of another one, the reference, with other content."""

    file: File
    reference: File


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """Files of one template or scene, each with content of its own: receipts of one shop, shots of a burst.

    Attributes:
        files: the earliest first; a copy of one of them stands in its group alone.
        matches: the fewest that join them all, so one less than files; between the most alike, by the place of `file`.
    """

    files: tuple[File, ...]
    matches: tuple[Variant, ...]


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """A file that could not be used, or not in full; `reason` is one of `errors.Reason`."""

    path: str
    reason: str
    detail: str


class ScanResult(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a report shows.

    Attributes:
        roots: the paths that were scanned.
        groups: largest first.
        images, videos: files compared. skipped: files put aside.
        stacks: variants, largest first; they are no copies and count as none.
        partial: files that are cut off, and were compared by what is there of them.
        unchanged: files whose descriptors came from the index folder or the archive. embedded: those of this run.
        archive: folder or URL where all files were described before; "" of a scan.
        seconds: how long the scan took. created: Unix seconds.
        model: name of the checkpoint. space: its id. precision: the wanted precision of `duplicate`.
    """

    roots: tuple[str, ...]
    groups: tuple[Group, ...]
    skipped: tuple[Skipped, ...]
    images: int
    videos: int
    unchanged: int
    embedded: int = 0
    seconds: float
    created: float
    version: str
    model: str
    space: str
    precision: float
    partial: tuple[Skipped, ...] = ()
    stacks: tuple[Stack, ...] = ()
    archive: str = ""

    @property
    def compared(self) -> str:
        """How many files of each kind were compared, in words; a kind without files is left out."""
        counts = {"image": self.images, "video": self.videos}
        words = [f"{count:,} {kind}{'' if count == 1 else 's'}" for kind, count in counts.items() if count]
        return " and ".join(words) or "no files"

    @property
    def copies(self) -> set[int]:
        """Ids of the files that copy another; one that copies parts of several is still one file."""
        return {match.file.id for group in self.groups for match in group.matches}

    @property
    def duplicates(self) -> set[int]:
        """Ids of those copies that are sure."""
        return {
            match.file.id for group in self.groups for match in group.matches if match.decision is Decision.DUPLICATE
        }


def describe_extras(extras: Extras) -> str:
    """Return what a file holds beyond the picture as words, "" for nothing, such as `film 3-pages 16-bit`."""
    words = [attachment.value for attachment in extras.attachments]
    words += [f"{extras.pages}-pages"] if extras.pages > 1 else []
    words += [f"{extras.bits}-bit"] if extras.bits != 8 else []
    words += ["grey"] if extras.grey else []
    words += ["raw"] if extras.raw else []
    words += [] if extras.complete else ["incomplete"]
    return " ".join(words)
