"""Describe archives of any size into Parquet, on this machine or on a Ray cluster.

`describe` lists the sources once and describes them part by part, each into a shard below --output. A run that was
interrupted goes on where it stopped.

Example: [bold]neardup backfill describe s3://bucket/pictures --output s3://bucket/described --ray head:6379[/bold]
"""

from __future__ import annotations

import typer

from neardup.workers.cli import backfill_describe

app = typer.Typer(no_args_is_help=True)
app.command("describe")(backfill_describe.run)
