"""What a worker logs, as text or as JSON lines.

Messages in this code are a fixed sentence with fields, `"item described id=%s trace_id=%s"`. As JSON the sentence is
`message`, and each field a member of its own, so that a log store can be asked for one.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import datetime, timezone
from typing import Literal

Format = Literal["auto", "text", "json"]
_FIELD = re.compile(r"(\w+)=%[-+ #0-9.]*[a-zA-Z]")
_ANY = re.compile(r"%[-+ #0-9.]*[a-zA-Z]")


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON; `worker` is in each of them."""

    def __init__(self, worker: str) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """Return time (UTC), level, worker, logger, message, then the message's fields, then a traceback."""
        message, fields = fields_of(record)
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "worker": self._worker,
            "logger": record.name,
            "message": message,
        }
        line |= {name: value for name, value in fields.items() if name not in line}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str, separators=(",", ":"))


def fields_of(record: logging.LogRecord) -> tuple[str, dict[str, object]]:
    """Return the sentence and the fields of a record; one that is put together otherwise is a sentence as a whole."""
    template, values = str(record.msg), record.args
    names = _FIELD.findall(template)
    if not names or not isinstance(values, tuple) or not (len(names) == len(values) == len(_ANY.findall(template))):
        return record.getMessage(), {}
    plain = {name: v if isinstance(v, int | float) else str(v) for name, v in zip(names, values, strict=True)}
    return template[: template.index(f"{names[0]}=%")].rstrip(" ,;"), dict(plain)


def configure(wanted: Format, worker: str) -> None:
    """Have all that is logged from now on written as JSON, if that is wanted: `auto` wants it where nobody reads along.

    Args:
        worker: the kind that this process is.
    """
    if wanted == "json" or (wanted == "auto" and not sys.stderr.isatty()):
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonFormatter(worker))


def is_json() -> bool:
    """Return whether `configure` has chosen JSON."""
    return any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)


def message_of(line: str) -> str:
    """Return what a line of a worker's log says, in either format."""
    if line.startswith("{"):
        try:
            return str(json.loads(line)["message"])
        except (ValueError, KeyError, TypeError):
            pass
    return line.removeprefix("neardup: ")
