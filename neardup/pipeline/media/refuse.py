"""Words for people whose file is refused: what was found, what is allowed, and what helps."""

from __future__ import annotations

from neardup.pipeline.errors import InvalidFrame, Reason

COPY_AGAIN = "copy or download it again"
SAVE_ANEW = "save it anew with the program that shows it"


def beyond(setting: str, found: str, reason: Reason = Reason.BOMB) -> InvalidFrame:
    """Return the refusal of what is beyond a limit.

    Args:
        setting: the field of `types.Limits`, or of the settings, that would let it in.
        found: what was found, and what is allowed.
    """
    return InvalidFrame(reason, f"{found} (NEARDUP_{setting.upper()})")
