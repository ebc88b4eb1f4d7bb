"""The command line: commands, help, and how mistakes are reported.

Each command imports what it needs when it runs: on an unchanged folder `scan` loads neither torch nor the network.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import nullcontext
from typing import Annotated, Any

import typer

from neardup import __version__
from neardup.pipeline.errors import ConfigError, PipelineError, UsageError
from neardup.pipeline.report.names import readable
from neardup.pipeline.settings import check_names
from neardup.workers.cli import (
    backfill,
    bank,
    calibrate,
    compare,
    dead_letters,
    embed,
    evaluate,
    export,
    ingest,
    match,
    models,
    rebuild,
    review,
    scan,
    space,
    takedown,
    token,
    topics,
    train,
    up,
    worker,
)
from neardup.workers.cli.common import reflowed
from neardup.workers.run import logs
from neardup.workers.run.stopping import Stopped, ends_at_once, is_service

logger = logging.getLogger(__name__)
EXIT_CODES = (
    "Exit codes: 0 done; 1 something outside failed, such as the disk, try again; 2 a wrong option, path or file, "
    "named in one line; 130 interrupted."
)
INTERRUPTED = 130
_ABOUT = {"--help", "--version"}
_MISTAKE: Any = typer.BadParameter.__base__
"""What typer raises for a wrong command line; some versions take it from click, others carry their own."""

app = typer.Typer(
    name="neardup",
    help="Find near-duplicate images and videos: which earlier item is copied, where, and how sure.",
    epilog=EXIT_CODES,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)


for module in (scan, match, compare, embed, models, train, calibrate, evaluate, up, ingest, review, takedown, token):
    app.command(module.__name__.rpartition(".")[2], help=reflowed(module.__doc__), epilog=EXIT_CODES)(module.run)
for group in (topics, worker, bank, backfill, dead_letters, export, rebuild, space):
    name = group.__name__.rpartition(".")[2].replace("_", "-")
    app.add_typer(group.app, name=name, help=reflowed(group.__doc__), epilog=EXIT_CODES)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"neardup {__version__}")
        raise typer.Exit


@app.callback()
def root(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is done, to standard error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """What stands before a command's name."""
    del version  # dealt with by its callback
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    # Of a lost connection each client tells in many lines, again and again; what matters, workers say themselves.
    logging.getLogger("kafka").setLevel(logging.WARNING if verbose else logging.CRITICAL)


def run(arguments: list[str]) -> int:
    """Run a command line and return the exit code; Ctrl-C is the caller's."""
    try:
        # Without standalone mode typer tells us of mistakes instead of drawing them as boxes.
        if arguments and not _ABOUT.intersection(arguments):
            check_names()
        with ends_at_once() if is_service(arguments) else nullcontext():
            code = app(scan.spelled_out(arguments) or ["--help"], prog_name="neardup", standalone_mode=False)
    except Stopped:
        return 0
    except _MISTAKE as error:
        message = error.format_message().rstrip(".")
        return _fail(f"{message}{'' if message.endswith('?') else ';'} see {_command(error)} --help", 2)
    except (ConfigError, UsageError) as error:
        return _fail(error, 2)
    except PipelineError as error:
        return _fail(error, 1)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if code == INTERRUPTED:  # what typer makes of a KeyboardInterrupt
        raise KeyboardInterrupt
    return code or 0


def _command(error: Any) -> str:
    return error.ctx.command_path if error.ctx is not None else "neardup"


def _fail(message: object, code: int) -> int:
    line = " ".join(str(message).split())
    if logs.is_json():
        logger.error("%s", readable(line))
        return code
    typer.echo(f"neardup: {readable(line)}", err=True)
    return code
