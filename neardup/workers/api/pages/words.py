"""How pages written on the server say numbers and ids; `static/lib.js` says them the same way."""

from __future__ import annotations

import re

from markupsafe import Markup

from neardup.pipeline.report.names import visible

_AFTER_A_MARK = re.compile(r"(?<=[/_-])")
SURE, NEVER = 0.9995, 0.0005


def percent(share: float) -> str:
    """Return a probability in words; one is never certain."""
    if share >= SURE:
        return "99.9+ %"
    return "under 0.1 %" if share < NEVER else f"{100 * share:.1f} %"


def clock(seconds: float) -> str:
    """Return a duration as a player shows it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def breakable(id: str) -> Markup:
    """Return an id, all of it to be seen, as HTML that breaks after a mark first, so that `rocket.gif` stays whole."""
    return Markup("<wbr>").join(_AFTER_A_MARK.split(visible(id)))
