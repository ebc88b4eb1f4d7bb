"""What an archive is to hold: a listing, cut into parts, written once; each part becomes one shard.

A shard's name is a hash of its part and of the conditions. So the shards that are there say what is done, whoever wrote
them and whatever was interrupted, and no second list can disagree with them.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

import msgspec

from neardup.pipeline.archive.conditions import Conditions
from neardup.pipeline.archive.folder import Folder
from neardup.pipeline.archive.shard import shard_names
from neardup.pipeline.errors import ConfigError
from neardup.pipeline.report.names import readable

PLAN, PARTS = "plan.json", "plan"
"""The plan, which stands once all its parts do, and the folder of those."""
_DIGITS = 32
_PART_FILE = re.compile(rf"\d{{8,}}-[0-9a-f]{{{_DIGITS}}}")


def fitting(number: int | None) -> int | None:
    """Return a number, None where a column of 64 bits cannot hold it: a time after 2262, a size that is a lie."""
    return number if number is not None and -(2**63) <= number < 2**63 else None


class Entry(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What was listed: an item, or something else with the reason why it is no item; see `row.Row`.

    Attributes:
        path: bytes, as names need not be text.
        stamp: another text once the content is another.
        reason, detail: "" of an item.
    """

    id: str
    uri: str
    path: bytes
    size: int | None = None
    time_ns: int | None = None
    stamp: str = ""
    reason: str = ""
    detail: str = ""


class Files(msgspec.Struct, frozen=True, tag="files"):
    """Files, objects and URIs."""

    entries: tuple[Entry, ...]


class Tar(msgspec.Struct, frozen=True, tag="tar"):
    """The members of a tar file; the entry's id and path are what theirs begin with."""

    entry: Entry


class RowGroup(msgspec.Struct, frozen=True, tag="parquet"):
    """One group of rows of a Parquet file; the entry's id and path are what theirs begin with.

    Attributes:
        first: number in the file of the group's first row.
        content, ids, times: names of the columns with contents or URIs, ids and times; "" where there is none.
    """

    entry: Entry
    group: int
    first: int
    content: str
    ids: str = ""
    times: str = ""


Part: TypeAlias = Files | Tar | RowGroup


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided when the sources were listed.

    Attributes:
        sources: as the user named them, made absolute. columns: of Parquet files, as the user named them.
        parts: how many there are. items: how many are listed, without those in tar files.
    """

    sources: tuple[str, ...]
    conditions: Conditions
    parts: int
    items: int
    columns: tuple[str, ...] = ()


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Part).decode


def read_plan(folder: Folder) -> Plan | None:
    """Return the plan of an archive, None where there is none yet.

    Raises:
        ConfigError: it is damaged. DependencyError: it cannot be read.
    """
    data = folder.read(PLAN)
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=Plan)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{folder.url}/{PLAN} is no plan, or that of a later version: {error}") from error


def write_plan(
    folder: Folder,
    parts: Iterable[Part],
    sources: tuple[str, ...],
    conditions: Conditions,
    listed: Callable[[int], object],
    columns: tuple[str, ...] = (),
) -> Plan:
    """Write the parts, then the plan. An interrupted listing begins anew, since what it lists may have changed.

    Args:
        listed: called with numbers of further items.
    Raises:
        ConfigError: the folder of the parts holds something else. DependencyError: the archive cannot be written.
    """
    before = folder.names(PARTS)
    if (foreign := next((name for name in before if not _PART_FILE.fullmatch(name)), None)) is not None:
        raise ConfigError(
            f"{folder.url}/{PARTS} holds {readable(foreign)}, which is no part of a plan; name another output"
        )
    folder.remove(PARTS, before)
    folder.sweep(PARTS)
    count = items = 0
    with tempfile.TemporaryDirectory(prefix="neardup-") as scratch:
        file = Path(scratch) / "part"
        for part in parts:
            file.write_bytes(zlib.compress(_encode(part), 1))
            folder.put(f"{PARTS}/{count:08}-{name_of(part, conditions)}", file)
            count += 1
            more = len(part.entries) if isinstance(part, Files) else 1
            items += more
            listed(more)
        plan = Plan(sources=sources, conditions=conditions, parts=count, items=items, columns=columns)
        file.write_bytes(msgspec.json.format(msgspec.json.encode(plan)))
        folder.put(PLAN, file)
    return plan


def name_of(part: Part, conditions: Conditions) -> str:
    """Return the name of the shard that a part becomes."""
    return hashlib.sha256(_encode(part) + msgspec.json.encode(conditions)).hexdigest()[:_DIGITS]


def shard_of(part_file: str) -> str:
    """Return the name of the shard that a part becomes, by the name of its file."""
    return part_file.rpartition("-")[2]


def read_part(folder: Folder, part_file: str) -> Part:
    """Return a part; raises ConfigError where it is missing or damaged, DependencyError where it cannot be read."""
    data = folder.read(f"{PARTS}/{part_file}")
    try:
        part: Part = _decode(zlib.decompress(data or b""))
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ConfigError(f"{folder.url}/{PARTS}/{part_file} is no part of a plan, or is damaged: {error}") from error
    return part


def unfinished(folder: Folder) -> list[str]:
    """Return the files of the parts that have no shard, in the order of the listing; raises DependencyError."""
    there = set(shard_names(folder))
    return [file for file in folder.names(PARTS) if shard_of(file) not in there]


def finished(folder: Folder) -> tuple[Plan, list[str]]:
    """Return the plan of an archive and the names of its shards, in the order of the listing.

    Raises:
        ConfigError: there is no plan, it lacks parts, or some have no shard yet. DependencyError: it cannot be read.
    """
    plan = read_plan(folder)
    if plan is None:
        raise ConfigError(f"{folder.url} holds no archive; `neardup backfill describe` makes one")
    if left := len(unfinished(folder)):
        raise ConfigError(
            f"{left:,} of {plan.parts:,} parts of {folder.url} are not described yet; "
            "run `neardup backfill describe` once more"
        )
    files = folder.names(PARTS)
    if len(files) != plan.parts:
        raise ConfigError(f"{folder.url}/{PARTS} has {len(files):,} files and not {plan.parts:,}; name another output")
    return plan, [shard_of(file) for file in files]
