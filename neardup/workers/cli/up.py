"""Run all workers of the stream on this machine, and start again what dies.

SIGTERM or Ctrl-C drains them within ten seconds; a second Ctrl-C kills them. Topics that are missing are made first.

Example: [bold]neardup up --embed 2[/bold]
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated

import typer

from neardup.pipeline.errors import ConfigError, install_command
from neardup.pipeline.report.names import visible
from neardup.pipeline.settings import load

if TYPE_CHECKING:
    from neardup.workers.up.status import Row

_LINES_SECONDS = 30.0


def run(
    embed: Annotated[int, typer.Option(min=1, max=64, help="Embed workers; they share the processors.")] = 1,
    match: Annotated[int, typer.Option(min=1, max=4, help="Match workers; with 2, one stands by.")] = 1,
    port: Annotated[int, typer.Option(min=0, max=65000, help="Port of the first one's metrics; 0 takes free ones.")] = (
        9401
    ),
    api: Annotated[bool, typer.Option("--api", help="Also serve the API and the pages.")] = False,
    api_port: Annotated[int | None, typer.Option(help="Port of the API; default 8630.")] = None,
    create_topics: Annotated[bool, typer.Option(help="Make topics that are missing.")] = True,
) -> None:
    """Start the workers and show how they are."""
    settings = load(api_port=api_port)
    try:
        from neardup.pipeline.embed.checkpoint import load_checkpoint
        from neardup.pipeline.store.redis import prefix
        from neardup.workers.kafka import topics
        from neardup.workers.run.stopping import Stop, until_signalled
        from neardup.workers.up.supervisor import Supervisor, make_specs
    except ModuleNotFoundError as error:
        raise ConfigError(f"workers need {error.name}: {install_command('stream')}") from error
    space = load_checkpoint(settings.model).space
    if create_topics:
        with topics.open_admin(settings) as admin:
            topics.create_topics(admin, space, settings)
    verbose = logging.getLogger().level <= logging.INFO
    specs = make_specs(settings, embed, match, port, verbose, api)
    stopping = Stop()
    display = JsonLines() if settings.log_format == "json" else Screen() if sys.stderr.isatty() else Lines()
    with until_signalled(stopping), display:
        for spec in specs:
            display.say(f"{spec.name}: http://{settings.health_host}:{spec.port}/metrics")
        if api:
            display.say(f"api and pages: http://{settings.api_host}:{settings.api_port}/")
        display.say(f"feed of flagged items in Redis: {prefix(space, settings.tenant)}:feed")
        Supervisor(specs, settings.health_host, display).run(stopping)
        display.say("all workers have ended")


class Lines:
    """Tells it as lines: what happens, how a worker is when its state changes, and all of them every half minute."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}
        self._logged_at = time.monotonic()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_error: object) -> None: ...

    def say(self, line: str) -> None:
        """See `up.Display`."""
        self.relay(f"{time.strftime('%H:%M:%S')} {line}")

    def relay(self, line: str) -> None:
        """See `up.Display`."""
        typer.echo(visible(line), err=True)

    def show(self, rows: Sequence[Row]) -> None:
        """See `up.Display`."""
        everything = time.monotonic() - self._logged_at >= _LINES_SECONDS
        if everything:
            self._logged_at = time.monotonic()
        for row in rows:
            if everything or row.state != self._states.get(row.name):
                self.say(row.line())
            self._states[row.name] = row.state


class JsonLines(Lines):
    """The same as JSON lines; those of workers, which are JSON already, as they are."""

    def say(self, line: str) -> None:
        """See `up.Display`."""
        self._log("up", line)

    def relay(self, line: str) -> None:
        """See `up.Display`."""
        worker, _, said = line.partition(" | ")
        if said.startswith("{"):
            typer.echo(said, err=True)
        else:
            self._log(worker, said)

    def _log(self, worker: str, message: str) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        line_fields = {"time": now, "level": "info", "worker": worker, "logger": __name__, "message": visible(message)}
        typer.echo(json.dumps(line_fields, ensure_ascii=False, separators=(",", ":")), err=True)


class Screen:
    """Tells it on a terminal: a table that stays in its place, and what happens above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False)

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._live.stop()

    def say(self, line: str) -> None:
        """See `up.Display`."""
        self.relay(f"{time.strftime('%H:%M:%S')} {line}")

    def relay(self, line: str) -> None:
        """See `up.Display`."""
        self._console.print(visible(line), markup=False, highlight=False)

    def show(self, rows: Sequence[Row]) -> None:
        """See `up.Display`."""
        from rich.table import Table
        from rich.text import Text

        from neardup.workers.up.status import HEADINGS

        table = Table(box=None, pad_edge=False)
        for heading in HEADINGS:
            right = heading in ("port", "items/s", "lag")
            table.add_column(heading, justify="right" if right else "left", no_wrap=right)
        for row in rows:
            table.add_row(*map(Text, row.cells()))
        self._live.update(table, refresh=True)
