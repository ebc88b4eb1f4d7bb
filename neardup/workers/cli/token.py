"""Make a token for the API: it is printed once, and only its hash is kept.

Roles: read looks up and watches the feed; review also decides and edits clusters; admin also adds and takes down items
and changes banks. A line that is removed from the file is a token that was withdrawn. Where NEARDUP_TENANT is
set, the token is for that tenant alone.

Example: [bold]neardup token ann --role review --file ~/.config/neardup/tokens[/bold]
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from neardup.pipeline.errors import ConfigError, install_command
from neardup.pipeline.report.names import visible
from neardup.pipeline.settings import load
from neardup.workers.cli.common import writable


def run(
    name: Annotated[str, typer.Argument(help="Who uses the token; the audit trail shows this name.")],
    role: Annotated[Literal["read", "review", "admin"], typer.Option(help="What it may do.")] = "read",
    file: Annotated[
        Path | None,
        typer.Option(help="File to add its line to, which NEARDUP_API_TOKENS_FILE names; without: print it."),
    ] = None,
) -> None:
    """Make a token."""
    try:
        from neardup.workers.api.auth import line_of, make_token
    except ModuleNotFoundError as error:
        raise ConfigError(f"the API needs {error.name}: {install_command('api')}") from error
    tenant, token = load().tenant, make_token()
    line = line_of(name, role, token, tenant)
    if file is None:
        typer.echo(f"line for NEARDUP_API_TOKENS or its file: {line}", err=True)
    else:
        _add(writable(file.expanduser()), line)
        typer.echo(f"added to {visible(str(file))}; the token, which is shown only now:", err=True)
    typer.echo(token)


def _add(file: Path, line: str) -> None:
    """Add a line to a file that only its owner can read."""
    name = line.partition(":")[0]
    try:
        known = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        if any(one.startswith(f"{name}:") for one in known):
            raise ConfigError(
                f"{visible(str(file))} has a token {visible(name)} already; remove its line to withdraw it"
            )
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a", encoding="utf-8") as opened:
            opened.write(("\n" if known and file.read_bytes()[-1:] != b"\n" else "") + line + "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{visible(str(file))}: {error}; name a file that can be written") from error
