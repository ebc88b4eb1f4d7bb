"""Archives of any size: describe them into Parquet, here or on a Ray cluster; compare them; load them into the stream.

`describe` lists the sources once and describes them part by part, each into a shard below --output. `match` writes the
report of a scan. `load` makes the items known to the stream, as history. What was interrupted goes on where it stopped.

Example: [bold]neardup backfill describe s3://bucket/pictures --output s3://bucket/described --ray head:6379[/bold]
"""

from __future__ import annotations

import typer

from neardup.workers.cli import backfill_describe, backfill_load, backfill_match
from neardup.workers.cli.common import reflowed

app = typer.Typer(no_args_is_help=True)
for name, module in (("describe", backfill_describe), ("match", backfill_match), ("load", backfill_load)):
    app.command(name, help=reflowed(module.__doc__))(module.run)
