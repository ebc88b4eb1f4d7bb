"""A snapshot: a folder with `manifest.json` and the data folder that it names, with the checksum of every file.

The manifest is replaced in one step after everything that it names is on the disk, and only then the former data is
deleted: at any moment the folder holds one whole snapshot, the old or the new.
"""

from __future__ import annotations

import os
import secrets
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from neardup.pipeline.errors import ConfigError, SpaceError
from neardup.pipeline.files import BESIDE, fsync_file, fsync_folder, naming, write_whole

MANIFEST = "manifest.json"
_DATA = "data-"
_FORMAT = "neardup-index-1"
_CHUNK_BYTES = 1 << 22


class _File(msgspec.Struct, frozen=True):
    bytes: int
    crc32: int


class _Manifest(msgspec.Struct, frozen=True):
    format: str
    dimension: int
    space: str
    data: str
    files: dict[str, _File]


def write_snapshot(folder: Path, dimension: int, space: str, fill: Callable[[Path], object]) -> None:
    """Write a snapshot in place of the one that the folder holds, if any.

    Args:
        fill: writes the files into the folder that it is given; it need not fsync.
    Raises:
        DependencyError: the disk is full or failed; the former snapshot still stands.
    """
    data = folder / (_DATA + secrets.token_hex(8))
    with naming(folder, "write a snapshot"):
        data.mkdir(parents=True)
        try:
            fill(data)
            paths = sorted(path for path in data.rglob("*") if path.is_file())
            for path in paths:
                fsync_file(path)
            for place in {path.parent for path in paths} | {data, folder}:
                fsync_folder(place)
            files = {path.relative_to(data).as_posix(): _describe(path) for path in paths}
            manifest = _Manifest(_FORMAT, dimension, space, data.name, files)
            write_whole(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
        except BaseException:
            if not _names(folder / MANIFEST, data):  # the last step can fail once it has happened
                shutil.rmtree(data, ignore_errors=True)
            raise
    for unfinished in folder.glob(BESIDE):
        unfinished.unlink(missing_ok=True)
    for old in folder.glob(_DATA + "*"):
        if old != data:
            shutil.rmtree(old, ignore_errors=True)


def read_snapshot(folder: Path, dimension: int, space: str) -> Path:
    """Verify a snapshot and return the folder with its files.

    Raises:
        ConfigError: there is none, it is damaged, or of an unknown format.
        SpaceError: it is of another space or dimension.
    """
    path = folder / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=_Manifest)
    except FileNotFoundError:
        raise ConfigError(f"{folder}: holds no index snapshot") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{path}: cannot be read as the manifest of an index snapshot: {error}") from error
    if manifest.format != _FORMAT:
        raise ConfigError(f"{path}: format {manifest.format!r}, this program reads {_FORMAT!r}")
    if (manifest.dimension, manifest.space) != (dimension, space):
        raise SpaceError(
            f"{folder}: holds {manifest.dimension} dimensions of space {manifest.space!r}, "
            f"wanted {dimension} of {space!r}"
        )
    data = folder / Path(manifest.data).name
    for name, wanted in manifest.files.items():
        _verify(data / name, wanted)
    held = {path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file()}
    if held != set(manifest.files):
        raise ConfigError(f"{data}: files that the manifest does not name: {sorted(held - set(manifest.files))}")
    return data


def _names(path: Path, data: Path) -> bool:
    """Return whether a manifest names this data folder, or may do so where it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Manifest).data == data.name
    except FileNotFoundError:
        return False
    except (OSError, msgspec.MsgspecError):
        return True


def _verify(path: Path, wanted: _File) -> None:
    try:
        found = _describe(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; the snapshot is damaged") from error
    if found != wanted:
        raise ConfigError(f"{path}: does not fit its checksum; the snapshot is damaged")


def _describe(path: Path) -> _File:
    crc = 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            crc = zlib.crc32(chunk, crc)
        return _File(os.fstat(file.fileno()).st_size, crc)
