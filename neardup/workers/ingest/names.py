"""What sources and their items are called: the same for every command that sends or describes them."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.report.names import visible
from neardup.workers.ingest.objects import SCHEMES, Objects

_URI = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def split(arguments: Sequence[str]) -> tuple[list[Path], list[str], list[str]]:
    """Return the paths, the URLs of object stores, and the other URIs among the arguments."""
    paths = [Path(one).expanduser() for one in arguments if not _URI.match(one)]
    uris = [one for one in arguments if _URI.match(one)]
    stores = [one for one in uris if urlsplit(one).scheme in SCHEMES]
    return paths, stores, [one for one in uris if one not in stores]


def root_name(path: Path) -> str:
    """Return the name that stands before those of a folder's files where there are several sources."""
    return Path(os.path.abspath(path)).name  # noqa: PTH100 (links are left as they are)


def check_names(paths: Sequence[Path], stores: Sequence[Objects], remedy: str) -> None:
    """Raise ConfigError where two sources have the same name, so that ids could meet.

    Args:
        remedy: what the user can do, of the command.
    """
    names = [*map(root_name, paths), *(store.name for store in stores if not store.single)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"two paths end in {visible(twice[0])}; {remedy}")


def below(path: str, root: Path) -> str:
    """Return the name of a file below a folder: in Unicode's form NFC, as ids are, unless that names another file."""
    name = os.path.relpath(path, root) if root.is_dir() else Path(path).name
    composed = unicodedata.normalize("NFC", path)
    return name if composed != path and _is_another(composed, path) else unicodedata.normalize("NFC", name)


def composed(name: str, store: Objects) -> str:
    """Return the name of an object as `below` has that of a file; raises DependencyError."""
    composed = unicodedata.normalize("NFC", name)
    return name if composed != name and store.has(composed) else composed


def _is_another(path: str, than: str) -> bool:
    try:
        return not os.path.samestat(os.lstat(path), os.lstat(than))
    except OSError:  # there is none of this name
        return False
