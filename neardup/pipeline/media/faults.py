"""What decoder libraries raise becomes `InvalidFrame`, here and nowhere else.

Broken content makes them raise nearly anything (OSError, SyntaxError, ValueError, struct.error, …), so that this is
the one place that catches broadly.
"""

from __future__ import annotations

import ctypes
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import PIL
from PIL.Image import DecompressionBombError

from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media.identify import Format

# Pillow warns of odd metadata and of big pictures; we decide on both ourselves. A filter for its modules, since
# `warnings.catch_warnings` is not safe among threads.
warnings.filterwarnings("ignore", module=r"(PIL|pillow_heif)\.")
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)  # it raises what it logs


def _silence_libtiff() -> None:
    """Stop libtiff from writing each error to stderr, across a progress bar; Pillow raises them as well.

    Works for Pillow's own wheels, which carry the library along.
    """
    for library in Path(PIL.__file__).parent.parent.glob("pillow.libs/libtiff*"):
        ctypes.CDLL(str(library)).TIFFSetErrorHandler(None)


_silence_libtiff()


@contextmanager
def decoding(format: Format, ends_early: Callable[[], bool]) -> Iterator[None]:
    """Run a block that calls decoder libraries.

    Raises:
        InvalidFrame: for whatever goes wrong inside; TRUNCATED where `ends_early` finds that the content is cut off.
    """
    try:
        yield
    except InvalidFrame:
        raise
    except Exception as error:
        reason = _reason(error, ends_early)
        # FFmpeg's errors are OSErrors, whose str() begins with a number and ends with a name of its own.
        detail = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InvalidFrame(reason, f"{format.name}: {detail}") from error


def _reason(error: Exception, ends_early: Callable[[], bool]) -> Reason:
    if isinstance(error, (DecompressionBombError, MemoryError)):
        return Reason.BOMB
    if isinstance(error, FileNotFoundError):
        return Reason.VANISHED
    if isinstance(error, PermissionError):
        return Reason.UNREADABLE
    return Reason.TRUNCATED if "truncated" in str(error).lower() or ends_early() else Reason.DECODE
