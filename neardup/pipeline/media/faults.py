"""What decoder libraries raise becomes `InvalidFrame`, here and nowhere else.

Broken content makes them raise nearly anything (OSError, SyntaxError, ValueError, struct.error, …), so that this is
the one place that catches broadly. Their words ("decoder error -2") go to the log; people read what it means.
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
from neardup.pipeline.media.refuse import COPY_AGAIN, SAVE_ANEW
from neardup.pipeline.types import Kind

logger = logging.getLogger(__name__)
_CUT_OFF = ("truncated", "need_more_input", "input stream too small")
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
        logger.debug("decoder failed format=%s reason=%s error=%r", format.name, reason.value, error)
        raise InvalidFrame(reason, f"{format.name}: {_words(reason, format, error)}") from error


def _words(reason: Reason, format: Format, error: Exception) -> str:
    what = "video" if format.kind is Kind.VIDEO else "picture"
    match reason:
        case Reason.TRUNCATED:
            return f"the file ends before the {what} does; {COPY_AGAIN}"
        case Reason.BOMB:
            if isinstance(error, MemoryError):
                return f"the {what} asks for more memory than there is; save it anew, or smaller"
            return f"the {what} has more pixels than its decoder takes; save it smaller"
        case Reason.VANISHED:
            return "the file was removed while it was read"
        case Reason.UNREADABLE:
            return "the system refused to read the file"
    return f"the {what} is damaged, or coded in a way that is not read; {SAVE_ANEW}"


def _reason(error: Exception, ends_early: Callable[[], bool]) -> Reason:
    if isinstance(error, (DecompressionBombError, MemoryError)):
        return Reason.BOMB
    if isinstance(error, FileNotFoundError):
        return Reason.VANISHED
    if isinstance(error, PermissionError):
        return Reason.UNREADABLE
    words = str(error).lower()
    return Reason.TRUNCATED if any(sign in words for sign in _CUT_OFF) or ends_early() else Reason.DECODE
