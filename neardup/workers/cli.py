"""The command `neardup`.

Exit codes: 0 done; 1 something outside failed (disk, device), try again; 2 a wrong option, path or file, told in one
line; 130 interrupted. `compare --exit-code` has codes of its own, see its help. Each command imports what it needs when
it runs: on an unchanged folder `scan` loads neither torch nor the network.
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from neardup import __version__
from neardup.pipeline.errors import ConfigError, DependencyError, PipelineError, UsageError
from neardup.workers.commands import calibrate, compare, embed, match, models, scan, train

app = typer.Typer(
    name="neardup",
    help="Find near-duplicate images and videos: which earlier item is copied, where, and how sure.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
for module in (scan, match, compare, embed, models, train, calibrate):
    app.command(module.__name__.rpartition(".")[2], help=module.__doc__)(module.run)


@app.callback()
def root(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is done, to standard error.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    """What stands before a command's name."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    if version:
        typer.echo(f"neardup {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; the console script."""
    try:
        app()
    except (ConfigError, UsageError) as error:
        _fail(error, 2)
    except (DependencyError, PipelineError) as error:
        _fail(error, 1)
    except KeyboardInterrupt:
        _fail("interrupted; run the same command again to go on", 130)


def _fail(message: object, code: int) -> None:
    typer.echo(f"neardup: {message}".encode(errors="backslashreplace").decode(), err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
