"""What belongs together: a RAW and its JPEG, the still and the film of a Live Photo, a picture and its sidecars.

Cameras, phones and photo managers say so by the name alone: the same folder and the same stem, whatever the case of its
letters. Two pictures of one stem (`a.png`, `a.jpg`) are copies of each other and no companions, nor are two films.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from enum import Enum

import msgspec

from neardup.pipeline.report.result import File, Group, ScanResult, Stack


class Role(Enum):
    """What a file is to those that it belongs with."""

    STILL = "still"
    FILM = "film"
    RAW = "raw"
    SIDECAR = "sidecar"


_ROLES = {
    extension: role
    for role, extensions in {
        Role.STILL: "jpg jpeg jpe jfif heic heif hif avif png webp tif tiff gif bmp jxl jp2 mpo",
        Role.FILM: "mov mp4 m4v mp avi mkv webm 3gp mts m2ts ts mpg mpeg",
        Role.RAW: "3fr ari arw cr2 cr3 crw dcr dng erf fff gpr iiq k25 kdc mef mos mrw nef nrw orf pef raf raw rw2 rwl "
        "sr2 srf srw x3f",
        Role.SIDECAR: "aae acr ass cos dop exif exv gpx idx json lrv mie nfo on1 pp3 srt sub thm txt vrd vtt wav xmp "
        "yaml",
    }.items()
    for extension in extensions.split()
}
_EDITED = re.compile(r"^(img_)[eo](?=\d)")
"""A phone calls the edited IMG_0001 IMG_E0001, and the note of its edits IMG_O0001 or IMG_E0001."""
_NUMBERED = re.compile(r"^(.*?)(\.[^.]+)(?:\.[^.()]+)*\((\d+)\)$")
"""Google Takeout describes `a(1).jpg` in `a.jpg(1).json`."""


def role_of(name: str) -> Role | None:
    """Return what a file is by its name; None for what is nobody's companion."""
    return _ROLES.get(name.rpartition(".")[2].lower()) if "." in name else None


def is_edited_version(a: str, b: str) -> bool:
    """Return whether one of two files is an edited version of the other, by their names: IMG_0001 and IMG_E0001."""
    (folder_a, name_a), (folder_b, name_b) = os.path.split(a.lower()), os.path.split(b.lower())
    stems = {name.rpartition(".")[0] or name for name in (name_a, name_b)}
    return folder_a == folder_b and len(stems) == 2 and _stem(name_a) == _stem(name_b)


def _stem(name: str) -> str:
    stem = _EDITED.sub(r"\1", name.rpartition(".")[0] or name)
    return stem.removesuffix("-edited").removesuffix(".mp")


class Folder:
    """The names in a folder, gathered by what belongs together."""

    def __init__(self, names: Iterable[str]) -> None:
        self._bundles: dict[str, list[str]] = defaultdict(list)
        self._media: dict[str, str] = {}
        self._owner: dict[str, str] = {}
        sidecars = []
        for name in names:
            role = role_of(name)
            if role is Role.SIDECAR:
                sidecars.append(name)
            elif role is not None:
                self._bundles[_stem(name.lower())].append(name)
                self._media[name.lower()] = name
        for name in sidecars:
            self._add(name)

    def _add(self, name: str) -> None:
        """Give a sidecar to the medium that it names in full, or to those whose stem it has."""
        stem = name.lower().rpartition(".")[0]
        numbered = _NUMBERED.match(stem)
        candidates = [f"{numbered[1]}({numbered[3]}){numbered[2]}"] if numbered else []
        while stem:
            candidates.append(stem)
            stem = stem.rpartition(".")[0]
        for candidate in candidates:
            if owner := self._media.get(candidate):
                self._owner[name] = owner
                self._bundles[_stem(owner.lower())].append(name)
                return
            bundle = _stem(f"{candidate}.")
            if bundle in self._bundles:
                self._bundles[bundle].append(name)
                return

    def companions(self, name: str) -> list[str]:
        """Return the names of what belongs together with a medium."""
        role = role_of(name) or Role.STILL  # a picture is one without a name that says so
        others = [one for one in self._bundles.get(_stem(name.lower()), ()) if one != name]
        return [one for one in others if self._belongs(name, role, one)]

    def _belongs(self, name: str, role: Role, other: str) -> bool:
        owner = self._owner.get(other)
        if owner is not None and owner != name and role_of(owner) is role:
            return False  # the sidecar of the PNG beside this JPEG
        return role_of(other) is not role or role is Role.RAW


def with_companions(result: ScanResult) -> ScanResult:
    """Return the result with the companions of all files in groups and stacks, by what lies in their folders now."""
    folders: dict[str, Folder] = {}
    found: dict[int, File] = {}

    def complete(file: File) -> File:
        if file.id not in found:
            parent, name = os.path.split(file.path)
            if parent not in folders:
                folders[parent] = Folder(_names(parent))
            companions = tuple(os.path.join(parent, one) for one in folders[parent].companions(name))  # noqa: PTH118
            found[file.id] = msgspec.structs.replace(file, companions=companions)
        return found[file.id]

    groups = tuple(
        Group(
            original=complete(group.original),
            matches=tuple(msgspec.structs.replace(match, file=complete(match.file)) for match in group.matches),
        )
        for group in result.groups
    )
    stacks = tuple(
        Stack(
            files=tuple(map(complete, stack.files)),
            matches=tuple(
                msgspec.structs.replace(match, file=complete(match.file), reference=complete(match.reference))
                for match in stack.matches
            ),
        )
        for stack in result.stacks
    )
    return msgspec.structs.replace(result, groups=groups, stacks=stacks)


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder or "."))  # noqa: PTH208 (names that are no text)
    except OSError:
        return []  # it went away since
