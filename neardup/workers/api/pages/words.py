"""How pages written on the server say numbers and ids; `static/lib.js` says them the same way."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from neardup.pipeline.report.names import visible

_AFTER_A_MARK = re.compile(r"(?<=[/_-])")
_CODE = re.compile(r"`([^`]*)`")
SURE, NEVER = 0.9999, 0.0005


def percent(share: float) -> str:
    """Return a probability in words; one is never certain."""
    if share > SURE:
        return "> 99.99 %"
    return "< 0.1 %" if share < NEVER else f"{100 * share:.{digits(share)}f} %"


def digits(share: float) -> int:
    """Return the decimals of a percentage: as many as make a difference."""
    return 2 if share >= 0.99 else 0 if share >= 0.1 else 1


def clock(seconds: float) -> str:
    """Return a duration as a player shows it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def breakable(id: str) -> Markup:
    """Return an id, all of it to be seen, as HTML that breaks after a mark first, so that `rocket.gif` stays whole."""
    return Markup("<wbr>").join(_AFTER_A_MARK.split(visible(id)))


def prose(text: str) -> Markup:
    """Return a text as HTML, with what stands in backticks as code."""
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(_CODE.split(text))
    )
