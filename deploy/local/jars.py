"""Kafka's jars, copied by Maven from its artifacts into a cache folder outside the repository.

The folder appears under its name only when it is complete, and every start checks that it still is.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from xml.etree import ElementTree

from deploy.local.processes import ServiceError

POM = Path(__file__).parents[1] / "kafka" / "pom.xml"
_LIST = "complete.json"


def kafka_version() -> str:
    """Return the version that pom.xml asks for."""
    version = ElementTree.parse(POM).getroot().findtext("{*}version")
    assert version is not None
    return version


def cache_folder() -> Path:
    """Return where the jars are, or will be."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "neardup" / f"kafka-{kafka_version()}"


def fetch_jars() -> Path:
    """Return the folder of the jars; fetch them first where they are missing or incomplete.

    Raises:
        ServiceError: Maven failed; its words are in the message.
    """
    folder = cache_folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:  # two first starts at once fetch once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _complete(folder):
            print(f"Fetching Kafka {kafka_version()} into {folder}; about 45 MB, once.", file=sys.stderr)
            _fetch(folder)
    return folder


def _complete(folder: Path) -> bool:
    try:
        sizes: dict[str, int] = json.loads((folder / _LIST).read_text())
        return bool(sizes) and all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def _fetch(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".kafka-", dir=folder.parent) as temporary:
        fresh = Path(temporary) / "jars"
        goal = ("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={fresh}")
        command = ["mvn", "--batch-mode", "--quiet", "--strict-checksums", "--file", os.fspath(POM), *goal]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ServiceError(f"Maven could not fetch Kafka {kafka_version()}:\n{(done.stdout + done.stderr).strip()}")
        sizes = {jar.name: _checked_size(jar) for jar in sorted(fresh.glob("*.jar"))}
        if f"kafka_2.13-{kafka_version()}.jar" not in sizes:
            raise ServiceError(f"Maven fetched no Kafka {kafka_version()}, only {', '.join(sizes) or 'nothing'}")
        (fresh / _LIST).write_text(json.dumps(sizes, indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)


def _checked_size(jar: Path) -> int:
    with zipfile.ZipFile(jar) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise ServiceError(f"{jar.name} is damaged at {broken}; run the command again")
    return jar.stat().st_size
