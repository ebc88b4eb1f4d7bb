"""Files that end the process which reads them, or never let it go on; for whoever owns such processes.

No decoder in use is known to crash on a file of today, so that one is put in its place: `open_media` has the signature
of `neardup.pipeline.media.reader.open_media`, and does to its process what a file asks for. A process that is to be
tested has the one take the place of the other before it begins (`install`); `killer` makes the files. They are sound
JPEGs: what does not know of this module describes them.
"""

from __future__ import annotations

import ctypes
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media import reader
from neardup.pipeline.types import Media

_MARK = b"\xff\xd9tests.corpus.killers:"
_kept: list[Any] = []


def _hang() -> None:
    """Wait for ever, as in a lock: no processor time passes, and Python's lock is free."""
    threading.Event().wait()


def _hang_in_c() -> None:
    """Never return from a call that holds Python's lock: no signal handler and no other thread of Python runs."""
    libc = ctypes.PyDLL(None)
    while True:
        libc.pause()


def _spin() -> None:
    """Keep a processor busy for ever."""
    while True:
        pass


def _segfault() -> None:
    """Read where nothing is."""
    ctypes.string_at(0)


def _abort() -> None:
    """End as a library does that finds itself broken: SIGABRT."""
    os.abort()


def _leave() -> None:
    """End at once with exit code 3, as a library does that calls exit()."""
    os._exit(3)


def _eat() -> None:
    """Take memory without end, and use it; slowly enough to be seen (at most 1 GiB a second)."""
    while True:
        _kept.append(np.ones(2**24, np.uint8))
        time.sleep(1 / 64)


def _raise() -> None:
    """Raise what nobody expects of a decoder."""
    raise LookupError("of no use to anybody")


def _leak_file() -> None:
    """Leave a file open."""
    _kept.append(open(os.devnull, "rb"))  # noqa: SIM115, PTH123


def _leak_thread() -> None:
    """Leave a thread behind."""
    threading.Thread(target=_hang, daemon=True).start()


def _write() -> None:
    """Write a file where one happens to be."""
    Path("written").write_bytes(b"")


def _refuse() -> None:
    """Refuse in words that help nobody."""
    raise InvalidFrame(Reason.BOMB, "no")


DEEDS: dict[str, Callable[[], None]] = {
    "hang": _hang,
    "hang-in-c": _hang_in_c,
    "spin": _spin,
    "segfault": _segfault,
    "abort": _abort,
    "leave": _leave,
    "eat": _eat,
    "raise": _raise,
    "leak-file": _leak_file,
    "leak-thread": _leak_thread,
    "write": _write,
    "refuse": _refuse,
}
"""What files ask for, by name."""
DEADLY = {"segfault": -signal.SIGSEGV, "abort": -signal.SIGABRT, "leave": 3}
"""Those that end their process by themselves, and its exit code as `subprocess` has it."""
ENDLESS = ("hang", "hang-in-c", "spin", "eat")
"""Those that somebody else has to end."""


def killer(deed: str, number: int = 0) -> bytes:
    """Return a file that asks for a deed.

    Args:
        number: files of different numbers have different bytes, and pictures.
    """
    assert deed in DEEDS
    cells = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(cells).resize((120, 90)).save(file, "JPEG")
    return file.getvalue() + _MARK + deed.encode()


def open_media(source: bytes | Path, *arguments: Any, **named: Any) -> Media:
    """See `reader.open_media`; where a file of `killer` is opened, its deed is done before."""
    content = source if isinstance(source, bytes) else source.read_bytes()
    _before, mark, deed = content.rpartition(_MARK)
    if mark:
        DEEDS[deed.decode()]()
    return _open_media(source, *arguments, **named)


_open_media = reader.open_media


def install() -> None:
    """Have every module of this process that has imported `open_media`, or will, use the one of this module."""
    for module in list(sys.modules.values()):
        if getattr(module, "open_media", None) is _open_media and module is not sys.modules[__name__]:
            vars(module)["open_media"] = open_media
