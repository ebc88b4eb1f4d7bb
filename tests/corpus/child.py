"""The process that decodes files of the corpus: numbers of items in, one line of JSON for each out.

Before each it says that it begins, so that whoever ends it, or sees it end, knows by which file. It may use little
memory and few files, cannot write any, and is on its own afterwards: what an item leaves behind is found at the next.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import json
import math
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media import reader
from neardup.pipeline.media.budget import Budget
from neardup.pipeline.media.preview import Preview
from neardup.pipeline.media.sound import unpack
from neardup.pipeline.settings import Settings
from neardup.pipeline.types import Frame, Kind, Limits, Media
from tests.corpus.items import Item, item
from tests.corpus.killers import DEEDS, install, killer
from tests.corpus.seeds import seeds

SIZE = 64
LIMITS = Limits(
    max_bytes=2**24,
    max_video_bytes=2**26,
    max_pixels=12_000_000,
    max_seconds=1350.0,
    max_frames=3000,
    max_decode_seconds=2.0,
    max_decode_ratio=0.1,
    max_video_pixels=2 * 10**9,
    max_video_memory_bytes=2**27,
    max_picture_memory_bytes=2**26,
)
"""A sixteenth of the default ones: what escapes them shows within seconds, and in some hundred megabytes."""
MOST_BYTES = max(LIMITS.max_video_memory_bytes, LIMITS.max_picture_memory_bytes)
SPARE_BYTES = 3 * 2**24
"""Memory of an item beside its decoder: tiles, regions, a preview, the file itself."""
SPARE_SECONDS, SPARE_SHARE = 0.5, 0.5
"""Processor time beside that of the budget, which is asked at intervals, and before calls that end by themselves."""
_MOST_FILES = 64
_OURS = Path(reader.__file__).parents[2]
_THUMBNAIL = 96
_SETTINGS = {f"NEARDUP_{name.upper()}" for name in Settings.model_fields}
_OF_LIMITS = (Reason.BOMB, Reason.TOO_SLOW, Reason.TOO_LARGE)
_REMEDIES = ("save it", "copy or download ", "convert ", "remove ", "extract ")
_MISTAKES = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, RecursionError, TypeError)
"""What is raised by a mistake of ours, and looks to users as if their file was broken."""
_written: list[str] = []


def main() -> int:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int)
    parser.add_argument("--work", type=Path, help="folder with the seeds; a scratch folder is made below it")
    parser.add_argument("--killers", action="store_true", help="items are those of `killers` instead")
    arguments = parser.parse_args()
    if arguments.killers:
        install()
    known = {} if arguments.killers else seeds(arguments.work)
    scratch = Path(tempfile.mkdtemp(dir=arguments.work))
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer of ours
    os.chdir(scratch)
    tempfile.tempdir = os.fspath(scratch)
    faulthandler.enable()
    for files in known.values():  # loads every decoder, so that what it keeps is no item's
        for content in files:
            _described(Item(0, "", "", content), content)
    limit_files()
    sys.addaudithook(_audit)
    for line in sys.stdin:
        number = int(line)
        if arguments.killers:
            deed = list(DEEDS)[number]
            asked = Item(number, "killer", deed, killer(deed))
        else:
            asked = item(arguments.seed, number, known)
        print(json.dumps({"begin": number, "format": asked.format, "way": asked.way}), file=out, flush=True)
        print(json.dumps(examine(asked, scratch)), file=out, flush=True)
    return 0


def limit_files() -> None:
    """Allow few open files, no files of memory dumps, and memory of a multiple of what an item may take."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    open_now = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + _MOST_FILES,) * 2)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + 16 * MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def examine(asked: Item, scratch: Path) -> dict[str, Any]:
    """Decode an item as workers do, and return how that went, with all that is wrong about it."""
    source: bytes | Path = asked.content
    if asked.from_disk:
        source = scratch / "item"
        source.write_bytes(asked.content)
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # begin to measure the peak anew
    files, threads, before = _files(), _threads(), _memory("VmRSS")
    _written.clear()
    begun = time.process_time()
    with _unable_to_write():
        found = _described(asked, source)
    seconds, peak = time.process_time() - begun, _memory("VmHWM") - before
    wrong: list[str] = found.pop("wrong")
    granted = found.pop("granted")
    if seconds > granted * (1 + SPARE_SHARE) + SPARE_SECONDS:
        wrong.append(f"time: {seconds:.1f} s of {granted:.1f} s")
    if peak > found.pop("memory") + SPARE_BYTES + 2 * len(asked.content):
        wrong.append(f"memory: {peak / 2**20:.0f} MiB")
    if asked.from_disk and isinstance(source, Path):
        source.unlink()
    wrong += [f"file left open: {name}" for name in _files() - files]
    if _threads() > threads:
        wrong.append(f"{_threads() - threads} threads left")
    wrong += [f"written: {name}" for name in (*_written, *os.listdir(scratch))]  # noqa: PTH208
    return {
        "number": asked.number,
        "format": asked.format,
        "way": asked.way,
        "bytes": len(asked.content),
        "seconds": round(seconds, 3),
        "peak": peak,
        "kept": before,
        "wrong": wrong,
        **found,
    }


def _described(asked: Item, source: bytes | Path) -> dict[str, Any]:
    preview, budget = Preview(_THUMBNAIL), Budget(LIMITS)
    found: dict[str, Any] = {"outcome": "refused", "memory": MOST_BYTES, "wrong": []}
    frames, last = 0, 0.0
    try:
        media = reader.open_media(source, SIZE, LIMITS, preview=preview, regions="boxes", budget=budget)
        if media.kind is Kind.IMAGE:
            found["memory"] = LIMITS.max_picture_memory_bytes
        for frame in media.frames:
            frames, last = frames + 1, max(last, frame.pts)
            found["wrong"] += _check_frame(frame)
        found |= {"outcome": "described", "is": media.format}
        found["wrong"] += _check(media, frames, preview.jpeg)
        if asked.number % 5 == 0:
            reader.frame_at(source, last / 2, _THUMBNAIL, LIMITS, budget)
    except InvalidFrame as error:
        found |= {"reason": error.reason.value, "detail": error.detail}
        found["wrong"] += _check_reason(error)
    except MemoryError:
        found |= {"outcome": "faulty"}
        found["wrong"].append("memory: all that the process may have")
    except Exception as error:
        found |= {"outcome": "faulty"}
        found["wrong"].append(f"raised: {type(error).__name__}: {str(error)[:200]} {_where(error)}")
    found["granted"] = budget.granted
    return found


def _check_frame(frame: Frame) -> Iterator[str]:
    tile = frame.tile
    if tile.shape != (SIZE, SIZE, 3) or tile.dtype != np.uint8:
        yield f"tile: {tile.shape} {tile.dtype}"
    if not (math.isfinite(frame.pts) and 0 <= frame.pts <= LIMITS.max_seconds):
        yield f"time of a frame: {frame.pts}"
    left, top, right, bottom = frame.box or (0, 0, 1, 1)
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        yield f"box: {frame.box}"


def _check(media: Media, frames: int, jpeg: bytes) -> Iterator[str]:
    """Yield what is wrong with what a described item says of itself."""
    raw = media.extras.raw  # the size of a sensor's picture, of which nothing is decoded
    if not 0 < media.width * media.height <= (2**64 if raw else LIMITS.max_pixels):
        yield f"pixels: {media.width} × {media.height}"
    if not (math.isfinite(media.seconds) and 0 <= media.seconds <= max(LIMITS.max_seconds, LIMITS.max_frames)):
        yield f"seconds: {media.seconds}"
    if not 0 < frames <= 4 * LIMITS.max_frames:
        yield f"{frames} frames"
    if len(media.pixels_digest) not in (0, 16):
        yield f"digest: {media.pixels_digest.hex()}"
    if not jpeg.startswith(b"\xff\xd8"):
        yield "no preview"
    sound = media.all_extras().sound
    if sound and unpack(sound) is None:
        yield f"sound: {sound.hex()}"


def _check_reason(error: InvalidFrame) -> Iterator[str]:
    """Yield what is wrong with the words for a person: what a limit refuses names its setting, all else what to do."""
    if len(error.detail) > 400 or not error.detail.isprintable():
        yield f"words: {error.detail[:400]!r}"
    if error.reason is Reason.BOMB and isinstance(error.__cause__, MemoryError) and not _is_ffmpegs(error):
        yield f"memory: {error.__cause__!r}"
    if isinstance(error.__cause__, _MISTAKES) and (place := _where(error.__cause__)):
        yield f"raised: {error.__cause__!r} {place}"
    if error.reason in _OF_LIMITS and any(name in error.detail for name in _SETTINGS):
        return
    if error.reason in (Reason.TOO_SLOW, Reason.TOO_LARGE):
        yield f"no setting named: {error.detail}"
    elif not any(remedy in error.detail for remedy in _REMEDIES):
        yield f"no remedy named: {error.detail}"


def _is_ffmpegs(error: InvalidFrame) -> bool:
    """Return whether FFmpeg says so, which refuses at once what is absurd."""
    return type(error.__cause__).__module__.startswith("av")


def _where(error: BaseException) -> str:
    """Return where an error was raised, if that is a place of ours."""
    trace = traceback.extract_tb(error.__traceback__)
    last = Path(trace[-1].filename) if trace else Path()
    return f"{last.name}:{trace[-1].lineno}" if _OURS in last.parents else ""


@contextmanager
def _unable_to_write() -> Iterator[None]:
    """Have every attempt to write a file fail, in C as well."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    """Take note of what reaches beyond the item: files opened for writing, connections, processes."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if soft != 0:
        return
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        _written.append(str(arguments[0]))
    elif event in ("socket.connect", "subprocess.Popen", "os.exec", "os.fork", "os.remove", "os.rename", "os.mkdir"):
        _written.append(f"{event} {arguments[:1]}")


def _files() -> set[str]:
    """Return what the open files of this process are."""
    found = set()
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")  # noqa: PTH115
        except FileNotFoundError:  # the folder that was just listed
            continue
    return found


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208


def _memory(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return 1024 * int(line.split()[1])
    raise LookupError(name)


if __name__ == "__main__":
    sys.exit(main())
